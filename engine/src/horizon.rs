//! The horizon of a restore: windows are planned before their turn, and what they need of a frame that is opened for
//! an earlier one is held for them, so that a frame is opened once though its blocks lie far apart on the disk.
//!
//! Holding is a favour. A window whose helper failed, and every second attempt, is planned again with nothing held.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Weak};

use crate::parallel::Workers;
use crate::reader::{ContentReadError, Reader};
use crate::walk::Segments;
use crate::window::plan::{Frame, Held, Plan};
use crate::window::{NumberedSegment, Prepared, VerifiedSegment, Window};

mod share;
#[cfg(test)]
mod tests;

pub use share::{Share, WINDOW};

/// Windows that are planned: 4 GiB of a disk that is restored alone.
const WINDOWS_MAX: usize = 64;

/// The windows of a disk, one after the other.
pub struct Horizon<'r> {
    reader: &'r Reader<'r>,
    workers: &'r Workers,
    share: Share,
    /// Buffers that no window has. With those of two windows they are never more than two windows take.
    spare: Vec<Vec<u8>>,
    /// Gone at the end of the disk, or where the walk has failed.
    walk: Option<Segments<&'r Reader<'r>>>,
    /// Why the walk failed; told when its turn has come.
    failure: Option<ContentReadError>,
    ahead: VecDeque<Ahead>,
    /// What is held for windows that have begun.
    under_way: Vec<Weak<Held>>,
}

/// A window to come.
enum Ahead {
    Planned(Prepared),
    /// It failed; it is tried again when its turn has come.
    Unplanned(Vec<NumberedSegment>),
}

impl Ahead {
    fn plan(reader: &Reader<'_>, wanted: Vec<NumberedSegment>) -> Self {
        match Prepared::new(reader, wanted.clone(), &BTreeSet::new()) {
            Ok(prepared) => Self::Planned(prepared),
            Err(_) => Self::Unplanned(wanted),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Planned(prepared) => prepared.plan.len(),
            Self::Unplanned(_) => 0,
        }
    }
}

impl<'r> Horizon<'r> {
    /// Of the segments that `walk` still has, in the memory of `share`.
    pub fn over(
        reader: &'r Reader<'r>,
        workers: &'r Workers,
        walk: Segments<&'r Reader<'r>>,
        share: Share,
    ) -> Self {
        let (spare, ahead, under_way) = (Vec::new(), VecDeque::new(), Vec::new());
        Self { reader, workers, share, spare, walk: Some(walk), failure: None, ahead, under_way }
    }

    /// Begins the next window; `None` at the end. At most one other may be under way: it is to be [finished](Self::finish)
    /// before this one, and its buffers [given back](Self::give_back) before the next is begun.
    pub fn next_window(&mut self) -> Result<Option<Window<'r>>, ContentReadError> {
        self.look_ahead();
        let (reader, workers) = (self.reader, self.workers);
        let mut next = match self.ahead.pop_front() {
            Some(Ahead::Planned(prepared)) => prepared,
            Some(Ahead::Unplanned(wanted)) => {
                return Window::start(reader, workers, wanted, &mut self.spare).map(Some);
            }
            None => return self.failure.take().map_or(Ok(None), Err),
        };
        self.lend(&mut next);
        let wanted = next.wanted.clone();
        match Window::launch(reader, workers, next, &mut self.spare) {
            Err(error) if error.may_heal() => {
                Window::start(reader, workers, wanted, &mut self.spare)
            }
            window => window,
        }
        .map(Some)
    }

    /// Waits until all of `window` is there and verified.
    pub fn finish(&mut self, window: Window<'r>) -> Result<Vec<VerifiedSegment>, ContentReadError> {
        window.finish(&mut self.spare)
    }

    /// Takes the buffer of a segment that was written.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }

    /// Plans anew what was planned with an index of before, and more windows up to the horizon.
    fn look_ahead(&mut self) {
        let reader = self.reader;
        let current = reader.loaded();
        for ahead in &mut self.ahead {
            if let Ahead::Planned(prepared) = ahead
                && !Arc::ptr_eq(&prepared.loaded, &current)
            {
                *ahead = Ahead::plan(reader, std::mem::take(&mut prepared.wanted));
            }
        }
        let mut copies: usize = self.ahead.iter().map(Ahead::len).sum();
        while self.ahead.len() < WINDOWS_MAX
            && copies < self.share.copies
            && let Some(walk) = &mut self.walk
        {
            match walk.next_window(self.share.window) {
                Ok(wanted) if !wanted.is_empty() => {
                    let ahead = Ahead::plan(reader, wanted);
                    copies += ahead.len();
                    self.ahead.push_back(ahead);
                }
                end => {
                    self.walk = None;
                    self.failure = end.err();
                }
            }
        }
    }

    /// Lets `next` hold what later windows need of the frames that it opens.
    fn lend(&mut self, next: &mut Prepared) {
        self.under_way.extend(next.plan.held.values().map(Arc::downgrade));
        self.under_way.retain(|held| held.strong_count() > 0);
        let len = |held: &Weak<Held>| held.upgrade().map_or(0, |held| held.len());
        let under_way: usize = self.under_way.iter().map(len).sum();
        let mut later = Vec::with_capacity(self.ahead.len());
        for ahead in &mut self.ahead {
            // Numbers of packs say nothing beside another index.
            if let Ahead::Planned(ahead) = ahead
                && Arc::ptr_eq(&ahead.loaded, &next.loaded)
            {
                later.push(&mut ahead.plan);
            }
        }
        hold(&mut next.plan, &mut later, self.share.held.saturating_sub(under_way));
    }
}

/// Something that could be held.
struct Offer {
    /// Place among the later windows.
    window: usize,
    frame: Frame,
    held: Arc<Held>,
    /// Whether the next window would have to copy it.
    is_new: bool,
}

/// Decides what is held for the windows in `later`, in at most `limit` bytes: of what is held for them already, and of
/// the frames that `next` opens. All that a window needs of a frame, or nothing.
fn hold(next: &mut Plan, later: &mut [&mut Plan], limit: usize) {
    let mut offers = Vec::new();
    for (window, later) in later.iter_mut().enumerate() {
        let mut offer = |frame, held, is_new| offers.push(Offer { window, frame, held, is_new });
        for frame in next.opened() {
            if let Some(copies) = later.copies.get(&frame)
                && !later.held.contains_key(&frame)
            {
                offer(frame, Arc::new(Held::of(copies)), true);
            }
        }
        let held = std::mem::take(&mut later.held);
        held.into_iter().for_each(|(frame, held)| offer(frame, held, false));
    }
    for Offer { window, frame, held, is_new } in choose(offers, limit) {
        if is_new {
            next.holds.entry(frame).or_default().push(Arc::downgrade(&held));
        }
        later[window].held.insert(frame, held);
    }
}

/// The offers that fit, the cheapest first: each spares a frame, and takes its bytes until its window has come.
fn choose(mut offers: Vec<Offer>, limit: usize) -> Vec<Offer> {
    offers.sort_by_key(|offer| (cost(offer.window, offer.held.len()), offer.window, offer.frame));
    let mut room = limit;
    offers.retain(|offer| {
        let left = room.checked_sub(offer.held.len());
        room = left.unwrap_or(room);
        left.is_some()
    });
    offers
}

/// Of holding so many bytes for the window at this place.
const fn cost(window: usize, len: usize) -> usize {
    len.saturating_mul(window + 1)
}
