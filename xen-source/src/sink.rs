//! Sinks: what stored disks are written to.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};

use engine::source::{Content, ContentError, DiskSink, Role, SEGMENT_LEN, StoredDisk};

use crate::qcow2::writer::Qcow2Writer;
use crate::raw::RawWriter;
use crate::vhd::writer::{self as vhd, VhdWriter};
use crate::xva::checksum::ChecksumKind;
use crate::xva::layout::Layout;
use crate::xva::ova::OvaXml;
use crate::xva::ova::edit::{Edits, rising_ids};
use crate::xva::ova::for_pool::ForPool;
use crate::xva::ova::fresh::{self, FreshDisk};
use crate::xva::ova::seed::Seed;
use crate::xva::tar::padding_len;
use crate::xva::writer::{DiskWriter, XvaWriter};
use crate::xva::{CHUNK_LEN, LAYOUT_LEN_MAX, RECORD_LEN_MAX};

/// How an XVA is to be written.
#[derive(Debug, Clone)]
pub struct XvaOptions {
    /// Which checksums; `None`: as it was, or XXH64 in a new XVA.
    pub checksum: Option<ChecksumKind>,
    /// Another name for the VM; `None`: as it was, or the first disk's if there was no VM.
    pub name: Option<String>,
    /// What becomes of the network cards' addresses.
    pub macs: Macs,
    /// Only these disks, by their place in [`Content::disks`]; `None`: all.
    pub disks: Option<Vec<usize>>,
    /// Random bytes, for new addresses and uuids.
    pub seed: [u8; 32],
}

/// What becomes of network addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Macs {
    /// They stay.
    Keep,
    /// Every card gets a new one, at random and locally administered.
    Replace,
}

/// What kind of XVA was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Byte by byte the one that was read.
    Exact,
    /// A new one, as xapi would write it.
    Canonical,
}

/// Writes the disks as an XVA: the one that was read if nothing else is asked for, or a new one.
///
/// `out` gets few and large writes; a `File` or a pipe needs no buffer around it.
pub fn write_xva(
    content: &dyn Content,
    out: impl Write,
    options: &XvaOptions,
) -> Result<Form, ContentError> {
    let is_unchanged = options.checksum.is_none()
        && options.name.is_none()
        && options.macs == Macs::Keep
        && options.disks.is_none();
    let layout = if is_unchanged { layout_of(content)? } else { None };
    match (layout, record_of(content)?) {
        (Some(layout), Some(record)) => {
            let disks = all_disks(content);
            write_plan(content, out, Plan { record: record.text().to_owned(), layout, disks })?;
            Ok(Form::Exact)
        }
        (_, record) => {
            let plan = match record {
                Some(record) => plan_from_record(content, &record, options)?,
                None => plan_without_record(content, options)?,
            };
            write_plan(content, out, plan)?;
            Ok(Form::Canonical)
        }
    }
}

/// Writes a new XVA for a pool, with the disks that `disks` names by their places in
/// [`Content::disks`], and no others.
pub fn write_for_pool(
    content: &dyn Content,
    out: impl Write,
    disks: &[usize],
    wanted: &ForPool<'_>,
) -> Result<(), ContentError> {
    let Some(record) = record_of(content)? else {
        return invalid("the snapshot has no VM record");
    };
    let disks = chosen_disks(content, Some(disks))?;
    let mut plan = edited(content, &record, disks, |edits| edits.for_pool(wanted))?;
    plan.layout = plan.layout.with_checksum(wanted.checksum);
    write_plan(content, out, plan)
}

/// Where a raw disk or a stream is written to.
pub enum RawOutput<'a> {
    /// A new, empty file, in which zeros become holes.
    NewFile(&'a File),
    /// A device or a pipe, to which zeros are written.
    Plain(&'a mut dyn Write),
}

/// Writes one disk or file as it is. `disk` is its place in [`Content::disks`].
pub fn write_raw(
    content: &dyn Content,
    disk: usize,
    out: RawOutput<'_>,
) -> Result<(), ContentError> {
    let size_bytes = stored(content, disk)?.size_bytes;
    let mut writer = match out {
        RawOutput::NewFile(file) => RawWriter::to_new_file(file),
        RawOutput::Plain(out) => RawWriter::to_plain(out),
    };
    content.read_disk(disk, &mut Sink(|offset, bytes: &[u8]| writer.segment(offset, bytes)))?;
    writer.end(size_bytes).map_err(ContentError::Output)
}

/// What a single disk is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskForm {
    /// Byte n is byte n.
    Raw,
    /// A dynamic VHD. The id tells it from other disks.
    Vhd([u8; 16]),
    /// A qcow2, version 3.
    Qcow2,
}

/// Writes one disk as `form` in one go. `disk` is its place in [`Content::disks`].
///
/// Which segments are holes is known beforehand; what is zero within others is not, and becomes
/// a hole only in a new file.
pub fn write_disk(
    content: &dyn Content,
    disk: usize,
    form: DiskForm,
    out: RawOutput<'_>,
) -> Result<(), ContentError> {
    let size_bytes = stored(content, disk)?.size_bytes;
    if let (DiskForm::Vhd(_), Some(what)) = (form, vhd::refusal(size_bytes)) {
        return invalid(&what);
    }
    if form == DiskForm::Raw {
        return write_raw(content, disk, out);
    }
    let numbers = content.segment_numbers(disk)?;
    let announced = (&*numbers, SEGMENT_LEN as u64);
    let raw = match out {
        RawOutput::NewFile(file) => RawWriter::to_new_file(file),
        RawOutput::Plain(out) => RawWriter::to_plain(out),
    };
    if let DiskForm::Vhd(id) = form {
        let mut writer = VhdWriter::begin(raw, size_bytes, announced, id).map_err(output_error)?;
        content.read_disk(disk, &mut Sink(|offset, bytes: &[u8]| writer.segment(offset, bytes)))?;
        writer.end().map_err(output_error)
    } else {
        let mut writer = Qcow2Writer::begin(raw, size_bytes, announced).map_err(output_error)?;
        content.read_disk(disk, &mut Sink(|offset, bytes: &[u8]| writer.segment(offset, bytes)))?;
        writer.end().map_err(output_error)
    }
}

/// Writes one stream (or disk) to a pipe. `disk` is its place in [`Content::disks`].
pub fn write_stream(
    content: &dyn Content,
    disk: usize,
    out: &mut dyn Write,
) -> Result<(), ContentError> {
    write_raw(content, disk, RawOutput::Plain(out))
}

/// An XVA to be written: everything but the disks' data.
struct Plan {
    record: String,
    layout: Layout,
    /// The disks in the order of the archive.
    disks: Vec<PlannedDisk>,
}

#[derive(Debug, Clone, Copy)]
struct PlannedDisk {
    /// Place in [`Content::disks`].
    place: usize,
    /// Virtual size in the record, in bytes.
    size_bytes: u64,
}

fn write_plan(content: &dyn Content, out: impl Write, plan: Plan) -> Result<(), ContentError> {
    let Plan { record, layout, disks } = plan;
    if layout.disks.len() != disks.len() {
        return invalid("the layout and the snapshot have different disks");
    }
    let begun = XvaWriter::begin(out, layout, record.as_bytes());
    let mut writer = begun.map_err(output_error)?;
    for PlannedDisk { place, size_bytes } in disks {
        let mut disk = writer.next_disk(size_bytes).map_err(output_error)?;
        content.read_disk(place, &mut disk)?;
        disk.end().map_err(output_error)?;
    }
    writer.finish().map_err(output_error)?;
    Ok(())
}

impl<W: Write> DiskSink for DiskWriter<'_, W> {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        DiskWriter::segment(self, offset_bytes, bytes)
    }
}

/// A sink that is one function.
struct Sink<F>(F);

impl<F: FnMut(u64, &[u8]) -> io::Result<()>> DiskSink for Sink<F> {
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.0(offset_bytes, bytes)
    }
}

/// A new XVA from the VM's record, changed as the options say.
fn plan_from_record(
    content: &dyn Content,
    record: &OvaXml,
    options: &XvaOptions,
) -> Result<Plan, ContentError> {
    let disks = chosen_disks(content, options.disks.as_deref())?;
    let mut plan = edited(content, record, disks, |edits| {
        if let Some(name) = &options.name {
            edits.rename_vm(name);
        }
        if options.macs == Macs::Replace {
            edits.replace_macs(&mut Seed::new(options.seed));
        }
    })?;
    if let Some(checksum) = options.checksum {
        plan.layout = plan.layout.with_checksum(checksum);
    }
    Ok(plan)
}

/// A new XVA from a record: edited, ids made anew, disks with gaps before small ones.
fn edited(
    content: &dyn Content,
    record: &OvaXml,
    disks: Vec<PlannedDisk>,
    edit: impl FnOnce(&mut Edits<'_>),
) -> Result<Plan, ContentError> {
    let ids = ids_of_disks(content, record)?;
    let is_chosen = |place: usize| disks.iter().any(|disk| disk.place == place);
    let dropped: Vec<&str> =
        ids.iter().filter(|(place, _)| !is_chosen(**place)).map(|(_, id)| *id).collect();
    let new_ids = rising_ids(record, disks.len());
    let mut edits = Edits::new(record);
    edits.drop_disks(&dropped);
    edits.drop_empty_devices();
    edit(&mut edits);
    let mut renamed = HashMap::new();
    for (disk, new_id) in disks.iter().zip(&new_ids) {
        let Some(id) = ids.get(&disk.place) else { continue };
        if disk.size_bytes != content.disks()[disk.place].size_bytes {
            edits.set_disk_size(id, disk.size_bytes);
        }
        renamed.insert(*id, new_id.clone());
    }
    edits.replace_disk_ids(&renamed);
    let layout = Layout::canonical(new_ids, ChecksumKind::Xxh64);
    Ok(Plan { record: edits.apply(), layout, disks })
}

/// A new XVA of disks that came without a VM.
fn plan_without_record(content: &dyn Content, options: &XvaOptions) -> Result<Plan, ContentError> {
    let disks = chosen_disks(content, options.disks.as_deref())?;
    let stored = |disk: &PlannedDisk| &content.disks()[disk.place];
    let Some(first) = disks.first() else {
        return invalid("there are no disks for an XVA");
    };
    let name = options.name.as_ref().unwrap_or(&stored(first).name);
    let fresh_disks: Vec<FreshDisk> = disks
        .iter()
        .map(|disk| FreshDisk { name: stored(disk).name.clone(), size_bytes: disk.size_bytes })
        .collect();
    let record = fresh::record(name, &fresh_disks, &mut Seed::new(options.seed));
    let ids = (0..disks.len()).map(|place| fresh::disk_id(place, disks.len()));
    let layout = Layout::canonical(ids, options.checksum.unwrap_or(ChecksumKind::Xxh64));
    Ok(Plan { record, layout, disks })
}

/// Ids in the record by place in the content. A source delivers disks in byte-wise order of ids.
pub(crate) fn ids_of_disks<'a>(
    content: &dyn Content,
    record: &'a OvaXml,
) -> Result<HashMap<usize, &'a str>, ContentError> {
    let mut ids: Vec<&str> = record.disks().iter().map(|disk| &*disk.id).collect();
    ids.sort_unstable();
    let disks = all_disks(content);
    if ids.len() != disks.len() {
        return invalid("the VM record and the snapshot have different disks");
    }
    Ok(disks.iter().map(|disk| disk.place).zip(ids).collect())
}

/// All disks and memory images, as they were.
fn all_disks(content: &dyn Content) -> Vec<PlannedDisk> {
    let is_disk = |disk: &StoredDisk| matches!(disk.role, Role::Disk | Role::Memory);
    let disks = content.disks().iter().enumerate().filter(|(_, disk)| is_disk(disk));
    disks.map(|(place, disk)| PlannedDisk { place, size_bytes: disk.size_bytes }).collect()
}

/// The disks asked for, in the order in which a new XVA holds them, with sizes that it can hold.
///
/// xapi: the importer takes the first chunk's length for that of all, so disks smaller than a
/// chunk, which have no gaps, come last. And it loses its way after a chunk that is not made of
/// whole blocks, so sizes are rounded up.
fn chosen_disks(
    content: &dyn Content,
    chosen: Option<&[usize]>,
) -> Result<Vec<PlannedDisk>, ContentError> {
    let mut disks = all_disks(content);
    if let Some(chosen) = chosen {
        if let Some(place) = chosen.iter().find(|place| !disks.iter().any(|d| d.place == **place)) {
            return invalid(&format!("number {place} is not a disk"));
        }
        disks.retain(|disk| chosen.contains(&disk.place));
    }
    for disk in &mut disks {
        disk.size_bytes += padding_len(disk.size_bytes) as u64;
    }
    disks.sort_by_key(|disk| disk.size_bytes < CHUNK_LEN as u64); // stable
    Ok(disks)
}

fn layout_of(content: &dyn Content) -> Result<Option<Layout>, ContentError> {
    let Some(bytes) = stream_of(content, Role::Layout, LAYOUT_LEN_MAX as u64)? else {
        return Ok(None);
    };
    match Layout::decode(&bytes) {
        Ok(layout) => Ok(Some(layout)),
        Err(wrong) => invalid(&format!("the layout does not decode: {wrong}")),
    }
}

/// The VM's record, if there is one.
pub(crate) fn record_of(content: &dyn Content) -> Result<Option<OvaXml>, ContentError> {
    let Some(bytes) = stream_of(content, Role::Record, RECORD_LEN_MAX)? else {
        return Ok(None);
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return invalid("the VM record is not UTF-8");
    };
    match OvaXml::parse(text) {
        Ok(record) => Ok(Some(record)),
        Err(wrong) => invalid(&format!("the VM record: {wrong}")),
    }
}

/// The first stream of `role`.
fn stream_of(
    content: &dyn Content,
    role: Role,
    limit_bytes: u64,
) -> Result<Option<Vec<u8>>, ContentError> {
    let place = content.disks().iter().position(|disk| disk.role == role);
    place.map(|place| content.read_stream(place, limit_bytes)).transpose()
}

fn stored(content: &dyn Content, disk: usize) -> Result<&StoredDisk, ContentError> {
    match content.disks().get(disk) {
        Some(stored) => Ok(stored),
        None => invalid(&format!("there is no disk number {disk}")),
    }
}

/// What does not fit together is the content's fault; everything else is the output's.
fn output_error(error: io::Error) -> ContentError {
    match error.kind() {
        io::ErrorKind::InvalidData => ContentError::Invalid { what: error.to_string() },
        _ => ContentError::Output(error),
    }
}

fn invalid<T>(what: &str) -> Result<T, ContentError> {
    Err(ContentError::Invalid { what: what.to_owned() })
}
