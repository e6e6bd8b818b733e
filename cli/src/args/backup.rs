//! Arguments of `backup`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use xen_source::xapi::Address;

use super::pool::{LoginArgs, address};
use super::pool_backup::PoolBackupArgs;
use super::selection::SelectionArgs;
use crate::clock::Moment;

/// Longest text that a snapshot holds, in bytes (SPEC 13).
const TEXT_MAX: usize = 4096;

/// Back up VMs of a pool, VM exports, raw disks or files.
///
/// Each input becomes one snapshot; several disks (raw, VHD, qcow2) given with --vm-name become
/// one together.
/// What an input is, is seen from its first bytes: an XVA (also inside gzip or zstd), a dynamic
/// VHD, a qcow2, else a file that is kept as it is.
/// Files named .raw and block devices are raw disks whatever they hold; so are files named .img,
/// unless they hold one of these; files named .vhd are VHDs, fixed ones too.
/// A differencing VHD is given with all that it builds upon, as one disk, the base first:
/// --type vhd-chain base.vhd child.vhd.
///
/// With --pool, selectors choose VMs, and each VM becomes one snapshot: vm:NAME or vm:UUID, tag:TAG,
/// name:GLOB (`*` stands for anything), name~REGEX, all. What any of them chooses is backed up;
/// power:running (halted, paused, suspended) leaves those in that state.
/// Snapshots and control domains are never chosen, templates only if asked for.
/// A disk with [NOBAK] in its name is left out; a VM without any other disk is backed up nevertheless.
/// A VM is read through a snapshot that the pool takes of it and that is removed afterwards.
/// pool-db is the database of the pool, host:NAME or host:UUID the system of a host: a file each.
/// The exit code is 3 if any VM was not saved, or was saved and left something undone on the pool.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  xe vm-export vm=web01 filename= | xenith backup --stdin --tag web\n  \
        xenith backup --pool xs1.lan,xs2.lan --xapi-password-file FILE tag:prod power:running"
)]
pub struct BackupArgs {
    /// What to back up: files, `-` for standard input, or with --pool selectors of VMs
    #[arg(
        required_unless_present_any = ["stdin", "everything", "retry_failed"],
        conflicts_with = "stdin",
        value_name = "PATH|SELECTOR"
    )]
    pub paths: Vec<PathBuf>,
    /// Read standard input
    #[arg(long, conflicts_with = "pool")]
    pub stdin: bool,
    /// What the inputs are, whatever they look like
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "pool")]
    pub input_type: Option<InputType>,
    /// Tag of the snapshots; several with commas, or repeat it
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',', value_parser = text)]
    pub tags: Vec<String>,
    /// Name of the run that the snapshots belong to
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        value_parser = any_text
    )]
    pub run: String,
    /// Name of the VM: needed for several disks, replaces the one that an export tells
    #[arg(long, value_name = "NAME", value_parser = text, conflicts_with = "pool")]
    pub vm_name: Option<String>,
    /// Host that the snapshots bear [default: this one]
    #[arg(long, value_name = "NAME", value_parser = text)]
    pub host: Option<String>,
    /// Time that the snapshots bear, such as "2026-11-22 02:01:10" [default: now]
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub time: Option<Moment>,
    /// Read everything, store nothing, and say what would be stored; with --pool say which VMs
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Pool whose VMs are backed up: its name in the configuration, or any member; several with
    /// commas are tried in turn
    #[arg(
        long,
        value_name = "NAME|URL",
        value_delimiter = ',',
        value_parser = address,
        help_heading = "Pool"
    )]
    pub pool: Vec<Address>,
    /// What is left out, and what comes along
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// How VMs are taken, and how their disks come
    #[command(flatten)]
    pub from_pool: PoolBackupArgs,
    /// How to log in
    #[command(flatten)]
    pub login: LoginArgs,
}

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputType {
    /// A VM as `xe vm-export` writes it
    Xva,
    /// A raw disk
    Raw,
    /// A disk as VHD, fixed or dynamic
    Vhd,
    /// A chain of VHDs that are one disk: the base first, then child after child
    VhdChain,
    /// A disk as qcow2, from a file
    Qcow2,
    /// Any file, kept as it is
    File,
}

fn text(typed: &str) -> Result<String, String> {
    match typed.is_empty() {
        true => Err("it is empty".to_owned()),
        false => any_text(typed),
    }
}

fn any_text(typed: &str) -> Result<String, String> {
    match typed.len() {
        ..=TEXT_MAX => Ok(typed.to_owned()),
        _ => Err(format!("it is longer than {TEXT_MAX} bytes")),
    }
}
