//! The state of a walk: the file, what is open of it and mapped, and what has happened.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use rawmap_tests::disk::{On, fill_with};
use rawmap_tests::model::Model;

use crate::end;
use crate::ground::{Ground, open};
use crate::limit::Limits;
use crate::memory::Anon;
use crate::refuse::Times;
use crate::step::{Against, At, EVENTS, Limit, PAGES, Refused, SLOTS, Step};
use crate::subject::Subject;

/// Pages of the file when a walk begins.
pub const PAGES_AT_START: usize = 8;

pub fn page() -> usize {
    rawmap::page_size().expect("the kernel tells it").get()
}

/// An open file, and a number to know it by: the kernel tells a failure once for each.
pub struct Opened {
    pub file: File,
    pub id: usize,
}

pub struct Mapped {
    pub subject: Subject,
    /// Which slot's open file it was made of, and the number of that.
    pub file: usize,
    pub id: usize,
    /// Its first byte in the file.
    pub first: usize,
    pub contained: bool,
    /// What is written there is no one else's.
    pub private: bool,
    /// Of a private map, what was written to its bytes.
    pub written: std::collections::BTreeMap<usize, u8>,
    /// No failure was told to another map of the same open file: what it says of the medium is so.
    pub trusted: bool,
    pub failed: bool,
    /// More than one VMA.
    pub split: bool,
    /// It was, and may be.
    pub locked: bool,
    /// Ranges of the file that a commit has to store.
    pub pending: Vec<std::ops::Range<usize>>,
    /// Ranges that were written beside a commit, and with what: it stored them, or the next one has to. Another map may have
    /// changed them by then.
    pub beside: Vec<(std::ops::Range<usize>, u8)>,
    /// By page of the map: it was replaced by memory.
    pub replaced: Vec<bool>,
    /// The page of a loss that was not acknowledged.
    pub lost: Option<usize>,
    /// There was a loss at some time.
    pub had_loss: bool,
    /// By page: 0 for no access, 1 for loads, 2 for stores.
    pub may: Vec<u8>,
}

impl Mapped {
    pub fn pages(&self) -> usize {
        let head = self.first % page();
        (head + self.subject.len().max(1)).div_ceil(page())
    }

    /// The pages that hold these bytes have not what was written there.
    pub fn forget_written(&mut self, offset: usize, len: usize) {
        if len > 0 {
            let pages = self.page_range(offset, len);
            let head = self.first % page();
            self.written
                .retain(|at, _| !pages.contains(&((head + at) / page())));
        }
    }

    /// After the length changed.
    pub fn fit(&mut self) {
        let pages = self.pages();
        let last = self.may.last().copied().unwrap_or(2);
        self.may.resize(pages, last);
        self.replaced.resize(pages, false);
        let len = self.subject.len();
        self.written.retain(|at, _| *at < len);
    }

    /// The pages of the map that hold some of its bytes.
    pub fn page_range(&self, offset: usize, len: usize) -> std::ops::Range<usize> {
        let head = self.first % page();
        (head + offset) / page()..(head + offset + len).div_ceil(page())
    }

    /// Where the page of the map begins in the file.
    pub fn place(&self, number: usize) -> usize {
        self.first / page() * page() + number * page()
    }

    /// From the first page that was replaced to the last.
    pub fn hull(&self) -> Option<std::ops::Range<usize>> {
        if self.private && self.lost.is_none() {
            // Over when it is acknowledged.
            return None;
        }
        let first = self.replaced.iter().position(|replaced| *replaced)?;
        let last = self.replaced.iter().rposition(|replaced| *replaced)?;
        Some(first..last + 1)
    }
}

#[derive(Default)]
pub struct Causes {
    /// By event, whether it has happened.
    pub happened: [bool; EVENTS.len()],
    pub fails: bool,
    pub failed: bool,
    pub was_out: bool,
    pub full: bool,
    pub was_full: bool,
    pub truncated: bool,
    pub holes: bool,
    pub nobody: bool,
    pub refused: Vec<(Refused, i32)>,
    /// Those of them that end.
    pub times: Vec<Times>,
    pub limits: Limits,
    pub limited: Vec<Limit>,
    pub sealed: Vec<Against>,
}

impl Causes {
    pub fn happened(&mut self, event: Step, has: bool) {
        let name = event.name();
        let number = EVENTS.iter().position(|event| *event == name);
        self.happened[number.expect("an event")] |= has;
    }

    /// Threads can be started, and joined.
    pub fn may_have_threads(&self) -> bool {
        let futex = |(call, _): &(Refused, i32)| *call == Refused::Futex;
        !self.may_not_contain() && !self.refused.iter().any(futex)
    }

    /// Something was refused that containment is made of.
    pub fn may_not_contain(&self) -> bool {
        let needed = [
            Refused::Mmap,
            Refused::Munmap,
            Refused::Mremap,
            Refused::Mprotect,
            Refused::Madvise,
        ];
        let limits = [Limit::AddressSpace, Limit::Data, Limit::Maps];
        self.refused.iter().any(|(call, _)| needed.contains(call))
            || self.limited.iter().any(|limit| limits.contains(limit))
    }
}

pub struct World<'g> {
    pub ground: &'g Ground,
    pub files: Vec<Opened>,
    pub opened: usize,
    /// Of the other process that uses the file.
    pub peer: File,
    pub filler: Option<File>,
    pub maps: [Option<Mapped>; SLOTS],
    pub told: std::collections::BTreeSet<usize>,
    /// What the device had when it was taken out.
    pub out: Option<Vec<u8>>,
    pub model: Model,
    pub file_len: usize,
    pub causes: Causes,
    pub anon: Option<Anon>,
    /// The step was no call: its type has none, or it would have been a fault.
    pub left_out: bool,
    /// Pages beside the maps, which no call may change or take.
    pub canaries: Vec<*mut u8>,
    /// How many were open at the begin, where /proc tells.
    pub descriptors: Option<usize>,
    /// And what was mapped. Of a walk with threads nothing is known: the C library keeps their stacks.
    pub mapped: Option<u64>,
}

const CANARY: u8 = 0xC5;

impl<'g> World<'g> {
    pub fn new(ground: &'g Ground) -> Self {
        let open = || open(ground.file()).expect("a file that is open");
        let filler = match ground {
            Ground::Disk(disk, On::Ext4) => Some(disk.unnamed()),
            _ => None,
        };
        let pages = if ground.is_device() {
            PAGES
        } else {
            PAGES_AT_START
        };
        let files = (0..SLOTS).map(|id| Opened { file: open(), id }).collect();
        let peer = open();
        Self {
            ground,
            files,
            opened: SLOTS,
            peer,
            filler,
            maps: Default::default(),
            told: Default::default(),
            out: None,
            model: Model::new(&vec![0; PAGES * page()]),
            file_len: pages * page(),
            causes: Causes::default(),
            anon: None,
            left_out: false,
            canaries: Vec::new(),
            descriptors: end::descriptors(),
            mapped: end::mapped(),
        }
    }

    pub fn leave_out(&mut self) -> Result<(), String> {
        self.left_out = true;
        Ok(())
    }

    /// A page beside the maps, which no call may change.
    pub fn add_canary(&mut self) {
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping, which stays until the process ends.
        unsafe {
            let canary = libc::mmap(std::ptr::null_mut(), page(), prot, flags, -1, 0);
            if canary != libc::MAP_FAILED {
                canary.cast::<u8>().write_bytes(CANARY, page());
                self.canaries.push(canary.cast());
            }
        }
    }

    /// Opens the file once more.
    pub fn open(&mut self, slot: usize) {
        if let Ok(file) = open(self.ground.file()) {
            let id = self.opened;
            self.opened += 1;
            self.files[slot] = Opened { file, id };
            if self.causes.failed {
                // Others may have been told before.
                self.told.insert(id);
            }
        }
    }

    /// A failure was told to this open file: its other maps do not hear of it.
    pub fn tell(&mut self, id: usize, but: Option<usize>) {
        self.told.insert(id);
        for (slot, map) in self.maps.iter_mut().enumerate() {
            if let Some(map) = map.as_mut().filter(|map| map.id == id && Some(slot) != but) {
                map.trusted = false;
            }
        }
    }

    /// Byte of the file that a place is.
    pub fn in_file(at: At) -> usize {
        usize::from(at.0) * page() + ((usize::from(at.1) * page()) >> 16)
    }

    pub fn set_zeros(&mut self, from: usize, to: usize) {
        if from < to {
            self.model.write(from, &vec![0; to - from]);
        }
    }

    pub fn set_len(&mut self, len: usize) {
        if self.peer.set_len(len as u64).is_err() {
            return;
        }
        let (from, to) = (len.min(self.file_len), len.max(self.file_len));
        self.set_zeros(from, to);
        for map in self.maps.iter_mut().flatten() {
            let first = map.first;
            map.written.retain(|at, _| first + at < len);
        }
        self.causes.truncated |= len < self.file_len;
        self.causes.holes = true;
        self.file_len = len;
    }

    pub fn punch(&mut self, first: usize, pages: usize) {
        let end = ((first + pages) * page()).min(self.file_len);
        let start = first * page();
        if start >= end || self.out.is_some() {
            return;
        }
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (offset, len) = (start as libc::off_t, (end - start) as libc::off_t);
        // SAFETY: plain system call.
        if unsafe { libc::fallocate(self.peer.as_raw_fd(), mode, offset, len) } == 0 {
            self.set_zeros(start, end);
            self.causes.holes = true;
        }
    }

    pub fn peer_writes(&mut self, from: usize, len: usize, byte: u8) {
        let end = (from + len).min(self.file_len);
        if from >= end || self.out.is_some() {
            return;
        }
        let bytes = vec![byte; end - from];
        // The disk may be full.
        let written = self.peer.write_at(&bytes, from as u64).unwrap_or(0);
        self.model.write(from, &bytes[..written]);
    }

    pub fn fill(&mut self, full: bool) {
        let Some(filler) = &self.filler else { return };
        if full && !self.causes.fails {
            // Else the filler's own blocks are refused.
            self.causes.limits.without(|| fill_with(filler));
            self.causes.was_full = true;
            self.causes.full = true;
        } else if !full {
            let _ = filler.set_len(0);
            self.causes.full = false;
        }
    }

    pub fn fail(&mut self, fails: bool) {
        let Some(disk) = self.ground.disk() else {
            return;
        };
        if !fails {
            self.put_back();
        }
        if fails && !self.causes.fails {
            self.causes.limits.without(|| disk.fail());
        } else if !fails && self.causes.fails {
            self.causes.limits.without(|| disk.recover());
        }
        self.causes.fails = fails;
        self.causes.failed |= fails;
    }

    /// What the kernel dropped because it took it for stored reads as the medium has it.
    pub fn read_again(&mut self) -> Result<(), String> {
        if self.out.is_some() {
            self.forget_dropped();
            return Ok(());
        }
        let mut bytes = vec![0; self.file_len];
        self.peer
            .read_exact_at(&mut bytes, 0)
            .map_err(|error| format!("read of the file: {error}"))?;
        if bytes == self.model.live()[..self.file_len] {
            return Ok(());
        }
        let medium = self.causes.failed.then(|| self.medium()).flatten();
        let medium = medium.ok_or_else(|| self.differs("the file", &bytes, 0))?;
        for at in 0..self.file_len {
            if bytes[at] != self.model.live()[at] {
                if bytes[at] != medium[at] {
                    return Err(self.differs("the file", &bytes, 0));
                }
                self.model.write(at, &[bytes[at]]);
            }
        }
        Ok(())
    }

    pub fn medium(&self) -> Option<Vec<u8>> {
        if let Some(had) = &self.out {
            return Some(had[..PAGES * page()].to_vec());
        }
        let disk = self.ground.disk()?;
        Some(disk.medium(0, PAGES * page()))
    }

    fn differs(&self, what: &str, bytes: &[u8], from: usize) -> String {
        let live = &self.model.live()[from..][..bytes.len()];
        let at = live
            .iter()
            .zip(bytes)
            .position(|(one, other)| one != other)
            .unwrap_or(0);
        format!(
            "{what} has {} at byte {} of the file, and not {}",
            bytes[at],
            from + at,
            live[at]
        )
    }

    /// All that holds after each step.
    pub fn check(&mut self) -> Result<(), String> {
        self.read_again()?;
        self.check_anon()?;
        for slot in 0..SLOTS {
            self.check_map(slot)?;
        }
        for canary in &self.canaries {
            for at in (0..page()).step_by(64).chain([page() - 1]) {
                // SAFETY: a mapping of our own. A call that protected it, or took it, is found by the write.
                unsafe {
                    let byte = canary.add(at);
                    if byte.read_volatile() != CANARY {
                        return Err("memory beside the maps has changed".into());
                    }
                    byte.write_volatile(CANARY);
                }
            }
        }
        if let Some(medium) = self.medium() {
            let mut lost = self.model.lost(&medium);
            if let Ground::Disk(disk, On::Ext4) = self.ground
                && self.causes.failed
            {
                // The kernel's bug, by which a retry on new blocks is in vain.
                let unrecorded = self.model.lost(&disk.blocks(0, PAGES * page()));
                lost.retain(|at| unrecorded.binary_search(at).is_ok());
            }
            if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
                return Err(format!(
                    "{} bytes that were promised are not on the medium: {first} to {last} of the file",
                    lost.len()
                ));
            }
        }
        Ok(())
    }

    fn check_map(&self, slot: usize) -> Result<(), String> {
        let Some(map) = &self.maps[slot] else {
            return Ok(());
        };
        if map.subject.failed() != map.failed {
            return Err(format!(
                "slot {slot}: failed() is {}, and not {}",
                !map.failed, map.failed
            ));
        }
        let lost = map
            .subject
            .lost()
            .map(|offset| map.page_range(offset, 1).start);
        if lost != map.lost {
            return Err(format!(
                "slot {slot}: lost() is of page {lost:?}, and not {:?}",
                map.lost
            ));
        }
        let end = map.first + map.subject.len();
        let there = self
            .in_memory()
            .filter(|_| !map.private || self.out.is_none());
        let there = there.unwrap_or([false; PAGES]);
        for number in 0..map.pages() {
            let from = map.place(number).max(map.first);
            let to = (map.place(number) + page()).min(end).min(self.file_len);
            if map.may[number] == 0 || map.replaced[number] || from >= to || !there[from / page()] {
                continue;
            }
            let mut bytes = vec![0; to - from];
            map.subject.read(from - map.first, &mut bytes);
            if map.private {
                // What was not written may be the file's, or was when the page was copied.
                for (at, byte) in map.written.range(from - map.first..to - map.first) {
                    let has = bytes[map.first + at - from];
                    if has != *byte {
                        return Err(format!("slot {slot}: byte {at} is {has}, and not {byte}"));
                    }
                }
                continue;
            }
            if bytes != self.model.live()[from..to] {
                return Err(self.differs(&format!("slot {slot}"), &bytes, from));
            }
        }
        Ok(())
    }
}
