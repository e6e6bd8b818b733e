//! What can be typed. The comments here are the help text.

mod backup;
mod destination;
mod dr;
mod fail_over;
mod maintenance;
mod pool;
mod pool_admin;
mod pool_backup;
mod reading;
mod selection;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use backup::{BackupArgs, InputType};
pub use destination::DestinationArgs;
pub use dr::{DrAction, DrArgs, RunbookArgs};
pub use fail_over::{DrPlanArgs, DrRunArgs, DrTestArgs, FailOverArgs, VerifyArgs};
pub use maintenance::{
    CatArgs, CatObject, CheckArgs, CompletionsArgs, DemoArgs, InitArgs, Kdf, KeyAction, KeyAddArgs,
    KeyArgs, KeyRole, ManArgs, NewPasswordArgs, StatsArgs, XvaAction, XvaArgs,
};
pub use pool::{CleanupArgs, DoctorArgs, LoginArgs, PoolArgs, VmsArgs, data_channel};
pub use pool_admin::{FixSuspendedArgs, PoolAction, PoolAdminArgs};
pub use pool_backup::PoolBackupArgs;
pub use reading::{
    Checksum, DiffArgs, DumpArgs, ExtractArgs, FilterArgs, Format, GroupBy, LsArgs, RestoreArgs,
    ShowArgs, SnapshotsArgs,
};
pub use selection::SelectionArgs;

/// Backs up XenServer and XCP-ng VMs into encrypted, deduplicated repositories.
///
/// Exit codes: 0 done; 1 failed, or check found damage; 3 partly done, or an input is cut or
/// damaged;
/// 10 no repository; 12 wrong password; 130 interrupted.
///
/// What is typed goes before the environment, and that before the configuration file.
#[derive(Debug, Parser)]
#[command(name = "xenith", version, max_term_width = 100, infer_subcommands = false)]
pub struct Args {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Configuration file, which names pools and repositories [default: the first that exists of
    /// ~/.config/xenith/config.toml (or below $XDG_CONFIG_HOME) and /etc/xenith/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "XENITH_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Directory of the repository, or its name in the configuration if there is no such directory
    #[arg(
        short,
        long,
        global = true,
        value_name = "DIR|NAME",
        env = "XENITH_REPOSITORY",
        hide_env_values = true
    )]
    pub repo: Option<String>,
    /// File that holds the password [env: XENITH_PASSWORD_FILE; or the password itself in
    /// XENITH_PASSWORD]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "password_command")]
    pub password_file: Option<PathBuf>,
    /// Shell command that prints the password
    #[arg(long, global = true, value_name = "COMMAND")]
    pub password_command: Option<String>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but errors and what was asked for
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more; with --json also the progress
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Directory for the local cache of the index; it can be deleted at any time
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "XENITH_CACHE_DIR",
        hide_env_values = true
    )]
    pub cache_dir: Option<PathBuf>,
    /// Keep no cache
    #[arg(long, global = true)]
    pub no_cache: bool,
    /// Threads that compute [default: one for each core]
    #[arg(long, global = true, value_name = "N", value_parser = count)]
    pub threads: Option<NonZeroUsize>,
    /// How hard to compress what is new [default: auto]
    #[arg(long, global = true, value_name = "HOW")]
    pub compression: Option<CompressionLevel>,
}

/// A number of things of which there is at least one.
pub fn count(typed: &str) -> Result<NonZeroUsize, String> {
    typed.parse().map_err(|_| "it is no number from 1 on".to_owned())
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressionLevel {
    /// Not at all
    Off,
    /// zstd 1
    Fast,
    /// zstd 3
    Auto,
    /// zstd 12
    Max,
}

/// What to do. The help text stands at the arguments of each command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(InitArgs),
    Backup(Box<BackupArgs>),
    Vms(VmsArgs),
    Cleanup(CleanupArgs),
    Doctor(DoctorArgs),
    Pool(PoolAdminArgs),
    Dr(DrArgs),
    Verify(Box<VerifyArgs>),
    Snapshots(SnapshotsArgs),
    Show(ShowArgs),
    Restore(Box<RestoreArgs>),
    Dump(DumpArgs),
    Ls(LsArgs),
    Diff(DiffArgs),
    Check(CheckArgs),
    Stats(StatsArgs),
    Key(KeyArgs),
    Cat(CatArgs),
    Xva(XvaArgs),
    Demo(DemoArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        super::Args::command().debug_assert();
    }
}
