//! `completions`: for shells.

use clap::CommandFactory as _;

use crate::advice::Failure;
use crate::args::{Args, CompletionsArgs};
use crate::exit::Exit;
use crate::report;

/// Prints completions.
pub fn run(args: CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "xenith", &mut script);
    report::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
