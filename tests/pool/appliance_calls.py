"""Calls on vApps: VMs that start and end together."""
from __future__ import annotations

import power_calls
from calls import Context, method
from schema import NULL, record


@method("VM_appliance.create")
def create(context: Context, given: dict) -> str:
    return context.db.create("VM_appliance", {**record("VM_appliance", given), "uuid": "", "VMs": []})


@method("VM_appliance.destroy")
def destroy(context: Context, appliance: str) -> None:
    """Its VMs stay."""
    for vm in context.db.copy("VM_appliance", appliance)["VMs"]:
        context.db.update("VM", vm, appliance=NULL)
    context.db.delete("VM_appliance", appliance)


@method("VM.set_appliance")
def set_appliance(context: Context, vm: str, appliance: str) -> None:
    if appliance != NULL:
        context.db.get("VM_appliance", appliance)
    context.db.update("VM", vm, appliance=appliance)


def _by_order(context: Context, appliance: str) -> list[str]:
    return sorted(context.db.get("VM_appliance", appliance)["VMs"], key=lambda vm: context.db.get("VM", vm)["order"])


@method("VM_appliance.start")
def start(context: Context, appliance: str, paused: bool) -> None:
    """In the order of its VMs; their delays are not waited for."""
    for vm in _by_order(context, appliance):
        if context.db.get("VM", vm)["power_state"] == "Halted":
            power_calls.start(context, vm, paused, False)


@method("VM_appliance.hard_shutdown")
def hard_shutdown(context: Context, appliance: str) -> None:
    for vm in reversed(_by_order(context, appliance)):
        if context.db.get("VM", vm)["power_state"] != "Halted":
            power_calls.hard_shutdown(context, vm)


@method("VM_appliance.clean_shutdown")
def clean_shutdown(context: Context, appliance: str) -> None:
    for vm in reversed(_by_order(context, appliance)):
        if context.db.get("VM", vm)["power_state"] == "Running":
            power_calls.clean_shutdown(context, vm)
