"""The program as its users meet it: exit codes, messages, roles, kills.

Needs the binary (XENITH, default target/release/xenith). Run: python test_cli.py
"""

import json
import random
import shutil
import subprocess
import time
import unittest

import make_xva
from make_xva import MIB, Disk, Kind
from repository import XENITH, Repository

KILLS = 30


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


class Mistakes(unittest.TestCase):
    """Item 5: no snapshot, a message that names the place, the right exit code; the next run is good."""

    def setUp(self) -> None:
        self.repository = Repository(self)
        self.archive = make_xva.archive(Kind(), [Disk(6 * MIB, {1: noise(9, MIB), 3: noise(10, 700)})])

    def refuse(self, given: bytes, code: int, *words: str) -> None:
        done = self.repository.run("backup", "--stdin", "--type", "xva", code=code, stdin=given)
        for word in words:
            self.assertIn(word, done.stderr.decode())
        self.assertEqual(self.repository.snapshots(), [])

    def tearDown(self) -> None:
        snapshot = self.repository.backup("--stdin", stdin=self.archive)
        self.assertEqual(self.repository.run("dump", snapshot["id"]).stdout, self.archive)
        self.repository.run("check", "--read-data")

    def test_a_cut_stream(self) -> None:
        for length in (600, len(self.archive) // 2, len(self.archive) - 1024, len(self.archive) - 1):
            self.refuse(self.archive[:length], 3, "ends inside")

    def test_one_wrong_checksum(self) -> None:
        place = self.archive.index(b"Ref:41/00000001.xxhash") + 512
        self.refuse(self.archive[:place] + b"0000000000000000" + self.archive[place + 16 :], 3, "Ref:41/00000001", "checksum")

    def test_an_appended_error_page(self) -> None:
        page = b"HTTP/1.1 500 Internal Error\r\ncontent-length: 0\r\n\r\n<html>VDI_IO_ERROR</html>"
        middle = len(self.archive) // 2
        self.refuse(self.archive[:middle] + page, 3)
        self.refuse(self.archive[: self.archive.index(b"Ref:41/00000003")] + page, 3, "error page")

    def test_absurd_sizes(self) -> None:
        size = self.archive.index(b"Ref:41/00000001") + 124
        self.refuse(self.archive[:size] + b"77777777777\0" + self.archive[size + 12 :], 3)

    def test_what_is_not_an_xva(self) -> None:
        self.refuse(noise(1, 100_000), 1, "not recognised")


class Hints(unittest.TestCase):
    """What to do next is said in words that belong to the mistake."""

    def test_a_mistake_is_told_with_what_would_mend_it(self) -> None:
        repository = Repository(self)
        place, password, full = str(repository.path), str(repository.password), str(repository.folder)
        nowhere = str(repository.folder / "nowhere/x.xva")
        opened = ["-r", place, "--password-file", password]
        for arguments, hint in (
            (["-r", full, "--password-file", password, "init"], "name an empty directory"),
            (["-r", password, "snapshots"], "a file is where a directory should be: check --repo"),
            (["-r", place, "snapshots"], "use --password-file"),
            (["-r", place, "--password-file", nowhere, "snapshots"], "check --password-file"),
            ([*opened, "key", "add"], "use --new-password-file or --new-password-command"),
            ([*opened, "key", "add", "--new-password-file", nowhere], "check --new-password-file"),
            (["vms", "--pool", "prod"], "use --xapi-password-file"),
            (["vms", "--pool", "prod", "--xapi-password-file", nowhere], "check --xapi-password-file"),
            ([*opened, "backup", "vm:web01"], "name their pool with --pool"),
            (["xva", "check", nowhere], "check the path"),
        ):
            with self.subTest(arguments):
                done = subprocess.run([XENITH, "--no-cache", "--config", "/dev/null", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, env={})
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(hint, done.stderr.split("hint: ")[-1])

    def test_what_is_left_of_an_init_that_was_killed_is_no_obstacle(self) -> None:
        repository = Repository(self)
        for path in repository.files():
            path.unlink()
        repository.run("init")
        self.assertEqual(repository.snapshots(), [])


class Kills(unittest.TestCase):
    """Item 6: kill -9 at any point leaves a sound repository, and nothing to clean up."""

    def test_a_killed_backup_leaves_a_sound_repository(self) -> None:
        repository = Repository(self)
        kept = noise(0, 4 * MIB)
        first = repository.backup("--stdin", stdin=kept)
        source = repository.folder / "disk.raw"
        content = noise(1, 80 * MIB)  # a full pack, and a part of one
        source.write_bytes(content)
        before = repository.folder / "before"
        shutil.copytree(repository.path, before)
        backup = ("backup", "--type", "raw", "--vm-name", "killed", str(source))
        begun = time.monotonic()
        repository.run(*backup)
        usual = time.monotonic() - begun
        chance = random.Random(6)
        unfinished = 0
        for number in range(KILLS):  # spread over the time that a backup takes, in any order
            shutil.rmtree(repository.path)
            shutil.copytree(before, repository.path)
            process = subprocess.Popen(repository.command("-q", *backup), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.9 * usual * (number * 11 % KILLS + chance.random()) / KILLS)
            process.kill()
            process.wait()
            repository.run("check", "--read-data")
            unfinished += len(list((repository.path / "snapshots").iterdir())) == 1
            if number % 10 == 0:
                last = repository.backup(*backup[1:])
                self.assertTrue(repository.run("dump", last["id"], "--format", "raw").stdout == content)
                self.assertTrue(repository.run("dump", first["id"]).stdout == kept)
        self.assertGreater(unfinished, KILLS // 5, "the kills came too late to show anything")


class Roles(unittest.TestCase):
    """Item 9: passwords, roles, and what storage may see."""

    def test_exit_codes_say_what_is_wrong(self) -> None:
        repository = Repository(self)
        wrong = repository.secret("wrong", "not this one")
        self.assertIn("password", repository.run("snapshots", code=12, password=wrong).stderr.decode())
        nowhere = subprocess.run(["env", *repository.command("snapshots")[:1], "-r", "/nonexistent/repo", "--password-file", str(wrong), "snapshots"], capture_output=True)
        self.assertEqual(nowhere.returncode, 10)
        repository.run("restore", "latest", "--target", str(repository.folder / "x"), code=1)
        repository.run("init", code=1)

    def test_the_backup_role_stores_and_cannot_read(self) -> None:
        repository = Repository(self)
        mover = repository.secret("mover", "only stores")
        repository.run("key", "add", "--role", "backup", "--label", "mover", "--new-password-file", str(mover))
        archive = make_xva.archive(Kind(), [Disk(64 * MIB, {place: noise(place, MIB) for place in range(0, 64, 4)})])
        first = repository.backup("--stdin", stdin=archive)
        before = repository.stored_bytes()
        second = repository.backup("--stdin", stdin=archive, password=mover)
        self.assertLess(repository.stored_bytes() - before, 64 << 10)
        done = repository.run("dump", second["id"], code=1, password=mover)
        self.assertIn("backup role", done.stderr.decode())
        self.assertEqual(done.stdout, b"")
        self.assertEqual({snapshot["id"] for snapshot in repository.snapshots()}, {first["id"], second["id"]})
        self.assertTrue(repository.run("dump", second["id"]).stdout == archive)

    def test_storage_sees_no_name_and_no_content(self) -> None:
        repository = Repository(self)
        content = b"the secret minutes of the board. " * 40_000
        archive = make_xva.archive(Kind(name="accounting-server"), [Disk(2 * MIB, {0: content[:MIB]})])
        repository.backup("--stdin", "--tag", "payroll", "--run", "nightly-run", stdin=archive)
        for path in repository.files():
            stored = path.read_bytes()
            for needle in (b"accounting-server", b"secret minutes", b"ova.xml", b"name_label", b"payroll", b"nightly-run", b"Ref:"):
                self.assertNotIn(needle, stored, path)

    def test_anyone_can_verify_every_object(self) -> None:
        repository = Repository(self)
        repository.backup("--stdin", stdin=make_xva.archive(Kind(), [Disk(3 * MIB, {1: noise(3, MIB)})]))
        repository.run("check", "--no-password")
        chance = random.Random(9)
        for path in sorted(repository.files()):
            good = path.read_bytes()
            place = chance.randrange(len(good))
            path.chmod(0o600)
            path.write_bytes(good[:place] + bytes([good[place] ^ 1 << chance.randrange(8)]) + good[place + 1 :])
            with self.subTest(path.name):
                done = repository.run("check", "--no-password", code=1)
                self.assertIn(path.name, done.stdout.decode() + done.stderr.decode())
            path.write_bytes(good)
        repository.run("check", "--read-data")


class Nights(unittest.TestCase):
    """`--at`: everything that names a snapshot goes back to a time."""

    def test_the_latest_of_a_time_is_not_newer(self) -> None:
        repository = Repository(self)
        nights = {f"2026-11-{day:02} 02:00:00": noise(day, 1000 + day) for day in (1, 2, 3)}
        for time_, content in nights.items():
            repository.backup("--stdin", "--type", "file", "--vm-name", "notes", "--time", time_, stdin=content)
        for at, night in (("2026-11-02 01:59:59", 1), ("2026-11-02 02:00:00", 2)):
            with self.subTest(at):
                named = ("latest", "--vm", "notes", "--at", at)
                content = nights[f"2026-11-{night:02} 02:00:00"]
                self.assertEqual(repository.run("dump", *named).stdout, content)
                self.assertIn(f"2026-11-{night:02} 02:00:00", repository.run("show", *named).stdout.decode())
                self.assertIn(str(len(content)), repository.run("ls", *named).stdout.decode())
                path = repository.folder / f"back-{night}"
                repository.run("restore", *named, "--target", str(path))
                self.assertEqual(path.read_bytes(), content)
                self.assertEqual(len(json.loads(repository.run("--json", "snapshots", "--at", at).stdout)), night)
        for command in ("dump", "show", "ls"):
            self.assertIn("no snapshot matches", repository.run(command, "latest", "--at", "2026-10-31 00:00:00", code=1).stderr.decode())


class Streams(unittest.TestCase):
    """Any file is kept as it is; raw disks together are one snapshot."""

    def test_a_file_of_any_kind_comes_out_identical(self) -> None:
        repository = Repository(self)
        path = repository.folder / "pool-db.xml"
        for content in (b"", b"<pool/>", noise(5, 5 * MIB + 7)):
            path.write_bytes(content)
            snapshot = repository.backup(str(path))
            self.assertEqual(repository.run("dump", snapshot["id"]).stdout, content)

    def test_raw_disks_given_together_are_one_snapshot(self) -> None:
        repository = Repository(self)
        paths = [repository.folder / name for name in ("b.img", "a.img")]
        for number, path in enumerate(paths):
            path.write_bytes(noise(number, MIB + 512))
        snapshot = repository.backup("--vm-name", "db01", *map(str, paths))
        for number, path in enumerate(paths):
            done = repository.run("dump", snapshot["id"], "--format", "raw", "--disk", str(number))
            self.assertTrue(done.stdout == path.read_bytes())
        canonical = repository.run("dump", snapshot["id"], "--format", "xva").stdout
        again = repository.backup("--stdin", stdin=canonical)
        done = repository.run("dump", again["id"], "--format", "raw", "--disk", "1")
        self.assertTrue(done.stdout == paths[1].read_bytes())

    def test_a_dry_run_leaves_no_trace(self) -> None:
        repository = Repository(self)
        before = {path: path.read_bytes() for path in repository.files()}
        repository.run("backup", "--dry-run", "--stdin", stdin=noise(1, 3 * MIB))
        self.assertEqual({path: path.read_bytes() for path in repository.files()}, before)

    def test_an_empty_disk_of_2_tib_costs_nothing(self) -> None:
        repository = Repository(self)
        path = repository.folder / "empty.img"
        with path.open("wb") as file:
            file.truncate(2 << 40)
        before = repository.stored_bytes()
        snapshot = repository.backup("--vm-name", "empty", str(path))
        self.assertLess(repository.stored_bytes() - before, 64 << 10)
        back = repository.folder / "back.img"
        repository.run("restore", snapshot["id"], "--target", str(back))
        self.assertEqual(back.stat().st_size, 2 << 40)
        self.assertLess(back.stat().st_blocks, 1024)


if __name__ == "__main__":
    unittest.main()
