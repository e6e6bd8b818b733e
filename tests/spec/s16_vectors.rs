//! SPEC 16: the vectors in `tests/golden/`, which any other reader can check itself against.
//!
//! Each file is compared with what the code makes now from the same fixed inputs, and every object in it is opened
//! again. `XENITH_BLESS=1` writes the files anew: only when SPEC.md has changed, and then in the same commit.

mod codec;
mod json;
mod keys;
mod sealing;

use repo_tests::fixed::noise;
use serde_json::Value;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    repo_format::id::to_hex(bytes.as_ref())
}

#[track_caller]
fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a text of hex digits");
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(pair).collect()
}

#[track_caller]
fn unhex_array<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().expect("a value of this length")
}

/// Compares a golden file with what the code makes now, and returns the committed one.
#[track_caller]
fn check_golden(name: &str, made: &Value) -> Value {
    let path = format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("XENITH_BLESS").is_some() {
        std::fs::write(&path, json::page(made)).expect("tests/golden can be written");
    }
    let text = std::fs::read_to_string(&path).expect("the golden file is there");
    let committed: Value = serde_json::from_str(&text).expect("the golden file is JSON");
    let differences = json::differences(&committed, made);
    assert!(differences.is_empty(), "{name} and the code differ in\n{}", differences.join("\n"));
    assert_eq!(text, json::page(made), "{name} has another form than XENITH_BLESS=1 gives it");
    committed
}

#[test]
fn s16_keys_are_derived_and_slots_opened_as_ever() {
    let committed = check_golden("keys.json", &keys::made());
    keys::check_read(&committed);
}

#[test]
fn s16_frames_are_sealed_as_ever() {
    let committed = check_golden("seal.json", &sealing::made());
    sealing::check_read(&committed);
}

#[test]
fn s16_cuts_are_made_as_ever() {
    check_golden("chunker.json", &sealing::cuts());
}

#[test]
fn s16_objects_are_encoded_and_read_as_ever() {
    let committed = check_golden("codec.json", &codec::made());
    codec::check_read(&committed);
}

#[test]
fn s16_every_golden_file_is_described() {
    let golden = format!("{}/golden", env!("CARGO_MANIFEST_DIR"));
    let read =
        |name: &str| std::fs::read_to_string(format!("{golden}/{name}")).expect("it is there");
    let readme = read("README.md");
    let mut missing = Vec::new();
    for name in ["keys.json", "seal.json", "chunker.json", "codec.json"] {
        let value: Value = serde_json::from_str(&read(name)).expect("JSON");
        let fields = json::fields(&value).into_iter().chain([name.to_owned()]);
        missing.extend(fields.filter(|field| !readme.contains(&format!("`{field}`"))));
    }
    assert!(missing.is_empty(), "golden/README.md does not describe {missing:?}");
}

#[test]
fn s16_fixed_values_are_blake3_of_their_names() {
    assert_eq!(noise("x", 100)[..32], *blake3::hash(b"x").as_bytes());
}
