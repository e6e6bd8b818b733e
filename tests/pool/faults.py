"""Faults on demand: each fires a number of times, after a number of chances, and is then used up."""
from __future__ import annotations

import threading
import time
from fnmatch import fnmatch

# Kind to the fields that it needs; `count` (default 1, -1 = always) and `after` (default 0) go with each.
KINDS = {
    # calls
    "rpc_error": {"method", "error"},  # "$0", "$1"… in the error stand for parameters behind the session
    "rpc_drop": {"method"},  # the connection ends without an answer
    "rpc_stall": {"method", "seconds"},
    "expire_sessions": {"method"},
    "change_master": {"method"},
    "resume_fails": set(),  # a checkpoint is taken, and its VM stays suspended
    # heads of HTTP answers
    "http_error": {"path", "status"},
    "redirect": {"path"},
    # the middle of a stream, either way: `action` at byte `at`; `count` and `after` are numbers of streams
    "stream": {"path", "at", "action"},
    # the end of a stream; or of a call `Async.…`, named as the path
    "task": {"path", "action"},  # with `done: false` a call whose coordinator changes is not done before
    "nbd": {"action"},  # at a read
    # what the pool tells that is not so
    "cbt_lies": set(),  # VDI.list_changed_blocks leaves out blocks: `ranges`, `share`, `seed`; of the disk `vdi`, or of any
    # the end and the contents of an upload
    "stops_reading": set(),  # the connection of the next import is reset behind the last disk
    "spoils": {"at"},  # the byte at this place of the disk that is written next is stored otherwise
    # the shape of an export
    "wrong_checksum": {"chunk"},
    "no_final_zeros": set(),
}
ACTIONS = {
    "stream": {"error", "cut", "reset", "stall", "expire_sessions", "change_master", "lose_task"},
    "task": {"never_ends", "vanishes", "fails", "change_master"},
    "nbd": {"drop", "stall"},
}
PATTERNS = ("method", "path")


class Faults:
    """The armed faults. `take` asks whether one fires here and now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[dict[str, object]] = []

    def arm(self, fault: dict[str, object]) -> None:
        kind = fault.get("kind")
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
        missing = KINDS[kind] - fault.keys()
        if missing:
            raise ValueError(f"{kind} needs {', '.join(sorted(missing))}")
        if kind in ACTIONS and fault["action"] not in ACTIONS[kind]:
            raise ValueError(f"unknown action {fault['action']!r}; there are {', '.join(sorted(ACTIONS[kind]))}")
        with self._lock:
            self._armed.append({"count": 1, "after": 0, **fault})

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def list(self) -> list[dict[str, object]]:
        with self._lock:
            return [dict(fault) for fault in self._armed]

    def take(self, kind: str, **here: object) -> dict[str, object] | None:
        """The first armed fault of this kind that fits, counted down."""
        return next(iter(self._fire(kind, here, first=True)), None)

    def take_all(self, kind: str, **here: object) -> list[dict[str, object]]:
        """All faults of this kind that fit, each counted down once: those of one stream."""
        return self._fire(kind, here, first=False)

    def _fire(self, kind: str, here: dict[str, object], first: bool) -> list[dict[str, object]]:
        fired = []
        with self._lock:
            for fault in list(self._armed):
                if fault["kind"] != kind or not all(_fits(name, fault.get(name), value) for name, value in here.items()):
                    continue
                if fault["after"] > 0:
                    fault["after"] -= 1
                    continue
                fault["count"] -= 1
                if fault["count"] == 0:
                    self._armed.remove(fault)
                fired.append(dict(fault))
                if first:
                    break
        return fired


def _fits(name: str, wanted: object, value: object) -> bool:
    if name in PATTERNS:
        return fnmatch(str(value), str(wanted))
    return wanted is None or wanted == value


def stall(fault: dict[str, object]) -> None:
    time.sleep(float(fault.get("seconds", 3600)))
