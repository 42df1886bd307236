//! The end of a walk: what failed works again, and what was taken comes back.

use std::os::unix::fs::MetadataExt as _;

use rawmap_core::{Errno, Error};

use crate::judge::Verdict;
use crate::refuse::Times;
use crate::step::{Limit, PAGES, Refused, SLOTS};
use crate::world::{World, page};

/// Bytes of address space that the process has, but of the heap and the stack, where the kernel tells of its own maps.
pub fn mapped() -> Option<u64> {
    if rawmap_tests::emulator().is_some() {
        return None;
    }
    let text = std::fs::read_to_string("/proc/self/maps").ok()?;
    let mut sum = 0;
    for line in text.lines() {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        if !rest.ends_with("[heap]") && !rest.ends_with("[stack]") {
            sum += u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?;
        }
    }
    Some(sum)
}

/// How many descriptors the process has.
pub fn descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

impl World<'_> {
    /// Bytes that are mapped and were not at the begin, beside what the walk keeps.
    pub fn left_mapped(&self) -> Option<i64> {
        if self.causes.limited.contains(&Limit::Maps) {
            // There a map may not be cut in two: its pages go, and its addresses stay.
            return None;
        }
        if cfg!(target_env = "musl") {
            // Its malloc cannot be told to keep its memory.
            return None;
        }
        let own = ((self.canaries.len() + self.causes.times.len()) * page()) as u64;
        Some(mapped()?.wrapping_sub(self.mapped? + own) as i64)
    }

    /// All is well again: the disk, the file. Then each map can be stored, and what is mapped and open comes back.
    pub fn end(&mut self, counts_places: bool) -> Verdict {
        self.causes.limits.lift();
        self.fail(false);
        self.fill(false);
        self.causes.times.iter().for_each(Times::end);
        let refused = self.causes.refused.len() > self.causes.times.len();
        if !refused && !self.causes.nobody && self.causes.sealed.is_empty() {
            if self.file_len < PAGES * page() && !self.ground.is_device() {
                self.set_len(PAGES * page());
            }
            for slot in 0..SLOTS {
                if self.maps[slot].is_some() {
                    self.recover(slot)?;
                    let map = self.maps[slot].as_mut().expect("as before");
                    if map.private && map.lost.take().is_some() {
                        let _ = map.subject.acknowledge();
                    }
                    let mut tries = 0;
                    loop {
                        if tries > 0 {
                            // A signal may have interrupted it.
                            self.recover(slot)?;
                        }
                        self.retry(slot)?;
                        let map = self.maps[slot].as_ref().expect("as before");
                        if !map.failed && map.trusted && map.pending.is_empty() {
                            break;
                        }
                        tries += 1;
                        if tries == 100 {
                            let last = map.subject.raw().map(|raw| raw.retry_flush());
                            return Err(format!("slot {slot}: no retry succeeds: {last:?}"));
                        }
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        // What was lost is written again.
                        let map = self.maps[slot].as_mut().expect("as before");
                        let beside = map.beside.iter().map(|(range, _)| range.clone());
                        for range in map
                            .pending
                            .clone()
                            .into_iter()
                            .chain(beside.collect::<Vec<_>>())
                        {
                            let bytes = &self.model.live()[range.clone()];
                            map.subject.write(range.start - map.first, bytes);
                        }
                    }
                }
            }
            self.check()?;
        }
        self.maps = Default::default();
        self.anon = None;
        let kept = |(call, _): &(Refused, i32)| *call == Refused::Munmap;
        let kept = self.causes.refused.iter().any(kept);
        if !refused && !kept && self.causes.sealed.is_empty() {
            self.comes_back(counts_places)?;
        }
        let file = self.peer.metadata().expect("an open file");
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        // Other file systems have files of the same number.
        let file = format!(" {major:02x}:{minor:02x} {} ", file.ino());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let ours = |line: &&str| line.contains("rw-s") && line.contains(&file);
        match maps.lines().find(ours) {
            Some(line) if !kept => Err(format!("it is still mapped: {line}")),
            _ => Ok(()),
        }
    }

    /// What the walk had at its begin, and can have again.
    fn comes_back(&self, counts_places: bool) -> Verdict {
        let descriptors = descriptors();
        if descriptors != self.descriptors {
            return Err(format!(
                "{descriptors:?} descriptors are open, and not {:?}",
                self.descriptors
            ));
        }
        let left = self.left_mapped().filter(|left| *left != 0);
        if let Some(bytes) = left {
            return Err(format!("{bytes} bytes are mapped that were not"));
        }
        if self.file_len == 0 || !counts_places {
            return Ok(());
        }
        // Each place in the table of contained maps, and no more.
        let mut options = rawmap_core::MmapOptions::new();
        options.len(1).contained();
        let mut maps = Vec::new();
        loop {
            match options.map_raw(&self.peer) {
                Ok(map) => maps.push(map),
                Err(Error::TooManyMaps { capacity }) if capacity == maps.len() => return Ok(()),
                // A signal interrupts the wait for an answer.
                Err(Error::Sys {
                    errno: Errno::INTR, ..
                }) if !self.causes.times.is_empty() => {}
                other => return Err(format!("{} places, then {other:?}", maps.len())),
            }
        }
    }
}
