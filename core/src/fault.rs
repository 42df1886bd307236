//! Containment of SIGBUS: the half that a signal handler calls.
//!
//! A load or a store to a map of a file raises SIGBUS where the file got shorter, the disk is full or the page
//! cannot be read, and that kills the process. A map that was made with
//! [`MmapOptions::contained`](crate::MmapOptions::contained) has a place in a fixed table, and a program whose
//! handler calls [`contain`] survives: the one page is replaced by zeros, the map is marked as lost from there
//! on, and the access completes. [`MmapRaw::lost`](crate::MmapRaw::lost) tells, and every flush of the map fails
//! with [`Error::Lost`] until the loss is acknowledged.
//!
//! Programs with std call `rawmap::fault::install`. Firmware installs a handler of its own for SIGBUS, with
//! `SA_SIGINFO`; `targets/freestanding/src/bin/contain.rs` is one that does, without libc.
//!
//! # What a handler does
//!
//! - It calls [`contain`] for faults of the memory only, `si_code` `BUS_ADRERR` (2) and `BUS_MCEERR_AR` (4). A
//!   misaligned access (`BUS_ADRALN`) would fault again for ever, and a signal that another process sent has no
//!   address.
//! - If that is `true`, it returns. If not, the fault is not ours: what was there before is to happen.
//! - It does not run while SIGBUS is blocked: the kernel kills a thread that faults then.
//!
//! # What is not contained
//!
//! - A system call that is given a pointer into lost memory: it gets `EFAULT`, and no signal is raised.
//! - Instructions: a page that was lost is not executable.
//! - Slices: under a `&[u8]` of `Mmap` the bytes may not change, and a page that is replaced does. The program
//!   survives, and a promise of the constructor was broken. [`Shared`](crate::Shared) is made for such memory.
//! - What one of two threads stores that fault in one page at the same time: the page may be replaced twice.
//! - A child made by fork(2) where the range is not: after `MADV_DONTFORK`, what it maps there counts as contained.
//!
//! # Safety
//!
//! A page is replaced only if its address is in the table, and a map is there from before its pointer is handed out
//! until before its pages are given back.

#![allow(unsafe_code, reason = "maps zeros over a page of a map in the table")]

mod table;

use core::sync::atomic;

use self::table::{Pages, Slot, Table};
use crate::sys::{self, ProtFlags};
use crate::{Error, PageSize};

/// How many contained maps there can be at a time: 128, or what the environment variable
/// `RAWMAP_CONTAINED_MAPS` says where the crate is built. A place takes 8 words.
pub const CAPACITY: usize = capacity(option_env!("RAWMAP_CONTAINED_MAPS"));

/// The places are numbered by a `u16`.
const MOST: usize = 65_535;

#[allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "at compile time"
)]
const fn capacity(set: Option<&str>) -> usize {
    let Some(text) = set else { return 128 };
    let digits = text.as_bytes();
    let (mut number, mut at) = (0, 0);
    while at < digits.len() {
        assert!(
            digits[at].is_ascii_digit() && number <= MOST,
            "RAWMAP_CONTAINED_MAPS is not a number from 1 to 65535"
        );
        number = number * 10 + (digits[at] - b'0') as usize;
        at += 1;
    }
    assert!(
        0 < number && number <= MOST,
        "RAWMAP_CONTAINED_MAPS is not a number from 1 to 65535"
    );
    number
}

/// Losses of a map before the pages between them are replaced, too; all bits below a power of two.
const MANY: u32 = 1023;

static TABLE: Table<CAPACITY> = Table::new(
    [const {
        Slot {
            version: atomic::AtomicU32::new(0),
            base: atomic::AtomicUsize::new(0),
            len: atomic::AtomicUsize::new(0),
            kind: atomic::AtomicU32::new(0),
            lost: atomic::AtomicUsize::new(usize::MAX),
            replaced_from: atomic::AtomicUsize::new(usize::MAX),
            replaced_to: atomic::AtomicUsize::new(0),
            losses: atomic::AtomicU32::new(0),
        }
    }; CAPACITY],
);

/// Replaces the page of a contained map that holds a faulting address by zeros, and marks the map as lost from
/// there on.
///
/// The address is `si_addr` of the signal. `false` if it is in no contained map, or no memory can be had: the fault
/// then goes to whoever had it before.
///
/// For a signal handler, at any moment: it takes no lock, allocates nothing, looks nothing up and makes one
/// system call, mmap(2). In a map of huge pages it replaces a whole one. Each lost page may be a VMA of its own, and the
/// kernel allows 65,530 of them: with every 1024th loss of a shared map, all pages from the first that it
/// lost to the last are replaced, too.
///
/// # References
///
/// - [sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html)
#[must_use]
pub fn contain(address: usize) -> bool {
    let Some((slot, pages)) = TABLE.find(address) else {
        return false;
    };
    let (page, prot) = unpack(pages.kind);
    let from = page.floor(address.wrapping_sub(pages.base));
    // The pages end at a multiple, so this does not pass their end.
    let to = from.saturating_add(page.get());
    let replace = |from: usize, to: usize| {
        let start = core::ptr::with_exposed_provenance_mut(pages.base.wrapping_add(from));
        // SAFETY: pages of a map that lives: it was found in the table, and whoever accesses it, as this
        // thread does, keeps it there.
        unsafe { sys::map_zeros_over(start, to.wrapping_sub(from), prot) }.is_ok()
    };
    // First: no flush may take the zeros for the file's bytes.
    let before = slot.lose(from, to);
    let many = before & MANY == MANY && !is_private(pages.kind);
    if let Some((first, last)) = slot.replaced().filter(|_| many) {
        slot.lose(first, last);
        if replace(first, last) {
            return true;
        }
    }
    replace(from, to)
}

/// The place of one map in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u16);

impl Place {
    /// For a map that is in no table.
    pub(crate) const NONE: Self = Self(u16::MAX);

    fn number(self) -> usize {
        usize::from(self.0)
    }

    fn slot(self) -> Option<&'static Slot> {
        TABLE.slot(self.number())
    }

    /// # Errors
    ///
    /// - [`Error::Full`]: there is no free place.
    pub(crate) fn take(
        base: usize,
        len: usize,
        page: PageSize,
        prot: ProtFlags,
        private: bool,
    ) -> Result<Self, Error> {
        let kind = pack(page, prot, private);
        let pages = Pages { base, len, kind };
        let place = critical_section::with(|section| TABLE.insert(section, pages));
        match place.map(u16::try_from) {
            Some(Ok(place)) => Ok(Self(place)),
            _ => Err(Error::Full { capacity: CAPACITY }),
        }
    }

    /// The pages are about to be moved: no address is theirs until [`set`](Self::set) tells where they are.
    pub(crate) fn hide(self) {
        // Of no length, and not free.
        self.change(1, 0, 0);
    }

    pub(crate) fn set(
        self,
        base: usize,
        len: usize,
        page: PageSize,
        prot: ProtFlags,
        private: bool,
    ) {
        self.change(base, len, pack(page, prot, private));
    }

    fn change(self, base: usize, len: usize, kind: u32) {
        let pages = Pages { base, len, kind };
        critical_section::with(|section| TABLE.change(section, self.number(), pages));
    }

    pub(crate) fn give(self) {
        critical_section::with(|section| TABLE.remove(section, self.number()));
    }

    /// The first byte that was lost and not acknowledged, from the start of the pages.
    pub(crate) fn lost(self) -> Option<usize> {
        self.slot()?.lost()
    }

    pub(crate) fn acknowledge(self) -> Option<usize> {
        self.slot()?.acknowledge()
    }

    /// The hull of the pages that were replaced: from, and to before, from the start of the pages.
    pub(crate) fn replaced(self) -> Option<(usize, usize)> {
        self.slot()?.replaced()
    }

    pub(crate) fn losses(self) -> u32 {
        self.slot().map_or(0, Slot::losses)
    }

    pub(crate) fn restored(self) {
        if let Some(slot) = self.slot() {
            slot.restored();
        }
    }
}

/// What the handler has to know of a map, in one word.
fn pack(page: PageSize, prot: ProtFlags, private: bool) -> u32 {
    u32::from(page.bits()) | prot.bits().wrapping_shl(8) | u32::from(private).wrapping_shl(31)
}

fn is_private(kind: u32) -> bool {
    kind.wrapping_shr(31) == 1
}

/// Never executable: zeros are instructions on some architectures.
fn unpack(kind: u32) -> (PageSize, ProtFlags) {
    let bits = u8::try_from(kind & 0xff).unwrap_or(0);
    let page = PageSize::from_bits(bits).unwrap_or(PageSize::KIB_4);
    let prot = ProtFlags::from_bits_retain(kind.wrapping_shr(8));
    (page, prot & (ProtFlags::READ | ProtFlags::WRITE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_read_at_compile_time() {
        assert_eq!(capacity(None), 128);
        assert_eq!(capacity(Some("7")), 7);
        assert_eq!(capacity(Some("65535")), 65_535);
    }

    #[test]
    fn what_the_handler_has_to_know_fits_in_a_word() {
        for bits in 12..=30 {
            let page = PageSize::from_bits(bits).unwrap_or(PageSize::KIB_4);
            let all = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
            let (same, prot) = unpack(pack(page, all, true));
            assert_eq!(same, page);
            assert_eq!(prot, ProtFlags::READ | ProtFlags::WRITE);
        }
    }
}
