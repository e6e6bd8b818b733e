//! Arguments of `backup` for what a pool does.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};
use xen_source::xapi;

/// How VMs are taken, and how their disks come.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pool")]
pub struct PoolBackupArgs {
    /// What becomes of a VM that runs
    #[arg(long, value_name = "HOW", requires = "pool", default_value = "hot")]
    pub mode: Mode,
    /// Save the memory of suspended VMs, too; with --mode warm it is saved anyway
    #[arg(long, requires = "pool")]
    pub include_memory: bool,
    /// How disks come from the pool
    #[arg(long, value_name = "HOW", requires = "pool", default_value = "auto")]
    pub transfer: Transfer,
    /// Whether only what has changed since the last backup is read (changed-block tracking)
    #[arg(long, value_name = "WHEN", requires = "pool", default_value = "auto")]
    pub cbt: Tracking,
    /// Of what should not have changed, how much is read nevertheless; if any of it has, the disk
    /// is read in full
    #[arg(
        long,
        value_name = "PERCENT",
        requires = "pool",
        default_value = "1",
        value_parser = percent
    )]
    pub cbt_sample: f64,
    /// VMs that are read at once: more than 4 seldom help, since hosts are slow. Each takes some
    /// 180 MiB of memory
    #[arg(
        long,
        value_name = "N",
        requires = "pool",
        default_value = "2",
        value_parser = lanes
    )]
    pub concurrency: NonZeroUsize,
    /// Shell command to run before the snapshot of each VM; if it fails, the VM is not backed up.
    /// It finds XENITH_VM_NAME, XENITH_VM_UUID, XENITH_RUN and XENITH_MODE in its environment
    #[arg(long, value_name = "COMMAND", requires = "pool")]
    pub pre_snapshot: Option<String>,
    /// Shell command to run as soon as there is the snapshot of a VM, or there will be none
    #[arg(long, value_name = "COMMAND", requires = "pool")]
    pub post_snapshot: Option<String>,
    /// Back up what the newest run of this name (or with this id) chose and did not save; the new
    /// snapshots belong to that run. Selectors choose anew
    #[arg(long, value_name = "RUN", requires = "pool", conflicts_with = "run")]
    pub retry_failed: Option<String>,
    /// Do not have storage repositories look how full they are
    #[arg(long, requires = "pool")]
    pub no_sr_scan: bool,
    /// What must be free on a thin storage repository for a snapshot to be taken [default: 5]
    #[arg(
        long,
        value_name = "PERCENT",
        requires = "pool",
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    pub min_sr_free: Option<u8>,
    /// Take snapshots even where storage repositories seem too full for them
    #[arg(long, requires = "pool")]
    pub force: bool,
}

/// What becomes of a VM that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// It goes on; its disks are as after pulling the plug
    Hot,
    /// It pauses while its memory is saved with its disks
    Warm,
    /// It is shut down, and started again as soon as there is a snapshot
    Cold,
}

/// How disks come from the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transfer {
    /// By NBD if the pool has it, else as XVA
    Auto,
    /// All in one XVA
    Xva,
    /// Disk by disk, raw or as VHD
    Vdi,
    /// Disk by disk, by NBD
    Nbd,
}

/// Whether only changes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tracking {
    /// Where it can be; tracking is switched on where it is off
    Auto,
    /// A VM of which the changes cannot be told is not backed up
    Require,
    /// Never
    Off,
}

impl From<Mode> for xapi::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Hot => Self::Hot,
            Mode::Warm => Self::Warm,
            Mode::Cold => Self::Cold,
        }
    }
}

impl From<Transfer> for xapi::Transfer {
    fn from(transfer: Transfer) -> Self {
        match transfer {
            Transfer::Auto => Self::Auto,
            Transfer::Xva => Self::Xva,
            Transfer::Vdi => Self::Vdi,
            Transfer::Nbd => Self::Nbd,
        }
    }
}

impl From<Tracking> for xapi::Tracking {
    fn from(tracking: Tracking) -> Self {
        match tracking {
            Tracking::Auto => Self::Enable,
            Tracking::Require => Self::Require,
            Tracking::Off => Self::Off,
        }
    }
}

fn percent(typed: &str) -> Result<f64, String> {
    let number = typed.trim_end_matches('%').parse::<f64>().ok();
    number
        .filter(|number| (0.0..=100.0).contains(number))
        .ok_or_else(|| "it is no number from 0 to 100".to_owned())
}

/// Lanes hold threads and memory: a hundred are a slip of the finger.
pub fn lanes(typed: &str) -> Result<NonZeroUsize, String> {
    const MAX: usize = 32;
    let number = typed.parse::<NonZeroUsize>().ok().filter(|number| number.get() <= MAX);
    number.ok_or_else(|| format!("it is no number from 1 to {MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percents() {
        for (typed, expected) in
            [("1", Some(1.0)), ("20%", Some(20.0)), ("0.5", Some(0.5)), ("100", Some(100.0))]
        {
            assert_eq!(percent(typed).ok(), expected, "{typed}");
        }
        for typed in ["-1", "101", "NaN", "", "%", "one"] {
            assert!(percent(typed).is_err(), "{typed}");
        }
    }

    #[test]
    fn lanes_are_few() {
        assert_eq!(lanes("4").map(NonZeroUsize::get), Ok(4));
        for typed in ["0", "33", "-1", "many"] {
            assert!(lanes(typed).is_err(), "{typed}");
        }
    }
}
