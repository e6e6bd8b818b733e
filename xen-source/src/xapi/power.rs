//! What a VM goes through for its snapshot, and how it comes back (contract 6).
//!
//! [`plan`] decides what is done with a VM. [`Power`] does it and puts the VM back, at the latest
//! when it is dropped. A VM that is shut down or suspended carries a mark meanwhile: the key
//! `xenith-power` in its `other_config`, with *its own* uuid, how it was, when, and the word
//! `suspended` if that is what becomes of it. If nobody was left to bring it back, the next backup
//! of that VM does, or a clean-up. A mark that was copied to another object names another uuid and
//! says nothing.

use std::sync::Arc;
use std::time::Duration;

use engine::source::Consistency;

use super::error::XapiError;
use super::export::Memory;
use super::limits::{POWER_FIRST, POWER_MAX, POWER_TIME, SHUTDOWN_GRACE};
use super::looks::Looks;
use super::objects::{PowerState, VmRecord};
use super::options::{Event, Mode, Observer};
use super::retry::Nature;
use super::session::Session;
use super::snapshot::{POWER_MARK, Taking, record, set_note, take_note};
use super::task::{self, Task, TaskState};
use super::time;
use super::value::Value;

/// What is done with a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Whether it is shut down before, and started after.
    pub must_halt: bool,
    /// What is read.
    pub taking: Taking,
    /// Whether the memory image is read, too.
    pub memory: Memory,
    /// How consistent that will be.
    pub consistency: Consistency,
}

/// Decides what is done with a VM that is in `state`; nothing can be, if that is unknown and the
/// VM would have to be put back into it.
pub fn plan(state: PowerState, mode: Mode, memory: bool) -> Option<Plan> {
    let snapshot = |consistency| Plan {
        must_halt: false,
        taking: Taking::Snapshot,
        memory: Memory::Leave,
        consistency,
    };
    let checkpoint = Plan {
        must_halt: false,
        taking: Taking::Checkpoint,
        memory: Memory::Include,
        consistency: Consistency::Memory,
    };
    Some(match (state, mode) {
        (PowerState::Halted, _) => snapshot(Consistency::Cold),
        (PowerState::Suspended, Mode::Warm) => checkpoint,
        (PowerState::Suspended, _) if memory => checkpoint,
        (PowerState::Suspended, _) | (_, Mode::Hot) => snapshot(Consistency::Crash),
        (PowerState::Other, _) => return None,
        (_, Mode::Warm) => checkpoint,
        (_, Mode::Cold) => Plan { must_halt: true, ..snapshot(Consistency::Cold) },
    })
}

/// The plan for a template.
pub const fn plan_of_template() -> Plan {
    Plan {
        must_halt: false,
        taking: Taking::Itself,
        memory: Memory::Leave,
        consistency: Consistency::Cold,
    }
}

/// How consistent a snapshot is: as planned, unless the guest had flushed, or somebody else started
/// the VM meanwhile. `at_snapshot` is what the host found, if it tells.
pub fn consistency(
    planned: Consistency,
    has_flushed: bool,
    at_snapshot: Option<PowerState>,
) -> Consistency {
    match planned {
        Consistency::Cold if at_snapshot.is_some_and(runs) => Consistency::Crash,
        Consistency::Crash if has_flushed && at_snapshot.is_none_or(runs) => Consistency::Quiesced,
        planned => planned,
    }
}

fn runs(state: PowerState) -> bool {
    matches!(state, PowerState::Running | PowerState::Paused)
}

/// A call that brings a VM nearer to what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Start { paused: bool },
    Resume { paused: bool },
    Unpause,
    Pause,
}

/// How a VM comes back from `is` to `was`. Only those that ran are brought back: nobody else is
/// sent anywhere.
const fn way_back(was: PowerState, is: PowerState) -> Option<Way> {
    let paused = match was {
        PowerState::Running => false,
        PowerState::Paused => true,
        _ => return None,
    };
    match is {
        PowerState::Halted => Some(Way::Start { paused }),
        PowerState::Suspended => Some(Way::Resume { paused }),
        PowerState::Paused if !paused => Some(Way::Unpause),
        PowerState::Running if paused => Some(Way::Pause),
        _ => None,
    }
}

/// A VM whose power state is changed for a snapshot. When this is dropped the VM is put back.
pub struct Power {
    session: Session,
    observer: Arc<dyn Observer>,
    /// As it was.
    vm: VmRecord,
    is_marked: bool,
    is_down: bool,
    /// The guest was told to shut down, and may do it yet.
    may_go_down: bool,
    is_back: bool,
}

impl Power {
    /// Remembers how `vm` is.
    pub fn of(session: &Session, observer: &Arc<dyn Observer>, vm: &VmRecord) -> Self {
        let (session, observer, vm) = (session.clone(), observer.clone(), vm.clone());
        let (is_marked, is_down, may_go_down, is_back) = (false, false, false, false);
        Self { session, observer, vm, is_marked, is_down, may_go_down, is_back }
    }

    /// Shuts the VM down, and waits for that for `timeout`. It is never forced.
    ///
    /// # Errors
    ///
    /// [`XapiError::NoShutdown`], [`XapiError::ShutdownLeft`], or what the pool said.
    pub fn halt(&mut self, timeout: Duration) -> Result<(), XapiError> {
        self.mark("")?;
        if self.vm.power_state == PowerState::Paused {
            go(&self.session, &self.vm, Way::Unpause)?;
        }
        let observer = self.observer.clone();
        let goes_on = || observer.goes_on();
        let left = || observer.event(Event::LeavesShutdown { vm: self.vm.name.clone() });
        let answer = bring_down(&self.session, &self.vm, timeout, &goes_on, &left);
        self.may_go_down = matches!(answer, Err(XapiError::ShutdownLeft { .. }));
        answer?;
        self.is_down = true;
        self.observer.event(Event::PoweredDown);
        Ok(())
    }

    /// Says on a VM that runs that it is suspended for us, for when nobody is left to resume it.
    ///
    /// # Errors
    ///
    /// What the pool said.
    pub fn mark_suspended(&mut self) -> Result<(), XapiError> {
        match self.vm.power_state {
            PowerState::Running | PowerState::Paused => self.mark(SUSPENDED),
            _ => Ok(()),
        }
    }

    fn mark(&mut self, becomes: &str) -> Result<(), XapiError> {
        let mark =
            format!("{} {} {} {becomes}", self.vm.uuid, word(&self.vm), time::now(&self.session));
        self.is_marked = true;
        set_note(&self.session, "VM", &self.vm.reference, POWER_MARK, mark.trim_end())
    }

    /// Puts the VM back, and tries that for a minute.
    ///
    /// # Errors
    ///
    /// [`XapiError::NotBack`]. It is tried again when this is dropped.
    pub fn back(&mut self) -> Result<(), XapiError> {
        let mut answer = self.step();
        for pause in Looks::growing(POWER_FIRST, POWER_MAX, POWER_TIME) {
            if answer.is_ok() {
                break;
            }
            self.session.pause(pause);
            answer = self.step();
        }
        let has_moved = answer.map_err(|source| XapiError::NotBack {
            vm: self.vm.name.clone(),
            state: word(&self.vm),
            source: Box::new(source),
        })?;
        self.is_back = true;
        if self.is_marked && !self.may_go_down {
            let unmark = || take_note(&self.session, "VM", &self.vm.reference, POWER_MARK);
            // A mark that stays on a VM that runs does nothing, and goes with the next backup.
            let _ = unmark().or_else(|_| unmark());
        }
        if has_moved || self.is_down {
            self.observer.event(Event::PoweredBack);
        }
        Ok(())
    }

    /// Looks how the VM is, and does what brings it back. Says whether anything was to be done.
    fn step(&self) -> Result<bool, XapiError> {
        let now = match record::<VmRecord>(&self.session, &self.vm.reference) {
            Err(error) if error.is_gone() => return Ok(false),
            other => other?,
        };
        match way_back(self.vm.power_state, now.power_state) {
            None => Ok(false),
            Some(way) => go(&self.session, &self.vm, way).map(|()| true),
        }
    }
}

impl Drop for Power {
    fn drop(&mut self) {
        if self.is_back {
            return;
        }
        if let Err(error) = self.back() {
            self.observer.event(Event::NotBack { error });
        }
    }
}

/// The last word of the mark of a VM that is suspended, not shut down.
const SUSPENDED: &str = "suspended";

/// What the mark of a VM tells that an earlier backup shut down or suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped<'a> {
    /// How it was: it ran, or was paused.
    pub was: PowerState,
    /// Since when, by the pool's clock; empty if that is not told.
    pub since: &'a str,
    /// Whether it still is as the backup left it, and not brought back by somebody, or elsewhere.
    pub is_down: bool,
}

/// What the mark of a VM tells, if it is its own.
pub fn stopped(vm: &VmRecord) -> Option<Stopped<'_>> {
    let mut words = vm.other_config.get(POWER_MARK)?.split(' ');
    let (uuid, state) = (words.next()?, words.next()?);
    let was = match state {
        "running" => PowerState::Running,
        "paused" => PowerState::Paused,
        _ => return None,
    };
    let (since, becomes) = (words.next().unwrap_or_default(), words.next());
    let left = if becomes == Some(SUSPENDED) { PowerState::Suspended } else { PowerState::Halted };
    let is_one = uuid == vm.uuid && !vm.is_a_snapshot && !vm.is_a_template;
    is_one.then_some(Stopped { was, since, is_down: vm.power_state == left })
}

/// Brings back a VM that an earlier backup left shut down or suspended, and takes its mark away;
/// so also if it is brought back by now. Says whether it was to be.
///
/// # Errors
///
/// [`XapiError::NotBack`], and the mark stays.
pub fn recover(session: &Session, vm: &VmRecord) -> Result<bool, XapiError> {
    let Some(Stopped { was, is_down, .. }) = stopped(vm) else {
        return Ok(false);
    };
    if is_down && let Some(way) = way_back(was, vm.power_state) {
        let (name, state) = (vm.name.clone(), name_of(was));
        go(session, vm, way).map_err(|source| XapiError::NotBack {
            vm: name,
            state,
            source: Box::new(source),
        })?;
    }
    take_note(session, "VM", &vm.reference, POWER_MARK)?;
    Ok(is_down)
}

const fn word(vm: &VmRecord) -> &'static str {
    name_of(vm.power_state)
}

const fn name_of(state: PowerState) -> &'static str {
    if matches!(state, PowerState::Paused) { "paused" } else { "running" }
}

fn go(session: &Session, vm: &VmRecord, way: Way) -> Result<(), XapiError> {
    let own = Value::from(&*vm.reference);
    let (what, method, params) = match way {
        Way::Start { paused } => {
            ("start", "VM.start", vec![own, Value::from(paused), Value::from(false)])
        }
        Way::Resume { paused } => {
            ("resumption", "VM.resume", vec![own, Value::from(paused), Value::from(false)])
        }
        Way::Unpause => ("resumption", "VM.unpause", vec![own]),
        Way::Pause => ("pause", "VM.pause", vec![own]),
    };
    task::run(session, &format!("{what} of {}", vm.name), method, &params).map(drop)
}

/// Asks the guest to shut down. What the VM's record says counts, whatever became of the task.
///
/// # Errors
///
/// What the pool said, or [`XapiError::NoShutdown`].
pub fn shut_down(session: &Session, vm: &VmRecord, timeout: Duration) -> Result<(), XapiError> {
    bring_down(session, vm, timeout, &|| true, &|| ())
}

/// The same, but given up once it no longer `goes_on`; whoever waits is told by `left` that it takes
/// a moment nevertheless.
fn bring_down(
    session: &Session,
    vm: &VmRecord,
    timeout: Duration,
    goes_on: &dyn Fn() -> bool,
    left: &dyn Fn(),
) -> Result<(), XapiError> {
    let label = format!("shutdown of {}", vm.name);
    let ended = session.retrying(Nature::Changes, || {
        let params = [Value::from(&*vm.reference)];
        let task = Task::start(session, &label, "VM.clean_shutdown", &params)?;
        // Dropped, a task that has not ended is cancelled.
        match task.follow(Looks::within(timeout), goes_on)? {
            state @ TaskState::Failed(_) => task.success(state).map(|_| true),
            state => Ok(matches!(state, TaskState::Success { .. })),
        }
    });
    let is_left = matches!(ended, Ok(false)) && !goes_on();
    if is_left {
        left();
    }
    let mut looks = Looks::within(match &ended {
        // The guest was told, and may do it yet.
        Ok(false) => SHUTDOWN_GRACE,
        Err(error) if error.api().is_none() => SHUTDOWN_GRACE,
        _ => Duration::ZERO,
    });
    while record::<VmRecord>(session, &vm.reference)?.power_state != PowerState::Halted {
        let Some(pause) = looks.next() else {
            let (vm, seconds) = (vm.name.clone(), timeout.as_secs());
            return ended.and(Err(match is_left {
                true => XapiError::ShutdownLeft { vm },
                false => XapiError::NoShutdown { vm, seconds },
            }));
        };
        session.pause(pause);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
