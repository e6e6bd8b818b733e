//! The steps, as Markdown: made from a database and what else was saved, and nothing else.

use xen_source::xapi::metadata::dump::{DumpedHost, DumpedSr, DumpedVm, PoolDump};

use crate::report::short_id;

/// Something of a pool that was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// What it is.
    pub kind: Kind,
    /// Id of its snapshot.
    pub id: String,
    /// The uuid of the VM, pool or host.
    pub uuid: String,
    /// When, in seconds since 1970.
    pub secs: u64,
    /// When, for people.
    pub time: String,
}

/// What was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The database of a pool.
    Database,
    /// The system of a host.
    Host,
    /// A VM with its disks.
    Vm,
}

/// The steps that bring the pool of `dump` back, which is that of the snapshot `this`.
pub fn markdown(dump: &PoolDump, this: &Saved, saved: &[Saved]) -> String {
    let book = Book { dump, this, saved };
    let coordinator = dump.coordinator().or_else(|| dump.hosts.first());
    let Some(coordinator) = coordinator else {
        return String::new(); // a dump without hosts is none
    };
    let steps = [
        book.inventory(),
        book.old_hosts(),
        book.install(coordinator),
        book.systems(),
        book.database(coordinator),
        book.members(coordinator),
        book.storage(),
        book.suspended(),
        book.vms(),
        book.afterwards(),
    ];
    let steps = steps.into_iter().filter(|(_, text)| !text.is_empty());
    let name = if dump.name.is_empty() { &dump.uuid } else { &dump.name };
    let mut text = format!(
        "# Recovery of pool {}\n\nMade from snapshot {} of {}. `NEW` stands for the address of the \
         newly installed coordinator.\n",
        cell(name),
        short_id(&this.id),
        this.time
    );
    for (number, (title, step)) in steps.enumerate() {
        text += &format!("\n## {number}. {title}\n\n{step}");
    }
    text
}

type Step = (&'static str, String);

struct Book<'a> {
    dump: &'a PoolDump,
    this: &'a Saved,
    saved: &'a [Saved],
}

impl Book<'_> {
    /// The newest of a kind that was saved of something.
    fn newest(&self, kind: Kind, uuid: &str) -> Option<&Saved> {
        let of = self.saved.iter().filter(|saved| saved.kind == kind && saved.uuid == uuid);
        of.max_by_key(|saved| saved.secs)
    }

    fn inventory(&self) -> Step {
        let mut text = format!("Pool uuid `{}`", self.dump.uuid);
        if let Some((major, minor)) = self.dump.schema {
            text += &format!(", schema {major}.{minor}");
        }
        text += ".\n\n| host | uuid | address | network cards |\n|---|---|---|---|\n";
        for (place, host) in self.dump.hosts.iter().enumerate() {
            let role = if place == 0 { " (coordinator)" } else { "" };
            let cards: Vec<String> =
                self.dump.cards(host).map(|card| format!("{} {}", card.device, card.mac)).collect();
            let (name, address) = (cell(&host.name), cell(&host.address));
            let cards = cell(&cards.join(", "));
            text += &format!("| {name}{role} | `{}` | {address} | {cards} |\n", host.uuid);
        }
        text += "\n| storage | uuid | kind | |\n|---|---|---|---|\n";
        for DumpedSr { uuid, name, kind, is_shared } in &self.dump.srs {
            let whose = if *is_shared { "shared" } else { "of one host" };
            text += &format!("| {} | `{uuid}` | {} | {whose} |\n", cell(name), cell(kind));
        }
        ("What there was", text)
    }

    fn old_hosts(&self) -> Step {
        let text = "Hosts keep their uuids in the database. An old host that comes up beside the \
                    new pool is there twice, and writes to the same shared storage: cut its power, \
                    and pull its cables to storage.\n";
        ("Be sure that the old hosts are off", text.to_owned())
    }

    fn install(&self, coordinator: &DumpedHost) -> Step {
        let devices: Vec<&str> = self.dump.cards(coordinator).map(|card| &*card.device).collect();
        let text = format!(
            "Install the release that the pool had, with the same updates, on every host; a network boot \
             with answer files is the quickest way. Do not join them yet. The new coordinator \
             needs these network cards, and is managed by one of them: {}. `interface-rename` on \
             the host gives cards their old names.\n",
            if devices.is_empty() { "(none told)".to_owned() } else { cell(&devices.join(", ")) }
        );
        ("Install the hosts", text)
    }

    /// Only where systems of hosts were saved. Installing anew is the usual way.
    fn systems(&self) -> Step {
        let hosts = self.dump.hosts.iter();
        let lines: String = hosts
            .filter_map(|host| {
                let saved = self.newest(Kind::Host, &host.uuid)?;
                let (name, id) = (cell(&host.name), short_id(&saved.id));
                let time = &saved.time;
                Some(format!("    xenith restore {id} --to-pool NEW    # {name}, {time}\n"))
            })
            .collect();
        if lines.is_empty() {
            return ("", String::new());
        }
        let text = format!(
            "Instead of a new installation, on the same machine only, and only if its pool knows \
             it under the same uuid. A crashed host gets an upgrade installation first, which \
             keeps the backup partition.\n\n{lines}\nThis stages the system on the spare \
             partition; nothing is active until the host boots the installation CD and you choose \
             \"Restore from backup\". It brings no storage and no VMs back.\n"
        );
        ("Or bring back the systems of hosts", text)
    }

    fn database(&self, coordinator: &DumpedHost) -> Step {
        let (id, name) = (short_id(&self.this.id), cell(&coordinator.name));
        let text = format!(
            "On the machine with the repository; NEW takes the place of {name} (`{}`):\n\n    \
             xenith restore {id} --to-pool NEW --dry-run\n    xenith restore {id} --to-pool NEW\n\n\
             Without Xenith on the network: `xenith restore {id} --target pool.xml`, copy it to \
             the host, and there\n\n    xe pool-restore-database file-name=pool.xml dry-run=true\n    \
             xe pool-restore-database file-name=pool.xml\n\nThe host restarts after 30 seconds. \
             Then `xe host-list` and `xe pool-list uuid={}` answer there. Remove pool.xml: it holds \
             passwords.\n",
            coordinator.uuid, self.dump.uuid
        );
        ("Restore the database on the coordinator", text)
    }

    fn members(&self, coordinator: &DumpedHost) -> Step {
        let others: Vec<&DumpedHost> =
            self.dump.hosts.iter().filter(|host| host.uuid != coordinator.uuid).collect();
        if others.is_empty() {
            return ("", String::new());
        }
        let forget: String = others
            .iter()
            .map(|host| {
                format!("    xe host-forget uuid={}    # {}\n", host.uuid, cell(&host.name))
            })
            .collect();
        let text = format!(
            "On the coordinator, those that `xe host-list` still shows:\n\n{forget}\nThen on each \
             of the {} newly installed others:\n\n    xe pool-join master-address=NEW \
             master-username=root master-password=...\n",
            others.len()
        );
        ("Forget the old members, and join the new ones", text)
    }

    fn storage(&self) -> Step {
        let disks = self.dump.srs.iter().filter(|sr| sr.kind != "udev");
        let (shared, local): (Vec<&DumpedSr>, Vec<&DumpedSr>) = disks.partition(|sr| sr.is_shared);
        let mut text = String::new();
        if !shared.is_empty() {
            text += "Shared storage, or its replica under the same uuid. For each, plug what is \
                     not attached (`xe pbd-plug uuid=...`), and scan it:\n\n";
        }
        for sr in &shared {
            let (uuid, name) = (&sr.uuid, cell(&sr.name));
            text += &format!(
                "    xe pbd-list sr-uuid={uuid} params=uuid,host-uuid,currently-attached    # {name}\n    \
                 xe sr-scan uuid={uuid}\n"
            );
        }
        if !local.is_empty() {
            text += "\nStorage of single hosts, which is lost if its host was installed anew. \
                     Forget it, and make a new one:\n\n";
        }
        for sr in &local {
            text += &format!("    xe sr-forget uuid={}    # {}\n", sr.uuid, cell(&sr.name));
        }
        ("Attach the storage", text)
    }

    fn suspended(&self) -> Step {
        let names: Vec<String> = self
            .dump
            .vms
            .iter()
            .filter(|vm| vm.is_suspended)
            .map(|vm| format!("* {} (`{}`)\n", cell(&vm.name), vm.uuid))
            .collect();
        let mut text = "VMs whose memory is gone cannot be resumed; only these are reset:\n\n    \
                        xenith pool fix-suspended --pool NEW --dry-run\n    \
                        xenith pool fix-suspended --pool NEW\n"
            .to_owned();
        if !names.is_empty() {
            text += &format!("\nIn the database these are suspended:\n\n{}", names.concat());
        }
        ("Reset suspended VMs", text)
    }

    fn vms(&self) -> Step {
        if self.dump.vms.is_empty() {
            return ("", String::new());
        }
        let mut text = "Where the disks are on storage that was attached, a VM is there already. \
                        Of the others, this takes the place of the record in the database:\n\n"
            .to_owned();
        let mut unsaved = String::new();
        for DumpedVm { uuid, name, .. } in &self.dump.vms {
            let name = cell(name);
            match self.newest(Kind::Vm, uuid) {
                Some(saved) => {
                    let (id, time) = (short_id(&saved.id), &saved.time);
                    text += &format!(
                        "    xenith restore {id} --to-pool NEW --overwrite    # {name}, {time}\n"
                    );
                }
                None => unsaved += &format!("* {name} (`{uuid}`)\n"),
            }
        }
        if !unsaved.is_empty() {
            text += &format!("\n**Not in this repository:**\n\n{unsaved}");
        }
        ("Restore the VMs whose disks are lost", text)
    }

    fn afterwards(&self) -> Step {
        let text = "Start the VMs (`xe vm-start uuid=...`), look at each, and save everything \
                    anew:\n\n    xenith backup --pool NEW --everything\n";
        ("Start, check, and back up again", text.to_owned())
    }
}

/// Names come from strangers: none may end a cell, a line or a command.
fn cell(text: &str) -> String {
    let plain = |char: char| match char {
        '|' | '`' | '<' | '>' | '*' | '_' | '[' | ']' | '\\' => format!("\\{char}"),
        char if char.is_control() => " ".to_owned(),
        char => char.to_string(),
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use xen_source::xapi::metadata::dump::DumpReader;

    use super::*;

    const DUMP: &str = r#"<database><pair key="schema_major_vsn" value="5"/>
        <table name="PIF"><row host="H1" device="eth7" MAC="aa" physical="true"/></table>
        <table name="SR"><row uuid="sr-shared" name_label="fast" type="nfs" shared="true"/>
        <row uuid="sr-local" name_label="disk" type="ext"/></table>
        <table name="VM"><row uuid="vm-a" name_label="a|b" power_state="Suspended"/>
        <row uuid="vm-b" name_label="lost"/></table>
        <table name="host"><row ref="H1" uuid="host-1" name_label="one"/>
        <row ref="H2" uuid="host-2" name_label="two"/></table>
        <table name="pool"><row uuid="pool-uuid" name_label="lab" master="H1"/></table></database>"#;

    fn saved(kind: Kind, id: &str, uuid: &str, secs: u64) -> Saved {
        let time = format!("time-{secs}");
        Saved { kind, id: id.to_owned(), uuid: uuid.to_owned(), secs, time }
    }

    fn book(dump: &str, all: &[Saved]) -> String {
        let mut reader = DumpReader::default();
        reader.take(dump.as_bytes()).expect("a dump");
        let dump = reader.end().expect("a dump");
        markdown(&dump, &saved(Kind::Database, "dbdbdbdb", "pool-uuid", 9), all)
    }

    #[test]
    fn every_step_names_what_it_is_about() {
        let all = [
            saved(Kind::Vm, "aaaaaaa1", "vm-a", 1),
            saved(Kind::Vm, "aaaaaaa2", "vm-a", 2),
            saved(Kind::Vm, "ffffffff", "of-another-pool", 3),
            saved(Kind::Host, "eeeeeeee", "host-1", 3),
        ];
        let text = book(DUMP, &all);
        let wanted = [
            "# Recovery of pool lab",
            "| one (coordinator) | `host-1` |",
            "eth7",
            "xenith restore dbdbdbdb --to-pool NEW --dry-run",
            "xe pool-restore-database file-name=pool.xml dry-run=true",
            "xenith restore eeeeeeee --to-pool NEW    # one",
            "xe host-forget uuid=host-2",
            "xe sr-scan uuid=sr-shared",
            "xe sr-forget uuid=sr-local",
            "* a\\|b (`vm-a`)",
            "xenith restore aaaaaaa2 --to-pool NEW --overwrite    # a\\|b, time-2",
            "**Not in this repository:**\n\n* lost (`vm-b`)",
        ];
        for wanted in wanted {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        for unwanted in ["aaaaaaa1", "ffffffff", "host-forget uuid=host-1"] {
            assert!(!text.contains(unwanted), "{unwanted}");
        }
    }

    #[test]
    fn steps_are_in_the_order_in_which_they_are_taken() {
        let text = book(DUMP, &[]);
        let order = ["Be sure", "Install", "--dry-run", "host-forget", "sr-scan", "fix-suspended"];
        let places = order.map(|step| text.find(step).expect(step));
        assert!(places.is_sorted(), "{places:?}");
        let numbers = text.lines().filter(|line| line.starts_with("## "));
        for (number, line) in numbers.enumerate() {
            assert!(line.starts_with(&format!("## {number}. ")), "{line}");
        }
    }

    #[test]
    fn what_there_is_not_makes_no_step() {
        let alone = DUMP.replace(r#"<row ref="H2" uuid="host-2" name_label="two"/>"#, "");
        let text = book(&alone, &[]);
        assert!(!text.contains("host-forget") && !text.contains("spare partition"), "{text}");
    }
}
