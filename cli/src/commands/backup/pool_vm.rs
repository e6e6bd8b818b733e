//! A VM of a pool, as an input.

use std::sync::Arc;

use engine::source::{Source, SourceError};
use xen_source::xapi::{Compression, Event, Observer, Pool, SourceOptions, Vm};

use crate::text::printable;

/// A VM and the pool that has it.
#[derive(Debug, Clone)]
pub struct PoolVm {
    pool: Pool,
    vm: Vm,
}

impl PoolVm {
    /// This VM of this pool.
    pub const fn new(pool: Pool, vm: Vm) -> Self {
        Self { pool, vm }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.vm.record.name
    }

    /// Takes a snapshot of it, and begins to read that.
    pub fn open(&self) -> Result<Box<dyn Source>, SourceError> {
        let options = SourceOptions {
            left_out: Vec::new(),
            // What a host compresses is only unpacked again here.
            compression: Compression::Off,
            observer: Arc::new(Watch { name: self.name().to_owned() }),
        };
        self.pool.source(&self.vm.record, options)
    }
}

/// Tells people of what stays behind.
struct Watch {
    name: String,
}

impl Observer for Watch {
    fn event(&self, event: Event) {
        if let Event::SnapshotStays { uuid, error } = event {
            let warning = format!(
                "warning: the snapshot {uuid} of VM {} stays on the pool ({error}); what was read \
                 is whole. `xenith cleanup` removes it",
                self.name
            );
            eprintln!("{}", printable(&warning));
        }
    }
}
