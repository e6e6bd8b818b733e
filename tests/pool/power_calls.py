"""Calls that change the power state of a VM, and checkpoints (contract 6, 8)."""
from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from calls import Context, method
from errors import ApiError
from schema import NULL
from vm_calls import take

ALLOWED = {"Halted": "start export clone copy snapshot destroy", "Suspended": "resume hard_shutdown export snapshot checkpoint clone copy",
           "Running": "clean_shutdown hard_shutdown suspend pause snapshot checkpoint",
           "Paused": "unpause hard_shutdown snapshot checkpoint"}


@contextmanager
def _changing(context: Context, vm: str, operation: str, states: str) -> Iterator[None]:
    """The change of a VM in one of these states. It takes its time, during which the VM is as before, and others may call."""
    context.world.check_vm(vm, operation, states)
    with context.world.operation("VM", vm, operation, context.task):
        _take_time(context)
        yield


def _take_time(context: Context) -> None:
    end = time.monotonic() + context.world.settings.power_seconds
    while (left := end - time.monotonic()) > 0:
        context.db.changed.wait(left)


def _home(context: Context, vm: str) -> str:
    """A host that sees the disks of a VM and has memory for it: the one it likes, else that with most of it."""
    world, row = context.world, context.db.get("VM", vm)
    disks = {context.db.get("VBD", vbd)["VDI"] for vbd in row["VBDs"]} - {NULL}
    srs = {context.db.get("VDI", vdi)["SR"] for vdi in disks}
    able = [host for host in context.db.tables["host"] if world.sees(host, srs)]
    if not able:
        raise ApiError("VM_REQUIRES_SR", vm, next(iter(srs)))
    roomy = [host for host in able if world.free_memory(host) >= row["memory_static_max"]]
    if not roomy:
        raise ApiError("HOST_NOT_ENOUGH_FREE_MEMORY", row["memory_static_max"], max(map(world.free_memory, able)))
    return row["affinity"] if row["affinity"] in roomy else max(roomy, key=world.free_memory)


def _become(context: Context, vm: str, state: str) -> None:
    """The VM is in this state, and its devices with it."""
    db, alive = context.db, state in ("Running", "Paused")
    row = db.get("VM", vm)
    home = NULL if not alive else row["resident_on"] if row["resident_on"] != NULL else _home(context, vm)
    for vbd in row["VBDs"]:
        db.update("VBD", vbd, currently_attached=alive and db.get("VBD", vbd)["VDI"] != NULL)
    for vif in row["VIFs"]:
        db.update("VIF", vif, currently_attached=alive)
    if state == "Running" and row["power_state"] != "Running":
        context.world.starts.append({"name": row["name_label"], "uuid": row["uuid"], "at": time.monotonic()})
    db.update("VM", vm, power_state=state, resident_on=home, domid=7 if alive else -1)
    _tell_of_guest(context, vm, state == "Running" and context.world.settings.guest_tools)
    update_allowed_operations(context, vm)
    context.world.measure()


def _tell_of_guest(context: Context, vm: str, tools: bool) -> None:
    """A guest with tools tells of itself while it runs."""
    held = context.db.get("VM", vm)["guest_metrics"]
    known = held in context.db.tables["VM_guest_metrics"]
    if tools and not known:
        made = context.db.create("VM_guest_metrics", {"os_version": {"name": "Debian 12"}, "live": True,
                                                      "PV_drivers_version": {"major": "7", "minor": "30"}})
        context.db.update("VM", vm, guest_metrics=made)
    if not tools and known:
        context.db.update("VM", vm, guest_metrics=NULL)
        context.db.delete("VM_guest_metrics", held)


@method("VM.update_allowed_operations")
def update_allowed_operations(context: Context, vm: str) -> None:
    row = context.db.get("VM", vm)
    allowed = [name for name in ALLOWED[row["power_state"]].split() if name not in row["blocked_operations"]]
    context.db.update("VM", vm, allowed_operations=allowed)


# ------------------------------------------------------------ on and off

@method("VM.start")
def start(context: Context, vm: str, paused: bool, _force: bool) -> None:
    if context.db.get("VM", vm)["is_a_template"]:
        raise ApiError("VM_IS_TEMPLATE", vm)
    with _changing(context, vm, "start", "halted"):
        _become(context, vm, "Paused" if paused else "Running")


@method("VM.clean_shutdown")
def clean_shutdown(context: Context, vm: str) -> None:
    """A guest that was told goes down, also when nobody waits for it any more. The contract does not tell; guests do."""
    context.world.check_vm(vm, "clean_shutdown", "running")
    end = time.monotonic() + context.world.settings.power_seconds
    with context.world.operation("VM", vm, "clean_shutdown", context.task):
        while (left := end - time.monotonic()) > 0 and context.task not in context.db.cancelled:
            context.db.changed.wait(left)
    if left <= 0:
        return _become(context, vm, "Halted")

    def go_down() -> None:
        with context.db.lock:
            _become(context, vm, "Halted")
    timer = threading.Timer(left, go_down)
    timer.daemon = True
    timer.start()
    raise ApiError("TASK_CANCELLED", context.task)


@method("VM.hard_shutdown")
def hard_shutdown(context: Context, vm: str) -> None:
    with _changing(context, vm, "hard_shutdown", "running, paused, suspended"):
        _drop_memory(context, vm)
        _become(context, vm, "Halted")


@method("VM.pause")
def pause(context: Context, vm: str) -> None:
    with _changing(context, vm, "pause", "running"):
        _become(context, vm, "Paused")


@method("VM.unpause")
def unpause(context: Context, vm: str) -> None:
    with _changing(context, vm, "unpause", "paused"):
        _become(context, vm, "Running")


# ------------------------------------------------------------ memory

def _memory_image(context: Context, vm: str) -> str:
    """The memory of a VM as a disk of type suspend."""
    size = context.db.get("VM", vm)["memory_static_min"] // 64
    sr = context.db.get("pool", context.db.pool)["suspend_image_SR"]
    image = context.world.create_disk(sr, size, name_label="Suspend image", type="suspend")
    context.world.disks.write(context.world.file(image), 0, vm.encode() * 99)
    return image


def _drop_memory(context: Context, vm: str) -> None:
    image = context.db.get("VM", vm)["suspend_VDI"]
    context.db.update("VM", vm, suspend_VDI=NULL)
    if image in context.db.tables["VDI"]:
        context.world.destroy_disk(image)


@method("VM.suspend")
def suspend(context: Context, vm: str) -> None:
    with _changing(context, vm, "suspend", "running"):
        context.db.update("VM", vm, suspend_VDI=_memory_image(context, vm))
        _become(context, vm, "Suspended")


@method("VM.resume")
def resume(context: Context, vm: str, paused: bool, _force: bool) -> None:
    with _changing(context, vm, "resume", "suspended"):
        _drop_memory(context, vm)
        _become(context, vm, "Paused" if paused else "Running")


@method("VM.checkpoint")
def checkpoint(context: Context, vm: str, name: str) -> str:
    """The VM is suspended, disks and memory are taken, and it goes on as before. The result is Suspended.

    With the fault `resume_fails` the checkpoint is there, the VM stays suspended, and the call fails. What it fails with is ours:
    the contract does not tell.
    """
    db = context.db
    before = db.get("VM", vm)["power_state"]
    with _changing(context, vm, "checkpoint", "running, paused, suspended"):
        if before != "Suspended":
            db.update("VM", vm, suspend_VDI=_memory_image(context, vm))
            _become(context, vm, "Suspended")
            _take_time(context)
        try:
            taken = take(context, vm, name, set())
            image = context.world.snapshot_disk(db.get("VM", vm)["suspend_VDI"])
            db.update("VM", taken, power_state="Suspended", suspend_VDI=image,
                      snapshot_info={"disk-snapshot-type": "crash_consistent", "power-state-at-snapshot": before})
        finally:
            broken = before != "Suspended" and context.world.faults.take("resume_fails")
            if before != "Suspended" and not broken:
                _drop_memory(context, vm)
                _become(context, vm, before)
        if broken:
            raise ApiError("VM_CHECKPOINT_RESUME_FAILED", vm)
        return taken
