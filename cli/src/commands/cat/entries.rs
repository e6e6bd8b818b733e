//! Objects as JSON.

use repo_format::FormatError;
use repo_format::frame::{Codec, FrameInfo, Place};
use repo_format::header::{Kind, SEALED_HEADER_LEN, SealedHeader};
use repo_format::id::to_hex;
use repo_format::index::{IndexObject, Records};
use repo_format::keys::Keys;
use repo_format::object_name::ObjectName;
use repo_format::pack::{Contents, Entries, EntryKind, TRAILER_LEN, Trailer};
use repo_format::session::SessionRecord;
use repo_format::state::{Phase, State};
use serde_json::{Value, json};

use crate::clock;

/// A state.
pub fn state(state: &State) -> Value {
    let phase = match state.phase {
        Phase::Idle => "idle",
        Phase::Condemned => "condemned",
        Phase::Waiting => "waiting",
        Phase::Dooming => "dooming",
    };
    let index = |names: &[repo_format::object_name::IndexName]| {
        names.iter().map(|name| ObjectName::Index(*name).to_string()).collect::<Vec<_>>()
    };
    json!({
        "number": state.number,
        "previous": state.previous.to_string(),
        "phase": phase,
        "live": index(&state.live),
        "retired": index(&state.retired),
        "absorbed": texts(&state.absorbed),
        "condemned": texts(&state.condemned),
        "wait": texts(&state.wait),
        "doomed_index": index(&state.doomed_index),
        "doomed_packs": texts(&state.doomed_packs),
    })
}

/// A session, or what is wrong with it.
pub fn session(name: ObjectName, session: &Result<SessionRecord, FormatError>) -> Value {
    match session {
        Ok(record) => json!({
            "id": record.id.to_string(),
            "started": clock::rfc3339(record.started, 0),
            "alive": clock::rfc3339(record.alive, 0),
            "host": record.host,
            "process": record.process,
            "program": record.program,
        }),
        Err(error) => json!({ "name": name.to_string(), "error": error.to_string() }),
    }
}

/// An index object.
pub fn index(name: ObjectName, len: u64, object: &IndexObject) -> Value {
    let (records, hooks) = match &object.records {
        Records::Segments(records) => (records.len(), 0),
        Records::Chunks(records) => (records.len(), 0),
        Records::Prints(records, hooks) => (records.len(), hooks.len()),
    };
    let packs = object.packs.iter().map(|pack| {
        json!({
            "id": pack.id.to_string(),
            "kind": kind_name(pack.kind),
            "bytes": pack.len,
            "frames": pack.frames.len(),
        })
    });
    json!({
        "name": name.to_string(),
        "kind": kind_name(object.kind()),
        "bytes": len,
        "records": records,
        "hooks": hooks,
        "packs": packs.collect::<Vec<_>>(),
    })
}

/// Opens the contents of a pack; every password can.
pub fn open_contents(keys: &Keys, bytes: &[u8]) -> Result<(Kind, Contents), FormatError> {
    let short = || FormatError::Truncated { what: "pack", found: bytes.len() };
    let (header, _) = bytes.split_at_checked(SEALED_HEADER_LEN).ok_or_else(short)?;
    let (_, tail) = bytes.split_last_chunk::<TRAILER_LEN>().ok_or_else(short)?;
    let trailer = Trailer::parse(tail, bytes.len() as u64)?;
    let start = trailer.contents_offset as usize;
    let sealed = bytes.get(start..start + trailer.contents_len as usize).ok_or_else(short)?;
    let kind = SealedHeader::parse(header)?.kind;
    Ok((kind, trailer.open_contents(keys, header, sealed)?))
}

/// The contents of a pack.
pub fn pack(name: ObjectName, len: usize, kind: Kind, contents: &Contents) -> Value {
    let entries: Vec<Value> = match &contents.entries {
        Entries::Chunks(chunks) => {
            chunks.iter().map(|chunk| entry("chunk", chunk.id.to_string(), chunk.place)).collect()
        }
        Entries::Catalog(entries) => {
            let one = |e: &repo_format::pack::CatalogEntry| {
                entry(entry_name(e.kind), to_hex(&e.id), e.place)
            };
            entries.iter().map(one).collect()
        }
    };
    json!({
        "name": name.to_string(),
        "kind": kind_name(kind),
        "bytes": len,
        "frames": contents.frames.iter().map(frame).collect::<Vec<_>>(),
        "entries": entries,
    })
}

fn frame(frame: &FrameInfo) -> Value {
    let codec = match frame.codec {
        Codec::Raw => "raw",
        Codec::Zstd => "zstd",
        Codec::Padding => "padding",
    };
    json!({ "codec": codec, "stored": frame.sealed_len, "plain": frame.plain_len })
}

fn entry(kind: &str, id: String, place: Place) -> Value {
    json!({ "kind": kind, "id": id, "frame": place.frame, "offset": place.offset, "length": place.len })
}

fn texts(ids: &[impl ToString]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

const fn entry_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Map => "map",
        EntryKind::Node => "node",
        EntryKind::Disk => "disk",
        EntryKind::Snapshot => "snapshot",
        EntryKind::Print => "print",
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Config => "config",
        Kind::KeySlot => "key slot",
        Kind::DataPack => "data pack",
        Kind::MapPack => "map pack",
        Kind::PrintPack => "print pack",
        Kind::SegmentIndex => "segment index",
        Kind::ChunkIndex => "chunk index",
        Kind::PrintIndex => "print index",
        Kind::Snapshot => "snapshot",
        Kind::Session => "session",
        Kind::State => "state",
        Kind::Tombstone => "tombstone",
        Kind::Marker => "marker",
    }
}
