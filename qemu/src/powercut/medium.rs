//! What the medium has after a cut.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use sha2::{Digest as _, Sha256};

use super::log::Log;
use super::places::{Cut, Kind};

/// SHA-256.
pub type Sum = [u8; 32];

/// What a cut left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Left {
    /// The image's checksum.
    pub sum: Sum,
    /// It is not what a strict cut at that place leaves; on flash, not what one before the write under way does.
    pub differs: bool,
}

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

    /// Writes what a cut leaves to an empty file. Cuts come in the order of [`sort`](Self::sort).
    pub fn cut(&mut self, cut: Cut, seed: u64, image: &File) -> Result<Left> {
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
        for part in self.kept(cut, seed)? {
            undo.push((part.offset, self.at(part.offset, part.bytes.len()).to_vec()));
            self.write(part.offset, &part.bytes);
        }
        image.set_len(self.bytes.len() as u64)?;
        save(&self.bytes, &self.used, image, 0)?;
        let sum = self.sum();
        let left = |(offset, old): &(u64, Vec<u8>)| self.at(*offset, old.len()).to_vec();
        let left: Vec<_> = undo.iter().map(left).collect();
        for (offset, old) in undo.iter().rev() {
            self.write(*offset, old);
        }
        let mut parts = undo.iter().zip(left);
        let differs = parts.any(|((offset, _), left)| self.at(*offset, left.len()) != left);
        Ok(Left { sum, differs })
    }

    fn at(&self, offset: u64, len: usize) -> &[u8] {
        &self.bytes[offset as usize..offset as usize + len]
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

    /// What is there of the writes that no flush made durable. Where several parts would change something, some do and some
    /// do not; where one would, it does.
    fn kept(&self, cut: Cut, seed: u64) -> Result<Vec<Part>> {
        let mut random = cut.random(seed);
        let mut parts = Vec::new();
        for entry in &self.log.entries[self.durable(cut)..cut.entries] {
            let mut data = self.log.data(entry)?;
            if self.flash {
                // Programmed from the front, up to somewhere.
                data.truncate(random.rand_range(0..data.len() as u64 + 1) as usize);
            }
            let (len, is_free) = match cut.kind {
                _ if self.flash || entry.is_fua => (data.len(), false),
                Kind::Strict => continue,
                Kind::Random => (data.len(), true),
                Kind::Torn => (self.atom, true),
            };
            let offsets = (entry.offset..).step_by(len.max(1));
            for (offset, bytes) in offsets.zip(data.chunks(len.max(1))) {
                let start = offset as usize;
                parts.push(Part {
                    offset,
                    bytes: bytes.to_vec(),
                    is_kept: !is_free || random.rand_u64() & 1 == 1,
                    counts: is_free && self.bytes[start..start + bytes.len()] != *bytes,
                });
            }
        }
        let mut counted: Vec<_> = parts.iter_mut().filter(|part| part.counts).collect();
        let all_alike =
            |parts: &[&mut Part]| parts.iter().all(|part| part.is_kept == parts[0].is_kept);
        if let [one] = &mut counted[..] {
            // Without it, that is a strict cut.
            one.is_kept = true;
        } else if counted.len() > 1 && all_alike(&counted) {
            let other = random.rand_range(0..counted.len() as u64) as usize;
            counted[other].is_kept ^= true;
        }
        parts.retain(|part| part.is_kept);
        Ok(parts)
    }
}

/// A part of a write that no flush made durable.
struct Part {
    /// On the disk.
    offset: u64,
    bytes: Vec<u8>,
    is_kept: bool,
    /// It may be left out, and the disk has other bytes there.
    counts: bool,
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
    use super::super::places::Places;
    use super::*;
    use std::collections::BTreeSet;

    const END: usize = 3;

    /// What a cut after all entries leaves of three sectors, and whether that differs from a strict cut.
    fn left(
        entries: &[(u64, &[u8], u64)],
        first: u8,
        kind: Kind,
        flash: bool,
        number: u32,
    ) -> (Vec<u8>, bool) {
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
        let left = medium.cut(cut, 1, image.as_file()).unwrap();
        // The second time it is the same: what was not durable was taken back.
        let again = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(medium.cut(cut, 1, again.as_file()).unwrap(), left);
        let bytes = std::fs::read(image.path()).unwrap();
        assert_eq!(bytes, std::fs::read(again.path()).unwrap());
        (bytes, left.differs)
    }

    fn sectors(bytes: &[u8]) -> Vec<u8> {
        bytes
            .chunks(SECTOR as usize)
            .map(|sector| sector[0])
            .collect()
    }

    #[test]
    fn unflushed_writes_may_be_there_or_not() {
        let (one, two, old) = ([1; 512], [2; 1024], [0; 512]);
        let flushed: (u64, &[u8], u64) = (0, &[], 1);
        let seen = |entries: &[(u64, &[u8], u64)], kind: Kind| -> BTreeSet<Vec<u8>> {
            let left = (0..100).map(|number| left(entries, 0, kind, false, number));
            left.map(|(bytes, differs)| {
                assert_eq!(sectors(&bytes) != [1, 0, 0], differs);
                sectors(&bytes)
            })
            .collect()
        };
        let entries = [(0, &one[..], 0), flushed, (1, &two, 0)];
        let strict = BTreeSet::from([vec![1, 0, 0]]);
        assert_eq!(seen(&entries, Kind::Strict), strict);
        assert_eq!(
            seen(&entries, Kind::Random),
            BTreeSet::from([vec![1, 2, 2]])
        );
        let parts = BTreeSet::from([vec![1, 0, 2], vec![1, 2, 0]]);
        assert_eq!(seen(&entries, Kind::Torn), parts);
        // Of several that would change something, some are there and some are not.
        let entries = [
            (0, &one[..], 0),
            flushed,
            (1, &two[..512], 0),
            (0, &one, 0),
            (2, &two[..512], 0),
        ];
        assert_eq!(seen(&entries, Kind::Random), parts);
        // What would change nothing counts for nothing.
        let entries = [(0, &one[..], 0), flushed, (1, &two[..512], 0), (2, &old, 0)];
        assert_eq!(seen(&entries, Kind::Torn), BTreeSet::from([vec![1, 2, 0]]));
        // A write that is durable by itself.
        let fua = [(0, &one[..], 2), (1, &two, 0)];
        for kind in Kind::ALL {
            let number_is_any = left(&fua, 0, kind, false, 0).0;
            assert_eq!(number_is_any[..512], one, "{kind:?}");
        }
        assert_eq!(sectors(&left(&fua, 0, Kind::Strict, false, 0).0), [1, 0, 0]);
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
        assert_eq!(sectors(&strict.0), [1, 2, 2]);
        for number in 0..50 {
            let torn = left(&entries, 0xFF, Kind::Torn, true, number).0;
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
            let acks = vec![4, 5, 9, 20, end];
            let places = Places::new(&log, &disk, flash, 512, 0, acks, 3).unwrap();
            let mut cuts: Vec<_> = (0..200).map(|number| Cut::new(number, &places)).collect();
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
}
