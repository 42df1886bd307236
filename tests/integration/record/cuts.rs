//! The power is cut at every call, or the process is killed, and what is there is compared with what was put; then it goes on
//! from that, several deep.

use proptest::prelude::{Rng, RngCore};
use proptest::test_runner::{RngAlgorithm, TestRng};
use rawmap_core::Error;
use rawmap_core::record::{Problem, Reader, Store};
use rawmap_tests::rounds;

use super::LAYOUT;
use super::medium::{Medium, TORN, Torn};

const SLOTS: [&str; 2] = ["two", "three"];
const LOGS: [&str; 2] = ["log", "apart"];

/// What was put into one part, in order, and how many of these a commit has stored.
#[derive(Clone, Debug, Default)]
struct Kept {
    all: Vec<Vec<u8>>,
    committed: usize,
}

#[derive(Clone, Debug, Default)]
struct Model {
    is_open: bool,
    slots: [Kept; 2],
    logs: [Kept; 2],
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<_> = self.all.iter().map(|bytes| number_of(bytes)).collect();
        write!(f, "{numbers:?}, {} of them committed", self.committed)
    }
}

fn number_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(*bytes.first_chunk().unwrap())
}

/// What ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Cut,
    Kill,
}

impl Model {
    fn commit(&mut self) {
        self.is_open = true;
        for kept in self.slots.iter_mut().chain(&mut self.logs) {
            kept.committed = kept.all.len();
        }
    }

    /// Judges what is there, and goes on from it.
    fn judge(&mut self, bytes: &[u8], end: End, torn: Torn, context: &dyn Fn() -> String) {
        let reader = match Reader::new(bytes) {
            Ok(reader) => reader,
            // Making the file was not finished.
            Err(_) if !self.is_open => return,
            Err(error) => panic!("{}: {error}", context()),
        };
        self.is_open |= end == End::Cut;
        for (name, kept) in SLOTS.iter().zip(&mut self.slots) {
            let found = reader
                .load(name)
                .unwrap_or_else(|error| panic!("{}: {name}: {error}", context()));
            let found = found.map(|value| value.bytes.to_vec());
            // The last that was committed, or one that was put later.
            let allowed = kept.committed.saturating_sub(1)..kept.all.len();
            let is_right = match &found {
                None => kept.committed == 0,
                Some(bytes) => kept.all[allowed].contains(bytes),
            };
            assert!(
                is_right,
                "{}: {name} has {:?}, of {kept}",
                context(),
                found.as_deref().map(number_of)
            );
            match end {
                End::Cut => {
                    kept.all = found.into_iter().collect();
                    kept.committed = kept.all.len();
                }
                // What was committed last may still be what a cut leaves.
                End::Kill => {
                    let place = kept.all.iter().rposition(|put| Some(put) == found.as_ref());
                    kept.all.truncate(place.map_or(0, |place| place + 1));
                }
            }
        }
        for (name, kept) in LOGS.iter().zip(&mut self.logs) {
            let records = reader.records(name).unwrap();
            // Its batches share what the cut spoils.
            let is_spoiled = torn == Torn::Spoiled && end == End::Cut && *name == "log";
            let mut found: Vec<Vec<u8>> = Vec::new();
            for record in records {
                match record {
                    Ok(bytes) => found.push(bytes.to_vec()),
                    Err(error) => assert!(is_spoiled, "{}: {name}: {error}", context()),
                }
            }
            if is_spoiled {
                assert!(found.iter().all(|record| kept.all.contains(record)));
                kept.committed = found.len();
                kept.all = found;
                continue;
            }
            let least = match end {
                End::Cut => kept.committed,
                End::Kill => kept.all.len().saturating_sub(1),
            };
            // Some in a row, up to one that was committed last or later. Each is another.
            let fits = |end: &usize| {
                let start = end.checked_sub(found.len());
                start.is_some_and(|start| kept.all[start..*end] == found[..])
            };
            let place = match found.len() {
                0 => (least == 0).then_some(0),
                _ => (least..=kept.all.len()).rev().find(fits),
            };
            let Some(place) = place else {
                let found: Vec<_> = found.iter().map(|bytes| number_of(bytes)).collect();
                panic!("{}: {name} has {found:?}, of {kept}", context());
            };
            kept.all.truncate(place);
            if end == End::Cut {
                kept.committed = place;
            }
        }
    }
}

fn random_of(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// Bytes that begin with a number. In one history of three they are of one length and mostly the same: what is put again then
/// lies where something else was, and completes it.
fn bytes(random: &mut TestRng, number: u32, limit: usize, same: Option<usize>) -> Vec<u8> {
    let len = match random.random_range(0..4) {
        _ if same.is_some() => limit - same.unwrap_or(0),
        0 => 4,
        1 => limit,
        _ => random.random_range(4..=limit),
    };
    let mut bytes = vec![0x33; len];
    if same.is_none() && random.random_ratio(1, 2) {
        random.fill_bytes(&mut bytes);
    }
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Some changes and commits. Ends where the power was cut.
fn run(
    store: &mut Store<Medium, 4>,
    model: &mut Model,
    random: &mut TestRng,
    number: &mut u32,
    same: Option<usize>,
) {
    for _ in 0..30 {
        // Not of a record that was never committed, or one might be taken for the other.
        *number += 1;
        let which = random.random_range(0..2);
        match random.random_range(0..8) {
            0..3 => {
                let value = bytes(random, *number, [700, 40][which], same);
                model.slots[which].all.push(value.clone());
                let mut slots = store.slots(SLOTS[which]).unwrap();
                if slots.put(*number, &value).is_ok() {
                    assert_eq!(slots.load().unwrap().unwrap().bytes, value);
                } else {
                    // What fails changes nothing.
                    model.slots[which].all.pop();
                    store.retry().unwrap();
                }
            }
            3..6 => {
                let limit = match same {
                    // Few fill a segment, and the head of the third is in another sector than that of the segment.
                    Some(number) if number.is_multiple_of(2) => 240,
                    None if random.random_ratio(1, 4) => 256,
                    _ => 24,
                };
                let record = bytes(random, *number, limit, same);
                model.logs[which].all.push(record.clone());
                let mut log = store.log(LOGS[which]).unwrap();
                if log.append(&record).is_ok() {
                    assert_eq!(log.records().last().unwrap().unwrap(), record);
                } else {
                    model.logs[which].all.pop();
                    store.retry().unwrap();
                }
            }
            _ => {
                let flushes = store.get_ref().flushes;
                // A retry stores all that is in memory.
                let stored = store.commit().or_else(|_| store.retry());
                assert_eq!(stored, Ok(()));
                assert!(store.get_ref().flushes <= flushes + 2);
                if store.get_ref().cut.is_none() {
                    model.commit();
                }
            }
        }
        if store.get_ref().cut.is_some() {
            return;
        }
    }
}

/// Runs that end in a cut or a kill, one after the other on what the one before left. Returns how many calls the first made.
fn history(seed: u64, torn: (Torn, usize), first: Option<usize>) -> usize {
    let mut random = random_of(seed);
    let mut model = Model::default();
    let zeros = vec![0; LAYOUT.len()];
    let (mut live, mut disk) = (zeros.clone(), zeros);
    let mut number = 0;
    let mut calls = 0;
    for depth in 0..6 {
        let medium = Medium::new(live, disk, torn, random_of(random.next_u64()));
        let fuse = first
            .filter(|_| depth == 0)
            .or_else(|| Some(random.random_range(0..90)));
        medium.fuse.set(fuse);
        let is_new = Reader::new(&medium.live).is_err();
        let context = || format!("seed {seed}, {torn:?}, first {first:?}, depth {depth}");
        let mut store = match Store::open(medium, LAYOUT) {
            Ok(store) => store,
            // Nothing was ever stored there.
            Err(refused) if torn.0 == Torn::Spoiled && !model.is_open => {
                assert_eq!(refused.error, Error::Record(Problem::Foreign));
                return calls;
            }
            Err(refused) => panic!("{}: {refused}", context()),
        };
        if store.get_ref().cut.is_none() {
            // One that a killed process left is stored by the first commit.
            model.is_open |= is_new;
            store.get_ref().may_fail.set(seed % 4 == 1);
            run(
                &mut store,
                &mut model,
                &mut random,
                &mut number,
                (seed.is_multiple_of(3)).then_some(seed as usize % 16),
            );
        }
        let mut medium = store.into_inner();
        calls = calls.max(if depth == 0 { medium.calls } else { 0 });
        let cut = medium.cut.take().unwrap_or_else(|| medium.cut());
        let end = if random.random_ratio(1, 4) {
            End::Kill
        } else {
            End::Cut
        };
        (live, disk) = match end {
            End::Cut => (cut.image.clone(), cut.image),
            End::Kill => (cut.live, cut.disk),
        };
        model.judge(&live, end, torn.0, &context);
    }
    calls
}

#[test]
fn nothing_is_lost_stale_or_torn_after_cuts_six_deep() {
    for seed in 0..u64::from(rounds(2500)) {
        for granule in [512, 4096] {
            let torn = TORN[seed as usize % TORN.len()];
            if torn == Torn::Spoiled && granule > 512 {
                continue;
            }
            history(seed, (torn, granule), None);
        }
    }
}

/// Each call of a run, each way to tear what is under way.
#[test]
fn nothing_is_lost_by_a_cut_at_any_call() {
    for torn in TORN {
        let calls = history(1, (torn, 512), Some(usize::MAX - 1));
        assert!(calls > 20, "{calls}");
        for first in 0..calls {
            for seed in 0..u64::from(rounds(8)) {
                history(seed << 8 | 1, (torn, 512), Some(first));
            }
        }
    }
}
