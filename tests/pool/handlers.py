"""The HTTP handlers for VMs: /export and /import (contract 2.1, 2.3). Others are in disk_handlers and metadata."""
from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import disk_handlers
import metadata
import xva_in
import xva_out
from errors import ApiError, Gone
from request import NOT_CACHED, Progress, Refused, Request
from schema import NULL

PACKERS = {"true": ["gzip", "-c"], "gzip": ["gzip", "-c"], "zstd": ["zstd", "-c", "-q"]}
EXPORTABLE = "halted, suspended"


@contextmanager
def packed(request: Request, how: str) -> Iterator[Callable[[bytes], None]]:
    """What is written goes through an external program, or straight out. An error page behind it stays text."""
    if how not in PACKERS:
        yield request.write
        return
    process = subprocess.Popen(PACKERS[how], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    problems: list[BaseException] = []

    def pump() -> None:
        try:
            while data := process.stdout.read1(1 << 18):
                request.write(data)
        except (ApiError, Gone) as problem:
            problems.append(problem)
            process.kill()

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        yield process.stdin.write
        process.stdin.close()
    except OSError:
        if not problems:
            thread.join(1)
    finally:
        if not process.stdin.closed:
            process.kill()
            process.communicate()
        thread.join()
        process.stdout.close()
        process.wait()
    if problems:
        raise problems[0]


def export(request: Request) -> None:
    world, db = request.world, request.world.db
    vm = request.object("VM", "ref", "uuid")
    if vm is None:
        raise ApiError("INTERNAL_ERROR", "Missing parameter: ref or uuid")
    preserve = request.params.get("preserve_power_state") == "true"
    srs = _storage(request, vm)
    if not world.sees(request.member.ref, srs):
        member = world.host_for(srs)
        if member is not None:
            request.redirect(member)
    with request.adopt("VM.export"), ExitStack() as stack:
        with db.lock:
            if not world.sees(request.member.ref, srs):
                raise ApiError("VM_REQUIRES_SR", vm, next(iter(srs)))
            db.progress(request.task, 0.0)
            world.check_vm(vm, "export", EXPORTABLE)
            stack.enter_context(world.operation("VM", vm, "export", request.task))
            manifest = xva_out.Manifest(world, whole=False, preserve=preserve, vms=[vm])
        request.head("HTTP/1.0 200 OK", *NOT_CACHED, f"task-id: {request.task}",
                     f"Server: xapi/{world.settings.xapi_major}.{world.settings.xapi_minor}", "content-type: application/octet-stream",
                     'Content-Disposition: attachment; filename="export.xva"')
        disks = [vdi for _, vdi in manifest.disks()]
        progress = Progress(request, sum(db.get("VDI", vdi)["virtual_size"] for vdi in disks))
        for vdi in disks:
            stack.enter_context(world.plugged(vdi, request.member.ref))
        with packed(request, request.params.get("use_compression", "")) as write:
            xva_out.write(world, manifest, write, progress.add)


def _storage(request: Request, vm: str) -> set[str]:
    """The SRs of the disks of a VM."""
    db = request.world.db
    with db.lock:
        vdis = [db.get("VBD", vbd)["VDI"] for vbd in db.get("VM", vm)["VBDs"]] + [db.get("VM", vm)["suspend_VDI"]]
        return {db.get("VDI", vdi)["SR"] for vdi in vdis if vdi != NULL}


def import_(request: Request) -> None:
    """The 200 comes before the first byte of the body is read; the result is that of the task (contract 0.1)."""
    world, db = request.world, request.world.db
    sr = request.object("SR", "sr_id", "sr_uuid")
    if sr is None:
        sr = db.get("pool", db.pool)["default_SR"]
        if sr not in db.tables["SR"]:
            raise ApiError("DEFAULT_SR_NOT_FOUND", sr)
    if not world.sees(request.member.ref, {sr}):
        member = world.host_for({sr})
        if member is not None:
            request.redirect(member)
    with request.adopt("VM.import") as result:
        db.progress(request.task, 0.0)
        _refuse(request, world.settings.upgrading, 400, ApiError("NOT_SUPPORTED_DURING_UPGRADE"))
        _refuse(request, db.get("SR", sr)["content_type"] == "iso", 400, ApiError("SR_OPERATION_NOT_SUPPORTED", sr))
        _refuse(request, "Transfer-Encoding" in request.headers, 403, ApiError("IMPORT_ERROR_CANNOT_HANDLE_CHUNKED"))
        request.head("HTTP/1.1 200 OK", *NOT_CACHED, f"task-id:{request.task}", "content-type: application/octet-stream")
        result(xva_in.Import(request, sr).run())


def _refuse(request: Request, wrong: bool, status: int, error: ApiError) -> None:
    if wrong:
        request.world.db.fail(request.task, error)
        raise Refused(status, error.text)


GET = {"/export": export, "/export_metadata": metadata.export, "/export_raw_vdi": disk_handlers.export,
       "/pool/xmldbdump": metadata.dump, "/host_backup": metadata.host_backup}
PUT = {"/import": import_, "/import_metadata": metadata.import_, "/import_raw_vdi": disk_handlers.import_,
       "/pool/xmldbdump": metadata.restore, "/host_restore": metadata.host_restore}
