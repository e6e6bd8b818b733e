"""What `doctor` says about a pool, well and ill, and that it changes nothing. Run: python test_doctor.py

Needs the binary (XENITH, default target/release/xenith).
"""

import json
import subprocess
import unittest

import client
from test_backup import XENITH, BackupCase


class Doctor(BackupCase):
    """Findings by check."""

    def doctor(self, *login: str, code: int = 0, repository: bool = False) -> dict[str, list[dict]]:
        login = login or tuple(self.login())
        if repository:
            done = self.repository.run("--json", "doctor", *login, code=code)
        else:
            done = subprocess.run([XENITH, "--config", "/dev/null", "--json", "doctor", *login], capture_output=True)
            self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        found: dict[str, list[dict]] = {}
        for finding in json.loads(done.stdout)["findings"]:
            self.assertEqual(finding["hint"] == "", finding["level"] == "ok", finding)
            found.setdefault(finding["check"], []).append(finding)
        return found

    def levels(self, found: list[dict]) -> list[str]:
        return [finding["level"] for finding in found]

    def row(self, cls: str, ref: str, changes: dict) -> None:
        """Sets fields of an object for the rest of the test."""
        before = self.control("state")
        held = {name: before["objects"][cls][ref][name] for name in changes}
        client.control(self.told["control"], "update", cls=cls, ref=ref, changes=changes)
        self.addCleanup(client.control, self.told["control"], "update", cls=cls, ref=ref, changes=held)

    def test_a_pool_that_is_well(self) -> None:
        calls = set(self.control("calls"))
        found = self.doctor()
        for check in ("name", "connect", "tls", "clock", "certificate"):
            self.assertEqual(self.levels(found[check]), ["ok", "ok"], found[check])
        for check in ("login", "version", "rights", "leftovers", "snapshots"):
            self.assertEqual(self.levels(found[check]), ["ok"], found[check])
        self.assertIn("XCP-ng 8.3.0", found["version"][0]["message"])
        self.assertIn("20 times, median", found["connect"][0]["message"])
        self.assertEqual(set(self.levels(found["storage"])), {"ok"}, found["storage"])
        self.assertNotIn("coverage", found)
        self.assertEqual(self.control("leftovers"), self.before)
        changing = {name for name in set(self.control("calls")) - calls if not name.startswith("/")}
        changing = {name for name in changing if not name.split(".")[1].startswith("get_")}
        self.assertLessEqual(changing, {"session.login_with_password", "session.logout", "VM.snapshot", "VM.destroy", "network.remove_purpose"})

    def test_tracking_and_nbd_are_counted(self) -> None:
        found = self.doctor()
        disks = sum(len(self.disks_of(vm)) for vm in self.vms.values())
        self.assertIn(f"0 of {disks} disks", found["cbt"][0]["message"])
        self.assertEqual(self.levels(found["cbt"] + found["nbd"]), ["warn", "warn"])
        network = self.api.network.get_by_name_label("Pool-wide network associated with eth0")[0]
        self.api.network.add_purpose(network, "nbd")
        self.addCleanup(self.api.network.remove_purpose, network, "nbd")
        disk = self.disks_of(self.vms[self.name("running")])[0]
        self.api.VDI.enable_cbt(disk)
        self.addCleanup(self.api.VDI.disable_cbt, disk)
        found = self.doctor()
        self.assertIn(f"1 of {disks} disks", found["cbt"][0]["message"])
        self.assertEqual(self.levels(found["nbd"]), ["ok"])

    def test_roles_are_told_apart(self) -> None:
        for user, level, word, code in (("root", "ok", "everything", 0), ("backup", "warn", "not the pool's database", 0), ("reader", "fail", "no snapshot", 3)):
            [right] = self.doctor(*self.login(), "--xapi-user", user, code=code)["rights"]
            self.assertEqual(right["level"], level)
            self.assertIn(word, right["message"])

    def test_a_name_that_leads_nowhere_is_told_with_the_fix(self) -> None:
        coordinator = next(ref for ref, row in self.api.host.get_all_records().items() if row["address"] == "127.0.0.1")
        self.row("host", coordinator, {"address": "xen-one.invalid"})
        found = self.doctor(code=3)
        [nameless] = [finding for finding in found["name"] if finding["level"] == "fail"]
        self.assertIn("xen-one.invalid", nameless["message"])
        self.assertIn("--host-map", nameless["hint"])
        found = self.doctor(*self.login(), "--host-map", "xen-one.invalid=127.0.0.1")
        self.assertEqual(self.levels(found["name"]), ["ok", "ok"])

    def test_storage_that_is_full_or_away(self) -> None:
        storage = self.api.SR.get_by_name_label("Shared storage")[0]
        self.row("SR", storage, {"physical_size": 1 << 30, "physical_utilisation": (1 << 30) - 4096})
        local = self.api.SR.get_by_name_label("Local storage on xen-two")[0]
        [pbd] = self.api.SR.get_PBDs(local)
        self.row("PBD", pbd, {"currently_attached": False})
        self.row("pool", self.api.pool.get_all()[0], {"default_SR": "OpaqueRef:NULL"})
        told = {finding["message"].split(":")[0]: finding["level"] for finding in self.doctor(code=3)["storage"] if finding["level"] != "ok"}
        self.assertEqual(told, {"Shared storage": "warn", "Local storage on xen-two": "fail", "the pool has no default storage": "warn"})

    def test_a_clock_that_is_wrong(self) -> None:
        shown = self.doctor()["clock"][0]["message"]
        self.assertRegex(shown, r": [+-][0-9] s$")

    def test_who_cannot_log_in_learns_what_is_well_so_far(self) -> None:
        wrong = self.repository.secret("wrong", "guess")
        found = self.doctor(*self.login(password=wrong), code=3)
        self.assertEqual(self.levels(found["connect"] + found["login"]), ["ok", "fail"])
        self.assertIn("SESSION_AUTHENTICATION_FAILED", found["login"][0]["message"])

    def test_a_certificate_that_is_not_trusted(self) -> None:
        pin = f"sha256:{self.coordinator['sha256']}"
        found = self.doctor(*self.login("--tls-fingerprint", pin, pool=self.coordinator["https"]), code=3)
        self.assertEqual(sorted(self.levels(found["tls"])), ["fail", "ok"])
        self.assertEqual(set(self.levels(self.doctor(*self.login("--insecure"))["tls"])), {"warn"})

    def test_vms_that_nobody_backed_up_are_named(self) -> None:
        self.backup(f"vm:{self.name('halted')}")
        [coverage] = self.doctor(repository=True)["coverage"]
        self.assertEqual(coverage["level"], "warn")
        for name in self.vms:
            self.assertEqual(name in coverage["message"], name != self.name("halted"), coverage)

    def test_people_read_it_too(self) -> None:
        told = self.repository.run("doctor", *self.login()).stdout.decode()
        self.assertRegex(told, r"(?m)^ok    login +root at pool simulated, led by 127\.0\.0\.1:\d+$")
        self.assertRegex(told, r"(?m)^ +hint: ")
        self.assertRegex(told, r"(?m)^0 failed, \d+ warnings$")


class Profiles(BackupCase):
    """A pool by its name in the configuration file."""

    def config(self, more: str = "", url: str | None = None) -> list[str]:
        path = self.repository.folder / "config.toml"
        pins = json.dumps(self.pins.split(","))
        path.write_text(f'[pool.prod]\nurl = "{url or self.other["https"]}"\npassword_file = "{self.root_password}"\nfingerprints = {pins}\n{more}')
        return ["--config", str(path)]

    def test_a_pool_is_called_by_its_name(self) -> None:
        config = self.config()
        vms = json.loads(self.repository.run("--json", *config, "vms", "--pool", "prod").stdout)
        self.assertEqual({vm["name"] for vm in vms}, set(self.vms))
        self.assertIn("none was named", self.repository.run(*config, "vms", code=1).stderr.decode())
        self.repository.run(*self.config('[defaults]\npool = "prod"\n'), "cleanup", "--dry-run")

    def test_data_goes_in_the_clear_where_the_profile_says_so_and_passwords_never(self) -> None:
        port = self.coordinator["http"].rsplit(":", 1)[1]
        config = self.config(f'transport = "http:{port}"\n')
        name = self.name("halted")
        self.repository.run(*config, "backup", "--pool", "prod", f"vm:{name}")
        [snapshot] = self.repository.snapshots()
        self.check_same_disks(snapshot, name)
        self.repository.run(*self.config('transport = "http:1"\n'), "backup", "--pool", "prod", f"vm:{name}", code=1)

    def test_a_redirection_to_a_name_that_is_not_known_is_told_with_the_fix(self) -> None:
        self.control("fault", kind="rpc_error", method="session.login_with_password", error=["HOST_IS_SLAVE", "xen-one.invalid"], count=-1)
        told = self.repository.run(*self.config(), "vms", "--pool", "prod", code=1).stderr.decode()
        for words in ("xen-one.invalid", "this machine knows no address", "--host-map"):
            self.assertIn(words, told)


if __name__ == "__main__":
    unittest.main()
