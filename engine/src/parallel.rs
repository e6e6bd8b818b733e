//! Threads: the only file that makes any.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

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
