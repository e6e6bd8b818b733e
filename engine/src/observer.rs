//! What a command tells while it runs. The engine never prints.

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A disk or stream begins.
    DiskBegins {
        /// Its name.
        name: &'a str,
        /// Its virtual size in bytes, if known.
        size_bytes: Option<u64>,
    },
    /// The disk that began last is read once more, whole: it is not what its source thought that it had changed from, or
    /// that cannot be read.
    BaseDistrusted {
        /// Its name.
        name: &'a str,
        /// Its virtual size in bytes, if known.
        size_bytes: Option<u64>,
    },
    /// Work went on.
    Progress {
        /// Bytes of the disk passed since the last such event, holes included.
        passed_bytes: u64,
        /// Bytes of new chunks among them, before compression.
        new_bytes: u64,
    },
    /// Work of a known size begins: objects to check, bytes to restore.
    Begins {
        /// What is done.
        what: &'static str,
        /// How much there is.
        total: u64,
    },
    /// Some of it is done.
    Advanced {
        /// How much since the last such event.
        by: u64,
    },
}

/// Takes events; called from one thread at a time.
pub trait Observer {
    /// Something happened.
    fn event(&self, event: Event<'_>);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}
