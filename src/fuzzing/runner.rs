//! Each target with its committed inputs, and then for some seconds with changed ones. No coverage leads
//! the way, as it does with cargo-fuzz; but it needs nothing to be installed, and runs with the tests.
//!
//! `MICRO_FUZZ_SECONDS` is the time for each target, `MICRO_FUZZ_SEED` gives other choices or repeats them.

use std::{
    env, fs, io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use proptest::test_runner::{RngAlgorithm, TestRng};

use super::{TARGETS, Target};

/// For each target, without the setting.
const SECONDS: f64 = 3.0;
/// Without the setting the choices are the same in each run, so that no change fails by an input that has
/// nothing to do with it. The campaign has other ones.
const SEED: u64 = 20_261_127;
/// An input grows no longer than this, in bytes.
const LONGEST: usize = 4096;
/// Bytes at the edges of what is counted, and of what is text.
const EDGES: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b' ', b'"', b'{', b'.', b'/', b'%'];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The committed inputs of a target, with the paths of their files.
fn inputs(name: &str) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(repository("fuzz/corpus").join(name))? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.into_iter().map(|path| fs::read(&path).map(|input| (path, input))).collect()
}

/// Changes inputs at random.
struct Mutator {
    chance: TestRng,
    inputs: Vec<Vec<u8>>,
}

impl Mutator {
    fn new(name: &str, seed: u64, inputs: Vec<Vec<u8>>) -> Self {
        let mut whole = [0; 32];
        whole[..8].copy_from_slice(&seed.to_le_bytes());
        whole[8..12].copy_from_slice(&crc32fast::hash(name.as_bytes()).to_le_bytes());
        Self { chance: TestRng::from_seed(RngAlgorithm::ChaCha, &whole), inputs }
    }

    fn below(&mut self, bound: usize) -> usize {
        use proptest::prelude::Rng as _;
        if bound == 0 { 0 } else { (self.chance.next_u64() % bound as u64) as usize }
    }

    /// A stretch of `length` bytes, up to 32 of them.
    fn stretch(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let end = start + self.below((length - start).min(32) + 1);
        start..end
    }

    fn next(&mut self) -> Vec<u8> {
        let which = self.below(self.inputs.len());
        let mut input = self.inputs[which].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len());
        match self.below(8) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = EDGES[self.below(EDGES.len())],
            2 if !input.is_empty() => input[at] = self.below(256) as u8,
            3 => drop(input.drain(self.stretch(input.len()))),
            4 => {
                let byte = EDGES[self.below(EDGES.len())];
                input.insert(at, byte);
            }
            5 => {
                let again = input[self.stretch(input.len())].to_vec();
                drop(input.splice(at..at, again));
            }
            // The same stretch many times: depth and length.
            6 => {
                let again = input[self.stretch(input.len())].repeat(self.below(40));
                drop(input.splice(at..at, again));
            }
            // A part of another input.
            _ => {
                let which = self.below(self.inputs.len());
                let stretch = self.stretch(self.inputs[which].len());
                let part = self.inputs[which][stretch].to_vec();
                let place = self.stretch(input.len());
                drop(input.splice(place, part));
            }
        }
    }
}

/// Tries an input; when it fails, what it was is kept.
fn attempt(name: &str, target: Target, input: &[u8], origin: &dyn Fn() -> String) {
    let Err(failure) = catch_unwind(AssertUnwindSafe(|| target(input))) else { return };
    let folder = repository("target/fuzz");
    let path = folder.join(format!("{name}-{:08x}", crc32fast::hash(input)));
    let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input));
    report(&format!(
        "`{name}` fails for {}: {:?}\nThe input is in {} ({kept:?}); copied to fuzz/corpus/{name}, it is tried first.",
        origin(),
        String::from_utf8_lossy(input),
        path.display()
    ));
    resume_unwind(failure);
}

#[expect(clippy::print_stderr, reason = "shown when the test fails")]
fn report(text: &str) {
    eprintln!("{text}");
}

fn attack(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let committed = inputs(name).unwrap();
    assert!(!committed.is_empty(), "fuzz/corpus/{name} is empty");
    for (path, input) in &committed {
        attempt(name, *target, input, &|| path.display().to_string());
    }
    let setting = |name| env::var(name).ok();
    let seed =
        setting("MICRO_FUZZ_SEED").map_or(SEED, |text| text.parse().expect("MICRO_FUZZ_SEED is a number"));
    let seconds = setting("MICRO_FUZZ_SECONDS")
        .map_or(SECONDS, |text| text.parse().expect("MICRO_FUZZ_SECONDS is a number"));
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let mut mutator = Mutator::new(name, seed, committed.into_iter().map(|(_, input)| input).collect());
    let mut count = 0_u64;
    while Instant::now() < until {
        let input = mutator.next();
        attempt(name, *target, &input, &|| format!("an input of MICRO_FUZZ_SEED={seed}"));
        count += 1;
    }
    report(&format!("{name}: {count} inputs, MICRO_FUZZ_SEED={seed}"));
}

macro_rules! attacks {
    ($($name:ident),*) => {
        const ATTACKED: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            attack(stringify!($name));
        })*
    };
}

attacks!(
    proto, json, protobuf, frames, weight, path, parameters, headers, token, rules, records, config,
    snapshot, command, name, terminal, files, sockets
);

#[test]
fn every_target_is_attacked_here_and_by_cargo_fuzz() {
    let manifest = fs::read_to_string(repository("fuzz/Cargo.toml")).unwrap();
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(ATTACKED, names);
    assert_eq!(manifest.matches("[[bin]]").count(), names.len());
    for name in names {
        let path = format!("fuzz_targets/{name}.rs");
        assert!(manifest.contains(&format!("path = \"{path}\"")), "{name}");
        let program = fs::read_to_string(repository("fuzz").join(path)).unwrap();
        assert!(program.contains(&format!("run(\"{name}\", input)")), "{name}");
    }
}
