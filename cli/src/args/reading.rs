//! Arguments of the commands that read snapshots.

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, ValueEnum};

use super::destination::DestinationArgs;
use crate::clock::Moment;

/// Which snapshots are meant.
#[derive(Debug, Clone, Args)]
pub struct FilterArgs {
    /// Only snapshots of the VM of this name or uuid; repeat it for several
    #[arg(long = "vm", value_name = "VM")]
    pub vms: Vec<String>,
    /// Only snapshots with all of these tags
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// Only snapshots of runs of this name
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// No snapshots that are newer than this, such as "2026-11-22 02:01:10": with `latest`, things
    /// as they were then
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub at: Option<Moment>,
}

/// List snapshots, oldest first.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Which.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only the newest N of each VM
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
    /// List what belongs together under one heading
    #[arg(long, value_name = "WHAT")]
    pub group_by: Option<GroupBy>,
}

/// What puts snapshots into one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    /// The VM, or the path of what is no VM
    Vm,
}

/// Show a snapshot and the VM in it.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Id of the snapshot, the beginning of one, or `latest`; pool:latest is the newest database of a
    /// pool, host:latest the newest system of a host, which --vm names
    pub snapshot: String,
    /// Among which.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// List the disks of a snapshot.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Id of the snapshot, the beginning of one, or `latest`; pool:latest is the newest database of a
    /// pool, host:latest the newest system of a host, which --vm names
    pub snapshot: String,
    /// Among which.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Show what differs between two snapshots: changed bytes of each disk, and the VM record.
///
/// Disks are matched by their key (the VDI's uuid) if it is the same in both, else by name. -v
/// lists every changed range.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The older snapshot: an id, the beginning of one, or `latest`
    pub old: String,
    /// The newer snapshot
    pub new: String,
    /// Among which.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Write a snapshot, or disks of it, to files, or make its VM on a pool.
///
/// An XVA comes out byte by byte as it went in, unless --disk, --name, --new-mac or --checksum
/// ask for another one.
/// Of a VHD or qcow2 the disk is kept, not its container: it comes out as a new dynamic VHD or
/// qcow2 with identical content.
/// A file gets its name when it is complete and synced; whatever fails before leaves nothing
/// behind.
///
/// With --to-pool the snapshot becomes a VM again, beside the one that was backed up or, with
/// --overwrite, in its place. Storage, networks, names and versions are looked at before the first
/// byte is sent, and all that stands against it is told at once. What fails later removes what it
/// had made. `latest` is a VM there.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  xenith restore latest --vm web01 --target /var/tmp/web01.xva\n  \
        xenith restore latest --vm web01 --to-pool prod --name web01-restored --sr nfs-fast\n  \
        xenith restore a1c4 --to-pool prod --overwrite --shutdown-first --start",
    group = ArgGroup::new("place").args(["target", "pool"]).required(true).multiple(true)
)]
pub struct RestoreArgs {
    /// Id of the snapshot, the beginning of one, or `latest`; pool:latest is the newest database of a
    /// pool, host:latest the newest system of a host, which --vm names
    pub snapshot: String,
    /// File to write; a directory gets a file for each disk, or one XVA; `-` is standard output
    #[arg(short, long, value_name = "FILE|DIR|-")]
    pub target: Option<String>,
    /// What to write.
    #[command(flatten)]
    pub extract: ExtractArgs,
    /// Of the system of a host only the database of its pool, which it had saved in
    /// /var/backup/pool-database-DATE; `latest` is the newest system of a host then
    #[arg(
        long,
        requires = "target",
        conflicts_with_all = ["pool", "format", "disks", "name", "new_mac", "keep_mac", "checksum"]
    )]
    pub only_pool_db: bool,
    /// Among which.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Replace files that exist; on a pool, go on although storage seems too full, or a newer VM
    /// or a newer release of the pool stands against it
    #[arg(short, long)]
    pub force: bool,
    /// Say what would be written, and write nothing; of a pool, what would be made there
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Where it goes on a pool.
    #[command(flatten)]
    pub to: DestinationArgs,
}

/// Write a snapshot, or a disk of it, to standard output.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: xenith dump latest --vm web01 | ssh xs9 xe vm-import filename=/dev/stdin"
)]
pub struct DumpArgs {
    /// Id of the snapshot, the beginning of one, `latest`, pool:latest or host:latest; a disk can
    /// follow, as in `a1c4:xvda`
    #[arg(value_name = "SNAPSHOT[:DISK]")]
    pub snapshot: String,
    /// What to write.
    #[command(flatten)]
    pub extract: ExtractArgs,
    /// Among which.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// What to write, and how.
#[derive(Debug, Args)]
pub struct ExtractArgs {
    /// Form of the output [default: what the target's name ends with (.xva, .raw, .img, .vhd,
    /// .qcow2), else for --disk of an XVA raw, else as it came]. To a pool raw or vhd: disks go
    /// one by one, which helps where they do not arrive all in one [default: all in one XVA, or raw
    /// if they go to several SRs]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Only this disk, by name or number (see `xenith ls`); repeat it for several
    #[arg(long = "disk", value_name = "NAME|N")]
    pub disks: Vec<String>,
    /// Give the VM another name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Give every network card another address; the default of a pool, without --overwrite
    #[arg(long, conflicts_with = "keep_mac")]
    pub new_mac: bool,
    /// Let network cards keep their addresses; the default of an XVA
    #[arg(long)]
    pub keep_mac: bool,
    /// Checksums in the XVA [default: as they were; xxhash in a new one]
    #[arg(long, value_name = "KIND")]
    pub checksum: Option<Checksum>,
}

/// Form of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A VM, for `xe vm-import`
    Xva,
    /// The bytes of a disk or file
    Raw,
    /// A disk as dynamic VHD, up to 2040 GiB
    Vhd,
    /// A disk as qcow2
    Qcow2,
}

/// Checksums in an XVA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Checksum {
    /// For hosts since 2019
    Xxhash,
    /// For older ones
    Sha1,
}
