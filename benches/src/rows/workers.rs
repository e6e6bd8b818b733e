//! Row "two workers against one".

use std::hint::black_box;
use std::thread;

use engine::source::SEGMENT_LEN;

use super::Measured;
use crate::Scale;
use crate::disks::of_image;
use crate::harness::{Clock, compare};
use crate::repositories::{Pools, forgetful, store};
use crate::samples::{Look, sample};
use crate::table::{Row, Verdict, load};

/// A first backup with one worker against the same with two, by the clock on the wall. Beside it, what this machine
/// gives at this time: BLAKE3 of everything on one thread against half of it on each of two.
pub fn rows(scale: Scale) -> Measured<Vec<Row>> {
    let image = sample(Look::Compressible, 7, scale.pick(8, 64) * SEGMENT_LEN);
    let (one, two) = (Pools::start(1)?, Pools::start(2)?);
    let repository = forgetful()?;
    let backup = |pools: &Pools| {
        store(&repository, pools, &mut of_image(&image)).expect("memory suffices");
    };
    let halves = image.split_at(image.len() / 2);
    let hash = |bytes: &[u8]| {
        for _ in 0..4 {
            black_box(blake3::keyed_hash(&[7; 32], bytes));
        }
    };
    let turns = scale.pick(3, 9);
    let both = |_: &mut ()| {
        thread::scope(|scope| {
            scope.spawn(|| hash(halves.0));
            hash(halves.1);
        });
    };
    let attainable = || compare(Clock::Wall, turns, &mut (), both, |()| hash(&image)).speed();
    let before = attainable();
    let ours = compare(Clock::Wall, turns, &mut (), |()| backup(&two), |()| backup(&one));
    let after = attainable();
    let (speed, best) = (ours.speed(), before.median.max(after.median));
    let rates = ours.rates(image.len());
    Ok(vec![Row {
        name: "two workers against one",
        budget: ">= 1.85 x",
        measured: format!(
            "{speed}; {rates}; plain BLAKE3 on two threads reaches {best:.2}; load {}",
            load()
        ),
        verdict: match speed.median >= 1.85 {
            true => Verdict::Ok,
            false if best < 1.95 => {
                Verdict::NotMeasured("the machine has no two free cores at the moment")
            }
            false => Verdict::Misses,
        },
    }])
}
