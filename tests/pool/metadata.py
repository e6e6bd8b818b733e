"""Metadata of VMs, the database of the pool, and host backups (contract 2.2, 2.4, 7)."""
from __future__ import annotations

import gzip
import io
import random
import tarfile
import uuid
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import quoteattr

import xva_out
from errors import ApiError
from request import NOT_CACHED, Refused, Request
from schema import CLASSES, NULL
from tar_in import Tar
from xva_in import parse
from xva_objects import Objects

SCHEMA = ("5", "790")


# ---------------------------------------------------------------- /export_metadata and /import_metadata

def export(request: Request) -> None:
    """A tar of the ova.xml alone, with its length; not of a snapshot alone, which xapi refuses."""
    world, db, params = request.world, request.world.db, request.params
    everything = params.get("all") == "true"
    with db.lock:
        if everything:
            vms = [ref for ref, row in db.tables["VM"].items() if not row["is_default_template"]
                   and (params.get("include_dom0", "true") == "true" or not row["is_control_domain"])]
        else:
            vm = request.object("VM", "ref", "uuid")
            if vm is None:
                raise ApiError("INTERNAL_ERROR", "Missing parameter: ref or uuid")
            vms = [vm]
        is_snapshot = not everything and db.get("VM", vms[0])["is_a_snapshot"]
        if params.get("export_snapshots", "true") == "true":
            vms += [taken for vm in vms for taken in db.get("VM", vm)["snapshots"] if taken not in vms]
        else:
            vms = [vm for vm in vms if not db.get("VM", vm)["is_a_snapshot"]]
    with request.adopt("VM.export_metadata"):
        if is_snapshot:
            raise ApiError("OPERATION_NOT_ALLOWED", "Exporting metadata of a snapshot is not allowed")
        excluded = set(filter(None, params.get("excluded_device_types", "").split(",")))
        with db.lock:
            xml = xva_out.Manifest(world, whole=True, preserve=True, vms=vms, excluded=excluded).xml()
        body = xva_out.member("ova.xml", xml) + xva_out.END
        request.head("HTTP/1.0 200 OK", *NOT_CACHED, f"task-id: {request.task}", "content-type: application/octet-stream",
                     f"Content-Length: {len(body)}", 'Content-Disposition: attachment; filename="export.xva"')
        request.write(body)


def import_(request: Request) -> None:
    world, params = request.world, request.params
    with request.adopt("VM.import_metadata") as result:
        request.head("HTTP/1.1 200 OK", *NOT_CACHED, f"task-id:{request.task}", "content-type: application/octet-stream")
        force = params.get("force") == "true"
        length = request.headers.get("Content-Length")
        tar = Tar(request.read, int(length) if length is not None else None)
        header = tar.header()
        if header.name != "ova.xml":
            raise ApiError("IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", header.name)
        content = parse(world, tar.read(header.size))
        mapped = {key.removeprefix("vdi:"): value for key, value in params.items() if key.startswith("vdi:")}
        objects = Objects(world, NULL, request.task, restore=params.get("restore") == "true", force=force, vdi_map=mapped)
        try:
            objects.create(content)
        except ApiError:
            if not force:
                objects.undo()
            raise
        found = objects.finish()
        if params.get("dry_run") == "true":
            objects.undo()
        result(found)


# ---------------------------------------------------------------- /pool/xmldbdump

def spaced(text: str) -> str:
    """Blanks of an attribute value survive XML (contract 7)."""
    for char, code in (("%", "%%"), (" ", "%."), ("\t", "%t"), ("\n", "%n"), ("\r", "%r")):
        text = text.replace(char, code)
    return text


def s_expression(value: object) -> str:
    def atom(item: object) -> str:
        return "'" + str(item).replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, dict):
        return f"({' '.join(f'({atom(key)} {atom(item)})' for key, item in value.items())})"
    if isinstance(value, list):
        return f"({' '.join(map(atom, value))})"
    return str(value).lower() if isinstance(value, bool) else str(value)


def database_xml(request: Request) -> bytes:
    """The whole database, in the order of names and references; during a rolling upgrade only the frame of one.

    Between two dumps the generation count rises, rows of sessions and tasks come and go, and each change moves what is behind it.
    """
    db = request.world.db
    out = ['<?xml version="1.0" encoding="UTF-8"?><database><manifest>']
    for name, value in (("schema_major_vsn", SCHEMA[0]), ("schema_minor_vsn", SCHEMA[1]), ("generation_count", db.generation)):
        out.append(f'<pair key="{name}" value="{value}"/>')
    out.append("</manifest>")
    for cls in sorted(CLASSES) if not request.world.settings.upgrading else ():
        out.append(f'<table name="{cls}">')
        out += _unchanging(request.world.settings.database_mib) if cls == "VM_guest_metrics" else ()
        for ref, row in sorted(db.tables[cls].items()):
            held = {"ref": ref, "__ctime": db.born[ref], "__mtime": db.touched[ref], "_ref": ref,
                    **{name: s_expression(value) for name, value in row.items()}}
            out.append("<row " + " ".join(f"{name}={quoteattr(spaced(str(value)))}" for name, value in held.items()) + "/>")
        out.append("</table>")
    out.append("</database>")
    return "".join(out).encode()


def _unchanging(mib: int) -> list[str]:
    """So many MiB of rows of guests that stand still: a pool of some size has them."""
    row = '<row ref="OpaqueRef:{0}" __ctime="1" __mtime="2" _ref="OpaqueRef:{0}" uuid="{0}" os_version="((\'name\'%.\'Debian\'))"/>'
    ids = random.Random(mib)
    return [row.format(uuid.UUID(int=ids.getrandbits(128))) for _ in range((mib << 20) // len(row.format("0" * 36)))]


def dump(request: Request) -> None:
    if request.member.ref != request.world.db.master:
        raise Refused(500, ApiError("HOST_IS_SLAVE", request.world.member(request.world.db.master).address).text)
    with request.adopt("pool.dump_database"):
        with request.world.db.lock:
            body = database_xml(request)
        request.head("HTTP/1.1 200 OK", *NOT_CACHED, f"task-id: {request.task}", "content-type: text/xml")
        request.write(body)


def restore(request: Request) -> None:
    """Checks the dump and keeps it as the blob `database`; the pool itself stays as it is."""
    if "Content-Length" not in request.headers:
        raise Refused(400)
    with request.adopt("pool.restore_database"):
        request.head("HTTP/1.1 200 OK", *NOT_CACHED, f"task-id: {request.task}")
        body = _body(request, int(request.headers["Content-Length"]))
        try:
            root = ElementTree.fromstring(body)
        except ElementTree.ParseError as problem:
            raise ApiError("INTERNAL_ERROR", f"Xmlm.Error: {problem}") from None
        versions = {pair.get("key"): pair.get("value") for pair in root.iterfind("manifest/pair")}
        if (versions.get("schema_major_vsn"), versions.get("schema_minor_vsn")) != SCHEMA:
            raise ApiError("RESTORE_INCOMPATIBLE_VERSION")
        here = {row["device"] for row in request.world.db.tables["PIF"].values() if row["physical"]}
        for row in root.iterfind("table[@name='PIF']/row"):
            if row.get("physical") == "true" and row.get("device") not in here:
                raise ApiError("RESTORE_TARGET_MISSING_DEVICE", row.get("device"))
        held = {row.get("device") for row in root.iterfind("table[@name='PIF']/row")}
        management = sorted(row["device"] for row in request.world.db.tables["PIF"].values() if row["management"])
        if not held.intersection(management):
            raise ApiError("RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP", *management)
        if request.params.get("dry_run") != "true":
            request.world.blobs["database"] = body


# ---------------------------------------------------------------- hosts

def host_backup(request: Request) -> None:
    """A gzip'ed tar that is this host's: its name, and a dump of the database."""
    with request.adopt("host.backup"):
        with request.world.db.lock:
            dumped = database_xml(request)
        name = request.world.db.get("host", request.member.ref)["hostname"].encode()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path, data in (("etc/hostname", name), ("boot/efi/EFI/xenserver/grub.cfg", b"set timeout=5\n"),
                               ("var/backup/pool-database-20261122", dumped)):
                info = tarfile.TarInfo(path)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        request.head("HTTP/1.1 200 OK", *NOT_CACHED, f"task-id: {request.task}", "content-type: application/octet-stream")
        request.write(gzip.compress(packed.getvalue()))


def host_restore(request: Request) -> None:
    """Checks that it is a backup, and keeps it as the blob `host:<hostname>`."""
    length = request.headers.get("Content-Length")
    with request.adopt("host.restore"):
        request.head("HTTP/1.1 200 OK", *NOT_CACHED, f"task-id: {request.task}")
        body = _body(request, int(length) if length is not None else None)
        try:
            with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
                tar.getmember("etc/hostname")
        except (tarfile.TarError, OSError, EOFError, KeyError) as problem:
            raise ApiError("RESTORE_SCRIPT_FAILED", repr(problem)) from None
        request.world.blobs[f"host:{request.world.db.get('host', request.member.ref)['hostname']}"] = body


def _body(request: Request, length: int | None) -> bytes:
    parts, got = [], 0
    while length is None or got < length:
        data = request.read(1 << 18 if length is None else length - got)
        if not data:
            break
        parts.append(data)
        got += len(data)
    if length is not None and got < length:
        raise ApiError("INTERNAL_ERROR", "End_of_file")
    return b"".join(parts)
