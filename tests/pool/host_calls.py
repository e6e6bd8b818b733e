"""Calls on hosts (contract 8)."""
from __future__ import annotations

from calls import Context, method
from database import now


@method("host.get_server_certificate")
def server_certificate(context: Context, host: str) -> str:
    context.db.get("host", host)
    return context.world.member(host).pem


@method("host.get_servertime")
def server_time(context: Context, host: str) -> str:
    context.db.get("host", host)
    return now()


@method("host.compute_free_memory")
def compute_free_memory(context: Context, host: str) -> int:
    return context.world.free_memory(host)
