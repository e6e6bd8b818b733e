//! Calls that fail in turn, and answers that are lost.

use super::world::World;

impl World {
    /// Whether it is the turn of this call to fail.
    pub fn fails_now(&mut self, method: &str) -> bool {
        if method.starts_with("task.") || method.starts_with("Async.") {
            return false;
        }
        let fails = is_turn(&mut self.fails_after);
        if fails && self.keeps_failing {
            self.fails_after = Some(0);
        }
        self.faults += usize::from(fails);
        fails
    }

    /// Whether it is the turn of this answer to be lost.
    pub fn loses_now(&mut self, method: &str) -> bool {
        let is_lost = !method.starts_with("task.") && is_turn(&mut self.loses_after);
        self.faults += usize::from(is_lost);
        is_lost
    }
}

/// Counts down; whether it was at its end.
fn is_turn(left: &mut Option<usize>) -> bool {
    let before = *left;
    *left = before.and_then(|before| before.checked_sub(1));
    before == Some(0)
}
