//! A print: what recognises the parts of a segment again (SPEC 7.4). Never needed to read.

use crate::error::FormatError;
use crate::id::{Fingerprint, SegmentId};
use crate::keys::Keys;
use crate::limits::{BLOCKS, PRINT_DEPTH_MAX, UNIT_BLOCKS, UNIT_LEN, UNITS};
use crate::segment::Units;
use crate::wire::{Reader, Writer};

/// The unit values and fingerprints of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Print {
    units: Units,
    fingerprints: Vec<Fingerprint>,
}

impl Print {
    /// `fingerprints` are those of all [`BLOCKS`] blocks in order.
    #[must_use]
    pub fn new(units: Units, fingerprints: Vec<Fingerprint>) -> Self {
        assert_eq!(fingerprints.len(), BLOCKS, "a print has every block of its segment");
        Self { units, fingerprints }
    }

    /// The unit values.
    #[must_use]
    pub const fn units(&self) -> &Units {
        &self.units
    }

    /// The fingerprints of all blocks in order.
    #[must_use]
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// The print of 4 MiB of zeros, to which every full print is a delta. Hashes them: keep it.
    #[must_use]
    pub fn of_zeros(keys: &Keys) -> Self {
        let zeros = [0; UNIT_LEN];
        let values = std::array::from_fn(|unit| Units::value(keys, unit, &zeros));
        Self::new(Units::from_values(values), vec![Fingerprint::ZERO; BLOCKS])
    }

    /// A full entry: a delta to [`Self::of_zeros`].
    #[must_use]
    pub fn encode(&self, zeros: &Self) -> Vec<u8> {
        self.encode_over(zeros, [0; SegmentId::LEN], 0)
    }

    /// A delta to the print of segment `base`, which is itself stored at `depth - 1`.
    /// The two segments differ; `depth` is 1 to [`PRINT_DEPTH_MAX`].
    #[must_use]
    pub fn encode_delta(&self, base: SegmentId, base_print: &Self, depth: u8) -> Vec<u8> {
        assert!((1..=PRINT_DEPTH_MAX).contains(&depth), "writers begin anew behind the limit");
        self.encode_over(base_print, *base.as_bytes(), depth)
    }

    fn encode_over(&self, below: &Self, base: [u8; SegmentId::LEN], depth: u8) -> Vec<u8> {
        let given_unit = |unit: usize| self.units.values()[unit] != below.units.values()[unit];
        let given_block = |block: usize| self.fingerprints[block] != below.fingerprints[block];
        let units: Vec<usize> = (0..UNITS).filter(|unit| given_unit(*unit)).collect();
        let mut w = Writer::default();
        w.u8(depth).zeros(7).bytes(&base);
        w.u64(units.iter().fold(0, |mask, unit| mask | 1 << unit));
        let blocks = |unit: &usize| unit * UNIT_BLOCKS..(unit + 1) * UNIT_BLOCKS;
        for unit in &units {
            let places = blocks(unit).zip(0..);
            let mask = places.filter(|(block, _)| given_block(*block));
            w.bytes(&self.units.values()[*unit]);
            w.u16(mask.fold(0, |mask, (_, place)| mask | 1 << place));
        }
        for block in units.iter().flat_map(blocks).filter(|block| given_block(*block)) {
            w.bytes(self.fingerprints[block].as_bytes());
        }
        w.finish()
    }
}

/// A print as it is stored: full, or a delta to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPrint {
    depth: u8,
    base: Option<SegmentId>,
    units: Vec<(usize, [u8; 32])>,
    fingerprints: Vec<(usize, Fingerprint)>,
}

impl StoredPrint {
    /// Reads an entry.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("print", bytes);
        let depth = r.u8()?;
        r.zeros(7)?;
        let base = SegmentId::from_bytes(r.array()?);
        let unit_mask = r.u64()?;
        let base = match (depth, base.as_bytes(), unit_mask) {
            (0, zeros, 1..) if *zeros == [0; SegmentId::LEN] => None,
            (1..=PRINT_DEPTH_MAX, _, 1..) => Some(base),
            _ => return Err(FormatError::Invalid { what: "head of a print" }),
        };
        let (mut units, mut blocks) = (Vec::new(), Vec::new());
        for unit in (0..UNITS).filter(|unit| unit_mask & 1 << unit != 0) {
            units.push((unit, r.array()?));
            let mask = r.u16()?;
            let given = (0..UNIT_BLOCKS).filter(|place| mask & 1 << place != 0);
            blocks.extend(given.map(|place| unit * UNIT_BLOCKS + place));
        }
        let mut fingerprints = Vec::with_capacity(blocks.len());
        for block in blocks {
            fingerprints.push((block, Fingerprint::from_bytes(r.array()?)));
        }
        r.end()?;
        Ok(Self { depth, base, units, fingerprints })
    }

    /// The segment to whose print this is a delta; `None`: it is full.
    #[must_use]
    pub const fn base(&self) -> Option<SegmentId> {
        self.base
    }

    /// Deltas down to the full print, this one included; 0 to [`PRINT_DEPTH_MAX`].
    #[must_use]
    pub const fn depth(&self) -> u8 {
        self.depth
    }

    /// The whole print. `below` is that of [`Self::base`], or [`Print::of_zeros`].
    /// Proved only when its unit values lead to the segment's id.
    #[must_use]
    pub fn over(&self, below: &Print) -> Print {
        let (mut units, mut fingerprints) = (*below.units.values(), below.fingerprints.clone());
        self.units.iter().for_each(|(unit, value)| units[*unit] = *value);
        self.fingerprints.iter().for_each(|(block, found)| fingerprints[*block] = *found);
        Print { units: Units::from_values(units), fingerprints }
    }
}
