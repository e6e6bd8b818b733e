//! Ctrl-C: removes what is half written and ends the program. The repository needs no care: a
//! kill at any time is safe. A pool does: who has something there [postpones](Postponed) the end.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::exit::Exit;

/// Files that must not stay if the program is ended now.
static HALF_WRITTEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Whether somebody puts things in order before the end.
static POSTPONED: AtomicBool = AtomicBool::new(false);

/// Whether the end was asked for.
static ASKED: AtomicBool = AtomicBool::new(false);

fn half_written() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HALF_WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on SIGINT, SIGTERM and SIGHUP end the program with [`Exit::Interrupted`].
pub fn install() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if POSTPONED.load(Ordering::SeqCst) && !ASKED.swap(true, Ordering::SeqCst) {
            tell("putting the pool in order; interrupt again to end at once");
            return;
        }
        // Held until the end, so that no file is finished or begun meanwhile.
        let files = half_written();
        for path in files.iter() {
            // One that cannot be removed keeps a name that says what it is.
            let _ = std::fs::remove_file(path);
        }
        std::process::exit(Exit::Interrupted.code().into());
    })
}

/// While this lives the first signal does not end the program; [`is_asked`] tells of it.
#[derive(Debug)]
pub struct Postponed(());

impl Postponed {
    /// From now on.
    pub fn begin() -> Self {
        POSTPONED.store(true, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Postponed {
    fn drop(&mut self) {
        POSTPONED.store(false, Ordering::SeqCst);
    }
}

/// Whether a signal has asked for the end, which was postponed.
pub fn is_asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Says what is still waited for.
pub fn tell(what: &str) {
    eprintln!("interrupted: {what}");
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
