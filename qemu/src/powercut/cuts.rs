//! Where the power is cut, and what the medium has then.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use oorandom::Rand64;
use sha2::{Digest as _, Sha256};

use super::log::{Entry, Log};

/// What becomes of the writes that no flush has made durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// None of them is there.
    Strict,
    /// Each is there or not.
    Random,
    /// Of each, some sectors are there.
    Torn,
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

/// The places of a run where its power can be cut, as counts of entries.
#[derive(Debug)]
pub struct Places {
    /// All from the first step on.
    all: Vec<usize>,
    /// Where something was acknowledged: there the most has to hold.
    acks: Vec<usize>,
    /// Where a write was not durable yet: elsewhere there is nothing to drop or tear.
    pending: Vec<usize>,
    /// Where several were not.
    several: Vec<usize>,
}

impl Places {
    /// Those of a log, of which the workload began at `ready`.
    pub fn new(log: &Log, flash: bool, ready: usize, acks: Vec<usize>) -> Self {
        let all: Vec<usize> = (ready..=log.entries.len()).collect();
        let mut flushed = log.flushed(ready);
        let (mut pending, mut several) = (Vec::new(), Vec::new());
        for &place in &all {
            if place > ready && log.entries[place - 1].is_flush {
                flushed = place;
            }
            // On flash each write is durable, but for the one under way.
            let left = if flash { place.min(1) } else { place - flushed };
            if left > 0 {
                pending.push(place);
            }
            if left > 1 {
                several.push(place);
            }
        }
        Self {
            all,
            acks,
            pending,
            several,
        }
    }
}

impl Cut {
    /// The cut of that number.
    pub fn new(seed: u64, number: u32, places: &Places) -> Self {
        let (kind, wanted) = match number % 8 {
            0 | 2 => (Kind::Strict, &places.acks),
            1 | 3 => (Kind::Strict, &places.all),
            4 => (Kind::Random, &places.pending),
            5 => (Kind::Random, &places.several),
            6 => (Kind::Torn, &places.pending),
            _ => (Kind::Torn, &places.several),
        };
        let mut from = [wanted, &places.pending, &places.all].into_iter();
        let from = from.find(|some| !some.is_empty()).unwrap_or(&places.all);
        let which = Self::random(seed, number).rand_range(0..from.len().max(1) as u64);
        Self {
            number,
            entries: from.get(which as usize).copied().unwrap_or(0),
            kind,
        }
    }

    fn random(seed: u64, number: u32) -> Rand64 {
        Rand64::new(u128::from(seed) << 32 | u128::from(number))
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

/// SHA-256.
pub type Sum = [u8; 32];

/// A disk in memory: what is durable by some entry of the log.
pub struct Medium<'a> {
    log: &'a Log,
    bytes: Vec<u8>,
    /// Blocks that are not all zero, perhaps.
    used: Vec<bool>,
    /// Entries that are in `bytes`.
    done: usize,
    /// Flash has no volatile cache, so each write that was made is there.
    flash: bool,
    /// Bytes that are written all or not at all.
    atom: usize,
}

const BLOCK: usize = 4096;

impl<'a> Medium<'a> {
    /// As it was before the first entry.
    pub fn new(log: &'a Log, bytes: Vec<u8>, flash: bool, atom: usize) -> Self {
        Self {
            log,
            used: used(&bytes),
            bytes,
            done: 0,
            flash,
            atom,
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let start = offset as usize;
        self.bytes[start..start + data.len()].copy_from_slice(data);
        for block in start / BLOCK..(start + data.len()).div_ceil(BLOCK) {
            self.used[block] = true;
        }
    }

    /// How many entries were durable when the power was cut.
    pub fn durable(&self, cut: Cut) -> usize {
        match (self.flash, cut.kind) {
            (false, _) => self.log.flushed(cut.entries),
            (true, Kind::Strict) => cut.entries,
            // The last one was under way.
            (true, _) => cut.entries.saturating_sub(1),
        }
    }

    /// Sorts cuts as [`cut`](Self::cut) wants them: what is durable only grows.
    pub fn sort(&self, cuts: &mut [Cut]) {
        cuts.sort_by_key(|cut| (cut.entries, self.durable(*cut)));
    }

    /// Writes what a cut leaves to an empty file, and gives a checksum of that. Cuts come in the order of
    /// [`sort`](Self::sort).
    pub fn cut(&mut self, cut: Cut, seed: u64, image: &File) -> Result<Sum> {
        let log = self.log;
        let durable = self.durable(cut);
        ensure!(durable >= self.done, "{cut}: comes too late");
        for entry in &log.entries[self.done..durable] {
            let data = log.data(entry)?;
            self.write(entry.offset, &data);
        }
        self.done = durable;
        // And some of the others, which are taken back afterwards.
        let mut undo = Vec::new();
        let mut random = Cut::random(seed, cut.number);
        // Those that said where the cut is.
        random.rand_u64();
        for entry in &log.entries[durable..cut.entries] {
            let data = log.data(entry)?;
            for (offset, part) in self.kept(entry, &data, cut.kind, &mut random) {
                let start = offset as usize;
                undo.push((offset, self.bytes[start..start + part.len()].to_vec()));
                self.write(offset, part);
            }
        }
        image.set_len(self.bytes.len() as u64)?;
        save(&self.bytes, &self.used, image, 0)?;
        let sum = self.sum();
        for (offset, old) in undo.iter().rev() {
            self.write(*offset, old);
        }
        Ok(sum)
    }

    /// Of all that is not zero, and where. File systems have CRCs of their own in their blocks, so a CRC of the whole
    /// could be that of another image.
    fn sum(&self) -> Sum {
        let mut sum = Sha256::new();
        let blocks = (0_u64..).zip(self.bytes.chunks(BLOCK)).zip(&self.used);
        for ((number, block), _) in blocks.filter(|(_, used)| **used) {
            if block.iter().any(|byte| *byte != 0) {
                sum.update(number.to_le_bytes());
                sum.update(block);
            }
        }
        sum.finalize().into()
    }

    /// What is there of a write that no flush made durable, as offsets on the disk and bytes.
    fn kept<'d>(
        &self,
        entry: &Entry,
        data: &'d [u8],
        kind: Kind,
        random: &mut Rand64,
    ) -> Vec<(u64, &'d [u8])> {
        let mut coin = || random.rand_u64() & 1 == 1;
        if entry.is_fua {
            return vec![(entry.offset, data)];
        }
        if self.flash {
            // Programmed from the front, up to somewhere.
            let len = random.rand_range(0..data.len() as u64 + 1) as usize;
            return vec![(entry.offset, &data[..len])];
        }
        match kind {
            Kind::Strict => Vec::new(),
            Kind::Random if coin() => vec![(entry.offset, data)],
            Kind::Random => Vec::new(),
            Kind::Torn => {
                let parts = (entry.offset..)
                    .step_by(self.atom)
                    .zip(data.chunks(self.atom));
                parts.filter(|_| coin()).collect()
            }
        }
    }
}

/// Copies an image behind others, without its holes.
pub fn append(image: &Path, all: &File, at: u64) -> Result<()> {
    let bytes = std::fs::read(image)?;
    save(&bytes, &used(&bytes), all, at)
}

/// The blocks that are not all zero.
fn used(bytes: &[u8]) -> Vec<bool> {
    let some = |block: &[u8]| block.iter().any(|byte| *byte != 0);
    bytes.chunks(BLOCK).map(some).collect()
}

/// Writes the used blocks.
fn save(bytes: &[u8], used: &[bool], image: &File, at: u64) -> Result<()> {
    let mut block = 0;
    while block < used.len() {
        let len = used[block..].iter().take_while(|used| **used).count();
        if len > 0 {
            let (start, end) = (block * BLOCK, (block + len) * BLOCK);
            image.write_all_at(&bytes[start..end.min(bytes.len())], at + start as u64)?;
        }
        block += len.max(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::log::SECTOR;
    use super::super::log::tests::log;
    use super::*;
    use std::collections::BTreeSet;

    const END: usize = 3;

    /// What a cut after all entries leaves of three sectors.
    fn left(
        entries: &[(u64, &[u8], u64)],
        first: u8,
        kind: Kind,
        flash: bool,
        number: u32,
    ) -> Vec<u8> {
        let disk = vec![first; END * SECTOR as usize];
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), log(entries)).unwrap();
        let mut log = Log::open(path.path(), disk.len() as u64).unwrap();
        let entries = log.refresh().unwrap();
        let cut = Cut {
            number,
            entries,
            kind,
        };
        let mut medium = Medium::new(&log, disk.clone(), flash, SECTOR as usize);
        let image = tempfile::NamedTempFile::new().unwrap();
        let sum = medium.cut(cut, 1, image.as_file()).unwrap();
        // The second time it is the same: what was not durable was taken back.
        let again = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(medium.cut(cut, 1, again.as_file()).unwrap(), sum);
        let bytes = std::fs::read(image.path()).unwrap();
        assert_eq!(bytes, std::fs::read(again.path()).unwrap());
        bytes
    }

    fn sectors(bytes: &[u8]) -> Vec<u8> {
        bytes
            .chunks(SECTOR as usize)
            .map(|sector| sector[0])
            .collect()
    }

    #[test]
    fn unflushed_writes_may_be_there_or_not() {
        let (one, two) = ([1; 512], [2; 1024]);
        let flushed: (u64, &[u8], u64) = (0, &[], 1);
        let entries = [(0, &one[..], 0), flushed, (1, &two, 0)];
        let seen = |kind: Kind| -> BTreeSet<Vec<u8>> {
            (0..100)
                .map(|number| sectors(&left(&entries, 0, kind, false, number)))
                .collect()
        };
        assert_eq!(seen(Kind::Strict), BTreeSet::from([vec![1, 0, 0]]));
        let whole = BTreeSet::from([vec![1, 0, 0], vec![1, 2, 2]]);
        assert_eq!(seen(Kind::Random), whole);
        let parts = BTreeSet::from([vec![1, 0, 2], vec![1, 2, 0]]);
        assert_eq!(seen(Kind::Torn), &whole | &parts);
        // A write that is durable by itself.
        let fua = [(0, &one[..], 2), (1, &two, 0)];
        assert_eq!(sectors(&left(&fua, 0, Kind::Strict, false, 0)), [1, 0, 0]);
    }

    #[test]
    fn an_image_is_known_by_its_bytes_and_not_by_how_they_came() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let log = Log::open(path.path(), 3 * BLOCK as u64).unwrap();
        let medium = |bytes: &[u8]| Medium::new(&log, bytes.to_vec(), false, 512);
        let mut bytes = vec![0; 3 * BLOCK];
        bytes[BLOCK + 7] = 1;
        let mut written = medium(&vec![0; 3 * BLOCK]);
        written.write(0, &[5; 3]);
        written.write(BLOCK as u64 + 7, &[1]);
        written.write(0, &[0; 3]);
        assert_eq!(written.sum(), medium(&bytes).sum());
        // The same block in another place.
        bytes.rotate_right(BLOCK);
        assert_ne!(written.sum(), medium(&bytes).sum());
    }

    #[test]
    fn flash_keeps_all_but_a_part_of_the_last_program() {
        let (one, two) = ([1; 512], [2; 1024]);
        let entries = [(0, &one[..], 0), (1, &two, 0)];
        let strict = left(&entries, 0xFF, Kind::Strict, true, 0);
        assert_eq!(sectors(&strict), [1, 2, 2]);
        for number in 0..50 {
            let torn = left(&entries, 0xFF, Kind::Torn, true, number);
            let programmed = torn.iter().take_while(|byte| **byte != 0xFF).count();
            assert!(torn[programmed..].iter().all(|byte| *byte == 0xFF) && programmed >= 512);
        }
    }

    /// Among others and alone, a cut leaves the same.
    #[test]
    fn a_cut_is_the_same_in_any_company() {
        let data: Vec<[u8; 1024]> = (0..20).map(|byte| [byte; 1024]).collect();
        let mut entries: Vec<(u64, &[u8], u64)> = Vec::new();
        for (number, data) in (0..).zip(&data) {
            entries.push((number % 5, data, 0));
            if number % 4 == 3 {
                entries.push((0, &[], 1));
            }
        }
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), super::super::log::tests::log(&entries)).unwrap();
        let disk = vec![0xFF; 8 * SECTOR as usize];
        let mut log = Log::open(path.path(), disk.len() as u64).unwrap();
        let end = log.refresh().unwrap();
        let image = |medium: &mut Medium<'_>, cut: Cut| {
            let image = tempfile::NamedTempFile::new().unwrap();
            medium.cut(cut, 3, image.as_file()).unwrap();
            std::fs::read(image.path()).unwrap()
        };
        for flash in [false, true] {
            let mut medium = Medium::new(&log, disk.clone(), flash, SECTOR as usize);
            let places = Places::new(&log, flash, 0, vec![4, 5, 9, 20, end]);
            let mut cuts: Vec<_> = (0..200)
                .map(|number| Cut::new(3, number, &places))
                .collect();
            medium.sort(&mut cuts);
            for cut in cuts {
                let alone = image(
                    &mut Medium::new(&log, disk.clone(), flash, SECTOR as usize),
                    cut,
                );
                assert_eq!(image(&mut medium, cut), alone, "{cut}");
            }
        }
    }

    #[test]
    fn a_seed_and_a_number_make_a_cut() {
        let data = [1; 512];
        // Three writes and a flush, over and over; acknowledged are the flushes.
        let mut entries: Vec<(u64, &[u8], u64)> = Vec::new();
        for _ in 0..10 {
            entries.extend([(0, &data[..], 0), (1, &data, 0), (2, &data, 0), (0, &[], 1)]);
        }
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), log(&entries)).unwrap();
        let mut log = Log::open(path.path(), 8 * SECTOR).unwrap();
        log.refresh().unwrap();
        let acks: Vec<usize> = (8..=40).step_by(4).collect();
        let places = Places::new(&log, false, 5, acks.clone());
        let cut = |seed, number| Cut::new(seed, number, &places);
        let mut seen = BTreeSet::new();
        for number in 0..400 {
            let one = cut(7, number);
            assert_eq!(one, cut(7, number));
            seen.insert(one.entries);
            assert!((5..=40).contains(&one.entries));
            // What drops or tears has something to drop or tear.
            let left = one.entries - log.flushed(one.entries);
            match number % 8 {
                0 | 2 => assert!(acks.contains(&one.entries)),
                4 | 6 => assert!(left > 0 && one.kind != Kind::Strict, "{one}"),
                5 | 7 => assert!(left > 1 && one.kind != Kind::Strict, "{one}"),
                _ => {}
            }
        }
        assert_eq!(seen.len(), 36, "every place is cut");
        assert_ne!(cut(7, 1), cut(8, 1));
    }
}
