//! The planner against a model that keeps every segment as bytes.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use repo_format::limits::{BLOCKS, SEGMENT_LEN, UNITS};
use repo_format::segment::Units;

use super::*;

/// What a block holds: 0 is zeros.
type Content = u16;

/// The bytes of a block: a window of noise.
fn block(content: Content) -> &'static [u8] {
    const STEP: usize = 24;
    static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut noise = vec![0; STEP * usize::from(Content::MAX) + BLOCK_LEN];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    });
    match usize::from(content) * STEP {
        0 => &[0; BLOCK_LEN],
        start => &NOISE[start..start + BLOCK_LEN],
    }
}

fn segment(contents: &[Content]) -> Vec<u8> {
    contents.iter().map(|content| block(*content)).collect::<Vec<_>>().concat()
}

/// A print that tells contents apart, as true fingerprints do. The planner does not look at unit values.
fn print(contents: &[Content]) -> Print {
    let fingerprint = |content: &Content| {
        let mut bytes = [0; Fingerprint::LEN];
        bytes[..2].copy_from_slice(&content.to_le_bytes());
        Fingerprint::from_bytes(bytes)
    };
    let units = Units::from_values([[0; 32]; UNITS]);
    Print::new(units, contents.iter().map(fingerprint).collect())
}

/// Chunks by id, as a repository has them.
#[derive(Default)]
struct Chunks(HashMap<ChunkId, Vec<u8>>);

impl Chunks {
    fn store(&mut self, bytes: &[u8]) -> ChunkRef {
        let mut id = [0; ChunkId::LEN];
        id[..8].copy_from_slice(&(self.0.len() as u64).to_le_bytes());
        let id = ChunkId::from_bytes(id);
        self.0.insert(id, bytes.to_vec());
        ChunkRef { id, len: bytes.len() as u32 }
    }

    /// Cuts `bytes` into pieces of these lengths, again and again.
    fn cut(&mut self, mut bytes: &[u8], lens: &[usize]) -> Vec<ChunkRef> {
        let mut chunks = Vec::new();
        for len in lens.iter().cycle() {
            if bytes.is_empty() {
                break;
            }
            let (chunk, rest) = bytes.split_at((*len).min(bytes.len()));
            chunks.push(self.store(chunk));
            bytes = rest;
        }
        chunks
    }

    /// What a restore gives.
    fn rebuild(&self, map: &Map) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_LEN);
        for extent in map.extents() {
            let end = bytes.len() + extent.len as usize;
            match extent.fill {
                Fill::Zeros => bytes.resize(end, 0),
                Fill::Chunk { index, offset } => {
                    let chunk = map.chunks()[usize::from(index)];
                    let start = offset as usize;
                    let stored = &self.0[&chunk.id];
                    assert_eq!(stored.len(), chunk.len as usize, "the length of a chunk");
                    bytes.extend_from_slice(&stored[start..start + extent.len as usize]);
                }
            }
        }
        bytes
    }
}

/// A stored segment: its chunks are not laid out as its blocks are, and some of its zeros are stored.
fn stored(chunks: &mut Chunks, contents: &[Content], lens: &[usize], skew: u32) -> (Print, Map) {
    let cut = chunks.cut(&segment(contents), lens);
    let mut extents = Vec::new();
    for (index, chunk) in (0..).zip(&cut) {
        let first = skew.min(chunk.len);
        for (offset, len) in [(0, first), (first, chunk.len - first)] {
            if len > 0 {
                extents.push(Extent { len, fill: Fill::Chunk { index, offset } });
            }
        }
    }
    (print(contents), Map::new(cut, extents).expect("a map"))
}

/// Runs of blocks.
#[derive(Debug, Clone)]
enum RunOf {
    Zeros,
    /// Of the same blocks as this old segment at the same place.
    Kept,
    /// Of an old segment, from this block on.
    Old(usize, usize),
    /// New blocks that count up from here, and so may repeat.
    New(Content),
}

fn any_run() -> impl Strategy<Value = (RunOf, usize)> {
    let run = prop_oneof![
        Just(RunOf::Zeros),
        Just(RunOf::Kept),
        (0..3usize, 0..BLOCKS).prop_map(|(of, from)| RunOf::Old(of, from)),
        (0..30u16).prop_map(|number| RunOf::New(50_000 + number * 20)),
    ];
    (run, prop_oneof![1..4usize, 1..80usize])
}

/// Fills a segment with runs, again and again.
fn lay(runs: &[(RunOf, usize)], old: &[Vec<Content>]) -> Vec<Content> {
    let mut contents = Vec::with_capacity(BLOCKS);
    for (run, len) in runs.iter().cycle() {
        for step in 0..*len {
            let at = contents.len();
            contents.push(match run {
                RunOf::Zeros => 0,
                RunOf::Kept => old[0][at],
                RunOf::Old(of, from) => old[*of % old.len()][(from + step) % BLOCKS],
                RunOf::New(first) => first + step as u16,
            });
            if contents.len() == BLOCKS {
                return contents;
            }
        }
    }
    unreachable!("runs have blocks")
}

/// An old segment: blocks of its own, of which some are zero and some stand in other old segments too.
fn old_segment(number: u16, zeros: &[usize], shared: &[usize]) -> Vec<Content> {
    let mut contents: Vec<Content> = (0..BLOCKS as u16).map(|at| 1 + number * 1100 + at).collect();
    zeros.iter().for_each(|at| contents[*at] = 0);
    shared.iter().for_each(|at| contents[*at] = 40_000 + *at as u16);
    contents
}

/// Lengths of chunks as the chunker may make them, but small ones.
fn any_lens() -> impl Strategy<Value = Vec<usize>> {
    vec(CHUNK_MIN..300_000, 1..6)
}

/// All that a case needs.
#[derive(Debug, Clone)]
struct Case {
    old: Vec<Vec<Content>>,
    old_lens: Vec<usize>,
    skew: u32,
    new: Vec<Content>,
    new_lens: Vec<usize>,
    has_before: bool,
}

fn any_case() -> impl Strategy<Value = Case> {
    let places = || vec(0..BLOCKS, 0..40);
    let old = vec((places(), places()), 1..4).prop_map(|old| {
        let number = |(number, (zeros, shared)): (u16, (Vec<usize>, Vec<usize>))| {
            old_segment(number, &zeros, &shared)
        };
        (0..).zip(old).map(number).collect::<Vec<_>>()
    });
    let rest = (any_lens(), 0..70_000u32, vec(any_run(), 1..40), any_lens(), any::<bool>());
    (old, rest).prop_map(|(old, (old_lens, skew, runs, new_lens, has_before))| {
        let new = lay(&runs, &old);
        Case { old, old_lens, skew, new, new_lens, has_before }
    })
}

/// The blocks that no old segment has, each once, in order.
fn new_contents(case: &Case) -> Vec<Content> {
    let old: BTreeSet<Content> = case.old.iter().flatten().copied().collect();
    let mut seen = BTreeSet::new();
    let is_new = |content: &Content| *content != 0 && !old.contains(content);
    case.new.iter().copied().filter(|content| is_new(content) && seen.insert(*content)).collect()
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let mut chunks = Chunks::default();
    let store = |old: &Vec<Content>| stored(&mut chunks, old, &case.old_lens, case.skew);
    let candidates: Vec<(Print, Map)> = case.old.iter().map(store).collect();
    let prints: Vec<&Print> = candidates.iter().map(|(print, _)| print).collect();
    let maps: Vec<&Map> = candidates.iter().map(|(_, map)| map).collect();
    let new_print = print(&case.new);
    let origins = origins(&new_print, &prints, case.has_before);
    let plan = Plan::new(&origins, &maps);

    // Exactly the blocks that are nowhere are new, each once.
    let expected = new_contents(case);
    let new: Vec<Content> =
        plan.new_blocks.iter().map(|block| case.new[usize::from(*block)]).collect();
    prop_assert_eq!(&new, &expected);
    let known: BTreeSet<ChunkId> =
        maps.iter().flat_map(|map| map.chunks()).map(|chunk| chunk.id).collect();
    prop_assert!(plan.stored_chunks.iter().all(|chunk| known.contains(&chunk.id)));

    let cut = chunks.cut(&segment(&new), &case.new_lens);
    let map = plan.map(&cut);
    let blocks = case.new.iter().filter(|content| **content != 0).count();
    let repeats = case.new.iter().filter(|content| expected.contains(content)).count() > new.len();
    if !plan.is_too_scattered(blocks) && !repeats && blocks > 0 {
        prop_assert!(map.is_some(), "it said that there would be a map");
    }
    if let Some(map) = map {
        prop_assert!(chunks.rebuild(&map) == segment(&case.new), "other bytes");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_segment_is_rebuilt_from_what_is_stored_and_what_is_new(case in any_case()) {
        check(&case)?;
    }

    /// Maps of which no word is true: other chunks, other lengths for the same chunk, extents anywhere.
    #[test]
    fn hostile_maps_make_no_map_or_one_that_keeps_its_limits(
        case in any_case(),
        hostile in vec(any_map(), 1..4),
    ) {
        let prints: Vec<Print> = case.old.iter().map(|old| print(old)).collect();
        let prints: Vec<&Print> = prints.iter().collect();
        let maps: Vec<&Map> = prints.iter().zip(hostile.iter().cycle()).map(|(_, map)| map).collect();
        let origins = origins(&print(&case.new), &prints, case.has_before);
        let plan = Plan::new(&origins, &maps);
        let mut chunks = Chunks::default();
        let cut = chunks.cut(&vec![1; plan.new_blocks.len() * BLOCK_LEN], &case.new_lens);
        // It is checked again where it is made: here it shall not panic.
        let _ = plan.is_too_scattered(BLOCKS);
        if let Some(map) = plan.map(&cut) {
            prop_assert!(Map::parse(&map.encode()).is_ok_and(|parsed| parsed == map));
        }
    }
}

/// Any map of few chunk ids.
fn any_map() -> impl Strategy<Value = Map> {
    let chunk = (0..4u8, 1..=1u32 << 20);
    let extent = (any::<u8>(), any::<u32>(), 1..200_000u32);
    (vec(chunk, 1..=MAP_CHUNKS_MAX), vec(extent, 1..200)).prop_map(|(chunks, list)| {
        let id = |id| ChunkId::from_bytes([id; ChunkId::LEN]);
        let chunks: Vec<_> =
            chunks.iter().map(|(n, len)| ChunkRef { id: id(*n), len: *len }).collect();
        let (mut extents, mut left) = (Vec::new(), SEGMENT_LEN as u32);
        for (index, offset, len) in list {
            let index = index % chunks.len() as u8;
            let chunk = chunks[usize::from(index)];
            let len = len.min(left).min(chunk.len);
            if len > 0 {
                let offset = offset % (chunk.len - len + 1);
                extents.push(Extent { len, fill: Fill::Chunk { index, offset } });
                left -= len;
            }
        }
        if left > 0 {
            extents.push(Extent { len: left, fill: Fill::Zeros });
        }
        Map::new(chunks, extents).expect("it keeps the limits")
    })
}

/// A plan for a segment of these contents, one old segment in chunks of `chunk_len` beside it.
fn plan_beside(contents: &[Content], chunk_len: usize) -> (Plan, usize) {
    let mut chunks = Chunks::default();
    let old = old_segment(0, &[], &[]);
    let (old_print, map) = stored(&mut chunks, &old, &[chunk_len], 0);
    let plan = Plan::new(&origins(&print(contents), &[&old_print], true), &[&map]);
    (plan, contents.iter().filter(|content| **content != 0).count())
}

#[track_caller]
fn check_too_scattered(expected: bool, contents: &[Content], chunk_len: usize) {
    let (plan, blocks) = plan_beside(contents, chunk_len);
    assert_eq!(plan.is_too_scattered(blocks), expected);
}

/// The old segment, with a new block wherever `is_new`.
fn with_new(is_new: impl Fn(usize) -> bool) -> Vec<Content> {
    let mut contents = old_segment(0, &[], &[]);
    (0..BLOCKS).filter(|at| is_new(*at)).for_each(|at| contents[at] = 50_000 + at as u16);
    contents
}

#[test]
fn a_map_has_at_most_1023_extents() {
    // 495 new blocks between old ones are 991 extents, and 31 more where they may be cut; 496 are 993.
    check_too_scattered(false, &with_new(|at| at % 2 == 1 && at < 990), SEGMENT_LEN / 8);
    check_too_scattered(true, &with_new(|at| at % 2 == 1 && at < 992), SEGMENT_LEN / 8);
}

#[test]
fn a_map_has_at_most_192_chunks() {
    let len = |count: usize| SEGMENT_LEN.div_ceil(count);
    let one_is_new = with_new(|at| at == 77);
    check_too_scattered(false, &one_is_new, len(191));
    check_too_scattered(true, &one_is_new, len(192));
}

#[test]
fn more_than_31_of_32_new_blocks_are_too_many() {
    check_too_scattered(false, &with_new(|at| at < 992), SEGMENT_LEN / 8);
    check_too_scattered(true, &with_new(|at| at < 993), SEGMENT_LEN / 8);
    // Zeros count neither way.
    let half = |new: usize| {
        let mut contents = with_new(|at| at < new);
        contents[512..].fill(0);
        contents
    };
    check_too_scattered(false, &half(496), SEGMENT_LEN / 8);
    check_too_scattered(true, &half(497), SEGMENT_LEN / 8);
}

/// Nobody knows before where new bytes will be cut. If that is in a block that stands in many places, each of them needs
/// an extent more.
#[test]
fn a_block_that_is_cut_and_repeated_may_make_a_map_impossible() {
    let mut contents = with_new(|at| at < 32);
    (32..900).for_each(|at| contents[at] = 50_000 + 20 * (at as u16 % 2));
    let (plan, blocks) = plan_beside(&contents, SEGMENT_LEN / 8);
    assert!(!plan.is_too_scattered(blocks));
    let mut chunks = Chunks::default();
    let new = vec![1; plan.new_blocks.len() * BLOCK_LEN];
    assert!(plan.map(&chunks.cut(&new, &[CHUNK_MIN])).is_some());
    assert!(plan.map(&chunks.cut(&new, &[20 * BLOCK_LEN + 1])).is_none());
}

/// What goes on where the last block came from is taken from there, though others have it too.
#[test]
fn a_run_is_taken_from_one_segment() {
    let one = old_segment(0, &[], &[]);
    let other = old_segment(1, &[], &[]);
    // `one` has single blocks of the run.
    let mut first = one.clone();
    (0..40).for_each(|at| first[at * 20] = other[at * 10]);
    let mut new = one;
    new[300..700].copy_from_slice(&other[1..401]);
    let found = origins(&print(&new), &[&print(&first), &print(&other)], false);
    let from_other = found[300..700].iter().filter(|origin| matches!(origin, Origin::Stored(1, _)));
    assert_eq!(from_other.count(), 400);
}
