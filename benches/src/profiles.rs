//! Profiles: how three kinds of VM change from night to night.
//!
//! Taken from the images of `make_dataset.py --scale 0.4` (web, db, win; nights 0 to 4) by comparing each night with the
//! one before, block by block of 4 KiB. A *stroke* is a maximal run of changed blocks that were all zero before (*fresh*)
//! or all data (*over*). In it, blocks are *new* (content that no earlier night has), *moved* (content that an earlier
//! night has anywhere) or *zeroed*. Blocks and pieces of each are as counted; gaps are the shares of strokes that begin so
//! many blocks behind the one before. Night n > 4 is drawn from the tables of night ((n - 1) mod 4) + 1.

/// Blocks of data that the measured disks had, about: counts are for so many.
pub const MEASURED_BLOCKS: u64 = 163_840;

/// Mean length in blocks of the strokes of each class: 1, 2, 3-4, 5-8, up to 1025-2048, and longer ones.
pub const LENGTHS: [f64; 13] =
    [1.0, 2.0, 3.3, 6.0, 12.0, 22.0, 43.0, 95.0, 170.0, 370.0, 770.0, 1600.0, 3500.0];

/// One kind of VM.
#[derive(Debug)]
pub struct Profile {
    /// `web`, `db` or `win`.
    pub name: &'static str,
    /// The share of its size to which zstd -3 shrinks a file; an eighth of the files each.
    pub shares: [f64; 8],
    /// Size of the disk in times of the data that it has at first: how much the real disk grew in four nights. When
    /// there are no zero blocks left, fresh strokes fall on data, as on space that was freed.
    pub size: f64,
    /// Of the strokes over data, the share that begins where one of an earlier night began.
    pub hot: f64,
    /// Shares of fresh strokes that begin 1-15, 16-63, 64-255 blocks behind the last; the others are anywhere.
    pub fresh_gaps: [f64; 3],
    /// The same for strokes over data.
    pub over_gaps: [f64; 3],
    /// What happens in each of four nights.
    pub nights: [Night; 4],
}

/// What changes in a night.
#[derive(Debug)]
pub struct Night {
    /// Strokes into space that was zero.
    pub fresh: Strokes,
    /// Strokes over data.
    pub over: Strokes,
}

/// Strokes of one kind.
#[derive(Debug)]
pub struct Strokes {
    /// How many are of each of the [`LENGTHS`].
    pub counts: [u32; LENGTHS.len()],
    /// What they are made of.
    pub new: Pieces,
    /// What they are made of.
    pub moved: Pieces,
    /// What they are made of.
    pub zeroed: Pieces,
}

/// Parts of strokes in which all blocks are of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Pieces {
    /// Blocks in all of them.
    pub blocks: u32,
    /// How many there are.
    pub count: u32,
}

/// Strokes whose pieces are given as blocks and their number: new, moved, zeroed.
const fn strokes(counts: [u32; LENGTHS.len()], pieces: [(u32, u32); 3]) -> Strokes {
    let [new, moved, zeroed] = pieces;
    Strokes {
        counts,
        new: Pieces { blocks: new.0, count: new.1 },
        moved: Pieces { blocks: moved.0, count: moved.1 },
        zeroed: Pieces { blocks: zeroed.0, count: zeroed.1 },
    }
}

/// The three.
pub static PROFILES: [Profile; 3] = [WEB, DB, WIN];

/// A web server on ext4: packages are upgraded (new files, then a rename), logs grow and are rotated, uploads come
/// and go.
const WEB: Profile = Profile {
    name: "web",
    shares: [0.12, 0.2, 0.25, 0.35, 0.5, 0.72, 1.0, 1.0],
    size: 1.38,
    hot: 0.5,
    fresh_gaps: [0.32, 0.05, 0.08],
    over_gaps: [0.63, 0.09, 0.07],
    nights: [
        Night {
            fresh: strokes(
                [3, 2, 1, 4, 3, 5, 0, 1, 6, 4, 6, 1, 4],
                [(18355, 185), (7665, 163), (0, 0)],
            ),
            over: strokes(
                [56, 15, 4, 3, 1, 1, 1, 1, 0, 1, 1, 0, 0],
                [(451, 25), (689, 79), (220, 1)],
            ),
        },
        Night {
            fresh: strokes([1, 0, 0, 1, 0, 0, 0, 2, 1, 5, 1, 1, 0], [(4446, 14), (328, 9), (0, 0)]),
            over: strokes(
                [43, 4, 5, 2, 0, 5, 0, 2, 1, 1, 1, 1, 0],
                [(2998, 34), (337, 66), (0, 0)],
            ),
        },
        Night {
            fresh: strokes(
                [5, 3, 4, 8, 2, 9, 0, 3, 2, 3, 7, 2, 4],
                [(20461, 153), (5649, 130), (0, 0)],
            ),
            over: strokes(
                [146, 23, 38, 17, 4, 36, 20, 16, 19, 3, 4, 4, 1],
                [(12108, 284), (8123, 522), (9, 3)],
            ),
        },
        Night {
            fresh: strokes(
                [11, 2, 4, 6, 0, 0, 0, 1, 1, 1, 1, 2, 1],
                [(6621, 33), (151, 19), (0, 0)],
            ),
            over: strokes(
                [106, 20, 15, 5, 9, 7, 17, 9, 8, 6, 2, 0, 0],
                [(3127, 187), (4737, 297), (0, 0)],
            ),
        },
    ],
};

/// A database of 8 KiB pages on ext4: scattered updates, appended rows, a write-ahead log whose files are used again.
const DB: Profile = Profile {
    name: "db",
    shares: [0.33, 0.38, 0.43, 0.48, 0.52, 0.57, 0.62, 0.68],
    size: 1.13,
    hot: 0.58,
    fresh_gaps: [0.12, 0.0, 0.03],
    over_gaps: [0.61, 0.11, 0.21],
    nights: [
        Night {
            fresh: strokes([1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 0, 0, 3], [(13534, 18), (15, 9), (0, 0)]),
            over: strokes(
                [791, 30, 3, 1, 0, 1, 1, 3, 1, 5, 1, 0, 1],
                [(6692, 831), (6, 5), (1266, 4)],
            ),
        },
        Night {
            fresh: strokes([2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 2, 0], [(3322, 7), (8, 3), (0, 0)]),
            over: strokes(
                [1672, 44, 156, 86, 37, 2, 0, 2, 0, 0, 0, 0, 2],
                [(8313, 1998), (7, 6), (256, 1)],
            ),
        },
        Night {
            fresh: strokes([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 3, 0], [(6594, 11), (9, 4), (0, 0)]),
            over: strokes(
                [1571, 47, 146, 106, 48, 6, 2, 0, 0, 0, 0, 2, 2],
                [(11554, 1936), (26, 22), (1432, 2)],
            ),
        },
        Night {
            fresh: strokes([2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0], [(1783, 7), (9, 4), (0, 0)]),
            over: strokes(
                [1535, 48, 150, 108, 52, 8, 2, 0, 0, 0, 0, 0, 2],
                [(8457, 1908), (15, 14), (768, 2)],
            ),
        },
    ],
};

/// NTFS: replaced files, registry hives, event logs and a page file written in place.
const WIN: Profile = Profile {
    name: "win",
    shares: [0.12, 0.18, 0.25, 0.3, 0.36, 0.42, 0.65, 1.0],
    size: 1.21,
    hot: 0.2,
    fresh_gaps: [0.44, 0.26, 0.15],
    over_gaps: [0.55, 0.34, 0.08],
    nights: [
        Night {
            fresh: strokes(
                [629, 41, 26, 19, 14, 12, 5, 3, 7, 3, 0, 1, 0],
                [(5685, 762), (130, 16), (0, 0)],
            ),
            over: strokes(
                [1668, 118, 9, 3, 0, 0, 1, 0, 0, 0, 0, 0, 0],
                [(1978, 1793), (6, 6), (0, 0)],
            ),
        },
        Night {
            fresh: strokes(
                [571, 41, 20, 15, 16, 5, 6, 1, 7, 0, 1, 0, 0],
                [(3071, 683), (16, 8), (0, 0)],
            ),
            over: strokes(
                [1687, 114, 14, 3, 1, 0, 2, 0, 0, 0, 1, 0, 0],
                [(2648, 1816), (8, 7), (0, 0)],
            ),
        },
        Night {
            fresh: strokes(
                [570, 26, 4, 7, 22, 51, 53, 9, 13, 4, 2, 3, 1],
                [(17610, 814), (498, 70), (0, 0)],
            ),
            over: strokes(
                [1771, 173, 68, 24, 2, 2, 6, 0, 1, 1, 0, 0, 0],
                [(3230, 2047), (114, 12), (0, 0)],
            ),
        },
        Night {
            fresh: strokes(
                [551, 27, 13, 21, 39, 25, 6, 1, 8, 0, 2, 0, 0],
                [(4512, 701), (24, 16), (0, 0)],
            ),
            over: strokes(
                [1825, 116, 20, 8, 4, 3, 1, 0, 0, 0, 0, 0, 0],
                [(2314, 1971), (13, 8), (0, 0)],
            ),
        },
    ],
};
