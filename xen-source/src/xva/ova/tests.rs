//! The VM record: reading, editing, making.

use std::collections::HashMap;

use super::edit::{Edits, rising_ids};
use super::fresh::{self, FreshDisk};
use super::seed::Seed;
use super::*;

/// Two disks, with ids `Ref:000` and `Ref:001`.
fn text() -> String {
    let disk = |name: &str| FreshDisk { name: name.to_owned(), size_bytes: 1 << 20 };
    fresh::record("vm", &[disk("root"), disk("data")], &mut Seed::new([1; 32]))
}

fn record(text: &str) -> OvaXml {
    OvaXml::parse(text.to_owned()).expect("a good record")
}

fn ids(record: &OvaXml) -> Vec<&str> {
    record.disks().iter().map(|disk| &*disk.id).collect()
}

#[test]
fn vm_is_described() {
    let record = record(&text());
    let vm = record.vm().expect("a VM");
    assert_eq!((&*vm.name_label, &*vm.power_state), ("vm", "Halted"));
    assert_eq!((vm.memory_bytes, vm.vcpus), (Some(1 << 30), Some(1)));
    assert!(!vm.is_a_template && !vm.is_a_snapshot);
    assert_eq!(record.version().export_version, 2);
    let data = &record.disks()[1];
    let vbd = data.vbd.as_ref().expect("a device");
    assert_eq!((&*data.name_label, &*vbd.userdevice, vbd.bootable), ("data", "1", false));
}

#[test]
fn disks_are_those_that_the_importer_expects() {
    let all = text();
    assert_eq!(ids(&record(&all)), ["Ref:000", "Ref:001"]);
    let cd = all.replacen("<value>Disk</value>", "<value>cd</value>", 1);
    assert_eq!(ids(&record(&cd)), ["Ref:001"]);
    let library = all.replace(
        "<name>content_type</name><value>user</value>",
        "<name>content_type</name><value>iso</value>",
    );
    assert!(ids(&record(&library)).is_empty());
    let suspended = library.replacen(
        "<name>type</name><value>user</value>",
        "<name>type</name><value>suspend</value>",
        1,
    );
    let suspended = record(&suspended);
    assert_eq!(ids(&suspended), ["Ref:000"]);
    assert_eq!(suspended.disks()[0].kind, DiskKind::Suspend);
}

#[test]
fn nonsense_is_refused() {
    let all = text();
    for (from, to) in [
        ("<name>export_vsn</name><value>2<", "<name>export_vsn</name><value>0<"),
        ("<name>virtual_size</name><value>1048576<", "<name>virtual_size</name><value>x<"),
        ("<name>id</name><value>Ref:001<", "<name>id</name><value>Ref:000<"),
        ("<name>objects</name>", "<name>other</name>"),
        ("</struct></value></member></struct></value>", ""),
    ] {
        assert!(all.contains(from), "{from}");
        assert!(OvaXml::parse(all.replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn edits_leave_all_else_as_it_is() {
    let all = text();
    let record = record(&all);
    assert_eq!(Edits::new(&record).apply(), all);
    let mut edits = Edits::new(&record);
    edits.rename_vm("a & b");
    let renamed = edits.apply();
    let (from, to) =
        ("<name>name_label</name><value>vm<", "<name>name_label</name><value>a &amp; b<");
    assert_eq!(renamed, all.replacen(from, to, 1));
}

#[test]
fn dropped_disk_leaves_no_trace() {
    let record = record(&text());
    let mut edits = Edits::new(&record);
    edits.drop_disks(&["Ref:000"]);
    let edited = edits.apply();
    assert!(!edited.contains("Ref:000") && !edited.contains("Ref:002"), "neither disk nor device");
    assert_eq!(ids(&self::record(&edited)), ["Ref:001"]);
}

#[test]
fn memory_image_goes_with_the_suspension() {
    let all = text()
        .replace(
            "<name>suspend_VDI</name><value>OpaqueRef:NULL<",
            "<name>suspend_VDI</name><value>Ref:000<",
        )
        .replace("<value>Halted</value>", "<value>Suspended</value>");
    let record = record(&all);
    let mut edits = Edits::new(&record);
    edits.drop_disks(&["Ref:000"]);
    let edited = self::record(&edits.apply());
    assert_eq!(edited.vm().expect("a VM").power_state, "Halted");
    assert!(!edited.text().contains("Ref:000"));
}

#[test]
fn disks_get_other_ids_wherever_they_are_named() {
    let all = text().replace("<value>vm</value>", "<value>Ref:000</value>");
    let record = record(&all);
    let new_ids = rising_ids(&record, 2);
    assert_eq!(new_ids, ["Ref:10", "Ref:11"]);
    let mut edits = Edits::new(&record);
    edits.replace_disk_ids(&HashMap::from([("Ref:000", "Ref:11".to_owned())]));
    let edited = self::record(&edits.apply());
    assert_eq!(ids(&edited), ["Ref:11", "Ref:001"]);
    assert_eq!(edited.vm().expect("a VM").name_label, "Ref:000", "a name is no reference");
    assert_eq!(edited.text().matches("Ref:000").count(), 1);
}

#[test]
fn new_ids_are_of_one_width_and_above_all_others() {
    let record = record(&text().replace("Ref:001", "Ref:114"));
    let new_ids = rising_ids(&record, 101);
    assert_eq!((&*new_ids[0], &*new_ids[100]), ("Ref:1000", "Ref:1100"));
    assert!(new_ids.is_sorted());
}

#[test]
fn device_that_shows_nothing_is_dropped() {
    let all = text().replace("<name>VDI</name><value>Ref:000<", "<name>VDI</name><value>Ref:99<");
    let record = record(&all);
    let mut edits = Edits::new(&record);
    edits.drop_empty_devices();
    let edited = edits.apply();
    assert!(!edited.contains("Ref:99") && !edited.contains("Ref:002"));
}
