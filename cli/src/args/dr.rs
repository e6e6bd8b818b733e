//! Arguments of `dr`: recovery from a disaster.

use clap::{Args, Subcommand};

use super::fail_over::{DrPlanArgs, DrRunArgs, DrTestArgs};

/// Prepare for the loss of a pool, and recover from it.
#[derive(Debug, Args)]
pub struct DrArgs {
    /// What to do
    #[command(subcommand)]
    pub action: DrAction,
}

/// What to do about a disaster.
#[derive(Debug, Subcommand)]
pub enum DrAction {
    Plan(Box<DrPlanArgs>),
    Run(Box<DrRunArgs>),
    Test(Box<DrTestArgs>),
    Runbook(RunbookArgs),
}

/// Print the steps that bring a pool back, with its UUIDs, as Markdown.
///
/// It is made from a backup of the pool's database and the list of snapshots, and needs no pool.
/// Print it while all is well, and keep it where it can be read when nothing else can.
#[derive(Debug, Args)]
pub struct RunbookArgs {
    /// Snapshot of the database of a pool: its id, the beginning of one, or `latest`
    pub snapshot: String,
    /// Only databases of the pool of this name or uuid
    #[arg(long, value_name = "NAME|UUID")]
    pub pool: Option<String>,
}
