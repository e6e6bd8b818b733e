//! What the checks find: facts. Words and judgement are in `words`.

use std::time::Duration;

use serde::Serialize;
use xen_source::xapi::probe::Right;

use crate::advice::Failure;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Backups are slow or incomplete, or soon will be.
    Warn,
    /// Backups fail.
    Fail,
}

impl Level {
    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One fact about a pool.
#[derive(Debug)]
pub enum Finding {
    /// About one member.
    Member {
        /// Its address or name.
        member: String,
        /// The fact.
        fact: MemberFact,
    },
    /// We are logged in.
    Login {
        /// Who.
        user: String,
        /// Name or uuid of the pool.
        pool: String,
        /// Where.
        coordinator: String,
    },
    /// Versions of the members, each once.
    Versions(Vec<String>),
    /// What the user may do, at most.
    Right(Right),
    /// About storage.
    Storage {
        /// Name of the storage repository.
        sr: String,
        /// The fact.
        fact: StorageFact,
    },
    /// The storage repository where new disks go, if there is one.
    DefaultStorage(Option<String>),
    /// The disk with most snapshots.
    Chain {
        /// Its name.
        disk: String,
        /// How many it has.
        snapshots: usize,
    },
    /// Snapshots of ours: of those how many are being read.
    Leftovers {
        /// All.
        count: usize,
        /// Those that are in use.
        busy: usize,
    },
    /// Changed-block tracking of the disks of all VMs.
    Tracking {
        /// Disks.
        disks: usize,
        /// Disks on storage that can; `None`: no host says which can.
        able: Option<usize>,
        /// Disks that have it.
        enabled: usize,
    },
    /// Networks for NBD.
    Nbd {
        /// Those with TLS.
        secure: Vec<String>,
        /// Those in the clear.
        insecure: Vec<String>,
        /// Ways to one disk; `None`: there was none to ask for, or nobody was asked.
        ways: Option<usize>,
    },
    /// VMs of the pool that have no snapshot in the repository.
    Coverage {
        /// How many VMs the pool has.
        vms: usize,
        /// Names of those that are missing.
        missing: Vec<String>,
        /// Whether the repository has the pool's database or one of its hosts.
        has_system: bool,
    },
    /// A check that could not be made, or a step that failed.
    Failed {
        /// Which.
        check: &'static str,
        /// What was being done, and why it was not.
        message: String,
        /// What to do.
        hint: String,
    },
}

/// A fact about a member.
#[derive(Debug)]
pub enum MemberFact {
    /// Its name leads nowhere.
    Nameless(String),
    /// Its name leads somewhere: to so many addresses.
    Named(usize),
    /// How long connections took, sorted, and how many did not come up.
    Connects {
        /// Those that came up.
        times: Vec<Duration>,
        /// Those that did not.
        failed: usize,
    },
    /// It proves who it is: how.
    Trusted(&'static str),
    /// Days until its certificate ends, if that is known.
    Certificate(Option<i64>),
    /// Seconds that its clock is ahead of ours.
    Clock(i64),
}

/// A fact about a storage repository.
#[derive(Debug)]
pub enum StorageFact {
    /// Room.
    Space {
        /// Free bytes.
        free: u64,
        /// All bytes.
        size: u64,
        /// What a snapshot may take, in bytes.
        needed: u64,
    },
    /// Hosts that do not have it at hand.
    Detached {
        /// Their names.
        hosts: Vec<String>,
        /// Whether no other host has it.
        everywhere: bool,
        /// Disks of VMs on it.
        disks: usize,
    },
}

impl Finding {
    /// A step that failed.
    pub fn failed(check: &'static str, failure: &Failure) -> Self {
        let error = failure.message();
        Self::Failed { check, message: error.message, hint: error.hint }
    }

    /// A fact about `member`.
    pub fn of_member(member: impl ToString, fact: MemberFact) -> Self {
        Self::Member { member: member.to_string(), fact }
    }
}
