//! Children: some rows measure a process of its own, since peak memory is one per process.
//!
//! The program runs itself as `benches --child JOB ARGUMENT...`; the child prints lines of a name and a number.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use crate::rows::{Measured, index, memory, nights};

/// The first argument of a child.
pub const FLAG: &str = "--child";

/// Does a job as a child.
pub fn run(arguments: &[String]) -> Measured<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["index-build", directory, records] => index::build(directory, records.parse()?),
        ["index-ask", directory, records] => index::ask(directory, records.parse()?),
        ["memory", job, directory, bytes] => memory::run(job, directory, bytes.parse()?),
        ["night", repository, cache, disk, night] => {
            nights::run(repository, cache, disk, night.parse()?)
        }
        _ => Err("unknown job".into()),
    }
}

/// Runs a child to its end; what it printed.
pub fn start(arguments: &[&str]) -> Measured<HashMap<String, f64>> {
    let child = Command::new(std::env::current_exe()?)
        .arg(FLAG)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    if !child.status.success() {
        return Err(format!("child {} failed", arguments.join(" ")).into());
    }
    let text = String::from_utf8(child.stdout)?;
    let parse = |line: &str| {
        let (name, number) = line.split_once(' ').ok_or("a child prints names and numbers")?;
        Ok((name.to_owned(), number.parse()?))
    };
    text.lines().map(parse).collect()
}

/// MiB of this process, now (`VmRSS`) or at its peak (`VmHWM`).
pub fn resident_mib(field: &str) -> Measured<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib / 1024.0)
}
