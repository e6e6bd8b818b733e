"""A repository in a temporary directory, driven through the command line as a user would."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
XENITH = os.environ.get("XENITH", str(TOP / "target/release/xenith"))


class Repository:
    """`run` gives the exit code that it must give; everything is removed when `test` ends."""

    def __init__(self, test: unittest.TestCase) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="xenith-test-")
        test.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.path = self.folder / "repo"
        self.password = self.secret("password", "correct horse")
        self.run("init", "--kdf", "cheapest")

    def secret(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text + "\n")
        return path

    def command(self, *arguments: str, password: Path | None = None) -> list[str]:
        password_file = str(password or self.password)
        return [XENITH, "-r", str(self.path), "--password-file", password_file, "--cache-dir", str(self.folder / "cache"), *arguments]

    def run(self, *arguments: str, code: int = 0, stdin: bytes | None = None, password: Path | None = None) -> subprocess.CompletedProcess:
        done = subprocess.run(self.command(*arguments, password=password), input=stdin, capture_output=True)
        if done.returncode != code:
            raise AssertionError(f"xenith {arguments} gave {done.returncode}, not {code}:\n{done.stderr.decode()}")
        return done

    def backup(self, *arguments: str, stdin: bytes | None = None, password: Path | None = None) -> dict:
        done = self.run("--json", "backup", *arguments, stdin=stdin, password=password)
        [snapshot] = json.loads(done.stdout)["snapshots"]
        return snapshot

    def snapshots(self) -> list[dict]:
        return json.loads(self.run("--json", "snapshots").stdout)

    def files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.is_file()]

    def stored_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files())
