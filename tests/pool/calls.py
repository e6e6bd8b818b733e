"""The RPC calls: what holds for all of them, those on any class, and those of sessions, tasks and events (contract 8)."""
from __future__ import annotations

import inspect
import threading
import time
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import events
from database import now
from errors import ApiError, Gone
from faults import stall
from schema import CLASSES, NULL, coerce
from world import Member, World


@dataclass
class Context:
    """Who calls, and where."""

    world: World
    member: Member
    session: str = NULL
    task: str = NULL

    @property
    def db(self):
        return self.world.db


METHODS: dict[str, Callable] = {}
READ_ONLY_REFUSED = ("VM", "VDI", "VBD", "VIF", "SR", "network", "host", "pool", "VTPM",
                     "VM_appliance")
POOL_ADMIN_ONLY = {"network.add_purpose", "network.remove_purpose"}
NOT_ASYNC = {"VDI.get_nbd_info", "event.from", "session.login_with_password", "session.logout", "system.listMethods"}

SETTABLE = {cls: set(names.split()) for cls, names in {
    "pool": "name_label name_description other_config tags default_SR suspend_image_SR",
    "host": "name_label name_description other_config tags",
    "VM": "name_label name_description user_version is_a_template affinity other_config tags blocked_operations platform VCPUs_params"
          " VCPUs_max VCPUs_at_startup memory_static_max memory_static_min memory_dynamic_max memory_dynamic_min HVM_boot_policy"
          " HVM_boot_params HVM_shadow_multiplier NVRAM xenstore_data ha_restart_priority ha_always_run actions_after_shutdown"
          " actions_after_reboot actions_after_crash PV_bootloader PV_kernel PV_ramdisk PV_args PV_legacy_args PV_bootloader_args"
          " PCI_bus recommendations start_delay shutdown_delay order suspend_VDI suspend_SR has_vendor_device domain_type"
          " hardware_platform_version protection_policy",
    "VM_appliance": "name_label name_description",
    "VDI": "name_label name_description other_config tags xenstore_data sm_config on_boot read_only sharable allow_caching",
    "VBD": "other_config userdevice bootable mode type unpluggable",
    "VIF": "other_config locking_mode ipv4_allowed ipv6_allowed",
    "SR": "name_label name_description other_config tags sm_config",
    "network": "name_label name_description other_config tags MTU",
    "task": "other_config progress result status error_info",
    "session": "other_config",
}.items()}


def method(name: str) -> Callable:
    """Registers a call."""
    def register(function: Callable) -> Callable:
        METHODS[name] = function
        return function
    return register


def call(world: World, member: Member, name: str, params: list) -> object:
    """One call, as it arrives at a member."""
    world.count(name)
    _faults(world, name, params)
    if name == "system.listMethods":
        return method_names()
    if member.ref != world.db.master:
        raise ApiError("HOST_IS_SLAVE", world.member(world.db.master).address)
    if name == "session.login_with_password":
        return login(world, *params)
    if not params:
        raise ApiError("MESSAGE_PARAMETER_COUNT_MISMATCH", name, "1", "0")
    session, *params = params
    plain = name.removeprefix("Async.")
    with world.db.lock:
        _allow(world, session, plain)
        world.db.get("session", session)["last_active"] = now()
    context = Context(world, member, session)
    if plain == name:
        return run(context, name, params)
    if plain in NOT_ASYNC:
        raise ApiError("MESSAGE_METHOD_UNKNOWN", name)
    context.task = world.db.new_task(name)
    world.db.working.add(context.task)
    threading.Thread(target=_in_background, args=(context, plain, params), daemon=True).start()
    return context.task


def _in_background(context: Context, name: str, params: list) -> None:
    """A fault of the task is that of its call; one of the call, without `Async.`, lets the task fail."""
    fault = context.world.faults.take("task", path=f"Async.{name}")
    action = fault and fault["action"]
    try:
        _refuse(context.world, name, params)
        result = run(context, name, params) if action != "change_master" or fault.get("done", True) else None
        if action == "fails":
            raise ApiError(*fault.get("error", ["INTERNAL_ERROR", "Failure"]))
    except ApiError as error:
        context.db.fail(context.task, error)
    except Exception as problem:  # a mistake of the simulator: it must not look like a task that never ends
        traceback.print_exc()
        context.db.fail(context.task, ApiError("INTERNAL_ERROR", repr(problem)))
    else:
        if action == "vanishes":
            context.db.delete("task", context.task)
        elif action == "change_master":
            context.db.change_master()
        elif action != "never_ends":
            context.db.succeed(context.task, result)


def run(context: Context, name: str, params: list) -> object:
    function = METHODS.get(name)
    if function is None:
        return _on_any_class(context, name, params)
    try:
        bound = inspect.signature(function).bind(context, *params)
    except TypeError:
        expected = len(inspect.signature(function).parameters)
        raise ApiError("MESSAGE_PARAMETER_COUNT_MISMATCH", name, expected, len(params) + 1) from None
    if name == "event.from":
        return function(*bound.args)
    with context.db.lock:
        return deepcopy(function(*bound.args))


def _allow(world: World, session: str, name: str) -> None:
    """SESSION_INVALID, or RBAC_PERMISSION_DENIED for what the role lacks."""
    role = world.role(session)
    cls, _, verb = name.partition(".")
    reads = verb.startswith("get_") or cls in ("event", "task", "session")
    if (role == "read-only" and cls in READ_ONLY_REFUSED and not reads) or (role != "pool-admin" and name in POOL_ADMIN_ONLY):
        raise ApiError("RBAC_PERMISSION_DENIED", name.lower(), "No permission in user session")


def _faults(world: World, name: str, params: list) -> None:
    take = world.faults.take
    if fault := take("rpc_stall", method=name):
        stall(fault)
    if take("rpc_drop", method=name):
        raise Gone
    if take("expire_sessions", method=name):
        world.db.drop("session")
    if take("change_master", method=name):
        world.db.change_master()
    _refuse(world, name, params[1:])


def _refuse(world: World, name: str, params: list) -> None:
    if fault := world.faults.take("rpc_error", method=name, first=params[0] if params else None):
        given = {f"${place}": str(value) for place, value in enumerate(params)}
        raise ApiError(*(given.get(str(part), part) for part in fault["error"]))


# ------------------------------------------------------------ calls on any class

def _on_any_class(context: Context, name: str, params: list) -> object:
    cls, _, verb = name.partition(".")
    unknown = ApiError("MESSAGE_METHOD_UNKNOWN", name)
    if cls not in CLASSES or not verb:
        raise unknown
    wanted = GENERIC.get(verb)
    field_name = None
    for prefix, function in () if wanted else ON_FIELDS.items():
        field = verb.removeprefix(prefix)
        if verb.startswith(prefix) and field in CLASSES[cls] and _field_call(cls, prefix, field):
            wanted, field_name = function, field
            break
    if wanted is None:
        raise unknown
    given = [context, cls, *([field_name] if field_name else []), *params]
    try:
        bound = inspect.signature(wanted).bind(*given)
    except TypeError:
        expected = len(inspect.signature(wanted).parameters) - (2 if field_name else 1)
        raise ApiError("MESSAGE_PARAMETER_COUNT_MISMATCH", name, expected, len(params) + 1) from None
    with context.db.lock:
        return deepcopy(wanted(*bound.args))


def _field_call(cls: str, prefix: str, name: str) -> bool:
    settable = name in SETTABLE.get(cls, ())
    kind = CLASSES[cls][name]
    return {"get_": True, "set_": settable, "add_to_": settable and kind == "map", "remove_from_": settable and kind == "map",
            "add_": settable and kind == "set", "remove_": settable and kind == "set"}[prefix]


def _set(context: Context, cls: str, name: str, ref: str, value: object) -> None:
    context.db.update(cls, ref, **{name: coerce(cls, name, value)})


def _add_to(context: Context, cls: str, name: str, ref: str, key: str, value: str) -> None:
    row = context.db.get(cls, ref)
    if key in row[name]:
        raise ApiError("MAP_DUPLICATE_KEY", cls, name, row["uuid"], key)
    context.db.update(cls, ref, **{name: {**row[name], key: value}})


def _remove_from(context: Context, cls: str, name: str, ref: str, key: str) -> None:
    held = context.db.get(cls, ref)[name]
    context.db.update(cls, ref, **{name: {other: value for other, value in held.items() if other != key}})


def _add(context: Context, cls: str, name: str, ref: str, value: str) -> None:
    held = context.db.get(cls, ref)[name]
    context.db.update(cls, ref, **{name: held if value in held else [*held, value]})


def _remove(context: Context, cls: str, name: str, ref: str, value: str) -> None:
    context.db.update(cls, ref, **{name: [other for other in context.db.get(cls, ref)[name] if other != value]})


GENERIC = {
    "get_all": lambda context, cls: list(context.db.tables[cls]),
    "get_all_records": lambda context, cls: context.db.tables[cls],
    "get_record": lambda context, cls, ref: context.db.get(cls, ref),
    "get_by_uuid": lambda context, cls, uuid: context.db.by_uuid(cls, uuid),
    "get_by_name_label": lambda context, cls, label: list(context.db.find(cls, name_label=label)),
}
ON_FIELDS = {
    "get_": lambda context, cls, name, ref: context.db.get(cls, ref)[name],
    "set_": _set, "add_to_": _add_to, "remove_from_": _remove_from, "add_": _add, "remove_": _remove,
}


def method_names() -> list[str]:
    names = {"session.login_with_password", "system.listMethods", *METHODS}
    names |= {f"Async.{name}" for name in METHODS if name not in NOT_ASYNC}
    for cls, fields in CLASSES.items():
        names |= {f"{cls}.{verb}" for verb in GENERIC}
        names |= {f"{cls}.{prefix}{name}" for name in fields for prefix in ON_FIELDS if _field_call(cls, prefix, name)}
    return sorted(names)


# ------------------------------------------------------------ sessions, tasks, events

def login(world: World, user: str = "", password: str = "", _version: str = "", originator: str = "", *_rest: str) -> str:
    session = world.login(user, password, originator)
    if session is None:
        time.sleep(world.settings.auth_delay)
        raise ApiError("SESSION_AUTHENTICATION_FAILED", user, "Authentication failure")
    return session


@method("session.logout")
def logout(context: Context) -> None:
    context.db.delete("session", context.session)


@method("task.create")
def create_task(context: Context, label: str, description: str) -> str:
    return context.db.new_task(label, description)


@method("task.destroy")
def destroy_task(context: Context, task: str) -> None:
    """On an unfinished task it only marks it (contract 1.6). One that nothing works on goes at once."""
    pending = context.db.get("task", task)["status"] in ("pending", "cancelling")
    if pending and task in context.db.working:
        context.db.doomed.add(task)
    else:
        context.db.delete("task", task)


@method("task.cancel")
def cancel_task(context: Context, task: str) -> None:
    row = context.db.get("task", task)
    if row["status"] not in ("pending", "cancelling") or "cancel" not in row["allowed_operations"]:
        raise ApiError("OPERATION_NOT_ALLOWED", "The task cannot be cancelled")
    if task in context.db.working:
        context.db.cancelled.add(task)
        context.db.update("task", task, status="cancelling")
    else:
        context.db.fail(task, ApiError("TASK_CANCELLED", task))


@method("event.from")
def event_from(context: Context, classes: list, token: str, timeout: float) -> dict:
    return events.since(context.db, context.session, classes, token, float(timeout))


@method("event.inject")
def event_inject(context: Context, cls: str, ref: str) -> str:
    known = {name.lower(): name for name in CLASSES}
    context.db.update(known.get(cls.lower(), cls), ref)
    return events.token(context.db)
