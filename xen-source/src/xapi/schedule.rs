//! When VMs of a fail-over are restored, and when each starts. Pure: times are arguments.
//!
//! Bytes wait for nobody: VMs are restored one after the other as there is room, those of low
//! orders first. Only a start waits, for the orders before in its own vApp and their delays. A VM
//! that is not restored or does not start holds up nobody: in a disaster the rest is better than
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::xva::ova::StartFacts;

/// Longest pause between two orders of a vApp. Records come from strangers.
pub const DELAY_MAX: Duration = Duration::from_secs(3600);

/// What is done in which order. VMs are told by their places in what was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// All VMs, in the order in which they are restored.
    pub restores: Vec<usize>,
    /// VMs that are started: for each vApp its orders, which follow each other. A VM of no vApp is
    /// one of its own.
    pub vapps: Vec<Vec<Order>>,
}

/// VMs of a vApp that start as soon as they are restored and those of the order before have started
/// or failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// Which.
    pub places: Vec<usize>,
    /// How long those of the next order wait behind the last of them.
    pub delay: Duration,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This VM is restored.
    Restore(usize),
    /// This VM, which is restored, is started.
    Start(usize),
    /// Nothing before something ends, or this time has passed.
    Wait(Option<Duration>),
    /// Nothing any more.
    End,
}

/// How far a schedule has come. Times count from its begin.
#[derive(Debug)]
pub struct Standing<'s> {
    schedule: &'s Schedule,
    started: BTreeSet<usize>,
    /// VMs that are restored at once, and VMs that are started at once.
    at_once: usize,
    states: Vec<State>,
}

/// How a VM stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Due,
    BeingRestored,
    Restored,
    BeingStarted,
    /// Since then it runs, stays off, or has failed.
    Settled(Duration),
}

impl Schedule {
    /// Orders VMs. `is_started` tells of a place whether its VM is to run: one that is not waits for
    /// nobody, and nobody waits for it.
    #[must_use]
    pub fn of(vms: &[StartFacts], is_started: impl Fn(usize) -> bool) -> Self {
        let mut vapps: BTreeMap<&str, BTreeMap<u64, Order>> = BTreeMap::new();
        let mut alone = Vec::new();
        for (place, vm) in vms.iter().enumerate() {
            match &vm.vapp {
                None => alone.push(Order { places: vec![place], delay: Duration::ZERO }),
                Some(vapp) => {
                    let order = vapps.entry(vapp).or_default().entry(vm.order).or_default();
                    order.places.push(place);
                }
            }
        }
        // Of a vApp only what comes before what is told by the numbers.
        let of_vapps = vapps.into_values().map(|orders| orders.into_values().collect());
        let mut vapps: Vec<Vec<Order>> =
            of_vapps.chain(alone.into_iter().map(|it| vec![it])).collect();
        let ranked = vapps.iter().flat_map(|orders| orders.iter().enumerate());
        let mut ranked: Vec<(usize, usize)> = ranked
            .flat_map(|(rank, order)| order.places.iter().map(move |place| (rank, *place)))
            .collect();
        ranked.sort_unstable();
        for orders in &mut vapps {
            for order in orders.iter_mut() {
                order.places.retain(|place| is_started(*place));
                let delays = order.places.iter().map(|place| vms[*place].delay());
                order.delay = delays.max().unwrap_or_default();
            }
            orders.retain(|order| !order.places.is_empty());
        }
        vapps.retain(|orders| !orders.is_empty());
        Self { restores: ranked.into_iter().map(|(_, place)| place).collect(), vapps }
    }
}

impl<'s> Standing<'s> {
    /// Nothing is done yet. As many VMs as `at_once` are restored at a time, and as many started.
    #[must_use]
    pub fn of(schedule: &'s Schedule, at_once: usize) -> Self {
        let started = schedule.vapps.iter().flatten().flat_map(|order| order.places.clone());
        let states = vec![State::Due; schedule.restores.len()];
        Self { schedule, started: started.collect(), at_once, states }
    }

    /// Decides what somebody does who has nothing to do at `now`, and takes down that he does it.
    pub fn next(&mut self, now: Duration) -> Next {
        let start = match self.count(State::BeingStarted) < self.at_once {
            true => self.soonest_start(),
            false => None,
        };
        if let Some((_, place)) = start.filter(|(due, _)| *due <= now) {
            self.states[place] = State::BeingStarted;
            return Next::Start(place);
        }
        let mut restores = self.schedule.restores.iter();
        if self.count(State::BeingRestored) < self.at_once
            && let Some(place) = restores.find(|place| self.states[**place] == State::Due)
        {
            self.states[*place] = State::BeingRestored;
            return Next::Restore(*place);
        }
        match self.states.iter().all(|state| matches!(state, State::Settled(_))) {
            true => Next::End,
            false => Next::Wait(start.map(|(due, _)| due.saturating_sub(now))),
        }
    }

    /// Whether a VM is started when it is restored.
    #[must_use]
    pub fn is_started(&self, place: usize) -> bool {
        self.started.contains(&place)
    }

    /// A VM was restored at `now`.
    pub fn restored(&mut self, place: usize, now: Duration) {
        self.states[place] = match self.is_started(place) {
            true => State::Restored,
            false => State::Settled(now),
        };
    }

    /// A VM runs since `now`, or has failed.
    pub fn settled(&mut self, place: usize, now: Duration) {
        self.states[place] = State::Settled(now);
    }

    /// Nothing more begins; what is under way goes on.
    pub fn stop(&mut self, now: Duration) {
        for state in &mut self.states {
            if matches!(state, State::Due | State::Restored) {
                *state = State::Settled(now);
            }
        }
    }

    fn count(&self, state: State) -> usize {
        self.states.iter().filter(|other| **other == state).count()
    }

    /// The VM that may start first of those that are restored, and from when on.
    fn soonest_start(&self) -> Option<(Duration, usize)> {
        self.schedule.vapps.iter().filter_map(|orders| self.soonest_of(orders)).min()
    }

    fn soonest_of(&self, orders: &[Order]) -> Option<(Duration, usize)> {
        let mut due = Duration::ZERO;
        for order in orders {
            let restored = |place: &&usize| self.states[**place] == State::Restored;
            if let Some(place) = order.places.iter().find(restored) {
                return Some((due, *place));
            }
            let settled = order.places.iter().map(|place| match self.states[*place] {
                State::Settled(at) => Some(at),
                _ => None,
            });
            let latest = settled.collect::<Option<Vec<_>>>()?.into_iter().max().unwrap_or_default();
            // An order that has failed early does not shorten the delay of one before it.
            due = due.max(latest.saturating_add(order.delay));
        }
        None
    }
}

impl StartFacts {
    /// How long those of the next order wait.
    fn delay(&self) -> Duration {
        Duration::from_secs(self.start_delay_secs).min(DELAY_MAX)
    }
}

#[cfg(test)]
mod tests;
