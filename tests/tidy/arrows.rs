//! Who may use whom: between packages by their manifests, inside repo-format by the order of `lib.rs`.

use crate::tree::{check_none, read, root, rust_sources, without_tests};

/// For each package, which of ours it may depend on.
const ARROWS: [(&str, &[&str]); 4] = [
    ("repo-format", &[]),
    ("engine", &["repo-format"]),
    ("xen-source", &["engine"]),
    ("cli", &["repo-format", "engine", "xen-source"]),
];

/// Names of our packages that a manifest has as a key below a `...dependencies` heading.
fn our_dependencies(manifest: &str) -> Vec<String> {
    let ours = ["repo-format", "engine", "xen-source", "cli", "repo-tests", "repo-benches"];
    let mut found = Vec::new();
    let mut within = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[') {
            let heading = heading.trim_end_matches(']');
            within = heading.ends_with("dependencies");
            let single = heading.rsplit_once("dependencies.").map(|(_, name)| name.to_owned());
            found.extend(single);
        } else if within {
            let name: String =
                line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
            found.push(name);
        }
        if let Some((_, renamed)) = line.split_once("package = \"") {
            found.extend(renamed.split('"').next().map(str::to_owned));
        }
    }
    found.retain(|name| ours.contains(&name.replace('_', "-").as_str()));
    found
}

#[test]
fn every_arrow_between_packages_points_down() {
    let mut offenders = Vec::new();
    for (package, allowed) in ARROWS {
        let manifest = format!("{package}/Cargo.toml");
        if !root().join(&manifest).exists() {
            continue;
        }
        let names = our_dependencies(&read(&manifest)).into_iter();
        let wrong = names.filter(|name| name != package && !allowed.contains(&name.as_str()));
        offenders.extend(wrong.map(|name| format!("{package} depends on {name}")));
    }
    check_none("dependencies that ARCHITECTURE forbids:", offenders);
}

#[test]
fn dependencies_are_found_in_a_manifest() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nengine.workspace = true\nblake3 = \"1\"\n\
        cli = { path = \"../cli\" }\n[dependencies.repo-format]\npath = \"x\"\n[features]\nxen-source = []\n\
        [dev-dependencies]\nother = { package = \"repo-tests\" }\n";
    assert_eq!(our_dependencies(manifest), ["engine", "cli", "repo-format", "repo-tests"]);
}

/// The modules that `text` names as `crate::<module>`, alone or in braces.
fn used_modules(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => used.extend(list.split(',').map(|item| word(item.trim_start()))),
            None => used.push(word(rest)),
        }
    }
    used
}

#[test]
fn inside_repo_format_a_module_uses_only_those_above_it() {
    let library = read("repo-format/src/lib.rs");
    let listed = |line: &str| {
        let module = line.trim().trim_start_matches("pub ").strip_prefix("mod ")?;
        module.strip_suffix(';').map(str::to_owned)
    };
    let order: Vec<String> = library.lines().filter_map(listed).collect();
    let place = |module: &str| order.iter().position(|name| name == module);
    let mut offenders = Vec::new();
    for source in rust_sources() {
        let Some(path) = source.path.strip_prefix("repo-format/src/") else {
            continue;
        };
        let module = path.split(['/', '.']).next().expect("a name");
        if module == "lib" {
            continue;
        }
        let Some(own) = place(module) else {
            offenders.push(format!("{path} is not listed in lib.rs"));
            continue;
        };
        for used in used_modules(without_tests(&source.text)) {
            if place(&used).is_some_and(|place| place > own) {
                offenders.push(format!("{path} uses {used}, which stands below it"));
            }
        }
    }
    check_none("arrows that point up in repo-format/src/lib.rs:", offenders);
}

#[test]
fn used_modules_are_found() {
    let text = "use crate::wire::{Reader, Writer};\nuse crate::{error, limits::X};\n// crate::comment\nlet x = crate::seal::y();";
    assert_eq!(used_modules(text), ["wire", "error", "limits", "seal"]);
}
