//! Arguments of the commands that look after a repository, and of those that need none.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use engine::check::Subset;

use crate::size::parse_bytes;

/// Make a repository.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// How costly it is to try a password
    #[arg(long, value_name = "COST", default_value = "interactive")]
    pub kdf: Kdf,
}

/// How costly it is to try a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kdf {
    /// 64 MiB of memory and some tenths of a second
    Interactive,
    /// 1 GiB of memory and some seconds
    Strong,
    /// 8 MiB of memory and no time: only for tests, which open repositories a thousand times
    #[value(hide = true)]
    Cheapest,
}

/// Look for damage.
///
/// Without options: small objects, the index, and that every snapshot can be followed down to
/// packs that exist.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Read all packs too: decrypt them and compare every chunk with its id
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Read some packs: part n of m (1/7), about a share (10%) or a size (500M)
    #[arg(long, value_name = "SUBSET")]
    pub read_data_subset: Option<SubsetArg>,
    /// Compare every object with its name or hash; needs no password and opens nothing
    #[arg(long, conflicts_with_all = ["read_data", "read_data_subset"])]
    pub no_password: bool,
}

/// A subset of the packs, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubsetArg(pub Subset);

impl std::str::FromStr for SubsetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no subset; write it as 1/7, 10% or 500M");
        if let Some((part, parts)) = text.split_once('/') {
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
            let (part, parts) = (number(part)?, number(parts)?);
            return match 1 <= part && part <= parts && parts <= 65_536 {
                true => Ok(Self(Subset::Part { part, parts })),
                false => Err(wrong()),
            };
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse::<f64>().map_err(|_| wrong())?;
            return match percent > 0.0 && percent <= 100.0 {
                true => Ok(Self(Subset::Percent(percent))),
                false => Err(wrong()),
            };
        }
        match parse_bytes(text) {
            Ok(bytes @ 1..) => Ok(Self(Subset::Bytes(bytes))),
            Ok(0) | Err(_) => Err(wrong()),
        }
    }
}

/// Show what the repository holds and what that costs.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Count the logical sizes of these snapshots only
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Among which.
    #[command(flatten)]
    pub filter: super::FilterArgs,
}

/// List, add, remove or replace passwords.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: KeyAction,
}

/// What to do with passwords.
#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// List the key slots
    List,
    /// Add a password
    Add(KeyAddArgs),
    /// Remove a key slot; old copies of it still open with its password
    Remove {
        /// Id of the slot, or the beginning of one
        id: String,
    },
    /// Replace the password in use
    Passwd(NewPasswordArgs),
}

/// Add a password.
#[derive(Debug, Args)]
pub struct KeyAddArgs {
    /// What the password opens
    #[arg(long, value_name = "ROLE", default_value = "full")]
    pub role: KeyRole,
    /// What `key list` shows
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub label: String,
    /// The password.
    #[command(flatten)]
    pub new_password: NewPasswordArgs,
}

/// Where a new password comes from; a terminal is asked otherwise.
#[derive(Debug, Args)]
pub struct NewPasswordArgs {
    /// File that holds the new password
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_command")]
    pub new_password_file: Option<PathBuf>,
    /// Shell command that prints the new password
    #[arg(long, value_name = "COMMAND")]
    pub new_password_command: Option<String>,
    /// How costly it is to try the password
    #[arg(long, value_name = "COST", default_value = "interactive")]
    pub kdf: Kdf,
}

/// What a password opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyRole {
    /// Everything
    Full,
    /// Adds and lists snapshots; cannot read what they hold
    Backup,
}

/// Print objects of the repository as JSON.
#[derive(Debug, Args)]
pub struct CatArgs {
    /// Which.
    #[command(subcommand)]
    pub object: CatObject,
}

/// Which objects.
#[derive(Debug, Subcommand)]
pub enum CatObject {
    /// The config
    Config,
    /// A snapshot
    Snapshot {
        /// Its id, the beginning of one, or `latest`
        id: String,
    },
    /// The newest state
    State,
    /// The names of the index objects, or the packs in one
    Index {
        /// Its name, or the beginning of one
        name: Option<String>,
    },
    /// The names of the print indexes, or the packs in one
    Prints {
        /// Its name, or the beginning of one
        name: Option<String>,
    },
    /// Sessions that stand in the repository
    Session,
    /// The contents of a pack
    Pack {
        /// Its id, or the beginning of one
        id: String,
    },
    /// Key slots, without their secrets
    Key,
}

/// Try everything on a small VM made for it: back up two nights, restore both, compare, check.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the repository, in this new directory [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
}

/// Print completions for a shell.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// Print the manual page, or write all of them to a directory.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory for a page of each command
    pub directory: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_subset(text: &str, expected: Option<Subset>) {
        let parsed = text.parse::<SubsetArg>().ok();
        assert_eq!(parsed.map(|subset| subset.0), expected, "{text}");
    }

    #[test]
    fn subsets_are_parts_shares_or_sizes() {
        check_subset("1/7", Some(Subset::Part { part: 1, parts: 7 }));
        check_subset("07/52", Some(Subset::Part { part: 7, parts: 52 }));
        check_subset("0/7", None);
        check_subset("8/7", None);
        check_subset("1/0", None);
        check_subset("2.5%", Some(Subset::Percent(2.5)));
        check_subset("0%", None);
        check_subset("101%", None);
        check_subset("500M", Some(Subset::Bytes(500 << 20)));
        check_subset("0", None);
        check_subset("some", None);
    }
}

/// Look at XVAs without a repository.
#[derive(Debug, Args)]
pub struct XvaArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: XvaAction,
}

/// What to do with an XVA.
#[derive(Debug, Subcommand)]
pub enum XvaAction {
    /// Tell what an importer would object to, before anyone imports
    ///
    /// An error fails the import, and the exit code is 1; a warning concerns some hosts.
    Check {
        /// The XVA, also inside gzip or zstd; `-` is standard input
        file: PathBuf,
    },
}
