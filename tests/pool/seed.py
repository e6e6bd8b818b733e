"""The pool as it is at the start: two hosts, storage, networks, templates, VMs of several kinds (contract 8)."""
from __future__ import annotations

import random
import uuid

from disks import MIB
from schema import NULL
from world import World

GIB = 1 << 30


class Seed:
    """Makes the objects; everything random comes from one seed, so that disks are the same in each run."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.db, self.random = world, world.db, random.Random(seed)

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def hosts(self) -> list[str]:
        hosts = []
        for number, name in enumerate(("xen-one", "xen-two")):
            major, minor = self.world.settings.xapi_major, self.world.settings.xapi_minor
            host = self.db.create("host", {
                "uuid": self.uuid(), "name_label": name, "hostname": f"{name}.pool.test", "address": f"127.0.0.{number + 1}",
                "enabled": True, "API_version_major": 2, "API_version_minor": 21,
                "software_version": {"product_version": "8.3.0", "product_brand": "XCP-ng", "build_number": "cloud", "hostname": name,
                                     "date": "2026-08-21", "xapi": f"{major}.{minor}", "platform_version": "3.4.0"},
                "other_config": {"boot_time": "1767225600."}})
            metrics = self.db.create("host_metrics", {"live": True})
            dom0 = self.db.create("VM", {"uuid": self.uuid(), "name_label": f"Control domain on host: {name}", "power_state": "Running",
                                         "is_control_domain": True, "resident_on": host, "domid": 0, "memory_static_max": 2 * GIB,
                                         "metrics": self.db.create("VM_metrics", {})})
            self.db.update("host", host, control_domain=dom0, metrics=metrics)
            hosts.append(host)
        return hosts

    def pool(self, hosts: list[str]) -> None:
        self.db.create("pool", {"uuid": self.uuid(), "name_label": "simulated", "master": hosts[0], "tags": ["test"]})
        self.srs = {
            "shared": self.sr("Shared storage", "nfs", "user", hosts, shared=True),
            "local": self.sr("Local storage on xen-two", "ext", "user", hosts[1:]),
            "iso": self.sr("ISO library", "iso", "iso", hosts, shared=True),
        }
        self.db.update("pool", self.db.pool, default_SR=self.srs["shared"], suspend_image_SR=self.srs["shared"])
        self.iso = self.world.create_disk(self.srs["iso"], 2 * MIB, name_label="install.iso", read_only=True)
        self.networks = [self.network("Pool-wide network associated with eth0", "xenbr0", "eth0", hosts),
                         self.network("lab", "xapi1", None, [])]

    def sr(self, name: str, kind: str, content: str, hosts: list[str], shared: bool = False) -> str:
        sr = self.db.create("SR", {"uuid": self.uuid(), "name_label": name, "type": kind, "content_type": content, "shared": shared,
                                   "physical_size": 16 << 40, "other_config": {}})
        for host in hosts:
            self.db.create("PBD", {"uuid": self.uuid(), "SR": sr, "host": host, "currently_attached": True})
        return sr

    def network(self, name: str, bridge: str, device: str | None, hosts: list[str]) -> str:
        network = self.db.create("network", {"uuid": self.uuid(), "name_label": name, "bridge": bridge})
        for host in hosts:
            self.db.create("PIF", {"uuid": self.uuid(), "network": network, "host": host, "device": device, "management": True,
                                   "physical": True, "currently_attached": True, "IP": self.db.get("host", host)["address"],
                                   "MAC": self.mac()})
        return network

    def mac(self) -> str:
        return "02:" + ":".join(f"{self.random.randrange(256):02x}" for _ in range(5))

    def vm(self, name: str, **given: object) -> str:
        other = {"mac_seed": self.uuid(), "base_template_name": "Debian Bookworm 12", **given.pop("other_config", {})}
        return self.db.create("VM", {
            "uuid": self.uuid(), "name_label": name, "user_version": 1, "memory_static_max": GIB, "memory_dynamic_max": GIB,
            "memory_dynamic_min": GIB, "memory_static_min": GIB // 2, "VCPUs_max": 2, "VCPUs_at_startup": 2,
            "actions_after_shutdown": "destroy", "actions_after_reboot": "restart", "actions_after_crash": "restart",
            "HVM_boot_policy": "BIOS order", "HVM_boot_params": {"firmware": "bios", "order": "cdn"}, "domain_type": "hvm",
            "platform": {"acpi": "1", "apic": "true", "nx": "true", "pae": "true", "viridian": "false"}, "other_config": other,
            "generation_id": f"{self.random.getrandbits(63)}:{self.random.getrandbits(63)}", "reference_label": "debian-12",
            "metrics": self.db.create("VM_metrics", {"VCPUs_number": 2}),
            "allowed_operations": ["start", "export", "clone", "copy", "snapshot", "destroy"], **given})

    def disk(self, vm: str, place: int, size: int, sr: str = "shared", attached: bool = False, data: int | None = None) -> str:
        """With so many bytes of data, or with some everywhere."""
        name = f"{self.db.get('VM', vm)['name_label']} disk {place}"
        vdi = self.world.create_disk(self.srs[sr], size, uuid=self.uuid(), name_label=name, type="system" if place == 0 else "user")
        self.fill(vdi, size) if data is None else self.spread(vdi, size, data)
        self.db.create("VBD", {"uuid": self.uuid(), "VM": vm, "VDI": vdi, "userdevice": str(place), "bootable": place == 0, "mode": "RW",
                               "type": "Disk", "device": "xvd" + "abcdefgh"[place], "other_config": {"owner": ""},
                               "currently_attached": attached})
        return vdi

    def fill(self, vdi: str, size: int) -> None:
        """A third of the chunks hold something, now and then only some sectors of one; a few are allocated zeros."""
        file = self.world.file(vdi)
        for start in range(0, size, MIB):
            room = min(MIB, size - start)
            dice = self.random.random()
            if dice < 0.25:
                self.world.disks.write(file, start, self.random.randbytes(room))
            elif dice < 0.33:
                self.world.disks.write(file, start + room // 2 // 512 * 512, self.random.randbytes(min(4096, room // 2)))
            elif dice < 0.37:
                self.world.disks.write(file, start, bytes(room))

    def spread(self, vdi: str, size: int, data: int) -> None:
        """Chunks of data at equal distances, holes between them."""
        file, parts = self.world.file(vdi), max(1, data // MIB)
        for part in range(parts):
            self.world.disks.write(file, size // parts * part // MIB * MIB, self.random.randbytes(min(data, MIB, size // parts)))

    def cd(self, vm: str, vdi: str = NULL) -> None:
        self.db.create("VBD", {"uuid": self.uuid(), "VM": vm, "VDI": vdi, "userdevice": "3", "mode": "RO", "type": "CD",
                               "empty": vdi == NULL, "device": "xvdd"})

    def vif(self, vm: str, network: int = 0) -> None:
        device = str(len(self.db.get("VM", vm)["VIFs"]))
        self.db.create("VIF", {"uuid": self.uuid(), "VM": vm, "network": self.networks[network], "device": device, "MAC": self.mac()})

    # ------------------------------------------------------------ kinds of VM

    def halted(self, name: str, size: int) -> None:
        """Halted, with tags and an empty drive."""
        vm = self.vm(name, tags=["backup", "gold"], name_description="halted <&> \"quoted\" ünï", other_config={"owner": "tests"})
        self.disk(vm, 0, size)
        self.cd(vm)
        self.vif(vm)

    def running(self, name: str, size: int) -> None:
        """Running on the coordinator, with two disks of different sizes and a disc in its drive."""
        host = self.db.master
        guest = self.db.create("VM_guest_metrics", {"os_version": {"name": "Debian 12"}, "live": True})
        vm = self.vm(name, power_state="Running", resident_on=host, affinity=host, domid=5, guest_metrics=guest)
        self.disk(vm, 0, size, attached=True)
        self.disk(vm, 1, size // 2 + 512 * 7, attached=True)
        self.cd(vm, self.iso)
        self.vif(vm)
        self.vif(vm, 1)

    def suspended(self, name: str, size: int) -> None:
        """Suspended, with a memory image."""
        vm = self.vm(name, power_state="Suspended")
        self.disk(vm, 0, size)
        image = self.world.create_disk(self.srs["shared"], 4 * MIB, uuid=self.uuid(), name_label="Suspend image", type="suspend")
        self.fill(image, 4 * MIB)
        self.db.update("VM", vm, suspend_VDI=image)
        self.vif(vm)

    def elsewhere(self, name: str, size: int) -> None:
        """Halted, UEFI, with a TPM, on storage that only the other member sees: an export is redirected there."""
        vm = self.vm(name, NVRAM={"EFI-variables": "VkFSUwAA"}, HVM_boot_params={"firmware": "uefi", "order": "cdn"})
        self.disk(vm, 0, size, sr="local")
        vtpm = self.db.create("VTPM", {"VM": vm, "is_unique": True})
        self.world.vtpm_contents[self.db.get("VTPM", vtpm)["uuid"]] = "c2VjcmV0IFRQTSBzdGF0ZQ=="
        self.vif(vm)

    def plain(self, name: str, *, disk_mib: int = 16, data_mib: int = 1, disks: int = 1, tags: tuple[str, ...] = (),
              power_state: str = "Halted", sr: str = "shared", **fields: object) -> str:
        """A VM as a test wants it: sparse disks of any size, and fields of its record."""
        running = power_state in ("Running", "Paused")
        home = self.db.master if running else NULL
        vm = self.vm(name, tags=list(tags), power_state=power_state, resident_on=home, affinity=home, domid=6 if running else -1, **fields)
        for place in range(disks):
            self.disk(vm, place, disk_mib * MIB, sr, running, data_mib * MIB)
        self.vif(vm)
        return vm

    def all(self, vms: int, disk_mib: int) -> None:
        hosts = self.hosts()
        self.pool(hosts)
        self.vm("Other install media", is_a_template=True, is_default_template=True, other_config={"default_template": "true"})
        template = self.vm("golden template", is_a_template=True)
        self.disk(template, 0, 2 * MIB)
        kinds = (self.halted, self.running, self.suspended, self.elsewhere)
        for number in range(vms):
            kind = kinds[number % len(kinds)]
            kind(f"vm-{number}-{kind.__name__}", disk_mib * MIB)
        for sr in self.srs.values():
            self.world.scan(sr)
        self.world.measure()
