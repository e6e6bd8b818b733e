//! What differs between a database and the pool that is to have it, in words.

use serde::Serialize;
use xen_source::xapi::recovery::comparison::Difference;

/// A difference, as JSON.
#[derive(Debug, Serialize)]
pub struct DifferenceEntry {
    kind: &'static str,
    /// Whether the pool will refuse the database for it.
    pub stops: bool,
    uuid: Option<String>,
    name: Option<String>,
    /// In words.
    pub message: String,
}

impl DifferenceEntry {
    /// In words.
    pub fn of(difference: &Difference) -> Self {
        let (uuid, name) = object(difference);
        Self {
            kind: kind(difference),
            stops: difference.stops(),
            uuid: uuid.map(str::to_owned),
            name: name.map(str::to_owned),
            message: message(difference),
        }
    }

    /// On a line.
    pub fn text(&self) -> String {
        let level = if self.stops { "fail" } else { "note" };
        format!("{level}  {}\n", self.message)
    }
}

const fn kind(difference: &Difference) -> &'static str {
    match difference {
        Difference::NewerSchema { .. } | Difference::OlderSchema { .. } => "schema",
        Difference::NoCard { .. } | Difference::NewManagementCard { .. } => "card",
        Difference::OtherPool { .. } => "pool",
        Difference::Joins { .. } | Difference::LosesPool { .. } => "host",
        Difference::NoSr { .. } | Difference::ForgottenSr { .. } => "sr",
        Difference::ForgottenVms { .. } => "vms",
    }
}

fn object(difference: &Difference) -> (Option<&str>, Option<&str>) {
    match difference {
        Difference::Joins { uuid, name }
        | Difference::LosesPool { uuid, name }
        | Difference::NoSr { uuid, name, .. }
        | Difference::ForgottenSr { uuid, name } => (Some(uuid), Some(name)),
        Difference::OtherPool { dump, .. } => (Some(dump), None),
        Difference::NoCard { device } | Difference::NewManagementCard { device } => {
            (None, Some(device))
        }
        _ => (None, None),
    }
}

fn message(difference: &Difference) -> String {
    let version = |(major, minor): &(u64, u64)| format!("{major}.{minor}");
    match difference {
        Difference::NewerSchema { dump, target } => format!(
            "the database has schema {}, the pool {}: it is of a newer release",
            version(dump),
            version(target)
        ),
        Difference::OlderSchema { dump, target } => format!(
            "the database has schema {}, the pool {}: it is of an older release, which hosts \
             bring up to date or refuse",
            version(dump),
            version(target)
        ),
        Difference::NoCard { device } => {
            format!("the coordinator has no network card {device}, which the old one had")
        }
        Difference::NewManagementCard { device } => format!(
            "the coordinator is managed by network card {device}, which the old one did not have"
        ),
        Difference::OtherPool { dump, target } => {
            format!("the database is that of pool {dump}; this pool, {target}, becomes that one")
        }
        Difference::Joins { uuid, name } => {
            format!("host {name} ({uuid}) is forgotten, and has to join the pool again")
        }
        Difference::LosesPool { uuid, name } => {
            format!("host {name} ({uuid}) is in this pool, and not in the database")
        }
        Difference::NoSr { uuid, name, is_shared: true } => {
            format!(
                "storage {name} ({uuid}) is not in this pool: its disks are there once it is attached"
            )
        }
        Difference::NoSr { uuid, name, is_shared: false } => format!(
            "storage {name} ({uuid}) is not in this pool: it belonged to one host, and its disks \
             may be lost"
        ),
        Difference::ForgottenSr { uuid, name } => {
            format!("storage {name} ({uuid}) of this pool is not in the database, and is forgotten")
        }
        Difference::ForgottenVms { count } => {
            format!("{count} VMs of this pool are forgotten, but for those that the database knows")
        }
    }
}
