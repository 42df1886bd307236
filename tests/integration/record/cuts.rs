//! The power is cut at every call, or the process is killed, and what is there is compared with what was put; then it goes on
//! from that, several deep.

use proptest::prelude::{Rng, RngCore};
use proptest::test_runner::{RngAlgorithm, TestRng};
use rawmap_core::record::{Backing as _, Problem, Reader, Store};
use rawmap_core::{Error, Refused};
use rawmap_tests::{few_steps, rounds};

use super::medium::{Medium, TORN, Torn};
use super::model::{Context, End, Kept, LOGS, Model, PLAIN, SLOTS};
use super::{CUTS, NEXT};

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

/// A run of one process.
struct Run<'a> {
    model: &'a mut Model,
    random: &'a mut TestRng,
    number: &'a mut u32,
    /// How much shorter than they may be all are, where they are of one length.
    same: Option<usize>,
    torn: Torn,
    context: Context<'a>,
}

impl Run<'_> {
    /// Some changes and commits. Ends where the power was cut.
    fn go<const N: usize>(&mut self, store: &mut Store<Medium, N>) {
        let is_next = N == NEXT.parts().len();
        for _ in 0..30 {
            // Not of a record that was never committed, or one might be taken for the other.
            *self.number += 1;
            let was_lost = store.get_ref().is_lost();
            let done = match self.random.random_range(0..20) {
                0..7 => self.put(store),
                7..13 => self.append(store, is_next),
                13 if is_next => self.drop_oldest(store),
                14 if is_next => self.edit(store),
                // As somebody does who changes the map by himself.
                15 if self.random.random_ratio(1, 4) => {
                    let _ = store.get_mut();
                    store.get_ref().whole()
                }
                _ => self.commit(store),
            };
            // What it would read is not there.
            assert!(!was_lost || done.is_err(), "{}", (self.context)());
            if done.is_err() {
                self.mend(store);
            }
            if store.get_ref().cut.is_some() {
                return;
            }
        }
    }

    fn put<const N: usize>(&mut self, store: &mut Store<Medium, N>) -> Result<(), Error> {
        let which = self.random.random_range(0..2);
        let value = bytes(self.random, *self.number, [700, 40][which], self.same);
        let kept = &mut self.model.slots[which];
        kept.all.push(value.clone());
        let mut slots = store.slots(SLOTS[which]).unwrap();
        let put = slots.put(*self.number, &value);
        if put.is_err() {
            // What fails changes nothing.
            kept.all.pop();
            return put;
        }
        match slots.load() {
            Ok(found) => assert_eq!(found.unwrap().bytes, value),
            Err(lost) => return self.notice(lost),
        }
        Ok(())
    }

    /// Not each program looks whether all is there after each call: the next one has to.
    fn notice(&mut self, lost: Error) -> Result<(), Error> {
        if self.random.random_ratio(1, 2) {
            Err(lost)
        } else {
            Ok(())
        }
    }

    fn append<const N: usize>(
        &mut self,
        store: &mut Store<Medium, N>,
        is_next: bool,
    ) -> Result<(), Error> {
        let which = self.random.random_range(if is_next { 0..3 } else { 0..2 });
        let limit = match self.same {
            // Few fill a segment, and the head of the third is in another sector than that of the segment.
            Some(number) if number.is_multiple_of(2) => 490,
            // One fills a segment: batches are longer than the ring.
            None if self.random.random_ratio(1, 4) => 2000,
            None if self.random.random_ratio(1, 4) => 256,
            _ => 24,
        };
        let record = bytes(self.random, *self.number, limit, self.same);
        let kept = &mut self.model.logs[which];
        kept.all.push(record.clone());
        let mut log = store.log(LOGS[which]).unwrap();
        let appended = log.append(&record);
        if appended == Err(Error::Record(Problem::Full)) {
            assert_eq!(LOGS[which], "kept");
            kept.all.pop();
            return self.drop_oldest(store);
        }
        if appended.is_err() {
            kept.all.pop();
            return appended;
        }
        let own =
            |record: Option<Result<&[u8], Error>>| record.and_then(Result::ok).map(<[u8]>::to_vec);
        let (first, last) = (own(log.records().next()), own(log.records().last()));
        if let Err(lost) = store.get_ref().whole() {
            // Which are overwritten is seen when the page is there again.
            kept.begins_at(None);
            return self.notice(lost);
        }
        kept.begins_at(first.as_deref());
        assert_eq!(last, Some(record), "{} {}", (self.context)(), LOGS[which]);
        Ok(())
    }

    fn drop_oldest<const N: usize>(&mut self, store: &mut Store<Medium, N>) -> Result<(), Error> {
        let mut log = store.log("kept").unwrap();
        let before = log.records().count();
        if log.drop_oldest()? {
            let kept = &mut self.model.logs[2];
            let left: Vec<_> = log.records().flatten().map(<[u8]>::to_vec).collect();
            assert!(left.len() <= before || store.get_ref().is_lost());
            kept.begins_at(left.first().map(Vec::as_slice));
        }
        Ok(())
    }

    fn edit<const N: usize>(&mut self, store: &mut Store<Medium, N>) -> Result<(), Error> {
        let mut plain = self.model.plain.last().unwrap().clone();
        let offset = self.random.random_range(0..plain.len());
        let len = self.random.random_range(0..=plain.len() - offset);
        let place = store.edit(PLAIN, offset, len)?;
        self.random.fill_bytes(place);
        plain[offset..][..len].copy_from_slice(place);
        self.model.plain.push(plain);
        Ok(())
    }

    fn commit<const N: usize>(&mut self, store: &mut Store<Medium, N>) -> Result<(), Error> {
        let flushes = store.get_ref().flushes;
        let stored = store.commit();
        assert!(store.get_ref().flushes <= flushes + 2);
        if stored.is_ok() {
            self.committed(store);
        }
        stored
    }

    fn committed<const N: usize>(&mut self, store: &Store<Medium, N>) {
        if store.get_ref().cut.is_none() {
            self.model.commit(store.layout().version());
        }
    }

    /// After a call that failed: it goes on without what was lost, and stores what is in memory.
    fn mend<const N: usize>(&mut self, store: &mut Store<Medium, N>) {
        while let Err(error) = store.retry() {
            assert!(store.get_ref().is_lost(), "{}: {error}", (self.context)());
            store.get_mut().recover();
            let live = store.get_ref().live.clone();
            self.model.judge(&live, End::Lost, self.torn, self.context);
        }
        self.committed(store);
    }

    /// What the newer layout has beside the older one's.
    fn upgrade<const N: usize>(&mut self, store: &mut Store<Medium, N>) -> Result<(), Error> {
        *self.number += 1;
        let record = bytes(self.random, *self.number, 24, self.same);
        store.log("kept")?.append(&record)?;
        // The table comes after it.
        self.model.logs[2] = Kept {
            all: vec![record],
            committed: 1,
            gone: 0,
        };
        let place = store.edit(PLAIN, 0, 1)?;
        place[0] = 7;
        self.model.plain = vec![store.bytes(PLAIN)?.to_vec()];
        Ok(())
    }

    /// Opens the file, and goes on until the power is cut, or a while. `Err` where a cut left none of this layout before
    /// anything was ever stored.
    fn open<const N: usize>(
        &mut self,
        mut medium: Medium,
        mut open: impl FnMut(&mut Self, Medium) -> Result<Store<Medium, N>, Refused<Medium>>,
    ) -> Result<Medium, Error> {
        let is_next = N == NEXT.parts().len();
        loop {
            // What is there was not stored by this, if by anyone.
            let found = Reader::new(&medium.live).map(|reader| reader.bytes(PLAIN).is_ok());
            match open(self, medium) {
                Ok(mut store) => {
                    if store.get_ref().cut.is_none() {
                        // One that a killed process left is stored by the first commit.
                        self.model.is_open |= found.is_err();
                        self.model.is_upgraded |= is_next && found != Ok(true);
                        self.go(&mut store);
                    }
                    return Ok(store.into_inner());
                }
                Err(refused) if refused.map.check().is_err() => {
                    medium = refused.map;
                    medium.recover();
                    // More may be lost in it.
                    let _ = medium.retry();
                }
                Err(refused) => return Err(refused.error),
            }
        }
    }
}

/// Runs that end in a cut or a kill, one after the other on what the one before left. Returns how many calls the first made.
#[allow(clippy::result_large_err, reason = "it has the disk")]
fn history(seed: u64, torn: (Torn, usize), first: Option<usize>) -> usize {
    let mut random = random_of(seed);
    let mut model = Model::new();
    let zeros = vec![0; CUTS.len()];
    let (mut live, mut disk) = (zeros.clone(), zeros);
    let mut number = 0;
    let mut calls = 0;
    // From then on the program is a newer one.
    let upgrade = random.random_range(0..8);
    for depth in 0..6 {
        let is_newer = depth >= upgrade;
        if is_newer {
            live.resize(NEXT.len(), 0);
            disk.resize(NEXT.len(), 0);
        }
        let medium = Medium::new(live, disk, torn, random_of(random.next_u64()));
        let fuse = first
            .filter(|_| depth == 0)
            .or_else(|| Some(random.random_range(0..90)));
        medium.fuse.set(fuse);
        medium.may_fail.set(seed % 4 == 1);
        medium.may_lose.set(seed % 5 == 1);
        let context = || format!("seed {seed}, {torn:?}, first {first:?}, depth {depth}");
        let mut run = Run {
            model: &mut model,
            random: &mut random,
            number: &mut number,
            same: seed.is_multiple_of(3).then_some(seed as usize % 16),
            torn: torn.0,
            context: &context,
        };
        let opened = if is_newer {
            run.open(medium, |run, medium| {
                Store::upgrade(medium, NEXT, |store, _| run.upgrade(store))
            })
        } else {
            run.open(medium, |_, medium| Store::open(medium, CUTS))
        };
        let mut medium = match opened {
            Ok(medium) => medium,
            // Nothing was ever stored there.
            Err(error) if !model.is_open && (torn.0 == Torn::Spoiled || is_newer) => {
                assert_eq!(error, Error::Record(Problem::Foreign), "{}", context());
                return calls;
            }
            Err(error) => panic!("{}: {error}", context()),
        };
        calls = calls.max(if depth == 0 { medium.calls } else { 0 });
        let cut = medium.cut.take().unwrap_or_else(|| medium.cut());
        let end = match random.random_ratio(1, 4) {
            true if cut.is_lost => End::Lost,
            true => End::Kill,
            false => End::Cut,
        };
        (live, disk) = match end {
            End::Cut => (cut.image.clone(), cut.image),
            _ => (cut.live, cut.disk),
        };
        model.judge(&live, end, torn.0, &context);
    }
    calls
}

/// Opens a new file, or upgrades one.
#[allow(clippy::result_large_err, reason = "it has the disk")]
fn open_or_upgrade(medium: Medium, is_newer: bool) -> Result<Medium, Refused<Medium>> {
    fn change<const N: usize>(store: &mut Store<Medium, N>) {
        store.slots("two").unwrap().put(1, b"kept").unwrap();
        store.log("log").unwrap().append(b"kept").unwrap();
        store.commit().unwrap();
    }
    // The other calls of the test are to fail alone.
    let quiet = |store: &Medium| store.may_fail.set(false);
    if is_newer {
        let mut store = Store::upgrade(medium, NEXT, |store, _| {
            store.edit(PLAIN, 0, 1)?[0] = 7;
            Ok(())
        })?;
        quiet(store.get_ref());
        change(&mut store);
        Ok(store.into_inner())
    } else {
        let mut store = Store::open(medium, CUTS)?;
        quiet(store.get_ref());
        change(&mut store);
        Ok(store.into_inner())
    }
}

/// A program that cannot store the table gives the file up, and the next one finds it in memory, where the kernel takes it
/// for stored: what that one commits is there after a cut.
#[test]
fn a_table_that_was_not_stored_is_written_again() {
    let mut given_up = [0; 2];
    for seed in 0..400 {
        let mut random = random_of(seed);
        let is_newer = seed % 2 == 1;
        let zeros = vec![0; CUTS.len()];
        let old = Medium::new(zeros.clone(), zeros, (Torn::Not, 512), random_of(seed));
        let mut disk = match is_newer {
            true => Store::open(old, CUTS).unwrap().into_inner().live,
            false => old.live,
        };
        let len = if is_newer { NEXT.len() } else { CUTS.len() };
        disk.resize(len, 0);
        let random = random_of(random.next_u64());
        let mut medium = Medium::new(disk.clone(), disk, (Torn::Not, 512), random);
        medium.may_fail.set(true);
        let mut medium = loop {
            match open_or_upgrade(medium, is_newer) {
                Ok(medium) => break medium,
                Err(refused) => {
                    medium = refused.map;
                    given_up[usize::from(is_newer)] += 1;
                    medium.give_up();
                }
            }
        };
        let image = medium.cut().image;
        let reader = Reader::new(&image).unwrap_or_else(|lost| panic!("seed {seed}: {lost}"));
        assert_eq!(reader.table().version, if is_newer { 2 } else { 1 });
        let value = reader.load("two").unwrap().map(|value| value.bytes);
        assert_eq!(value, Some(&b"kept"[..]), "seed {seed}");
        assert_eq!(reader.records("log").unwrap().count(), 1, "seed {seed}");
        if is_newer {
            assert_eq!(reader.bytes(PLAIN).unwrap()[0], 7, "seed {seed}");
        }
        // Both copies: damage to either changes nothing.
        for copy in [0, 1024] {
            let mut image = image.clone();
            image[copy + 30] ^= 4;
            assert_eq!(
                Reader::new(&image).unwrap().table().version,
                if is_newer { 2 } else { 1 }
            );
        }
    }
    assert!(given_up.iter().all(|times| *times > 20), "{given_up:?}");
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

/// Each call of a run (with few rounds, each fifth), each way to tear what is under way.
#[test]
fn nothing_is_lost_by_a_cut_at_any_call() {
    for torn in TORN {
        let calls = history(1, (torn, 512), Some(usize::MAX - 1));
        assert!(calls > 20, "{calls}");
        for first in (0..calls).step_by(if few_steps() { 5 } else { 1 }) {
            for seed in 0..u64::from(rounds(8)) {
                history(seed << 8 | 1, (torn, 512), Some(first));
            }
        }
    }
}
