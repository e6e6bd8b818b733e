//! A file is a page (style B25): short, plain, with a heading, and known to somebody.

use crate::tree::{Source, check_none, read, rust_sources, without_tests};

const LINES_MAX: usize = 500;
const BANNED: [&str; 6] = ["utils", "util", "helpers", "common", "manager", "misc"];

fn is_test(source: &Source) -> bool {
    source.path.starts_with("tests/") || source.path.ends_with("/tests.rs")
}

#[test]
fn no_file_is_longer_than_500_lines_without_its_tests() {
    let long = |source: &Source| {
        let lines = without_tests(&source.text).lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines}", source.path))
    };
    let sources = rust_sources();
    let offenders = sources.iter().filter(|source| !is_test(source)).filter_map(long);
    check_none("files of more than 500 lines:", offenders);
}

#[test]
fn sources_are_ascii() {
    let odd = |source: &Source| {
        let lines = (1..).zip(source.text.lines());
        let odd = lines.filter(|(_, line)| !line.is_ascii());
        odd.map(|(line, _)| format!("{}:{line}", source.path)).collect::<Vec<_>>()
    };
    check_none("lines that are not ASCII:", rust_sources().iter().flat_map(odd));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |source: &Source| {
        let spoken = source.text.lines().next().is_some_and(|line| line.starts_with("//! "));
        (!spoken).then(|| source.path.clone())
    };
    check_none("files that do not begin with `//!`:", rust_sources().iter().filter_map(silent));
}

#[test]
fn no_file_is_named_for_a_drawer() {
    let drawer = |source: &Source| {
        let mut parts = source.path.split(['/', '.']);
        parts.any(|part| BANNED.contains(&part)).then(|| source.path.clone())
    };
    check_none("files whose names say nothing:", rust_sources().iter().filter_map(drawer));
}

/// A test that is not wired does not run, and nobody notices.
#[test]
fn every_test_file_is_wired() {
    let mut offenders = Vec::new();
    for source in rust_sources().iter().filter(|source| source.path.starts_with("tests/")) {
        let Some((folder, file)) = source.path.rsplit_once('/') else {
            continue;
        };
        let module = file.trim_end_matches(".rs");
        if ["main", "lib"].contains(&module) {
            continue;
        }
        let owners = ["/main.rs", "/lib.rs", ".rs"].map(|owner| format!("{folder}{owner}"));
        let owners = rust_sources().into_iter().filter(|other| owners.contains(&other.path));
        let line = format!("mod {module};");
        let wired = owners.into_iter().any(|owner| {
            owner.text.lines().any(|found| found.trim_start_matches("pub ").trim() == line)
        });
        if !wired {
            offenders.push(format!("{}: no `{line}` above it", source.path));
        }
    }
    check_none("test files that nobody compiles:", offenders);
}

#[test]
fn every_folder_of_tests_is_a_target() {
    let manifest = read("tests/Cargo.toml");
    let mains = rust_sources().into_iter().filter_map(|source| {
        let folder = source.path.strip_prefix("tests/")?.strip_suffix("/main.rs")?.to_owned();
        Some(folder)
    });
    let forgotten =
        mains.filter(|folder| !manifest.contains(&format!("path = \"{folder}/main.rs\"")));
    check_none("folders that tests/Cargo.toml does not name:", forgotten);
}
