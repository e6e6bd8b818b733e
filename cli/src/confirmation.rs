//! A question before something that cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use crate::advice::{Failure, refused};

/// Longest answer that is read, in bytes.
const ANSWER_LEN_MAX: u64 = 256;

/// Goes on if `yes` was typed with the command, or if somebody at the terminal types `word` now.
///
/// `doing` reads on after "error: ", `what` says what cannot be undone.
pub fn confirm(yes: bool, doing: &str, what: &str, word: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return refused(
            doing,
            format!("{what}, and nobody has agreed to that"),
            "nothing was done; agree with --yes, or run it at a terminal",
        );
    }
    let mut answer = String::new();
    // A terminal that is gone gives no answer.
    let _ = write!(io::stderr(), "{what}. Type {word} to go on: ");
    let _ = io::stderr().flush();
    let _ = io::stdin().lock().take(ANSWER_LEN_MAX).read_line(&mut answer);
    match answer.trim() == word {
        true => Ok(()),
        false => refused(doing, format!("{word} was not typed"), "nothing was done"),
    }
}
