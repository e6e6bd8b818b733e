//! CBOR as RFC 8949 allows it and SPEC 9 does not: the same value in every form but the deterministic one.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    LongerHead,
    Indefinite,
    SwapKeys,
    RepeatKey,
    UnknownKey,
    NullAsLast,
}

/// Other encodings of the value that `deterministic` encodes, or of it with keys that nobody knows; each with
/// words for what was done. Covers unsigned and negative numbers, byte and text strings, arrays and maps.
#[must_use]
pub fn other_encodings(deterministic: &[u8]) -> Vec<(String, Vec<u8>)> {
    use Change::{Indefinite, LongerHead, NullAsLast, RepeatKey, SwapKeys, UnknownKey};
    let mut all = vec![("a byte behind".to_owned(), [deterministic, &[0]].concat())];
    for change in [LongerHead, Indefinite, SwapKeys, RepeatKey, UnknownKey, NullAsLast] {
        for target in 0.. {
            let mut copier = Copier::new(deterministic, change, target);
            copier.item();
            assert!(copier.rest.is_empty(), "not one CBOR item");
            if copier.seen <= target {
                break;
            }
            if copier.changed {
                all.push((format!("{change:?} at item {target}"), copier.out));
            }
        }
    }
    all
}

/// Copies one item, and makes one change to the item number `target`.
struct Copier<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
    change: Change,
    target: usize,
    seen: usize,
    changed: bool,
}

impl<'a> Copier<'a> {
    fn new(rest: &'a [u8], change: Change, target: usize) -> Self {
        Self { rest, out: Vec::new(), change, target, seen: 0, changed: false }
    }

    fn item(&mut self) {
        let wanted = (self.seen == self.target).then_some(self.change);
        self.seen += 1;
        let (major, argument) = self.read_head();
        let indefinite = wanted == Some(Change::Indefinite) && (2..=5).contains(&major);
        let longer = wanted == Some(Change::LongerHead);
        self.changed |= indefinite || longer;
        match major {
            0 | 1 => self.write_head(major, argument, longer),
            2 | 3 => {
                if indefinite {
                    self.out.push(major << 5 | 31);
                }
                self.write_head(major, argument, longer);
                let text = self.take(argument);
                self.out.extend_from_slice(text);
            }
            4 => {
                self.start(major, argument, longer, indefinite);
                (0..argument).for_each(|_| self.item());
            }
            5 => self.map(argument, longer, indefinite, wanted),
            _ => panic!("CBOR major type {major} does not occur in Xenith"),
        }
        if indefinite {
            self.out.push(0xff);
        }
    }

    fn map(&mut self, pairs: u64, longer: bool, indefinite: bool, wanted: Option<Change>) {
        let mut copies = Vec::new();
        let outer = std::mem::take(&mut self.out);
        for _ in 0..pairs {
            self.item();
            self.item();
            copies.push(std::mem::take(&mut self.out));
        }
        self.out = outer;
        let unchanged = copies.len();
        match wanted {
            Some(Change::SwapKeys) if unchanged >= 2 => copies.swap(0, 1),
            Some(Change::RepeatKey) => copies.push(copies[unchanged - 1].clone()),
            Some(Change::UnknownKey) => copies.push(vec![0x18, 99, 0]),
            Some(Change::NullAsLast) => copies.push(vec![0x18, 99, 0xf6]),
            _ => {}
        }
        self.changed |=
            copies.len() != unchanged || (wanted == Some(Change::SwapKeys) && unchanged >= 2);
        self.start(5, copies.len() as u64, longer, indefinite);
        self.out.extend(copies.concat());
    }

    fn start(&mut self, major: u8, count: u64, longer: bool, indefinite: bool) {
        match indefinite {
            true => self.out.push(major << 5 | 31),
            false => self.write_head(major, count, longer),
        }
    }

    fn take(&mut self, len: u64) -> &'a [u8] {
        let len = usize::try_from(len).expect("a length in memory");
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        head
    }

    fn read_head(&mut self) -> (u8, u64) {
        let first = self.take(1)[0];
        let short = u64::from(first & 31);
        let argument = match short {
            0..=23 => short,
            24..=27 => {
                let bytes = self.take(1 << (short - 24));
                bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
            }
            _ => panic!("not deterministic: head {first:#x}"),
        };
        (first >> 5, argument)
    }

    /// The shortest head, or the one that is a step longer.
    fn write_head(&mut self, major: u8, argument: u64, longer: bool) {
        let shortest = match argument {
            0..=23 => 0,
            24..=0xff => 1,
            0x100..=0xffff => 2,
            0x1_0000..=0xffff_ffff => 3,
            _ => 4,
        };
        let width = shortest + usize::from(longer);
        assert!(width <= 4, "tests use no number that has only one head");
        if width == 0 {
            self.out.push(major << 5 | argument as u8);
            return;
        }
        self.out.push(major << 5 | (23 + width as u8));
        let bytes = argument.to_be_bytes();
        self.out.extend_from_slice(&bytes[8 - (1 << (width - 1))..]);
    }
}
