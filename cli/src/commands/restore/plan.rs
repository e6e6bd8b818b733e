//! Which files a restore writes.

use std::io;
use std::path::{Path, PathBuf};

use repo_format::snapshot::{DiskRole, Snapshot};
use xen_source::{DiskForm, XvaOptions};

use crate::advice::{Failure, Fault, refused};
use crate::commands::extraction::{Extraction, OneDisk};
use crate::report::{short_id, subject};

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// One file.
    File(PathBuf),
    /// A file for each disk, or one XVA.
    Directory(PathBuf),
}

/// What is done.
pub enum Plan {
    /// It is streamed.
    Stdout(Extraction),
    /// These files are written.
    Files(Vec<PlannedFile>),
}

/// A file to be written.
pub struct PlannedFile {
    /// Its name.
    pub path: PathBuf,
    /// What it will hold.
    pub content: Content,
}

/// What a file will hold.
pub enum Content {
    /// An XVA.
    Xva(XvaOptions),
    /// A disk or stream.
    Disk(OneDisk),
}

impl Target {
    /// What `text` means: a directory is one that exists, or ends with a slash.
    pub fn of(text: &str) -> Self {
        match text {
            "-" => Self::Stdout,
            _ if text.ends_with('/') || Path::new(text).is_dir() => Self::Directory(text.into()),
            _ => Self::File(text.into()),
        }
    }

    /// The name of the file, if it is one.
    pub fn file_name(&self) -> Option<&str> {
        match self {
            Self::File(path) => path.file_name()?.to_str(),
            Self::Stdout | Self::Directory(_) => None,
        }
    }

    /// Makes the directory.
    pub fn prepare(&self) -> Result<(), Fault> {
        match self {
            Self::Directory(path) => std::fs::create_dir_all(path).map_err(|error| {
                let what = format!("cannot make the directory {}: {error}", path.display());
                Fault::File(io::Error::new(error.kind(), what))
            }),
            Self::Stdout | Self::File(_) => Ok(()),
        }
    }
}

/// Names the files.
pub fn files(
    target: &Target,
    snapshot: &Snapshot,
    extraction: Extraction,
) -> Result<Plan, Failure> {
    let one = |path: PathBuf, content| Ok(Plan::Files(vec![PlannedFile { path, content }]));
    match (target, extraction) {
        (Target::Stdout, extraction) => Ok(Plan::Stdout(extraction)),
        (Target::File(path), Extraction::Xva(options)) => one(path.clone(), Content::Xva(options)),
        (Target::Directory(path), Extraction::Xva(options)) => {
            let name = format!("{}.xva", file_name(subject(snapshot)));
            one(path.join(name), Content::Xva(options))
        }
        (Target::File(path), Extraction::Disks(disks)) => match disks.as_slice() {
            [disk] => one(path.clone(), Content::Disk(*disk)),
            disks => refused(
                format!("cannot restore snapshot {} to {}", short_id(&snapshot.id), path.display()),
                format!("it has {} disks, and that is one file", disks.len()),
                "name a directory, one disk with --disk, or use --format xva",
            ),
        },
        (Target::Directory(path), Extraction::Disks(disks)) => {
            let mut files: Vec<PlannedFile> = Vec::new();
            for disk in disks {
                let OneDisk { place, form } = disk;
                let name = disk_file_name(snapshot, place, form);
                let mut path = path.join(&name);
                if files.iter().any(|file| file.path == path) {
                    path.set_file_name(format!("{place}-{name}"));
                }
                files.push(PlannedFile { path, content: Content::Disk(disk) });
            }
            Ok(Plan::Files(files))
        }
    }
}

impl PlannedFile {
    /// What cannot be done, if it cannot.
    pub fn doing(&self) -> String {
        format!("cannot write {}", self.path.display())
    }
}

/// A disk is `xvda.raw`; a file is called what it was.
fn disk_file_name(snapshot: &Snapshot, place: usize, form: DiskForm) -> String {
    let disk = &snapshot.disks[place];
    match disk.role {
        DiskRole::Disk | DiskRole::Memory => {
            format!("{}.{}", file_name(&disk.name), form_name(form))
        }
        DiskRole::Record | DiskRole::Layout | DiskRole::File => file_name(&disk.name),
    }
}

/// The ending of a file's name, and the word in JSON.
pub const fn form_name(form: DiskForm) -> &'static str {
    match form {
        DiskForm::Raw => "raw",
        DiskForm::Vhd(_) => "vhd",
        DiskForm::Qcow2 => "qcow2",
    }
}

/// A name from a stranger as the name of a file: in this directory, visible, without control
/// characters.
fn file_name(text: &str) -> String {
    let safe = |c: char| if c == '/' || c.is_control() { '_' } else { c };
    let name: String = text.chars().map(safe).take(200).collect();
    match name.trim_start_matches('.') {
        "" => "unnamed".to_owned(),
        visible => visible.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_strangers_stay_in_the_directory() {
        let named = ["web01", "../../etc/passwd", "..", "a/b\u{7}", ""].map(file_name);
        assert_eq!(named, ["web01", "_.._etc_passwd", "unnamed", "a_b_", "unnamed"]);
    }

    #[test]
    fn a_slash_at_the_end_means_a_directory() {
        assert_eq!(Target::of("-"), Target::Stdout);
        assert_eq!(Target::of("/new/"), Target::Directory("/new/".into()));
        assert_eq!(Target::of("/"), Target::Directory("/".into()));
        assert_eq!(Target::of("/no/such.xva"), Target::File("/no/such.xva".into()));
    }
}
