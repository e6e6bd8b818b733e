//! Threads: the only file that makes any.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, bounded};

/// A fixed number of worker threads.
pub struct Workers {
    pool: rayon::ThreadPool,
}

/// Threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start worker threads")]
pub struct WorkersError(#[source] rayon::ThreadPoolBuildError);

impl Workers {
    /// Starts `count` threads.
    pub fn start(count: NonZeroUsize) -> Result<Self, WorkersError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count.get())
            .thread_name(|number| format!("worker {number}"))
            // A job that panics never answers; whoever waits for the answer panics then.
            .panic_handler(|_| {})
            .build()
            .map_err(WorkersError)?;
        Ok(Self { pool })
    }

    /// Number of threads.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// A queue of jobs whose results come back in the order in which they were submitted.
    /// At most `limit` are under way, so memory is bounded by `limit` times a job's size.
    #[must_use]
    pub fn ordered<T: Send + 'static>(&self, limit: usize) -> Ordered<'_, T> {
        Ordered { workers: self, limit: limit.max(1), waiting: VecDeque::new() }
    }
}

/// Jobs under way; see [`Workers::ordered`].
pub struct Ordered<'w, T> {
    workers: &'w Workers,
    limit: usize,
    waiting: VecDeque<Receiver<T>>,
}

impl<T: Send + 'static> Ordered<'_, T> {
    /// Starts a job.
    pub fn submit(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        let (sender, receiver) = bounded(1);
        self.waiting.push_back(receiver);
        // The receiver is gone only when the command has failed already.
        self.workers.pool.spawn(move || drop(sender.send(job())));
    }

    /// Whether [`Self::next`] should be called before the next submit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.limit
    }

    /// Waits for the oldest job; `None` when none is under way.
    #[allow(clippy::should_implement_trait, reason = "an iterator would invite to collect it")]
    pub fn next(&mut self) -> Option<T> {
        let receiver = self.waiting.pop_front()?;
        Some(receiver.recv().expect("a worker panicked"))
    }

    /// Whether no job is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Items that lanes take one by one, in their order.
pub struct Turns<'a, T> {
    items: &'a [T],
    next: &'a AtomicUsize,
}

impl<'a, T> Iterator for Turns<'a, T> {
    /// The place of an item that nobody else has, and the item.
    type Item = (usize, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        Some((place, self.items.get(place)?))
    }
}

/// Runs `lane` in up to `lanes` threads, of which the caller's is one, until they have taken all `items`. Returns what
/// they return, in no order.
pub fn in_lanes<T: Sync, U: Send>(
    lanes: NonZeroUsize,
    items: &[T],
    lane: impl Fn(Turns<'_, T>) -> U + Sync,
) -> Vec<U> {
    let next = AtomicUsize::new(0);
    let run = || lane(Turns { items, next: &next });
    thread::scope(|scope| {
        let others: Vec<_> = (1..lanes.get().min(items.len()))
            .map_while(|number| {
                let thread = thread::Builder::new().name(format!("lane {number}"));
                // Without it the others have more to do.
                thread.spawn_scoped(scope, run).ok()
            })
            .collect();
        let mut results = vec![run()];
        for other in others {
            match other.join() {
                Ok(result) => results.push(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn lanes_work_at_once() {
        let meet = Barrier::new(3);
        let mut done = in_lanes(NonZeroUsize::new(3).unwrap(), &['a', 'b', 'c'], |turns| {
            // Nobody passes before all three have begun.
            meet.wait();
            turns.map(|(place, item)| (place, *item)).collect::<Vec<_>>()
        })
        .concat();
        done.sort_unstable();
        assert_eq!(done, [(0, 'a'), (1, 'b'), (2, 'c')]);
    }

    #[test]
    fn one_lane_takes_the_items_in_their_order() {
        let items = [3, 1, 2];
        let taken = in_lanes(NonZeroUsize::MIN, &items, |turns| {
            turns.map(|(_, item)| *item).collect::<Vec<_>>()
        });
        assert_eq!(taken, [items]);
        assert_eq!(in_lanes(NonZeroUsize::MIN, &[0; 0], |turns| turns.count()), [0]);
    }
}
