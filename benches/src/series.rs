//! A simulated disk: a file that changes from night to night as its profile says, the same in every run.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use engine::source::SEGMENT_LEN;
use zstd::stream::write::Encoder;

use crate::profiles::{LENGTHS, MEASURED_BLOCKS, Pieces, Profile, Strokes};
use crate::samples::{BLOCK_LEN, Random, fill_block};

/// Mean length in blocks of the runs of data that a disk begins with; zeros lie between them.
const DATA_RUN: f64 = 2048.0;
/// Of the pieces moved into a segment, the share that comes from one other segment. Files are written again whole: of the
/// blocks moved in nights 1 and 3 of web, 95 and 88 % would be found by one fingerprint in 32 of those that a pair of
/// segments shares; with this share it is about the same here.
const NEAR: f64 = 0.9;
/// When less than this share of the disk is zero, it is full.
const FULL_SHARE: u64 = 50;

/// A disk in a file.
pub struct SimulatedDisk {
    profile: &'static Profile,
    file: File,
    random: Random,
    /// The number of the content of each block; 0 = zeros.
    contents: Vec<u64>,
    zero_blocks: u64,
    /// Content that no block had so far.
    next_content: u64,
    /// Times that a stroke happens for each that was measured.
    scale: f64,
    /// Where strokes over data began in earlier nights.
    hot: Vec<usize>,
    /// For each segment, that from which most of what is moved there comes tonight.
    sources: HashMap<usize, usize>,
}

/// What a night was in truth.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// zstd -3 of the blocks whose content the disk never had, in order, each content once, in one stream.
    pub bytes: u64,
    /// Blocks that differ from the night before.
    pub changed_blocks: u64,
}

/// Where a stroke falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// On zeros.
    Zeros,
    /// On data.
    Data,
}

/// What becomes of the blocks of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    New,
    Moved,
    Zeroed,
}

impl SimulatedDisk {
    /// The disk as it is before the first night, with about so many bytes of data, at `path`.
    pub fn create(profile: &'static Profile, data_bytes: u64, path: &Path) -> io::Result<Self> {
        let data_blocks = data_bytes / BLOCK_LEN as u64;
        let blocks = (data_blocks as f64 * profile.size) as usize;
        let blocks = blocks.next_multiple_of(SEGMENT_LEN / BLOCK_LEN);
        let file = File::create(path)?;
        file.set_len((blocks * BLOCK_LEN) as u64)?;
        let mut disk = Self {
            profile,
            file,
            random: Random::new(u64::from_le_bytes(*b"60nights")),
            contents: vec![0; blocks],
            zero_blocks: blocks as u64,
            next_content: 1,
            scale: data_blocks as f64 / MEASURED_BLOCKS as f64,
            hot: Vec::new(),
            sources: HashMap::new(),
        };
        let before = disk.contents.clone();
        let mut block = 0;
        while block < blocks {
            let data = disk.length(DATA_RUN);
            for block in block..blocks.min(block + data) {
                disk.change(block, Change::New, 0);
            }
            block += data + disk.length(DATA_RUN * (profile.size - 1.0));
        }
        disk.write_since(&before)?;
        Ok(disk)
    }

    /// Night `night`, from 1, happens.
    pub fn pass_night(&mut self, night: usize) -> io::Result<Truth> {
        let (profile, first_new) = (self.profile, self.next_content);
        let patterns = &profile.nights[(night - 1) % profile.nights.len()];
        let before = self.contents.clone();
        self.sources.clear();
        self.strike(&patterns.fresh, Ground::Zeros, &profile.fresh_gaps);
        let starts = self.strike(&patterns.over, Ground::Data, &profile.over_gaps);
        self.hot.extend(starts);
        self.write_since(&before)?;
        let changed = before.iter().zip(&self.contents).filter(|(old, new)| old != new).count();
        Ok(Truth { bytes: self.new_bytes(first_new)?, changed_blocks: changed as u64 })
    }

    /// Makes all strokes of one kind; where they began.
    fn strike(&mut self, strokes: &Strokes, ground: Ground, gaps: &[f64; 3]) -> Vec<usize> {
        let mut starts = Vec::new();
        let mut end = 0;
        for length in self.lengths(&strokes.counts) {
            let start = self.start(ground, gaps, end);
            let is_full = self.zero_blocks < (self.contents.len() as u64 / FULL_SHARE).max(1);
            let ground = if is_full { Ground::Data } else { ground };
            end = self.stroke(start, length, strokes, ground);
            starts.push(start);
        }
        starts
    }

    /// Lengths of the strokes of a night, in random order.
    fn lengths(&mut self, counts: &[u32]) -> Vec<usize> {
        let mut lengths = Vec::new();
        for (count, mean) in counts.iter().zip(LENGTHS) {
            // The part of a stroke that is over happens sometimes.
            let strokes = (f64::from(*count) * self.scale + self.random.share()) as usize;
            for _ in 0..strokes {
                let spread = if mean > 2.0 { 0.7 + 0.6 * self.random.share() } else { 1.0 };
                let length = (mean * spread).round() as usize;
                let place = self.random.below(lengths.len() as u64 + 1) as usize;
                lengths.push(length);
                let last = lengths.len() - 1;
                lengths.swap(place, last);
            }
        }
        lengths
    }

    /// Where the next stroke begins, when the last ended at `end`.
    fn start(&mut self, ground: Ground, gaps: &[f64; 3], end: usize) -> usize {
        if ground == Ground::Data && !self.hot.is_empty() && self.random.share() < self.profile.hot
        {
            return self.hot[self.random.below(self.hot.len() as u64) as usize];
        }
        let mut share = self.random.share();
        for (gap, (first, count)) in gaps.iter().zip([(1, 15), (16, 48), (64, 192)]) {
            if share < *gap {
                return (end + first + self.random.below(count) as usize) % self.contents.len();
            }
            share -= gap;
        }
        self.random.below(self.contents.len() as u64) as usize
    }

    /// Changes `length` blocks of `ground` from `start` on; where it ended.
    fn stroke(&mut self, start: usize, length: usize, strokes: &Strokes, ground: Ground) -> usize {
        let blocks = self.contents.len();
        let (mut at, mut left) = (start, length);
        while left > 0 {
            let (change, mean) = self.piece(strokes, left);
            let piece = self.length(mean).min(left);
            let source = if change == Change::Moved { self.moved_from(at) } else { 0 };
            for number in 0..piece {
                let mut looked_at = 0;
                while (self.contents[at] == 0) != (ground == Ground::Zeros) && looked_at < blocks {
                    at = (at + 1) % blocks;
                    looked_at += 1;
                }
                self.change(at, change, self.contents[(source + number) % blocks]);
                at = (at + 1) % blocks;
            }
            left -= piece;
        }
        at
    }

    /// What the next piece of a stroke with `left` blocks is, and how long such pieces are in the mean.
    fn piece(&mut self, strokes: &Strokes, left: usize) -> (Change, f64) {
        let Strokes { new, moved, zeroed, .. } = *strokes;
        let mean = |pieces: Pieces| f64::from(pieces.blocks) / f64::from(pieces.count.max(1));
        // Long pieces are in long strokes.
        let fits = |pieces: &Pieces| pieces.count > 0 && mean(*pieces) < 4.0 * left as f64;
        let others = [(Change::Moved, moved), (Change::Zeroed, zeroed)];
        let others = others.into_iter().filter(|(_, pieces)| fits(pieces));
        let all = new.count + others.clone().map(|(_, pieces)| pieces.count).sum::<u32>();
        let mut draw = self.random.below(u64::from(all)) as u32;
        for (change, pieces) in others {
            if draw < pieces.count {
                return (change, mean(pieces));
            }
            draw -= pieces.count;
        }
        (Change::New, mean(new))
    }

    /// Where a piece at block `at` is moved from.
    fn moved_from(&mut self, at: usize) -> usize {
        let per_segment = SEGMENT_LEN / BLOCK_LEN;
        let anywhere = self.random.below(self.contents.len() as u64) as usize;
        match self.random.share() < NEAR {
            true => {
                let source =
                    *self.sources.entry(at / per_segment).or_insert(anywhere / per_segment);
                source * per_segment + self.random.below(per_segment as u64) as usize
            }
            false => anywhere,
        }
    }

    /// Changes a block; `copy` is what it gets if it is moved.
    fn change(&mut self, block: usize, change: Change, copy: u64) {
        let content = match change {
            Change::Zeroed => 0,
            Change::Moved if copy != 0 => copy,
            Change::Moved | Change::New => {
                self.next_content += 1;
                self.next_content - 1
            }
        };
        self.zero_blocks += u64::from(content == 0);
        self.zero_blocks -= u64::from(self.contents[block] == 0);
        self.contents[block] = content;
    }

    /// A length of at least one, of lengths that have this mean.
    fn length(&mut self, mean: f64) -> usize {
        (-mean * (1.0 - self.random.share()).ln()).ceil().max(1.0) as usize
    }

    /// Writes the blocks that are not as they were `before`.
    fn write_since(&self, before: &[u64]) -> io::Result<()> {
        let mut bytes = [0; BLOCK_LEN];
        for (number, (old, new)) in before.iter().zip(&self.contents).enumerate() {
            if old != new {
                self.fill(*new, &mut bytes);
                self.file.write_all_at(&bytes, (number * BLOCK_LEN) as u64)?;
            }
        }
        Ok(())
    }

    /// zstd -3 of the contents from `first_new` on.
    fn new_bytes(&self, first_new: u64) -> io::Result<u64> {
        let mut shrunk = Encoder::new(Counted(0), 3)?;
        let mut seen = HashSet::new();
        let mut bytes = [0; BLOCK_LEN];
        for content in self.contents.iter().filter(|content| **content >= first_new) {
            if seen.insert(*content) {
                self.fill(*content, &mut bytes);
                shrunk.write_all(&bytes)?;
            }
        }
        Ok(shrunk.finish()?.0)
    }

    fn fill(&self, content: u64, bytes: &mut [u8]) {
        match content {
            0 => bytes.fill(0),
            number => fill_block(number, &self.profile.shares, bytes),
        }
    }
}

/// Counts what is written.
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
