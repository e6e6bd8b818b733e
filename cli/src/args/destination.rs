//! Arguments of `restore` for a pool as destination.

use clap::Args;
use xen_source::xapi::Address;

use super::pool::{LoginArgs, address};

/// Where a VM goes on a pool, and what becomes of it there.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pool")]
pub struct DestinationArgs {
    /// Restore to this pool: its name in the configuration, or any member; several with commas are
    /// tried in turn
    #[arg(
        long = "to-pool",
        value_name = "NAME|URL",
        value_delimiter = ',',
        value_parser = address
    )]
    pub pool: Vec<Address>,
    /// Storage repository for the disks [default: that of the pool]
    #[arg(long, value_name = "NAME|UUID", requires = "pool")]
    pub sr: Option<String>,
    /// Storage repository for one disk, such as xvdb=bulk; repeat it for several
    #[arg(long = "disk-sr", value_name = "DISK=SR", value_parser = pair, requires = "pool")]
    pub disk_srs: Vec<(String, String)>,
    /// Only these disks, by name or number; several with commas
    #[arg(
        long = "disks",
        value_name = "NAME|N",
        value_delimiter = ',',
        requires = "pool",
        conflicts_with = "disks"
    )]
    pub chosen_disks: Vec<String>,
    /// Make disks that belong to no VM, and print their uuids
    #[arg(
        long,
        requires = "pool",
        conflicts_with_all = ["name", "network", "overwrite", "keep_uuid", "start", "start_paused"]
    )]
    pub disks_only: bool,
    /// Network for the cards that were on another one, such as prod-lan=dr-lan, by name or UUID
    /// [default: that of the same UUID, else of the same name, and no guess]; repeat it for several
    #[arg(
        id = "network",
        long = "network",
        value_name = "OLD=NEW",
        value_parser = pair,
        requires = "pool"
    )]
    pub networks: Vec<(String, String)>,
    /// Let the VM, its disks and cards keep their UUIDs and addresses; there must be no VM with that
    /// UUID on the pool, or on any other of the configuration
    #[arg(long, requires = "pool", conflicts_with_all = ["overwrite", "new_mac"])]
    pub keep_uuid: bool,
    /// Put the VM into the place of the one that was backed up. It comes under another name; once
    /// it is complete they change places, and the old one stays as NAME.replaced-DATE
    #[arg(long, requires = "pool", conflicts_with = "name")]
    pub overwrite: bool,
    /// Remove the old VM and its disks once the new one is in its place
    #[arg(long, requires = "overwrite")]
    pub destroy_old: bool,
    /// Shut the old VM down if it is running
    #[arg(long, requires = "overwrite")]
    pub shutdown_first: bool,
    /// Start the VM when it is complete
    #[arg(long, requires = "pool", conflicts_with = "start_paused")]
    pub start: bool,
    /// Start the VM, and pause it before it does anything
    #[arg(long, requires = "pool")]
    pub start_paused: bool,
    /// Let a VM that was suspended be suspended, with its memory [default: it comes halted]
    #[arg(
        long,
        requires = "pool",
        conflicts_with_all = ["start", "start_paused", "disks_only"]
    )]
    pub keep_power_state: bool,
    /// Read every disk back, and compare it with what was backed up
    #[arg(long, requires = "pool")]
    pub verify: bool,
    /// Make the VM from its record, and of disks those that are there still
    #[arg(
        long,
        requires = "pool",
        conflicts_with_all = ["sr", "disk_srs", "chosen_disks", "disks_only", "overwrite", "verify", "format"]
    )]
    pub metadata_only: bool,
    /// With --metadata-only: the disk that took the place of another, by UUIDs; repeat it for several
    #[arg(long = "vdi", value_name = "OLD=NEW", value_parser = pair, requires = "pool")]
    pub vdis: Vec<(String, String)>,
    /// Restore a database although one of its hosts is alive in another pool of the configuration,
    /// or with --keep-uuid a VM that another one has
    #[arg(long, requires = "pool")]
    pub allow_duplicate_uuid: bool,
    /// Do not ask before a database replaces that of a pool
    #[arg(long, requires = "pool")]
    pub yes: bool,
    /// How to log in
    #[command(flatten)]
    pub login: LoginArgs,
}

/// Two names with `=` between them.
pub fn pair(typed: &str) -> Result<(String, String), String> {
    match typed.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => {
            Ok((old.to_owned(), new.to_owned()))
        }
        _ => Err("it is not OLD=NEW".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::{Args, Command, RestoreArgs};

    fn parse(typed: &str) -> Option<RestoreArgs> {
        let words = ["xenith", "restore", "a1c4"].into_iter().chain(typed.split_whitespace());
        match Args::try_parse_from(words).ok()?.command {
            Command::Restore(args) => Some(*args),
            _ => None,
        }
    }

    #[track_caller]
    fn check_refused(typed: &str) {
        assert!(parse(typed).is_none(), "{typed}");
    }

    #[track_caller]
    fn check_taken(typed: &str) -> RestoreArgs {
        parse(typed).unwrap_or_else(|| panic!("{typed}"))
    }

    #[test]
    fn a_restore_goes_to_files_or_to_a_pool() {
        check_taken("--target x.xva");
        check_taken("--to-pool prod");
        check_refused("");
        for only_a_pool in ["--sr a", "--disks xvda", "--start", "--overwrite", "--verify"] {
            check_refused(&format!("--target x.xva {only_a_pool}"));
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let pairs = [
            "--overwrite --name other",
            "--overwrite --keep-uuid",
            "--start --start-paused",
            "--start --keep-power-state",
            "--disks-only --start",
            "--disks-only --overwrite",
            "--disks-only --network a=b",
            "--new-mac --keep-mac",
            "--new-mac --keep-uuid",
            "--disks xvda --disk xvdb",
            "--metadata-only --sr a",
            "--destroy-old",
            "--shutdown-first",
        ];
        for pair in pairs {
            check_refused(&format!("--to-pool prod {pair}"));
        }
    }

    #[test]
    fn disks_and_networks_are_pairs() {
        let typed = "--to-pool prod --disk-sr xvda=fast --disk-sr 1=a=b --network a=b --disks 0,1";
        let to = check_taken(typed).to;
        let text = |pairs: &[(String, String)]| {
            pairs.iter().map(|(a, b)| format!("{a}>{b}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(&to.disk_srs), "xvda>fast 1>a=b");
        assert_eq!(text(&to.networks), "a>b");
        assert_eq!(to.chosen_disks, ["0", "1"]);
        for wrong in ["xvda", "=fast", "xvda="] {
            check_refused(&format!("--to-pool prod --disk-sr {wrong}"));
            check_refused(&format!("--to-pool prod --network {wrong}"));
        }
    }

    #[test]
    fn one_logs_in_to_the_pool_that_is_the_destination() {
        let to = check_taken("--to-pool a,b --xapi-user ann --insecure").to;
        let members: Vec<_> = to.pool.iter().map(ToString::to_string).collect();
        assert_eq!((members, to.login.user), (vec!["a".into(), "b".into()], Some("ann".into())));
        check_refused("--target x.xva --insecure");
    }
}
