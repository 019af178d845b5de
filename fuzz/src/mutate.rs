//! Mutations of seeds, the same ones every time.

/// Numbers at which length fields and their arithmetic break.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    7,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];
/// Mutations that are applied on top of each other, at most.
const DEPTH: u64 = 8;
/// Bytes that a mutation adds, at most.
const ADDED_BYTES: usize = 600;

/// An endless stream of mutated seeds.
#[derive(Debug)]
pub struct Mutations {
    seeds: Vec<Vec<u8>>,
    random: Random,
    largest: usize,
}

impl Mutations {
    /// `seeds` must not be empty. Nothing is longer than twice the longest seed.
    pub fn new(seeds: Vec<Vec<u8>>, seed: u64) -> Self {
        let largest = seeds.iter().map(Vec::len).max().unwrap_or(0) * 2 + ADDED_BYTES;
        Self {
            seeds,
            random: Random(seed),
            largest,
        }
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let random = &mut self.random;
        let (start, end) = random.range(bytes.len());
        match random.below(10) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(start) {
                    *byte ^= 1 << random.below(8);
                }
            }
            2 => {
                if let Some(byte) = bytes.get_mut(start) {
                    *byte = random.next() as u8;
                }
            }
            3 | 4 => put_number(bytes, start, random),
            5 => drop(bytes.drain(start..end)),
            6 => {
                let copy = bytes[start..end.min(start + ADDED_BYTES)].to_vec();
                let at = random.below(bytes.len() + 1);
                bytes.splice(at..at, copy);
            }
            7 => {
                let (from, _) = random.range(bytes.len());
                let length = (end - start).min(bytes.len() - from);
                let to = start.min(bytes.len() - length);
                bytes.copy_within(from..from + length, to);
            }
            8 => {
                let other = &self.seeds[random.below(self.seeds.len())];
                let (from, to) = random.range(other.len());
                let part = &other[from..to.min(from + ADDED_BYTES)];
                bytes.splice(start..end.min(start + part.len()), part.iter().copied());
            }
            _ => bytes.truncate(end),
        }
    }
}

/// Overwrites one, two, four or eight bytes with a number that is likely to break something, little
/// end first or, as in text, in decimal or octal digits.
fn put_number(bytes: &mut [u8], at: usize, random: &mut Random) {
    let number = match random.below(4) {
        0 => random.next() >> random.below(64),
        1 => bytes.len() as u64 + random.below(3) as u64,
        _ => NUMBERS[random.below(NUMBERS.len())],
    };
    let text = match random.below(6) {
        0 => format!("{number}").into_bytes(),
        1 => format!("{number:o}\0").into_bytes(),
        _ => number.to_le_bytes()[..1 << random.below(4)].to_vec(),
    };
    // Most fields are aligned.
    let at = if random.below(2) == 0 { at & !3 } else { at };
    for (byte, new) in bytes.iter_mut().skip(at).zip(text) {
        *byte = new;
    }
}

impl Iterator for Mutations {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let seed = self.random.below(self.seeds.len());
        let mut bytes = self.seeds[seed].clone();
        for _ in 0..=self.random.below(DEPTH as usize) {
            self.mutate(&mut bytes);
        }
        bytes.truncate(self.largest);
        Some(bytes)
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`; 0 if that is 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % (limit as u64).max(1)) as usize
    }

    /// A range of something of that length, more often a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length);
        let longest = (length - start) >> self.below(12);
        (start, start + self.below(longest + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_mutations() {
        let of = |seed| Mutations::new(vec![b"abc".repeat(100), Vec::new()], seed);
        let first: Vec<_> = of(1).take(500).collect();
        assert_eq!(first, of(1).take(500).collect::<Vec<_>>());
        assert_ne!(first, of(2).take(500).collect::<Vec<_>>());
        let different = first
            .iter()
            .filter(|bytes| **bytes != b"abc".repeat(100))
            .count();
        assert!(different > 400, "{different}");
    }
}
