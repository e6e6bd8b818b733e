//! Reads a VHD, or a chain of them: a base and what its children changed.

use std::fs::File;
use std::io::Read;

use super::SECTOR_LEN;
use super::bat::Bat;
use super::footer::{DiskType, Footer};
use super::header::{HEADER_LEN, Header};
use crate::disk::{DiskError, DiskReader, Input, damaged, unsupported};
use crate::raw::RawSegment;
use crate::xva::error_page;

/// Most bytes of a pipe after the last block, the footer included.
const REST_MAX: usize = 4 << 20;
/// Largest disk that is read: sectors are counted in 32 bits.
const DISK_LEN_MAX: u64 = 2 << 40;
/// Most files of a chain.
const LAYERS_MAX: usize = 64;

/// Reads a disk from one VHD, or from several that build upon each other.
pub struct VhdReader {
    /// The base first.
    layers: Vec<Layer>,
    size_bytes: u64,
    /// Where reading goes on.
    offset_bytes: u64,
    bytes_read: u64,
    is_ended: bool,
}

/// One VHD.
struct Layer {
    input: Input,
    footer: Footer,
    blocks: Blocks,
    /// What the stream must end with: the footer as it stands at the beginning.
    ending: [u8; SECTOR_LEN],
}

/// How data lies.
enum Blocks {
    /// Byte n is byte n of the disk.
    Fixed,
    Sparse {
        header: Header,
        bat: Bat,
        /// The block whose bitmap was read last, and the bitmap.
        bitmap: Option<(u64, Vec<u8>)>,
    },
}

impl VhdReader {
    /// Reads one file, which must not need a parent.
    pub fn of_file(file: File) -> Result<Self, DiskError> {
        Self::of_chain(vec![("the disk".to_owned(), file)])
    }

    /// Reads a chain of files, each with a name for errors: the base first, then child after child.
    pub fn of_chain(files: Vec<(String, File)>) -> Result<Self, DiskError> {
        if files.len() > LAYERS_MAX {
            return Err(unsupported(format!("a chain of {} files is too long", files.len())));
        }
        let mut layers: Vec<Layer> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for (name, file) in files {
            let layer = Layer::of_file(file).map_err(|error| in_file(&name, error))?;
            layer.check_parent(&name, layers.last().zip(names.last()))?;
            layers.push(layer);
            names.push(name);
        }
        match layers.last() {
            Some(top) => {
                let size_bytes = top.footer.size_bytes;
                Ok(Self { layers, size_bytes, offset_bytes: 0, bytes_read: 0, is_ended: false })
            }
            None => Err(unsupported("there are no files")),
        }
    }

    /// Reads a dynamic disk whose blocks lie in order, from a pipe.
    pub fn of_stream(bytes: Box<dyn Read + Send>) -> Result<Self, DiskError> {
        let layer = Layer::of_stream(bytes)?;
        layer.check_parent("the disk", None)?;
        let size_bytes = layer.footer.size_bytes;
        let layers = vec![layer];
        Ok(Self { layers, size_bytes, offset_bytes: 0, bytes_read: 0, is_ended: false })
    }

    /// Where data may begin at or after `from`.
    pub(crate) fn next_data(&self, from: u64) -> Option<u64> {
        let starts = self.layers.iter().filter_map(|layer| layer.next_data(from));
        starts.min().filter(|start| *start < self.size_bytes)
    }
}

impl DiskReader for VhdReader {
    fn size_bytes(&self) -> Option<u64> {
        Some(self.size_bytes)
    }

    fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<RawSegment, DiskError> {
        let segment_len = buffer.len() as u64;
        let Some(data) = self.next_data(self.offset_bytes) else {
            if !self.is_ended {
                self.is_ended = true;
                self.layers.iter_mut().try_for_each(Layer::end)?;
            }
            return Ok(RawSegment::End(self.size_bytes));
        };
        let number = data / segment_len;
        let start = number * segment_len;
        buffer.fill(0);
        let len = (self.size_bytes - start).min(segment_len) as usize; // at most the buffer's
        for layer in &mut self.layers {
            self.bytes_read += layer.overlay(start, &mut buffer[..len])?;
        }
        self.offset_bytes = start + segment_len;
        Ok(RawSegment::Filled(number))
    }
}

impl Layer {
    fn of_file(file: File) -> Result<Self, DiskError> {
        let mut input = Input::of_file(file).map_err(DiskError::Io)?;
        let len_bytes = input.len_bytes().unwrap_or_default();
        // Old programs wrote footers of 511 bytes.
        let footer_len = if len_bytes % 512 == 511 { SECTOR_LEN - 1 } else { SECTOR_LEN };
        let Some(data_len) = len_bytes.checked_sub(footer_len as u64) else {
            return Err(DiskError::Cut { place: "the footer".to_owned() });
        };
        let mut ending = [0; SECTOR_LEN];
        input.read_at(data_len, &mut ending[..footer_len], "the footer")?;
        let footer = Footer::parse(&ending)
            .map_err(|what| damaged("the footer at the end of the file", what))?;
        if footer.disk_type == DiskType::Fixed {
            if footer.size_bytes > data_len {
                return Err(DiskError::Cut { place: "the data".to_owned() });
            }
            return Ok(Self { input, footer, blocks: Blocks::Fixed, ending });
        }
        let copy = read_footer(&mut input, "the copy of the footer")?.0;
        if copy != footer {
            return Err(damaged("the footer", "it differs from its copy"));
        }
        let blocks = read_blocks(&mut input, &footer, Some(data_len))?;
        Ok(Self { input, footer, blocks, ending })
    }

    fn of_stream(bytes: Box<dyn Read + Send>) -> Result<Self, DiskError> {
        let mut input = Input::of_stream(bytes);
        let (footer, ending) = read_footer(&mut input, "the copy of the footer")?;
        if footer.disk_type == DiskType::Fixed {
            return Err(damaged("the first bytes", "they are the footer of a fixed disk"));
        }
        let blocks = read_blocks(&mut input, &footer, None)?;
        match &blocks {
            Blocks::Sparse { bat, .. } if !bat.is_rising() => Err(unsupported(
                "the blocks of this VHD do not lie in order, so it cannot be read from a pipe; \
                 name the file",
            )),
            _ => Ok(Self { input, footer, blocks, ending }),
        }
    }

    /// Checks that what comes before in a chain is the parent.
    fn check_parent(&self, name: &str, below: Option<(&Self, &String)>) -> Result<(), DiskError> {
        let parent = match &self.blocks {
            Blocks::Sparse { header, .. } if self.footer.disk_type == DiskType::Differencing => {
                Some((header.parent_id, &header.parent_name))
            }
            _ => None,
        };
        match (parent, below) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(unsupported(format!(
                "{name} has no parent, so it can only be the first of a chain"
            ))),
            (Some((id, parent)), None) => Err(unsupported(format!(
                "{name} is a differencing VHD: it needs its parent {parent:?} ({}); give the \
                 whole chain, the base first, with --type vhd-chain",
                hex(&id)
            ))),
            (Some((id, _)), Some((found, _))) if id == found.footer.id => Ok(()),
            (Some((id, parent)), Some((found, other))) => Err(unsupported(format!(
                "{name} was made upon {parent:?} ({}), and {other} is another disk ({})",
                hex(&id),
                hex(&found.footer.id)
            ))),
        }
    }

    /// Where data may begin at or after `from`.
    fn next_data(&self, from: u64) -> Option<u64> {
        if from >= self.footer.size_bytes {
            return None;
        }
        match &self.blocks {
            Blocks::Fixed => match &self.input {
                Input::File { file, .. } => {
                    let found = crate::raw::next_data(file, from, self.footer.size_bytes);
                    found.unwrap_or(Some(from)) // whatever is wrong is found by reading
                }
                Input::Stream { .. } => Some(from),
            },
            Blocks::Sparse { bat, .. } => {
                let block = bat.next_present(from / bat.block_len())?;
                Some(from.max(block * bat.block_len()))
            }
        }
    }

    /// Lays what is here over `buffer`, which holds the disk from `start` on. How many bytes were
    /// read.
    fn overlay(&mut self, start: u64, buffer: &mut [u8]) -> Result<u64, DiskError> {
        let here = self.footer.size_bytes.saturating_sub(start).min(buffer.len() as u64);
        let buffer = &mut buffer[..here as usize]; // at most its length
        let Self { input, blocks, .. } = self;
        let Blocks::Sparse { bat, bitmap, .. } = blocks else {
            input.read_at(start, buffer, "the data")?;
            return Ok(here);
        };
        let (mut read, mut done) = (0, 0);
        while done < buffer.len() {
            let at = start + done as u64;
            let (block, within) = (at / bat.block_len(), at % bat.block_len());
            let len = (bat.block_len() - within).min((buffer.len() - done) as u64) as usize;
            let part = &mut buffer[done..done + len];
            done += len;
            let Some(offset) = bat.offset(block) else { continue };
            let place = format!("block {block}");
            if bitmap.as_ref().is_none_or(|(known, _)| *known != block) {
                let mut bits = vec![0; bat.bitmap_len()];
                input.read_at(offset, &mut bits, &place)?;
                read += bits.len() as u64;
                *bitmap = Some((block, bits));
            }
            let Some((_, bits)) = bitmap else { continue };
            let data_at = offset + bat.bitmap_len() as u64 + within;
            read += part.len() as u64;
            overlay_block(input, data_at, part, (bits, within), &place)?;
        }
        Ok(read)
    }

    /// Checks how a stream ends.
    fn end(&mut self) -> Result<(), DiskError> {
        if self.input.len_bytes().is_some() {
            return Ok(());
        }
        let Some(rest) = self.input.rest(REST_MAX)? else {
            return Err(damaged("the end", "foreign bytes follow the last block"));
        };
        let tail = &rest[rest.len().saturating_sub(error_page::SEARCH_LEN)..];
        if let Some(page) = error_page::find(tail) {
            return Err(damaged("the end", error_page::explanation(&page)));
        }
        match rest.ends_with(&self.ending) {
            true => Ok(()),
            false if rest.len() < SECTOR_LEN => {
                Err(DiskError::Cut { place: "the footer at the end".to_owned() })
            }
            false => Err(damaged("the footer at the end", "it differs from its copy")),
        }
    }
}

/// Reads `part` of a block and lays its present sectors over what is there. `within` is where
/// `part` begins in the block that `bits` is the bitmap of.
fn overlay_block(
    input: &mut Input,
    data_at: u64,
    part: &mut [u8],
    (bits, within): (&[u8], u64),
    place: &str,
) -> Result<(), DiskError> {
    let first = within as usize / SECTOR_LEN; // below a block's length
    let is_here = |sector: usize| bits[sector / 8] & (0x80 >> (sector % 8)) != 0;
    let count = part.len().div_ceil(SECTOR_LEN);
    if (first..first + count).all(is_here) {
        return input.read_at(data_at, part, place);
    }
    let mut data = vec![0; part.len()];
    input.read_at(data_at, &mut data, place)?;
    let sectors = part.chunks_mut(SECTOR_LEN).zip(data.chunks(SECTOR_LEN));
    for (sector, (old, new)) in (first..).zip(sectors) {
        if is_here(sector) {
            old.copy_from_slice(new);
        }
    }
    Ok(())
}

fn read_footer(input: &mut Input, place: &str) -> Result<(Footer, [u8; SECTOR_LEN]), DiskError> {
    let mut bytes = [0; SECTOR_LEN];
    input.read_at(0, &mut bytes, place)?;
    let footer = Footer::parse(&bytes).map_err(|what| damaged(place, what))?;
    Ok((footer, bytes))
}

/// Reads header and BAT. `end` is where blocks must have ended, if that is known.
fn read_blocks(input: &mut Input, footer: &Footer, end: Option<u64>) -> Result<Blocks, DiskError> {
    if footer.size_bytes > DISK_LEN_MAX {
        return Err(damaged("the footer", "a VHD cannot be larger than 2 TiB"));
    }
    let mut bytes = [0; HEADER_LEN];
    let header_end = footer.header_offset.checked_add(HEADER_LEN as u64);
    let Some(header_end) = header_end.filter(|end| *end <= DISK_LEN_MAX) else {
        return Err(damaged("the footer", "the header cannot lie where it says"));
    };
    input.read_at(footer.header_offset, &mut bytes, "the header")?;
    let header = Header::parse(&bytes).map_err(|what| damaged("the header", what))?;
    let blocks = footer.size_bytes.div_ceil(u64::from(header.block_len));
    if blocks > u64::from(header.entries) {
        let what = format!("{} blocks are too few for the disk", header.entries);
        return Err(damaged("the header", what));
    }
    if header.bat_offset > DISK_LEN_MAX {
        return Err(damaged("the header", "the BAT cannot lie where it says"));
    }
    let bat_len = blocks * 4; // at most 16 MiB
    let bat_end = header.bat_offset + bat_len;
    if end.is_some_and(|end| bat_end > end) {
        return Err(DiskError::Cut { place: "the BAT".to_owned() });
    }
    let mut bytes = vec![0; bat_len as usize];
    input.read_at(header.bat_offset, &mut bytes, "the BAT")?;
    let bat = Bat::parse(&bytes, header.block_len);
    let taken = [
        (0, SECTOR_LEN as u64),
        (footer.header_offset, header_end),
        (header.bat_offset, bat_end.max(header.bat_offset + 1)),
    ];
    bat.check(&taken, end).map_err(|what| damaged("the BAT", what))?;
    Ok(Blocks::Sparse { header, bat, bitmap: None })
}

fn in_file(name: &str, error: DiskError) -> DiskError {
    match error {
        DiskError::Damaged { place, what } => damaged(format!("{place} of {name}"), what),
        DiskError::Cut { place } => DiskError::Cut { place: format!("{place} of {name}") },
        other => other,
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
