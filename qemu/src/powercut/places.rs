//! Where the power is cut.

use std::collections::BTreeSet;

use anyhow::Result;
use oorandom::Rand64;
use serde::Deserialize;

use super::log::Log;

/// What becomes of the writes that no flush has made durable.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// None of them is there.
    Strict,
    /// Each is there or not.
    Random,
    /// Of each, some sectors are there.
    Torn,
}

impl Kind {
    /// All, in the order of the report.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Random, Self::Torn];

    /// As expected.toml has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Random => "random",
            Self::Torn => "torn",
        }
    }
}

/// A power cut, made from a seed and its number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cut {
    /// Which one of its run.
    pub number: u32,
    /// How many entries of the log were made before.
    pub entries: usize,
    pub kind: Kind,
}

/// The places of a run where its power can be cut, as counts of entries, each list in an order that the seed gives. Cuts
/// take them one after the other, so that few leave the same image.
#[derive(Debug)]
pub struct Places {
    /// Where something was acknowledged: there the most has to hold.
    acks: Vec<usize>,
    /// One between each two flushes; first those between which nothing was acknowledged.
    strict: Vec<usize>,
    /// Where several unflushed writes would change something.
    random: Vec<usize>,
    /// Where several parts of unflushed writes would.
    torn: Vec<usize>,
}

/// What unflushed writes would change at a place.
struct Change {
    place: usize,
    writes: usize,
    /// Atoms.
    parts: usize,
}

impl Places {
    /// Those of a log, of which the workload began at `ready`, on a disk that had these bytes before it and writes so many
    /// of them all or not at all.
    pub fn new(
        log: &Log,
        base: &[u8],
        flash: bool,
        atom: usize,
        ready: usize,
        acks: Vec<usize>,
        seed: u64,
    ) -> Result<Self> {
        let mut random = Rand64::new(u128::from(seed));
        let changes = if flash {
            // Each write is durable there, but for the one under way.
            let change = |place: usize| Change {
                place,
                writes: place.min(1) * 2,
                parts: place.min(1) * 2,
            };
            (ready..=log.entries.len()).map(change).collect()
        } else {
            changes(log, base, atom, ready)?
        };
        let durable = |place: usize| if flash { place } else { log.flushed(place) };
        let mut all: Vec<usize> = (ready..=log.entries.len()).collect();
        shuffle(&mut all, &mut random);
        let mut seen = BTreeSet::new();
        all.retain(|place| seen.insert(durable(*place)));
        let acked: BTreeSet<usize> = acks.iter().map(|place| durable(*place)).collect();
        all.sort_by_key(|place| acked.contains(&durable(*place)));
        let mut places = |list: [Vec<usize>; 3]| {
            let mut some = list.into_iter().find(|some| !some.is_empty());
            if let Some(some) = &mut some {
                shuffle(some, &mut random);
            }
            some.unwrap_or_default()
        };
        let of = |enough: &dyn Fn(&Change) -> bool| -> Vec<usize> {
            let found = changes.iter().filter(|change| enough(change));
            found.map(|change| change.place).collect()
        };
        let (one, any) = (of(&|change| change.parts > 0), of(&|_| true));
        Ok(Self {
            acks: places([acks, any.clone(), Vec::new()]),
            random: places([of(&|change| change.writes > 1), one.clone(), any.clone()]),
            torn: places([of(&|change| change.parts > 1), one, any]),
            strict: all,
        })
    }
}

/// What unflushed writes would change at each place.
fn changes(log: &Log, base: &[u8], atom: usize, ready: usize) -> Result<Vec<Change>> {
    let mut durable = base.to_vec();
    let mut pending: Vec<(usize, Vec<u8>)> = Vec::new();
    let (mut writes, mut parts) = (0, 0);
    let mut changes = Vec::new();
    for place in 0..=log.entries.len() {
        if let Some(entry) = place.checked_sub(1).and_then(|last| log.entries.get(last)) {
            let (start, data) = (usize::try_from(entry.offset)?, log.data(entry)?);
            if entry.is_flush {
                (writes, parts) = (0, 0);
                pending.push((start, data));
                for (start, data) in pending.drain(..) {
                    durable[start..start + data.len()].copy_from_slice(&data);
                }
            } else {
                let old = &mut durable[start..start + data.len()];
                if entry.is_fua {
                    old.copy_from_slice(&data);
                }
                let parts_of = data.chunks(atom).zip(old.chunks(atom));
                let differ = parts_of.filter(|(new, old)| new != old).count();
                writes += differ.min(1);
                parts += differ;
                pending.push((start, data));
            }
        }
        if place >= ready {
            changes.push(Change {
                place,
                writes,
                parts,
            });
        }
    }
    Ok(changes)
}

fn shuffle(list: &mut [usize], random: &mut Rand64) {
    for last in (1..list.len()).rev() {
        list.swap(last, random.rand_range(0..last as u64 + 1) as usize);
    }
}

impl Cut {
    /// The cut of that number.
    pub fn new(number: u32, places: &Places) -> Self {
        let (kind, from, of_eight, which) = match number % 8 {
            which @ (0 | 1) => (Kind::Strict, &places.acks, 2, which),
            2 => (Kind::Strict, &places.strict, 1, 0),
            which @ (3 | 4) => (Kind::Random, &places.random, 2, which - 3),
            which => (Kind::Torn, &places.torn, 3, which - 5),
        };
        let turn = (number / 8 * of_eight + which) as usize;
        Self {
            number,
            entries: from.get(turn % from.len().max(1)).copied().unwrap_or(0),
            kind,
        }
    }

    /// The numbers that say what of unflushed writes is there.
    pub fn random(self, seed: u64) -> Rand64 {
        Rand64::new(u128::from(seed) << 32 | u128::from(self.number))
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Strict => "all unflushed writes dropped",
            Kind::Random => "unflushed writes dropped at random",
            Kind::Torn => "unflushed writes torn",
        };
        write!(
            f,
            "cut {} after entry {}, {kind}",
            self.number, self.entries
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::SECTOR;
    use super::super::log::tests::log;
    use super::*;

    /// Three writes and a flush, over and over; acknowledged are the flushes.
    fn places(seed: u64) -> (Places, Log, Vec<usize>) {
        let data: Vec<[u8; 1024]> = (1..=10).map(|byte| [byte; 1024]).collect();
        let mut entries: Vec<(u64, &[u8], u64)> = Vec::new();
        for data in &data {
            let flush: (u64, &[u8], u64) = (0, &[], 1);
            entries.extend([(0, &data[..], 0), (2, data, 0), (2, data, 0), flush]);
        }
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), log(&entries)).unwrap();
        let mut log = Log::open(path.path(), 8 * SECTOR).unwrap();
        log.refresh().unwrap();
        let acks: Vec<usize> = (8..=40).step_by(4).collect();
        let base = vec![0; 8 * SECTOR as usize];
        let places = Places::new(&log, &base, false, 512, 5, acks.clone(), seed).unwrap();
        (places, log, acks)
    }

    #[test]
    fn a_number_makes_a_cut_of_each_kind() {
        let (seven, log, acks) = places(7);
        let (mut kinds, mut seen) = ([0; 3], [(); 3].map(|()| BTreeSet::new()));
        for number in 0..800 {
            let cut = Cut::new(number, &seven);
            assert_eq!(cut, Cut::new(number, &places(7).0));
            assert!((5..=40).contains(&cut.entries));
            kinds[cut.kind as usize] += 1;
            seen[cut.kind as usize].insert(cut.entries);
            let left = cut.entries - log.flushed(cut.entries);
            match cut.kind {
                // Two of three are where something was acknowledged.
                Kind::Strict => assert!(number % 8 == 2 || acks.contains(&cut.entries), "{cut}"),
                // What drops or tears has something to drop or tear: two writes, or two sectors.
                Kind::Random => assert!(left > 1, "{cut}"),
                Kind::Torn => assert!(left > 0, "{cut}"),
            }
        }
        assert_eq!(kinds, [300, 200, 300]);
        // Every place where there is something is cut; a strict cut leaves the same all along between two flushes.
        assert!(seen[0].len() >= 10, "{seen:?}");
        assert_eq!(seen[1].len(), 18, "{seen:?}");
        assert_eq!(seen[2].len(), 27, "{seen:?}");
        let (eight, ..) = places(8);
        assert!((0..40).any(|number| Cut::new(number, &seven) != Cut::new(number, &eight)));
    }

    #[test]
    fn a_place_comes_again_when_all_have_come() {
        let (places, log, _) = places(7);
        let cuts = |kind: Kind, count: usize| -> Vec<usize> {
            let cuts = (0..800).map(|number| Cut::new(number, &places));
            let cuts = cuts.filter(|cut| cut.kind == kind).take(count);
            cuts.map(|cut| cut.entries).collect()
        };
        let different = |list: Vec<usize>| list.into_iter().collect::<BTreeSet<_>>().len();
        assert_eq!(different(cuts(Kind::Random, 18)), 18);
        assert_eq!(different(cuts(Kind::Torn, 27)), 27);
        // All acknowledgements, and all prefixes that are durable at some time.
        let strict = cuts(Kind::Strict, 30).into_iter();
        let durable = strict.map(|place| log.flushed(place)).collect();
        assert_eq!(different(durable), 10);
    }
}
