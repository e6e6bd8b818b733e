"""Calls on networks (contract 5.2, 8)."""
from __future__ import annotations

from calls import Context, method
from errors import ApiError
from schema import record


@method("network.create")
def create(context: Context, given: dict) -> str:
    """Internal: no host has a card in it."""
    made = record("network", given, needed=True, made_here=True)
    bridges = {row["bridge"] for row in context.db.tables["network"].values()}
    if made["bridge"] in bridges:
        raise ApiError("BRIDGE_NAME_EXISTS", made["bridge"])
    bridge = made["bridge"] or next(name for number in range(len(bridges) + 1) if (name := f"xapi{number}") not in bridges)
    return context.db.create("network", {**made, "uuid": "", "bridge": bridge, "purpose": []})


@method("network.destroy")
def destroy(context: Context, network: str) -> None:
    """Cards that are not plugged go with it."""
    row = context.db.copy("network", network)
    plugged = [vif for vif in row["VIFs"] if context.db.get("VIF", vif)["currently_attached"]]
    if plugged:
        raise ApiError("NETWORK_CONTAINS_VIF", *plugged)
    if row["PIFs"]:
        raise ApiError("NETWORK_CONTAINS_PIF", *row["PIFs"])
    for vif in row["VIFs"]:
        context.db.delete("VIF", vif)
    context.db.delete("network", network)


@method("network.add_purpose")
def add_purpose(context: Context, network: str, purpose: str) -> None:
    """Clear and encrypted NBD exclude each other in one pool (contract 5.2)."""
    other = {"nbd": "insecure_nbd", "insecure_nbd": "nbd"}.get(purpose)
    if other is None:
        raise ApiError("INTERNAL_ERROR", f"network.purpose: unknown value {purpose!r}")
    if any(other in row["purpose"] for row in context.db.tables["network"].values()):
        raise ApiError("NETWORK_INCOMPATIBLE_PURPOSES", purpose, other)
    held = context.db.get("network", network)["purpose"]
    context.db.update("network", network, purpose=held if purpose in held else [*held, purpose])


@method("network.remove_purpose")
def remove_purpose(context: Context, network: str, purpose: str) -> None:
    held = context.db.get("network", network)["purpose"]
    context.db.update("network", network, purpose=[other for other in held if other != purpose])
