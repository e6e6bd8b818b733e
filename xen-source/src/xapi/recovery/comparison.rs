//! What of a database will not fit the pool that is to have it (contract 7).

use super::super::error::XapiError;
use super::super::metadata::dump::{Pif, PoolDump};
use super::super::objects::{HostRecord, SrRecord, records};
use super::super::pool::Pool;
use super::super::value::Value;

/// The pool that is to have a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Its uuid.
    pub uuid: String,
    /// Uuid and name of its hosts, the coordinator first.
    pub hosts: Vec<(String, String)>,
    /// Cards of its coordinator.
    pub cards: Vec<Pif>,
    /// Uuid and name of its storage repositories.
    pub srs: Vec<(String, String)>,
    /// How many VMs it has.
    pub vms: usize,
    /// Version of its schema, if it tells.
    pub schema: Option<(u64, u64)>,
}

/// Something that differs between a database and the pool that is to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The database is of a newer release.
    NewerSchema {
        /// Its version: major and minor.
        dump: (u64, u64),
        /// The pool's.
        target: (u64, u64),
    },
    /// The database is of an older release; hosts bring it up to date, or refuse it.
    OlderSchema {
        /// Its version: major and minor.
        dump: (u64, u64),
        /// The pool's.
        target: (u64, u64),
    },
    /// The coordinator lacks a card that the old one had.
    NoCard {
        /// Such as `eth1`.
        device: String,
    },
    /// The coordinator is managed by a card that the old one did not have.
    NewManagementCard {
        /// Such as `eth1`.
        device: String,
    },
    /// The database is another pool's, whose uuid this one will have.
    OtherPool {
        /// The uuid in the database.
        dump: String,
        /// The pool's own.
        target: String,
    },
    /// A member of the old pool, which has to join again.
    Joins {
        /// Its uuid.
        uuid: String,
        /// Its name.
        name: String,
    },
    /// A member of the pool, which will have no pool.
    LosesPool {
        /// Its uuid.
        uuid: String,
        /// Its name.
        name: String,
    },
    /// Storage of the old pool that this one does not have.
    NoSr {
        /// Its uuid.
        uuid: String,
        /// Its name.
        name: String,
        /// Whether all hosts saw it.
        is_shared: bool,
    },
    /// Storage of the pool that the database does not know: the pool will forget it.
    ForgottenSr {
        /// Its uuid.
        uuid: String,
        /// Its name.
        name: String,
    },
    /// VMs of the pool that will be forgotten.
    ForgottenVms {
        /// How many there are now.
        count: usize,
    },
}

impl Difference {
    /// Whether the pool will refuse the database for it.
    pub const fn stops(&self) -> bool {
        matches!(
            self,
            Self::NewerSchema { .. } | Self::NoCard { .. } | Self::NewManagementCard { .. }
        )
    }
}

/// What differs, first what stops a restore.
pub fn compare(dump: &PoolDump, target: &Target) -> Vec<Difference> {
    let mut found = Vec::new();
    if let (Some(dump), Some(target)) = (dump.schema, target.schema) {
        match dump.cmp(&target) {
            std::cmp::Ordering::Greater => found.push(Difference::NewerSchema { dump, target }),
            std::cmp::Ordering::Less => found.push(Difference::OlderSchema { dump, target }),
            std::cmp::Ordering::Equal => {}
        }
    }
    found.extend(cards(dump, target));
    if dump.uuid != target.uuid {
        let (dump, target) = (dump.uuid.clone(), target.uuid.clone());
        found.push(Difference::OtherPool { dump, target });
    }
    let old = dump.coordinator().map(|host| &host.uuid);
    let joins = dump.hosts.iter().filter(|host| Some(&host.uuid) != old);
    found.extend(
        joins.map(|host| Difference::Joins { uuid: host.uuid.clone(), name: host.name.clone() }),
    );
    let loses = target.hosts.iter().skip(1);
    let loses = loses.filter(|(uuid, _)| !dump.hosts.iter().any(|host| host.uuid == *uuid));
    found.extend(
        loses.map(|(uuid, name)| Difference::LosesPool { uuid: uuid.clone(), name: name.clone() }),
    );
    found.extend(storage(dump, target));
    if target.vms > 0 {
        found.push(Difference::ForgottenVms { count: target.vms });
    }
    found.sort_by_key(|difference| !difference.stops());
    found
}

fn cards(dump: &PoolDump, target: &Target) -> Vec<Difference> {
    let Some(coordinator) = dump.coordinator() else {
        return Vec::new();
    };
    let old: Vec<&Pif> = dump.cards(coordinator).collect();
    let has = |device: &str| target.cards.iter().any(|card| card.device == device);
    let lacks = old.iter().filter(|card| !has(&card.device));
    let mut found: Vec<Difference> =
        lacks.map(|card| Difference::NoCard { device: card.device.clone() }).collect();
    let managing = target.cards.iter().filter(|card| card.is_management);
    let new = managing.filter(|card| !old.iter().any(|other| other.device == card.device));
    found.extend(new.map(|card| Difference::NewManagementCard { device: card.device.clone() }));
    found
}

fn storage(dump: &PoolDump, target: &Target) -> Vec<Difference> {
    let has = |uuid: &String| target.srs.iter().any(|(own, _)| own == uuid);
    let lacks = dump.srs.iter().filter(|sr| !has(&sr.uuid));
    let mut found: Vec<Difference> = lacks
        .map(|sr| {
            let (uuid, name) = (sr.uuid.clone(), sr.name.clone());
            Difference::NoSr { uuid, name, is_shared: sr.is_shared }
        })
        .collect();
    let unknown = target.srs.iter().filter(|(uuid, _)| !dump.srs.iter().any(|sr| sr.uuid == *uuid));
    found.extend(
        unknown
            .map(|(uuid, name)| Difference::ForgottenSr { uuid: uuid.clone(), name: name.clone() }),
    );
    found
}

impl Target {
    /// Asks a pool what it is.
    ///
    /// # Errors
    ///
    /// What the pool said.
    pub fn of(pool: &Pool) -> Result<Self, XapiError> {
        let all = |class: &str| pool.session().call(&format!("{class}.get_all_records"), &[]);
        let record = pool.record();
        let mut hosts: Vec<HostRecord> = pool.hosts()?;
        hosts.sort_by_key(|host| Some(&host.reference) != record.coordinator.as_ref());
        let coordinator = record.coordinator.unwrap_or_default();
        let pifs = all("PIF")?;
        let pifs = pifs.members().into_iter().flatten().map(|(_, pif)| pif_of(pif));
        let cards = pifs.filter(|pif| pif.is_physical && pif.host == coordinator).collect();
        let srs: Vec<SrRecord> = records(&all("SR")?)?;
        let schema = hosts.first().and_then(|host| schema(host.versions.get("db_schema")?));
        Ok(Self {
            uuid: record.uuid,
            hosts: hosts.into_iter().map(|host| (host.uuid, host.name)).collect(),
            cards,
            srs: srs.into_iter().map(|sr| (sr.uuid, sr.name)).collect(),
            vms: pool.vms()?.len(),
            schema,
        })
    }
}

fn pif_of(record: &Value) -> Pif {
    let text = |field: &str| record.get(field).and_then(Value::text).unwrap_or_default().to_owned();
    let flag = |field: &str| record.get(field).and_then(Value::bool).unwrap_or(false);
    let (host, device, mac) = (text("host"), text("device"), text("MAC"));
    Pif { host, device, mac, is_physical: flag("physical"), is_management: flag("management") }
}

/// `5.790`.
fn schema(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xapi::metadata::dump::DumpReader;

    const DUMP: &str = r#"<database><pair key="schema_major_vsn" value="5"/>
        <pair key="schema_minor_vsn" value="790"/>
        <table name="PIF"><row host="H1" device="eth0" physical="true"/>
        <row host="H1" device="eth1" physical="true"/><row host="H1" device="bond0"/>
        <row host="H2" device="eth9" physical="true"/></table>
        <table name="SR"><row uuid="s" name_label="fast" shared="true"/></table>
        <table name="host"><row ref="H1" uuid="h1" name_label="one"/>
        <row ref="H2" uuid="h2" name_label="two"/></table>
        <table name="pool"><row uuid="p" master="H1"/></table></database>"#;

    fn dump() -> PoolDump {
        let mut reader = DumpReader::default();
        reader.take(DUMP.as_bytes()).expect("a dump");
        reader.end().expect("a dump")
    }

    fn card(device: &str, is_management: bool) -> Pif {
        let (host, device) = ("H".to_owned(), device.to_owned());
        Pif { host, device, mac: String::new(), is_physical: true, is_management }
    }

    fn pair(uuid: &str) -> (String, String) {
        (uuid.to_owned(), String::new())
    }

    /// The pool that the dump is of, without its second host.
    fn target() -> Target {
        Target {
            uuid: "p".to_owned(),
            hosts: vec![pair("h1")],
            cards: vec![card("eth0", true), card("eth1", false)],
            srs: vec![pair("s")],
            vms: 0,
            schema: Some((5, 790)),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Target), expected: &str, stops: bool) {
        let mut target = target();
        change(&mut target);
        let found = compare(&dump(), &target);
        let text = format!("{found:?}");
        assert!(text.contains(expected), "{text}");
        assert_eq!(found.first().is_some_and(Difference::stops), stops, "{text}");
    }

    #[test]
    fn the_old_members_have_to_join_again_and_all_else_fits() {
        let joins = Difference::Joins { uuid: "h2".to_owned(), name: "two".to_owned() };
        assert_eq!(compare(&dump(), &target()), [joins]);
    }

    #[test]
    fn what_the_pool_would_refuse_stands_first() {
        check(|target| drop(target.cards.pop()), "NoCard { device: \"eth1\" }", true);
        let other = |target: &mut Target| target.cards.push(card("eth2", true));
        check(other, "NewManagementCard { device: \"eth2\" }", true);
        check(|target| target.schema = Some((5, 789)), "NewerSchema", true);
        check(|target| target.schema = Some((5, 791)), "OlderSchema", false);
        check(|target| target.schema = None, "Joins", false);
    }

    #[test]
    fn what_would_be_forgotten_or_is_lacking_is_told() {
        check(|target| target.uuid = "q".to_owned(), "OtherPool", false);
        check(|target| target.hosts.push(pair("h3")), "LosesPool { uuid: \"h3\"", false);
        check(
            |target| target.srs.clear(),
            "NoSr { uuid: \"s\", name: \"fast\", is_shared: true",
            false,
        );
        check(|target| target.srs.push(pair("t")), "ForgottenSr { uuid: \"t\"", false);
        check(|target| target.vms = 3, "ForgottenVms { count: 3 }", false);
    }
}
