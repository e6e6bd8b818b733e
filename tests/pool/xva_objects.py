"""The objects that an import makes from the records of an ova.xml (contract 2.3, 2.4, 3.8)."""
from __future__ import annotations

import uuid

from errors import ApiError
from schema import NULL, record
from vm_calls import remove
from world import World

Record = dict[str, object]


class Objects:
    """Classes are handled in a fixed order, whatever the order in the archive. With `found`, disks are not made but found."""

    def __init__(self, world: World, sr: str, task: str, *, restore: bool, force: bool, vdi_map: dict[str, str] | None = None) -> None:
        self.world, self.db, self.sr, self.task = world, world.db, sr, task
        self.restore, self.force, self.vdi_map = restore, force, vdi_map
        self.given: dict[str, dict[str, Record]] = {}
        self.refs: dict[str, str] = {}  # id in the archive to reference here
        self.created: list[tuple[str, str]] = []
        self.vms: list[str] = []

    def create(self, content: dict) -> int:
        """Makes everything; the export version that the archive claims."""
        for cls, key, snapshot in content["objects"]:
            self.given.setdefault(cls, {})[key] = snapshot
        with self.db.lock:
            try:
                self._check()
                self._disks()
                for key in self.given.get("VM", {}):
                    self._vm(key)
                for key, row in self._records("network"):
                    self._network(key, row)
                for _, row in self._records("VBD"):
                    self._vbd(row)
                for _, row in self._records("VIF"):
                    self._vif(row)
                for row in self.given.get("VTPM", {}).values():
                    self._vtpm(row)
            except (KeyError, TypeError, ValueError, AttributeError) as problem:
                raise ApiError("IMPORT_ERROR", f"INTERNAL_ERROR: [ {problem!r} ]") from None
        return content["export_vsn"]

    def _records(self, cls: str) -> list[tuple[str, Record]]:
        try:
            return [(key, record(cls, given, needed=True)) for key, given in self.given.get(cls, {}).items()]
        except ApiError as error:
            raise ApiError("IMPORT_ERROR", error.text) from None

    def _make(self, cls: str, given: Record) -> str:
        ref = self.db.create(cls, given)
        self.created.append((cls, ref))
        return ref

    # ------------------------------------------------------------ checks before anything is made

    def _check(self) -> None:
        srs = dict(self._records("SR"))
        vdis = dict(self._records("VDI"))
        for row in vdis.values():
            if row["SR"] not in srs:
                raise ApiError("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", row["SR"])
        wanted = []
        for _, row in self._records("VBD"):
            if row["type"] == "CD":
                continue
            if row["VDI"] not in vdis:
                raise ApiError("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", row["VDI"])
            if srs[vdis[row["VDI"]]["SR"]]["content_type"] != "iso":
                wanted.append(row["VDI"])
        wanted += [key for key, row in vdis.items() if row["type"] == "suspend"]
        self.wanted = {key: vdis[key] for key in wanted}
        self.srs = srs
        for _, row in self._records("VM"):
            self._check_vm(row)

    def _check_vm(self, row: Record) -> None:
        if not self.restore:
            return
        same = next(iter(self.db.find("VM", uuid=row["uuid"])), None)
        if same is not None and not self.force:
            here = self.db.get("VM", same)
            if here["power_state"] != "Halted":
                raise ApiError("VM_BAD_POWER_STATE", same, "Halted", here["power_state"])
            if here["version"] > row["version"]:
                raise ApiError("VM_TO_IMPORT_IS_NOT_NEWER_VERSION", same, here["version"], row["version"])
        seed = row["other_config"].get("mac_seed")
        for other in self.db.tables["VM"].values():
            related = other["uuid"] == row["uuid"] or other["is_a_snapshot"] or row["is_a_snapshot"]
            if seed and other["other_config"].get("mac_seed") == seed and not related:
                raise ApiError("DUPLICATE_MAC_SEED", seed)

    # ------------------------------------------------------------ objects

    def _disks(self) -> None:
        for key, row in self.wanted.items():
            if self.vdi_map is not None:
                self._find_disk(key, row)
                continue
            kept = {name: row[name] for name in ("name_label", "name_description", "type", "sharable", "read_only", "other_config",
                                                 "xenstore_data", "tags", "on_boot")}
            vdi = self.world.create_disk(self.sr, row["virtual_size"], sm_config={"import_task": self.task}, **kept)
            self.created.append(("VDI", vdi))
            self.refs[key] = vdi

    def _find_disk(self, key: str, row: Record) -> None:
        """Of a metadata import: by the map, or by the uuid of the SR and the location (contract 2.4)."""
        sr = self.srs[row["SR"]]["uuid"]
        target = self.vdi_map.get(row["uuid"])
        for ref, here in self.db.tables["VDI"].items():
            if target in (here["uuid"], ref) if target else \
                    here["location"] == row["location"] and self.db.get("SR", here["SR"])["uuid"] == sr:
                self.refs[key] = ref
                return
        if not self.force:
            raise ApiError("VDI_CONTENT_ID_MISSING") if target else ApiError("VDI_LOCATION_MISSING", sr, row["location"])

    def _vm(self, key: str) -> None:
        row = dict(self._records("VM"))[key]
        same = next(iter(self.db.find("VM", uuid=row["uuid"])), None) if self.restore else None
        if same is not None:
            if self.db.get("VM", same)["power_state"] != "Halted":
                return  # with force the VM is left as it is
            remove(self.world, same)
        hosts = self.given.get("host", {})
        affinity = next(iter(self.db.find("host", uuid=hosts.get(row["affinity"], {}).get("uuid"))), NULL)
        other = {**row["other_config"], "import_task": self.task}
        if not self.restore:
            other = {**other, "mac_seed": str(uuid.uuid4())}
            other.pop("default_template", None)
        image = self.refs.get(row["suspend_VDI"], NULL)
        state = "Suspended" if row["power_state"] == "Suspended" and image != NULL else "Halted"
        self.refs[key] = self._make("VM", {
            **row, "uuid": row["uuid"] if self.restore else "", "version": row["version"] + 1 if self.restore else 0,
            "other_config": other, "affinity": affinity, "resident_on": NULL, "suspend_VDI": image, "power_state": state,
            "is_default_template": False, "generation_id": row["generation_id"] if row["is_a_template"] else str(uuid.uuid4()),
            "metrics": self._make("VM_metrics", {}), "guest_metrics": NULL, "appliance": NULL, "protection_policy": NULL,
            "snapshot_of": self.refs.get(row["snapshot_of"], NULL), "parent": NULL, "domid": -1,
            "current_operations": {self.task: "import"}, "allowed_operations": ["start", "export", "clone", "snapshot", "destroy"]})
        self.vms.append(self.refs[key])

    def _network(self, key: str, row: Record) -> None:
        """By name, then by bridge, else a new one."""
        for field in ("name_label", "bridge"):
            for ref in self.db.find("network", **{field: row[field]}) if row[field] else ():
                self.refs[key] = ref
                return
        self.refs[key] = self._make("network", {"name_label": row["name_label"], "name_description": row["name_description"],
                                                "MTU": row["MTU"], "other_config": row["other_config"], "bridge": "xapi9"})

    def _vbd(self, row: Record) -> None:
        vm = self.refs.get(row["VM"])
        if vm is None or (row["type"] != "CD" and row["VDI"] not in self.refs):
            return
        vdi = self.refs.get(row["VDI"], NULL)
        if row["type"] == "CD":
            wanted = self.given.get("VDI", {}).get(row["VDI"], {}).get("uuid")
            vdi = next(iter(self.db.find("VDI", uuid=wanted)), NULL)
        self._make("VBD", {**row, "uuid": row["uuid"] if self.restore else "", "VM": vm, "VDI": vdi, "currently_attached": False,
                           "empty": vdi == NULL, "metrics": NULL})

    def _vif(self, row: Record) -> None:
        vm = self.refs.get(row["VM"])
        if vm is None:
            return
        if row["network"] not in self.refs:
            raise ApiError("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", row["network"])
        mac = row["MAC"] if self.restore else "02:" + ":".join(f"{part:02x}" for part in uuid.uuid4().bytes[:5])
        self._make("VIF", {**row, "uuid": row["uuid"] if self.restore else "", "VM": vm, "network": self.refs[row["network"]],
                           "MAC": mac, "MAC_autogenerated": not self.restore, "currently_attached": False, "metrics": NULL})

    def _vtpm(self, row: Record) -> None:
        vm = self.refs.get(row["vTPM'_VM"])
        if vm is None:
            return
        vtpm = self._make("VTPM", {"uuid": row["vTPM'_uuid"] if self.restore else "", "VM": vm, "is_unique": row["vTPM'_is_unique"],
                                   "is_protected": row["vTPM'_is_protected"]})
        self.world.vtpm_contents[self.db.get("VTPM", vtpm)["uuid"]] = row["vTPM'_content"]

    # ------------------------------------------------------------ afterwards

    def streamed(self) -> list[tuple[str, str, int]]:
        """Id, VDI and size of each disk whose chunks must come."""
        return [(key, self.refs[key], row["virtual_size"]) for key, row in self.wanted.items()]

    def finish(self) -> list[str]:
        for vm in self.vms:
            self.db.update("VM", vm, current_operations={})
        whole = [vm for vm in self.vms if not self.db.get("VM", vm)["is_a_snapshot"]]
        return whole or self.vms

    def undo(self) -> None:
        """Destroys all that was made."""
        with self.db.lock:
            for cls, ref in reversed(self.created):
                if ref in self.db.tables[cls]:
                    self.world.destroy_disk(ref) if cls == "VDI" else self.db.delete(cls, ref)
