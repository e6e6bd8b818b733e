"""The configuration file as its users meet it: where it is looked for, what goes before it, and mistakes in it.

Needs the binary (XENITH, default target/release/xenith). Run: python test_config.py
"""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from repository import XENITH, Repository


class Config(unittest.TestCase):
    """Every program here has a home and an environment of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="xenith-test-")
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name)
        self.repository = Repository(self)
        self.password = self.repository.password
        self.password.chmod(0o600)

    def write(self, text: str, place: str = ".config/xenith/config.toml") -> Path:
        path = self.home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def profile(self, name: str = "nas", path: Path | None = None, password: Path | None = None) -> str:
        return f'[repository.{name}]\npath = "{path or self.repository.path}"\npassword_file = "{password or self.password}"\n'

    def run_xenith(self, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess:
        known = {"PATH": os.environ["PATH"], "HOME": str(self.home), **environment}
        done = subprocess.run([XENITH, *arguments], env=known, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=self.home)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_a_default_repository_needs_no_flag(self) -> None:
        self.write(self.profile() + '[defaults]\nrepository = "nas"\n')
        disk = self.write("disk", "disk.raw")
        self.run_xenith("backup", str(disk))
        [snapshot] = json.loads(self.run_xenith("snapshots", "--json").stdout)
        self.assertEqual(snapshot["id"], self.repository.snapshots()[0]["id"])

    def test_a_repository_is_called_by_its_name(self) -> None:
        self.write(self.profile())
        self.run_xenith("--repo", "nas", "snapshots")
        self.run_xenith("snapshots", XENITH_REPOSITORY="nas")
        self.assertIn("none was named", self.run_xenith("snapshots", code=1).stderr)
        (self.home / "nas").mkdir()
        self.assertIn("no repository at nas", self.run_xenith("--repo", "nas", "snapshots", code=10).stderr)

    def test_the_first_file_that_is_found_counts_alone(self) -> None:
        self.write(self.profile("own"))
        xdg = self.write(self.profile("xdg"), "settings/xenith/config.toml").parents[1]
        named = self.write(self.profile("named"), "named.toml")
        self.run_xenith("-r", "own", "snapshots")
        self.run_xenith("-r", "xdg", "snapshots", XDG_CONFIG_HOME=str(xdg))
        self.run_xenith("-r", "own", "snapshots", code=10, XDG_CONFIG_HOME=str(xdg))
        self.run_xenith("-r", "named", "snapshots", XENITH_CONFIG=str(named), XDG_CONFIG_HOME=str(xdg))
        self.run_xenith("--config", str(named), "-r", "named", "snapshots", XENITH_CONFIG="/nonexistent")
        self.run_xenith("--config", str(named), "-r", "own", "snapshots", code=10)
        self.assertIn("/nonexistent", self.run_xenith("--config", "/nonexistent", "snapshots", code=1).stderr)

    def test_flags_go_before_the_environment_and_that_before_the_file(self) -> None:
        wrong = self.write("not this one", "wrong.pw")
        self.write(self.profile(password=wrong))
        self.run_xenith("-r", "nas", "snapshots", code=12)
        self.run_xenith("-r", "nas", "snapshots", XENITH_PASSWORD_FILE=str(self.password))
        self.run_xenith("-r", "nas", "--password-file", str(wrong), "snapshots", code=12, XENITH_PASSWORD_FILE=str(self.password))
        self.run_xenith("-r", "nas", "--password-command", f"cat {self.password}", "snapshots", XENITH_PASSWORD_FILE=str(wrong))

    def test_a_home_is_written_with_a_tilde(self) -> None:
        (self.home / "nas").symlink_to(self.repository.path)
        self.write(f'[repository.x]\npath = "~/nas"\npassword_command = "cat {self.password}"\n')
        self.run_xenith("-r", "x", "snapshots")

    def test_mistakes_are_told_with_their_place(self) -> None:
        for text, *words in (
            ("[repository.nas]\npth = 1\n", "line 2", "`pth`"),
            ("[pool.p]\nurl = 'x'\npasword_file = '/x'\n", "line 3", "`pasword_file`"),
            ("[pool.p]\nurl = 'x'\npassword = 'hunter2'\n", "line 3", "password_file"),
            ("[defaults]\npool = 'x'\n", "defaults.pool", "[pool.x]"),
            ("\0\xff" * 1000, "line 1"),
            ("x" * (1 << 20), "longer than"),
        ):
            path = self.write(text)
            told = self.run_xenith("snapshots", code=1).stderr
            for word in (str(path), "nothing was done", *words):
                self.assertIn(word, told.replace("Nothing", "nothing"))
            self.assertNotIn("hunter2", told)

    def test_a_password_that_everyone_may_read_is_warned_of(self) -> None:
        self.write(self.profile())
        self.assertEqual(self.run_xenith("-r", "nas", "snapshots").stderr, "")
        self.password.chmod(0o644)
        self.assertIn(f"may read or change {self.password}", self.run_xenith("-r", "nas", "snapshots").stderr)

    def test_plain_http_is_typed_with_a_promise(self) -> None:
        told = self.run_xenith("vms", "--pool", "nowhere.invalid", "--transport", "http", code=1).stderr
        self.assertIn("--i-trust-this-network", told)


if __name__ == "__main__":
    unittest.main()
