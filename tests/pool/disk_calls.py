"""Calls on disks and storage (contract 5.1, 5.2, 8)."""
from __future__ import annotations

import base64
import random
import time

from calls import Context, method
from disks import Log, bitmap
from errors import ApiError
from schema import NULL, record


def _row(context: Context, vdi: str) -> dict:
    return context.db.get("VDI", vdi)


@method("VDI.create")
def create(context: Context, given: dict) -> str:
    made = record("VDI", given, needed=True, made_here=True)
    if context.db.get("SR", made["SR"])["content_type"] == "iso":
        raise ApiError("SR_OPERATION_NOT_SUPPORTED", made["SR"])
    wanted = {name: made[name] for name in ("name_label", "name_description", "type", "sharable", "read_only", "other_config",
                                            "xenstore_data", "sm_config", "tags")}
    return context.world.create_disk(made["SR"], made["virtual_size"], **wanted)


@method("VDI.snapshot")
def snapshot(context: Context, vdi: str, _driver_params: dict | None = None) -> str:
    return context.world.snapshot_disk(_data(context, vdi))


@method("VDI.clone")
def clone(context: Context, vdi: str, _driver_params: dict | None = None) -> str:
    return context.world.snapshot_disk(_data(context, vdi), clone=True)


def _data(context: Context, vdi: str) -> str:
    """The VDI, unless its data was destroyed."""
    if _row(context, vdi)["type"] == "cbt_metadata":
        raise ApiError("VDI_INCOMPATIBLE_TYPE", vdi, "cbt_metadata")
    return vdi


@method("VDI.destroy")
def destroy(context: Context, vdi: str) -> None:
    if context.world.attached(vdi):
        raise ApiError("VDI_IN_USE", vdi, "destroy")
    context.world.destroy_disk(vdi)


@method("VDI.resize")
def resize(context: Context, vdi: str, size: object) -> None:
    size = -(-int(size) // 512) * 512
    if size < _row(context, vdi)["virtual_size"]:
        raise ApiError("SR_BACKEND_FAILURE_79", "", "VDI Invalid size [opterr=shrinking not allowed]", "")
    context.world.disks.resize(context.world.file(vdi), size)
    context.db.update("VDI", vdi, virtual_size=size)


@method("VDI.enable_cbt")
def enable_cbt(context: Context, vdi: str) -> None:
    row = _row(context, vdi)
    if row["is_a_snapshot"]:
        raise ApiError("OPERATION_NOT_ALLOWED", f"VDI is a snapshot: {vdi}")
    if row["type"] not in ("user", "system"):
        raise ApiError("VDI_INCOMPATIBLE_TYPE", vdi, row["type"])
    if row["on_boot"] == "reset":
        raise ApiError("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
    if context.db.get("SR", row["SR"])["content_type"] == "iso":
        raise ApiError("SR_OPERATION_NOT_SUPPORTED", row["SR"])
    context.world.disks.logs.setdefault(row["uuid"], Log())
    context.db.update("VDI", vdi, cbt_enabled=True)


@method("VDI.disable_cbt")
def disable_cbt(context: Context, vdi: str) -> None:
    context.world.disks.logs.pop(_row(context, vdi)["uuid"], None)
    context.db.update("VDI", vdi, cbt_enabled=False)


@method("VDI.set_on_boot")
def set_on_boot(context: Context, vdi: str, mode: str) -> None:
    if _row(context, vdi)["cbt_enabled"]:
        raise ApiError("VDI_CBT_ENABLED", vdi)
    context.db.update("VDI", vdi, on_boot=mode)


@method("VDI.data_destroy")
def data_destroy(context: Context, vdi: str) -> None:
    """Drops the data, keeps the log; waits 4 s for VBDs to go."""
    row = _row(context, vdi)
    if row["type"] == "cbt_metadata":
        return
    if not row["is_a_snapshot"]:
        raise ApiError("OPERATION_NOT_ALLOWED", f"VDI is not a snapshot: {vdi}")
    if row["uuid"] not in context.world.disks.logs:
        raise ApiError("VDI_NO_CBT_METADATA", vdi)
    end = time.monotonic() + context.world.settings.vbd_wait_seconds
    while _row(context, vdi)["VBDs"]:
        if time.monotonic() > end:
            raise ApiError("VDI_IN_USE", vdi, "data_destroy")
        context.db.changed.wait(0.2)
    context.world.disks.drop_data(row["uuid"])
    context.db.update("VDI", vdi, type="cbt_metadata")


@method("VDI.list_changed_blocks")
def list_changed_blocks(context: Context, older: str, newer: str) -> str:
    row, disks = _row(context, newer), context.world.disks
    if _in_a_running_vm(context, newer):
        raise ApiError("VDI_IN_USE", newer, "list_changed_blocks")
    if context.world.settings.cbt_broken:
        raise ApiError("SR_BACKEND_FAILURE_459", "", "Tapdisk log is inconsistent", "")
    blocks = disks.changed(_row(context, older)["uuid"], row["uuid"])
    if blocks is None:
        raise ApiError("SR_BACKEND_FAILURE_460", "", "Failed to calculate changed blocks for given VDIs. [opterr=Source and target"
                       " VDI are unrelated]", "")
    blocks -= _kept_quiet(context, row, blocks)
    return base64.b64encode(bitmap(blocks, row["virtual_size"])).decode()


def _kept_quiet(context: Context, row: dict, blocks: set[int]) -> set[int]:
    """Changed blocks that a lying log leaves out: those in `ranges` of first block and number, and a `share` of all."""
    live = context.db.tables["VDI"].get(row["snapshot_of"], row)
    lies = context.world.faults.take("cbt_lies", vdi=live["uuid"])
    if lies is None:
        return set()
    inside = {block for first, number in lies.get("ranges", []) for block in range(int(first), int(first) + int(number))}
    some = random.Random(lies.get("seed", 0)).sample(sorted(blocks), round(len(blocks) * float(lies.get("share", 0))))
    return blocks & (inside | set(some))


def _in_a_running_vm(context: Context, vdi: str) -> bool:
    vbds = (context.db.get("VBD", vbd) for vbd in _row(context, vdi)["VBDs"])
    return any(vbd["currently_attached"] and not context.db.get("VM", vbd["VM"])["is_a_snapshot"]
               and not context.db.get("VM", vbd["VM"])["is_control_domain"] for vbd in vbds)


@method("VDI.get_nbd_info")
def nbd_info(context: Context, vdi: str) -> list[dict]:
    """One entry for each host that sees the SR and has an address on an NBD network (contract 5.2)."""
    row = _row(context, _data(context, vdi))
    entries = []
    for network in context.db.tables["network"].values():
        if not {"nbd", "insecure_nbd"} & set(network["purpose"]):
            continue
        for pif in network["PIFs"]:
            held = context.db.get("PIF", pif)
            if held["currently_attached"] and context.db.attached_to(row["SR"], held["host"]):
                member = context.world.member(held["host"])
                entries.append({"exportname": f"/{row['uuid']}?session_id={context.session}", "address": member.address,
                                "port": member.nbd, "cert": member.pem, "subject": context.db.get("host", member.ref)["hostname"]})
    return entries


# ------------------------------------------------------------ VBDs

@method("VBD.create")
def create_vbd(context: Context, given: dict) -> str:
    made = record("VBD", given, needed=True, made_here=True)
    vm = context.db.get("VM", made["VM"])
    if made["VDI"] != NULL:
        context.db.get("VDI", made["VDI"])
    elif made["type"] != "CD":
        raise ApiError("HANDLE_INVALID", "VDI", made["VDI"])
    if made["userdevice"] == "autodetect":
        taken = {context.db.get("VBD", vbd)["userdevice"] for vbd in vm["VBDs"]}
        made["userdevice"] = next(str(place) for place in range(16) if str(place) not in taken)
    if any(context.db.get("VBD", vbd)["userdevice"] == made["userdevice"] for vbd in vm["VBDs"]):
        raise ApiError("DEVICE_ALREADY_EXISTS", made["userdevice"])
    return context.db.create("VBD", {**made, "uuid": "", "currently_attached": False})


@method("VBD.destroy")
def destroy_vbd(context: Context, vbd: str) -> None:
    if context.db.get("VBD", vbd)["currently_attached"]:
        raise ApiError("OPERATION_NOT_ALLOWED", f"VBD '{context.db.get('VBD', vbd)['uuid']}' still attached")
    context.db.delete("VBD", vbd)


@method("VBD.unplug")
def unplug(context: Context, vbd: str) -> None:
    if not context.db.get("VBD", vbd)["currently_attached"]:
        raise ApiError("DEVICE_ALREADY_DETACHED", vbd)
    context.db.update("VBD", vbd, currently_attached=False)


@method("VBD.unplug_force")
def unplug_force(context: Context, vbd: str) -> None:
    context.db.update("VBD", vbd, currently_attached=False)


@method("VBD.plug")
def plug(context: Context, vbd: str) -> None:
    context.db.update("VBD", vbd, currently_attached=True)


# ------------------------------------------------------------ storage

@method("SR.scan")
def scan(context: Context, sr: str) -> None:
    pbds = [context.db.get("PBD", pbd) for pbd in context.db.get("SR", sr)["PBDs"]]
    if not pbds:
        raise ApiError("SR_HAS_NO_PBDS", sr)
    if not any(pbd["currently_attached"] for pbd in pbds):
        raise ApiError("SR_NOT_ATTACHED", sr)
    context.world.scan(sr)
