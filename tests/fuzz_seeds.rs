//! A bounded run of what the fuzz targets check: their seeds, and mutations of them, the same each time. `make fuzz`
//! runs the targets without bounds.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// What all mutations of a run follow from. Another number looks elsewhere.
const SEED: u64 = 0x6f70_616d_7030_3230;

/// Runs a target over all its seeds, and over so many mutations of each.
fn run(name: &str, target: fn(&[u8]), mutations: u64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("bytes")).collect();
    assert!(seeds.len() > 4, "{name} has few seeds");
    for (file, seed) in files.iter().zip(&seeds) {
        for number in 0..=mutations {
            let mut chance = Chance(SEED ^ number);
            // The seed itself comes first.
            let input = if number == 0 { seed.clone() } else { chance.mutation(seed, &seeds) };
            let ran = catch_unwind(AssertUnwindSafe(|| target(&input)));
            if let Err(panic) = ran {
                eprintln!("{}, mutation {number} of {SEED:#x}: {}", file.display(), hex::encode(&input));
                resume_unwind(panic);
            }
        }
    }
}

/// Numbers that look like chance, by the algorithm `SplitMix64`.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below this one.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("it is below one")
    }

    /// The input with one to four things done to it.
    fn mutation(&mut self, input: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
        let mut input = input.to_vec();
        for _ in 0..=self.below(4) {
            let (at, end) = (self.below(input.len()), self.below(input.len() + 1));
            match self.below(7) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                2 => input.truncate(end),
                3 if at < end => drop(input.drain(at..end.min(at + 16))),
                4 => input.insert(end, u8::try_from(self.below(256)).expect("a byte")),
                5 if at < end => input.extend_from_within(at..end),
                _ => {
                    let other = &others[self.below(others.len())];
                    input.truncate(end);
                    input.extend_from_slice(&other[self.below(other.len())..]);
                }
            }
        }
        input
    }
}

#[test]
fn frames_keep_their_rules_whatever_comes() {
    run("frame", targets::frame, 2000);
}

#[test]
fn messages_are_answered_by_the_rules_whatever_they_say() {
    run("message", targets::message, 150);
}

#[test]
fn bodies_are_read_within_the_limit_whatever_they_hold() {
    run("http_body", targets::http_body, 300);
}
