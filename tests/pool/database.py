"""The objects of the pool: rows by class and reference, what changed since when, sessions and tasks."""
from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from copy import deepcopy

import rpc
from errors import ApiError
from schema import CLASSES, NULL, DateTime, record

Record = dict[str, object]

# (class, field) that refers, and the set in the other object that lists it.
BACK = {
    ("VBD", "VM"): ("VM", "VBDs"), ("VBD", "VDI"): ("VDI", "VBDs"), ("VIF", "VM"): ("VM", "VIFs"), ("VTPM", "VM"): ("VM", "VTPMs"),
    ("VIF", "network"): ("network", "VIFs"), ("VDI", "SR"): ("SR", "VDIs"), ("PBD", "SR"): ("SR", "PBDs"),
    ("PBD", "host"): ("host", "PBDs"), ("PIF", "network"): ("network", "PIFs"), ("PIF", "host"): ("host", "PIFs"),
    ("VM", "snapshot_of"): ("VM", "snapshots"), ("VDI", "snapshot_of"): ("VDI", "snapshots"),
    ("VM", "appliance"): ("VM_appliance", "VMs"), ("VM", "resident_on"): ("host", "resident_VMs"), ("task", "subtask_of"): ("task", "subtasks"),
}


def now() -> DateTime:
    return DateTime(time.strftime("%Y%m%dT%H:%M:%SZ", time.gmtime()))


class Database:
    """All objects. Whoever reads or changes more than one holds `lock`; `changed` wakes those who wait for events."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.tables: dict[str, dict[str, Record]] = {cls: {} for cls in CLASSES}
        self.generation = 1
        self.born: dict[str, int] = {}  # reference to generation
        self.touched: dict[str, int] = {}
        self.dead: list[tuple[int, str, str]] = []  # generation, class, reference
        self.doomed: set[str] = set()  # tasks that were destroyed before their end (contract 1.6)
        self.working: set[str] = set()  # tasks that something works on
        self.cancelled: set[str] = set()

    # ------------------------------------------------------------ rows

    def create(self, cls: str, given: Record, ref: str | None = None) -> str:
        """A new object; its uuid is made unless given."""
        with self.lock:
            row = record(cls, given)
            row["uuid"] = row["uuid"] or str(uuid.uuid4())
            if any(other["uuid"] == row["uuid"] for other in self.tables[cls].values()):
                raise ApiError("DB_UNIQUENESS_CONSTRAINT_VIOLATION", cls, "uuid", row["uuid"])
            ref = ref or f"OpaqueRef:{uuid.uuid4()}"
            for owner, listed in BACK.values():
                if owner == cls:
                    row[listed] = []
            self.tables[cls][ref] = row
            self.generation += 1
            self.born[ref] = self.touched[ref] = self.generation
            for name in row:
                self._link(cls, ref, name, NULL, row[name])
            self.changed.notify_all()
            return ref

    def get(self, cls: str, ref: object) -> Record:
        """The row itself: read it under the lock, change it with `update`."""
        row = self.tables[cls].get(ref) if isinstance(ref, str) else None
        if row is None:
            raise ApiError("HANDLE_INVALID", cls, ref)
        return row

    def copy(self, cls: str, ref: object) -> Record:
        with self.lock:
            return deepcopy(self.get(cls, ref))

    def find(self, cls: str, **wanted: object) -> Iterator[str]:
        """References of the objects whose fields have these values."""
        with self.lock:
            rows = list(self.tables[cls].items())
        return (ref for ref, row in rows if all(row[name] == value for name, value in wanted.items()))

    def by_uuid(self, cls: str, wanted: object) -> str:
        for ref in self.find(cls, uuid=wanted):
            return ref
        raise ApiError("UUID_INVALID", cls, wanted)

    def update(self, cls: str, ref: str, **changes: object) -> None:
        with self.lock:
            row = self.get(cls, ref)
            for name, value in changes.items():
                if row[name] != value:
                    before, row[name] = row[name], value
                    self._link(cls, ref, name, before, value)
            self._touch(ref)

    def delete(self, cls: str, ref: str) -> None:
        with self.lock:
            row = self.get(cls, ref)
            for name in row:
                self._link(cls, ref, name, row[name], NULL)
            del self.tables[cls][ref]
            self.generation += 1
            self.dead.append((self.generation, cls, ref))
            self.changed.notify_all()

    def _touch(self, ref: str) -> None:
        self.generation += 1
        self.touched[ref] = self.generation
        self.changed.notify_all()

    def _link(self, cls: str, ref: str, name: str, before: object, after: object) -> None:
        """Keeps the set on the other side of a reference."""
        if (cls, name) not in BACK:
            return
        other, listed = BACK[cls, name]
        for target, add in ((before, False), (after, True)):
            row = self.tables[other].get(target)
            if row is not None:
                members = [member for member in row[listed] if member != ref]
                row[listed] = [*members, ref] if add else members
                self._touch(target)

    # ------------------------------------------------------------ tasks (contract 1.6)

    def new_task(self, label: str, description: str = "", subtask_of: str = NULL) -> str:
        return self.create("task", {"name_label": label, "name_description": description, "created": now(), "subtask_of": subtask_of,
                                    "resident_on": self.master, "allowed_operations": ["cancel", "destroy"]})

    def succeed(self, task: str, result: object = None) -> None:
        """The result is always an XML-RPC value in text form, or nothing."""
        self._finish(task, status="success", progress=1.0, result="" if result is None else rpc.element(result))

    def fail(self, task: str, error: ApiError) -> None:
        status = "cancelled" if error.description[0] == "TASK_CANCELLED" else "failure"
        self._finish(task, status=status, progress=1.0, error_info=error.description)

    def progress(self, task: str, share: float) -> None:
        with self.lock:
            if task in self.tables["task"]:
                self.update("task", task, progress=min(1.0, share))

    def _finish(self, task: str, **changes: object) -> None:
        with self.lock:
            if self.tables["task"].get(task, {}).get("status") in ("pending", "cancelling"):
                self.working.discard(task)
                self.update("task", task, finished=now(), allowed_operations=["destroy"], **changes)
                if task in self.doomed:
                    self.delete("task", task)

    # ------------------------------------------------------------ the pool

    @property
    def pool(self) -> str:
        return next(iter(self.tables["pool"]))

    @property
    def master(self) -> str:
        return next((pool["master"] for pool in self.tables["pool"].values()), NULL)

    def change_master(self) -> None:
        """Another member takes over: sessions and tasks of the old one are lost (contract 10)."""
        with self.lock:
            other = next(ref for ref in self.tables["host"] if ref != self.master)
            self.update("pool", self.pool, master=other)
            self.drop("session")
            self.drop("task")

    def drop(self, cls: str) -> None:
        with self.lock:
            for ref in list(self.tables[cls]):
                self.delete(cls, ref)

    def attached_to(self, sr: str, host: str) -> bool:
        return any(True for _ in self.find("PBD", SR=sr, host=host, currently_attached=True))
