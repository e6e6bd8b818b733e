//! How disks come: a choice from facts, with its reason in words (contract 2.1, 4.1, 5.2).

use super::export::Compression;
use super::options::{Tracking, Transfer};
use crate::vhd::DISK_LEN_MAX;

/// How one disk comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By NBD: any range, many under way at once.
    Nbd,
    /// As a dynamic VHD, which passes over what was never written.
    Vhd,
    /// Every byte.
    Raw,
}

impl Way {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nbd => "nbd",
            Self::Vhd => "vhd",
            Self::Raw => "raw",
        }
    }
}

/// How all disks of a VM come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// In one XVA.
    Archive {
        /// Why; empty if that was asked for.
        reason: String,
    },
    /// Disk by disk, each by [`of_disk`].
    Diskwise,
}

impl Choice {
    /// Why all comes in one.
    pub fn into_reason(self) -> String {
        match self {
            Self::Archive { reason } => reason,
            Self::Diskwise => String::new(),
        }
    }
}

/// Whether changes alone could be read at all.
pub fn may_tell_changes(wanted: Transfer, compression: Compression) -> bool {
    match wanted {
        Transfer::Auto => compression == Compression::Off,
        Transfer::Nbd => true,
        Transfer::Xva | Transfer::Vdi => false,
    }
}

/// Chooses for a VM. `nbd` says of each disk why it is not to be had by NBD, if it is not.
pub fn of_vm(
    wanted: Transfer,
    compression: Compression,
    tracking: Tracking,
    nbd: &[Result<(), String>],
) -> Choice {
    // Whoever requires tracking is told of each disk what it lacks.
    if tracking == Tracking::Require && wanted != Transfer::Xva {
        return Choice::Diskwise;
    }
    let missing = nbd.iter().find_map(|disk| disk.as_ref().err());
    match (wanted, missing) {
        (Transfer::Xva, _) => Choice::Archive { reason: String::new() },
        (Transfer::Auto, _) if compression != Compression::Off => {
            let reason = "the host is to compress, which it does only for all in one".to_owned();
            Choice::Archive { reason }
        }
        (Transfer::Auto, Some(missing)) => Choice::Archive { reason: missing.clone() },
        (Transfer::Auto | Transfer::Vdi | Transfer::Nbd, _) => Choice::Diskwise,
    }
}

/// Chooses for a disk of `size_bytes` (virtual), and says why it is not what would be best.
pub fn of_disk(wanted: Transfer, size_bytes: u64, nbd: &Result<(), String>) -> (Way, String) {
    let whole = if size_bytes <= DISK_LEN_MAX { Way::Vhd } else { Way::Raw };
    match (wanted, nbd) {
        (Transfer::Vdi, _) if whole == Way::Vhd => (whole, String::new()),
        (Transfer::Vdi, _) => (whole, "it is too large for a VHD".to_owned()),
        (_, Ok(())) => (Way::Nbd, String::new()),
        (_, Err(missing)) => (whole, missing.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[track_caller]
    fn check_vm(wanted: Transfer, nbd: &[Result<(), &str>], expected: Option<&str>) {
        let nbd: Vec<_> = nbd.iter().map(|disk| disk.map_err(str::to_owned)).collect();
        let found = of_vm(wanted, Compression::Off, Tracking::Use, &nbd);
        let expected = match expected {
            Some(reason) => Choice::Archive { reason: reason.to_owned() },
            None => Choice::Diskwise,
        };
        assert_eq!(found, expected, "{wanted:?} {nbd:?}");
    }

    #[test]
    fn a_vm_comes_disk_by_disk_if_all_its_disks_are_there_by_nbd_or_it_is_asked_for() {
        let (here, missing) = (Ok(()), Err("no network for NBD"));
        check_vm(Transfer::Auto, &[here, here], None);
        check_vm(Transfer::Auto, &[here, missing], Some("no network for NBD"));
        check_vm(Transfer::Auto, &[], None);
        for nbd in [here, missing] {
            check_vm(Transfer::Xva, &[nbd], Some(""));
            check_vm(Transfer::Vdi, &[nbd], None);
            check_vm(Transfer::Nbd, &[nbd], None);
        }
    }

    #[test]
    fn compression_by_the_host_takes_an_archive() {
        let nbd = [Ok(())];
        let choice = |wanted| of_vm(wanted, Compression::Zstd, Tracking::Use, &nbd);
        assert!(matches!(choice(Transfer::Auto), Choice::Archive { reason } if !reason.is_empty()));
        assert_eq!(choice(Transfer::Nbd), Choice::Diskwise);
    }

    #[test]
    fn required_tracking_is_decided_by_disk() {
        let nbd = [Err("no network for NBD".to_owned())];
        let choice = |wanted| of_vm(wanted, Compression::Off, Tracking::Require, &nbd);
        assert_eq!(choice(Transfer::Auto), Choice::Diskwise);
        assert_eq!(choice(Transfer::Xva), Choice::Archive { reason: String::new() });
    }

    #[test]
    fn a_disk_comes_by_nbd_else_as_vhd_else_raw() {
        let (here, missing) = (Ok(()), Err("no network".to_owned()));
        let rows = [
            (Transfer::Auto, GIB, &here, Way::Nbd, ""),
            (Transfer::Nbd, 3000 * GIB, &here, Way::Nbd, ""),
            (Transfer::Nbd, GIB, &missing, Way::Vhd, "no network"),
            (Transfer::Nbd, 3000 * GIB, &missing, Way::Raw, "no network"),
            (Transfer::Vdi, 2040 * GIB, &here, Way::Vhd, ""),
            (Transfer::Vdi, 2040 * GIB + 512, &here, Way::Raw, "it is too large for a VHD"),
        ];
        for (wanted, size_bytes, nbd, way, reason) in rows {
            let found = of_disk(wanted, size_bytes, nbd);
            assert_eq!(found, (way, reason.to_owned()), "{wanted:?} {size_bytes} {nbd:?}");
        }
    }
}
