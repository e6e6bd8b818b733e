//! How a fail-over is told, and how the command ends.

use xen_source::xapi::destination::{Restored, RestoredDisk};
use xen_source::xapi::trial::Booted;

use super::*;
use crate::commands::dr::outlook::tests::{candidate, found};

fn outcome(place: usize) -> Outcome {
    Outcome {
        place,
        restored: None,
        booted: None,
        failure: None,
        elapsed: Duration::from_secs(60),
        ready: Duration::from_secs(100 + place as u64),
    }
}

fn restored(place: usize, is_verified: bool) -> Outcome {
    let disk = RestoredDisk {
        place: 0,
        name: "root".to_owned(),
        reference: "r".to_owned(),
        uuid: "d".to_owned(),
        sr: "nfs".to_owned(),
        size_bytes: 1,
        is_verified,
    };
    let restored = Restored {
        reference: Some("OpaqueRef:vm".to_owned()),
        uuid: Some("new".to_owned()),
        name: "web (dr test)".to_owned(),
        disks: vec![disk],
        macs: Vec::new(),
        replaced: None,
        is_started: false,
    };
    Outcome { restored: Some(restored), ..outcome(place) }
}

fn report(outcomes: &[Outcome]) -> FailOverReport {
    let names = ["web|1", "db", "mail"].into_iter().take(outcomes.len());
    let found = found(names.map(|name| candidate(name, "lan")).collect());
    FailOverReport::of("dr_test", "dr".to_owned(), 0, &found, outcomes)
}

#[test]
fn all_is_well_if_every_vm_is_there() {
    let booted = Booted { is_running: true, has_tools: Some(true) };
    let found =
        report(&[Outcome { booted: Some(booted), ..restored(0, true) }, restored(1, false)]);
    assert_eq!(found.exit(), Exit::Done);
    let text = found.text();
    assert!(text.contains("ok, disks identical, booted, tools seen\n"), "{text}");
    assert!(text.ends_with("2 restored, 1 booted (tools seen), 0 failed, RTO 1:41\n"), "{text}");
}

#[test]
fn one_that_failed_or_was_not_begun_makes_it_partly() {
    let failure = Failure::refusal("cannot restore db", "SR_FULL(1)", "make room");
    let failed = Outcome { failure: Some(failure), ..outcome(1) };
    let found = report(&[restored(0, false), failed, outcome(2)]);
    assert_eq!(found.exit(), Exit::Partly);
    let text = found.text();
    assert!(text.contains("FAILED: SR_FULL(1)\n") && text.contains("  not begun\n"), "{text}");
    assert!(text.ends_with("1 restored, 1 failed, 1 not begun, RTO 1:42\n"), "{text}");
}

#[test]
fn one_that_does_not_run_is_restored_and_makes_it_partly() {
    let off = Booted { is_running: false, has_tools: None };
    let no_tools = Booted { is_running: true, has_tools: Some(false) };
    for (booted, cell, closing) in [
        (off, "  restored, NOT STARTED: NO_HOSTS\n", "2 restored, 0 booted, 0 failed, RTO 1:41\n"),
        (no_tools, "  restored, BUT: NO_HOSTS\n", "2 restored, 1 booted, 0 failed, RTO 1:41\n"),
    ] {
        let failure = Some(Failure::refusal("cannot start db", "NO_HOSTS", "make room"));
        let bad = Outcome { booted: Some(booted), failure, ..restored(1, false) };
        let found = report(&[restored(0, false), bad]);
        assert_eq!((found.restored, found.failed, found.exit()), (2, 0, Exit::Partly));
        let text = found.text();
        assert!(text.contains(cell) && text.ends_with(closing), "{text}");
    }
}

#[test]
fn what_stays_on_the_pool_counts_and_what_is_only_to_be_known_does_not() {
    let mut found = report(&[restored(0, false)]);
    found.remark("vApp shop was not made".to_owned());
    assert_eq!(found.exit(), Exit::Done);
    found.note("a network stays".to_owned());
    assert_eq!(found.exit(), Exit::Partly);
    assert!(found.text().ends_with("note: vApp shop was not made\nnote: a network stays\n"));
}

#[test]
fn names_stay_in_their_cells() {
    let text = report(&[restored(0, false)]).kept(Form::Markdown);
    let row = text.lines().last().expect("a row");
    assert!(row.starts_with(r"| web\|1 |"), "{row}");
    assert_eq!(markdown::escaped("a\n<b>"), r"a?\<b\>");
}

#[test]
fn a_page_is_whole_and_names_stay_text_in_it() {
    let mut found = report(&[restored(0, false), outcome(1)]);
    found.vms[0].name = "<script>\"&".to_owned();
    let page = found.kept(Form::Html);
    assert!(page.starts_with("<!DOCTYPE html>\n") && page.ends_with("</html>\n"), "{page}");
    assert!(page.contains("<tr><td>&lt;script&gt;&quot;&amp;</td>"), "{page}");
    assert!(page.contains("<tr class=\"bad\"><td>db</td>"), "{page}");
    assert!(page.contains("<p>1 restored, 0 failed, 1 not begun, RTO 1:41</p>\n"), "{page}");
    assert_eq!(page.matches("<tr").count(), page.matches("</tr>").count());
}

#[test]
fn the_name_of_a_file_tells_its_form() {
    let of = |name: &str| Form::of(Path::new(name)).ok();
    assert_eq!(of("x/dr.md"), Some(Form::Markdown));
    assert_eq!((of("dr.txt"), of("dr.json")), (Some(Form::Text), Some(Form::Json)));
    assert_eq!(of("dr.html"), Some(Form::Html));
    assert_eq!((of("dr.pdf"), of("dr"), of(".md")), (None, None, None));
}
