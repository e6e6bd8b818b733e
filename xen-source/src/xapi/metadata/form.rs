//! What shows that a file of metadata is whole: its own form, looked at while it passes.

use super::gzip::Gunzip;
use super::not_whole::NotWhole;
use crate::xva::members::MemberStream;
use crate::xva::ova::{MEMBER_NAME, OvaXml};
use crate::xva::{RECORD_LEN_MAX, XvaError};

/// What the bytes of a database say at their end.
const DUMP_END: &[u8] = b"</database>";
/// Where the VMs begin, of which every pool has some: the domains of its hosts.
const VM_TABLE: &[u8] = b"<table name=\"VM\">";
const ROW: &[u8] = b"<row";
/// Bytes that are kept to look for an end, or for what two pieces share.
const KEPT_LEN: usize = 64;
/// Longest tar of records, in bytes: an `ova.xml` of the greatest length, headers and padding.
pub const RECORDS_LEN_MAX: u64 = RECORD_LEN_MAX + (64 << 10);

/// The form of a file, as far as it has passed.
pub enum Form {
    /// A database: XML with VMs in it.
    Dump(Dump),
    /// A tar inside gzip, whose checksum is right.
    Gzip(Box<Gunzip>),
    /// A tar with the record of a VM and nothing else; all of it, since it is small.
    Records(Vec<u8>),
}

/// A database, as far as it has passed.
#[derive(Default)]
pub struct Dump {
    stage: Stage,
    /// The latest bytes.
    kept: Vec<u8>,
}

/// What has been seen of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Nothing,
    Xml,
    VmTable,
    NoVm,
    Vm,
}

impl Form {
    /// Of a database.
    pub fn dump() -> Self {
        Self::Dump(Dump::default())
    }

    /// Of a gzip file.
    pub fn gzip() -> Self {
        Self::Gzip(Box::default())
    }

    /// Of the records of a VM.
    pub const fn records() -> Self {
        Self::Records(Vec::new())
    }

    /// Looks at the next bytes.
    ///
    /// # Errors
    ///
    /// As soon as it cannot become whole any more.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), NotWhole> {
        match self {
            Self::Dump(dump) => dump.take(bytes),
            Self::Gzip(gzip) => gzip.take(bytes, |_| Ok(())),
            Self::Records(all) => {
                all.extend_from_slice(bytes);
                match all.len() as u64 > RECORDS_LEN_MAX {
                    true => not_whole("it is longer than any record of a VM"),
                    false => Ok(()),
                }
            }
        }
    }

    /// The file has ended.
    ///
    /// # Errors
    ///
    /// If that is too early.
    pub fn end(&mut self) -> Result<(), NotWhole> {
        match self {
            Self::Dump(dump) => dump.end(),
            Self::Gzip(gzip) => gzip.end(|_| Ok(())),
            Self::Records(all) => records(all),
        }
    }
}

impl Dump {
    /// Looks at the next bytes.
    ///
    /// # Errors
    ///
    /// As soon as it cannot become whole any more.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), NotWhole> {
        self.kept.extend_from_slice(bytes);
        while let Some(stage) = self.next_stage() {
            self.stage = stage;
        }
        if self.stage == Stage::Nothing && self.kept.len() >= KEPT_LEN {
            return not_whole("it does not begin as a database does");
        }
        self.kept.drain(..self.kept.len().saturating_sub(KEPT_LEN));
        Ok(())
    }

    /// What the kept bytes show beyond what is known.
    fn next_stage(&mut self) -> Option<Stage> {
        let kept = &self.kept;
        match self.stage {
            Stage::Nothing => {
                let is_xml = kept.starts_with(b"<?xml ") || kept.starts_with(b"<database>");
                is_xml.then_some(Stage::Xml)
            }
            Stage::Xml => {
                let place = kept.windows(VM_TABLE.len()).position(|found| found == VM_TABLE)?;
                self.kept.drain(..place + VM_TABLE.len());
                Some(Stage::VmTable)
            }
            Stage::VmTable => {
                let next = kept.trim_ascii_start();
                let is_row = next.starts_with(ROW);
                (next.len() >= ROW.len()).then_some(if is_row { Stage::Vm } else { Stage::NoVm })
            }
            Stage::NoVm | Stage::Vm => None,
        }
    }

    /// The file has ended.
    ///
    /// # Errors
    ///
    /// If that is too early.
    pub fn end(&self) -> Result<(), NotWhole> {
        match self.stage {
            _ if !self.kept.trim_ascii_end().ends_with(DUMP_END) => {
                not_whole("it ends before its end")
            }
            Stage::Vm => Ok(()),
            Stage::Nothing | Stage::Xml | Stage::VmTable | Stage::NoVm => not_whole(
                "it has no VMs in it: while a pool is being upgraded it gives out only the frame \
                 of its database",
            ),
        }
    }
}

/// A tar with `ova.xml`, in which a VM is.
fn records(tar: &[u8]) -> Result<(), NotWhole> {
    match read_records(tar) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => not_whole("there is no VM in it"),
        Err(error) => not_whole(error.to_string()),
    }
}

/// The record of the first VM in a tar of records; `None` if there is no VM in it.
///
/// # Errors
///
/// If it is no such tar, or not a whole one.
pub fn read_records(tar: &[u8]) -> Result<Option<OvaXml>, XvaError> {
    let mut members = MemberStream::new(tar);
    let damaged = |what: String| {
        Err(XvaError::Damaged { place: format!("{MEMBER_NAME} of the records"), what })
    };
    let Some(member) = members.next_member()? else {
        return damaged("it is missing".to_owned());
    };
    if member.name != MEMBER_NAME.as_bytes() || member.size_bytes > tar.len() as u64 {
        return damaged("something else stands in its place".to_owned());
    }
    let mut text = vec![0; member.size_bytes as usize];
    members.take_data(&member, &mut text)?;
    members.take_padding(&member)?;
    if members.next_member()?.is_some() {
        return damaged("it is not the only one".to_owned());
    }
    members.take_end()?;
    let text = String::from_utf8(text).map_err(|error| error.to_string());
    match text.and_then(|text| OvaXml::parse(text).map_err(|error| error.to_string())) {
        Ok(record) => Ok(Some(record).filter(|record| record.vm().is_some())),
        Err(what) => damaged(what),
    }
}

fn not_whole(what: impl Into<String>) -> Result<(), NotWhole> {
    Err(NotWhole { what: what.into() })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::xva::tar::v7_header;

    const DUMP: &[u8] = b"<?xml version=\"1.0\"?><database><manifest/><table name=\"SR\"></table>\
        <table name=\"VM\"> <row ref=\"a\"/></table></database>\n";

    /// Whether it is whole, whatever the pieces in which it comes.
    #[track_caller]
    fn check(form: fn() -> Form, bytes: &[u8], expected: Result<(), &str>) {
        for piece in [1, 7, 4096] {
            let mut form = form();
            let taken = bytes.chunks(piece).try_for_each(|piece| form.take(piece));
            let found = taken.and_then(|()| form.end()).map_err(|error| error.what);
            match expected {
                Ok(()) => assert_eq!(found, Ok(()), "in pieces of {piece}"),
                Err(part) => {
                    let what = found.expect_err("a file that is not whole");
                    assert!(what.contains(part), "in pieces of {piece}: {what}");
                }
            }
        }
    }

    #[test]
    fn a_database_has_vms_and_an_end() {
        check(Form::dump, DUMP, Ok(()));
        check(Form::dump, &DUMP[..DUMP.len() - 3], Err("ends before its end"));
        check(Form::dump, b"", Err("ends before its end"));
        let page = b"<html><body><h1> Internal Error </h1> and much more that a host says </body>";
        check(Form::dump, page, Err("does not begin"));
    }

    #[test]
    fn the_frame_of_a_database_is_none() {
        let frame = b"<?xml version=\"1.0\"?><database><manifest></manifest></database>";
        check(Form::dump, frame, Err("being upgraded"));
        let empty =
            b"<database><table name=\"VM\"></table><table name=\"x\"><row/></table></database>";
        check(Form::dump, empty, Err("being upgraded"));
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn a_gzip_file_ends_with_the_checksum_of_what_is_inside() {
        let whole = gzip(DUMP);
        check(Form::gzip, &whole, Ok(()));
        check(Form::gzip, &[&whole[..], &[0; 10_240]].concat(), Ok(()));
        check(Form::gzip, &[&whole[..], &whole[..]].concat(), Ok(()));
        check(Form::gzip, &whole[..whole.len() - 1], Err("no whole gzip"));
        check(Form::gzip, &whole[..20], Err("no whole gzip"));
        check(Form::gzip, &whole[..5], Err("no whole gzip"));
        check(Form::gzip, &[&whole[..], b"HTTP/1.1 500"].concat(), Err("no whole gzip"));
        let mut wrong = whole.clone();
        let place = wrong.len() - 6;
        wrong[place] ^= 1;
        check(Form::gzip, &wrong, Err("no whole gzip"));
        check(Form::gzip, b"", Err("empty"));
        check(Form::gzip, DUMP, Err("no whole gzip"));
    }

    fn tar(name: &str, data: &[u8]) -> Vec<u8> {
        let mut tar = v7_header(name.as_bytes(), data.len() as u64).to_vec();
        tar.extend_from_slice(data);
        tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
        tar
    }

    #[test]
    fn records_are_a_tar_of_one_ova_xml_with_a_vm() {
        let mut seed = crate::xva::ova::seed::Seed::new([7; 32]);
        let record = crate::xva::ova::fresh::record("web", &[], &mut seed);
        let whole = tar("ova.xml", record.as_bytes());
        check(Form::records, &whole, Ok(()));
        check(Form::records, &whole[..whole.len() - 1024], Err("ends inside"));
        check(Form::records, &tar("ova.xml", b"<x/>"), Err(""));
        check(Form::records, &tar("other", record.as_bytes()), Err("something else"));
        check(Form::records, b"", Err(""));
    }
}
