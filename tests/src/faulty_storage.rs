//! Storage that fails on purpose, once, at a call that the test chooses; and remembers every call.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::storage::{Creation, Storage, StorageError};
use repo_format::object_name::{Directory, ObjectName};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails and nothing is done.
    Refused,
    /// The call is done, and the answer is lost.
    AnswerLost,
    /// The call is done twice, and the answer is the second one's: a request that was sent again.
    SentTwice,
    /// The call is done, and the machine dies: this and every later call fails.
    Crash,
    /// The machine dies before the call is done.
    CrashBefore,
    /// One bit of what is read is flipped; other calls are answered as they should be.
    Flipped(u64),
}

/// A call, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Creates an object; its bytes.
    Create(ObjectName, Arc<[u8]>),
    /// Replaces a session.
    Replace(ObjectName),
    /// Reads an object.
    Read(ObjectName),
    /// Reads part of an object.
    ReadRange(ObjectName, Range<u64>),
    /// Lists a directory.
    List(Directory),
    /// Deletes an object.
    Delete(ObjectName),
}

impl Call {
    /// Whether it creates a snapshot or tombstone.
    #[must_use]
    pub const fn is_commit(&self) -> bool {
        matches!(self, Self::Create(ObjectName::Snapshot(_), _))
    }

    /// The object that it creates, replaces or deletes.
    #[must_use]
    pub const fn changes(&self) -> Option<ObjectName> {
        match self {
            Self::Create(name, _) | Self::Replace(name) | Self::Delete(name) => Some(*name),
            _ => None,
        }
    }
}

/// Done before a call, while it is on its way.
type Meanwhile = Box<dyn FnOnce(&dyn Storage) + Send>;
/// Which call a [`Meanwhile`] waits for.
type Wanted = Box<dyn Fn(&Call) -> bool + Send>;

/// The call that goes wrong.
enum Victim {
    /// Counts from 1.
    Number(usize),
    First(Wanted),
}

#[derive(Default)]
struct Plan {
    fault: Option<(Victim, Fault)>,
    failed: bool,
    crashed: bool,
    delays: Vec<(Wanted, Meanwhile)>,
    calls: Vec<Call>,
}

/// Decorates a storage.
pub struct FaultyStorage {
    inner: Arc<dyn Storage>,
    plan: Mutex<Plan>,
}

impl FaultyStorage {
    /// Does what `inner` does, and remembers it.
    #[must_use]
    pub fn recording(inner: Arc<dyn Storage>) -> Arc<Self> {
        Arc::new(Self { inner, plan: Mutex::default() })
    }

    /// Call number `call`, counted from 1, goes wrong.
    #[must_use]
    pub fn failing(inner: Arc<dyn Storage>, call: usize, fault: Fault) -> Arc<Self> {
        let storage = Self::recording(inner);
        storage.fail_from_now(call, fault);
        storage
    }

    /// Counts anew, and lets call number `call` from now on go wrong.
    pub fn fail_from_now(&self, call: usize, fault: Fault) {
        let mut plan = self.plan();
        plan.calls.clear();
        plan.fault = Some((Victim::Number(call), fault));
    }

    /// Lets the first call that is `wanted` go wrong.
    pub fn fail_at(&self, wanted: impl Fn(&Call) -> bool + Send + 'static, fault: Fault) {
        self.plan().fault = Some((Victim::First(Box::new(wanted)), fault));
    }

    /// Delays the first call that is `wanted` until `meanwhile` has been done, on the storage below.
    pub fn meanwhile(
        &self,
        wanted: impl Fn(&Call) -> bool + Send + 'static,
        meanwhile: impl FnOnce(&dyn Storage) + Send + 'static,
    ) {
        self.plan().delays.push((Box::new(wanted), Box::new(meanwhile)));
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.plan().calls.clone()
    }

    /// Whether the call that was to go wrong has come.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.plan().failed
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a call, and says what goes wrong with it.
    fn enter(&self, call: Call) -> Result<Option<Fault>, StorageError> {
        let mut plan = self.plan();
        if plan.crashed {
            return Err(failure());
        }
        let delay = plan.delays.iter().position(|(wanted, _)| wanted(&call));
        let delay = delay.map(|place| plan.delays.remove(place));
        let number = plan.calls.len() + 1;
        let strikes = |(victim, _): &mut (Victim, Fault)| match victim {
            Victim::Number(wanted) => *wanted == number,
            Victim::First(wanted) => wanted(&call),
        };
        let fault = plan.fault.take_if(strikes).map(|(_, fault)| fault);
        plan.calls.push(call);
        plan.failed |= fault.is_some();
        plan.crashed = matches!(fault, Some(Fault::Crash | Fault::CrashBefore));
        drop(plan);
        if let Some((_, meanwhile)) = delay {
            meanwhile(&*self.inner);
        }
        match fault {
            Some(Fault::Refused | Fault::CrashBefore) => Err(failure()),
            fault => Ok(fault),
        }
    }

    fn perform<T>(
        &self,
        call: Call,
        perform: impl Fn() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let fault = self.enter(call)?;
        let answer = perform();
        match fault {
            Some(Fault::AnswerLost | Fault::Crash) => Err(failure()),
            Some(Fault::SentTwice) => perform(),
            _ => answer,
        }
    }

    fn perform_read(
        &self,
        call: Call,
        perform: impl Fn() -> Result<Vec<u8>, StorageError>,
    ) -> Result<Vec<u8>, StorageError> {
        let fault = self.enter(call)?;
        let mut bytes = perform();
        if let (Some(Fault::Flipped(place)), Ok(bytes)) = (fault, &mut bytes) {
            flip(bytes, place);
        }
        match fault {
            Some(Fault::AnswerLost | Fault::Crash) => Err(failure()),
            _ => bytes,
        }
    }
}

/// Flips one bit; `place` chooses it.
pub fn flip(bytes: &mut [u8], place: u64) {
    let bits = 8 * bytes.len() as u64;
    if let Some(bit) = place.checked_rem(bits) {
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }
}

fn failure() -> StorageError {
    let source = std::io::Error::other("it fails on purpose");
    StorageError::Io { doing: "reach", path: "the storage".to_owned(), source }
}

impl Storage for FaultyStorage {
    fn create(&self, name: ObjectName, bytes: &[u8]) -> Result<Creation, StorageError> {
        self.perform(Call::Create(name, bytes.into()), || self.inner.create(name, bytes))
    }

    fn replace_session(&self, name: ObjectName, bytes: &[u8]) -> Result<(), StorageError> {
        self.perform(Call::Replace(name), || self.inner.replace_session(name, bytes))
    }

    fn read(&self, name: ObjectName, limit_bytes: u64) -> Result<Vec<u8>, StorageError> {
        self.perform_read(Call::Read(name), || self.inner.read(name, limit_bytes))
    }

    fn read_range(&self, name: ObjectName, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
        self.perform_read(Call::ReadRange(name, range.clone()), || {
            self.inner.read_range(name, range.clone())
        })
    }

    fn list(&self, directory: Directory) -> Result<Vec<(ObjectName, u64)>, StorageError> {
        self.perform(Call::List(directory), || self.inner.list(directory))
    }

    fn delete(&self, name: ObjectName) -> Result<(), StorageError> {
        self.perform(Call::Delete(name), || self.inner.delete(name))
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
