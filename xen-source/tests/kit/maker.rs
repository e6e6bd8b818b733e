//! Makes XVAs, of every form that is out there, with no code of the crate.

use proptest::prelude::{Just, Strategy, any, prop};
use proptest::sample::select;
use sha1::{Digest, Sha1};

pub const MIB: usize = 1 << 20;

/// An XVA to be made.
#[derive(Debug, Clone)]
pub struct Archive {
    pub headers: Headers,
    pub sha1: bool,
    /// Number of the first disk's id; later ones follow in steps of 3.
    pub first_ref: u64,
    pub disks: Vec<Disk>,
    /// Bytes after the two zero blocks.
    pub tail: Vec<u8>,
}

/// How tar headers look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers {
    /// As xapi writes them.
    V7,
    /// As Xen Orchestra writes them: mode 0644, a time that moves on.
    Ustar,
    /// As GNU tar writes them, names in extended headers, sizes in base 256.
    Gnu,
    /// As Python writes them, names and sizes in PAX records.
    Pax,
}

/// A disk to be made.
#[derive(Debug, Clone)]
pub struct Disk {
    pub size_bytes: usize,
    pub suspend: bool,
    /// For each chunk: its first byte and how it is stored.
    pub chunks: Vec<Chunk>,
}

#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    /// 0: the chunk is zero.
    pub fill: u8,
    /// Whether it is stored though it is zero.
    pub allocated: bool,
    /// Keep-alives before it, unless it is the first or the last.
    pub keep_alives: u8,
}

impl Disk {
    pub fn id(&self, archive: &Archive, place: usize) -> String {
        format!("Ref:{}", archive.first_ref + 3 * place as u64)
    }

    /// The bytes of the disk.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size_bytes];
        for (place, data) in bytes.chunks_mut(MIB).enumerate() {
            let fill = self.chunks[place].fill;
            let middle = data.len() / 2;
            data[middle..].fill(fill);
            data[0] = fill.wrapping_mul(3);
        }
        bytes
    }
}

impl Archive {
    /// One disk of 5 MiB with a hole, and one of 512 bytes.
    pub fn sample() -> Self {
        let chunk = |fill| Chunk { fill, allocated: false, keep_alives: 0 };
        let large = [1, 0, 0, 2, 3].map(chunk).to_vec();
        let disks = vec![
            Disk { size_bytes: 5 * MIB - 1024, suspend: false, chunks: large },
            Disk { size_bytes: 512, suspend: false, chunks: vec![chunk(9)] },
        ];
        let headers = Headers::V7;
        Self { headers, sha1: false, first_ref: 12, disks, tail: Vec::new() }
    }

    /// Places of the disks in the order in which the archive holds them.
    pub fn order(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.disks.len()).collect();
        places.sort_by_key(|place| self.disks[*place].id(self, *place).into_bytes());
        places
    }

    /// The archive, and the offset of every header in it.
    pub fn make_with_boundaries(&self) -> (Vec<u8>, Vec<usize>) {
        let mut maker = Maker { archive: self, out: Vec::new(), boundaries: Vec::new(), count: 0 };
        maker.member("ova.xml", self.record().as_bytes());
        for place in self.order() {
            maker.disk(&self.disks[place].id(self, place), &self.disks[place]);
        }
        let Maker { mut out, mut boundaries, .. } = maker;
        boundaries.push(out.len());
        out.resize(out.len() + 1024, 0);
        out.extend_from_slice(&self.tail);
        (out, boundaries)
    }

    pub fn make(&self) -> Vec<u8> {
        self.make_with_boundaries().0
    }
}

struct Maker<'a> {
    archive: &'a Archive,
    out: Vec<u8>,
    boundaries: Vec<usize>,
    count: u64,
}

impl Maker<'_> {
    fn disk(&mut self, id: &str, disk: &Disk) {
        let bytes = disk.bytes();
        let last = disk.chunks.len() - 1;
        let mut number = 0;
        for (place, data) in bytes.chunks(MIB).enumerate() {
            let chunk = disk.chunks[place];
            let is_edge = place == 0 || place == last;
            let keep_alives = if is_edge { 0 } else { chunk.keep_alives };
            for _ in 0..keep_alives {
                self.pair(id, number, &[]);
                number += 1;
            }
            if is_edge || chunk.allocated || chunk.fill != 0 {
                self.pair(id, number, data);
            }
            number += 1;
        }
    }

    fn pair(&mut self, id: &str, number: u64, data: &[u8]) {
        let name = format!("{id}/{number:08}");
        self.member(&name, data);
        let (extension, text) = checksum(self.archive.sha1, data);
        self.member(&format!("{name}{extension}"), text.as_bytes());
    }

    fn member(&mut self, name: &str, data: &[u8]) {
        self.boundaries.push(self.out.len());
        self.count += 1;
        let mtime = match self.archive.headers {
            Headers::V7 => {
                if name == "ova.xml" {
                    1_700_000_000
                } else {
                    0
                }
            }
            _ => 1_700_000_000 + self.count / 5,
        };
        let size = data.len() as u64;
        match self.archive.headers {
            Headers::V7 => self.block(name, size, mtime, 0o400, 0, *b"\0\0\0\0\0\0\0\0"),
            Headers::Ustar => self.block(name, size, mtime, 0o644, b'0', *b"ustar\x0000"),
            Headers::Gnu => {
                let long = format!("{name}\0");
                self.block("././@LongLink", long.len() as u64, 0, 0, b'L', *b"ustar  \0");
                self.padded(long.as_bytes());
                self.block(name, size, mtime, 0o600, b'0', *b"ustar  \0");
                self.base_256_size(size);
            }
            Headers::Pax => {
                let records = record("path", name) + &record("size", &size.to_string());
                let pax = format!("PaxHeaders/{}", self.count);
                self.block(&pax, records.len() as u64, mtime, 0o600, b'x', *b"ustar\x0000");
                self.padded(records.as_bytes());
                self.block("cut off", 0, mtime, 0o600, b'0', *b"ustar\x0000");
            }
        }
        self.padded(data);
    }

    fn block(&mut self, name: &str, size: u64, mtime: u64, mode: u32, kind: u8, magic: [u8; 8]) {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        let mut field = |at: usize, text: String| {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        field(100, format!("{mode:07o}"));
        field(108, "0000000".into());
        field(116, "0000000".into());
        field(124, format!("{size:011o}"));
        field(136, format!("{mtime:011o}"));
        block[156] = kind;
        block[257..265].copy_from_slice(&magic);
        self.out.extend_from_slice(&block);
        self.sum();
    }

    /// Rewrites the size in the latest header.
    fn base_256_size(&mut self, size: u64) {
        let at = self.out.len() - 512;
        self.out[at + 124..at + 136].fill(0);
        self.out[at + 124] = 0x80;
        self.out[at + 128..at + 136].copy_from_slice(&size.to_be_bytes());
        self.sum();
    }

    /// Rewrites the sum in the latest header.
    fn sum(&mut self) {
        let is_v7 = self.archive.headers == Headers::V7;
        let at = self.out.len() - 512;
        self.out[at + 148..at + 156].fill(b' ');
        let sum: u32 = self.out[at..].iter().map(|byte| u32::from(*byte)).sum();
        let text = if is_v7 { format!("{sum:07o}\0") } else { format!("{sum:06o}\0 ") };
        self.out[at + 148..at + 156].copy_from_slice(text.as_bytes());
    }

    fn padded(&mut self, data: &[u8]) {
        self.out.extend_from_slice(data);
        self.out.resize(self.out.len().next_multiple_of(512), 0);
    }
}

/// A PAX record, which begins with its own length.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let len = (1..).find(|len| len.to_string().len() + rest.len() == *len).expect("a length");
    format!("{len}{rest}")
}

pub fn checksum(sha1: bool, data: &[u8]) -> (&'static str, String) {
    if sha1 {
        let digest = Sha1::digest(data);
        (".checksum", digest.iter().map(|byte| format!("{byte:02x}")).collect())
    } else {
        (".xxhash", format!("{:016X}", xxhash_rust::xxh64::xxh64(data, 0)))
    }
}

/// Any small XVA that a host or a tool could have made.
pub fn any_archive() -> impl Strategy<Value = Archive> {
    let headers =
        select(vec![Headers::V7, Headers::V7, Headers::Ustar, Headers::Gnu, Headers::Pax]);
    let tail = select(vec![vec![], vec![0; 512], vec![0; 8192], b"made by tests".to_vec()]);
    let disks = prop::collection::vec(any_disk(), 1..=4);
    let parts = (headers, any::<bool>(), 0..100u64, disks, tail);
    parts.prop_map(|(headers, sha1, first_ref, mut disks, tail)| {
        let last = disks.len() - 1;
        disks[last].suspend &= last > 0;
        for disk in &mut disks[..last] {
            disk.suspend = false;
        }
        Archive { headers, sha1, first_ref, disks, tail }
    })
}

fn any_disk() -> impl Strategy<Value = Disk> {
    let blocks = select(vec![1, 2, 1000, 2047, 2048, 2049, 4096, 9000, 10240, 12000]);
    let size = blocks.prop_map(|blocks: usize| blocks * 512);
    size.prop_flat_map(|size_bytes| {
        let count = size_bytes.div_ceil(MIB);
        let chunks = prop::collection::vec(any_chunk(), count);
        (Just(size_bytes), any::<bool>(), chunks)
    })
    .prop_map(|(size_bytes, suspend, chunks)| Disk { size_bytes, suspend, chunks })
}

fn any_chunk() -> impl Strategy<Value = Chunk> {
    let fill = select(vec![0, 0, 0, 1, 7, 255]);
    let keep_alives = select(vec![0, 0, 0, 1, 3]);
    (fill, any::<bool>(), keep_alives).prop_map(|(fill, allocated, keep_alives)| Chunk {
        fill,
        allocated,
        keep_alives,
    })
}
