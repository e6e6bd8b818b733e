"""Raw disks, VHDs, NBD, metadata and backups of the simulated pool, with qemu-img and libnbd as judges. Run: python test_disks.py"""

import gzip
import io
import os
import socket
import ssl
import struct
import subprocess
import tarfile
import unittest
import xml.etree.ElementTree as ElementTree

import client
from case import PoolCase
from client import MIB, sha256


def run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


class RawDisks(PoolCase):
    """Contract 4."""

    def setUp(self) -> None:
        super().setUp()
        self.disk, = self.disks_of(self.vm("halted"))
        self.size = int(self.api.VDI.get_virtual_size(self.disk))
        self.look()

    def look(self) -> None:
        """Reads the disk as it is now, past the pool's own exports."""
        self.data = client.urllib.request.urlopen(f"{self.told['control']}/disk?vdi={self.api.VDI.get_uuid(self.disk)}").read()

    def exported(self, vdi: str, **query: str) -> bytes:
        task = self.task()
        answer = self.get("/export_raw_vdi", vdi=vdi, task_id=task, **query)
        self.assertEqual((answer.status, self.ended(task)["status"]), (200, "success"))
        return answer.body

    def empty(self, size: int | None = None) -> str:
        return self.api.VDI.create({
            "name_label": "new", "name_description": "", "SR": self.api.pool.get_default_SR(self.api.pool.get_all()[0]),
            "virtual_size": str(size or self.size), "type": "user", "sharable": False, "read_only": False, "other_config": {},
            "xenstore_data": {}, "sm_config": {}, "tags": []})

    def imported(self, vdi: str, body: bytes, headers: dict | None = None, **query: str) -> dict:
        task = self.task()
        self.assertEqual(self.put("/import_raw_vdi", body, headers=headers, vdi=vdi, task_id=task, **query).status, 200)
        return self.ended(task)

    def test_raw_is_every_byte(self) -> None:
        self.assertEqual(sha256(self.exported(self.disk)), sha256(self.data))
        new = self.empty()
        task = self.imported(new, self.data, format="raw")
        self.assertEqual(task["result"], f"<value>{new}</value>")
        self.assertEqual(self.digest(new), sha256(self.data))
        sr = self.api.VDI.get_SR(new)
        task = self.task()
        client.put(self.first, "/import_raw_vdi", self.data, sr_id=sr, format="raw", session_id=self.session._session, task_id=task)
        made = self.ended(task)["result"][7:-8]
        self.assertEqual((self.api.VDI.get_name_label(made), self.digest(made)), ("Imported VDI", sha256(self.data)))

    def test_raw_lengths_are_kept_to(self) -> None:
        failure = ["VDI_IO_ERROR", "Device I/O errors"]
        self.assertEqual(self.imported(self.empty(self.size - 512), self.data)["error_info"], failure)
        self.assertEqual(self.imported(self.empty(), self.data[:-512], headers={})["error_info"], failure)
        self.assertEqual(self.imported(self.empty(), self.data, headers={})["status"], "success")

    def test_records_write_ranges(self) -> None:
        new = self.empty()
        body = struct.pack("<QI", 4096, 512) + b"x" * 512 + struct.pack("<QI", 0, 3) + b"abc" + struct.pack("<QI", 0, 0)
        self.assertEqual(self.imported(new, body, chunked="true", headers={})["status"], "success")
        want = bytearray(self.size)
        want[:3], want[4096:4608] = b"abc", b"x" * 512
        self.assertEqual(self.digest(new), sha256(want))

    def test_a_vhd_is_read_by_qemu_and_comes_back(self) -> None:
        vhd = self.exported(self.disk, format="vhd")
        path, raw = self.folder / "x.vhd", self.folder / "x.raw"
        path.write_bytes(vhd)
        run("qemu-img", "convert", "-f", "vpc", "-O", "raw", path, raw)
        self.assertEqual(sha256(raw.read_bytes()[:self.size]), sha256(self.data))
        new = self.empty()
        self.assertEqual(self.imported(new, vhd, format="vhd")["status"], "success")
        self.assertEqual(self.digest(new), sha256(self.data))

    def test_of_a_vhd_only_the_sectors_whose_bit_is_set_are_written(self) -> None:
        self.control("write", vdi=self.disk, offset=0, length=4096, seed=5)
        self.look()
        vhd = bytearray(self.exported(self.disk, format="vhd"))
        table = struct.unpack(">6I", vhd[2048:2072])
        vhd[table[0] * 512] = 0b10100000  # of the first 8 sectors, the first and the third
        new, want = self.empty(), bytearray(self.data)
        want[512:1024], want[1536:4096] = bytes(512), bytes(2560)
        self.assertEqual(self.imported(new, bytes(vhd), format="vhd")["status"], "success")
        self.assertEqual(self.digest(new), sha256(want))

    def test_a_vhd_of_qemu_is_taken(self) -> None:
        raw, path = self.folder / "y.raw", self.folder / "y.vhd"
        raw.write_bytes(os.urandom(3 * MIB) + bytes(5 * MIB) + os.urandom(4 * MIB))
        run("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=dynamic,force_size=on", raw, path)
        new = self.empty()
        self.assertEqual(self.imported(new, path.read_bytes(), format="vhd")["status"], "success")
        self.assertEqual(self.digest(new), sha256(raw.read_bytes()))

    def test_a_delta_on_top_of_a_full_one_is_the_new_disk(self) -> None:
        base = self.api.VDI.snapshot(self.disk)
        full = self.exported(base, format="vhd")
        self.control("write", vdi=self.disk, offset=5 * MIB - 700, length=1400, seed=3)
        now = self.api.VDI.snapshot(self.disk)
        delta = self.exported(now, format="vhd", base=base)
        self.assertLess(len(delta), 3 * (2 * MIB + 512) + 5000)
        self.assertEqual(struct.unpack(">I", delta[60:64])[0], 4)
        new = self.empty()
        for body in (full, delta):
            self.assertEqual(self.imported(new, body, format="vhd")["status"], "success")
        self.assertEqual(self.digest(new), self.digest(now))

    def test_a_vhd_of_another_length_fails_after_it_was_written(self) -> None:
        vhd = self.exported(self.disk, format="vhd")
        for headers in ({"Content-Length": str(len(vhd) + 512)}, {}):
            new = self.empty()
            self.assertEqual(self.imported(new, vhd, headers=headers, format="vhd")["error_info"][0], "VDI_IO_ERROR")
            self.assertEqual(self.digest(new), sha256(self.data))

    def test_tar_goes_both_ways(self) -> None:
        body = self.exported(self.disk, format="tar")
        self.assertEqual(sha256(client.disk(client.unpack(body), "vdi", self.size)), sha256(self.data))
        new = self.empty()
        self.assertEqual(self.imported(new, body, format="tar")["status"], "success")
        self.assertEqual(self.digest(new), sha256(self.data))

    def test_refusals(self) -> None:
        task = self.task()
        self.assertEqual(self.get("/export_raw_vdi", vdi=self.disk, format="png", task_id=task).status, 404)
        self.assertEqual(self.ended(task)["error_info"], ["INTERNAL_ERROR", "Unknown format png"])
        running, _ = self.disks_of(self.vm("running"))
        answer = self.get("/export_raw_vdi", vdi=running)
        self.assertEqual((answer.status, answer.body[:12]), (200, b"HTTP/1.1 500"))
        task = self.task()
        self.assertEqual(self.put("/import_raw_vdi", b"", vdi="OpaqueRef:no", task_id=task).status, 500)
        self.assertEqual(self.ended(task)["status"], "failure")
        task = self.imported(self.empty(), b"", headers={"Transfer-Encoding": "chunked"})
        self.assertEqual(task["error_info"], ["INTERNAL_ERROR", "Cannot handle encoding"])


class Nbd(PoolCase):
    """Contract 5.2."""

    def setUp(self) -> None:
        super().setUp()
        self.network = self.api.network.get_by_name_label("Pool-wide network associated with eth0")[0]
        self.disk, = self.disks_of(self.vm("elsewhere"))

    def purpose(self, name: str) -> None:
        self.api.network.add_purpose(self.network, name)
        self.addCleanup(self.api.network.remove_purpose, self.network, name)

    def test_without_a_network_there_is_nothing(self) -> None:
        self.assertEqual(self.api.VDI.get_nbd_info(self.disk), [])

    def test_libnbd_reads_a_disk_over_tls_with_the_certificate_of_the_host(self) -> None:
        self.purpose("nbd")
        with self.refused("NETWORK_INCOMPATIBLE_PURPOSES"):
            self.api.network.add_purpose(self.network, "insecure_nbd")
        info, = self.api.VDI.get_nbd_info(self.disk)  # one: only the second host sees the storage
        self.assertEqual((info["address"], info["subject"]), ("127.0.0.2", "xen-two.pool.test"))
        trust, raw = self.folder / "trust", self.folder / "nbd.raw"
        trust.mkdir()
        (trust / "ca-cert.pem").write_text(info["cert"])
        name = client.quote(info["exportname"].removeprefix("/"), safe="")
        uri = f"nbds://{info['address']}:{info['port']}/%2F{name}?tls-certificates={trust}&tls-verify-peer=1"
        self.assertEqual(run("nbdinfo", "--size", uri).strip(), self.api.VDI.get_virtual_size(self.disk))
        run("nbdcopy", uri, raw)
        self.assertEqual(sha256(raw.read_bytes()), self.digest(self.disk))

    def connect(self, purpose: str) -> socket.socket:
        self.purpose(purpose)
        self.info = self.api.VDI.get_nbd_info(self.disk)[0]
        wire = socket.create_connection((self.info["address"], int(self.info["port"])), timeout=10)
        self.addCleanup(wire.close)
        self.assertEqual(self.take(wire, 18), b"NBDMAGICIHAVEOPT\0\1")
        wire.sendall(struct.pack(">I", 1))
        return wire

    @staticmethod
    def take(wire: socket.socket, length: int) -> bytes:
        data = b""
        while len(data) < length:
            part = wire.recv(length - len(data))
            if not part:
                return data
            data += part
        return data

    def option(self, wire: socket.socket, number: int, data: bytes = b"") -> int:
        wire.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
        magic, option, kind, _ = struct.unpack(">QIII", self.take(wire, 20))
        self.assertEqual((magic, option), (0x3E889045565A9, number))
        return kind

    def test_options(self) -> None:
        wire = self.connect("nbd")
        self.assertEqual(self.option(wire, 7, b"x"), 0x80000005)
        self.assertEqual(self.option(wire, 5), 1)
        trust = ssl.create_default_context(cadata=self.info["cert"])
        secure = trust.wrap_socket(wire, server_hostname=self.info["subject"])
        self.assertEqual(self.option(secure, 3), 0x80000002)
        for number in (6, 7, 8):
            self.assertEqual(self.option(secure, number), 0x80000001)
        secure.sendall(b"IHAVEOPT" + struct.pack(">II", 1, 2) + b"/x")
        self.assertEqual(secure.recv(1), b"")
        secure.close()

    def test_a_name_in_clear_is_no_good_where_tls_is_wanted(self) -> None:
        wire = self.connect("nbd")
        name = self.info["exportname"].encode()
        wire.sendall(b"IHAVEOPT" + struct.pack(">II", 1, len(name)) + name)
        self.assertEqual(self.take(wire, 1), b"")

    def test_reads_in_clear_are_simple_and_aligned(self) -> None:
        wire = self.connect("insecure_nbd")
        name = self.info["exportname"].encode()
        wire.sendall(b"IHAVEOPT" + struct.pack(">II", 1, len(name)) + name)
        head = self.take(wire, 134)
        self.assertEqual(struct.unpack(">QH", head[:10]), (int(self.api.VDI.get_virtual_size(self.disk)), 3))
        self.assertEqual(len(self.control("leftovers")["dom0_vbds"]), 1)
        for handle in (b"12345678", b"abcdefgh"):
            wire.sendall(struct.pack(">IHH8sQI", 0x25609513, 0, 0, handle, 512, 1024))
        for handle in (b"12345678", b"abcdefgh"):
            self.assertEqual(self.take(wire, 1040)[:16], struct.pack(">II8s", 0x67446698, 0, handle))
        wire.sendall(struct.pack(">IHH8sQI", 0x25609513, 0, 0, b"12345678", 100, 512))
        self.assertEqual(self.take(wire, 99), struct.pack(">II8s", 0x67446698, 22, b"12345678"))


class Metadata(PoolCase):
    """Contract 2.2, 2.4, 7."""

    def test_the_dump_of_the_database_is_xml_with_every_vm(self) -> None:
        answer = self.get("/pool/xmldbdump")
        root = ElementTree.fromstring(answer.body)
        names = {row.get("name_label") for row in root.iterfind("table[@name='VM']/row")}
        self.assertEqual(names, {row["name_label"].replace(" ", "%.") for row in self.api.VM.get_all_records().values()})
        for body, query, error in ((answer.body, {"dry_run": "true"}, []), (b"nonsense", {}, ["INTERNAL_ERROR"]), (
                answer.body.replace(b'"schema_minor_vsn" value="', b'"schema_minor_vsn" value="9'), {}, ["RESTORE_INCOMPATIBLE_VERSION"])):
            task = self.task()
            self.assertEqual(self.put("/pool/xmldbdump", body, task_id=task, **query).status, 200)
            self.assertEqual(self.ended(task)["error_info"][:1], error)
        self.assertEqual(self.put("/pool/xmldbdump", b"", headers={}).status, 400)
        self.setting(upgrading=True)
        self.assertEqual(list(ElementTree.fromstring(self.get("/pool/xmldbdump").body).iterfind("table")), [])

    def test_each_host_is_backed_up_at_its_own_address(self) -> None:
        for url, name in ((self.first, b"xen-one.pool.test"), (self.second, b"xen-two.pool.test")):
            body = self.get("/host_backup", url=url).body
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(body))) as tar:
                self.assertEqual(tar.extractfile("etc/hostname").read(), name)
            task = self.task()
            client.put(url, "/host_restore", body, session_id=self.session._session, task_id=task)
            self.assertEqual(self.ended(task)["status"], "success")
        task = self.task()
        self.put("/host_restore", b"nonsense", task_id=task)
        self.assertEqual(self.ended(task)["error_info"][0], "RESTORE_SCRIPT_FAILED")

    def test_metadata_of_a_snapshot_alone_is_refused(self) -> None:
        taken = self.api.VM.snapshot(self.vm("halted"), "inside")
        self.addCleanup(self.api.VM.destroy, taken)
        for snapshots in ("true", "false"):
            task = self.task()
            answer = self.get("/export_metadata", ref=taken, export_snapshots=snapshots, task_id=task)
            self.assertEqual(answer.status, 500)
            self.assertEqual(self.ended(task)["error_info"][0], "OPERATION_NOT_ALLOWED")

    def test_metadata_of_a_vm_goes_out_and_comes_back_to_its_disks(self) -> None:
        vm = self.vm("halted")
        self.api.VM.snapshot(vm, "inside")
        answer = self.get("/export_metadata", ref=vm)
        self.assertEqual(int(answer.headers["content-length"]), len(answer.body))
        (name, xml), = client.unpack(answer.body)
        self.assertEqual((name, xml.count(b"<name>class</name><value>VM</value>")), ("ova.xml", 2))
        whole = self.get("/export_metadata", all="true", export_snapshots="false", include_dom0="false").body
        self.assertEqual(client.unpack(whole)[0][1].count(b"<name>class</name><value>VM</value>"), 5)
        body = self.get("/export_metadata", ref=vm, export_snapshots="false").body
        for dry in ("true", "false"):
            task = self.task()
            self.put("/import_metadata", body, task_id=task, dry_run=dry)
            self.assertEqual(self.ended(task)["status"], "success")
        new = self.api.task.get_result(task).split("<value>")[2].split("<")[0]
        self.assertEqual(self.disks_of(new), self.disks_of(vm))
        task, lost = self.task(), body.replace(self.api.VDI.get_location(self.disks_of(vm)[0]).encode(), b"0" * 36)
        self.put("/import_metadata", lost, task_id=task)
        self.assertIn(self.ended(task)["error_info"][0], ("VDI_LOCATION_MISSING", "IMPORT_ERROR"))


if __name__ == "__main__":
    unittest.main()
