//! Restores into a pool, of which every call fails once, or its answer is lost, or none is done any
//! more: what was there is as before, and of what was made nothing stays, or what stays is marked
//! and told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Cursor;

use serde_json::{Map, Value as Json, json};

use super::host::Host;
use super::maker::{Archive, Chunk, Disk};
use super::memory::MemoryContent;
use super::world::{Shared, VM, World, connect};
use crate::xapi::destination::{
    After, DiskForm, Event, Inventory, Observer, Overwrite, Plan, RestoreError, Restored, Scope,
    StoredVm, Wish, WishedForm, plan, restore,
};
use crate::xapi::unfinished::RESTORE;
use crate::xapi::{Kind, Pool, json, xml};
use crate::xva::members::MemberStream;
use crate::{Input, open};

type Objects = BTreeMap<(String, String), Map<String, Json>>;

impl World {
    /// A new object as `record` says, in the lists of those that it refers to.
    pub fn create(&mut self, class: &str, mut record: Map<String, Json>) -> String {
        let reference = self.fresh(class);
        record.entry("uuid").or_insert(json!(format!("uuid of {reference}")));
        record.entry("other_config").or_insert(json!({}));
        for (field, list) in [("VM", format!("{class}s")), ("VDI", "VBDs".to_owned())] {
            let owner = record.get(field).and_then(Json::as_str).unwrap_or_default();
            if let Some(owner) = self.objects.get_mut(&(field.to_owned(), owner.to_owned())) {
                let listed = owner.entry(list).or_insert(json!([]));
                listed.as_array_mut().expect("a list").push(json!(reference));
            }
        }
        self.objects.insert((class.to_owned(), reference.clone()), record);
        reference
    }

    /// Of an XVA the VM, its drives and its disks come to be, off and with new uuids (contract 2.3).
    pub fn take_import(&mut self, path: &str, body: &[u8]) {
        if !path.starts_with("/import?") {
            return;
        }
        let mut members = MemberStream::new(body);
        let member = members.next_member().expect("a tar").expect("a member");
        let mut text = vec![0; member.size_bytes as usize];
        members.take_data(&member, &mut text).expect("a record");
        let record = xml::parse_value(&String::from_utf8(text).expect("text")).expect("XML");
        let encoded = json::encode("x", &[record]);
        let call: Json = serde_json::from_slice(&encoded).expect("JSON");
        let mut made: BTreeMap<String, String> = BTreeMap::new();
        for class in ["VM", "VDI", "VBD"] {
            let objects = call["params"][0]["objects"].as_array().expect("objects").clone();
            for object in objects.iter().filter(|object| object["class"] == class) {
                let mut record = object["snapshot"].as_object().expect("a record").clone();
                for gone in ["uuid", "VBDs", "VIFs", "suspend_VDI"] {
                    record.remove(gone);
                }
                for field in ["VM", "VDI"] {
                    let of = record.get(field).and_then(Json::as_str).map(str::to_owned);
                    let of = of.map(|of| made.get(&of).cloned());
                    let of = of.map(|of| of.unwrap_or("OpaqueRef:NULL".to_owned()));
                    of.map(|of| record.insert(field.to_owned(), json!(of)));
                }
                let id = object["id"].as_str().expect("an id").to_owned();
                made.insert(id, self.create(class, record));
            }
        }
    }
}

/// A VM with two disks of the same content, so that both are read back alike.
fn content() -> (MemoryContent, Vec<u8>) {
    let chunks = vec![Chunk { fill: 9, allocated: false, keep_alives: 0 }];
    let disk = Disk { size_bytes: 1024, suspend: false, chunks };
    let bytes = disk.bytes();
    let archive = Archive { disks: vec![disk.clone(), disk], ..Archive::sample() };
    let bytes_of_archive = Box::new(Cursor::new(archive.make()));
    let input = Input::Stream { name: "stdin".to_owned(), bytes: bytes_of_archive };
    let mut source = open(input, None).expect("an XVA");
    let mut content = MemoryContent::take(&mut *source).expect("a whole XVA");
    content.forget_layout();
    // The maker's disks have no notes; those of hosts do.
    let record = String::from_utf8(content.bytes[0].clone()).expect("text");
    let notes = "<member><name>other_config</name><value><struct></struct></value></member>";
    let sr = "<member><name>SR</name>";
    content.bytes[0] = record.replace(sr, &format!("{notes}{sr}")).into_bytes();
    content.disks[0].size_bytes = content.bytes[0].len() as u64;
    (content, bytes)
}

fn pool(disk: &[u8]) -> (Shared, Host, Pool) {
    let world = Shared::new();
    let host = world.host();
    {
        let mut world = world.get();
        world.makes_imports = true;
        world.disk = disk.to_vec();
        let lan = json!({"uuid": "lan-uuid", "name_label": "lan"});
        world.create("network", lan.as_object().expect("a record").clone());
    }
    let (pool, _) = connect(&[&host]).expect("a session");
    (world, host, pool)
}

/// Keeps what it is told.
#[derive(Default)]
struct Told(RefCell<Vec<Event>>);

impl Observer for Told {
    fn event(&self, event: Event) {
        self.0.borrow_mut().push(event);
    }
}

impl Told {
    fn has(&self, is_it: impl Fn(&Event) -> bool) -> bool {
        self.0.borrow().iter().any(is_it)
    }
}

/// What goes wrong, behind so many calls.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Once(usize),
    Lost(usize),
    FromThen(usize),
}

/// A restore that met a fault.
struct Ended {
    what: String,
    world: Shared,
    _host: Host,
    pool: Pool,
    plan: Plan,
    before: Objects,
    told: Told,
    result: Result<Restored, RestoreError>,
}

/// A way to restore. References are the same in every pool of these tests, so the plan is, too.
struct Way {
    name: &'static str,
    content: MemoryContent,
    disk: Vec<u8>,
    plan: Plan,
}

impl Way {
    fn new(name: &'static str, change: fn(&mut Wish)) -> Self {
        let (content, disk) = content();
        let (_world, _host, pool) = pool(&disk);
        let mut wish = Wish { sr: Some("local".to_owned()), ..Wish::new([7; 32]) };
        change(&mut wish);
        let vm = StoredVm::of(&content, Some("vm-uuid")).expect("a VM");
        let inventory = Inventory::read(pool.session()).expect("a pool");
        let plan = plan(&inventory, &vm, &wish).expect("a plan");
        Self { name, content, disk, plan }
    }
}

/// Restores with this fault; `None` if it has fewer calls.
fn ended(way: &Way, fault: Fault) -> Option<Ended> {
    let (world, host, pool) = pool(&way.disk);
    let plan = way.plan.clone();
    let before = world.get().objects.clone();
    {
        let mut world = world.get();
        match fault {
            Fault::Once(after) => world.fails_after = Some(after),
            Fault::Lost(after) => world.loses_after = Some(after),
            Fault::FromThen(after) => {
                (world.fails_after, world.keeps_failing) = (Some(after), true);
            }
        }
    }
    let told = Told::default();
    let result = restore(pool.session(), &way.content, &plan, &told);
    let faults = {
        let mut world = world.get();
        (world.fails_after, world.loses_after) = (None, None);
        world.faults
    };
    let what = format!("{}, {fault:?}: {:?}", way.name, result.as_ref().map(|_| ()));
    let ended = Ended { what, world, _host: host, pool, plan, before, told, result };
    if faults == 0 {
        ended.check_whole();
        assert!(ended.result.is_ok() && ended.told.0.borrow().iter().all(is_begin));
        let world = ended.world.get();
        let vhds = world.calls.iter().filter(|call| call.contains("format=vhd")).count();
        let planned = way.plan.disks.iter().filter(|disk| disk.form == DiskForm::Vhd).count();
        assert_eq!(vhds, planned, "{}", way.name);
    }
    (faults > 0).then_some(ended)
}

fn is_begin(event: &Event) -> bool {
    matches!(event, Event::Begins { .. })
}

fn is_made(class: &str) -> bool {
    ["VM", "VDI", "VBD", "VIF"].contains(&class)
}

impl Ended {
    #[track_caller]
    fn check(&self, fault: Fault) {
        match &self.result {
            Ok(_) | Err(RestoreError::NotStarted { .. }) => self.check_whole(),
            Err(_) => self.check_gone(fault),
        }
        if matches!(fault, Fault::Once(_)) {
            assert_eq!(self.world.get().tasks.len(), 0, "{}: tasks", self.what);
        }
    }

    /// What is there that was not.
    fn made(&self) -> Objects {
        let world = self.world.get();
        let is_made = |(key, _): &(&(String, String), _)| !self.before.contains_key(*key);
        let new = world.objects.iter().filter(is_made);
        new.map(|(key, record)| (key.clone(), record.clone())).collect()
    }

    /// The VM, or the disks, are there, without marks but those that were told.
    #[track_caller]
    fn check_whole(&self) {
        let new = self.made();
        let of = |class: &str| new.iter().filter(|((of, _), _)| of == class).collect::<Vec<_>>();
        assert_eq!(of("VDI").len(), self.plan.disks.len(), "{}: disks", self.what);
        assert_eq!(of("VM").len(), usize::from(self.plan.has_vm), "{}: VMs", self.what);
        assert_eq!(of("VIF").len(), self.plan.cards.len(), "{}: cards", self.what);
        for (_, vm) in of("VM") {
            assert_eq!(vm["name_label"], *self.plan.name, "{}", self.what);
        }
        let has_marks = new.values().any(is_marked);
        let mark_stays = self.told.has(|event| matches!(event, Event::MarkStays { .. }));
        assert!(mark_stays || !has_marks, "{}: marks", self.what);
        let Some(old) = &self.plan.replaced else { return self.check_untouched() };
        let world = self.world.get();
        let there = world.objects.get(&("VM".to_owned(), old.reference.clone()));
        let replaced_stays = self.told.has(|event| matches!(event, Event::ReplacedStays { .. }));
        match (old.is_destroyed && !replaced_stays, there) {
            (true, there) => assert!(there.is_none(), "{}: it was to go", self.what),
            (false, Some(there)) => assert_eq!(there["name_label"], *old.new_name, "{}", self.what),
            // The answer that it is gone was lost.
            (false, None) => assert!(replaced_stays, "{}", self.what),
        }
    }

    /// Nothing was made, or what stays is marked and told, and a clean-up removes it.
    #[track_caller]
    fn check_gone(&self, fault: Fault) {
        let may_stay = matches!(fault, Fault::FromThen(_));
        assert!(may_stay || self.made().is_empty(), "{}: something stays", self.what);
        let is_told = |event: &Event| matches!(event, Event::Stays { .. });
        for ((class, _), record) in self.made() {
            assert!(is_made(&class), "{}: a {class}", self.what);
            if ["VM", "VDI"].contains(&&*class) {
                assert!(is_marked(&record), "{}: a {class} without a mark", self.what);
                assert!(self.told.has(is_told), "{}: nobody was told", self.what);
            }
        }
        self.check_untouched();
        for leftover in self.pool.leftovers().expect("a list") {
            if [Kind::RestoredVm, Kind::RestoredDisk].contains(&leftover.kind) {
                self.pool.remove(&leftover).expect("removed");
            }
        }
        assert_eq!(self.made(), Objects::new(), "{}: a clean-up leaves nothing", self.what);
    }

    /// What was there is as it was, but for the VM of which somebody was told.
    #[track_caller]
    fn check_untouched(&self) {
        let not_back = self.told.has(|event| matches!(event, Event::NotBack { .. }));
        let world = self.world.get();
        for (key, record) in &self.before {
            if not_back && key.1 == VM {
                continue;
            }
            assert_eq!(world.objects.get(key), Some(record), "{}: {key:?}", self.what);
        }
    }
}

fn is_marked(record: &Map<String, Json>) -> bool {
    record.get("other_config").is_some_and(|notes| notes.get(RESTORE).is_some())
}

/// Every call fails in turn, and in turn its answer is lost, and in turn nothing is done any more.
fn check(name: &'static str, change: fn(&mut Wish)) {
    let way = Way::new(name, change);
    // Of what is not done any more every third is enough: how it ends is the same.
    let faults: [fn(usize) -> Fault; 3] =
        [Fault::Once, Fault::Lost, |after| Fault::FromThen(3 * after)];
    for fault in faults {
        let meets_it = |after: &usize| {
            let ended = ended(&way, fault(*after));
            ended.iter().for_each(|ended| ended.check(fault(*after)));
            ended.is_some()
        };
        let calls = (0..200).take_while(meets_it).count();
        assert!((5..200).contains(&calls), "{calls} calls {name}");
    }
}

#[test]
fn whatever_fails_of_a_vm_that_comes_all_in_one() {
    check("all in one", |wish| wish.verify = true);
}

#[test]
fn whatever_fails_of_a_vm_that_comes_disk_by_disk() {
    check("disk by disk", |wish| wish.form = WishedForm::Vhd);
}

#[test]
fn whatever_fails_of_disks_without_a_vm() {
    check("only disks", |wish| (wish.scope, wish.verify) = (Scope::DisksOnly, true));
}

#[test]
fn whatever_fails_of_a_vm_in_the_place_of_one_that_stays() {
    check("in its place", |wish| {
        (wish.overwrite, wish.shutdown_first) = (Overwrite::Keep, true);
    });
}

#[test]
fn whatever_fails_of_a_vm_in_the_place_of_one_that_goes() {
    check("in its place, which goes", |wish| {
        (wish.overwrite, wish.shutdown_first) = (Overwrite::Destroy, true);
        wish.after = After::Start;
    });
}
