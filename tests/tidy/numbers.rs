//! SPEC.md, code and tests share one numbering (style B21).

use std::collections::BTreeSet;

use crate::tree::{check_none, read, rust_sources};

/// `2`, `4.3`: what stands at the start of `text`.
fn number(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].trim_end_matches('.');
    number.starts_with(|c: char| c.is_ascii_digit()).then_some(number)
}

fn headings() -> BTreeSet<String> {
    let spec = read("SPEC.md");
    let heading = |line: &str| {
        let text = line.strip_prefix("### ").or_else(|| line.strip_prefix("## "))?;
        number(text).map(str::to_owned)
    };
    let found: BTreeSet<String> = spec.lines().filter_map(heading).collect();
    assert!(found.contains("1") && found.contains("3.1"), "SPEC.md has lost its headings");
    found
}

/// Every number in a quotation such as `SPEC 3.1, 3.2` or `SPEC 7 to 11`.
fn quoted(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (at, _) in text.match_indices("SPEC ") {
        let mut rest = &text[at + "SPEC ".len()..];
        while let Some(found) = number(rest) {
            all.push(found.to_owned());
            rest = &rest[found.len()..];
            let next = [", ", " to ", " and "].iter().find_map(|mark| rest.strip_prefix(mark));
            let Some(next) = next else {
                break;
            };
            rest = next;
        }
    }
    all
}

#[test]
fn every_section_that_is_quoted_exists() {
    let headings = headings();
    let mut offenders = Vec::new();
    for source in rust_sources() {
        for (line, text) in (1..).zip(source.text.lines()) {
            let unknown = quoted(text).into_iter().filter(|number| !headings.contains(number));
            offenders
                .extend(unknown.map(|number| format!("{}:{line}: SPEC {number}", source.path)));
        }
    }
    // The numbers that the next test makes up are no quotations.
    offenders.retain(|offender| !offender.starts_with("tests/tidy/numbers.rs"));
    check_none("sections that SPEC.md does not have:", offenders);
}

#[test]
fn quotations_are_found() {
    assert_eq!(quoted("x (SPEC 3.1, 3.2), SPEC 7 to 11."), ["3.1", "3.2", "7", "11"]);
    assert_eq!(quoted("as SPEC 6, step by step, and SPEC.md"), ["6"]);
    assert_eq!(quoted("SPEC 12.2, 4 of them"), ["12.2", "4"]);
}

/// `s4_3` at the start of a test's name is section 4.3, `s13` section 13.
fn section_of(test: &str) -> Option<String> {
    let mut parts = test.strip_prefix('s')?.split('_');
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let chapter = parts.next().filter(digits)?;
    let section = parts.next().filter(digits);
    Some(section.map_or(chapter.to_owned(), |section| format!("{chapter}.{section}")))
}

/// Names of the tests in a file.
fn tests(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| marked) {
            found.extend(rest.split('(').next().map(str::to_owned));
            marked = false;
        }
    }
    found
}

#[test]
fn every_test_of_the_specification_begins_with_its_section() {
    let headings = headings();
    let mut offenders = Vec::new();
    for source in rust_sources() {
        let specified =
            ["tests/spec/", "repo-format/"].iter().any(|home| source.path.starts_with(home));
        for test in tests(&source.text).into_iter().filter(|_| specified) {
            if section_of(&test).is_none_or(|section| !headings.contains(&section)) {
                offenders.push(format!("{}: {test}", source.path));
            }
        }
    }
    check_none("tests without a section of SPEC.md in their names:", offenders);
}

#[test]
fn every_section_of_the_format_has_a_test() {
    let wanted = ["2", "3", "4", "5", "6", "7", "8", "9", "11", "13", "16"];
    let tested: BTreeSet<String> = rust_sources()
        .iter()
        .filter(|source| source.path.starts_with("tests/spec/"))
        .flat_map(|source| tests(&source.text))
        .filter_map(|test| section_of(&test))
        .collect();
    let of_the_format = |number: &&String| {
        let chapter = number.split('.').next().expect("a number");
        let divided = headings().contains(&format!("{number}.1"));
        wanted.contains(&chapter) && !divided
    };
    let missing = headings()
        .iter()
        .filter(of_the_format)
        .filter(|n| !tested.contains(*n))
        .cloned()
        .collect::<Vec<_>>();
    check_none("sections of SPEC.md without a test in tests/spec:", missing);
}
