//! What to do about a restore into a pool that cannot be, or did not succeed.

use std::error::Error;
use std::fmt;

use serde::Serialize;
use xen_source::xapi::destination::{Objection, RestoreError};
use xen_source::xapi::{ApiError, XapiError};

use super::{Advice, on_content, pool};
use crate::exit::Exit;
use crate::size;

/// All that stands against a restore.
#[derive(Debug, thiserror::Error)]
pub struct Objections(pub Vec<Objection>);

/// One of them, as JSON.
#[derive(Debug, Serialize)]
pub struct ObjectionMessage {
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// A restore that failed on its way.
#[derive(Debug)]
pub struct Unrestored {
    /// Why.
    pub error: Box<RestoreError>,
    /// What it could not put in order, in words.
    pub left: Vec<String>,
}

impl Unrestored {
    /// Whether the repository could not deliver what it should have.
    pub fn is_damage(&self) -> bool {
        use engine::source::ContentError::{Invalid, Repository};
        let error = &*self.error;
        matches!(error, RestoreError::Content { source: Repository(_) | Invalid { .. }, .. })
    }
}

impl fmt::Display for Unrestored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Unrestored {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl Objections {
    /// Each with what to do about it.
    pub fn messages(&self) -> Vec<ObjectionMessage> {
        let message = |objection: &Objection| ObjectionMessage {
            message: fact(objection),
            hint: on_objection(objection),
        };
        self.0.iter().map(message).collect()
    }

    /// What to do about all of them.
    pub fn advice(&self) -> Advice {
        let hints: Vec<_> = self.0.iter().map(on_objection).collect();
        super::failed(hints.join("; ") + "; nothing was changed")
    }
}

impl fmt::Display for Objections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(fact).collect::<Vec<_>>().join("; "))
    }
}

/// What stands against it, with sizes as people read them.
fn fact(objection: &Objection) -> String {
    match objection {
        Objection::NoRoom { sr, needs_bytes, has_bytes } => format!(
            "SR {sr} has {} free, and the disks need {}",
            size::bytes(*has_bytes),
            size::bytes(*needs_bytes)
        ),
        Objection::TooLargeForVhd { disk, sr, size_bytes } => format!(
            "disk {disk} has {}, more than the VHDs of SR {sr} hold",
            size::bytes(*size_bytes)
        ),
        Objection::TooLargeAsVhd { disk, size_bytes } => {
            format!("disk {disk} has {}, more than a VHD holds", size::bytes(*size_bytes))
        }
        other => other.to_string(),
    }
}

/// What to do about it.
fn on_objection(objection: &Objection) -> String {
    match objection {
        Objection::NoDefaultSr { candidates } | Objection::NoSr { candidates, .. } => {
            format!("name one with --sr: {}", storage(candidates))
        }
        Objection::Ambiguous { .. } => "name it by its uuid".to_owned(),
        Objection::IsoSr { .. } => "name another with --sr or --disk-sr".to_owned(),
        Objection::NotAttached { .. } => {
            "plug it into a host (`xe pbd-plug`), or name another with --sr or --disk-sr".to_owned()
        }
        Objection::NoRoom { .. } => "make room there, name another with --sr or --disk-sr, or \
                                     restore all the same with --force"
            .to_owned(),
        Objection::NoCommonHost { .. } => "no host could start the VM: name others with --sr and \
                                           --disk-sr, or restore all the same with --force"
            .to_owned(),
        Objection::TooLargeForVhd { .. } => {
            "name another for it with --disk-sr, or try all the same with --force".to_owned()
        }
        Objection::TooLargeAsVhd { .. } => {
            "use --format raw, or leave --format out: only VHDs end at 2040 GiB".to_owned()
        }
        Objection::TakesNoVhd { .. } => "use --format raw, or leave --format out".to_owned(),
        Objection::NoDisk { candidates, .. } => format!("it has {}", list(candidates)),
        Objection::NoNetwork { candidates, .. } => {
            format!("say which takes its place with --network OLD=NEW: {}", list(candidates))
        }
        Objection::UnknownMapping { .. } => {
            "`xenith show` lists its networks; leave this --network out".to_owned()
        }
        Objection::TakenUuid { .. } => {
            "leave --keep-uuid out, or put the VM in its place with --overwrite".to_owned()
        }
        Objection::TakenMacSeed { .. } => {
            "leave --keep-uuid out: the VM then gets a seed of its own".to_owned()
        }
        Objection::TakenMac { .. } => "let the VM have new addresses with --new-mac, or restore \
                                       all the same with --force"
            .to_owned(),
        Objection::TakenName { .. } => "give it another with --name, put it in that one's place \
                                        with --overwrite, or have two of the name with --force"
            .to_owned(),
        Objection::NothingToReplace { .. } => "restore it without --overwrite".to_owned(),
        Objection::NotOff { .. } => "shut it down first, or use --shutdown-first".to_owned(),
        Objection::Busy { .. } => "run it again when that is over".to_owned(),
        Objection::NameAndOverwrite => "leave --name or --overwrite out".to_owned(),
        Objection::NewerVersion { .. } => "restore it to a newer pool, or try all the same with \
                                           --force"
            .to_owned(),
        Objection::MemoryNeedsOneSr => {
            "leave --keep-power-state out, or --format, --disk-sr and --disks".to_owned()
        }
        Objection::NoVm => "make its disks alone with --disks-only".to_owned(),
        Objection::NothingChosen => "`xenith ls` lists what it has".to_owned(),
    }
}

fn storage(candidates: &[(String, u64)]) -> String {
    let text = |(name, free): &(String, u64)| format!("{name} ({} free)", size::bytes(*free));
    list(&candidates.iter().map(text).collect::<Vec<_>>())
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

/// What to do about a restore that failed on its way.
pub fn on_restore(failed: &Unrestored) -> Advice {
    let hint = match &*failed.error {
        RestoreError::Pool { source, .. } => on_pool(source),
        RestoreError::Content { source, .. } => on_content(source),
        RestoreError::Differs { .. } => {
            "nothing in the repository is damaged: look at the storage of the pool \
             (/var/log/SMlog on the host), and restore to another SR"
                .to_owned()
        }
        RestoreError::Taken { .. } => {
            "nothing in the repository is damaged; leave --keep-uuid out".to_owned()
        }
        RestoreError::NotStarted { source, .. } => {
            let hint = format!(
                "it stays as it is, off, and `xe vm-start` starts it; {}",
                pool::on_pool(source)
            );
            return Advice { exit: Exit::Partly, hint };
        }
    };
    super::failed(match failed.left.is_empty() {
        true => format!("nothing that it made stays on the pool; {hint}"),
        false => hint,
    })
}

fn on_pool(error: &XapiError) -> String {
    match error {
        XapiError::Refused { error, .. } | XapiError::TaskFailed { error, .. } => on_import(error),
        XapiError::NoShutdown { .. } => {
            "nothing was forced; it may still shut down, so look at it. Shut it down yourself, and \
             run it again"
                .to_owned()
        }
        _ => pool::on_pool(error),
    }
}

/// What a refusal means, by its code (contract 2.6, 9).
fn on_import(error: &ApiError) -> String {
    let advice = match error.code.as_str() {
        "SR_FULL" | "SR_BACKEND_FAILURE_44" => {
            "make room on the SR, or name another with --sr or --disk-sr"
        }
        "IMPORT_ERROR_SOME_CHECKSUMS_FAILED" | "IMPORT_ERROR_PREMATURE_EOF" => {
            "what was sent did not arrive as it was; run it again, with another member if it \
             comes back"
        }
        "DUPLICATE_MAC_SEED" | "VM_TO_IMPORT_IS_NOT_NEWER_VERSION" => {
            "somebody else has made that VM meanwhile; leave --keep-uuid out"
        }
        "NOT_SUPPORTED_DURING_UPGRADE" => "run it again when all hosts are upgraded",
        "VDI_IO_ERROR" => {
            "/var/log/SMlog on the host says what its storage met; another SR may do (--sr)"
        }
        _ => return pool::on_refusal(error),
    };
    format!("nothing in the repository is damaged; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(objection: Objection, expected: &str) {
        let objections = Objections(vec![objection]);
        let [ObjectionMessage { message, hint }] =
            objections.messages().try_into().unwrap_or_else(|_| panic!("one"));
        assert_eq!(format!("{message} | {hint}"), expected);
    }

    #[test]
    fn each_objection_comes_with_what_to_do() {
        let candidates = vec![("nfs".to_owned(), 3 << 30), ("local".to_owned(), 0)];
        check(
            Objection::NoDefaultSr { candidates },
            "the pool has no default SR | name one with --sr: nfs (3.0 GiB free), local (0 B free)",
        );
        check(
            Objection::NoRoom { sr: "nfs".into(), needs_bytes: 214 << 30, has_bytes: 180 << 30 },
            "SR nfs has 180 GiB free, and the disks need 214 GiB | make room there, name another \
             with --sr or --disk-sr, or restore all the same with --force",
        );
        check(
            Objection::NoNetwork { name: "dmz".into(), candidates: vec![] },
            "the pool has no network dmz | say which takes its place with --network OLD=NEW: none",
        );
        check(
            Objection::TooLargeAsVhd { disk: "root".into(), size_bytes: 3 << 40 },
            "disk root has 3.0 TiB, more than a VHD holds | use --format raw, or leave --format \
             out: only VHDs end at 2040 GiB",
        );
        check(
            Objection::NotOff { name: "web01".into(), state: "running" },
            "VM web01 is running | shut it down first, or use --shutdown-first",
        );
    }

    #[test]
    fn a_full_sr_is_no_matter_of_snapshots_here() {
        let error = ApiError { code: "SR_BACKEND_FAILURE_44".into(), params: vec![] };
        let hint = on_pool(&XapiError::TaskFailed { label: "import of web01".into(), error });
        assert!(hint.contains("make room on the SR, or name another"), "{hint}");
    }
}
