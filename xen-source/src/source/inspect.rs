//! Reads a whole XVA for what an importer would object to, and keeps nothing of it.

use std::io::{self, Read};

use engine::source::SEGMENT_LEN;

use super::read_head;
use super::wrapping::Wrapping;
use crate::xva::XvaError;
use crate::xva::members::MemberStream;
use crate::xva::ova::objections::{self, Objection};
use crate::xva::reader::{ArchiveStart, ReadSegment, XvaReader};

/// What an importer would object to, the worst first. Fails only if `input` cannot be read.
pub fn inspect_xva(mut input: impl Read) -> io::Result<Vec<Objection>> {
    let head = read_head(&mut input)?;
    let wrapping = Wrapping::of(&head);
    let mut members = MemberStream::new(wrapping.reader(io::Cursor::new(head).chain(input))?);
    let mut found = Vec::new();
    match ArchiveStart::take(&mut members) {
        Err(error) => found.push(Objection::error(text(error)?)),
        Ok(start) => {
            let mut reader = XvaReader::new(members, start);
            found.extend(objections::of_record(reader.record()));
            match read_disks(&mut reader) {
                Err(error) => found.push(Objection::error(text(error)?)),
                // xapi: nothing after the last disk is read.
                Ok(()) => {
                    if let Err(error) = reader.finish() {
                        let what = format!("what follows the last disk: {}", text(error)?);
                        found.push(Objection::warning(what));
                    }
                }
            }
        }
    }
    found.sort_by_key(|objection| objection.severity); // stable
    Ok(found)
}

fn read_disks<R: Read>(reader: &mut XvaReader<R>) -> Result<(), XvaError> {
    let mut buffer = vec![0; SEGMENT_LEN];
    while reader.next_disk().is_some() {
        while let ReadSegment::Filled { .. } = reader.next_segment(&mut buffer)? {}
    }
    Ok(())
}

fn text(error: XvaError) -> io::Result<String> {
    match error {
        XvaError::Io { source, .. } => Err(source),
        other => Ok(other.to_string()),
    }
}
