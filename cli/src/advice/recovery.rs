//! What to do about a pool that does not take metadata back.

/// What a refusal means, by its code (contract 2.6, 7); `None` if it is not about metadata.
pub fn on_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "RESTORE_INCOMPATIBLE_VERSION" => {
            "the database is of another release than the host: install the release that the pool \
             had, with the same updates, and restore there"
        }
        "RESTORE_TARGET_MISSING_DEVICE" => {
            "the old coordinator had a network card of that name and this host has none: it needs \
             as many cards, and `interface-rename` on the host gives them the old names"
        }
        "RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP" => {
            "the host is managed by a network card that the old coordinator did not have: \
             `xe host-management-reconfigure` moves its management to one of the old names"
        }
        "RESTORE_SCRIPT_FAILED" => {
            "the host could not unpack it onto its spare partition; nothing is active of it. A \
             host without such a partition, or with too small a one, cannot take it"
        }
        "VDI_LOCATION_MISSING" | "VDI_CONTENT_ID_MISSING" => {
            "a disk of the VM is not on this pool: attach its storage and scan it, say which disk \
             took its place with --vdi OLD=NEW, or restore the VM with its disks"
        }
        "IMPORT_INCOMPATIBLE_VERSION" => {
            "the VM was saved by a newer release than the pool's: update the pool, or restore the \
             VM elsewhere"
        }
        _ => return None,
    })
}
