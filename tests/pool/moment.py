"""The whole of a pool at one moment, to go back to."""
from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict

from world import World

PASSING = ("session", "task")  # tables that are not part of it


class Moment:
    """Objects, disks, settings, and what hosts were given. Sessions stay as they are when one goes back; tasks go."""

    def __init__(self, world: World) -> None:
        self.world = world
        with world.db.lock:
            self.tables = {cls: deepcopy(rows) for cls, rows in world.db.tables.items() if cls not in PASSING}
            self.settings = asdict(world.settings)
            self.rest = deepcopy((world.vtpm_contents, world.blobs, world.taken_elsewhere, world.disks.logs))
            self.disks = world.disks.keep()

    def back(self) -> None:
        world = self.world
        with world.db.lock:
            for cls, rows in self.tables.items():
                world.db.tables[cls] = deepcopy(rows)
            world.db.drop("task")
            for name, value in self.settings.items():
                setattr(world.settings, name, value)
            world.vtpm_contents, world.blobs, world.taken_elsewhere, world.disks.logs = deepcopy(self.rest)
            world.disks.put_back(self.disks)
            world.starts.clear()
            world.down.clear()
