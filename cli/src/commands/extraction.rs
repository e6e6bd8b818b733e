//! What `restore` and `dump` write, and in which form: decided before a byte is read.

use engine::surroundings::{RealSurroundings, random};
use repo_format::snapshot::{DiskRole, Snapshot};
use xen_source::{ChecksumKind, DiskForm, Macs, XvaOptions};

use crate::advice::{Failure, refused};
use crate::args::{Checksum, ExtractArgs, Format};
use crate::report::{disk_order, short_id};

/// What is written.
#[derive(Debug, Clone)]
pub enum Extraction {
    /// One XVA.
    Xva(XvaOptions),
    /// Each of these disks or streams by itself.
    Disks(Vec<OneDisk>),
}

/// A disk or stream that is written by itself.
#[derive(Debug, Clone, Copy)]
pub struct OneDisk {
    /// Its place in the snapshot.
    pub place: usize,
    /// What it becomes.
    pub form: DiskForm,
}

/// Decides. `target_name` is the name of the file that will be written, if there is one.
pub fn resolve(
    args: ExtractArgs,
    snapshot: &Snapshot,
    target_name: Option<&str>,
) -> Result<Extraction, Failure> {
    let places = args.disks.iter().map(|text| find_disk(snapshot, text));
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let wants_edit = args.name.is_some() || args.new_mac || args.checksum.is_some();
    let format = match args.format {
        Some(format) => format,
        None if wants_edit => Format::Xva,
        None => default_format(snapshot, !places.is_empty(), target_name),
    };
    let doing = || format!("cannot write snapshot {}", short_id(&snapshot.id));
    match format {
        Format::Xva => xva(args, snapshot, places, doing),
        _ if wants_edit => refused(
            doing(),
            "--name, --new-mac, --keep-mac and --checksum change an XVA, and disks are wanted",
            "leave them out, or use --format xva",
        ),
        _ => {
            let places = if places.is_empty() { whole(snapshot) } else { places };
            let one = |place| one_disk(snapshot, place, format, doing);
            Ok(Extraction::Disks(places.into_iter().map(one).collect::<Result<_, _>>()?))
        }
    }
}

/// Decides how an XVA is made.
fn xva(
    args: ExtractArgs,
    snapshot: &Snapshot,
    places: Vec<usize>,
    doing: impl Fn() -> String,
) -> Result<Extraction, Failure> {
    if is_file(snapshot) {
        let container = &snapshot.origin.container;
        return refused(
            doing(),
            format!("it holds a file ({container}) and no VM, so it cannot become an XVA"),
            "leave --format out: it comes out as it went in",
        );
    }
    Ok(Extraction::Xva(XvaOptions {
        checksum: args.checksum.map(|checksum| match checksum {
            Checksum::Xxhash => ChecksumKind::Xxh64,
            Checksum::Sha1 => ChecksumKind::Sha1,
        }),
        name: args.name.or_else(|| fresh_name(snapshot)),
        macs: if args.new_mac { Macs::Replace } else { Macs::Keep },
        disks: (!places.is_empty()).then_some(places),
        seed: random(&RealSurroundings),
    }))
}

/// Decides what a disk becomes. The same disk of the same snapshot becomes the same VHD.
fn one_disk(
    snapshot: &Snapshot,
    place: usize,
    format: Format,
    doing: impl Fn() -> String,
) -> Result<OneDisk, Failure> {
    let disk = &snapshot.disks[place];
    let form = match format {
        Format::Raw | Format::Xva => DiskForm::Raw,
        _ if !is_disk(disk.role) => {
            return refused(
                doing(),
                format!("{} is no disk, so it cannot become a VHD or qcow2", disk.name),
                "leave --format out",
            );
        }
        Format::Vhd => {
            let mut id = [0; 16];
            id.copy_from_slice(&snapshot.id.as_bytes()[..16]);
            id[15] ^= place as u8;
            id[14] ^= (place >> 8) as u8;
            DiskForm::Vhd(id)
        }
        Format::Qcow2 => DiskForm::Qcow2,
    };
    Ok(OneDisk { place, form })
}
/// The name of the target decides, else whether disks are named, else how the snapshot came.
fn default_format(snapshot: &Snapshot, names_disks: bool, target_name: Option<&str>) -> Format {
    let container = &*snapshot.origin.container;
    let name = target_name.unwrap_or_default().to_ascii_lowercase();
    let ends = |ending: &str| name.ends_with(ending);
    match container {
        _ if is_file(snapshot) => Format::Raw,
        _ if ends(".xva") => Format::Xva,
        _ if ends(".raw") || ends(".img") => Format::Raw,
        _ if ends(".vhd") => Format::Vhd,
        _ if ends(".qcow2") => Format::Qcow2,
        "vhd" => Format::Vhd,
        "qcow2" => Format::Qcow2,
        "xva" if !names_disks => Format::Xva,
        _ => Format::Raw,
    }
}

/// A VM that came as raw disks has its name from whoever backed it up.
fn fresh_name(snapshot: &Snapshot) -> Option<String> {
    let has_record = snapshot.disks.iter().any(|disk| disk.role == DiskRole::Record);
    if has_record { None } else { snapshot.origin.vm_name.clone() }
}

/// What a snapshot is when nothing of it is named: its disks, or its file.
fn whole(snapshot: &Snapshot) -> Vec<usize> {
    let is_memory = |place: &usize| snapshot.disks[*place].role == DiskRole::Memory;
    disk_order(snapshot).into_iter().filter(|place| !is_memory(place)).collect()
}

/// The disk that is meant: a name goes before a number.
fn find_disk(snapshot: &Snapshot, text: &str) -> Result<usize, Failure> {
    let named = snapshot.disks.iter().position(|disk| disk.name == text);
    let counted = || disk_order(snapshot).get(text.parse::<usize>().ok()?).copied();
    match named.or_else(counted) {
        Some(place) => Ok(place),
        None => {
            let id = short_id(&snapshot.id);
            let hint = format!("`xenith ls {id}` lists the disks and their numbers");
            refused(
                format!("cannot find disk {text} of snapshot {id}"),
                "there is no such disk",
                hint,
            )
        }
    }
}

/// Whether it is no VM: one of those has a record, even if it has no disks.
fn is_file(snapshot: &Snapshot) -> bool {
    snapshot.disks.iter().all(|disk| disk.role == DiskRole::File)
}

const fn is_disk(role: DiskRole) -> bool {
    matches!(role, DiskRole::Disk | DiskRole::Memory)
}
