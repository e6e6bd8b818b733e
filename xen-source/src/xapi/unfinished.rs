//! What restores into a pool that were killed have left there, by its marks.
//!
//! Whatever a restore makes carries its mark from its first moment: a text of its own, and when it
//! began. Soon a mark that names the object itself follows. A copy that somebody else makes
//! meanwhile carries both, and the second names the original: it is not ours, and stays.

use std::collections::BTreeMap;

use super::error::XapiError;
use super::objects::{VdiRecord, VmRecord};
use super::session::Session;
use super::snapshot::{self, MARK, record, take_note, unless_gone};

/// The key of the mark: which restore made it.
pub const RESTORE: &str = "xenith-restore";

/// The mark of a restore that begins now, by the pool's clock. `uuid` tells it from others.
pub fn mark_of(uuid: &str, now: &str) -> String {
    format!("{uuid} {now}").trim_end().to_owned()
}

/// The same mark for a VM that is only tried: it keeps its marks, and goes though it runs.
pub fn of_trial(mark: &str) -> String {
    let (uuid, now) = mark.split_once(' ').unwrap_or((mark, ""));
    mark_of(&format!("{uuid}{TRIAL}"), now)
}

/// What ends the first word of the mark of a trial.
pub const TRIAL: &str = ":trial";

/// Whether what has this uuid and these notes was made to be tried, and not for good.
pub fn is_tried(uuid: &str, other_config: &BTreeMap<String, String>) -> bool {
    let mark = other_config.get(RESTORE).and_then(|mark| mark.split(' ').next());
    since(uuid, other_config).is_some() && mark.is_some_and(|first| first.ends_with(TRIAL))
}

/// When the restore began that has made what has this uuid and these notes, and was not finished;
/// empty if it does not tell.
pub fn since<'a>(uuid: &str, other_config: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let mark = other_config.get(RESTORE)?;
    let is_own = other_config.get(MARK).is_none_or(|own| own == uuid);
    is_own.then(|| mark.split_once(' ').map_or("", |(_, since)| since))
}

/// Whether the restore `mark` has made what has this uuid and these notes.
pub fn is_made(uuid: &str, other_config: &BTreeMap<String, String>, mark: &str) -> bool {
    since(uuid, other_config).is_some() && other_config.get(RESTORE).is_some_and(|it| it == mark)
}

/// What the name of a VM begins with until it is whole.
pub const MEANWHILE: &str = "Xenith: restoring ";

/// Whether a VM that carries the mark of a restore is whole: it has got its name, and only marks stayed. People may use
/// it already.
pub fn is_whole(vm: &VmRecord) -> bool {
    !vm.name.starts_with(MEANWHILE) && !is_tried(&vm.uuid, &vm.other_config)
}

/// Takes the marks of a restore from a VM that is whole, and from its disks.
///
/// # Errors
///
/// What the pool said.
pub fn finish(session: &Session, vm: &str) -> Result<(), XapiError> {
    let Some(vm) = unless_gone(record::<VmRecord>(session, vm))? else { return Ok(()) };
    if vm.is_a_snapshot || since(&vm.uuid, &vm.other_config).is_none() || !is_whole(&vm) {
        return Ok(());
    }
    for (_, disk) in snapshot::drives(session, &vm)? {
        if since(&disk.uuid, &disk.other_config).is_some() {
            unmark(session, "VDI", &disk.reference)?;
        }
    }
    unmark(session, "VM", &vm.reference)
}

/// Takes both marks away, last the one by which what is left is found.
///
/// # Errors
///
/// What the pool said.
pub fn unmark(session: &Session, class: &str, reference: &str) -> Result<(), XapiError> {
    take_note(session, class, reference, MARK)?;
    take_note(session, class, reference, RESTORE)
}

/// Destroys a VM that was not finished, and its disks, if its marks are good.
///
/// # Errors
///
/// What the pool said.
pub fn remove_vm(session: &Session, vm: &str) -> Result<(), XapiError> {
    let Some(vm) = unless_gone(record::<VmRecord>(session, vm))? else { return Ok(()) };
    if vm.is_a_snapshot || since(&vm.uuid, &vm.other_config).is_none() || is_whole(&vm) {
        return Ok(());
    }
    let drives = snapshot::drives(session, &vm)?;
    snapshot::remove_vm(session, &vm)?;
    let removed: Vec<_> =
        drives.iter().map(|(_, disk)| remove_disk(session, &disk.reference)).collect();
    removed.into_iter().collect()
}

/// Destroys a disk that was not finished, if its marks are good and no VM has it.
///
/// # Errors
///
/// What the pool said.
pub fn remove_disk(session: &Session, disk: &str) -> Result<(), XapiError> {
    match unless_gone(record::<VdiRecord>(session, disk))? {
        Some(disk) if !disk.is_a_snapshot && since(&disk.uuid, &disk.other_config).is_some() => {
            snapshot::destroy(session, &disk)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_restore_has_made_is_its_own() {
        type Row<'a> = (&'a [(&'a str, &'a str)], bool, Option<&'a str>);
        let rows: [Row<'_>; 6] = [
            (&[], false, None),
            (&[(MARK, "u")], false, None),
            (&[(RESTORE, "r now")], true, Some("now")),
            (&[(RESTORE, "r now"), (MARK, "u")], true, Some("now")),
            (&[(RESTORE, "r now"), (MARK, "original")], false, None),
            (&[(RESTORE, "another"), (MARK, "u")], false, Some("")),
        ];
        for (notes, is_its, since_when) in rows {
            let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let notes: BTreeMap<String, String> = notes.iter().map(text).collect();
            assert_eq!(is_made("u", &notes, &mark_of("r", "now")), is_its, "{notes:?}");
            assert_eq!(since("u", &notes), since_when, "{notes:?}");
        }
    }

    #[test]
    fn a_mark_tells_what_is_only_tried() {
        type Row<'a> = (&'a [(&'a str, &'a str)], bool);
        let rows: [Row<'_>; 5] = [
            (&[(RESTORE, "r now")], false),
            (&[(RESTORE, "r:trial now")], true),
            (&[(RESTORE, "r:trial now"), (MARK, "u")], true),
            (&[(RESTORE, "r:trial now"), (MARK, "original")], false),
            (&[(RESTORE, "r now:trial")], false),
        ];
        for (notes, is_one) in rows {
            let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let notes: BTreeMap<String, String> = notes.iter().map(text).collect();
            assert_eq!(is_tried("u", &notes), is_one, "{notes:?}");
        }
        assert_eq!(of_trial(&mark_of("r", "now")), "r:trial now");
    }
}
