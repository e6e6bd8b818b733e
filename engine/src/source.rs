//! The border to hypervisors: disks come in through [`Source`], and leave through [`Content`] into a [`DiskSink`].
//!
//! The engine knows disks, streams and bytes, and nothing about the container that they came in.
//! A container that wants to leave again as it came keeps what it must remember in a stream of
//! role [`Role::Layout`].

use std::io;

/// Bytes of a segment: 4 MiB, aligned (SPEC 2). The unit in which disks cross this border.
pub const SEGMENT_LEN: usize = 4 << 20;

/// What a disk or stream of a snapshot is (SPEC 9.2). The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// A disk of the VM.
    #[default]
    Disk,
    /// The memory image of a suspended VM, or of a VM snapshot taken with memory.
    Memory,
    /// The VM record (`ova.xml`). A stream.
    Record,
    /// What a container must remember to be written again byte by byte. A stream.
    Layout,
    /// A file of any kind, kept as it is. A stream.
    File,
}

/// How consistent the disks of a source are among each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// The source does not know.
    #[default]
    Unknown,
    /// As after pulling the plug.
    Crash,
    /// What runs in the VM had flushed before.
    Quiesced,
    /// The VM was halted.
    Cold,
    /// With its memory.
    Memory,
}

/// An earlier state of a disk that the repository has, and of which a source may tell the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// What recognises the disk: [`DiskInfo::key`] of then.
    pub key: String,
    /// What its source called that state: [`DiskInfo::version`] of then.
    pub version: String,
    /// Virtual size then, in bytes.
    pub size_bytes: u64,
    /// Names the stored disk (SPEC 7.3).
    pub id: [u8; 32],
}

/// A disk or stream as its source announces it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskInfo {
    /// What it is.
    pub role: Role,
    /// What people call it, such as `xvda` or a file's name. Unique among the disks of one source.
    pub name: String,
    /// What recognises the same disk on another night: the VDI's uuid, or empty when unknown.
    pub key: String,
    /// Virtual size in bytes, if it is known before the disk has been read. Streams often say `None`.
    pub size_bytes: Option<u64>,
    /// What the source calls this state of the disk, so that a later one can tell what has changed
    /// since: the uuid of a VDI's snapshot. Empty: it will not be able to.
    pub version: String,
    /// The earlier state of which the source tells the changes; `size_bytes` is known then. Segments that it does not
    /// deliver are as they were then, and holes behind the end that the disk had then, instead of holes everywhere.
    pub base: Option<StoredVersion>,
}

/// What follows in the current disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextSegment {
    /// The buffer now holds all of this segment (bytes past the disk's end are zero).
    /// Segments come in rising order; those left out are all zero.
    Filled {
        /// Number of the segment: offset in the disk / [`SEGMENT_LEN`].
        number: u64,
    },
    /// With a base only: of this segment `units` have changed, bit n for the bytes from n * 64 KiB
    /// on. The buffer holds these at their places, and anything elsewhere.
    Partly {
        /// Number of the segment.
        number: u64,
        /// What has changed; not 0.
        units: u64,
    },
    /// With a base only: the buffer holds all of a segment that should be as it was, to see whether
    /// it is. If it is not, [`Source::distrust_base`] follows, some segments later.
    Sample {
        /// Number of the segment.
        number: u64,
    },
    /// The disk has ended.
    End {
        /// Exact virtual size in bytes.
        size_bytes: u64,
    },
}

/// What a source knows about the whole of what it delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceFacts {
    /// The container it came in: `xva`, `vhd`, `qcow2`, `raw` or `file`.
    pub container: String,
    /// Compression found around the container: `gzip`, `zstd`, or empty.
    pub compression: String,
    /// The VM's uuid, if known.
    pub vm_uuid: Option<String>,
    /// The VM's name, if known.
    pub vm_name: Option<String>,
    /// Name of the host or pool that made the export, if the container tells.
    pub host_name: Option<String>,
    /// Block checksums that the container carried and that were verified.
    pub checksums_verified: u64,
    /// Bytes taken from the input, as they came (compressed, with framing).
    pub bytes_read: u64,
    /// How consistent the disks are among each other.
    pub consistency: Consistency,
}

/// Disks going into a repository, one after the other, each in rising order of its segments.
///
/// `next_disk` and `next_segment` alternate: after `next_disk` returned a disk, `next_segment` is called
/// until it answers [`NextSegment::End`]. After `next_disk` returned `None`, `facts` is complete.
pub trait Source: Send {
    /// Begins the next disk or stream; `None` when all have been delivered *and the container ended as it must*.
    fn next_disk(&mut self) -> Result<Option<DiskInfo>, SourceError>;

    /// Fills `buffer` ([`SEGMENT_LEN`] bytes, any content on entry) with the next segment that may hold data.
    /// A source may deliver segments that are all zero, and skips those it knows to be holes.
    fn next_segment(&mut self, buffer: &mut [u8]) -> Result<NextSegment, SourceError>;

    /// What is known by now about the whole.
    fn facts(&self) -> SourceFacts;

    /// Fills `buffer` with a whole segment of the current disk (bytes past the disk's end are zero), whatever was
    /// delivered of it. Asked only of disks with a base, where what the repository has of it is not enough, and until
    /// [`Self::next_disk`] is called again: behind [`NextSegment::End`], too, since only there it is known what the source leaves out.
    fn read_segment(&mut self, number: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let _ = buffer;
        let place = format!("segment {number}");
        Err(SourceError::Io { place, source: io::ErrorKind::Unsupported.into() })
    }

    /// The base of the current disk is not what was thought: its segments follow from the first on,
    /// without a base. Called at most once a disk, when [`Self::read_segment`] may be.
    fn distrust_base(&mut self) -> Result<(), SourceError> {
        let place = "the disk once more".to_owned();
        Err(SourceError::Io { place, source: io::ErrorKind::Unsupported.into() })
    }
}

/// Why a source could not be read. No snapshot is made in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The input is none of the kinds that can be read.
    #[error("not recognised: {what}")]
    Unrecognised {
        /// What was found instead.
        what: String,
    },
    /// The input ended too early.
    #[error("input ends inside {place}")]
    Cut {
        /// Member and offset in the (uncompressed) input.
        place: String,
    },
    /// The input contradicts itself: a wrong checksum, foreign bytes, a size that cannot be.
    #[error("input is damaged at {place}: {what}")]
    Damaged {
        /// Member and offset in the (uncompressed) input.
        place: String,
        /// What is wrong there.
        what: String,
    },
    /// The input could not be read.
    #[error("cannot read {place}")]
    Io {
        /// What was being read.
        place: String,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// One disk or stream of a stored snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDisk {
    /// What it is.
    pub role: Role,
    /// What people call it.
    pub name: String,
    /// What recognises the same disk on another night.
    pub key: String,
    /// Virtual size in bytes.
    pub size_bytes: u64,
}

/// A stored snapshot, readable. Everything that comes out has been verified.
pub trait Content {
    /// Its disks and streams, in the order in which the source delivered them.
    fn disks(&self) -> &[StoredDisk];

    /// A whole stream (record or layout). Fails if it is longer than `limit_bytes`.
    fn read_stream(&self, disk: usize, limit_bytes: u64) -> Result<Vec<u8>, ContentError>;

    /// Sends every segment of a disk that is not a hole to `sink`, in rising order.
    fn read_disk(&self, disk: usize, sink: &mut dyn DiskSink) -> Result<(), ContentError>;

    /// Numbers of the segments that [`read_disk`](Self::read_disk) will send, for containers whose
    /// tables stand before the data. Without knowing better, all is read.
    fn segment_numbers(&self, disk: usize) -> Result<Vec<u64>, ContentError> {
        let mut numbers = Numbers(Vec::new());
        self.read_disk(disk, &mut numbers)?;
        Ok(numbers.0)
    }
}

/// Keeps only the numbers of segments.
struct Numbers(Vec<u64>);

impl DiskSink for Numbers {
    fn segment(&mut self, offset_bytes: u64, _bytes: &[u8]) -> io::Result<()> {
        self.0.push(offset_bytes / SEGMENT_LEN as u64);
        Ok(())
    }
}

/// Where the segments of one disk go.
pub trait DiskSink {
    /// Takes one segment at `offset_bytes` (a multiple of [`SEGMENT_LEN`]), cut at the disk's end.
    /// Segments that never come are holes: they read as zeros.
    fn segment(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()>;
}

/// Why stored content could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The repository could not deliver it.
    #[error(transparent)]
    Repository(Box<dyn std::error::Error + Send + Sync>),
    /// What was delivered could not be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// A stored stream says something that cannot be.
    #[error("{what}")]
    Invalid {
        /// Which stream and what is wrong.
        what: String,
    },
}

impl ContentError {
    /// What the output said, if it failed with an `E`.
    ///
    /// # Errors
    ///
    /// This error, if it is another one.
    pub fn of_output<E>(self) -> Result<E, Self>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        match self {
            Self::Output(error) => error.downcast().map_err(Self::Output),
            other => Err(other),
        }
    }
}
