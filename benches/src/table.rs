//! The table that a run prints, and the machine that it ran on.

use std::fs;

/// One line of the budget.
#[derive(Debug)]
pub struct Row {
    /// The hot path.
    pub name: &'static str,
    /// What is allowed.
    pub budget: &'static str,
    /// What was seen.
    pub measured: String,
    /// Whether that is allowed.
    pub verdict: Verdict,
}

/// What is to be said of a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is within its budget.
    Ok,
    /// It is not.
    Misses,
    /// It cannot be told, and why.
    NotMeasured(&'static str),
}

impl Verdict {
    /// The verdict on a row that is within its budget or not.
    pub const fn of(is_within: bool) -> Self {
        if is_within { Self::Ok } else { Self::Misses }
    }
}

/// The rows as a Markdown table.
pub fn draw(rows: &[Row]) -> String {
    let mut text = "| row | budget | measured | verdict |\n| --- | --- | --- | --- |\n".to_owned();
    for Row { name, budget, measured, verdict } in rows {
        let verdict = match verdict {
            Verdict::Ok => "ok".to_owned(),
            Verdict::Misses => "**misses**".to_owned(),
            Verdict::NotMeasured(why) => format!("not measured: {why}"),
        };
        text += &format!("| {name} | {budget} | {measured} | {verdict} |\n");
    }
    text
}

/// Processor, number of cores, and how busy they are.
pub fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |rest| rest.trim_start_matches(['\t', ':', ' ']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, load {}", load())
}

/// The load of the last minute, as the system tells it.
pub fn load() -> String {
    let loadavg = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loadavg.split_whitespace().next().unwrap_or("unknown").to_owned()
}
