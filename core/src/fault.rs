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
//! - If that is `true`, it returns. If not, the previous handler gets the fault.
//! - It does not run while SIGBUS is blocked: the kernel kills a thread that faults then.
//!
//! # What is not contained
//!
//! - A system call that is given a pointer into lost memory: it gets `EFAULT`, and no signal is raised.
//! - Instructions: a page that was lost is not executable.
//! - Slices: under a `&[u8]` of `Mmap` the bytes may not change, and a page that is replaced does. So the constructors of
//!   such maps are `unsafe`, and anonymous memory, whose constructors are not, is never contained.
//!   [`Shared`](crate::Shared) is made for memory that changes.
//! - What one of two threads stores that fault in one page at the same time: the page may be replaced twice.
//!
//! # Safety
//!
//! A page is replaced only if its address is in the table, and a map is there from before its pointer is handed out
//! until before its pages are given back. No safe call makes a page fail under a slice: advice that could is refused.

#![allow(unsafe_code, reason = "maps zeros over a page of a map in the table")]

mod table;

use core::sync::atomic;

use self::table::{Pages, Slot, Table};
use crate::error::Error;
use crate::page::PageSize;
use crate::protection::Access;
use crate::sys;

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

/// Losses of a map before the pages between them are replaced, too. Each counts twice: see [`Slot::lose`].
const MANY: u32 = 2 * 1024;

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
/// The address is `si_addr` of the signal. `false` if it is in no contained map, or the kernel maps no memory: the fault
/// then goes to the previous handler.
///
/// It takes no lock, allocates nothing, looks nothing up and makes one system call, mmap(2), or two at the limits below. In
/// a map of huge pages it replaces a whole one.
///
/// # Limits
///
/// - Each lost page may be a VMA of its own, and the kernel allows 65,530 of them (`max_map_count`). With every 1024th
///   loss of a shared map, all pages from the first that it lost to the last are replaced. At the limit, the whole map is; a
///   process that has one VMA more than the limit gets `false`.
/// - `RLIMIT_DATA` does not count what replaces pages of a shared map. A private map that loses a page while the process is
///   past that limit gives `false`. So does any map where the process is past `RLIMIT_AS`, or past `RLIMIT_MEMLOCK` under
///   mlockall(2) with `MCL_FUTURE`, or where the kernel has no file or memory left (`ENFILE`, overcommit).
///
/// # Safety
///
/// - It is called from a signal handler for SIGBUS, with the address of the fault that the signal is about.
/// - The program accessed that address as one of a map that lives.
///
/// # References
///
/// - [sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html)
#[must_use]
pub unsafe fn contain(address: usize) -> bool {
    let Some((slot, pages)) = TABLE.find(address) else {
        return false;
    };
    let (page, access) = unpack(pages.kind);
    let from = page.floor(address.wrapping_sub(pages.base));
    // The pages end at a multiple, so this does not pass their end.
    let to = from.saturating_add(page.get());
    let shared = !access.allows(Access::PRIVATE);
    let replace = |from: usize, to: usize| {
        let before = slot.lose(from, to);
        let start = core::ptr::with_exposed_provenance_mut(pages.base.wrapping_add(from));
        // SAFETY: pages of a map that lives, by the caller's duty: it was found in the table.
        let replaced = unsafe { sys::map_zeros_over(start, to.wrapping_sub(from), access) };
        slot.lose(from, to);
        replaced.map(|()| before)
    };
    match replace(from, to) {
        Ok(before) if before % MANY == MANY - 2 && shared => {
            if let Some((first, last)) = slot.replaced() {
                let _ = replace(first, last);
            }
            true
        }
        Ok(_) => true,
        // No VMA more can be had. What the other pages hold is the file's, and stays in the page cache.
        Err(_) => shared && replace(0, pages.len).is_ok(),
    }
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
    /// - [`Error::TooManyMaps`]: there is no free place.
    pub(crate) fn take(
        base: usize,
        len: usize,
        page: PageSize,
        access: Access,
    ) -> Result<Self, Error> {
        let kind = pack(page, access);
        let pages = Pages { base, len, kind };
        let place = critical_section::with(|section| TABLE.insert(section, pages));
        match place.map(u16::try_from) {
            Some(Ok(place)) => Ok(Self(place)),
            _ => Err(Error::TooManyMaps { capacity: CAPACITY }),
        }
    }

    /// With a length of 0, no address is the map's until the next call.
    pub(crate) fn set(self, base: usize, len: usize, page: PageSize, access: Access) {
        let kind = pack(page, access);
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

    pub(crate) fn lose(self, from: usize, to: usize) {
        if let Some(slot) = self.slot() {
            slot.lose(from, to);
        }
    }

    pub(crate) fn restore(self) -> Option<(usize, usize)> {
        self.slot()?.restore()
    }
}

/// What the handler has to know of a map, in one word.
fn pack(page: PageSize, access: Access) -> u32 {
    u32::from(page.bits()) | u32::from(access.bits()).wrapping_shl(8)
}

fn unpack(kind: u32) -> (PageSize, Access) {
    let [bits, access, ..] = kind.to_le_bytes();
    let page = PageSize::from_bits(bits).unwrap_or(PageSize::KIB_4);
    (page, Access::from_bits(access))
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
            let access = Access::READ_WRITE.with(Access::PRIVATE);
            assert_eq!(unpack(pack(page, access)), (page, access));
        }
    }
}
