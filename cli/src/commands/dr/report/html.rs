//! The report of a test as a page that stands alone: no script, and nothing that is fetched.

use super::{COLUMNS, FailOverReport, VmEntry};

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid #ccc;padding:.3rem .6rem;text-align:left}\
.bad{color:#b00020;font-weight:600}@media print{body{margin:0}}";

/// The page.
pub fn page(report: &FailOverReport) -> String {
    let title = format!("Test of disaster recovery: {}", escaped(&report.pool));
    let heading: String = COLUMNS.iter().map(|(name, _)| format!("<th>{name}</th>")).collect();
    let rows: String = report.vms.iter().map(row).collect();
    let closing: String = report.closing().lines().map(paragraph).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n<p>{}</p>\n{closing}\
         <table>\n<tr>{heading}</tr>\n{rows}</table>\n</body>\n</html>\n",
        escaped(&report.time),
    )
}

fn row(vm: &VmEntry) -> String {
    let is_bad = if vm.state == "restored" { "" } else { " class=\"bad\"" };
    let cells = vm.cells().map(|cell| format!("<td>{}</td>", escaped(&cell)));
    format!("<tr{is_bad}>{}</tr>\n", cells.concat())
}

fn paragraph(line: &str) -> String {
    format!("<p>{}</p>\n", escaped(line))
}

/// Names come from strangers, and must stay text.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}
