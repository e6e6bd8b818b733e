//! Row "new data, one core": a whole first backup against the compressor, or against the sum of its primitives.

use std::collections::HashSet;
use std::hint::black_box;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use engine::source::SEGMENT_LEN;
use repo_format::chunker::Chunker;
use repo_format::limits::{FRAME_PLAIN_MAX, PACK_LEN_TARGET};
use zstd::bulk::Compressor;

use super::Measured;
use crate::Scale;
use crate::disks::of_image;
use crate::harness::{Clock, Turns, compare};
use crate::repositories::{Pools, forgetful, store};
use crate::samples::{Look, sample};
use crate::table::{Row, Verdict};

const KEY: [u8; 32] = [7; 32];

/// Both halves of the row. Ours is a backup from memory into a storage that forgets: one worker, one uploader,
/// time of the whole process, so that it counts what every thread does.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    Ok(vec![compressible(scale)?, incompressible(scale)?])
}

/// The rival compresses the very frames that the backup makes, with zstd level 3 into a buffer that it keeps.
fn compressible(scale: Scale) -> Measured<Row> {
    let image = sample(Look::Compressible, 2, scale.pick(8, 64) * SEGMENT_LEN);
    let mut zstd = Zstd::new()?;
    let frames = frames(&image)?;
    let plain_len: usize = frames.iter().map(Vec::len).sum();
    let shrunk_len: usize = frames.iter().map(|frame| zstd.compress(frame)).sum();
    let share = plain_len as f64 / shrunk_len as f64;
    let turns = against(&image, scale, |frames| {
        for frame in frames {
            zstd.compress(frame);
        }
    })?;
    let cost = turns.cost();
    Ok(Row {
        name: "new data, compressible",
        budget: "<= 1.25 x CPU of zstd -3 on the same frames",
        measured: format!("{cost}; {}; shrinks {share:.1} times", turns.rates(image.len())),
        verdict: Verdict::of(cost.median <= 1.25),
    })
}

/// The rival does, each once and over all bytes, what the format demands for new bytes: keyed BLAKE3 of segments
/// and of chunks, FastCDC, zstd level 3 on the frames (which fails to shrink them), keyed BLAKE3 for the nonce,
/// AES-256-GCM, and BLAKE3 of packs of 64 MiB.
fn incompressible(scale: Scale) -> Measured<Row> {
    let image = sample(Look::Incompressible, 3, scale.pick(8, 64) * SEGMENT_LEN);
    let mut primitives = Primitives::new(&image)?;
    let turns = against(&image, scale, |frames| primitives.run(frames))?;
    let cost = turns.cost();
    Ok(Row {
        name: "new data, incompressible",
        budget: "<= 1.5 x the sum of its primitives",
        measured: format!(
            "{cost}; {}; of the sum: {}",
            turns.rates(image.len()),
            primitives.shares(&frames(&image)?)
        ),
        verdict: Verdict::of(cost.median <= 1.5),
    })
}

fn against(image: &[u8], scale: Scale, mut rival: impl FnMut(&[Vec<u8>])) -> Measured<Turns> {
    let repository = forgetful()?;
    let pools = Pools::start(1)?;
    let mut frames = frames(image)?;
    let backup = |_: &mut Vec<Vec<u8>>| {
        let snapshot = store(&repository, &pools, &mut of_image(image)).expect("memory suffices");
        assert_eq!(snapshot.statistics.new_bytes, image.len() as u64, "all of it is new");
    };
    let turns = scale.pick(3, 9);
    Ok(compare(Clock::Process, turns, &mut frames, backup, |frames| rival(frames)))
}

/// The frames that a backup makes of an image: chunks in order, each once, as many as fit into 1 MiB.
pub fn frames(image: &[u8]) -> Measured<Vec<Vec<u8>>> {
    let chunker = Chunker::new(forgetful()?.keys().gear());
    let mut seen = HashSet::new();
    let mut frames = vec![Vec::with_capacity(FRAME_PLAIN_MAX)];
    for chunk in image.chunks(SEGMENT_LEN).flat_map(|segment| chunker.chunks(segment)) {
        if !seen.insert(blake3::hash(chunk)) {
            continue;
        }
        if frames.last().is_some_and(|frame| frame.len() + chunk.len() > FRAME_PLAIN_MAX) {
            frames.push(Vec::with_capacity(FRAME_PLAIN_MAX));
        }
        if let Some(frame) = frames.last_mut() {
            frame.extend_from_slice(chunk);
        }
    }
    Ok(frames)
}

/// zstd level 3 with everything that can be kept between frames.
struct Zstd {
    compressor: Compressor<'static>,
    out: Vec<u8>,
}

impl Zstd {
    fn new() -> Measured<Self> {
        let out = vec![0; zstd::zstd_safe::compress_bound(FRAME_PLAIN_MAX)];
        Ok(Self { compressor: Compressor::new(3)?, out })
    }

    fn compress(&mut self, frame: &[u8]) -> usize {
        let out = self.out.as_mut_slice();
        self.compressor.compress_to_buffer(frame, out).expect("the buffer is large enough")
    }
}

/// The primitives, each over all bytes.
struct Primitives<'a> {
    image: &'a [u8],
    chunker: Chunker,
    zstd: Zstd,
    cipher: Aes256Gcm,
    sealed: Vec<u8>,
}

type Primitive = fn(&mut Primitives<'_>, &[Vec<u8>]);

impl<'a> Primitives<'a> {
    const ALL: [(&'static str, Primitive); 6] = [
        ("BLAKE3 of segments", |this, _| {
            for segment in this.image.chunks(SEGMENT_LEN) {
                black_box(blake3::keyed_hash(&KEY, segment));
            }
        }),
        ("FastCDC, BLAKE3 of chunks", |this, _| {
            for segment in this.image.chunks(SEGMENT_LEN) {
                for chunk in this.chunker.chunks(segment) {
                    black_box(blake3::keyed_hash(&KEY, chunk));
                }
            }
        }),
        ("zstd", |this, frames| {
            for frame in frames {
                black_box(this.zstd.compress(frame));
            }
        }),
        ("BLAKE3 for nonces", |_, frames| {
            for frame in frames {
                black_box(blake3::keyed_hash(&KEY, frame));
            }
        }),
        ("AES-GCM", |this, frames| {
            for frame in frames {
                let buffer = (&mut this.sealed[..frame.len()]).into();
                let nonce = Nonce::from([1; 12]);
                let tag = this.cipher.encrypt_inout_detached(&nonce, &[], buffer);
                black_box(tag.expect("frames are short"));
            }
        }),
        ("BLAKE3 of packs", |this, _| {
            for pack in this.image.chunks(PACK_LEN_TARGET) {
                black_box(blake3::hash(pack));
            }
        }),
    ];

    fn new(image: &'a [u8]) -> Measured<Self> {
        Ok(Self {
            image,
            chunker: Chunker::new(forgetful()?.keys().gear()),
            zstd: Zstd::new()?,
            cipher: Aes256Gcm::new(&KEY.into()),
            sealed: vec![0; FRAME_PLAIN_MAX],
        })
    }

    fn run(&mut self, frames: &[Vec<u8>]) {
        for (_, primitive) in Self::ALL {
            primitive(self, frames);
        }
    }

    /// What each takes of the sum, in per cent.
    fn shares(&mut self, frames: &[Vec<u8>]) -> String {
        let times = Self::ALL
            .map(|(name, primitive)| (name, Clock::Thread.time(|| primitive(self, frames))));
        let sum: f64 = times.iter().map(|(_, seconds)| seconds).sum();
        let share =
            |(name, seconds): &(&str, f64)| format!("{name} {:.0} %", 100.0 * seconds / sum);
        times.iter().map(share).collect::<Vec<_>>().join(", ")
    }
}
