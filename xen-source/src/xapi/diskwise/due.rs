//! What of a disk is still to be delivered.

use engine::source::SEGMENT_LEN;

use crate::xapi::changed::Part;

/// What is due, in order.
pub enum Due {
    /// Every segment from this one on.
    All(u64),
    /// These parts.
    Parts(std::vec::IntoIter<(u64, Part)>),
}

impl Due {
    /// Parts in their order.
    pub fn parts(parts: Vec<(u64, Part)>) -> Self {
        Self::Parts(parts.into_iter())
    }

    /// What is next on a disk of `size_bytes`, which counts as done then.
    pub fn next(&mut self, size_bytes: u64) -> Option<(u64, Part)> {
        match self {
            Self::Parts(parts) => parts.next(),
            Self::All(next) if *next < size_bytes.div_ceil(SEGMENT_LEN as u64) => {
                *next += 1;
                Some((*next - 1, Part::Whole))
            }
            Self::All(_) => None,
        }
    }

    /// The same with `again` before it, which had been done.
    pub fn after(self, again: impl IntoIterator<Item = (u64, Part)>) -> Self {
        let mut again = again.into_iter().peekable();
        match self {
            Self::All(next) => Self::All(again.peek().map_or(next, |(number, _)| *number)),
            Self::Parts(parts) => Self::parts(again.chain(parts).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is due on a disk of three segments.
    fn left(mut due: Due) -> Vec<(u64, Part)> {
        std::iter::from_fn(|| due.next(2 * SEGMENT_LEN as u64 + 1)).collect()
    }

    #[test]
    fn what_was_done_for_nothing_is_due_again() {
        let whole = |number| (number, Part::Whole);
        assert_eq!(left(Due::All(0)), [0, 1, 2].map(whole));
        assert_eq!(left(Due::All(2).after([])), [whole(2)]);
        assert_eq!(left(Due::All(3).after([1, 2].map(whole))), [1, 2].map(whole));
        let parts = [(4, Part::Units(3)), (7, Part::Sample), whole(9)];
        let after = Due::parts(parts[2..].to_vec()).after(parts[..2].to_vec());
        assert_eq!(left(after), parts);
    }
}
