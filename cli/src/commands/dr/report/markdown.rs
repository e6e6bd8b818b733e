//! The report of a test as Markdown.

use super::{COLUMNS, FailOverReport};

/// The page.
pub fn page(report: &FailOverReport) -> String {
    let pool = escaped(&report.pool);
    let mut text = format!("# Test of disaster recovery\n\nPool {pool}, {}\n\n", report.time);
    for line in report.closing().lines() {
        text += &format!("{}\n\n", escaped(line));
    }
    text += &row(&COLUMNS.map(|(name, _)| name.to_owned()));
    text += &row(&COLUMNS.map(|_| "---".to_owned()));
    report.vms.iter().for_each(|vm| text += &row(&vm.cells().map(|cell| escaped(&cell))));
    text
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Names come from strangers, and must stay in their cell.
pub fn escaped(text: &str) -> String {
    let special = |c: char| "\\|*_`<>[]#".contains(c);
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => escaped.push('?'),
            c if special(c) => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}
