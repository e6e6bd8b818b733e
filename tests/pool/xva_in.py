"""Imports an XVA with the strictness of xapi (contract 2.3, 3.8), in its order of steps."""
from __future__ import annotations

import hashlib

import xxhash

import rpc
from disks import MIB
from errors import ApiError
from request import Progress, Request
from tar_in import Tar, broken
from xva_objects import Objects


class Import:
    """One upload into one SR."""

    def __init__(self, request: Request, sr: str) -> None:
        self.request, self.world = request, request.world
        self.force = request.params.get("force") == "true"
        self.objects = Objects(request.world, sr, request.task, restore=request.params.get("restore") == "true", force=self.force)

    def run(self) -> list[str]:
        """The references of the new VMs."""
        length = self.request.headers.get("Content-Length")
        tar = None
        try:
            tar = Tar(self.request.read, int(length) if length is not None else None)
            return self._run(tar)
        except BaseException:
            if not self.force:
                self.objects.undo()
            raise
        finally:
            if tar is not None:
                tar.close()

    def _run(self, tar: Tar) -> list[str]:
        header = tar.header()
        if header.name != "ova.xml":
            raise ApiError("IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", header.name)
        if header.size > 64 * MIB:
            raise broken("ova.xml is too large")
        xml = tar.read(header.size)
        tar.skip_padding(header.size)
        export_version = self.objects.create(parse(self.world, xml))
        self._note("object_creation", "complete")
        disks = sorted(self.objects.streamed())
        receive = Receiver(self.request, tar, Progress(self.request, sum(size for _, _, size in disks)))
        for prefix, vdi, size in disks:
            receive.disk(prefix, vdi, size)
        if export_version < 2:
            trailer = tar.header()
            tar.read(trailer.size)
        if receive.wrong and not self.force:
            raise ApiError("IMPORT_ERROR_SOME_CHECKSUMS_FAILED")
        if self.world.faults.take("stops_reading"):
            self.request.reset()
        return self.objects.finish()

    def _note(self, key: str, value: str) -> None:
        db = self.world.db
        with db.lock:
            if self.request.task in db.tables["task"]:
                db.update("task", self.request.task, other_config={**db.get("task", self.request.task)["other_config"], key: value})


def parse(world, xml: bytes) -> dict:
    """Version and objects; refused if it is from a newer xapi (contract 0.9)."""
    try:
        content = rpc.parse_value(xml)
    except rpc.Malformed as problem:
        raise broken(str(problem)) from None
    if not isinstance(content, dict) or "version" not in content or "objects" not in content:
        raise broken("Not_found")
    try:
        version = content["version"]
        major, minor = int(version["xapi_major"]), int(version["xapi_minor"])
        content["export_vsn"] = int(version.get("export_vsn", 0))
        for name in ("hostname", "date", "product_version", "product_brand", "build_number"):
            version[name].encode()
        objects = [(item["class"], item["id"], dict(item["snapshot"])) for item in content["objects"]]
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise broken(f"Failure: ova.xml: {problem!r}") from None
    if (major, minor) > (world.settings.xapi_major, world.settings.xapi_minor):
        raise ApiError("IMPORT_INCOMPATIBLE_VERSION")
    content["objects"] = objects
    return content


class Receiver:
    """Chunks of all disks. The length of the first one of all is that of every gap (contract 3.4)."""

    def __init__(self, request: Request, tar: Tar, progress: Progress) -> None:
        self.request, self.world, self.tar, self.progress = request, request.world, tar, progress
        self.gap: int | None = None
        self.wrong = False

    def disk(self, prefix: str, vdi: str, size: int) -> None:
        """Ends when the bytes of the disk are there; what comes behind its end goes to the device, which refuses."""
        with self.world.plugged(vdi, self.request.member.ref, "RW"):
            at, last, last_number = 0, "", -1
            while at < size:
                header = self.tar.header()
                number, suffix = self._number(prefix, header.name, last)
                if self.gap is None:
                    self.gap = header.size
                at += (number - last_number - 1) * self.gap
                at += self._chunk(vdi, at, header.name, header.size)
                last, last_number = suffix, number

    @staticmethod
    def _number(prefix: str, name: str, last: str) -> tuple[int, str]:
        """The counter in the name of a chunk; it must increase as text."""
        suffix = name.removeprefix(prefix + "/")
        if suffix == name or not suffix.isdigit() or suffix <= last:
            raise ApiError("IMPORT_ERROR", f"INTERNAL_ERROR: [ Invalid XVA file: {name} ]")
        return int(suffix), suffix

    def _chunk(self, vdi: str, at: int, name: str, size: int) -> int:
        """Data, then the header of the checksum, and only then the padding of the data (contract 3.8, item 8)."""
        digests = {".checksum": hashlib.sha1()}
        if self.world.settings.checksum != "sha1":  # hosts before CH 8.1 know no other
            digests[".xxhash"] = xxhash.xxh64()
        left, place = size, at
        while left:
            data = self.tar.read(min(left, MIB))
            for digest in digests.values():
                digest.update(data)
            self._write(vdi, place, data)
            place, left = place + len(data), left - len(data)
        check = self.tar.header()
        self.tar.skip_padding(size)
        text = self.tar.read(check.size)
        self.tar.skip_padding(check.size)
        extension = next((extension for extension in digests if check.name == name + extension), None)
        if extension is None:
            raise broken(f"Failed to find inline checksum: {check.name}")
        found = digests[extension].hexdigest()
        self.wrong |= text != (found.upper() if extension == ".xxhash" else found).encode()
        self.progress.add(size)
        return size

    def _write(self, vdi: str, place: int, data: bytes) -> None:
        try:
            self.world.write(vdi, place, data)
        except OSError:
            raise ApiError("VDI_IO_ERROR", "Device I/O error") from None
