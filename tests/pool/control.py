"""The control endpoint for tests: faults, writes of a guest, the whole state. No part of a real pool."""
from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import parse_qsl, urlsplit

from errors import ApiError
from disks import CBT_BLOCK
from moment import Moment
from seed import Seed
from world import Settings, World


class Control:
    """What can be asked and told."""

    def __init__(self, world: World, seed: Seed) -> None:
        self.world, self._seed = world, seed
        self._moment = Moment(world)
        self.first = {cls: set(rows) for cls, rows in world.db.tables.items()}

    def state(self, digests: str = "1") -> dict:
        """All objects by class and reference; SHA-256 of each disk by the uuid of its VDI."""
        with self.world.db.lock:
            objects = deepcopy(self.world.db.tables)
            found = {row["uuid"]: self.world.disks.digest(row["uuid"]) for row in objects["VDI"].values()} if digests == "1" else {}
        return {"objects": objects, "disks": found, "vtpm_contents": self.world.vtpm_contents, "settings": asdict(self.world.settings)}

    def leftovers(self) -> dict:
        """What was not there at the start, or is not attached to a VM, and should be gone after a clean run."""
        db = self.world.db
        with db.lock:
            new = {cls: [ref for ref in rows if ref not in self.first[cls]] for cls, rows in db.tables.items()}
            dom0 = set(db.find("VM", is_control_domain=True))
            return {"vm_snapshots": [ref for ref in new["VM"] if db.get("VM", ref)["is_a_snapshot"]], "vms": new["VM"],
                    "vdis": new["VDI"], "networks": new["network"], "appliances": new["VM_appliance"], "vifs": new["VIF"], "tasks": new["task"], "sessions": new["session"],
                    "dom0_vbds": [ref for ref in new["VBD"] if db.get("VBD", ref)["VM"] in dom0],
                    "blocked_operations": [ref for ref, row in db.tables["VM"].items() if row["blocked_operations"]]}

    def calls(self) -> dict:
        """How often each call and each path was asked for."""
        return dict(self.world.counters)

    def faults(self) -> list:
        return self.world.faults.list()

    def fault(self, **given: object) -> list:
        self.world.faults.arm(given)
        return self.faults()

    def clear(self) -> None:
        self.world.faults.clear()

    def set(self, **given: object) -> dict:
        known = {field.name: field for field in fields(Settings)}
        for name, value in given.items():
            if name not in known:
                raise ValueError(f"unknown setting {name!r}; there are {', '.join(known)}")
            setattr(self.world.settings, name, type(getattr(self.world.settings, name))(value))
        self._tell_settings()
        return asdict(self.world.settings)

    def write(self, vdi: str, offset: int, data: str | None = None, length: int = 0, seed: int = 0) -> dict:
        """A write of the guest: `data` in base64, or `length` bytes from `seed`. Marks the blocks for CBT."""
        held = base64.b64decode(data) if data is not None else random.Random(seed).randbytes(length)
        with self.world.db.lock:
            self.world.disks.write(self._row(vdi)["uuid"], offset, held)
        return {"written": len(held)}

    def scatter(self, vdi: str, count: int, length: int = CBT_BLOCK, seed: int = 0) -> dict:
        """So many writes of the guest, none of them in the blocks of another."""
        dice, row = random.Random(seed), self._row(vdi)
        step = -(-length // CBT_BLOCK) * CBT_BLOCK
        places = dice.sample(range(row["virtual_size"] // step), count)
        for place in places:
            self.world.disks.write(row["uuid"], place * step, dice.randbytes(length))
        return {"written": count * length}

    def vm(self, name: str, **given: object) -> dict:
        """Another VM, which counts as one that was there at the start: `disk_mib data_mib disks tags power_state sr`. Its uuids."""
        return self.vms(1, name, **given)[0]

    def vms(self, count: int, name: str = "vm-{}", **given: object) -> list[dict]:
        """So many of them; `{}` in the name is a number."""
        db, made = self.world.db, []
        with db.lock:
            before = {cls: set(rows) for cls, rows in db.tables.items()}
            for number in range(count):
                vm = db.get("VM", self._seed.plain(name.format(number), **given))
                vdis = [db.get("VDI", db.get("VBD", vbd)["VDI"])["uuid"] for vbd in vm["VBDs"]]
                made.append({"uuid": vm["uuid"], "name": vm["name_label"], "vdis": vdis})
            for cls, rows in db.tables.items():
                self.first[cls] |= rows.keys() - before[cls]
        return made

    def storage(self, sr: str, kind: str | None = None, physical_size: int | None = None, taken_elsewhere: int | None = None) -> dict:
        """What a storage is, by name: of this kind, this large, and used by others, too. Its record after a scan."""
        db = self.world.db
        with db.lock:
            ref = next(db.find("SR", name_label=sr), sr)
            given = {"type": kind, "physical_size": physical_size}
            db.update("SR", ref, **{name: value for name, value in given.items() if value is not None})
            if taken_elsewhere is not None:
                self.world.taken_elsewhere[ref] = taken_elsewhere
            self.world.scan(ref)
            return deepcopy(db.get("SR", ref))

    def _tell_settings(self) -> None:
        """Hosts tell their version and memory."""
        settings, db = self.world.settings, self.world.db
        with db.lock:
            for host, row in db.tables["host"].items():
                told = {**row["software_version"], "xapi": f"{settings.xapi_major}.{settings.xapi_minor}"}
                if told != row["software_version"]:
                    db.update("host", host, software_version=told)
            self.world.measure()

    def appliance(self, name: str, vms: dict[str, dict], description: str = "") -> dict:
        """A vApp, which counts as there from the start, of VMs by uuid and what their records are to say: `order start_delay`."""
        db = self.world.db
        with db.lock:
            made = db.create("VM_appliance", {"name_label": name, "name_description": description})
            for vm, given in vms.items():
                db.update("VM", db.by_uuid("VM", vm), appliance=made, **given)
            self.first["VM_appliance"].add(made)
            return {"ref": made, **deepcopy(db.get("VM_appliance", made))}

    def starts(self) -> list[dict]:
        """VMs in the order in which they came to run, with the seconds of a steady clock."""
        return list(self.world.starts)

    def keep(self) -> None:
        """The pool as it is now is what `back` goes back to."""
        self._moment = Moment(self.world)

    def back(self) -> None:
        """The pool is as it was kept, with its settings; no fault is armed."""
        self.world.faults.clear()
        self._moment.back()

    def fingerprint(self) -> str:
        """One hash of all objects but tasks and sessions, of all disks and of what hosts were given: the same if nothing changed."""
        world = self.world
        with world.db.lock:
            objects = {cls: rows for cls, rows in world.db.tables.items() if cls not in ("task", "session")}
            disks = {row["uuid"]: world.disks.digest(row["uuid"]) or world.disks.version(row["uuid"]) for row in objects["VDI"].values()}
            blobs = {name: hashlib.sha256(blob).hexdigest() for name, blob in world.blobs.items()}
            told = json.dumps([objects, disks, blobs, world.vtpm_contents], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def traffic(self) -> dict:
        """Bytes and number of reads by the uuid of a disk, those of its snapshots with it, and by way: `nbd raw vhd tar export`."""
        with self.world.db.lock:
            return deepcopy(self.world.traffic)

    def _row(self, vdi: str) -> dict:
        return self.world.db.get("VDI", vdi if vdi.startswith("OpaqueRef:") else self.world.db.by_uuid("VDI", vdi))

    def disk(self, vdi: str) -> bytes:
        """The bytes of a disk."""
        return self.world.disks.path(self._row(vdi)["uuid"]).read_bytes()

    def expire_sessions(self) -> None:
        self.world.db.drop("session")

    def lose_tasks(self) -> None:
        self.world.db.drop("task")

    def change_master(self) -> None:
        self.world.db.change_master()

    def member(self, address: str, up: bool) -> list[str]:
        """Lets a member answer nobody, or again. The addresses of those that are down."""
        (self.world.down.discard if up else self.world.down.add)(address)
        return sorted(self.world.down)

    def next_reference(self, value: int) -> None:
        """The number of the next `Ref:N` of an export."""
        self.world.references = count(value)

    def update(self, cls: str, ref: str, changes: dict) -> None:
        """Sets fields of an object, also those that no call sets."""
        self.world.db.update(cls, ref, **changes)

    def destroy_disk(self, vdi: str) -> None:
        self.world.destroy_disk(vdi)


READS = ("state", "leftovers", "calls", "faults", "disk", "traffic", "starts", "fingerprint")


class Handler(BaseHTTPRequestHandler):
    """GET asks, POST tells, with a JSON object."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_parts: object) -> None:
        """No log."""

    def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
        parts = urlsplit(self.path)
        self._run(parts.path, dict(parse_qsl(parts.query)), reads=True)

    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            given = json.loads(body or b"{}")
        except ValueError as problem:
            return self._answer(400, {"error": str(problem)})
        return self._run(self.path, given, reads=False)

    def _run(self, path: str, given: dict, reads: bool) -> None:
        name = path.removeprefix("/control/")
        command: Callable | None = getattr(self.server.control, name, None) if not name.startswith("_") else None
        if command is None or (name in READS) != reads:
            return self._answer(404, {"error": f"no {path}"})
        try:
            return self._answer(200, command(**given))
        except (ApiError, ValueError, TypeError, OSError) as problem:
            return self._answer(400, {"error": repr(problem)})

    def _answer(self, status: int, value: object) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ControlServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, world: World, seed: Seed, port: int) -> None:
        self.control = Control(world, seed)
        super().__init__(("127.0.0.1", port), Handler)
