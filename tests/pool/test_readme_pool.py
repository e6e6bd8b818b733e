"""What README.md promises of a pool: its configuration is understood, and its nightly line does what it says. Run: python test_readme_pool.py

Needs the binary (XENITH, default target/release/xenith).
"""

import json
import os
import re
import subprocess
import unittest
from pathlib import Path

from test_backup import XENITH, BackupCase

README = Path(__file__).resolve().parents[2] / "README.md"


class Readme(BackupCase):
    """The section "A pool"."""

    def block(self, language: str, heading: str = "## A pool") -> str:
        section = re.split(r"\n##+ ", README.read_text().split(f"\n{heading}\n")[1])[0]
        return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[0]

    def lines(self, heading: str = "## A pool") -> list[str]:
        """What is typed there first."""
        return [line.removeprefix("# ").split("   #")[0].split("  #")[0] for line in self.block("console", heading).splitlines()]

    def install(self) -> Path:
        """A machine of its own: the configuration as in README, for this pool and this repository."""
        text = self.block("toml")
        folder = self.repository.folder
        for there, here in (
            (r"url = .*", f"url = {json.dumps([self.other['https'], self.coordinator['https']])}"),
            (r"user = .*", 'user = "root"'),
            (r'"/etc/xenith/prod.pw"', f'"{self.root_password}"'),
            (r"ca_file = .*", f"fingerprint = {json.dumps(self.pins.split(','))}"),
            (r'"/mnt/nas/xen"', f'"{self.repository.path}"'),
            (r'"/etc/xenith/nas.pw"', f'"{self.repository.password}"'),
        ):
            text, changed = re.subn(there, here, text)
            self.assertEqual(changed, 1, there)
        for secret in (self.root_password, self.repository.password):
            secret.chmod(0o600)
        config = folder / "home/.config/xenith/config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(text)
        (folder / "bin").mkdir()
        (folder / "bin/xenith").symlink_to(os.path.abspath(XENITH))
        return folder

    def run_line(self, folder: Path, line: str) -> subprocess.CompletedProcess:
        """As cron does: by a shell, with next to no environment, and nobody at a terminal."""
        environment = {"HOME": str(folder / "home"), "PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
        return subprocess.run(["/bin/sh", "-c", line], env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def test_the_line_of_the_crontab_saves_every_vm_with_the_tag_and_the_database(self) -> None:
        minute, hour, *_, user, line = re.fullmatch(r"(\S+) (\S+) (\S+) (\S+) (\S+)\s+(\S+)\s+(.*)\n", self.block("cron")).groups()
        self.assertEqual((minute, hour, user), ("0", "2", "root"))
        tagged = {self.name(kind) for kind in ("halted", "running", "elsewhere")}
        for name in tagged:
            self.tag(name, "prod")
        folder = self.install()
        done = self.run_line(folder, line)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        snapshots = self.repository.snapshots()
        vms = [snapshot for snapshot in snapshots if snapshot["container"] != "pool-db"]
        self.assertEqual(sorted(snapshot["vm_name"] for snapshot in vms), sorted(tagged))
        self.assertEqual(len(snapshots), len(vms) + 1, "the database of the pool")
        self.assertEqual({snapshot["run"] for snapshot in snapshots}, {"nightly"})
        self.assertEqual(len({snapshot["run_id"] for snapshot in snapshots}), 1)
        for snapshot in vms:
            self.check_same_disks(snapshot, snapshot["vm_name"])
        self.check_nothing_left()

    def test_the_other_lines_do_something_too(self) -> None:
        folder = self.install()
        lines = self.lines()
        self.assertEqual(len(lines), 4)
        for line in lines:
            done = self.run_line(folder, line.replace("vm:web01", f"vm:{self.name('halted')}"))
            self.assertEqual(done.returncode, 0, (line, done.stderr))
        self.assertEqual([snapshot["vm_name"] for snapshot in self.repository.snapshots()], [self.name("halted")])

    def test_a_vm_comes_back_beside_the_one_that_runs_and_in_its_place_and_a_fail_over_is_tried(self) -> None:
        folder, name = self.install(), self.name("running")
        self.tag(name, "prod")
        self.control("set", guest_tools=True)
        self.addCleanup(self.control, "back")
        self.backup(f"vm:{name}")
        [snapshot] = self.repository.snapshots()
        [storage] = {self.api.SR.get_name_label(self.api.VDI.get_SR(vdi)) for vdi in self.disks_of(self.vms[name])}
        restores = self.lines("### Back to a pool")[:3]
        trials = [line for line in self.lines("## Disaster recovery") if line.startswith("xenith dr test")]
        self.assertEqual((len(restores), len(trials)), (3, 1))
        for line in restores + trials:
            for there, here in (("web01", name), ("nfs-fast", f"'{storage}'"), ("scratch", f"'{storage}'"), ("a1c4", snapshot["short_id"]),
                                ("--to-pool dr", "--to-pool prod"), ("dr.html", str(folder / "dr.html"))):
                line = line.replace(there, here)
            done = self.run_line(folder, line)
            self.assertEqual(done.returncode, 0, (line, done.stdout, done.stderr))
        names = [row["name_label"] for row in self.api.VM.get_all_records().values()]
        self.assertIn(f"{name}-restored", names)
        self.assertTrue(any(found.startswith(f"{name}.replaced-") for found in names), names)
        self.assertIn(name, (folder / "dr.html").read_text())


if __name__ == "__main__":
    unittest.main()
