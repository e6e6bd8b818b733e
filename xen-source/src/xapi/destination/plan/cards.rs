//! Which networks and addresses a VM's cards have.

use super::super::{Inventory, Objection, Overwrite, StoredCard, StoredVm, Wish};
use super::{Card, Replaced};
use crate::sink::Macs;
use crate::xapi::objects::{NetworkRecord, PowerState};
use crate::xva::ova::seed::Seed;

/// The cards of the VM to be.
pub fn cards(
    pool: &Inventory,
    vm: &StoredVm,
    wish: &Wish,
    seed: &mut Seed,
    replaced: Option<&Replaced>,
    against: &mut Vec<Objection>,
) -> Vec<Card> {
    let macs = macs(wish);
    for (name, _) in &wish.networks {
        if !vm.cards.iter().any(|card| is_on(card, name)) {
            against.push(Objection::UnknownMapping { name: name.clone() });
        }
    }
    let mut cards = Vec::new();
    for stored in &vm.cards {
        let mac = match macs {
            Macs::Keep => stored.mac.clone(),
            Macs::Replace => seed.mac(),
        };
        let taken = match macs {
            Macs::Keep => taken(pool, &mac, wish, replaced),
            Macs::Replace => None,
        };
        let network = network(pool, stored, wish);
        let objections = taken.into_iter().chain(network.as_ref().err().cloned());
        for objection in objections {
            if !against.contains(&objection) {
                against.push(objection);
            }
        }
        cards.extend(network.ok().map(|network| Card {
            stored: stored.clone(),
            network: network.reference.clone(),
            network_uuid: network.uuid.clone(),
            network_name: network.name.clone(),
            mac,
        }));
    }
    cards
}

/// Whether a network that is named so is that of the card.
fn is_on(card: &StoredCard, network: &str) -> bool {
    network == card.network_name || network == card.network_uuid
}

/// A VM that replaces another, or is the same, is known by its addresses.
pub fn macs(wish: &Wish) -> Macs {
    let is_same = wish.overwrite != Overwrite::No || wish.keep_uuid;
    wish.macs.unwrap_or(if is_same { Macs::Keep } else { Macs::Replace })
}

/// The network that is named for the card's; else that of the same uuid; else that of the same name.
fn network<'a>(
    pool: &'a Inventory,
    card: &StoredCard,
    wish: &Wish,
) -> Result<&'a NetworkRecord, Objection> {
    let mapped = wish.networks.iter().find(|(old, _)| is_on(card, old)).map(|(_, new)| new);
    let uuid = mapped.unwrap_or(&card.network_uuid);
    let name = mapped.unwrap_or(&card.network_name);
    if let Some(network) = pool.networks.iter().find(|network| network.uuid == *uuid) {
        return Ok(network);
    }
    let is_called = |network: &&NetworkRecord| !name.is_empty() && network.name == *name;
    let found: Vec<_> = pool.networks.iter().filter(is_called).collect();
    match &*found {
        [network] => Ok(network),
        [] => {
            let candidates = pool.networks.iter().map(|network| network.name.clone()).collect();
            Err(Objection::NoNetwork { name: name.clone(), candidates })
        }
        several => {
            let (class, name, count) = ("network", name.clone(), several.len());
            Err(Objection::Ambiguous { class, name, count })
        }
    }
}

/// Another VM that has the address already. Those that were replaced before, and are off, have it,
/// too.
fn taken(
    pool: &Inventory,
    mac: &str,
    wish: &Wish,
    replaced: Option<&Replaced>,
) -> Option<Objection> {
    let same = pool.vifs.iter().filter(|vif| vif.mac.eq_ignore_ascii_case(mac));
    let mut holders = same.filter_map(|vif| {
        pool.vms.iter().find(|vm| Some(&vm.reference) == vif.vm.as_ref() && !vm.is_a_snapshot)
    });
    let holder = holders.find(|vm| {
        let counts = wish.overwrite == Overwrite::No || vm.power_state != PowerState::Halted;
        counts && replaced.is_none_or(|replaced| replaced.reference != vm.reference)
    })?;
    Some(Objection::TakenMac { vm: holder.name.clone(), mac: mac.to_owned() })
}
