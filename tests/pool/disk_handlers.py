"""/export_raw_vdi and /import_raw_vdi (contract 4.1, 4.4)."""
from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import ExitStack

import vhd_in
import vhd_out
import xva_out
from disks import MIB
from errors import ApiError
from request import NOT_CACHED, Progress, Refused, Request

TYPES = {"raw": "application/octet-stream", "vhd": "application/vhd", "tar": "application/x-tar"}
IO_ERROR = ("VDI_IO_ERROR", "Device I/O errors")


def _go_where_it_is(request: Request, sr: str) -> None:
    if not request.world.sees(request.member.ref, {sr}):
        member = request.world.host_for({sr})
        if member is None:
            raise ApiError("SR_HAS_NO_PBDS", sr)
        request.redirect(member)


def export(request: Request) -> None:
    """The head comes before the disk is attached, so what fails then is appended to the body."""
    world, db = request.world, request.world.db
    vdi = request.object("VDI", "vdi", "vdi")
    if vdi is None:
        raise ApiError("INTERNAL_ERROR", "Missing parameter: vdi")
    row = db.copy("VDI", vdi)
    _go_where_it_is(request, row["SR"])
    form = request.params.get("format", "raw").lower()
    with request.adopt("VDI.export_raw"):
        if form not in TYPES:
            error = ApiError("INTERNAL_ERROR", f"Unknown format {form}")
            db.fail(request.task, error)
            raise Refused(404, error.text)
        base = request.object("VDI", "base", "base")
        request.head("HTTP/1.1 200 OK", *NOT_CACHED, f"task-id:{request.task}", f"content-type:{TYPES[form]}",
                     f'content-disposition: attachment; filename="{row["uuid"]}.{form}"')
        for one in filter(None, (vdi, base)):
            kind = db.get("VDI", one)["type"]
            if kind == "cbt_metadata":
                raise ApiError("VDI_INCOMPATIBLE_TYPE", one, kind)
        if world.attached(vdi, writable=True):
            raise ApiError("VDI_IN_USE", vdi, "export_raw")
        with world.plugged(vdi, request.member.ref), ExitStack() as stack:
            progress = Progress(request, row["virtual_size"])
            stack.callback(lambda: world.was_read(vdi, form, request.moved))
            if form == "vhd":
                vhd_out.write(world, vdi, base, request.write, progress.add)
            elif form == "tar":
                xva_out.write_disk(world, "vdi", vdi, request.write, progress.add)
                request.write(xva_out.END)
            else:
                _raw(request, row, base, progress)


def _raw(request: Request, row: dict, base: str | None, progress: Progress) -> None:
    """Every byte of the disk; with a base, unchanged blocks are zeros."""
    disks, size = request.world.disks, row["virtual_size"]
    changed = set(vhd_out.present(request.world, row["uuid"], request.world.file(base))) if base is not None else None
    with disks.path(row["uuid"]).open("rb") as data:
        for at in range(0, size, MIB):
            held = data.read(min(MIB, size - at))
            request.write(held if changed is None or at // vhd_out.BLOCK in changed else bytes(len(held)))
            progress.add(len(held))


# ---------------------------------------------------------------- import

def import_(request: Request) -> None:
    """The 200 comes first; every failure is VDI_IO_ERROR in the task."""
    world, db = request.world, request.world.db
    with request.adopt("VDI.import_raw") as result:
        form = request.params.get("format", "raw").lower()
        length = request.headers.get("Content-Length")
        vdi = _target(request, form, length)
        row = db.copy("VDI", vdi)
        _go_where_it_is(request, row["SR"])
        if form not in TYPES:
            error = ApiError("INTERNAL_ERROR", f"Unknown format {form}")
            db.fail(request.task, error)
            raise Refused(404, error.text)
        request.head("HTTP/1.1 200 OK", *NOT_CACHED, f"task-id:{request.task}", "content-type: application/octet-stream")
        if "Transfer-Encoding" in request.headers:
            raise ApiError("INTERNAL_ERROR", "Cannot handle encoding")
        if world.attached(vdi):
            raise ApiError("VDI_IN_USE", vdi, "import_raw")
        with world.plugged(vdi, request.member.ref, "RW"):
            try:
                _apply(request, form, vdi, int(length) if length is not None else None)
            except (OSError, vhd_in.Bad):
                raise ApiError(*IO_ERROR) from None
        result(vdi)


def _target(request: Request, form: str, length: str | None) -> str:
    """The VDI that is named; or a new one for a raw body of known length in the SR that is named."""
    vdi = request.object("VDI", "vdi", "vdi")
    if vdi is not None:
        return vdi
    sr = request.object("SR", "sr_id", "sr_uuid")
    if sr is None or form != "raw" or length is None:
        raise ApiError("INTERNAL_ERROR", "Missing parameter: vdi")
    if request.world.db.get("SR", sr)["content_type"] == "iso":
        raise ApiError("SR_OPERATION_NOT_SUPPORTED", sr)
    return request.world.create_disk(sr, int(length), name_label="Imported VDI")


def _apply(request: Request, form: str, vdi: str, length: int | None) -> None:
    size = request.world.db.get("VDI", vdi)["virtual_size"]
    progress = Progress(request, size)

    def write(at: int, data: bytes) -> None:
        try:
            request.world.write(vdi, at, data)
        except ApiError as full:  # the storage: the reason is hidden
            raise ApiError(*IO_ERROR) from full
        progress.add(len(data))

    if form == "vhd":
        vhd_in.apply(request.read, size if length is None else length, size, write)
    elif form == "tar":
        _tar(request, size, write)
    elif "chunked" in request.params:
        _records(vhd_in.Reader(request.read), size, write)
    else:
        _plain(vhd_in.Reader(request.read), size if length is None else length, write)


def _plain(reader: vhd_in.Reader, length: int, write: Callable[[int, bytes], None]) -> None:
    if length == 0:
        raise vhd_in.Bad("no body")
    while reader.at < length:
        at = reader.at
        data = reader.exactly(min(MIB, length - at))
        write(at, data + bytes(-len(data) % 512))


def _records(reader: vhd_in.Reader, size: int, write: Callable[[int, bytes], None]) -> None:
    """Offset, length, data; an empty record at 0 is the end."""
    while True:
        at, length = struct.unpack("<QI", reader.exactly(12))
        if (at, length) == (0, 0):
            return
        if at + length > size:
            raise vhd_in.Bad("behind the disk")
        write(at, reader.exactly(length))


def _tar(request: Request, size: int, write: Callable[[int, bytes], None]) -> None:
    """Chunks as in an XVA, under `vdi`, without an ova.xml."""
    reader = vhd_in.Reader(request.read)
    at, last, gap = 0, -1, None
    while at < size:
        block = reader.exactly(512)
        name, length = block[:100].rstrip(b"\0").decode(), int(block[124:135], 8)
        data = reader.exactly(length)
        reader.exactly(-length % 512)
        if name.endswith((".xxhash", ".checksum")):
            continue
        number = int(name.removeprefix("vdi/"))
        gap = length if gap is None else gap
        at += (number - last - 1) * gap
        write(at, data)
        at, last = at + length, number
