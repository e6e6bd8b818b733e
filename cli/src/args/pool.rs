//! Arguments of what talks to a pool.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use xen_source::xapi::{Address, DataChannel, Fingerprint, XapiError};

/// How to log in to a pool.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Pool")]
pub struct LoginArgs {
    /// User of the pool [default: that of the configuration, else root]
    #[arg(long = "xapi-user", value_name = "NAME", requires = "pool")]
    pub user: Option<String>,
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
    /// How data travels: https, or http (http:PORT if hosts listen elsewhere), which spares their
    /// processors and shows disks and session to whoever listens; passwords go over TLS always
    #[arg(
        long,
        value_name = "https|http",
        value_parser = data_channel,
        requires = "pool"
    )]
    pub transport: Option<DataChannel>,
    /// Say that nobody listens: --transport http needs it
    #[arg(long, requires = "transport")]
    pub i_trust_this_network: bool,
    /// The address of a member whose name this machine does not know; several with commas
    #[arg(
        long = "host-map",
        value_name = "NAME=IP",
        value_delimiter = ',',
        value_parser = mapped_host,
        requires = "pool"
    )]
    pub host_map: Vec<(String, IpAddr)>,
}

/// Which pool.
#[derive(Debug, Args)]
pub struct PoolArgs {
    /// The pool: its name in the configuration, or any member; several with commas are tried in
    /// turn [default: that of the configuration]
    #[arg(
        long,
        value_name = "NAME|URL",
        value_delimiter = ',',
        value_parser = address,
        help_heading = "Pool"
    )]
    pub pool: Vec<Address>,
    /// How to log in
    #[command(flatten)]
    pub login: LoginArgs,
}

/// List the VMs of a pool.
#[derive(Debug, Args)]
pub struct VmsArgs {
    /// Which
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// Remove what backups, restores and tests left behind on a pool, and start VMs that backups left
/// shut down.
///
/// Only what carries Xenith's mark is touched, and tasks with its label. What is being used, or is
/// younger than an hour, may belong to a backup that is at work, and stays; what a test made stays
/// for a day.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Which
    #[command(flatten)]
    pub pool: PoolArgs,
    /// Remove nothing, and say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Spare what is younger than so many hours; what a test made, for so many days
    #[arg(long, value_name = "HOURS", default_value_t = 1)]
    pub older_than: u32,
    /// Also remove the disks by which the next backups tell what has changed
    #[arg(long)]
    pub all: bool,
}

/// Look for what would make backups of a pool fail, slow or incomplete.
///
/// Nothing is changed on the pool. Members are looked up and connected to, their certificates,
/// clocks and versions compared; then come the user's rights, storage, changed-block tracking, NBD,
/// snapshots, and with a repository the VMs that it lacks.
/// Exit code 3: something has failed. Warnings alone are 0.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Which
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// Where a member of a pool is. The name of a pool in the configuration looks the same.
pub fn address(typed: &str) -> Result<Address, XapiError> {
    Address::parse(typed)
}

/// How data travels: `https`, `http` or `http:PORT`.
pub fn data_channel(typed: &str) -> Result<DataChannel, String> {
    let wrong = || format!("`{typed}` is neither https, http nor http:PORT");
    match typed.split_once(':') {
        None if typed == "https" => Ok(DataChannel::Tls),
        None if typed == "http" => Ok(DataChannel::Plain { port: 80 }),
        Some(("http", port)) => {
            let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
            Ok(DataChannel::Plain { port })
        }
        _ => Err(wrong()),
    }
}

fn mapped_host(typed: &str) -> Result<(String, IpAddr), String> {
    let (name, ip) = typed.split_once('=').ok_or("it is not NAME=IP")?;
    let ip = ip.parse().map_err(|_| format!("`{ip}` is no IP address"))?;
    match name.is_empty() {
        true => Err("it names no host".to_owned()),
        false => Ok((name.to_owned(), ip)),
    }
}

fn fingerprint(typed: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(typed).ok_or_else(|| "it has no 64 hexadecimal digits".to_owned())
}
