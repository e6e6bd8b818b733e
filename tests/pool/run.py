"""Runs every test of this folder, several files at once, since most of the time they wait. Run: python run.py [test_calls …]"""
from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
AT_ONCE = 3 * (os.cpu_count() or 1)
LONG = ("test_faults", "test_changes", "test_restore", "test_backup", "test_many", "test_modes", "test_dr")  # these begin first


def run(name: str) -> tuple[str, bool, float, str]:
    """Name of a file of tests, whether all is well, seconds, and what it told."""
    begun = time.monotonic()
    command = [sys.executable, "-W", "ignore::ResourceWarning", HERE / f"{name}.py"]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return name, done.returncode == 0, time.monotonic() - begun, done.stdout


def main() -> None:
    if "XENITH" in os.environ:
        os.environ["XENITH"] = str(Path(os.environ["XENITH"]).resolve())
    names = sys.argv[1:] or sorted({path.stem for path in HERE.glob("test_*.py")}, key=lambda name: (name not in LONG, name))
    lost = []
    with ThreadPoolExecutor(AT_ONCE) as lanes:
        for name, good, seconds, told in lanes.map(run, names):
            print(f"{name}: {'good' if good else 'BAD'} after {seconds:.0f} s")
            if not good:
                lost.append(name)
                print(told)
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
