//! VMs that are brought up on another pool: which vApps they are of, and what they need in sum.
//! Pure: no pool is asked.

use std::collections::BTreeSet;

use crate::xva::ova::StartFacts;

/// A vApp: VMs that start together, in an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VApp {
    /// What records call it by.
    pub reference: String,
    /// What people call it.
    pub name: String,
    /// What people say about it.
    pub description: String,
    /// Uuids of its VMs.
    pub members: BTreeSet<String>,
}

/// VMs that no host has memory for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoMemory {
    /// The places of the VMs in what was given, largest first.
    pub places: Vec<usize>,
    /// What the VM with most of it needs among them, in bytes.
    pub needs_bytes: u64,
    /// What the hosts have in sum, in bytes.
    pub free_bytes: u64,
}

/// Gives every VM its vApp, and every vApp its VMs. `vms` are uuids with what records tell; records
/// of snapshots lack the vApp, and no record has its name: `known`, of the pool's database, has
/// both. A vApp of which only a record tells is called by its reference.
#[must_use]
pub fn join(vms: &mut [(&str, &mut StartFacts)], mut known: Vec<VApp>) -> Vec<VApp> {
    for (uuid, start) in vms {
        if start.vapp.is_none() {
            let vapp = known.iter().find(|vapp| vapp.members.contains(*uuid));
            start.vapp = vapp.map(|vapp| vapp.reference.clone());
        }
        let Some(reference) = &start.vapp else { continue };
        let place = known.iter().position(|vapp| vapp.reference == *reference);
        let place = place.unwrap_or_else(|| {
            known.push(VApp::of(reference));
            known.len() - 1
        });
        known[place].members.insert((*uuid).to_owned());
    }
    known
}

/// Finds a host for every VM, the largest first, each where most is free. `needs_bytes` is what
/// each VM needs, `free_bytes` what each host has.
///
/// # Errors
///
/// Those that find none.
pub fn place(needs_bytes: &[u64], free_bytes: &[u64]) -> Result<(), NoMemory> {
    let mut free = free_bytes.to_vec();
    let mut places: Vec<usize> = (0..needs_bytes.len()).collect();
    places.sort_by_key(|place| std::cmp::Reverse(needs_bytes[*place]));
    places.retain(|place| match free.iter_mut().max() {
        Some(most) if *most >= needs_bytes[*place] => {
            *most -= needs_bytes[*place];
            false
        }
        _ => true,
    });
    match places.first() {
        None => Ok(()),
        Some(largest) => Err(NoMemory {
            needs_bytes: needs_bytes[*largest],
            free_bytes: sum(free_bytes),
            places,
        }),
    }
}

/// Adds sizes that may come from strangers.
#[must_use]
pub fn sum(sizes: &[u64]) -> u64 {
    sizes.iter().copied().fold(0, u64::saturating_add)
}

impl VApp {
    /// One of which no more is known.
    fn of(reference: &str) -> Self {
        let id = reference.rsplit(':').next().unwrap_or_default();
        let name = format!("vApp {}", id.chars().take(8).collect::<String>());
        Self { reference: reference.to_owned(), name, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn start(vapp: &str) -> StartFacts {
        let vapp = Some(vapp.to_owned()).filter(|vapp| !vapp.is_empty());
        StartFacts { vapp, ..StartFacts::default() }
    }

    #[test]
    fn vms_find_their_vapps_by_their_records_and_by_the_database() {
        let known = VApp {
            reference: "OpaqueRef:1".into(),
            name: "shop".into(),
            members: BTreeSet::from(["db".to_owned(), "gone".to_owned()]),
            ..VApp::default()
        };
        let mut starts =
            [start(""), start("OpaqueRef:1"), start("OpaqueRef:abcdefghij"), start("")];
        let mut vms: Vec<_> = ["db", "web", "mail", "alone"].into_iter().zip(&mut starts).collect();
        let vapps = join(&mut vms, vec![known]);
        let told: Vec<_> = vapps
            .iter()
            .map(|vapp| {
                (&*vapp.name, vapp.members.iter().map(|uuid| &**uuid).collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(
            told,
            [("shop", "db gone web".to_owned()), ("vApp abcdefgh", "mail".to_owned())]
        );
        assert_eq!(starts[0].vapp.as_deref(), Some("OpaqueRef:1"));
        assert_eq!(starts[3].vapp, None);
    }

    #[track_caller]
    fn check_place(needs: &[u64], free: &[u64], expected: Result<(), &[usize]>) {
        let gib = |sizes: &[u64]| sizes.iter().map(|size| size * GIB).collect::<Vec<_>>();
        let found = place(&gib(needs), &gib(free)).map_err(|short| short.places);
        assert_eq!(found, expected.map_err(<[usize]>::to_vec), "{needs:?} on {free:?}");
    }

    #[test]
    fn memory_is_that_of_single_hosts() {
        check_place(&[], &[], Ok(()));
        check_place(&[4, 4], &[4, 4], Ok(()));
        check_place(&[2, 4, 2], &[4, 4], Ok(()));
        // In sum there would be enough.
        check_place(&[6], &[4, 4], Err(&[0]));
        check_place(&[3, 3, 3], &[5, 5], Err(&[2]));
        check_place(&[1, 9, 8], &[2, 2], Err(&[1, 2]));
        check_place(&[1], &[], Err(&[0]));
    }

    #[test]
    fn a_shortage_tells_the_largest_need_and_what_there_is() {
        let short = place(&[GIB, 9 * GIB], &[2 * GIB, 3 * GIB]).expect_err("nobody has 9 GiB");
        let expected = NoMemory { places: vec![1], needs_bytes: 9 * GIB, free_bytes: 5 * GIB };
        assert_eq!(short, expected);
        assert_eq!(sum(&[u64::MAX, 1]), u64::MAX);
    }
}
