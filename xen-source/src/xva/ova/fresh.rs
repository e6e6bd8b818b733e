//! A complete record for disks that came without one.
//!
//! It holds every field that any host may require, claims a version (1.20) that no host refuses,
//! and has no network card. The parts are in `fresh/`, in the form in which people read them.

use quick_xml::escape::escape;

use super::seed::Seed;

/// A disk of the VM to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshDisk {
    /// Its name.
    pub name: String,
    /// Its virtual size in bytes; a multiple of 512.
    pub size_bytes: u64,
}

/// The text of a record, in one line as hosts write it. The first disk is bootable, and the disks
/// have the ids that [`disk_id`] gives.
pub fn record(vm_name: &str, disks: &[FreshDisk], seed: &mut Seed) -> String {
    let count = disks.len();
    let vdis: Vec<String> = (0..count).map(|place| disk_id(place, count)).collect();
    let vbds: Vec<String> = (count..2 * count).map(|place| disk_id(place, count)).collect();
    let (vm, sr) = (disk_id(2 * count, count), disk_id(2 * count + 1, count));
    let total: u64 = disks.iter().map(|disk| disk.size_bytes).fold(0, u64::saturating_add);
    let mut objects = fill(
        include_str!("fresh/vm.xml"),
        &[
            ("vm", &vm),
            ("uuid", &seed.uuid()),
            ("name", &escape(vm_name)),
            ("mac_seed", &seed.uuid()),
            ("vbds", &values(&vbds)),
        ],
    );
    for (place, disk) in disks.iter().enumerate() {
        let (vbd, vdi) = (&vbds[place], &vdis[place]);
        objects += &device(place, [&vm, vbd, vdi], seed);
        objects += &image(disk, [&sr, vbd, vdi], seed);
    }
    objects += &fill(
        include_str!("fresh/sr.xml"),
        &[
            ("sr", &sr),
            ("uuid", &seed.uuid()),
            ("size", &total.to_string()),
            ("vdis", &values(&vdis)),
        ],
    );
    fill(include_str!("fresh/document.xml"), &[("objects", &objects)])
}

/// The id of the disk at `place` of `count`: all of one width, so that their order is byte-wise.
/// Places from `count` on are those of the other objects.
pub fn disk_id(place: usize, count: usize) -> String {
    let width = (2 * count + 1).to_string().len().max(3);
    format!("Ref:{place:0width$}")
}

fn device(place: usize, [vm, vbd, vdi]: [&str; 3], seed: &mut Seed) -> String {
    fill(
        include_str!("fresh/vbd.xml"),
        &[
            ("vbd", vbd),
            ("uuid", &seed.uuid()),
            ("vm", vm),
            ("vdi", vdi),
            ("device", &device_name(place)),
            ("position", &place.to_string()),
            ("bootable", if place == 0 { "1" } else { "0" }),
        ],
    )
}

fn image(disk: &FreshDisk, [sr, vbd, vdi]: [&str; 3], seed: &mut Seed) -> String {
    fill(
        include_str!("fresh/vdi.xml"),
        &[
            ("vdi", vdi),
            ("uuid", &seed.uuid()),
            ("name", &escape(&*disk.name)),
            ("sr", sr),
            ("vbd", vbd),
            ("size", &disk.size_bytes.to_string()),
        ],
    )
}

/// What Linux calls the disk at `place`: `xvda` to `xvdz`, `xvdaa` and on.
pub fn device_name(place: usize) -> String {
    let mut letters = Vec::new();
    let mut left = place + 1;
    while left > 0 {
        letters.push(char::from(b'a' + ((left - 1) % 26) as u8)); // below 26
        left = (left - 1) / 26;
    }
    format!("xvd{}", letters.iter().rev().collect::<String>())
}

fn values(items: &[String]) -> String {
    items.iter().map(|item| format!("<value>{item}</value>")).collect()
}

/// `template` without line breaks and indents, each `{key}` replaced once, from left to right.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let line: String = template.lines().map(str::trim_start).collect();
    let mut parts = line.split(['{', '}']);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    while let Some(key) = parts.next() {
        let value = values.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
        debug_assert!(value.is_some(), "no value for {key}");
        filled += value.unwrap_or(&"");
        filled += parts.next().unwrap_or_default();
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xva::ova::OvaXml;

    #[test]
    fn record_reads_back() {
        let disk = |name: &str, size_bytes| FreshDisk { name: name.to_owned(), size_bytes };
        let disks = [disk("<root> {name}", 8 << 20), disk("data", 512)];
        let text = record("a & b", &disks, &mut Seed::new([1; 32]));
        assert!(!text.contains('\n'));
        let read = OvaXml::parse(text).expect("a good record");
        assert_eq!(read.vm().expect("a VM").name_label, "a & b");
        let names: Vec<_> = read.disks().iter().map(|disk| &*disk.name_label).collect();
        assert_eq!(names, ["<root> {name}", "data"]);
        assert_eq!(read.disks()[1].size_bytes, 512);
        assert!(read.disks()[0].vbd.as_ref().expect("a device").bootable);
    }

    #[test]
    fn devices_are_named_as_linux_names_them() {
        let names = [0, 25, 26, 701, 702].map(device_name);
        assert_eq!(names, ["xvda", "xvdz", "xvdaa", "xvdzz", "xvdaaa"]);
    }
}
