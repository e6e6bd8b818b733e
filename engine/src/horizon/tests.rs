//! Made series of windows: what is held is compared with slow models.

mod memory;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use super::*;
use crate::lookup::PackNumber;
use crate::window::plan::Copy;

/// Frames of 1000 bytes of which byte n is n + the frame's number.
const FRAME_LEN: u32 = 1000;

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % limit
    }
}

fn frame(number: u32) -> Frame {
    (PackNumber(number / 4), (number % 4) as u16)
}

fn plain((pack, number): Frame) -> Vec<u8> {
    (0..FRAME_LEN).map(|place| (place + 4 * pack.0 + u32::from(number)) as u8).collect()
}

/// Windows of two segments that take ranges of these frames, one after the other.
fn windows(dice: &mut Dice, count: usize, frames: u32) -> Vec<Plan> {
    let window = |dice: &mut Dice| {
        let mut plan = Plan::default();
        for segment in 0..2 {
            let mut to = 0;
            for _ in 0..dice.below(12) {
                let len = 1 + dice.below(200);
                let from = dice.below(FRAME_LEN - len);
                let copy = Copy { from, len, segment, to };
                plan.copies.entry(frame(dice.below(frames))).or_default().push(copy);
                to += len;
            }
        }
        plan
    };
    (0..count).map(|_| window(dice)).collect()
}

/// What a restore of these windows did.
struct Restored {
    /// By frame.
    opened: HashMap<Frame, usize>,
    held_most: usize,
    segments: Vec<Vec<u8>>,
}

/// Rebuilds the windows one by one as a restore does.
fn restore(mut plans: Vec<Plan>, horizon: usize, limit: usize) -> Restored {
    let mut restored = Restored { opened: HashMap::new(), held_most: 0, segments: Vec::new() };
    while !plans.is_empty() {
        let mut next = plans.remove(0);
        let under_way: usize = next.held.values().map(|held| held.len()).sum();
        let mut later: Vec<_> = plans.iter_mut().take(horizon).collect();
        hold(&mut next, &mut later, limit - under_way);
        let waiting = plans.iter().flat_map(|plan| plan.held.values()).map(|held| held.len());
        restored.held_most = restored.held_most.max(under_way + waiting.sum::<usize>());
        let segments = [(); 2].map(|()| Mutex::new(vec![0; 12 * 200]));
        for (frame, copies) in &next.copies {
            if let Some(held) = next.held.get(frame) {
                assert!(held.apply(copies, &segments), "an earlier window has opened the frame");
                continue;
            }
            *restored.opened.entry(*frame).or_default() += 1;
            let plain = plain(*frame);
            copies.iter().for_each(|copy| copy.apply(&plain, &segments));
            let holds = next.holds.remove(frame).unwrap_or_default();
            holds.iter().filter_map(Weak::upgrade).for_each(|held| held.fill(&plain));
        }
        restored.segments.extend(segments.map(|segment| segment.into_inner().unwrap()));
    }
    restored
}

/// What must come out, however it is done.
fn slow(plans: &[Plan]) -> Vec<Vec<u8>> {
    let mut segments = vec![vec![0; 12 * 200]; 2 * plans.len()];
    for (window, plan) in plans.iter().enumerate() {
        for (frame, copies) in &plan.copies {
            for Copy { from, len, segment, to } in copies {
                for place in 0..*len {
                    let byte = plain(*frame)[(from + place) as usize];
                    segments[2 * window + *segment as usize][(to + place) as usize] = byte;
                }
            }
        }
    }
    segments
}

#[test]
fn windows_come_out_right_within_every_limit() {
    for seed in 0..30 {
        let made = || windows(&mut Dice(seed), 12, 20);
        for (horizon, limit) in [(0, 10_000), (3, 0), (3, 700), (11, 2000), (11, 100_000)] {
            let restored = restore(made(), horizon, limit);
            assert!(restored.held_most <= limit, "{} of {limit}", restored.held_most);
            assert_eq!(restored.segments, slow(&made()), "seed {seed}, limit {limit}");
        }
    }
}

#[test]
fn a_frame_is_opened_once_if_all_is_in_sight_and_there_is_room() {
    let made = || windows(&mut Dice(7), 20, 30);
    let restored = restore(made(), 20, usize::MAX);
    assert!(restored.opened.values().all(|times| *times == 1));
    let needed: BTreeSet<_> = made().iter().flat_map(|plan| plan.copies.keys().copied()).collect();
    assert_eq!(restored.opened.len(), needed.len());
    let alone = restore(made(), 20, 0);
    let each: usize = made().iter().map(|plan| plan.copies.len()).sum();
    assert_eq!(alone.opened.values().sum::<usize>(), each, "it is once for each window otherwise");
}

#[test]
fn nothing_is_held_if_nothing_is_shared() {
    let mut plans = windows(&mut Dice(3), 8, 30);
    for (window, plan) in (0..).zip(&mut plans) {
        let copies = std::mem::take(&mut plan.copies);
        plan.copies = copies
            .into_iter()
            .map(|((pack, number), copies)| ((PackNumber(pack.0 + 100 * window), number), copies))
            .collect();
    }
    assert_eq!(restore(plans, 8, usize::MAX).held_most, 0);
}

/// Each byte of a frame that is needed is held once, whatever overlaps.
#[test]
fn what_is_held_is_what_the_copies_cover() {
    let mut dice = Dice(1);
    for plan in windows(&mut dice, 60, 3) {
        for copies in plan.copies.values() {
            let bytes = copies.iter().flat_map(|copy| copy.from..copy.from + copy.len);
            assert_eq!(Held::of(copies).len(), bytes.collect::<BTreeSet<_>>().len());
        }
    }
}

/// Takes offers one by one, each time the one that takes the fewest bytes for the shortest time, of those that still fit.
fn slow_choice(offers: &[(usize, usize)], limit: usize) -> Vec<(usize, usize)> {
    let (mut left, mut room, mut chosen) = (offers.to_vec(), limit, Vec::new());
    let cost = |(window, len): &(usize, usize)| ((window + 1) * len, *window);
    loop {
        let fitting = left.iter().copied().filter(|(_, len)| *len <= room);
        let Some(best) = fitting.min_by_key(cost) else { return chosen };
        left.remove(left.iter().position(|offer| *offer == best).unwrap());
        room -= best.1;
        chosen.push(best);
    }
}

#[test]
fn what_is_large_and_far_makes_room() {
    let mut dice = Dice(5);
    for limit in (0..4000).step_by(100) {
        let sizes: Vec<_> =
            (0..20).map(|_| (dice.below(4) as usize, 1 + dice.below(400) as usize)).collect();
        let offer = |(number, (window, len)): (u32, &(usize, usize))| {
            let copy = Copy { from: 0, len: *len as u32, segment: 0, to: 0 };
            Offer {
                window: *window,
                frame: frame(number),
                held: Arc::new(Held::of(&[copy])),
                is_new: number % 2 == 0,
            }
        };
        let chosen = choose((0..).zip(&sizes).map(offer).collect(), limit);
        let chosen: Vec<_> = chosen.iter().map(|offer| (offer.window, offer.held.len())).collect();
        assert_eq!(chosen, slow_choice(&sizes, limit));
    }
}

/// A window that fails before it has opened a frame leaves nothing behind that could be mistaken for it.
#[test]
fn what_was_never_opened_is_noticed() {
    let mut plans = windows(&mut Dice(2), 2, 1);
    let mut later = plans.split_off(1);
    hold(&mut plans[0], &mut later.iter_mut().collect::<Vec<_>>(), usize::MAX);
    let Plan { copies, held, .. } = &later[0];
    assert_eq!(held.keys().collect::<Vec<_>>(), copies.keys().collect::<Vec<_>>());
    let held: BTreeMap<_, _> = held.iter().collect();
    assert!(held.iter().all(|(frame, held)| !held.apply(&copies[*frame], &[])));
}
