//! The performance budget (SPEC 15), row by row: what is allowed, what was measured, and the verdict.
//!
//! ```text
//! cargo run --release -p benches -- [--tiny|--full] [ROW...]
//! ```
//!
//! Everything that is a ratio is measured as one, in one run (see [`harness`]); a miss is printed and is no failure.

mod child;
mod counting;
mod disks;
mod harness;
mod journal;
mod profiles;
mod repositories;
mod rows;
mod samples;
mod series;
mod survey;
mod table;

use std::process::ExitCode;

use rows::{GROUPS, Group, Measured};

/// How much work a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Seconds: sizes at which everything is exercised and little is proved.
    Tiny,
    /// Minutes and gigabytes: the sizes that the budget speaks of.
    Full,
}

impl Scale {
    /// The value for this scale.
    pub fn pick<T>(self, tiny: T, full: T) -> T {
        match self {
            Self::Tiny => tiny,
            Self::Full => full,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == child::FLAG => child::run(rest),
        _ => parse(&arguments).and_then(|(scale, groups)| measure(scale, &groups)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Measured<(Scale, Vec<&'static Group>)> {
    let (mut scale, mut groups) = (Scale::Tiny, Vec::new());
    for argument in arguments {
        match argument.as_str() {
            "--tiny" => scale = Scale::Tiny,
            "--full" => scale = Scale::Full,
            name => match GROUPS.iter().find(|group| group.name == name) {
                Some(group) => groups.push(group),
                None => {
                    let names: Vec<_> = GROUPS.iter().map(|group| group.name).collect();
                    return Err(format!("no row {name}; there are {}", names.join(", ")).into());
                }
            },
        }
    }
    if groups.is_empty() {
        groups.extend(&GROUPS);
    }
    Ok((scale, groups))
}

fn measure(scale: Scale, groups: &[&Group]) -> Measured<()> {
    let mut rows = Vec::new();
    for group in groups {
        eprintln!("{} ...", group.name);
        let found = (group.measure)(scale).map_err(|error| format!("{}: {error}", group.name))?;
        rows.extend(found);
    }
    println!("{scale:?} sizes; {}\n", table::machine());
    println!("{}", table::draw(&rows));
    Ok(())
}
