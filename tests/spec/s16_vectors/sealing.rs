//! `seal.json` and `chunker.json`: frames (SPEC 5.1) and cuts (SPEC 6).

use repo_format::chunker::Chunker;
use repo_format::keys::Secret;
use repo_format::seal::Sealer;
use repo_tests::fixed::{full_keys, noise, secret};
use serde_json::{Value, json};

use super::{hex, unhex, unhex_array};

/// `seal.json`, made anew.
pub fn made() -> Value {
    let frame = |key: &str, prefix: &[u8], number: u32, text: &[u8]| {
        let sealed = Sealer::new(&secret(key), prefix).seal(number, text);
        json!({
            "key": hex(secret(key).expose()),
            "prefix": hex(prefix),
            "number": number,
            "text": hex(text),
            "sealed": hex(sealed),
        })
    };
    let header = noise("prefix", 96);
    json!({ "frames": [
        frame("key", &[], 0, &[]),
        frame("key", &[], 0, b"xenith"),
        frame("key", &header, 1, b"xenith"),
        frame("other key", &header, 1, b"xenith"),
        frame("key", &header, 0x0102_0304, &noise("text", 100)),
        frame("key", &header, u32::MAX, &[0; 65]),
        frame("key", &noise("prefix", 104), 1, &noise("text", 15)),
        frame("key", &noise("prefix", 104), 1, &noise("text", 16)),
    ]})
}

/// Opens what the committed file holds.
#[track_caller]
pub fn check_read(file: &Value) {
    for entry in file["frames"].as_array().expect("a list") {
        let key = Secret::from_bytes(unhex_array(&entry["key"]));
        let number = entry["number"].as_u64().and_then(|number| number.try_into().ok());
        let opened = Sealer::new(&key, &unhex(&entry["prefix"])).open(
            "frame",
            number.expect("a u32"),
            &unhex(&entry["sealed"]),
        );
        assert_eq!(opened, Ok(unhex(&entry["text"])));
    }
}

/// `chunker.json`, made anew.
pub fn cuts() -> Value {
    let keys = full_keys();
    let chunker = Chunker::new(keys.gear());
    let ends = |data: &[u8]| {
        let end = |sum: &mut usize, chunk: &[u8]| {
            *sum += chunk.len();
            Some(*sum)
        };
        chunker.chunks(data).scan(0, end).collect::<Vec<_>>()
    };
    let case = |(seed, length): (&str, usize)| json!({ "seed": seed, "length": length, "cuts": ends(&noise(seed, length)) });
    let constant = |(byte, length): (u8, usize)| json!({ "byte": byte, "length": length, "cuts": ends(&vec![byte; length]) });
    let lengths = [0, 1, 65_535, 65_536, 65_537, 65_538, 262_145, 4 << 20];
    let mut cases: Vec<_> = lengths.iter().map(|length| ("data", *length)).collect();
    cases.extend(["a", "b", "c"].map(|seed| (seed, 4 << 20)));
    json!({
        "gear_secret": hex([&keys.identity().expose()[..], keys.repository().as_bytes()].concat()),
        "gear_table": hex(keys.gear().map(u64::to_le_bytes).concat()),
        "cases": cases.into_iter().map(case).collect::<Vec<_>>(),
        "constant": ([(0, 3_000_000), (0xff, 2 << 20), (0x61, 1_048_577)].map(constant)),
    })
}
