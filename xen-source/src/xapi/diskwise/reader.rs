//! A disk that is being read in the best way that works. NBD that fails for good in the middle gives
//! way to a stream of the whole disk, of which the rest is taken (contract 4, 5).

use std::sync::Arc;

use engine::source::{NextSegment, SourceError};
use xxhash_rust::xxh64::xxh64;

use super::allocated;
use super::due::Due;
use super::ranged::{Place, Ranged};
use super::streamed::Streamed;
use super::{innermost, told, without_nbd};
use crate::xapi::error::XapiError;
use crate::xapi::export::VdiFormat;
use crate::xapi::exported::failed;
use crate::xapi::objects::VdiRecord;
use crate::xapi::options::{Changes, Event, Observer, Tracking, Transfer};
use crate::xapi::session::Session;
use crate::xapi::tracking::Base;
use crate::xapi::transfer::{self, Way};

/// A disk that is to be read.
pub struct Disk {
    pub session: Session,
    pub observer: Arc<dyn Observer>,
    pub transfer: Transfer,
    pub changes: Changes,
    /// What people call it.
    pub name: String,
    /// The uuid of the live disk.
    pub uuid: String,
    /// What is read.
    pub snapshot: VdiRecord,
}

/// A disk that is being read.
pub struct Reader {
    disk: Disk,
    by: By,
    /// Gives segments out of order that NBD does not give.
    aside: Option<Streamed>,
    /// What was wrong with NBD, in words; empty if nothing was.
    nbd_failure: String,
    /// Bytes that came in ways that were left.
    bytes_before: u64,
}

enum By {
    Ranged(Box<Ranged>),
    Streamed(Box<Streamed>),
}

impl Disk {
    /// By NBD: what has changed since `base` and a sample of the rest, or all that is no hole.
    fn ranged(&self, base: Option<&Base>, reason: &mut String) -> Result<Ranged, XapiError> {
        let (session, disk) = (self.session.clone(), self.snapshot.reference.clone());
        let place = Place { session, disk, size_bytes: self.snapshot.size_bytes };
        // Uuids of snapshots are random, and another one every time.
        let seed = xxh64(self.snapshot.uuid.as_bytes(), 0);
        let due = match base {
            Some(base) => Due::parts(base.changed.parts(self.changes.sample, seed)),
            None => self.in_full(reason),
        };
        Ranged::open(place, due)
    }

    /// All that is no hole, or everything; then `reason` says why, if it says nothing yet.
    fn in_full(&self, reason: &mut String) -> Due {
        match allocated::parts(&self.session, &self.name, &self.snapshot) {
            Ok(parts) => Due::parts(parts),
            Err(untold) => {
                if reason.is_empty() {
                    *reason = format!("its holes are read, too: {untold}");
                }
                Due::All(0)
            }
        }
    }

    /// As a stream, as VHD if that is to be had; then `reason` says if not.
    fn streamed(&self, reason: &mut String) -> Result<(Streamed, Way), SourceError> {
        let open = |format| Streamed::open(&self.session, &self.name, &self.snapshot, format);
        let none = Err(reason.clone());
        let (way, why) = transfer::of_disk(self.transfer, self.snapshot.size_bytes, &none);
        if reason.is_empty() {
            *reason = why;
        }
        if way == Way::Vhd {
            match open(VdiFormat::Vhd) {
                Ok(streamed) => return Ok((streamed, way)),
                Err(error) => {
                    let separator = if reason.is_empty() { "" } else { "; " };
                    *reason += &format!("{separator}no VHD of it: {}", innermost(&error));
                }
            }
        }
        Ok((open(VdiFormat::Raw)?, Way::Raw))
    }

    fn tell(&self, way: Way, changes_only: bool, reason: String) {
        let (uuid, transfer) = (self.uuid.clone(), way.name());
        self.observer.event(Event::DiskBegins { uuid, transfer, changes_only, reason });
    }
}

impl Reader {
    /// Opens a disk by `way`, or by another that works, and tells which; changes since `base` come by
    /// NBD only. `reason` is why this way, if there is a better one.
    ///
    /// # Errors
    ///
    /// What the pool said; also of NBD alone, if tracking is required.
    pub fn open(
        disk: Disk,
        way: Way,
        mut reason: String,
        base: Option<&Base>,
    ) -> Result<(Self, Way), SourceError> {
        let (mut nbd_failure, mut by) = (String::new(), None);
        if way == Way::Nbd {
            match disk.ranged(base, &mut reason) {
                Ok(ranged) => by = Some((By::Ranged(Box::new(ranged)), way)),
                Err(error) if disk.changes.tracking == Tracking::Require => {
                    return Err(failed(&disk.name, error));
                }
                Err(error) => nbd_failure = without_nbd(&error),
            }
            if by.is_none() {
                reason.clone_from(&nbd_failure);
            }
        }
        let (by, way) = match by {
            Some(by) => by,
            None => {
                let opened = disk.streamed(&mut reason);
                let (streamed, way) = opened.map_err(|error| beside(error, &nbd_failure))?;
                (By::Streamed(Box::new(streamed)), way)
            }
        };
        disk.tell(way, base.is_some() && way == Way::Nbd, reason);
        Ok((Self { disk, by, aside: None, nbd_failure, bytes_before: 0 }, way))
    }

    /// Bytes that came.
    pub fn bytes_read(&self) -> u64 {
        let aside = self.aside.as_ref().map_or(0, Streamed::bytes_read);
        self.bytes_before + aside + self.by.bytes_read()
    }

    /// What follows.
    ///
    /// # Errors
    ///
    /// What the pool said of the last way that was tried, and beside it what NBD met.
    pub fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        loop {
            let error = match &mut self.by {
                By::Streamed(streamed) => {
                    let next = streamed.next_segment(buffer);
                    return next.map_err(|error| beside(error, &self.nbd_failure));
                }
                By::Ranged(ranged) => match ranged.next_segment(buffer) {
                    Ok(next) => return Ok(next),
                    Err(error) => error,
                },
            };
            self.leave_nbd(error)?;
        }
    }

    /// Fills `buffer` with a whole segment, out of order.
    ///
    /// # Errors
    ///
    /// As of [`next_segment`](Self::next_segment).
    pub fn read_segment(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        if let (By::Ranged(ranged), None) = (&mut self.by, &self.aside) {
            match ranged.read_segment(number, buffer) {
                Ok(()) => return Ok(()),
                Err(error) => self.doubt_nbd(error)?,
            }
        }
        self.read_aside(number, buffer).map_err(|error| beside(error, &self.nbd_failure))
    }

    /// Begins again, with all that is no hole.
    ///
    /// # Errors
    ///
    /// As of [`next_segment`](Self::next_segment).
    pub fn restart(&mut self) -> Result<(), SourceError> {
        let mut reason =
            "what should not have changed has; it is read once more, all of it".to_owned();
        self.bytes_before += self.aside.take().map_or(0, |aside| aside.bytes_read());
        let By::Ranged(ranged) = &mut self.by else {
            return self.stream(reason, Due::All(0));
        };
        match ranged.restart(self.disk.in_full(&mut reason)) {
            Ok(()) => {
                self.disk.tell(Way::Nbd, false, reason);
                Ok(())
            }
            Err(error) => self.leave_nbd(error),
        }
    }

    /// Leaves the disk; how many bytes came. What came out of order counts only if the stream that
    /// gave it turns out to be whole.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn finish(mut self) -> Result<u64, SourceError> {
        if let Some(aside) = &mut self.aside {
            aside.finish().map_err(|error| beside(error, &self.nbd_failure))?;
        }
        Ok(self.bytes_read())
    }

    /// Notes what NBD met, unless nothing else will do.
    fn doubt_nbd(&mut self, error: XapiError) -> Result<(), SourceError> {
        if self.disk.changes.tracking == Tracking::Require {
            return Err(failed(&self.disk.name, error));
        }
        self.nbd_failure = format!("NBD failed: {}", told(&error));
        Ok(())
    }

    /// Takes the rest from a stream.
    fn leave_nbd(&mut self, error: XapiError) -> Result<(), SourceError> {
        self.doubt_nbd(error)?;
        let due = match &mut self.by {
            By::Ranged(ranged) => ranged.take_rest(),
            By::Streamed(_) => Due::All(0),
        };
        self.stream(self.nbd_failure.clone(), due)
    }

    /// Goes on with a stream, of which `due` is delivered.
    fn stream(&mut self, mut reason: String, due: Due) -> Result<(), SourceError> {
        let opened = self.disk.streamed(&mut reason);
        let (streamed, way) = opened.map_err(|error| beside(error, &self.nbd_failure))?;
        self.bytes_before += self.by.bytes_read();
        self.by = By::Streamed(Box::new(streamed.deliver(due)));
        self.disk.tell(way, false, reason);
        Ok(())
    }

    /// Segments out of order are asked for in rising order, mostly.
    fn read_aside(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        if let Some(mut passed) = self.aside.take_if(|aside| aside.has_passed(number)) {
            passed.finish()?;
            self.bytes_before += passed.bytes_read();
        }
        let aside = match &mut self.aside {
            Some(aside) => aside,
            none => {
                let mut reason = self.nbd_failure.clone();
                let (opened, way) = self.disk.streamed(&mut reason)?;
                self.disk.tell(way, false, reason);
                none.insert(opened)
            }
        };
        aside.read_segment(number, buffer)
    }
}

impl By {
    fn bytes_read(&self) -> u64 {
        match self {
            Self::Ranged(ranged) => ranged.bytes_read(),
            Self::Streamed(streamed) => streamed.bytes_read(),
        }
    }
}

/// The error of a stream, with what NBD had met before.
fn beside(error: SourceError, nbd_failure: &str) -> SourceError {
    if nbd_failure.is_empty() {
        return error;
    }
    let both = |place: String| format!("{place} ({nbd_failure})");
    match error {
        SourceError::Unrecognised { what } => SourceError::Unrecognised { what: both(what) },
        SourceError::Cut { place } => SourceError::Cut { place: both(place) },
        SourceError::Damaged { place, what } => SourceError::Damaged { place: both(place), what },
        SourceError::Io { place, source } => SourceError::Io { place: both(place), source },
    }
}
