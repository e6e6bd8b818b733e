//! Ctrl-C: removes what is half written and ends the program. The repository needs no care: a
//! kill at any time is safe.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::exit::Exit;

/// Files that must not stay if the program is ended now.
static HALF_WRITTEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn half_written() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HALF_WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on SIGINT, SIGTERM and SIGHUP end the program with [`Exit::Interrupted`].
pub fn install() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        // Held until the end, so that no file is finished or begun meanwhile.
        let files = half_written();
        for path in files.iter() {
            // One that cannot be removed keeps a name that says what it is.
            let _ = std::fs::remove_file(path);
        }
        std::process::exit(Exit::Interrupted.code().into());
    })
}

/// A file that goes if the program is interrupted while this lives.
#[derive(Debug)]
pub struct HalfWritten(PathBuf);

impl HalfWritten {
    /// Does `create`, which makes the file. Between the two an interruption waits.
    pub fn begin<T>(
        create: impl FnOnce() -> io::Result<T>,
        path: impl FnOnce(&T) -> &Path,
    ) -> io::Result<(Self, T)> {
        let mut files = half_written();
        let created = create()?;
        let path = path(&created).to_owned();
        files.insert(path.clone());
        Ok((Self(path), created))
    }

    /// Does `finish`, which gives the file another name, either whole or not at all.
    pub fn finish<T>(self, finish: impl FnOnce() -> T) -> T {
        let mut files = half_written();
        let finished = finish();
        files.remove(&self.0);
        finished
    }
}

impl Drop for HalfWritten {
    fn drop(&mut self) {
        half_written().remove(&self.0);
    }
}
