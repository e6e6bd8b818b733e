//! What became of a restore into a pool, or would: as text, and as JSON.

use std::time::Duration;

use repo_format::snapshot::Snapshot;
use serde::Serialize;
use xen_source::xapi::SrRecord;
use xen_source::xapi::destination::{
    After, Card, DiskForm, Inventory, Plan, Restored, TargetDisk, Way,
};

use super::course::Note;
use crate::clock;
use crate::report::{short_id, subject};
use crate::size;
use crate::text::{Align, Table};

/// What was made, or would be.
#[derive(Debug, Serialize)]
pub struct Outcome {
    message_type: &'static str,
    snapshot: String,
    dry_run: bool,
    pool: String,
    /// `None` if only disks are made.
    vm: Option<VmMade>,
    replaced: Option<Replaced>,
    disks: Vec<DiskMade>,
    cards: Vec<CardMade>,
    /// How disks are sent: `xva`, all in one, or one by one `raw` or `vhd`.
    form: &'static str,
    steps: Vec<String>,
    /// What somebody has to look at.
    pub notes: Vec<Note>,
    elapsed_ms: Option<u64>,
    /// Bytes of the disks in a second, holes included.
    rate: Option<u64>,
}

/// The VM.
#[derive(Debug, Serialize)]
struct VmMade {
    name: String,
    /// `None` before it is made, unless it is known by then.
    uuid: Option<String>,
    memory: u64,
    /// `halted`, `running`, `paused` or `suspended`.
    power_state: &'static str,
}

/// The VM that was there before.
#[derive(Debug, Serialize)]
struct Replaced {
    uuid: String,
    old_name: String,
    /// Its new one; `None` if it is removed.
    name: Option<String>,
}

/// A disk.
#[derive(Debug, Serialize)]
struct DiskMade {
    /// `xvda`.
    name: String,
    /// What people call it on the pool.
    label: String,
    size: u64,
    data: u64,
    sr: String,
    sr_uuid: String,
    sr_free: Option<u64>,
    /// `None` before it is made.
    uuid: Option<String>,
    /// Whether it was read back and compared.
    verified: bool,
}

/// A network card.
#[derive(Debug, Serialize)]
struct CardMade {
    device: String,
    /// `None` before it is made, unless it is kept.
    mac: Option<String>,
    network: String,
    network_uuid: String,
    /// Where it was before.
    old_network: String,
}

impl Outcome {
    /// What `plan` would make.
    pub fn planned(snapshot: &Snapshot, pool: &Inventory, plan: &Plan) -> Self {
        let vm = VmMade {
            name: plan.name.clone(),
            uuid: plan.uuid.clone(),
            memory: plan.memory_bytes,
            power_state: power_state(plan),
        };
        let replaced = plan.replaced.as_ref().map(|old| Replaced {
            uuid: old.uuid.clone(),
            old_name: old.name.clone(),
            name: (!old.is_destroyed).then(|| old.new_name.clone()),
        });
        let pool_name = if pool.pool.name.is_empty() { &pool.pool.uuid } else { &pool.pool.name };
        Self {
            message_type: "restored",
            snapshot: snapshot.id.to_string(),
            dry_run: true,
            pool: pool_name.clone(),
            vm: plan.has_vm.then_some(vm),
            replaced,
            disks: plan.disks.iter().map(|disk| DiskMade::planned(disk, pool)).collect(),
            cards: plan.cards.iter().map(CardMade::of).collect(),
            form: form(plan),
            steps: plan.steps.iter().map(ToString::to_string).collect(),
            notes: Vec::new(),
            elapsed_ms: None,
            rate: None,
        }
    }

    /// It was made.
    pub fn made(&mut self, plan: &Plan, made: Restored, elapsed: Duration) {
        self.dry_run = false;
        for disk in made.disks {
            let planned = plan.disks.iter().position(|it| it.disk.place == disk.place);
            if let Some(entry) = planned.and_then(|number| self.disks.get_mut(number)) {
                entry.uuid = Some(disk.uuid);
                entry.verified = disk.is_verified;
            }
        }
        if let Some(vm) = &mut self.vm {
            vm.uuid = made.uuid;
        }
        for (card, mac) in self.cards.iter_mut().zip(made.macs) {
            card.mac = Some(mac);
        }
        if let Some(replaced) = &mut self.replaced {
            replaced.name = made.replaced.map(|(_, name)| name);
        }
        self.elapsed_ms = Some(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        self.rate = Some((self.size() as f64 / elapsed.as_secs_f64().max(0.001)) as u64);
    }

    /// What would be made, in full.
    pub fn plan_text(&self, snapshot: &Snapshot) -> String {
        let what = self.vm.as_ref().map_or("disks without a VM", |vm| &vm.name);
        let (id, of) = (short_id(&snapshot.id), subject(snapshot));
        let time = clock::local(snapshot.time);
        let mut text =
            format!("would make {what} on pool {} from snapshot {id} of {of}, {time}\n", self.pool);
        if let Some(vm) = &self.vm {
            let uuid = vm.uuid.as_deref().unwrap_or("a new one");
            let memory = size::bytes(vm.memory);
            text += &format!("uuid {uuid}, memory {memory}, then {}\n", vm.power_state);
        }
        if let Some(old) = &self.replaced {
            let fate = match &old.name {
                Some(name) => format!("stays as {name}"),
                None => "is removed with its disks".to_owned(),
            };
            text += &format!("the VM {} ({}) {fate}\n", old.old_name, old.uuid);
        }
        text += &self.disks_text();
        text += &self.cards_text();
        text += match self.form {
            "xva" => "sent all in one\n",
            "vhd" => "sent disk by disk, as VHD\n",
            _ => "sent disk by disk, raw\n",
        };
        let numbered = self.steps.iter().enumerate();
        text.extend(numbered.map(|(number, step)| format!("{}. {step}\n", number + 1)));
        text + "nothing was changed\n"
    }

    /// What was made.
    pub fn text(&self) -> String {
        let elapsed = Duration::from_millis(self.elapsed_ms.unwrap_or_default());
        let (total, took) = (size::bytes(self.size()), size::duration(elapsed));
        let rate = size::bytes(self.rate.unwrap_or_default());
        let verified = match self.disks.iter().all(|disk| disk.verified) {
            true if !self.disks.is_empty() => ", every disk read back and compared",
            _ => "",
        };
        let mut text = match &self.vm {
            Some(VmMade { name, uuid, power_state, .. }) => {
                let uuid = uuid.as_deref().unwrap_or_default();
                format!(
                    "restored {name} ({uuid}) to pool {}: {total} in {took} ({rate}/s)\
                     {verified}; it is {power_state}\n",
                    self.pool
                )
            }
            None => {
                let count = size::plural(self.disks.len() as u64, "disk");
                let pool = &self.pool;
                format!("restored {count} to pool {pool}: {total} in {took} ({rate}/s){verified}\n")
            }
        };
        text += &self.disks_text();
        text += &self.cards_text();
        if let Some(Replaced { old_name, name: Some(name), uuid }) = &self.replaced {
            text += &format!("the old {old_name} stays as {name} ({uuid})\n");
        }
        text
    }

    fn disks_text(&self) -> String {
        let mut table = Table::new(&[
            ("Disk", Align::Left),
            ("Size", Align::Right),
            ("Data", Align::Right),
            ("SR", Align::Left),
            (if self.dry_run { "Free" } else { "UUID" }, Align::Left),
        ]);
        for disk in &self.disks {
            let free = disk.sr_free.map(size::bytes);
            let last = if self.dry_run { free } else { disk.uuid.clone() };
            table.row([
                disk.name.clone(),
                size::bytes(disk.size),
                size::bytes(disk.data),
                disk.sr.clone(),
                last.unwrap_or_default(),
            ]);
        }
        if self.disks.is_empty() { String::new() } else { table.lines("  ") }
    }

    fn cards_text(&self) -> String {
        let mut table =
            Table::new(&[("Card", Align::Left), ("MAC", Align::Left), ("Network", Align::Left)]);
        for card in &self.cards {
            let network = match card.old_network == card.network || card.old_network.is_empty() {
                true => card.network.clone(),
                false => format!("{} (was {})", card.network, card.old_network),
            };
            let mac = card.mac.as_deref().unwrap_or("a new one");
            table.row([card.device.clone(), mac.to_owned(), network]);
        }
        if self.cards.is_empty() { String::new() } else { table.lines("  ") }
    }

    fn size(&self) -> u64 {
        self.disks.iter().map(|disk| disk.size).fold(0, u64::saturating_add)
    }
}

impl DiskMade {
    fn planned(target: &TargetDisk, pool: &Inventory) -> Self {
        let sr = pool.srs.iter().find(|sr| sr.reference == target.sr.reference);
        Self {
            name: target.disk.stored_name.clone(),
            label: target.disk.name.clone(),
            size: target.disk.size_bytes,
            data: target.disk.data_bytes,
            sr: target.sr.name.clone(),
            sr_uuid: target.sr.uuid.clone(),
            sr_free: sr.map(free_bytes),
            uuid: None,
            verified: false,
        }
    }
}

impl CardMade {
    fn of(card: &Card) -> Self {
        Self {
            device: card.stored.device.clone(),
            mac: (card.mac == card.stored.mac).then(|| card.mac.clone()),
            network: card.network_name.clone(),
            network_uuid: card.network_uuid.clone(),
            old_network: card.stored.network_name.clone(),
        }
    }
}

fn form(plan: &Plan) -> &'static str {
    match (plan.way, plan.disks.first().map(|target| target.form)) {
        (Way::Xva, _) => "xva",
        (Way::Disks, Some(DiskForm::Vhd)) => "vhd",
        (Way::Disks, _) => "raw",
    }
}

/// What the VM will be when it is there.
fn power_state(plan: &Plan) -> &'static str {
    match plan.after {
        After::Off => "halted",
        After::Start => "running",
        After::StartPaused => "paused",
        After::AsBefore if plan.has_memory => "suspended",
        After::AsBefore => "halted",
    }
}

fn free_bytes(sr: &SrRecord) -> u64 {
    sr.size_bytes.saturating_sub(sr.used_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            message_type: "restored",
            snapshot: "a1c4".to_owned(),
            dry_run: false,
            pool: "prod".to_owned(),
            vm: Some(VmMade {
                name: "web01".to_owned(),
                uuid: Some("0c51".to_owned()),
                memory: 2 << 30,
                power_state: "halted",
            }),
            replaced: Some(Replaced {
                uuid: "77aa".to_owned(),
                old_name: "web01".to_owned(),
                name: Some("web01.replaced-20261122".to_owned()),
            }),
            disks: vec![DiskMade {
                name: "xvda".to_owned(),
                label: "root".to_owned(),
                size: 100 << 30,
                data: 31 << 30,
                sr: "nfs-fast".to_owned(),
                sr_uuid: "5a5a".to_owned(),
                sr_free: Some(1 << 40),
                uuid: Some("d1d1".to_owned()),
                verified: true,
            }],
            cards: vec![CardMade {
                device: "0".to_owned(),
                mac: Some("00:16:3e:5d:00:01".to_owned()),
                network: "dr-lan".to_owned(),
                network_uuid: "1111".to_owned(),
                old_network: "prod-lan".to_owned(),
            }],
            form: "xva",
            steps: Vec::new(),
            notes: Vec::new(),
            elapsed_ms: Some(200_000),
            rate: Some(512 << 20),
        }
    }

    #[test]
    fn a_vm_that_was_made_is_told_with_its_disks_and_the_old_one() {
        let expected = "\
restored web01 (0c51) to pool prod: 100 GiB in 3:20 (512 MiB/s), every disk read back and compared; it is halted
  Disk     Size      Data  SR        UUID
  xvda  100 GiB  31.0 GiB  nfs-fast  d1d1
  Card  MAC                Network
  0     00:16:3e:5d:00:01  dr-lan (was prod-lan)
the old web01 stays as web01.replaced-20261122 (77aa)
";
        assert_eq!(outcome().text(), expected);
    }

    #[test]
    fn disks_without_a_vm_are_told_with_their_uuids() {
        let mut outcome = Outcome { vm: None, replaced: None, cards: Vec::new(), ..outcome() };
        outcome.disks[0].verified = false;
        let expected = "\
restored 1 disk to pool prod: 100 GiB in 3:20 (512 MiB/s)
  Disk     Size      Data  SR        UUID
  xvda  100 GiB  31.0 GiB  nfs-fast  d1d1
";
        assert_eq!(outcome.text(), expected);
    }

    #[test]
    fn a_dry_run_tells_what_is_free() {
        let text = Outcome { dry_run: true, ..outcome() }.disks_text();
        assert_eq!(
            text,
            "  Disk     Size      Data  SR        Free\n  xvda  100 GiB  31.0 GiB  nfs-fast  1.0 TiB\n"
        );
    }
}
