//! The VM record of a made archive.

use super::maker::{Archive, Disk};

impl Archive {
    /// The uuid that the record states for the VDI of a disk.
    pub fn vdi_uuid(place: usize) -> String {
        format!("c1b1cc34-3d2b-4b0e-9a6b-{place:012}")
    }

    /// A record with what the importer needs, a CD drive that is empty, and a dangling reference.
    pub fn record(&self) -> String {
        let mut objects = self.vm();
        for (place, disk) in self.disks.iter().enumerate() {
            if !disk.suspend {
                objects += &self.vbd(place);
            }
            objects += &self.vdi(place, disk);
        }
        objects += &self.surroundings();
        let version = members(&[
            ("hostname", text("xs1")),
            ("xapi_major", text("1")),
            ("xapi_minor", text("20")),
            ("export_vsn", text("2")),
        ]);
        let objects = format!("<value><array><data>{objects}</data></array></value>");
        members(&[("version", version), ("objects", objects)])
    }

    /// Ids of objects that are not disks: 0 is the VM, 10 and on are VBDs, 99 is nobody.
    fn reference(&self, number: usize) -> String {
        format!("Ref:{}", self.first_ref + (3 * self.disks.len() + number) as u64)
    }

    fn vm(&self) -> String {
        let shown = |place: &usize| !self.disks[*place].suspend;
        let vbds = (0..self.disks.len()).filter(shown).map(|place| self.reference(10 + place));
        let suspend = self.disks.iter().position(|disk| disk.suspend);
        let image = suspend.map_or(self.reference(99), |place| self.disks[place].id(self, place));
        let odd_key = "<value><struct><member><name>a<b&c</name><value>1</value></member></struct>";
        let fields = [
            ("uuid", text("6f1d3c52-0b6e-4a3c-9d5e-0c1a7b2f9e01")),
            ("name_label", text("demo &lt;vm&gt;")),
            ("is_a_snapshot", text("<boolean>0</boolean>")),
            ("power_state", text(if suspend.is_some() { "Suspended" } else { "Halted" })),
            ("suspend_VDI", text(&image)),
            ("VBDs", list(vbds)),
            ("other_config", format!("{odd_key}</value>")),
            ("memory_static_max", text("1073741824")),
            ("VCPUs_max", text("2")),
        ];
        object("VM", &self.reference(0), &fields)
    }

    fn vbd(&self, place: usize) -> String {
        let fields = [
            ("VM", text(&self.reference(0))),
            ("VDI", text(&self.disks[place].id(self, place))),
            ("userdevice", text(&place.to_string())),
            ("bootable", text(&format!("<boolean>{}</boolean>", place & 1))),
            ("type", text("Disk")),
        ];
        object("VBD", &self.reference(10 + place), &fields)
    }

    fn vdi(&self, place: usize, disk: &Disk) -> String {
        let vbd = (!disk.suspend).then(|| self.reference(10 + place));
        let fields = [
            ("uuid", text(&Self::vdi_uuid(place))),
            ("name_label", text(&format!("disk {place}"))),
            ("SR", text(&self.reference(1))),
            ("VBDs", list(vbd.into_iter())),
            ("virtual_size", text(&disk.size_bytes.to_string())),
            ("type", text(if disk.suspend { "suspend" } else { "user" })),
        ];
        object("VDI", &disk.id(self, place), &fields)
    }

    /// An empty CD drive, the storage, a network and a card.
    fn surroundings(&self) -> String {
        let disks = self.disks.iter().enumerate().map(|(place, disk)| disk.id(self, place));
        let drive = [
            ("VM", text(&self.reference(0))),
            ("VDI", text(&self.reference(99))),
            ("userdevice", text("3")),
            ("type", text("CD")),
        ];
        let card = [
            ("device", text("0")),
            ("network", text(&self.reference(2))),
            ("VM", text(&self.reference(0))),
            ("MAC", text("02:00:00:12:34:56")),
        ];
        let storage = [("content_type", text("user")), ("VDIs", list(disks))];
        object("VBD", &self.reference(80), &drive)
            + &object("SR", &self.reference(1), &storage)
            + &object("network", &self.reference(2), &[("name_label", text("lan"))])
            + &object("VIF", &self.reference(3), &card)
    }
}

fn text(value: &str) -> String {
    format!("<value>{value}</value>")
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: String = items.map(|item| text(&item)).collect();
    format!("<value><array><data>{items}</data></array></value>")
}

fn members(members: &[(&str, String)]) -> String {
    let member =
        |(key, value): &(&str, String)| format!("<member><name>{key}</name>{value}</member>");
    let members: String = members.iter().map(member).collect();
    format!("<value><struct>{members}</struct></value>")
}

fn object(class: &str, id: &str, fields: &[(&str, String)]) -> String {
    members(&[("class", text(class)), ("id", text(id)), ("snapshot", members(fields))])
}
