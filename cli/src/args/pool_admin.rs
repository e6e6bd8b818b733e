//! Arguments of `pool`: what an administrator puts right on a pool.

use clap::{Args, Subcommand};

use super::pool::PoolArgs;

/// Put things right on a pool after a disaster.
#[derive(Debug, Args)]
pub struct PoolAdminArgs {
    /// What to do
    #[command(subcommand)]
    pub action: PoolAction,
}

/// What to put right.
#[derive(Debug, Subcommand)]
pub enum PoolAction {
    FixSuspended(FixSuspendedArgs),
}

/// Reset VMs that are said to be suspended and whose memory is gone.
///
/// So they are after the database of their pool was restored; they cannot be started. They become
/// off, as after a power cut. A VM whose memory is there is not touched.
#[derive(Debug, Args)]
pub struct FixSuspendedArgs {
    /// Which
    #[command(flatten)]
    pub pool: PoolArgs,
    /// Reset nothing, and say what would be reset
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
