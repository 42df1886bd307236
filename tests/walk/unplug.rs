//! A device that is taken out: what is not in memory cannot be read.

use std::os::fd::AsRawFd as _;

use rawmap_core::UncheckedAdvice;

use crate::step::{PAGES, Refused, Step};
use crate::world::{World, page};

impl World<'_> {
    pub fn take_out(&mut self) {
        if !self.ground.is_device() || self.out.is_some() {
            return;
        }
        let Some(disk) = self.ground.disk() else {
            return;
        };
        self.drop_clean();
        let fails = self.causes.fails;
        self.out = self.causes.limits.without(|| {
            let had = disk.take_out();
            if had.is_none() && fails {
                // It was put back.
                disk.fail();
            }
            had
        });
        let out = self.out.is_some();
        self.causes.happened(Step::TakeOut, out);
        self.causes.fails |= out;
        self.causes.failed |= out;
        self.causes.was_out |= out;
    }

    /// Drops what is stored, from the page tables first: there the walk has all that is mapped, for it reads it after each
    /// step.
    pub fn drop_clean(&self) {
        for map in self.maps.iter().flatten().filter(|map| !map.private) {
            if let Some(raw) = map.subject.raw() {
                // SAFETY: of a shared map of a file it changes no byte.
                let _ = unsafe { raw.unchecked_advise(UncheckedAdvice::DontNeed) };
            }
        }
        let (fd, how) = (self.peer.as_raw_fd(), libc::POSIX_FADV_DONTNEED);
        // SAFETY: plain system call.
        unsafe { libc::posix_fadvise(fd, 0, 0, how) };
    }

    pub fn put_back(&mut self) {
        if let (Some(had), Some(disk)) = (self.out.take(), self.ground.disk()) {
            self.causes.limits.without(|| disk.put_back(&had));
        }
    }

    /// Whether a page of the file is in memory: one that is not cannot be touched while the device is out. None where the
    /// kernel does not tell, or the library is to be refused.
    pub fn in_memory(&self) -> Option<[bool; PAGES]> {
        if self.out.is_none() {
            return Some([true; PAGES]);
        }
        let refused = |call: Refused| self.causes.refused.iter().any(|(name, _)| *name == call);
        if self.causes.nobody || refused(Refused::Mincore) || refused(Refused::Mmap) {
            return None;
        }
        let (len, fd) = (PAGES * page(), self.peer.as_raw_fd());
        let mut pages = [0_u8; PAGES];
        self.causes.limits.without(|| {
            // SAFETY: a new mapping, which nothing touches, and a byte for each page.
            unsafe {
                let map = libc::mmap(
                    std::ptr::null_mut(),
                    len,
                    libc::PROT_READ,
                    libc::MAP_SHARED,
                    fd,
                    0,
                );
                if map == libc::MAP_FAILED {
                    return None;
                }
                let told = libc::mincore(map, len, pages.as_mut_ptr().cast());
                libc::munmap(map, len);
                (told == 0).then(|| pages.map(|page| page & 1 == 1))
            }
        })
    }

    /// What the kernel dropped reads as the medium has it, as soon as it can be read.
    pub fn forget_dropped(&mut self) {
        let (Some(had), Some(pages)) = (&self.out, self.in_memory()) else {
            return;
        };
        for (number, _) in pages.iter().enumerate().filter(|(_, there)| !**there) {
            let from = number * page();
            let had = &had[from..][..page()];
            if self.model.live()[from..][..page()] == *had {
                continue;
            }
            for (at, byte) in (from..).zip(had) {
                if self.model.live()[at] != *byte {
                    self.model.write(at, &[*byte]);
                }
            }
        }
    }
}
