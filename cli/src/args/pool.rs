//! Arguments of what talks to a pool.

use std::path::PathBuf;

use clap::Args;
use xen_source::xapi::{Address, Fingerprint, XapiError};

/// How to log in to a pool.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pool")]
pub struct LoginArgs {
    /// User of the pool
    #[arg(long = "xapi-user", value_name = "NAME", default_value = "root")]
    pub user: String,
    /// File that holds the user's password [env: XENITH_XAPI_PASSWORD_FILE; or the password itself
    /// in XENITH_XAPI_PASSWORD]
    #[arg(
        long = "xapi-password-file",
        value_name = "FILE",
        requires = "pool",
        conflicts_with = "xapi_password_command"
    )]
    pub xapi_password_file: Option<PathBuf>,
    /// Shell command that prints the user's password
    #[arg(long = "xapi-password-command", value_name = "COMMAND", requires = "pool")]
    pub xapi_password_command: Option<String>,
    /// Trust what the authorities in this PEM file signed [default: those of this system]
    #[arg(
        long,
        value_name = "FILE",
        requires = "pool",
        conflicts_with_all = ["tls_fingerprints", "insecure"]
    )]
    pub cacert: Option<PathBuf>,
    /// Trust the certificate with this SHA-256; members have one each: several with commas
    #[arg(
        long = "tls-fingerprint",
        value_name = "sha256:HEX",
        value_delimiter = ',',
        value_parser = fingerprint,
        requires = "pool",
        conflicts_with = "insecure"
    )]
    pub tls_fingerprints: Vec<Fingerprint>,
    /// Trust every certificate: whoever is on the way may read and change everything
    #[arg(long, requires = "pool")]
    pub insecure: bool,
    /// Give up a VM whose export is silent for so long [default: wait for ever]
    #[arg(
        long,
        value_name = "SECS",
        requires = "pool",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub stall_timeout: Option<u64>,
}

/// List the VMs of a pool.
#[derive(Debug, Args)]
pub struct VmsArgs {
    /// The pool: any member; several with commas are tried in turn
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        value_parser = address,
        required = true,
        help_heading = "Pool"
    )]
    pub pool: Vec<Address>,
    /// How to log in
    #[command(flatten)]
    pub login: LoginArgs,
}

/// Remove what backups left behind on a pool, and start VMs that they left shut down.
///
/// Only what carries Xenith's mark is touched, and tasks with its label. What is being used, or is
/// younger than an hour, may belong to a backup that is at work, and stays.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// The pool: any member; several with commas are tried in turn
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        value_parser = address,
        required = true,
        help_heading = "Pool"
    )]
    pub pool: Vec<Address>,
    /// How to log in
    #[command(flatten)]
    pub login: LoginArgs,
    /// Remove nothing, and say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Spare what is younger than so many hours
    #[arg(long, value_name = "HOURS", default_value_t = 1)]
    pub older_than: u32,
    /// Also remove the disks by which the next backups tell what has changed
    #[arg(long)]
    pub all: bool,
}

/// Where a member of a pool is.
pub fn address(typed: &str) -> Result<Address, XapiError> {
    Address::parse(typed)
}

fn fingerprint(typed: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(typed).ok_or_else(|| "it has no 64 hexadecimal digits".to_owned())
}
