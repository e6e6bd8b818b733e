//! Arguments of `dr plan`, `dr run` and `dr test`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use xen_source::xapi::Address;

use super::count;
use super::destination::pair;
use super::pool::{LoginArgs, address};
use super::pool_backup::lanes;
use crate::clock::Moment;

/// Which VMs go where.
#[derive(Debug, Args)]
pub struct FailOverArgs {
    /// The pool that they go to: its name in the configuration, or any member; several with commas
    /// are tried in turn
    #[arg(
        long = "to-pool",
        value_name = "NAME|URL",
        value_delimiter = ',',
        value_parser = address,
        required = true,
        help_heading = "Pool"
    )]
    pub pool: Vec<Address>,
    /// Which VMs: all, vm:NAME, vm:UUID, tag:TAG (of the VM or of its snapshot), name:GLOB or
    /// name~REGEX; repeat it for several [default: all]
    #[arg(long = "select", value_name = "SELECTOR")]
    pub selectors: Vec<String>,
    /// Only VMs of this vApp; repeat it for several
    #[arg(long = "app", value_name = "NAME")]
    pub apps: Vec<String>,
    /// Look into this repository, too, a directory or a name in the configuration, and take of each VM what is newest in
    /// any; repeat it for several. Its password is that of the configuration, else that of --repo
    #[arg(long = "also-repo", alias = "repo2", value_name = "DIR|NAME")]
    pub also_repos: Vec<String>,
    /// No snapshots that are newer than this, such as "2026-11-22 02:01:10" [default: the newest]
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub at: Option<Moment>,
    /// Storage repository for the disks [default: that of the pool]
    #[arg(long, value_name = "NAME|UUID", help_heading = "Pool")]
    pub sr: Option<String>,
    /// How to log in
    #[command(flatten)]
    pub login: LoginArgs,
}

/// Tell whether VMs of the repository can be brought up on a pool, and change nothing.
///
/// Of each VM the newest snapshot is taken. Exit code 3 says that something is in the way.
#[derive(Debug, Args)]
pub struct DrPlanArgs {
    /// Which VMs go where
    #[command(flatten)]
    pub fail_over: FailOverArgs,
    /// Network for the cards that were on another one, such as prod-lan=dr-lan, by name or UUID
    /// [default: that of the same UUID, else of the same name]; repeat it for several
    #[arg(long = "network", value_name = "OLD=NEW", value_parser = pair, help_heading = "Pool")]
    pub networks: Vec<(String, String)>,
}

/// Bring VMs of the repository up on a pool, in the order of their vApps.
///
/// Nothing is done if anything is in the way of any of them (see `dr plan`), unless --force. One
/// that fails later does not stop the others. vApps are made again of which all VMs are there.
#[derive(Debug, Args)]
pub struct DrRunArgs {
    /// Which VMs go where
    #[command(flatten)]
    pub fail_over: FailOverArgs,
    /// Network for the cards that were on another one, such as prod-lan=dr-lan, by name or UUID
    /// [default: that of the same UUID, else of the same name]; repeat it for several
    #[arg(long = "network", value_name = "OLD=NEW", value_parser = pair, help_heading = "Pool")]
    pub networks: Vec<(String, String)>,
    /// How they are brought up
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Let network cards keep their addresses [default: they get new ones]
    #[arg(long)]
    pub keep_mac: bool,
    /// Start VMs when they are complete, those of the next order of a vApp behind the start delays;
    /// one that fails holds up nobody
    #[arg(long)]
    pub start: bool,
    /// Go on where an earlier one ended: VMs that the pool has from the same snapshots are not
    /// restored again; with --start, those that are off are started
    #[arg(long)]
    pub resume: bool,
    /// Restore what can be restored, although something is in the way of others
    #[arg(long)]
    pub force: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Try to bring VMs of the repository up on a pool, and remove them again.
///
/// They come under other names, with new addresses, on a network that leads nowhere. Whatever
/// happens, the pool is as before in the end. Exit code 3 says that a VM failed.
#[derive(Debug, Args)]
pub struct DrTestArgs {
    /// Which VMs go where
    #[command(flatten)]
    pub fail_over: FailOverArgs,
    /// How they are brought up
    #[command(flatten)]
    pub manner: MannerArgs,
    /// Start them, and wait until they run
    #[arg(long, alias = "boot-isolated")]
    pub boot: bool,
    /// Wait so long for the guest tools of each; those whose tools are not seen fail
    #[arg(
        long,
        value_name = "SECS",
        requires = "boot",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub wait_tools: Option<u64>,
    /// Only so many VMs, other ones each day until all had their turn
    #[arg(long, value_name = "N", value_parser = count)]
    pub sample: Option<NonZeroUsize>,
    /// Whose turn it is: a number that is one more each time [default: days since 1970, which is
    /// right for a test a day]
    #[arg(long, value_name = "N", requires = "sample")]
    pub turn: Option<u64>,
    /// Write a report to this file, as its name says: .md, .html, .txt or .json
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Prove that VMs can be restored: to a pool, where they are read back, and removed again.
///
/// It is `dr test --verify`. With --sample a few VMs a night, and with --boot they have to start.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// As of `dr test`
    #[command(flatten)]
    pub test: DrTestArgs,
}

/// How VMs are brought up.
#[derive(Debug, Args)]
pub struct MannerArgs {
    /// VMs that are restored at once
    #[arg(long, value_name = "N", default_value = "2", value_parser = lanes)]
    pub concurrency: NonZeroUsize,
    /// Read every disk back, and compare it with what was backed up
    #[arg(long)]
    pub verify: bool,
}
