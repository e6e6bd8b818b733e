//! A VM that is nowhere but here, and exports as a host writes them.

use std::io;

use xen_source::ChecksumKind;
use xen_source::xva::layout::Layout;
use xen_source::xva::ova::fresh::{self, FreshDisk};
use xen_source::xva::ova::seed::Seed;
use xen_source::xva::writer::XvaWriter;

const MIB: usize = 1 << 20;
/// What a disk is changed by.
const BLOCK_LEN: usize = 4096;
/// Bytes that are written at once.
const SEGMENT_LEN: usize = 4 * MIB;

/// Two disks and a stream of numbers that look random.
pub struct DemoVm {
    disks: [Vec<u8>; 2],
    numbers: Numbers,
}

impl DemoVm {
    /// A system disk of 24 MiB, a third of it empty, and a data disk of 64 MiB, mostly empty.
    pub fn new() -> Self {
        let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
        let mut system = vec![0; 24 * MIB];
        numbers.fill_with_words(&mut system[..8 * MIB]);
        numbers.fill_with_noise(&mut system[12 * MIB..20 * MIB]);
        let mut data = vec![0; 64 * MIB];
        numbers.fill_with_words(&mut data[5 * MIB..9 * MIB]);
        numbers.fill_with_noise(&mut data[33 * MIB..37 * MIB]);
        Self { disks: [system, data], numbers }
    }

    /// Bytes of blocks that are not zero.
    pub fn data_bytes(&self) -> u64 {
        let blocks = self.disks.iter().flat_map(|disk| disk.chunks(BLOCK_LEN));
        blocks
            .filter(|block| block.iter().any(|byte| *byte != 0))
            .map(|block| block.len() as u64)
            .sum()
    }

    /// Changes a few blocks; how many bytes that are.
    pub fn live_a_day(&mut self) -> u64 {
        let places = [(0, MIB), (0, 13 * MIB), (0, 13 * MIB + BLOCK_LEN), (1, 34 * MIB)];
        for (disk, start) in places {
            self.numbers.fill_with_noise(&mut self.disks[disk][start..start + BLOCK_LEN]);
        }
        let log = 9 * MIB..9 * MIB + 16 * BLOCK_LEN;
        self.numbers.fill_with_words(&mut self.disks[1][log]);
        (places.len() as u64 + 16) * BLOCK_LEN as u64
    }

    /// The XVA that a host would write on night `night`: its `Ref` numbers are never the same.
    pub fn export(&self, night: u32) -> io::Result<Vec<u8>> {
        let fresh_disk = |(name, disk): (&str, &Vec<u8>)| FreshDisk {
            name: name.to_owned(),
            size_bytes: disk.len() as u64,
        };
        let disks: Vec<_> =
            ["system", "data"].into_iter().zip(&self.disks).map(fresh_disk).collect();
        // The same seed, so the same uuids: it is the same VM.
        let record = fresh::record("demo", &disks, &mut Seed::new([1; 32]));
        let renumbered = |text: &str| text.replace("Ref:0", &format!("Ref:{night}"));
        let ids = (0..disks.len()).map(|place| renumbered(&fresh::disk_id(place, disks.len())));
        let layout = Layout::canonical(ids, ChecksumKind::Xxh64);
        let mut writer = XvaWriter::begin(Vec::new(), layout, renumbered(&record).as_bytes())?;
        for disk in &self.disks {
            let mut out = writer.next_disk(disk.len() as u64)?;
            for (number, segment) in (0..).zip(disk.chunks(SEGMENT_LEN)) {
                out.segment(number * SEGMENT_LEN as u64, segment)?;
            }
            out.end()?;
        }
        writer.finish()
    }
}

/// Numbers that look random and are always the same (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// What nothing can compress.
    fn fill_with_noise(&mut self, bytes: &mut [u8]) {
        for eight in bytes.chunks_mut(8) {
            eight.copy_from_slice(&self.next().to_le_bytes()[..eight.len()]);
        }
    }

    /// What compresses like text.
    fn fill_with_words(&mut self, bytes: &mut [u8]) {
        const WORDS: [&[u8]; 8] = [
            b"error ",
            b"info ",
            b"GET ",
            b"/index ",
            b"200 ",
            b"web01 ",
            b"user\n",
            b"127.0.0.1 ",
        ];
        let mut rest = bytes;
        while !rest.is_empty() {
            let number = self.next();
            let mut line = WORDS[(number & 7) as usize].to_vec();
            line.extend_from_slice((number >> 40).to_string().as_bytes());
            let len = line.len().min(rest.len());
            let (part, after) = rest.split_at_mut(len);
            part.copy_from_slice(&line[..len]);
            rest = after;
        }
    }
}
