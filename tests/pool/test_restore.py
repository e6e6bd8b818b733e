"""VMs go back to a pool, or nothing does: a line for each case. Run: python test_restore.py

Needs the binary (XENITH, default target/release/xenith).
"""
from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import time
import unittest
from collections.abc import Callable

from client import MIB
from restore_case import NULL, RestoreCase, Side

SHARED, LOCAL, ISO = "Shared storage", "Local storage on xen-two", "ISO library"
ETH0, LAB = "Pool-wide network associated with eth0", "lab"
ODD = "a<b> & \"c\" 'd' ünï/\\x [%s] $HOME"
FULL = ["SR_BACKEND_FAILURE_44", "", "There is insufficient space", ""]
IO = ["VDI_IO_ERROR", "Device I/O error"]


# ------------------------------------------------------------ what a pool is like before a case: functions of one side

def no_default(side: Side) -> None:
    side.update("pool", "simulated", default_SR=NULL)


def small(side: Side, sr: str = SHARED) -> None:
    used = side.control("storage", sr=sr)["physical_utilisation"]
    side.control("storage", sr=sr, physical_size=used + 4096)


def detached(side: Side) -> None:
    for pbd in side.row("SR", SHARED)["PBDs"]:
        side.control("update", cls="PBD", ref=pbd, changes={"currently_attached": False})


def network(name: str, **changes: object) -> Callable[[Side], None]:
    return lambda side: side.update("network", name, **changes)


def other_vm(**fields: object) -> Callable[[Side], None]:
    return lambda side: side.control("vm", name="somebody", disk_mib=1, **fields)


def same_seed(side: Side, other: Side) -> None:
    other_vm()(side)
    side.update("VM", "somebody", other_config={"mac_seed": other.row("VM", "halted")["other_config"]["mac_seed"]})


def same_uuid(side: Side, other: Side) -> None:
    """The network is the same one under another name."""
    side.update("network", LAB, uuid=other.row("network", LAB)["uuid"], name_label="renamed")
    side.api.network.create({"name_label": LAB, "other_config": {}})


def busy(side: Side) -> None:
    side.update("VM", "halted", current_operations={"OpaqueRef:x": "clone"})


def without_vhds(side: Side) -> None:
    side.update("SR", SHARED, sm_config={"use_vhd": "false"})


def settings(**given: object) -> Callable[[Side], None]:
    return lambda side: side.control("set", **given)


OLD_POOL = settings(xapi_major=1, xapi_minor=160, checksum="sha1")

# Name; side; VM; what the pool is like; arguments; words of the refusal. Told before the first byte, also by a dry run.
REFUSED = [
    ("no default storage", "there", "halted", no_default, "", ("default SR", "--sr")),
    ("storage that is not there", "there", "halted", None, "--sr nowhere", ("nowhere",)),
    ("storage without room", "there", "running", small, "", (SHARED,)),
    ("storage of one disk without room", "there", "running", lambda side: small(side, LOCAL), f"--disk-sr '0={LOCAL}'", (LOCAL,)),
    ("storage for discs", "there", "halted", None, f"--sr '{ISO}'", (ISO,)),
    ("storage that no host has attached", "there", "halted", detached, "", (SHARED,)),
    ("a network that is not there", "there", "running", network(LAB, name_label="other"), "", (LAB, "--network")),
    ("a network mapped to none", "there", "running", None, f"--network {LAB}=nowhere", ("nowhere",)),
    ("a mapping of a network that the VM is not on", "there", "halted", None, f"--network nowhere={LAB}", ("nowhere",)),
    ("two networks of one name", "there", "running", network(ETH0, name_label=LAB), "", (LAB,)),
    ("a uuid that is taken", "here", "halted", None, "--name other --keep-uuid", ("vm-0-halted",)),
    ("a seed of addresses that is taken", "there", "halted", same_seed, "--keep-uuid", ("somebody",)),
    ("addresses of a VM that runs", "here", "running", None, "--name other --keep-mac", ("vm-1-running",)),
    ("a name that is taken", "here", "halted", None, "", ("vm-0-halted", "--name")),
    ("in place of a VM that runs", "here", "running", None, "--overwrite", ("running", "--shutdown-first")),
    ("in place of a VM that is suspended", "here", "suspended", None, "--overwrite", ("suspended", "--shutdown-first")),
    ("in place of a VM that is busy", "here", "halted", busy, "--overwrite", ("clone",)),
    ("in place of a VM that is not there", "there", "halted", None, "--overwrite", ("halted",)),
    ("a pool that is older", "there", "halted", OLD_POOL, "", ("1.160",)),
    ("a disk that is not there", "there", "halted", None, "--disks xvdz", ("xvdz",)),
    ("storage for a disk that is not there", "there", "halted", None, f"--disk-sr 'xvdz={LOCAL}'", ("xvdz",)),
    ("memory, and disks here and there", "there", "suspended", None, f"--keep-power-state --disk-sr '0={LOCAL}'", ("memory",)),
    ("a form that no pool takes", "there", "halted", None, "--format qcow2", ("raw or vhd",)),
    ("a VHD for storage that takes none", "there", "halted", without_vhds, "--format vhd", (SHARED, "--format raw")),
    ("memory, and disks one by one", "there", "suspended", None, "--keep-power-state --format raw", ("memory", "--format")),
    ("three things at once", "there", "running", network(LAB, name_label="other"), "--sr nowhere --disks xvdz", ("nowhere", LAB, "xvdz")),
]

# Arguments that contradict each other.
CONTRADICTIONS = ["--overwrite --name other", "--start --start-paused", "--keep-mac --new-mac", "--overwrite --keep-uuid",
                  "--destroy-old", "--shutdown-first", "--disks-only --start"]


def stream(action: str, at: int = 2 * MIB, path: str = "/import", **more: object) -> dict:
    return {"kind": "stream", "path": path, "at": at, "action": action, **more}


def call(method: str, *error: str) -> dict:
    return {"kind": "rpc_error", "method": method, "error": list(error) or ["INTERNAL_ERROR", "no"]}


TWO_PLACES = f"--disk-sr '1={LOCAL}'"

# Name; side; VM; fault; arguments; words. The program says what happened, and everything is as it was.
LOST = [
    ("storage that fills up", "there", "halted", stream("error", error=FULL), "", ("SR_BACKEND_FAILURE_44",)),
    ("storage that fills up before the first chunk", "there", "halted", stream("error", at=512, error=["SR_FULL", "9", "1"]), "", ("SR_FULL",)),
    ("an error of the device", "there", "halted", stream("error", error=IO), "", ("VDI_IO_ERROR",)),
    ("sums that differ", "there", "halted", {"kind": "task", "path": "/import", "action": "fails",
                                             "error": ["IMPORT_ERROR_SOME_CHECKSUMS_FAILED"]}, "", ("CHECKSUMS_FAILED",)),
    ("a connection that is cut", "there", "halted", stream("cut"), "", ("CLIENT_ERROR",)),
    ("a connection that is reset", "there", "halted", stream("reset"), "", ("CLIENT_ERROR",)),
    ("a task that was lost with its stream", "there", "halted", stream("reset", task="pending"), "--stall-timeout 1", ()),
    ("a task that never ends", "there", "halted", {"kind": "task", "path": "/import", "action": "never_ends"}, "--stall-timeout 1", ()),
    ("an upgrade that has begun", "there", "halted", {"kind": "http_error", "path": "/import", "status": 400,
                                                      "text": "NOT_SUPPORTED_DURING_UPGRADE: [ ]"}, "", ("NOT_SUPPORTED_DURING_UPGRADE",)),
    ("a disk that is not what was sent", "there", "halted", {"kind": "spoils", "at": 5}, "--verify", ("differs",)),
    ("disk by disk: no room for the second", "there", "running", {**call("VDI.create", *FULL), "after": 1}, TWO_PLACES,
     ("SR_BACKEND_FAILURE_44",)),
    ("disk by disk: an error of the device", "there", "running", stream("error", at=4096, path="/import_raw_vdi", error=IO), TWO_PLACES,
     ("VDI_IO_ERROR",)),
    ("disk by disk: a connection that is reset", "there", "running", stream("reset", at=4096, path="/import_raw_vdi"), TWO_PLACES, ()),
    ("disk by disk: no drive", "there", "running", call("VBD.create"), TWO_PLACES, ("VBD.create",)),
    ("disk by disk: a disk that is not what was sent", "there", "running", {"kind": "spoils", "at": 5}, f"{TWO_PLACES} --verify", ("differs",)),
    ("as VHD: an error of the device", "there", "running", stream("error", at=4096, path="/import_raw_vdi", error=IO), "--format vhd",
     ("VDI_IO_ERROR",)),
    ("as VHD: a connection that is cut", "there", "running", stream("cut", at=4096, path="/import_raw_vdi"), "--format vhd", ()),
    ("only disks: an error of the device", "there", "running", stream("error", at=4096, path="/import_raw_vdi", error=IO), "--disks-only",
     ("VDI_IO_ERROR",)),
    ("in place: an error of the device", "here", "halted", stream("error", error=IO), "--overwrite", ("VDI_IO_ERROR",)),
    ("in place: names that cannot be given", "here", "halted", call("VM.set_name_label"), "--overwrite", ()),
    ("in place: the second name that cannot be given", "here", "halted", {**call("VM.set_name_label"), "after": 1}, "--overwrite", ()),
    ("in place: a disk that is not what was sent", "here", "halted", {"kind": "spoils", "at": 5}, "--overwrite --verify", ("differs",)),
]


# ------------------------------------------------------------ what a pool is like after a case: methods of the test

class Checks(RestoreCase):
    """`vm` is the reference of what was restored, `of` that of what was backed up."""

    def new_addresses(self, side: Side, vm: str, of: str) -> None:
        old, new = self.here.cards(of), side.cards(vm)
        self.assertEqual([(place, net) for place, _, net in new], [(place, net) for place, _, net in old])
        self.assertFalse({mac for _, mac, _ in new} & {mac for _, mac, _ in old})

    def same_addresses(self, side: Side, vm: str, of: str) -> None:
        self.assertEqual(side.cards(vm), self.kept_cards)

    def same_uuid(self, side: Side, vm: str, _of: str) -> None:
        self.assertEqual(side.world.db.get("VM", vm)["uuid"], self.kept["uuid"])

    def named(self, name: str, side: Side, vm: str, _of: str) -> None:
        self.assertEqual(side.world.db.get("VM", vm)["name_label"], name)

    def on(self, storage: list[str], side: Side, vm: str, _of: str) -> None:
        self.assertEqual(side.storage_of(vm), storage)

    def networks(self, names: list[str], side: Side, vm: str, _of: str) -> None:
        self.assertEqual([net for _, _, net in side.cards(vm)], names)

    def state(self, state: str, side: Side, vm: str, _of: str) -> None:
        self.assertEqual(side.world.db.get("VM", vm)["power_state"], state)

    def same_record(self, side: Side, vm: str, _of: str) -> None:
        row = side.world.db.get("VM", vm)
        for name in ("name_label", "name_description", "tags", "platform", "HVM_boot_params", "memory_static_max", "VCPUs_max", "is_a_template",
                     "NVRAM", "order", "start_delay"):
            self.assertEqual(row[name], self.kept[name], name)

    def old_stays(self, side: Side, vm: str, of: str) -> None:
        """Under another name, with its uuid, addresses and disks; the new one has its name and addresses."""
        row = side.world.db.get("VM", of)
        self.assertRegex(row["name_label"], re.escape(self.kept["name_label"]) + r"\.replaced-\d{8}")
        self.assertEqual((row["uuid"], side.cards(of), side.digests(of)), (self.kept["uuid"], self.kept_cards, self.kept_digests))
        self.assertEqual(row["power_state"], "Halted")
        self.assertEqual(side.world.db.get("VM", vm)["name_label"], self.kept["name_label"])
        self.same_addresses(side, vm, of)

    def old_goes(self, side: Side, vm: str, of: str) -> None:
        self.assertNotIn(of, side.world.db.tables["VM"])
        self.assertEqual(set(self.kept_disks) & set(side.world.db.tables["VDI"]), set())
        self.assertEqual(side.world.db.get("VM", vm)["name_label"], self.kept["name_label"])
        self.same_addresses(side, vm, of)

    def one_by_one(self, form: str, side: Side, vm: str, _of: str) -> None:
        calls = side.control("calls")
        self.assertEqual(calls["PUT /import_raw_vdi"] - self.kept_calls.get("PUT /import_raw_vdi", 0), len(side.drives(vm)))
        self.assertEqual(json.loads(self.done_as.stdout)["form"], form)

    def empty_drive(self, side: Side, vm: str, _of: str) -> None:
        [drive] = side.drives(vm, "CD")
        self.assertEqual((drive["VDI"], drive["empty"]), (NULL, True))

    def same_tpm(self, side: Side, vm: str, _of: str) -> None:
        [vtpm] = side.world.db.get("VM", vm)["VTPMs"]
        self.assertEqual(side.world.vtpm_contents[side.world.db.get("VTPM", vtpm)["uuid"]], "c2VjcmV0IFRQTSBzdGF0ZQ==")


def both(*checks: Callable) -> Callable:
    def check(test: Checks, side: Side, vm: str, of: str) -> None:
        for one in checks:
            one(test, side, vm, of)
    return check


def told(check: Callable, *given: object) -> Callable:
    return lambda test, *rest: check(test, *given, *rest)


C = Checks
STOPS = {"kind": "stops_reading"}

# Name; side; VM; what the pool is like, or a fault; arguments; what holds afterwards. Each disk is what was backed up, no mark is left.
DONE = [
    ("as it is told", "there", "running", None, "", both(C.new_addresses, C.same_record, told(C.on, [SHARED] * 2), told(C.state, "Halted"))),
    ("beside the VM that runs", "here", "running", None, "--name other", both(C.new_addresses, told(C.named, "other"))),
    ("into named storage of another member", "there", "halted", None, f"--sr '{LOCAL}'", told(C.on, [LOCAL])),
    ("storage by its uuid", "there", "halted", no_default, "--sr {sr}", told(C.on, [SHARED])),
    ("with its addresses", "there", "running", None, "--keep-mac", C.same_addresses),
    ("with new addresses", "there", "running", None, "--new-mac", C.new_addresses),
    ("with its uuid", "there", "halted", None, "--keep-uuid", both(C.same_uuid, C.same_addresses)),
    ("a network of the same uuid before one of the same name", "there", "running", same_uuid, "", told(C.networks, [ETH0, "renamed"])),
    ("a network as it was mapped", "there", "running", network(LAB, name_label="other"), f"--network {LAB}=other",
     told(C.networks, [ETH0, "other"])),
    ("both on one network, with their addresses", "there", "running", None, f"--keep-mac --network '{LAB}={ETH0}'", told(C.networks, [ETH0] * 2)),
    ("each disk where it was told", "there", "running", None, TWO_PLACES, both(told(C.on, [SHARED, LOCAL]), C.new_addresses, C.same_record)),
    ("each disk where it was told, with its addresses", "there", "running", None, f"{TWO_PLACES} --keep-mac", C.same_addresses),
    ("raw disks one by one", "there", "running", None, "--format raw", both(told(C.one_by_one, "raw"), C.same_record, C.new_addresses)),
    ("VHDs one by one", "there", "running", None, "--format vhd --verify", both(told(C.one_by_one, "vhd"), C.same_record, C.new_addresses)),
    ("raw disks with their holes", "there", "halted", without_vhds, "--format raw", told(C.one_by_one, "raw")),
    ("VHDs in place of a VM", "here", "halted", None, "--overwrite --format vhd", both(told(C.one_by_one, "vhd"), C.old_stays)),
    ("VHDs on two storages", "there", "running", None, f"--format vhd {TWO_PLACES}", told(C.on, [SHARED, LOCAL])),
    ("a VM that was suspended is off", "there", "suspended", None, "", both(told(C.state, "Halted"), C.same_record)),
    ("a VM that was suspended is suspended", "there", "suspended", None, "--keep-power-state", told(C.state, "Suspended")),
    ("with its TPM", "there", "elsewhere", None, "", both(C.same_tpm, C.same_record)),
    ("an empty drive", "there", "halted", None, "", both(C.empty_drive, C.same_record)),
    ("a drive whose disc is not there", "there", "running", None, "", C.empty_drive),
    ("names that need care", "there", ODD, None, "", both(told(C.named, ODD), C.same_record)),
    ("a new name that needs care", "there", "halted", None, f"--name {shlex.quote(ODD)}", told(C.named, ODD)),
    ("in place of a VM that is off", "here", "halted", None, "--overwrite", C.old_stays),
    ("in place of a VM that runs", "here", "running", None, "--overwrite --shutdown-first", C.old_stays),
    ("in place of a VM that goes", "here", "halted", None, "--overwrite --destroy-old", C.old_goes),
    ("in place, and started", "here", "running", None, "--overwrite --shutdown-first --start", told(C.state, "Running")),
    ("in place, and compared", "here", "halted", None, "--overwrite --verify", C.old_stays),
    ("started", "there", "halted", None, "--start", told(C.state, "Running")),
    ("started and paused", "there", "halted", None, "--start-paused", told(C.state, "Paused")),
    ("compared", "there", "running", None, "--verify", C.same_record),
    ("compared disk by disk", "there", "running", None, f"--verify {TWO_PLACES}", told(C.on, [SHARED, LOCAL])),
    ("a pool that is older, when it must be", "there", "running", OLD_POOL, "--force", C.same_record),
    ("a pool that is older, disk by disk", "there", "running", OLD_POOL, f"--force {TWO_PLACES}", C.same_record),
    ("an importer that does not read to the end", "there", "halted", STOPS, "", C.same_record),
    ("an import that is sent elsewhere", "there", "halted", {"kind": "redirect", "path": "/import"}, "", C.same_record),
    ("a disk that is sent elsewhere", "there", "running", {"kind": "redirect", "path": "/import_raw_vdi"}, TWO_PLACES, C.same_record),
    ("a session that expires meanwhile", "there", "halted", stream("expire_sessions"), "", C.same_record),
    ("a thick storage", "there", "running", lambda side: side.control("storage", sr=SHARED, kind="lvm"), "", C.same_record),
    ("a thick storage, disk by disk", "there", "running", lambda side: side.control("storage", sr=SHARED, kind="lvm"), TWO_PLACES,
     told(C.on, [SHARED, LOCAL])),
    ("a template", "there", "golden template", None, "", C.same_record),
]


class Restores(Checks):
    """Each case first as a dry run, which changes nothing."""

    @classmethod
    def prepare_pools(cls) -> None:
        cls.here.control("vm", name=ODD, disk_mib=3, data_mib=2, name_description=ODD, order=3, start_delay=7)

    def prepared(self, side: str, prepare: object) -> Side:
        chosen, other = (self.here, self.there) if side == "here" else (self.there, self.here)
        if callable(prepare):
            prepare(chosen) if prepare not in (same_seed, same_uuid) else prepare(chosen, other)
        return chosen

    def arguments(self, side: Side, typed: str) -> list[str]:
        return [word.replace("{sr}", side.row("SR", SHARED)["uuid"]) for word in shlex.split(typed)]

    def refused(self, side: str, vm: str, prepare: object, typed: str, words: tuple[str, ...]) -> None:
        chosen = self.prepared(side, prepare)
        self.starts_now()
        before, uploads = self.fingerprints(), self.uploads(chosen)
        for more in (["--dry-run"], []):
            done = self.restore(chosen, self.snapshot(vm), *self.arguments(chosen, typed), *more)
            self.check_ended(done, 1, *words)
            self.assertNotIn("Usage:", done.stderr)
            self.check_same(before)
        self.assertEqual(self.uploads(chosen), uploads)

    def lost(self, side: str, vm: str, fault: dict, typed: str, words: tuple[str, ...]) -> None:
        chosen = self.prepared(side, None)
        arguments = self.arguments(chosen, typed)
        before = self.fingerprints()
        self.check_ended(self.restore(chosen, self.snapshot(vm), *arguments, "--dry-run"), 0)
        self.check_same(before)
        chosen.control("fault", **fault)
        self.check_ended(self.restore(chosen, self.snapshot(vm), *arguments), 1, *words)
        self.assertEqual(chosen.control("faults"), [])
        self.check_same(before)

    def done(self, side: str, vm: str, prepare: object, typed: str, check: Callable) -> None:
        chosen = self.prepared(side, prepare)
        self.starts_now()
        of = self.here.one("VM", vm)
        self.kept, self.kept_cards, self.kept_digests = self.here.world.db.copy("VM", of), self.here.cards(of), self.here.digests(of)
        self.kept_disks = [row["VDI"] for row in self.here.drives(of)]
        arguments, before = self.arguments(chosen, typed), self.fingerprints()
        self.kept_calls = chosen.control("calls")
        self.check_ended(self.restore(chosen, self.snapshot(vm), *arguments, "--dry-run"), 0)
        self.check_same(before)
        if isinstance(prepare, dict):
            chosen.control("fault", **prepare)
        done = self.restore(chosen, self.snapshot(vm), *arguments)
        self.check_ended(done, 0)
        self.assertEqual(chosen.control("faults"), [])
        self.done_as = done
        [made] = chosen.new("vms")
        self.check_whole(chosen, made)
        check(self, chosen, made, of)
        self.assertIn(chosen.world.db.get("VM", made)["uuid"], done.stdout)

    def check_whole(self, side: Side, made: str) -> None:
        """The disks are those that were backed up, nothing is marked, and there is no disk that belongs to nobody."""
        wanted = self.kept_digests
        if side.world.db.get("VM", made)["power_state"] != "Suspended" and self.kept["suspend_VDI"] != NULL:
            wanted = wanted[:-1]
        self.assertEqual(side.digests(made), wanted)
        self.assertEqual((side.marks(), side.passing()), ([], []))
        used = {row["VDI"] for row in side.drives(made)} | {side.world.db.get("VM", made)["suspend_VDI"]}
        self.assertEqual(set(side.new("vdis")) - used, set())
        self.assertEqual(side.new("networks"), [])

    def starts_now(self) -> None:
        """What a case has prepared counts as there from the start."""
        for side in self.sides:
            side.pool.control.control.first = {cls: set(rows) for cls, rows in side.world.db.tables.items()}
            side.world.db.drop("task")

    @staticmethod
    def uploads(side: Side) -> int:
        return sum(count for path, count in side.control("calls").items() if path.startswith("PUT /import"))


def as_test(run: Callable, case: list) -> Callable[[Restores], None]:
    return lambda test: run(test, *case)


for table, run in ((REFUSED, Restores.refused), (LOST, Restores.lost), (DONE, Restores.done)):
    for name, *case in table:
        setattr(Restores, f"test_{run.__name__}_{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')}", as_test(run, case))


class Others(Checks):
    """What does not fit on a line."""

    def test_arguments_that_contradict_each_other(self) -> None:
        before = self.fingerprints()
        for typed in CONTRADICTIONS:
            with self.subTest(typed):
                self.check_ended(self.restore(self.here, self.snapshot("halted"), *typed.split()), 1, "usage:", typed.split()[0])
        self.check_same(before)

    def test_only_disks(self) -> None:
        wanted = self.here.digests(self.here.one("VM", "running"))
        for typed, places in (("", (0, 1)), ("--disks 1", (1,)), (f"{TWO_PLACES} --verify", (0, 1))):
            with self.subTest(typed):
                self.there.control("back")
                before = self.fingerprints()
                arguments = ["--disks-only", *shlex.split(typed)]
                self.check_ended(self.restore(self.there, self.snapshot("running"), *arguments, "--dry-run"), 0)
                self.check_same(before)
                done = self.restore(self.there, self.snapshot("running"), *arguments)
                self.check_ended(done, 0)
                made = self.there.new("vdis")
                self.assertEqual(sorted(map(self.there.digest, made)), sorted(wanted[place] for place in places))
                for vdi in made:
                    self.assertIn(self.there.world.db.get("VDI", vdi)["uuid"], done.stdout)
                self.assertEqual((self.there.new("vms"), self.there.marks(), self.there.passing()), ([], [], []))

    def test_some_disks(self) -> None:
        wanted = self.here.digests(self.here.one("VM", "running"))
        for typed in ("--disks 1", f"--disks 1 --disk-sr '1={LOCAL}'"):
            with self.subTest(typed):
                self.there.control("back")
                self.check_ended(self.restore(self.there, self.snapshot("running"), *shlex.split(typed)), 0)
                [made] = self.there.new("vms")
                self.assertEqual((self.there.digests(made), len(self.there.new("vdis"))), (wanted[1:], 1))
                self.assertEqual([row["userdevice"] for row in self.there.drives(made)], ["1"])

    def test_a_vm_that_does_not_start_is_there_nevertheless(self) -> None:
        self.there.control("set", host_memory_mib=2560)
        self.check_ended(self.restore(self.there, self.snapshot("halted"), "--start"), 3, "HOST_NOT_ENOUGH_FREE_MEMORY", "restored")
        [made] = self.there.new("vms")
        self.assertEqual(self.there.digests(made), self.here.digests(self.here.one("VM", "halted")))
        self.assertEqual((self.there.marks(), self.there.passing()), ([], []))

    def test_a_vm_that_was_shut_down_for_it_runs_again_if_it_fails(self) -> None:
        self.here.control("fault", **stream("error", error=IO))
        before = self.here.digests(self.here.one("VM", "running"))
        self.check_ended(self.restore(self.here, self.snapshot("running"), "--overwrite", "--shutdown-first"), 1, "VDI_IO_ERROR")
        old = self.here.one("VM", "vm-1-running")
        self.assertEqual((self.here.world.db.get("VM", old)["power_state"], self.here.digests(old)), ("Running", before))
        self.assertEqual([self.here.new("vms"), self.here.new("vdis"), self.here.marks(), self.here.passing()], [[], [], [], []])

    def test_what_cannot_be_known_is_whole_or_gone(self) -> None:
        """The task is lost, or the coordinator with all tasks: either all is well and told so, or nothing is left."""
        task = {"kind": "task", "path": "/import", "action": "vanishes"}
        for fault in (task, stream("lose_task"), stream("change_master"), stream("change_master", at=512)):
            with self.subTest(fault):
                self.there.control("back")
                before = self.there.digests
                self.there.control("fault", **fault)
                done = self.restore(self.there, self.snapshot("halted"))
                self.assertEqual(self.there.control("faults"), [])
                self.assertIn(done.returncode, (0, 1), done.stderr)
                made = self.there.new("vms")
                self.assertEqual(len(made), 1 - done.returncode, done.stderr)
                self.assertEqual(len(self.there.new("vdis")), len(made))
                self.assertEqual([before(vm) for vm in made], [self.here.digests(self.here.one("VM", "halted"))] * len(made))
                self.assertEqual((self.there.marks(), self.there.passing()), ([], []))

    def begun(self, *arguments: str) -> subprocess.Popen:
        """A restore in the middle of its upload, which stands still."""
        self.there.control("fault", **stream("stall", seconds=1))
        command = self.repository.command("restore", self.snapshot("halted"), *self.there.login("--to-pool", self.password), *arguments)
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(running.kill)
        end = time.monotonic() + 20
        while self.there.control("faults"):
            self.assertIsNone(running.poll(), running.stderr)
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        return running

    def test_an_interrupt_leaves_nothing(self) -> None:
        before = self.fingerprints()
        running = self.begun()
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=20)
        self.assertNotEqual(running.returncode, 0, told)
        self.check_same(before)

    def test_what_a_kill_leaves_is_marked_and_cleanup_removes_it(self) -> None:
        before = self.there.control("fingerprint")
        running = self.begun(*shlex.split(TWO_PLACES.replace("1=", "0=")))
        running.kill()
        running.communicate()
        time.sleep(1.2)  # what the pool was about to do is done
        command = ["cleanup", *self.there.login("--pool", self.password), "--older-than", "0"]
        self.check_ended(self.told(*command), 0)
        self.there.control("expire_sessions")
        self.there.control("lose_tasks")
        self.assertEqual(self.there.control("fingerprint"), before)

    def test_the_summary_tells_what_was_made(self) -> None:
        done = json.loads(self.restore(self.there, self.snapshot("running"), "--verify").stdout)
        [made] = self.there.new("vms")
        row = self.there.world.db.get("VM", made)
        text = json.dumps(done)
        for value in (row["uuid"], row["name_label"], *(self.there.world.file(drive["VDI"]) for drive in self.there.drives(made))):
            self.assertIn(value, text)


if __name__ == "__main__":
    unittest.main()
