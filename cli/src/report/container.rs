//! Metadata of a pool: what it is, and what one does with it.

/// What a container of metadata is of; `None` for disks and other files.
pub fn metadata_noun(container: &str) -> Option<&'static str> {
    match container {
        "pool-db" => Some("pool"),
        "host" => Some("host"),
        "metadata" => Some("vm"),
        _ => None,
    }
}

/// How it is used once it is a file again.
pub fn metadata_use(container: &str) -> Option<&'static str> {
    match container {
        "pool-db" => Some(
            "on the coordinator, newly installed if need be, `xe pool-restore-database \
             file-name=FILE dry-run=true` checks it; without dry-run it replaces the database there \
             and restarts the host. It holds passwords: only its owner may read a restored file",
        ),
        "host" => Some(
            "for this host and no other: `xe host-restore file-name=FILE host=NAME` stages it on \
             the spare partition; nothing of it is active until the host boots the installation CD \
             and restores from there. It holds secrets: only its owner may read a restored file",
        ),
        "metadata" => Some(
            "`xe vm-import metadata=true filename=FILE` makes the VM again where its disks still \
             are",
        ),
        _ => None,
    }
}
