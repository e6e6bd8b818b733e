//! The source tree, and how offenders are shown.

use std::fs;
use std::path::{Path, PathBuf};

/// The packages of the workspace. Those that are not there yet have no files.
pub const PACKAGES: [&str; 6] = ["repo-format", "engine", "xen-source", "cli", "tests", "benches"];

/// What is generated or belongs to nobody.
const SKIPPED: [&str; 3] = ["target", "node_modules", "proptest-regressions"];

/// A file, by its path from the root of the workspace.
pub struct Source {
    /// With `/` between the parts.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_owned()
}

/// The text of a file that must be there.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file of every package, sorted.
pub fn rust_sources() -> Vec<Source> {
    let mut sources = Vec::new();
    PACKAGES.iter().for_each(|package| collect(Path::new(package), &mut sources));
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 30, "the source tree was not found");
    sources
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(root().join(folder)) else {
        return;
    };
    for entry in entries.map(|entry| entry.expect("a readable folder")) {
        let name = entry.file_name().into_string().expect("file names are text");
        let path = folder.join(&name);
        match entry.file_type().expect("a readable folder").is_dir() {
            true if SKIPPED.contains(&name.as_str()) || name.starts_with('.') => {}
            true => collect(&path, sources),
            false if path.extension().is_some_and(|ending| ending == "rs") => {
                let path = path.to_str().expect("paths are text").to_owned();
                sources.push(Source { text: read(&path), path });
            }
            false => {}
        }
    }
}

/// Fails with a list of what breaks `rule`.
#[track_caller]
pub fn check_none(rule: &str, offenders: impl IntoIterator<Item = String>) {
    let offenders: Vec<String> = offenders.into_iter().collect();
    assert!(offenders.is_empty(), "{rule}\n  {}", offenders.join("\n  "));
}

/// A source without its tests: what stands before `#[cfg(test)]` on a module.
pub fn without_tests(text: &str) -> &str {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    &text[..end]
}
