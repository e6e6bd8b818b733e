//! What a backup has on the pool while it reads, and how that goes: a snapshot, then traces of its
//! tracked disks, then nothing, or traces only.

use std::sync::Arc;

use super::options::{Event, Observer};
use super::session::Session;
use super::snapshot::{self, OurSnapshot};
use super::tracking::{self, Trace};

/// A snapshot that goes when this is dropped. Errors go to the observer.
pub struct Kept {
    session: Session,
    observer: Arc<dyn Observer>,
    /// The snapshot.
    pub taken: Option<OurSnapshot>,
    /// The repository for which traces are kept; none: they are not wanted.
    pub repository: Option<String>,
    /// Traces of which nobody knows yet whether they will be needed.
    traces: Vec<Trace>,
}

impl Kept {
    /// Nothing yet.
    pub fn new(session: &Session, observer: &Arc<dyn Observer>) -> Self {
        let (session, observer) = (session.clone(), observer.clone());
        Self { session, observer, taken: None, repository: None, traces: Vec::new() }
    }

    /// Removes all of it.
    pub fn remove(&mut self) {
        if let Some(taken) = self.taken.take() {
            let removed = snapshot::remove_taken(&self.session, &taken);
            self.tell(taken, removed);
        }
        let traces = std::mem::take(&mut self.traces);
        self.tell_traces(tracking::forget(&self.session, &traces));
    }

    /// All was read: of the snapshot only traces stay, if they are wanted.
    pub fn retire(&mut self) {
        let Some(repository) = self.repository.clone() else {
            return self.remove();
        };
        if let Some(taken) = self.taken.take() {
            let (traces, removed) = tracking::retire(&self.session, &taken, &repository);
            self.traces = traces;
            self.tell(taken, removed);
        }
    }

    /// The repository has what was read: the traces stay, and those before them go.
    pub fn keep(&mut self) {
        self.retire();
        let traces = std::mem::take(&mut self.traces);
        if let Some(repository) = &self.repository {
            self.tell_traces(tracking::keep(&self.session, &traces, repository));
        }
    }

    fn tell(&self, taken: OurSnapshot, removed: Result<(), super::XapiError>) {
        let uuid = taken.vm.uuid;
        self.observer.event(match removed {
            Ok(()) => Event::SnapshotRemoved { uuid },
            Err(error) => Event::SnapshotStays { uuid, error },
        });
    }

    fn tell_traces(&self, removed: Result<(), super::XapiError>) {
        if let Err(error) = removed {
            self.observer.event(Event::TraceStays { error });
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.remove();
    }
}
