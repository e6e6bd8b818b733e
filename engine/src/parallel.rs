//! Threads: the only file that makes any.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
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

/// Does `work` for each of `items`, in up to `lanes` threads of which the caller's is one. Items are
/// begun in their order, and the results stand in it, whichever was done first.
pub fn in_lanes<T: Sync, U: Send>(
    lanes: NonZeroUsize,
    items: &[T],
    work: impl Fn(&T) -> U + Sync,
) -> Vec<U> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<U>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let lane = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((item, result)) = items.get(place).zip(results.get(place)) else { break };
            let done = work(item);
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        }
    };
    thread::scope(|scope| {
        for number in 1..lanes.get().min(items.len()) {
            let thread = thread::Builder::new().name(format!("lane {number}"));
            // Without it the others have more to do.
            if thread.spawn_scoped(scope, lane).is_err() {
                break;
            }
        }
        lane();
    });
    let done = results.into_iter().map(|result| result.into_inner());
    done.map(|done| {
        done.unwrap_or_else(PoisonError::into_inner).expect("a lane ends when all is done")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn lanes_work_at_once_and_give_results_in_the_order_of_the_items() {
        let lanes = NonZeroUsize::new(3).unwrap();
        let meet = Barrier::new(3);
        let done = in_lanes(lanes, &[0, 1, 2], |item| {
            // Nobody passes before all three have begun.
            meet.wait();
            item * 10
        });
        assert_eq!(done, [0, 10, 20]);
    }

    #[test]
    fn one_lane_takes_the_items_one_by_one() {
        let begun = Mutex::new(Vec::new());
        in_lanes(NonZeroUsize::MIN, &[3, 1, 2], |item| begun.lock().unwrap().push(*item));
        assert_eq!(*begun.lock().unwrap(), [3, 1, 2]);
        assert_eq!(in_lanes(NonZeroUsize::MIN, &[0; 0], |_| ()), []);
    }
}
