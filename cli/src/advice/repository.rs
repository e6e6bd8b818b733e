//! Advice on errors of the repository.

use std::io;

use engine::catalog::CatalogError;
use engine::key_slots::KeyError;
use engine::lookup::LookupError;
use engine::reader::ContentReadError;
use engine::repository::{OpenError, ReadError};
use engine::session::SessionError;
use engine::storage::StorageError;

use super::{Advice, failed};
use crate::exit::Exit;

const CHECK: &str = "an object of the repository is damaged: run `xenith check --read-data` to \
                     see what is affected, and get the object from a copy of the repository";
const CACHE: &str = "the repository is not damaged; run it again, with --no-cache if it comes back";

pub fn on_open(error: &OpenError) -> Advice {
    match error {
        OpenError::Missing { .. } => Advice {
            exit: Exit::NoRepository,
            hint: "check --repo and XENITH_REPOSITORY; `xenith init` makes a new one".to_owned(),
        },
        OpenError::Unfinished { .. } => Advice {
            exit: Exit::NoRepository,
            hint: "nothing can be in it: remove the directory and run `xenith init` again"
                .to_owned(),
        },
        OpenError::WrongPassword { .. } => Advice {
            exit: Exit::WrongPassword,
            hint: "check where the password comes from; nothing was changed".to_owned(),
        },
        OpenError::Exists { .. } => {
            failed("use it, or name another directory; nothing was changed")
        }
        OpenError::Damaged { .. } => failed(
            "get the directory `roots` from a copy of the repository; `xenith check --no-password` \
             shows what is damaged",
        ),
        OpenError::TooNew { .. } => failed("use the newest release of xenith; nothing was changed"),
        OpenError::Storage(error) => failed(on_storage(error)),
    }
}

pub fn on_storage(error: &StorageError) -> String {
    let hint = match error {
        StorageError::NotFound { .. }
        | StorageError::Short { .. }
        | StorageError::TooLong { .. } => CHECK,
        StorageError::Io { source, .. } => match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "nothing is damaged; make room and run it again, what is stored already is not \
                 stored twice"
            }
            io::ErrorKind::PermissionDenied => {
                "nothing is damaged; run it as the owner of the repository, or check whether it is \
                 mounted read-only"
            }
            io::ErrorKind::NotADirectory => {
                "nothing is known to be damaged; a file is where a directory should be: check --repo \
                 and XENITH_REPOSITORY"
            }
            io::ErrorKind::DirectoryNotEmpty => {
                "nothing was changed; name an empty directory, or one that does not exist yet"
            }
            _ => {
                "nothing is known to be damaged; check the disk or share that holds the \
                 repository, and run it again"
            }
        },
    };
    hint.to_owned()
}

pub fn on_read(error: &ReadError) -> String {
    match error {
        ReadError::Storage(error) => on_storage(error),
        ReadError::Damaged { .. } => CHECK.to_owned(),
    }
}

pub fn on_catalog(error: &CatalogError) -> String {
    match error {
        CatalogError::Read(error) => on_read(error),
        CatalogError::NoState => {
            "get the directory `state` from a copy of the repository; packs and snapshots may be \
             whole"
                .to_owned()
        }
        CatalogError::Unsteady => "nothing is damaged; run it again".to_owned(),
        CatalogError::Lookup(error) => on_lookup(error),
    }
}

pub fn on_lookup(error: &LookupError) -> String {
    match error {
        LookupError::Fetch { source, .. } => match source.downcast_ref::<ReadError>() {
            Some(error) => on_read(error),
            None => CHECK.to_owned(),
        },
        LookupError::Object { .. } => CHECK.to_owned(),
        LookupError::CacheIo(_) => {
            "the repository is not damaged; make room in the directory for temporary files, or \
             name another with TMPDIR"
                .to_owned()
        }
        LookupError::CacheDamaged(_) => CACHE.to_owned(),
    }
}

pub fn on_session(error: &SessionError) -> String {
    match error {
        SessionError::Storage(error) => on_storage(error),
        SessionError::Catalog(error) => on_catalog(error),
        SessionError::Fenced { .. } => {
            "nothing was saved and nothing is damaged; run it again, what is stored already is not \
             stored twice"
                .to_owned()
        }
        SessionError::Occupied { .. } | SessionError::Repeated { .. } => {
            "nothing was saved; a machine that was cloned or restored while running can repeat \
             random numbers: restart it"
                .to_owned()
        }
    }
}

pub fn on_content_read(error: &ContentReadError) -> String {
    match error {
        ContentReadError::BackupRole => {
            "nothing is damaged; give a password of the full role (see `xenith key list`)"
                .to_owned()
        }
        ContentReadError::Pack { source, .. } => match source {
            StorageError::Io { .. } => on_storage(source),
            StorageError::NotFound { .. }
            | StorageError::Short { .. }
            | StorageError::TooLong { .. } => CHECK.to_owned(),
        },
        ContentReadError::Missing { .. }
        | ContentReadError::Damaged { .. }
        | ContentReadError::Segment { .. }
        | ContentReadError::Tree { .. } => CHECK.to_owned(),
        ContentReadError::Catalog(error) => on_catalog(error),
        ContentReadError::Lookup(error) => on_lookup(error),
    }
}

pub fn on_key(error: &KeyError) -> String {
    match error {
        KeyError::BackupRole => "use a password of the full role; nothing was changed".to_owned(),
        KeyError::NotFound { .. } => {
            "`xenith key list` lists the ids; the beginning of one is enough if no other begins so"
                .to_owned()
        }
        KeyError::Needed { .. } => {
            "nothing was changed; open the repository with another password, or add one first"
                .to_owned()
        }
        KeyError::Storage(error) => on_storage(error),
    }
}
