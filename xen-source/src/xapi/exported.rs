//! A VM, snapshot or template as the XVA that its pool exports, taken apart (contract 2.1).

use std::sync::Arc;

use engine::source::{DiskInfo, NextSegment, Source, SourceError, SourceFacts};

use super::error::XapiError;
use super::export::{self, Compression, Memory};
use super::limits::EXPLAIN_TIME;
use super::session::Session;
use super::task::{Task, TaskState};
use crate::source::{Wrapping, XvaSource};
use crate::xva::ova::OvaXml;

/// An export that is being read. The stream has to go before its task.
pub struct Exported {
    xva: XvaSource,
    task: Arc<Task>,
}

impl Exported {
    /// Begins the export of `object`, a reference; people call it `name`.
    ///
    /// # Errors
    ///
    /// What the pool said, or that what came is no XVA.
    pub fn open(
        session: &Session,
        name: &str,
        object: &str,
        compression: Compression,
        memory: Memory,
    ) -> Result<Self, SourceError> {
        let stream = export::vm(session, name, object, compression, memory);
        let stream = stream.map_err(|error| failed(&format!("VM {name} of the pool"), error))?;
        let task = stream.task();
        let wrapping = match compression {
            Compression::Off => Wrapping::Plain,
            Compression::Gzip => Wrapping::Gzip,
            Compression::Zstd => Wrapping::Zstd,
        };
        let xva = XvaSource::open(Box::new(stream), wrapping);
        Ok(Self { xva: xva.map_err(|error| explained(error, &task))?, task })
    }
}

impl Exported {
    /// The VM record.
    pub fn record(&self) -> &OvaXml {
        self.xva.record()
    }
}

impl Source for Exported {
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError> {
        self.xva.next_disk().map_err(|error| explained(error, &self.task))
    }

    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError> {
        self.xva.next_segment(buffer).map_err(|error| explained(error, &self.task))
    }

    fn facts(&self) -> SourceFacts {
        self.xva.facts()
    }
}

/// Says what the pool says, where a damaged stream shows only that something is wrong.
pub fn explained(error: SourceError, task: &Task) -> SourceError {
    if let SourceError::Io { source, .. } = &error
        && source.get_ref().is_some_and(|inner| inner.is::<XapiError>())
    {
        return error;
    }
    match task.settle(EXPLAIN_TIME) {
        Ok(TaskState::Failed(error)) => {
            let label = task.label().to_owned();
            failed("the pool", XapiError::TaskFailed { label, error })
        }
        _ => error,
    }
}

/// An error of the pool, as one of reading.
pub fn failed(place: &str, error: XapiError) -> SourceError {
    SourceError::Io { place: place.to_owned(), source: std::io::Error::other(error) }
}
