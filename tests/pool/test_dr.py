"""Twelve VMs in two vApps come up on another pool, for a test or for real. Run: python test_dr.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import subprocess
import time
import unittest

from restore_case import RestoreCase

SHARED, LOCAL, LAB = "Shared storage", "Local storage on xen-two", "lab"
IO = ["VDI_IO_ERROR", "Device I/O error"]
ORDERS = (0, 0, 1, 1, 2, 2)  # of the members of a vApp


class FailOverCase(RestoreCase):
    """Two vApps of six VMs each, and a VM of its own, backed up with the database of their pool."""

    here_vms = 0
    apps = ("shop", "mail")

    @classmethod
    def prepare_pools(cls) -> None:
        for app in cls.apps:
            made = cls.here.control("vms", count=6, name=f"{app}-{{}}", disk_mib=3, data_mib=2, tags=["prod", app])
            told = {vm["uuid"]: {"order": order, "start_delay": 1 if order == 0 else 0} for vm, order in zip(made, ORDERS, strict=True)}
            cls.here.control("appliance", name=app, vms=told)
        cls.here.control("vm", name="lonely", disk_mib=1)

    @classmethod
    def back_up(cls) -> None:
        cls.snapshots = cls.saved("all", "--with-pool-db", "--concurrency", "3")

    def dr(self, action: str, typed: str = "", code: int = 0) -> subprocess.CompletedProcess:
        done = self.told("dr", action, *self.there.login("--to-pool", self.password), *shlex.split(typed))
        self.check_ended(done, code)
        return done

    def orders(self, app: str) -> list[int]:
        """In which members of a vApp came to run, by their place in it."""
        rows = [row for row in self.there.control("starts") if row["name"].startswith(f"{app}-")]
        return [ORDERS[int(row["name"][len(app) + 1:].split()[0])] for row in rows]

    def check_restored(self, names: list[str]) -> None:
        """These VMs and no others are there, each with the disks that were backed up."""
        made = {self.there.world.db.get("VM", vm)["name_label"]: vm for vm in self.there.new("vms")}
        self.assertEqual(sorted(made), sorted(names))
        for name, vm in made.items():
            self.assertEqual(self.there.digests(vm), self.here.digests(self.here.one("VM", name)), name)
        self.assertEqual(len(self.there.new("vdis")), len(names))
        marks = [mark for mark in self.there.marks() if not mark.endswith("xenith-origin")]
        self.assertEqual((marks, self.there.passing(), self.there.new("networks")), ([], [], []))


class Plan(FailOverCase):
    """`dr plan` tells all that is in the way, and changes nothing."""

    def check_plan(self, typed: str, code: int, *words: str) -> None:
        before = self.fingerprints()
        done = self.dr("plan", typed, code)
        for word in words:
            self.assertIn(word, done.stdout + done.stderr)
        self.check_same(before)

    def test_what_can_be_brought_up(self) -> None:
        self.check_plan("", 0, "shop-5", "mail-0", "lonely")
        self.check_plan("--app shop", 0, "shop-5")
        self.check_plan("--select tag:mail --sr 'Local storage on xen-two'", 0, "mail-5")
        self.assertNotIn("mail", self.dr("plan", "--app shop").stdout)

    def test_what_is_in_the_way(self) -> None:
        for name, prepare, typed, words in (
            ("room for one, not for all", lambda: self.there.control("storage", sr=SHARED, physical_size=8 << 20), "", (SHARED,)),
            ("memory for some", lambda: self.there.control("set", host_memory_mib=5 << 10), "", ()),
            ("a network", lambda: self.there.update("network", "Pool-wide network associated with eth0", name_label="x"), "", ("eth0",)),
            ("storage for discs", lambda: None, "--sr 'ISO library'", ("ISO library",)),
            ("an older pool", lambda: self.there.control("set", xapi_major=1, xapi_minor=160), "", ("1.160",)),
        ):
            with self.subTest(name):
                self.there.control("back")
                prepare()
                self.check_plan(typed, 3, *words)

    def test_a_vm_or_a_vapp_that_nobody_knows(self) -> None:
        self.check_plan("--select vm:nobody", 1, "nobody")
        self.check_plan("--app nothing", 1, "nothing")


class Test(FailOverCase):
    """`dr test` does it all, tells how it went, and the pool is as before."""

    def test_twelve_vms_in_two_vapps_are_restored_started_in_order_and_removed(self) -> None:
        before, report = self.fingerprints(), self.repository.folder / "report.json"
        done = self.dr("test", f"--app shop --app mail --boot --wait-tools 5 --verify --concurrency 3 --sr '{LOCAL}' --report {report}")
        self.check_same(before)
        started = self.there.control("starts")
        self.assertEqual(len(started), 12)
        for app in self.apps:
            self.assertEqual(self.orders(app), sorted(ORDERS), app)
        text = report.read_text()
        for app in self.apps:
            for place in range(6):
                self.assertIn(f"{app}-{place}", text)
        json.loads(text)
        self.assertNotIn("lonely", text)
        self.assertIn("12", done.stdout)

    def test_reports_are_written_as_their_names_say(self) -> None:
        for kind, sign in (("md", "|"), ("txt", "lonely")):
            report = self.repository.folder / f"report.{kind}"
            self.dr("test", f"--select vm:lonely --report {report}")
            self.assertIn(sign, report.read_text())
            self.assertIn("lonely", report.read_text())

    def test_one_that_fails_does_not_stop_the_others_and_is_in_the_report(self) -> None:
        before, report = self.fingerprints(), self.repository.folder / "failed.json"
        for fault, typed in (({"kind": "stream", "path": "/import", "at": 1 << 20, "action": "error", "error": IO, "after": 2}, ""),
                             ({"kind": "rpc_error", "method": "Async.VM.start", "error": ["INTERNAL_ERROR", "no"], "after": 2}, "--boot"),
                             ({"kind": "spoils", "at": 5}, "--verify")):
            with self.subTest(fault):
                self.there.control("fault", **fault)
                done = self.dr("test", f"--app shop {typed} --report {report}", code=3)
                self.assertEqual(self.there.control("faults"), [])
                self.check_same(before)
                self.assertIn(fault.get("error", ["differs"])[0], report.read_text() + done.stderr)

    def test_tools_that_are_not_seen_are_a_failure(self) -> None:
        self.there.control("set", guest_tools=False)
        before = self.fingerprints()
        self.dr("test", "--select vm:lonely --boot --wait-tools 1", code=3)
        self.check_same(before)

    def test_cards_are_on_a_network_that_leads_nowhere(self) -> None:
        """Also where the pool has none of the networks."""
        for name in ("Pool-wide network associated with eth0", LAB):
            self.there.update("network", name, name_label=f"not {name}")
        before = self.fingerprints()
        self.dr("test", "--select vm:lonely --boot")
        self.check_same(before)

    def test_an_interrupt_leaves_the_pool_as_it_was(self) -> None:
        before = self.fingerprints()
        self.there.control("fault", kind="stream", path="/import", at=1 << 20, action="stall", seconds=1, after=1)
        command = self.repository.command("dr", "test", *self.there.login("--to-pool", self.password), "--app", "shop")
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(running.kill)
        end = time.monotonic() + 20
        while self.there.control("faults"):
            self.assertIsNone(running.poll())
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
        self.assertNotEqual(running.returncode, 0, told)
        self.check_same(before)


class Run(FailOverCase):
    """`dr run` is meant."""

    def test_a_vapp_comes_up_in_its_order_and_is_made_again(self) -> None:
        before = self.fingerprints()
        self.dr("run", "--app shop --keep-mac --start --dry-run")
        self.check_same(before)
        begun = time.monotonic()
        self.dr("run", "--app shop --keep-mac --start --concurrency 3")
        self.assertGreater(time.monotonic() - begun, 1)
        self.check_restored([f"shop-{place}" for place in range(6)])
        self.assertEqual(self.orders("shop"), sorted(ORDERS))
        starts = {row["name"]: row["at"] for row in self.there.control("starts")}
        self.assertGreaterEqual(min(starts["shop-2"], starts["shop-3"]) - max(starts["shop-0"], starts["shop-1"]), 0.9)  # the start delay
        [app] = self.there.world.db.tables["VM_appliance"].values()
        self.assertEqual((app["name_label"], set(app["VMs"])), ("shop", set(self.there.new("vms"))))
        for vm in app["VMs"]:
            row = self.there.world.db.get("VM", vm)
            of = self.here.row("VM", row["name_label"])
            self.assertEqual((row["order"], row["start_delay"]), (of["order"], of["start_delay"]))
            self.assertEqual(self.there.cards(vm), self.here.cards(self.here.one("VM", row["name_label"])))

    def test_one_that_fails_does_not_stop_the_others(self) -> None:
        self.there.control("fault", kind="stream", path="/import", at=1 << 20, action="error", error=IO, after=2)
        done = self.dr("run", "--app mail --concurrency 1", code=3)
        self.assertIn("VDI_IO_ERROR", done.stderr)
        made = [self.there.world.db.get("VM", vm)["name_label"] for vm in self.there.new("vms")]
        self.assertEqual(len(made), 5)
        self.check_restored(made)
        self.assertEqual(self.there.new("appliances"), [])

    def test_one_that_does_not_start_holds_up_nobody_and_is_not_lost(self) -> None:
        self.there.control("fault", kind="rpc_error", method="Async.VM.start", error=["INTERNAL_ERROR", "no"])
        told = json.loads(self.dr("run", "--app shop --start --concurrency 3", code=3).stdout)
        [bad] = [vm for vm in told["vms"] if "error" in vm]
        self.assertEqual((bad["state"], bad["booted"], bad["order"]), ("restored", False, 0))
        self.assertEqual((told["restored"], told["booted"], told["failed"], told["apps"]), (6, 5, 0, ["shop"]))
        self.assertEqual(self.orders("shop"), sorted(ORDERS)[1:])
        self.assertIn(bad["name"], " ".join(told["remarks"]))
        self.check_restored([f"shop-{place}" for place in range(6)])

    def test_a_slow_vapp_holds_up_no_other(self) -> None:
        self.dr("run", "--start --concurrency 1")
        starts = {row["name"]: row["at"] for row in self.there.control("starts")}
        first = max(starts[f"mail-{place}"] for place in (0, 1))
        self.assertGreaterEqual(min(starts["mail-2"], starts["mail-3"]) - first, 0.9)
        self.assertLess(starts["lonely"], min(starts["mail-2"], starts["shop-2"]))

    def test_a_second_one_restores_what_is_missing_and_nothing_twice(self) -> None:
        self.there.control("fault", kind="stream", path="/import", at=1 << 20, action="error", error=IO, after=2)
        self.dr("run", "--app mail --concurrency 1", code=3)
        before = set(self.there.new("vms"))
        self.assertEqual(len(before), 5)
        gone = next(iter(before))
        twin = self.there.api.VM.clone(gone, "a copy of one that is gone")  # with its note
        self.there.api.VM.destroy(gone)
        planned = json.loads(self.dr("plan", "--app mail", code=3).stdout)
        self.assertEqual(len(planned["present"]), 4)
        told = json.loads(self.dr("run", "--app mail --start --resume").stdout)
        self.assertEqual((told["restored"], told["booted"], told["apps"]), (6, 6, ["mail"]))
        self.assertEqual(self.orders("mail"), sorted(ORDERS))
        self.assertEqual(len(set(self.there.new("vms")) - before - {twin}), 2)
        self.assertIn("not restored again", " ".join(told["remarks"]))
        again = json.loads(self.dr("run", "--app mail --start --resume").stdout)
        self.assertEqual((again["restored"], again["booted"]), (6, 6))
        self.assertEqual(len(self.there.control("starts")), 6, "they run already")

    def test_nothing_is_done_if_anything_is_in_the_way(self) -> None:
        self.there.control("storage", sr=SHARED, physical_size=8 << 20)
        before = self.fingerprints()
        done = self.told("dr", "run", *self.there.login("--to-pool", self.password))
        self.assertIn(done.returncode, (1, 3), done.stderr)
        self.check_same(before)


class Memory(RestoreCase):
    """Three VMs at once take no more memory than the budget, and no file."""

    here_vms = 0
    disk_mib_each, data_mib_each = 4096, 192

    @classmethod
    def prepare_pools(cls) -> None:
        cls.here.control("vms", count=3, name="large-{}", disk_mib=cls.disk_mib_each, data_mib=cls.data_mib_each, tags=["large"])

    @classmethod
    def back_up(cls) -> None:
        cls.snapshots = cls.saved("tag:large", "--concurrency", "3")

    def test_half_a_gib_is_enough(self) -> None:
        log = self.repository.folder / "rss"
        command = self.repository.command("dr", "run", *self.there.login("--to-pool", self.password), "--concurrency", "3")
        before = {path for path in self.repository.folder.rglob("*") if path.is_file()}
        here = {**os.environ, "TMPDIR": str(self.repository.folder)}
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log.open("wb"), env=here)
        status, usage = waited(running)
        self.assertEqual(status, 0, log.read_text())
        peak = usage.ru_maxrss >> 10
        self.assertLessEqual(peak, 512, "MiB")
        self.assertEqual(len(self.there.new("vms")), 3)
        made = {path for path in self.repository.folder.rglob("*") if path.is_file()} - before - {log}
        self.assertLess(sum(path.stat().st_size for path in made), 8 << 20)
        print(f"peak of three VMs at once: {peak} MiB")


def waited(process: subprocess.Popen) -> tuple[int, resource.struct_rusage]:
    """The exit code of a process, and what it has used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


if __name__ == "__main__":
    unittest.main()
