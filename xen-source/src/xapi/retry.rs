//! What to do when a call fails: the table of contract 1.8 and 9, as a pure function.

use std::time::Duration;

use super::error::{Stage, XapiError};
use super::limits::{
    BACKOFF_FIRST, BACKOFF_MAX, FAILOVER_EVERY, HOPS_MAX, HOST_AWAY_TRIES, IN_USE_FIRST,
    IN_USE_PAUSE, IN_USE_TRIES, OTHER_OPERATION_TRIES, PENDING_PAUSE, PENDING_TRIES,
    TASK_LOST_TRIES, UNREACHABLE_PAUSE, UNREACHABLE_TRIES,
};
use super::looks::Looks;

/// What a call does to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Nothing; it may be called again.
    Reads,
    /// Something that may happen twice: then it is as after once.
    Sets,
    /// Something that must not happen twice.
    Changes,
    /// It removes; what is gone already is gone.
    Removes,
}

impl Nature {
    /// By the method's name.
    pub fn of(method: &str) -> Self {
        let verb = method.rsplit('.').next().unwrap_or_default();
        match verb {
            "destroy" | "cancel" | "logout" => Self::Removes,
            "from" => Self::Reads,
            _ if verb.starts_with("get_") || verb.starts_with("list") => Self::Reads,
            _ if verb.starts_with("set_") || verb.starts_with("remove_from_") => Self::Sets,
            _ => Self::Changes,
        }
    }
}

/// A failure, as far as the table distinguishes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A host does not answer.
    Unreachable(Stage),
    /// Another host is the coordinator.
    HostIsSlave(String),
    /// The session has ended.
    SessionInvalid,
    /// The host has too much to do.
    TooManyPending,
    /// The object is busy.
    OtherOperation,
    /// The disk is in use.
    DiskInUse,
    /// A host of the pool is away for a while.
    HostAway,
    /// The pool does not know the task any more.
    TaskLost,
    /// Everything else. Another try would not help.
    Final,
}

impl Failure {
    /// What `error` is.
    pub fn of(error: &XapiError) -> Self {
        match error {
            XapiError::Unreachable { stage, .. } => return Self::Unreachable(*stage),
            XapiError::Status { status: 401, .. } => return Self::SessionInvalid,
            XapiError::TaskLost { .. } => return Self::TaskLost,
            _ => {}
        }
        let Some(error) = error.api() else {
            return Self::Final;
        };
        match error.code.as_str() {
            "HOST_IS_SLAVE" => match error.params.first() {
                Some(address) => Self::HostIsSlave(address.clone()),
                None => Self::Final,
            },
            "SESSION_INVALID" => Self::SessionInvalid,
            "TOO_MANY_PENDING_TASKS" => Self::TooManyPending,
            "OTHER_OPERATION_IN_PROGRESS" => Self::OtherOperation,
            "VDI_IN_USE" => Self::DiskInUse,
            "CANNOT_CONTACT_HOST"
            | "HOST_OFFLINE"
            | "HOST_NOT_LIVE"
            | "HOST_STILL_BOOTING"
            | "TLS_CONNECTION_FAILED" => Self::HostAway,
            _ => Self::Final,
        }
    }

    /// Whether it is counted with `other`.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// Give up and report it.
    Stop,
    /// Pause, then call again.
    Wait(Duration),
    /// Log in again where we are, then call again.
    Relogin,
    /// Go to this host, then call again.
    Switch(String),
    /// Pause, look for the coordinator among all members, then call again.
    Failover(Duration),
}

/// Decides about the `attempt`-th failure of its kind (from 1) of one call.
pub fn decide(failure: &Failure, attempt: u32, nature: Nature) -> Reaction {
    let wait = |tries: u32, pause: Duration| {
        if attempt < tries { Reaction::Wait(pause) } else { Reaction::Stop }
    };
    let growing = |first: Duration, longest: Duration| {
        let place = attempt.saturating_sub(1) as usize;
        Looks::growing(first, longest, Duration::MAX).nth(place).unwrap_or(longest)
    };
    let backoff = || growing(BACKOFF_FIRST, BACKOFF_MAX);
    match failure {
        Failure::Unreachable(Stage::Sent) if nature == Nature::Changes => Reaction::Stop,
        Failure::Unreachable(_) if attempt >= UNREACHABLE_TRIES => Reaction::Stop,
        Failure::Unreachable(_) if attempt.is_multiple_of(FAILOVER_EVERY) => {
            Reaction::Failover(UNREACHABLE_PAUSE)
        }
        Failure::Unreachable(_) => Reaction::Wait(UNREACHABLE_PAUSE),
        Failure::HostIsSlave(address) if attempt <= HOPS_MAX => Reaction::Switch(address.clone()),
        Failure::SessionInvalid if attempt == 1 => Reaction::Relogin,
        Failure::TooManyPending => wait(PENDING_TRIES, PENDING_PAUSE),
        Failure::OtherOperation => wait(OTHER_OPERATION_TRIES, backoff()),
        Failure::DiskInUse if nature == Nature::Removes => {
            wait(IN_USE_TRIES, growing(IN_USE_FIRST, IN_USE_PAUSE))
        }
        Failure::HostAway => wait(HOST_AWAY_TRIES, backoff()),
        Failure::TaskLost if matches!(nature, Nature::Removes | Nature::Sets) => {
            wait(TASK_LOST_TRIES, UNREACHABLE_PAUSE)
        }
        Failure::HostIsSlave(_)
        | Failure::SessionInvalid
        | Failure::DiskInUse
        | Failure::TaskLost
        | Failure::Final => Reaction::Stop,
    }
}

/// The failures of one call so far.
#[derive(Debug, Default)]
pub struct Failures(Vec<(Failure, u32)>);

impl Failures {
    /// Adds one, and says how many of its kind there are now.
    pub fn count(&mut self, failure: &Failure) -> u32 {
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| known.is_like(failure)) {
            *count += 1;
            return *count;
        }
        self.0.push((failure.clone(), 1));
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Reaction {
        Reaction::Wait(Duration::from_secs(secs))
    }

    #[track_caller]
    fn check(failure: Failure, nature: Nature, reactions: &[(u32, Reaction)]) {
        for (attempt, expected) in reactions {
            let found = decide(&failure, *attempt, nature);
            assert_eq!(found, *expected, "{failure:?}, attempt {attempt}, {nature:?}");
        }
    }

    #[test]
    fn hosts_that_do_not_answer_are_tried_again_and_then_looked_for() {
        let failover = Reaction::Failover(Duration::from_secs(1));
        let rows =
            [(1, secs(1)), (2, secs(1)), (3, failover), (9, Reaction::Failover(UNREACHABLE_PAUSE))];
        for nature in [Nature::Reads, Nature::Changes, Nature::Removes] {
            check(Failure::Unreachable(Stage::Connecting), nature, &rows);
            check(Failure::Unreachable(Stage::Connecting), nature, &[(10, Reaction::Stop)]);
        }
    }

    #[test]
    fn what_may_have_happened_already_is_not_called_again() {
        let sent = Failure::Unreachable(Stage::Sent);
        check(sent.clone(), Nature::Changes, &[(1, Reaction::Stop)]);
        check(sent.clone(), Nature::Reads, &[(1, secs(1))]);
        check(sent.clone(), Nature::Sets, &[(1, secs(1))]);
        check(sent, Nature::Removes, &[(1, secs(1))]);
        for nature in [Nature::Reads, Nature::Changes] {
            check(Failure::TaskLost, nature, &[(1, Reaction::Stop)]);
        }
        for nature in [Nature::Sets, Nature::Removes] {
            check(Failure::TaskLost, nature, &[(1, secs(1)), (2, secs(1)), (3, Reaction::Stop)]);
        }
    }

    #[test]
    fn coordinators_are_followed_twice_and_sessions_renewed_once() {
        let switch = |to: &str| Reaction::Switch(to.to_owned());
        let rows = [(1, switch("::1")), (2, switch("::1")), (3, Reaction::Stop)];
        check(Failure::HostIsSlave("::1".into()), Nature::Changes, &rows);
        let rows = [(1, Reaction::Relogin), (2, Reaction::Stop)];
        check(Failure::SessionInvalid, Nature::Changes, &rows);
    }

    #[test]
    fn busy_pools_are_waited_for() {
        let rows = [(1, secs(5)), (9, secs(5)), (10, Reaction::Stop)];
        check(Failure::TooManyPending, Nature::Changes, &rows);
        let rows = [(1, secs(1)), (3, secs(4)), (4, secs(5)), (11, secs(5)), (12, Reaction::Stop)];
        check(Failure::DiskInUse, Nature::Removes, &rows);
        check(Failure::DiskInUse, Nature::Changes, &[(1, Reaction::Stop)]);
        let rows =
            [(1, secs(5)), (2, secs(10)), (4, secs(40)), (9, secs(60)), (10, Reaction::Stop)];
        check(Failure::OtherOperation, Nature::Changes, &rows);
        let rows = [(1, secs(5)), (5, secs(60)), (6, Reaction::Stop)];
        check(Failure::HostAway, Nature::Reads, &rows);
        check(Failure::Final, Nature::Reads, &[(1, Reaction::Stop)]);
    }

    #[test]
    fn methods_tell_what_they_do() {
        assert_eq!(Nature::of("VM.get_all_records"), Nature::Reads);
        assert_eq!(Nature::of("Async.VDI.destroy"), Nature::Removes);
        assert_eq!(Nature::of("VM.snapshot"), Nature::Changes);
        assert_eq!(Nature::of("VM.set_name_label"), Nature::Sets);
        assert_eq!(Nature::of("VDI.remove_from_other_config"), Nature::Sets);
        assert_eq!(Nature::of("VM.add_to_other_config"), Nature::Changes);
        assert_eq!(Nature::of("task.create"), Nature::Changes);
    }

    #[test]
    fn failures_are_counted_by_kind() {
        let mut failures = Failures::default();
        assert_eq!(failures.count(&Failure::HostIsSlave("a".into())), 1);
        assert_eq!(failures.count(&Failure::SessionInvalid), 1);
        assert_eq!(failures.count(&Failure::HostIsSlave("b".into())), 2);
    }
}
