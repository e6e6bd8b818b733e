"""event.from (contract 1.7): what was added, changed or deleted since a token."""
from __future__ import annotations

import re
import time
from copy import deepcopy

from database import Database
from errors import ApiError
from schema import CLASSES, Short


def token(db: Database) -> str:
    return f"{db.generation:020d},{0:020d}"


def since(db: Database, session: str, subscriptions: list[str], start: str, timeout: float) -> dict:
    """Blocks until there is something or the time is over."""
    begin = _generation(start)
    wanted = [_subscription(text) for text in subscriptions]
    end = time.monotonic() + timeout
    with db.lock:
        if begin > db.generation:
            raise ApiError("EVENTS_LOST")
        while not (found := _events(db, wanted, begin)):
            left = end - time.monotonic()
            if left <= 0:
                break
            db.changed.wait(min(left, 1.0))
            if session not in db.tables["session"]:
                raise ApiError("SESSION_INVALID", session)
        counts = {cls.lower(): Short(len(rows)) for cls, rows in db.tables.items()}
        return {"events": found, "valid_ref_counts": counts, "token": token(db)}


def _generation(start: str) -> int:
    if start == "":
        return 0
    if not re.fullmatch(r"\d+,\d+", start):
        raise ApiError("EVENT_FROM_TOKEN_PARSE_FAILURE", start)
    return int(start.split(",")[0])


def _subscription(text: str) -> tuple[str, str]:
    """Class in lower case, or `*`; and one reference, or nothing."""
    cls, _, ref = text.partition("/")
    if cls != "*" and not re.fullmatch(r"\w+", cls):
        raise ApiError("EVENT_SUBSCRIPTION_PARSE_FAILURE", text)
    return cls.lower(), ref


def _events(db: Database, wanted: list[tuple[str, str]], begin: int) -> list[dict]:
    def fits(cls: str, ref: str) -> bool:
        return any(name in ("*", cls.lower()) and one in ("", ref) for name, one in wanted)

    found = []
    for cls in CLASSES:
        for ref, row in db.tables[cls].items():
            if db.touched[ref] > begin and fits(cls, ref):
                found.append((db.touched[ref], cls, "add" if db.born[ref] > begin else "mod", ref, deepcopy(row)))
    if begin:
        found += [(when, cls, "del", ref, None) for when, cls, ref in db.dead
                  if when > begin and db.born[ref] <= begin and fits(cls, ref)]
    found.sort(key=lambda event: event[0])
    return [{"id": str(when), "timestamp": "0.0", "class": cls.lower(), "operation": operation, "ref": ref,
             **({"snapshot": row} if row is not None else {})} for when, cls, operation, ref, row in found]
