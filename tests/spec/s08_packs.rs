//! SPEC 8: packs, their frames, contents and trailers.

use proptest::prelude::*;
use repo_format::FormatError;
use repo_format::frame::{
    Codec, Compression, Compressor, Decompressor, FrameInfo, Place, StoredFrame,
};
use repo_format::header::{Kind, SealedHeader};
use repo_format::id::{ChunkId, PackId};
use repo_format::keys::{Keys, commitment};
use repo_format::limits::{
    FRAME_PLAIN_MAX, FRAME_SEALED_MAX, PACK_ENTRIES_TARGET, PACK_FRAMES_TARGET, PACK_LEN_TARGET,
};
use repo_format::pack::{
    Close, Contents, Entries, EntryKind, Pack, PackBuilder, Trailer, frame_offset,
};
use repo_format::padding::padded;
use repo_format::seal::Sealer;
use repo_format::wire::{Reader, Writer};
use repo_tests::fixed::{array, backup_keys, foreign_keys, full_keys, noise, secret};
use repo_tests::hostile::{check_any_bytes, check_codec, check_every_flip_is_refused, flips};
use repo_tests::memory::largest_allocation;

const TRAILER: usize = 64;

/// What goes into one frame of a data pack: chunks, and how to compress them.
type Frame = (Vec<Vec<u8>>, Compression);

const ZSTD: Compression = Compression::Zstd(3);

fn chunk_id(bytes: &[u8]) -> ChunkId {
    repo_format::segment::chunk_id(&full_keys(), bytes)
}

fn data_pack(keys: &Keys, frames: &[Frame], close: Close) -> Pack {
    let mut builder = PackBuilder::new(keys, Kind::DataPack, &secret("pack seed"));
    for (chunks, compression) in frames {
        let entries: Vec<_> =
            chunks.iter().map(|chunk| (chunk_id(chunk), chunk.len() as u32)).collect();
        let frame = Compressor::new(*compression).compress(chunks.concat());
        builder.append_chunks(&frame, &entries);
    }
    builder.finish(close)
}

fn sample_frames() -> Vec<Frame> {
    vec![
        (vec![vec![b'a'; 5000], vec![b'b'; 70]], ZSTD),
        (vec![noise("chunk", 300)], ZSTD),
        (vec![vec![0; 50], vec![1], vec![2; 9]], Compression::Off),
    ]
}

fn sample() -> Pack {
    data_pack(&full_keys(), &sample_frames(), Close::Padded)
}

fn map_pack(keys: &Keys) -> Pack {
    let mut builder = PackBuilder::new(keys, Kind::MapPack, &secret("map pack seed"));
    let (frame, entries) = map_frame();
    builder.append_catalog(&frame, &entries);
    builder
        .append_catalog(&frame, &entries[..1].iter().map(|e| (e.0, e.1, 200)).collect::<Vec<_>>());
    builder.finish(Close::Padded)
}

fn map_frame() -> (StoredFrame, Vec<([u8; 32], EntryKind, u32)>) {
    let entries = vec![
        (array("segment"), EntryKind::Map, 36),
        (array("node"), EntryKind::Node, 72),
        (array("disk"), EntryKind::Disk, 64),
        (array("snapshot"), EntryKind::Snapshot, 28),
    ];
    (Compressor::new(ZSTD).compress(noise("entries", 200)), entries)
}

/// Trailer and contents of a pack.
fn contents(keys: &Keys, bytes: &[u8]) -> Result<(Trailer, Contents), FormatError> {
    let start = bytes.len().saturating_sub(TRAILER);
    let trailer = Trailer::parse(&bytes[start..], bytes.len() as u64)?;
    let sealed = &bytes[trailer.contents_offset as usize..start];
    let contents = trailer.open_contents(keys, bytes, sealed)?;
    Ok((trailer, contents))
}

/// The plain bytes of every frame, padding included: what a reader does who trusts nothing.
fn plain_frames(keys: &Keys, bytes: &[u8]) -> Result<Vec<Vec<u8>>, FormatError> {
    let (_, contents) = contents(keys, bytes)?;
    let header = &bytes[..96];
    let key = keys.open_header(&SealedHeader::parse(header)?)?;
    let sealer = Sealer::new(&key, header);
    let open = |(number, info): (u16, &FrameInfo)| {
        let start = frame_offset(&contents.frames, number) as usize;
        let sealed = &bytes[start..start + info.sealed_len as usize];
        let stored = sealer.open("frame", u32::from(number), sealed)?;
        match info.codec {
            Codec::Padding => Ok(stored),
            _ => decompress(info, &stored),
        }
    };
    (0..).zip(&contents.frames).map(open).collect()
}

fn chunks_of(pack: &Contents, plain: &[Vec<u8>]) -> Vec<(ChunkId, Vec<u8>)> {
    let Entries::Chunks(entries) = &pack.entries else {
        panic!("not a data pack");
    };
    let chunk =
        |place: &Place| place.of(&plain[usize::from(place.frame)]).expect("within").to_vec();
    entries.iter().map(|entry| (entry.id, chunk(&entry.place))).collect()
}

/// Builds a pack of `frames`, and reads every chunk back with nothing but keys and bytes.
#[track_caller]
fn check_data_pack(frames: &[Frame]) {
    for close in [Close::Full, Close::Padded] {
        let pack = data_pack(&backup_keys(), frames, close);
        let (trailer, read) = contents(&full_keys(), &pack.bytes).expect("a sound pack");
        assert_eq!(read, pack.contents);
        assert_eq!(u64::from(trailer.contents_offset), frame_offset(&read.frames, u16::MAX));
        let plain = plain_frames(&full_keys(), &pack.bytes).expect("every frame opens");
        let wanted: Vec<_> = frames.iter().flat_map(|frame| &frame.0).collect();
        let found = chunks_of(&read, &plain);
        assert_eq!(found.len(), wanted.len());
        for ((id, bytes), wanted) in found.iter().zip(wanted) {
            assert!(bytes == wanted && *id == chunk_id(wanted));
        }
        check_padding(&pack, close, frames.len());
    }
}

#[track_caller]
fn check_padding(pack: &Pack, close: Close, frames: usize) {
    let len = pack.bytes.len() as u64;
    let (used, padding) = pack.contents.frames.split_at(frames);
    assert!(used.iter().all(|frame| frame.codec != Codec::Padding));
    assert!(padding.iter().all(|frame| frame.codec == Codec::Padding));
    assert!(padding.iter().all(|frame| frame.sealed_len == frame.plain_len + 24));
    match close {
        Close::Padded => assert_eq!(padded(len), len, "a padded length"),
        Close::Full => assert!(padding.is_empty()),
    }
}

// 8 Frames

#[test]
fn s8_a_pack_is_header_frames_contents_trailer() {
    let keys = full_keys();
    let pack = data_pack(&keys, &sample_frames(), Close::Full);
    let (header, key) = keys.seal_header(Kind::DataPack, &secret("pack seed"));
    let mut wanted = header.encode().to_vec();
    let sealer = Sealer::new(&key, &header.encode());
    for (number, (chunks, compression)) in (0..).zip(sample_frames()) {
        let stored = Compressor::new(compression).compress(chunks.concat()).stored;
        wanted.extend(sealer.seal(number, &stored));
    }
    assert_eq!(pack.bytes[..wanted.len()], wanted);
    let (trailer, _) = contents(&keys, &pack.bytes).unwrap();
    assert_eq!(trailer.contents_offset as usize, wanted.len());
    assert_eq!(trailer.contents_len as usize, pack.bytes.len() - wanted.len() - TRAILER);
    assert_eq!(pack.id, PackId::of(&pack.bytes));
}

#[test]
fn s8_data_packs_are_read_back() {
    check_data_pack(&[]);
    check_data_pack(&sample_frames());
    check_data_pack(&[(vec![vec![7]], Compression::Off)]);
    check_data_pack(&[(vec![vec![7; FRAME_PLAIN_MAX]], ZSTD)]);
    check_data_pack(&[(vec![noise("big", FRAME_PLAIN_MAX)], ZSTD)]);
    let many: Vec<Frame> = (1..=300).map(|len| (vec![noise("x", len)], Compression::Off)).collect();
    check_data_pack(&many);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn s8_any_data_pack_is_read_back_and_padded(
        frames in prop::collection::vec(
            (prop::collection::vec((1..20_000usize, any::<bool>(), any::<u8>()), 1..6), any::<bool>()), 0..12),
    ) {
        let chunk = |(len, random, seed): (usize, bool, u8)| match random {
            true => noise(&format!("{seed}"), len),
            false => vec![seed; len],
        };
        let frame = |(chunks, zstd): (Vec<_>, bool)| {
            (chunks.into_iter().map(chunk).collect(), if zstd { ZSTD } else { Compression::Off })
        };
        check_data_pack(&frames.into_iter().map(frame).collect::<Vec<Frame>>());
    }
}

#[test]
fn s8_map_packs_are_read_back_by_both_roles() {
    let pack = map_pack(&backup_keys());
    for keys in [full_keys(), backup_keys()] {
        let (_, read) = contents(&keys, &pack.bytes).unwrap();
        assert_eq!(read, pack.contents);
        let plain = plain_frames(&keys, &pack.bytes).unwrap();
        let Entries::Catalog(entries) = &read.entries else {
            panic!("not a map pack");
        };
        let mut offset = 0;
        for (entry, (id, kind, len)) in entries.iter().zip(map_frame().1) {
            assert_eq!((entry.id, entry.kind), (id, kind));
            assert_eq!(entry.place, Place { frame: 0, offset, len });
            let start = offset as usize;
            assert_eq!(
                entry.place.of(&plain[0]),
                Ok(&noise("entries", 200)[start..start + len as usize])
            );
            offset += len;
        }
        assert_eq!(entries.len(), 5);
        assert_eq!(entries[4].place, Place { frame: 1, offset: 0, len: 200 });
    }
    assert_eq!(padded(pack.bytes.len() as u64), pack.bytes.len() as u64);
}

#[test]
fn s8_the_backup_role_reads_what_a_data_pack_holds_but_not_its_bytes() {
    let pack = sample();
    let (_, read) = contents(&backup_keys(), &pack.bytes).unwrap();
    assert_eq!(read, pack.contents);
    assert_eq!(
        plain_frames(&backup_keys(), &pack.bytes),
        Err(FormatError::Invalid { what: "role: the backup role cannot open data packs" })
    );
}

#[test]
fn s8_a_pack_of_another_repository_does_not_open() {
    assert!(contents(&foreign_keys(), &sample().bytes).is_err());
}

/// Frames are compressed, sealed and named apart from each other: one changed byte anywhere is noticed twice.
#[track_caller]
fn check_every_byte_counts(pack: &Pack) {
    for place in 0..pack.bytes.len() {
        let mut bytes = pack.bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        assert_ne!(PackId::of(&bytes), pack.id, "byte {place}");
        assert!(plain_frames(&full_keys(), &bytes).is_err(), "byte {place}");
    }
}

#[test]
fn s8_every_byte_of_a_pack_is_named_and_authenticated() {
    check_every_byte_counts(&sample());
    check_every_byte_counts(&map_pack(&full_keys()));
    check_every_byte_counts(&data_pack(&full_keys(), &sample_frames(), Close::Full));
}

#[test]
fn s8_frames_cannot_change_places() {
    let frames = [(vec![vec![1; 100]], Compression::Off), (vec![vec![2; 100]], Compression::Off)];
    let pack = data_pack(&full_keys(), &frames, Close::Full);
    let mut bytes = pack.bytes;
    let (first, second) = bytes[96..].split_at_mut(124);
    first.swap_with_slice(&mut second[..124]);
    assert!(contents(&full_keys(), &bytes).is_ok());
    assert!(plain_frames(&full_keys(), &bytes).is_err());
}

#[test]
fn s8_a_frame_is_kept_raw_if_it_does_not_shrink() {
    let codec = |compression, plain: Vec<u8>| {
        let frame = Compressor::new(compression).compress(plain.clone());
        assert_eq!(frame.plain_len as usize, plain.len());
        assert!(frame.stored.len() <= plain.len());
        frame.codec
    };
    assert_eq!(codec(ZSTD, vec![0; 1000]), Codec::Zstd);
    assert_eq!(codec(ZSTD, noise("x", 1000)), Codec::Raw);
    assert_eq!(codec(ZSTD, vec![0]), Codec::Raw);
    assert_eq!(codec(Compression::Off, vec![0; 1000]), Codec::Raw);
    assert_eq!(codec(Compression::Zstd(99), vec![0; 1000]), Codec::Zstd);
    assert_eq!(codec(Compression::Zstd(-5), vec![0; 1000]), Codec::Zstd);
}

fn decompress(info: &FrameInfo, stored: &[u8]) -> Result<Vec<u8>, FormatError> {
    Decompressor::default().decompress(info, stored).map(<[u8]>::to_vec)
}

/// `stored` claims to be `plain_len` bytes.
#[track_caller]
fn check_decompress(codec: Codec, stored: &[u8], plain_len: u32, wanted: Option<&[u8]>) {
    let info = FrameInfo { sealed_len: stored.len() as u32 + 24, plain_len, codec };
    let (found, largest) = largest_allocation(|| decompress(&info, stored));
    assert_eq!(found.ok().as_deref(), wanted);
    assert!(largest <= FRAME_PLAIN_MAX.max(stored.len()) + 4096, "{largest} bytes at once");
}

#[test]
fn s8_1_a_frame_decompresses_to_exactly_its_plain_length() {
    let plain = vec![b'x'; 1000];
    let zstd = Compressor::new(ZSTD).compress(plain.clone()).stored;
    check_decompress(Codec::Zstd, &zstd, 1000, Some(&plain));
    check_decompress(Codec::Zstd, &zstd, 999, None);
    check_decompress(Codec::Zstd, &zstd, 1001, None);
    check_decompress(Codec::Zstd, &zstd[..zstd.len() - 1], 1000, None);
    check_decompress(Codec::Zstd, &[], 1000, None);
    check_decompress(Codec::Zstd, &[&zstd[..], &[0]].concat(), 1000, None);
    check_decompress(Codec::Zstd, &zstd.repeat(2), 2000, None);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7];
    check_decompress(Codec::Zstd, &[&zstd[..], &skippable].concat(), 1000, None);
    check_decompress(Codec::Zstd, &[&skippable, &zstd[..]].concat(), 1000, None);
    check_decompress(Codec::Zstd, &plain, 1000, None);
    check_decompress(Codec::Raw, &plain, 1000, Some(&plain));
    check_decompress(Codec::Raw, &plain, 999, None);
    check_decompress(Codec::Raw, &plain, 1001, None);
    check_decompress(Codec::Padding, &[0; 10], 10, None);
    let bomb = Compressor::new(ZSTD).compress(vec![0; FRAME_PLAIN_MAX]).stored;
    check_decompress(Codec::Zstd, &bomb, 10, None);
}

proptest! {
    #[test]
    fn s8_1_any_compressed_bytes_get_a_verdict(stored: Vec<u8>, plain_len in 1..=FRAME_PLAIN_MAX as u32) {
        let info = FrameInfo { sealed_len: 100, plain_len, codec: Codec::Zstd };
        if let Ok(plain) = decompress(&info, &stored) {
            prop_assert_eq!(plain.len(), plain_len as usize);
        }
    }

    #[test]
    fn s8_1_changed_compressed_bytes_get_a_verdict(place in 0..1000usize, bit in 0..8u8) {
        let mut frame = Compressor::new(ZSTD).compress(noise("x", 3000).repeat(9));
        let place = place % frame.stored.len();
        frame.stored[place] ^= 1 << bit;
        let info = FrameInfo { sealed_len: 100, plain_len: frame.plain_len, codec: frame.codec };
        let _ = decompress(&info, &frame.stored);
    }

    #[test]
    fn s8_1_any_frame_is_read_back(plain in prop::collection::vec(any::<u8>(), 1..5000), level in 1..=19i32) {
        let frame = Compressor::new(Compression::Zstd(level)).compress(plain.clone());
        let info = FrameInfo { sealed_len: 100, plain_len: frame.plain_len, codec: frame.codec };
        prop_assert_eq!(decompress(&info, &frame.stored), Ok(plain));
    }
}

#[test]
fn s8_1_a_place_lies_within_its_frame() {
    let of = |offset, len| Place { frame: 0, offset, len }.of(b"0123456789").ok();
    assert_eq!(of(2, 3), Some(&b"234"[..]));
    assert_eq!(of(0, 10), Some(&b"0123456789"[..]));
    assert_eq!(of(10, 0), Some(&b""[..]));
    assert_eq!(of(1, 10), None);
    assert_eq!(of(11, 0), None);
    assert_eq!(of(u32::MAX, u32::MAX), None);
}

// 8.1 Contents

fn frame_verdict(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut r = Reader::new("frame", bytes);
    let info = FrameInfo::read(&mut r).ok()?;
    r.end().ok()?;
    let mut w = Writer::default();
    info.write(&mut w);
    Some(w.finish())
}

#[test]
fn s8_1_a_frame_line_is_8_bytes() {
    let info = FrameInfo { sealed_len: 0x03_0201, plain_len: 0x06_0504, codec: Codec::Zstd };
    let mut w = Writer::default();
    info.write(&mut w);
    assert_eq!(w.finish(), [1, 2, 3, 4, 5, 6, 1, 0]);
    check_codec(&[1, 2, 3, 4, 5, 6, 1, 0], frame_verdict);
}

#[track_caller]
fn check_frame(sealed_len: usize, plain_len: usize, codec: u8, sound: bool) {
    let u24 = |value: usize| [value as u8, (value >> 8) as u8, (value >> 16) as u8];
    let bytes = [&u24(sealed_len)[..], &u24(plain_len), &[codec, 0]].concat();
    assert_eq!(frame_verdict(&bytes).is_some(), sound);
}

#[test]
fn s8_1_frames_have_1_byte_to_1_mib() {
    check_frame(25, 1, 0, true);
    check_frame(24, 1, 1, false);
    check_frame(0, 1, 1, false);
    check_frame(25, 0, 0, false);
    check_frame(FRAME_SEALED_MAX, FRAME_PLAIN_MAX, 0, true);
    check_frame(FRAME_SEALED_MAX + 1, FRAME_PLAIN_MAX, 0, false);
    check_frame(FRAME_SEALED_MAX, FRAME_PLAIN_MAX + 1, 0, false);
    check_frame(25, FRAME_PLAIN_MAX, 1, true);
    check_frame(1024, 1000, 1, true);
    check_frame(1025, 1000, 1, false);
    check_frame(1023, 1000, 0, false);
    check_frame(1025, 1000, 0, false);
    check_frame(33, 10, 2, false);
    check_frame(34, 10, 2, true);
    check_frame(34, 10, 3, false);
}

/// The text of the contents of a pack, and the pack around any other text in its place.
fn contents_text(pack: &Pack) -> Vec<u8> {
    let keys = full_keys();
    let (trailer, _) = contents(&keys, &pack.bytes).expect("a sound pack");
    let (start, end) = (trailer.contents_offset as usize, pack.bytes.len() - TRAILER);
    contents_sealer(pack).open("contents", u32::MAX, &pack.bytes[start..end]).expect("it opens")
}

fn contents_sealer(pack: &Pack) -> Sealer {
    let header = &pack.bytes[..96];
    let parsed = SealedHeader::parse(header).expect("a sound header");
    Sealer::new(&full_keys().contents_key(&parsed).expect("our epoch"), header)
}

fn open_text(pack: &Pack, text: &[u8]) -> Result<Contents, FormatError> {
    let offset = contents(&full_keys(), &pack.bytes)?.0.contents_offset as usize;
    let sealed = contents_sealer(pack).seal(u32::MAX, text);
    let mut trailer = pack.bytes[pack.bytes.len() - TRAILER..].to_vec();
    trailer[36..40].copy_from_slice(&(sealed.len() as u32).to_le_bytes());
    let bytes = [&pack.bytes[..offset], &sealed, &trailer].concat();
    contents(&full_keys(), &bytes).map(|(_, contents)| contents)
}

#[test]
fn s8_1_contents_of_a_data_pack_are_laid_out_as_specified() {
    let pack = data_pack(&full_keys(), &sample_frames()[2..], Close::Full);
    let entry = |bytes: &[u8], place: [u8; 8]| [chunk_id(bytes).as_bytes(), &place[..]].concat();
    let wanted = [
        vec![1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![84, 0, 0, 60, 0, 0, 0, 0],
        entry(&[0; 50], [0, 0, 0, 0, 0, 50, 0, 0]),
        entry(&[1], [0, 0, 50, 0, 0, 1, 0, 0]),
        entry(&[2; 9], [0, 0, 51, 0, 0, 9, 0, 0]),
    ];
    assert_eq!(contents_text(&pack), wanted.concat(), "96 bytes are a padded length");
}

#[test]
fn s8_1_contents_of_a_map_pack_are_laid_out_as_specified() {
    let pack = map_pack(&full_keys());
    let text = contents_text(&pack);
    let frames = pack.contents.frames.len();
    assert_eq!(text[..8], [frames as u8, 0, 0, 0, 5, 0, 0, 0]);
    let entries = &text[16 + 8 * frames..];
    let second = [&array::<32>("node")[..], &[2, 0, 0, 0, 36, 0, 0, 72, 0, 0, 0, 0]].concat();
    assert_eq!(entries[44..88], second);
    let fifth = [&array::<32>("segment")[..], &[1, 0, 1, 0, 0, 0, 0, 200, 0, 0, 0, 0]].concat();
    assert_eq!(entries[176..220], fifth);
    let len = 16 + 8 * frames + 44 * 5;
    assert_eq!(text.len() as u64, padded(len as u64));
    assert!(text[len..].iter().all(|byte| *byte == 0));
}

/// With the keys in hand, any text can be sealed: parsing is tested apart from authentication.
#[test]
fn s8_1_contents_withstand_hostile_bytes() {
    for pack in [sample(), map_pack(&full_keys()), print_pack()] {
        let text = contents_text(&pack);
        assert_eq!(open_text(&pack, &text), Ok(pack.contents.clone()));
        for (bit, flipped) in flips(&text) {
            let found = open_text(&pack, &flipped);
            assert_ne!(found, Ok(pack.contents.clone()), "two encodings: bit {bit} flipped");
        }
        check_any_bytes(&text, |bytes| {
            let found = open_text(&pack, bytes).ok()?;
            (found != pack.contents || bytes == text).then(|| bytes.to_vec())
        });
        for len in 0..text.len() {
            assert!(open_text(&pack, &text[..len]).is_err(), "cut to {len} bytes");
        }
        assert!(open_text(&pack, &[&text[..], &[0]].concat()).is_err(), "more than padding");
    }
}

/// A pack of one frame with one entry.
fn print_pack() -> Pack {
    let mut builder = PackBuilder::new(&backup_keys(), Kind::PrintPack, &secret("print seed"));
    let frame = Compressor::new(Compression::Off).compress(noise("print", 500));
    builder.append_catalog(&frame, &[(array("segment"), EntryKind::Print, 500)]);
    builder.finish(Close::Padded)
}

#[test]
fn s8_1_contents_of_a_print_pack_are_laid_out_as_specified() {
    let pack = print_pack();
    let text = contents_text(&pack);
    let frames = pack.contents.frames.len();
    let entry = [&array::<32>("segment")[..], &[5, 0, 0, 0, 0, 0, 0, 0xf4, 1, 0, 0, 0]].concat();
    assert_eq!(text[16 + 8 * frames..][..44], entry);
    assert_eq!(pack.bytes[6..8], [5, 1], "kind and suite");
    for keys in [full_keys(), backup_keys()] {
        assert_eq!(plain_frames(&keys, &pack.bytes).unwrap()[0], noise("print", 500));
    }
}

#[test]
fn s8_1_kinds_1_to_4_are_of_map_packs_and_kind_5_of_print_packs() {
    for (pack, own) in [(map_pack(&full_keys()), 1..=4), (print_pack(), 5..=5)] {
        let at = 16 + 8 * pack.contents.frames.len() + 32;
        for kind in 0..=255u8 {
            let mut text = contents_text(&pack);
            text[at] = kind;
            assert_eq!(open_text(&pack, &text).is_ok(), own.contains(&kind), "{kind}");
        }
    }
}

#[test]
fn s8_1_the_frames_end_where_the_contents_begin() {
    let pack = sample();
    assert_eq!(pack.contents.frames[0].codec, Codec::Zstd);
    for change in [1u8, 255] {
        let mut text = contents_text(&pack);
        text[16] = text[16].wrapping_add(change);
        let wanted = FormatError::Invalid { what: "frames of a pack" };
        assert_eq!(open_text(&pack, &text), Err(wanted));
    }
}

/// One entry of the sample's contents replaced.
#[track_caller]
fn check_entry(frame: u16, offset: u32, len: u32, sound: bool) {
    let pack = data_pack(&full_keys(), &[(vec![vec![1; 100]], Compression::Off)], Close::Padded);
    let mut text = contents_text(&pack);
    let at = 16 + 8 * pack.contents.frames.len() + 16;
    text[at..at + 2].copy_from_slice(&frame.to_le_bytes());
    text[at + 2..at + 5].copy_from_slice(&offset.to_le_bytes()[..3]);
    text[at + 5..at + 8].copy_from_slice(&len.to_le_bytes()[..3]);
    assert_eq!(open_text(&pack, &text).is_ok(), sound);
}

#[test]
fn s8_1_entries_lie_within_their_frames_and_never_in_padding() {
    check_entry(0, 0, 100, true);
    check_entry(0, 99, 1, true);
    check_entry(0, 0, 101, false);
    check_entry(0, 100, 1, false);
    check_entry(0, 1, 100, false);
    check_entry(0, 0, 0, false);
    check_entry(0, 0xff_ffff, 0xff_ffff, false);
    check_entry(1, 0, 1, false);
    check_entry(9, 0, 1, false);
    check_entry(u16::MAX, 0, 1, false);
}

#[test]
fn s8_1_numbers_of_frames_and_entries_are_limited() {
    let pack = sample();
    for (at, most) in [(0, 16_384u32), (4, 65_536)] {
        for (count, wanted) in [(most, "Truncated"), (most + 1, "Limit"), (u32::MAX, "Limit")] {
            let mut text = vec![0; 16];
            text[at..at + 4].copy_from_slice(&count.to_le_bytes());
            let (error, largest) = largest_allocation(|| open_text(&pack, &text).unwrap_err());
            assert!(format!("{error:?}").starts_with(wanted), "{count} at {at}: {error:?}");
            assert!(largest < 1 << 16, "{largest} bytes at once");
        }
    }
}

// 8.2 Trailer

#[test]
fn s8_2_a_trailer_is_laid_out_as_specified() {
    let pack = sample();
    let keys = full_keys();
    let parsed = SealedHeader::parse(&pack.bytes).unwrap();
    let (trailer, _) = contents(&keys, &pack.bytes).unwrap();
    let wanted = [
        &commitment(&keys.contents_key(&parsed).unwrap())[..],
        &trailer.contents_offset.to_le_bytes(),
        &trailer.contents_len.to_le_bytes(),
        &[0; 16],
        b"XNTHTAIL",
    ];
    assert_eq!(pack.bytes[pack.bytes.len() - TRAILER..], wanted.concat());
}

fn trailer(offset: u32, len: u32) -> Vec<u8> {
    let parts = [&[7; 32][..], &offset.to_le_bytes(), &len.to_le_bytes(), &[0; 16], b"XNTHTAIL"];
    parts.concat()
}

#[track_caller]
fn check_trailer(offset: u32, len: u32, pack_len: u64, sound: bool) {
    assert_eq!(Trailer::parse(&trailer(offset, len), pack_len).is_ok(), sound);
}

#[test]
fn s8_2_contents_fill_the_pack_from_their_offset_to_the_trailer() {
    check_trailer(96, 40, 200, true);
    check_trailer(96, 40, 201, false);
    check_trailer(96, 40, 199, false);
    check_trailer(95, 41, 200, false);
    check_trailer(200, 0, 264, true);
    check_trailer(96, (8 << 20) + 24, 96 + (8 << 20) + 24 + 64, true);
    check_trailer(96, (8 << 20) + 25, 96 + (8 << 20) + 25 + 64, false);
    check_trailer(u32::MAX, 104, 3 + (1 << 32) + 64 + 100, true);
    check_trailer(u32::MAX, 104, 167, false);
}

#[test]
fn s8_2_trailers_withstand_hostile_bytes() {
    let valid = trailer(100, 36);
    let accepts = |bytes: &[u8]| Trailer::parse(bytes, 200).is_ok();
    check_every_flip_is_refused(&valid[32..], |rest| accepts(&[&valid[..32], rest].concat()));
    check_any_bytes(&valid, |bytes| accepts(bytes).then(|| bytes.to_vec()));
    assert!(!accepts(&valid[1..]) && !accepts(&[&valid[..], &[0]].concat()));
}

#[test]
fn s8_2_a_pack_is_full_before_a_frame_could_exceed_64_mib() {
    let mut builder = PackBuilder::new(&full_keys(), Kind::DataPack, &secret("seed"));
    let frame = Compressor::new(Compression::Off).compress(vec![0; FRAME_PLAIN_MAX]);
    let id = ChunkId::from_bytes([0; 16]);
    let mut frames = 0;
    while !builder.is_full() {
        builder.append_chunks(&frame, &[(id, FRAME_PLAIN_MAX as u32)]);
        frames += 1;
    }
    assert_eq!(frames, 63);
    let pack = builder.finish(Close::Padded);
    assert!(pack.bytes.len() <= PACK_LEN_TARGET + (1 << 20), "{}", pack.bytes.len());
    assert_eq!(padded(pack.bytes.len() as u64), pack.bytes.len() as u64);
}

#[test]
fn s8_2_a_pack_is_full_at_its_number_of_frames_or_entries() {
    let full_after = |chunks: usize| {
        let mut builder = PackBuilder::new(&full_keys(), Kind::DataPack, &secret("seed"));
        let frame = Compressor::new(Compression::Off).compress(vec![0; chunks]);
        let entries = vec![(ChunkId::from_bytes([0; 16]), 1); chunks];
        let mut frames = 0;
        while !builder.is_full() {
            builder.append_chunks(&frame, &entries);
            frames += 1;
        }
        let pack = builder.finish(Close::Padded);
        assert!(contents(&full_keys(), &pack.bytes).is_ok(), "a full pack can be read");
        frames
    };
    assert_eq!(full_after(1), PACK_FRAMES_TARGET);
    assert_eq!(full_after(1000), PACK_ENTRIES_TARGET / 1000);
}

#[test]
fn s8_2_a_padded_pack_tells_little_of_what_it_holds() {
    let len = |chunk: usize| {
        let frames = [(vec![noise("x", chunk)], Compression::Off)];
        data_pack(&full_keys(), &frames, Close::Padded).bytes.len()
    };
    let lens: std::collections::BTreeSet<_> = (100_000..100_500).step_by(10).map(len).collect();
    assert!(lens.len() <= 2, "{lens:?}");
}
