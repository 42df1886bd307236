//! A disk in memory, of which a power cut leaves what a real one could.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::RngCore;
use proptest::test_runner::TestRng;
use rawmap_core::Error;
use rawmap_core::record::Backing;

/// What a cut leaves of the writes that are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Torn {
    /// Nothing of them.
    Not,
    /// Each granule as it was before or as it is, at random.
    Any,
    /// The first ones, in the order of the disk.
    Prefix,
    /// The last ones.
    Suffix,
    /// At random, and one granule has neither.
    Spoiled,
}

pub(super) const TORN: [Torn; 5] = [
    Torn::Not,
    Torn::Any,
    Torn::Prefix,
    Torn::Suffix,
    Torn::Spoiled,
];

/// What is there when the power is cut, or the process is killed, before a call.
#[derive(Clone)]
pub(super) struct Cut {
    pub(super) image: Vec<u8>,
    pub(super) live: Vec<u8>,
    pub(super) disk: Vec<u8>,
    /// A page was lost: what was changed in it since is not there.
    pub(super) is_lost: bool,
}

/// Bytes that a program sees, and those that are on the disk.
#[derive(Clone)]
pub(super) struct Medium {
    pub(super) live: Vec<u8>,
    disk: Vec<u8>,
    /// What the disk writes in whole.
    granule: usize,
    torn: Torn,
    random: TestRng,
    /// So many calls until the power is cut.
    pub(super) fuse: Cell<Option<usize>>,
    /// What the cut left on the disk, and what memory had, with the disk, when it came: a process that is killed leaves these.
    pub(super) cut: Option<Cut>,
    pub(super) calls: usize,
    pub(super) flushes: usize,
    /// Whether a commit may fail; then all do, until a retry.
    pub(super) may_fail: Cell<bool>,
    failed: bool,
    /// Whether pages may be lost.
    pub(super) may_lose: Cell<bool>,
    /// Where such a page is, and what it had.
    lost: Option<(usize, Vec<u8>)>,
    /// What the kernel takes for stored, and is not.
    clean: BTreeSet<usize>,
}

const FAILED: Error = Error::Busy;

impl Medium {
    pub(super) fn new(live: Vec<u8>, disk: Vec<u8>, torn: (Torn, usize), random: TestRng) -> Self {
        let (torn, granule) = torn;
        Self {
            live,
            disk,
            granule,
            torn,
            random,
            fuse: Cell::new(None),
            cut: None,
            calls: 0,
            flushes: 0,
            may_fail: Cell::new(false),
            failed: false,
            may_lose: Cell::new(false),
            lost: None,
            clean: BTreeSet::new(),
        }
    }

    /// As another process finds it, when one whose commit failed has given it up.
    pub(super) fn give_up(&mut self) {
        self.clean = self.dirty().into_iter().collect();
        self.failed = false;
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// An error where what was read may be of a page that is lost.
    pub(super) fn whole(&self) -> Result<(), Error> {
        if self.is_lost() { self.check() } else { Ok(()) }
    }

    /// Shows a page that was lost as it was. What was changed in it meanwhile is not there.
    pub(super) fn recover(&mut self) {
        if let Some((at, bytes)) = self.lost.take() {
            self.live[at..][..bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// One that is stored reads as zeros.
    fn lose(&mut self) {
        let dirty = self.dirty();
        let at = self.below(self.live.len()) / self.granule * self.granule;
        if !dirty.contains(&at) && self.lost.is_none() {
            let range = self.range(at);
            self.lost = Some((at, self.live[range.clone()].to_vec()));
            self.live[range].fill(0);
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.next_u32() as usize % limit
    }

    /// Before each call: the power may be cut, and the kernel may write what it likes.
    fn at_call(&mut self) {
        self.calls += 1;
        let fuse = self.fuse.get();
        self.fuse.set(fuse.and_then(|left| left.checked_sub(1)));
        if fuse == Some(0) && self.cut.is_none() {
            self.cut = Some(self.cut());
        }
        if self.may_lose.get() && self.below(40) == 0 {
            self.lose();
        }
        if self.below(8) == 0 {
            let dirty = self.dirty();
            for at in dirty {
                if self.below(2) == 0 {
                    self.write(at);
                }
            }
        }
    }

    fn dirty(&self) -> Vec<usize> {
        let granules = (0..self.live.len()).step_by(self.granule);
        let is_lost = |at: &usize| self.lost.as_ref().is_some_and(|(lost, _)| lost == at);
        let differs = |at: &usize| self.live[self.range(*at)] != self.disk[self.range(*at)];
        granules
            .filter(|at| !is_lost(at) && differs(at) && !self.clean.contains(at))
            .collect()
    }

    fn range(&self, at: usize) -> std::ops::Range<usize> {
        at..self.live.len().min(at + self.granule)
    }

    fn write(&mut self, at: usize) {
        let range = self.range(at);
        self.disk[range.clone()].copy_from_slice(&self.live[range]);
    }

    /// What the disk has if the power is cut now.
    pub(super) fn cut(&mut self) -> Cut {
        let dirty = self.dirty();
        let part = self.below(dirty.len() + 1);
        let before = self.disk.clone();
        for (number, at) in dirty.iter().enumerate() {
            let is_written = match self.torn {
                Torn::Not => false,
                Torn::Any | Torn::Spoiled => self.below(2) == 0,
                Torn::Prefix => number < part,
                Torn::Suffix => number >= part,
            };
            if is_written {
                self.write(*at);
            }
        }
        if self.torn == Torn::Spoiled && !dirty.is_empty() {
            let at = dirty[self.below(dirty.len())];
            let range = self.range(at);
            self.random.fill_bytes(&mut self.disk[range]);
        }
        let image = std::mem::replace(&mut self.disk, before);
        let mut left = self.clone();
        left.recover();
        Cut {
            image,
            live: left.live,
            disk: left.disk,
            is_lost: self.is_lost(),
        }
    }
}

impl AsRef<[u8]> for Medium {
    fn as_ref(&self) -> &[u8] {
        &self.live
    }
}

impl Backing for Medium {
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        self.at_call();
        let granule = self.granule;
        self.clean
            .retain(|at| *at >= offset + len || at + granule <= offset);
        Ok(&mut self.live[offset..offset + len])
    }

    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        self.at_call();
        self.check()?;
        self.flushes += 1;
        if self.may_fail.get() && self.below(12) == 0 {
            // Some of it is written.
            self.failed = true;
            for at in self.dirty() {
                if self.below(2) == 0 {
                    self.write(at);
                }
            }
            return Err(FAILED);
        }
        for at in self.dirty() {
            if at < offset + len && offset < at + self.granule {
                self.write(at);
            }
        }
        Ok(())
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.commit(0, self.live.len())
    }

    fn check(&self) -> Result<(), Error> {
        match &self.lost {
            Some((at, _)) => Err(Error::Lost { offset: *at as u64 }),
            None if self.failed => Err(FAILED),
            None => Ok(()),
        }
    }

    fn retry(&mut self) -> Result<(), Error> {
        self.at_call();
        if self.lost.is_some() {
            return self.check();
        }
        self.failed = false;
        self.clean.clear();
        for at in self.dirty() {
            self.write(at);
        }
        Ok(())
    }
}
