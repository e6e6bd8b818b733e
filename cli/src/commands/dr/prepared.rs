//! What `dr` looks at before anything is done: the repository, the pool, and what is wanted.

use engine::parallel::Workers;
use engine::surroundings::{RealSurroundings, random};
use xen_source::Macs;
use xen_source::xapi::Pool;
use xen_source::xapi::destination::{After, Inventory, StoredCard, Wish};

use super::candidate::{self, Candidate, Found};
use super::choice::{Choice, sample};
use super::outlook::{Outlook, Running};
use super::stock::Stock;
use crate::advice::{Doing as _, Failure, refused};
use crate::args::{FailOverArgs, PoolArgs};
use crate::connection;
use crate::job::Job;

/// What there is to bring up, and where.
pub struct Prepared {
    /// The pool that VMs go to.
    pub pool: Pool,
    /// What it has.
    pub inventory: Inventory,
    /// Its members and the memory that each has free, in bytes.
    pub hosts: Vec<(String, u64)>,
    /// What goes there.
    pub found: Found,
}

/// What is wanted of every VM.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Where disks go; `None`: the pool's default.
    pub sr: Option<String>,
    /// Networks that have another name there, or the one that all cards go to.
    pub networks: Networks,
    /// What becomes of addresses.
    pub macs: Macs,
    /// What becomes of VMs when they are there.
    pub after: After,
    /// What names get at their end.
    pub suffix: String,
    /// Whether every disk is read back.
    pub verify: bool,
    /// Whether objections that may be wrong are passed over.
    pub force: bool,
}

/// Where network cards go.
#[derive(Debug, Clone)]
pub enum Networks {
    /// Old and new ones, by name or uuid; others go by their own.
    Mapped(Vec<(String, String)>),
    /// All to the one with this uuid.
    One(String),
}

impl Prepared {
    /// Opens what is named and looks.
    ///
    /// # Errors
    ///
    /// Whatever cannot be read, or chooses nothing.
    pub fn of(
        job: &Job,
        stocks: &[Stock<'_>],
        workers: &Workers,
        args: FailOverArgs,
    ) -> Result<Self, Failure> {
        let choice = Choice::parse(&args.selectors, &args.apps)?;
        let at = args.at.map(|moment| moment.secs);
        let found = candidate::find(stocks, workers, &choice, at)?;
        let pool = connection::open(job, PoolArgs { pool: args.pool, login: args.login })?;
        let doing = || "cannot look at what the pool has".to_owned();
        let inventory = Inventory::read(pool.session()).doing(doing)?;
        let hosts = pool.free_memory().doing(doing)?;
        Ok(Self { pool, inventory, hosts, found })
    }

    /// Leaves only `count` of the VMs, those whose `turn` it is.
    pub fn take_sample(&mut self, count: usize, turn: u64) {
        let places = sample(self.found.candidates.len(), count, turn);
        let mut place = 0;
        self.found.candidates.retain(|_| {
            place += 1;
            places.contains(&(place - 1))
        });
    }

    /// What people call the pool.
    pub fn pool_name(&self) -> String {
        let record = self.pool.record();
        if record.name.is_empty() { record.uuid } else { record.name }
    }

    /// What would become of it.
    pub fn outlook(&self, terms: &Terms) -> Outlook {
        let wish = |candidate: &Candidate| terms.wish(candidate);
        Outlook::of(&self.inventory, &self.hosts, &self.found.candidates, wish)
    }

    /// Whether nothing is in the way of any VM that is meant.
    pub fn is_feasible(&self, outlook: &Outlook, running: Running) -> bool {
        outlook.is_feasible(running) && self.found.lost.is_empty()
    }

    /// Sees that every network that was mapped is that of a card.
    ///
    /// # Errors
    ///
    /// If one is not: it is misspelt.
    pub fn check_networks(&self, networks: &[(String, String)]) -> Result<(), Failure> {
        let cards: Vec<&StoredCard> =
            self.found.candidates.iter().flat_map(|it| &it.vm.cards).collect();
        let is_unknown = |(old, _): &&(String, String)| !cards.iter().any(|card| is_on(card, old));
        match networks.iter().find(is_unknown) {
            None => Ok(()),
            Some((old, new)) => refused(
                format!("cannot use --network {old}={new}"),
                format!("none of the VMs had a card on {old}"),
                "name the network as it was called where the VMs were; nothing was done",
            ),
        }
    }
}

impl Terms {
    /// What is wanted of one VM.
    pub fn wish(&self, candidate: &Candidate) -> Wish {
        let cards = &candidate.vm.cards;
        let networks = match &self.networks {
            Networks::Mapped(pairs) => {
                let concerns = |(old, _): &&(String, String)| cards.iter().any(|it| is_on(it, old));
                pairs.iter().filter(concerns).cloned().collect()
            }
            Networks::One(uuid) => isolated(cards, uuid),
        };
        let is_off = candidate.is_template();
        Wish {
            name: (!self.suffix.is_empty()).then(|| candidate.vm.name.clone() + &self.suffix),
            sr: self.sr.clone(),
            networks,
            macs: Some(self.macs),
            after: if is_off { After::Off } else { self.after },
            verify: self.verify,
            force: self.force,
            ..Wish::new(random(&RealSurroundings))
        }
    }
}

/// Whether a card was on the network that `text` names.
fn is_on(card: &StoredCard, text: &str) -> bool {
    card.network_name == text || card.network_uuid.eq_ignore_ascii_case(text)
}

/// A mapping that takes every card to one network, whatever it was on.
fn isolated(cards: &[StoredCard], uuid: &str) -> Vec<(String, String)> {
    let old = |card: &StoredCard| match &*card.network_uuid {
        "" => card.network_name.clone(),
        uuid => uuid.to_owned(),
    };
    let mut pairs: Vec<_> = cards.iter().map(|card| (old(card), uuid.to_owned())).collect();
    pairs.sort();
    pairs.dedup();
    pairs
}
