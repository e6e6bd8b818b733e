//! Merging: many sorted runs become one, and which layers are worth it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::block::CacheDamaged;

/// Hands out the records of all runs, sorted. Duplicates are kept; after an error it ends.
pub struct Merge<const W: usize, I> {
    runs: Vec<I>,
    heads: BinaryHeap<Reverse<([u8; W], usize)>>,
    failed: Option<CacheDamaged>,
}

impl<const W: usize, I> Merge<W, I>
where
    I: Iterator<Item = Result<[u8; W], CacheDamaged>>,
{
    /// Merges `runs`, each sorted by key.
    pub fn new(runs: impl IntoIterator<Item = I>) -> Self {
        let mut merge = Self { runs: Vec::new(), heads: BinaryHeap::new(), failed: None };
        for run in runs {
            merge.runs.push(run);
            if let Some(head) = merge.pull(merge.runs.len() - 1) {
                merge.heads.push(head);
            }
        }
        merge
    }

    fn pull(&mut self, run: usize) -> Option<Reverse<([u8; W], usize)>> {
        match self.runs[run].next()? {
            Ok(record) => Some(Reverse((record, run))),
            Err(damaged) => {
                self.failed = Some(damaged);
                None
            }
        }
    }
}

impl<const W: usize, I> Iterator for Merge<W, I>
where
    I: Iterator<Item = Result<[u8; W], CacheDamaged>>,
{
    type Item = Result<[u8; W], CacheDamaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(damaged) = self.failed.take() {
            self.heads.clear();
            return Some(Err(damaged));
        }
        let Reverse((record, run)) = *self.heads.peek()?;
        let next = self.pull(run);
        let mut top = self.heads.peek_mut()?;
        match next {
            Some(head) => *top = head,
            None => {
                std::collections::binary_heap::PeekMut::pop(top);
            }
        }
        Some(Ok(record))
    }
}

/// Sorted records without duplicates.
pub fn distinct<const W: usize>(
    records: impl Iterator<Item = Result<[u8; W], CacheDamaged>>,
) -> impl Iterator<Item = Result<[u8; W], CacheDamaged>> {
    let mut last = None;
    records.filter(move |record| match record {
        Ok(record) => last.replace(*record) != Some(*record),
        Err(_) => true,
    })
}

/// How many of the smallest layers become one, given all sizes from large to small; 0 if there are not more than
/// `layers_max`. Takes enough to stay below, and then all that are no more than twice what was taken: so a record
/// is written again only when its layer grows by half or more, a number of times that grows with the logarithm.
pub fn merge_count(sizes: &[u64], layers_max: usize) -> usize {
    if sizes.len() <= layers_max {
        return 0;
    }
    let must = sizes.len() - layers_max + 1;
    let (mut count, mut sum) = (0, 0_u64);
    for size in sizes.iter().rev() {
        if count >= must && *size > sum.saturating_mul(2) {
            break;
        }
        count += 1;
        sum = sum.saturating_add(*size);
    }
    count
}
