//! [`Extras`]: what few maps have, so that the others pay one compare for all of it.
//!
//! # Safety
//!
//! The descriptor is the map's own, and the guard pages were mapped with it.

#![allow(
    unsafe_code,
    reason = "closes and lends the map's own descriptor; gives back its pages"
)]

use super::durable::to_u64;
use super::pages::mapped_len;
use super::{Access, MmapRaw, Protection, Request};
#[cfg(feature = "fault")]
use crate::fault::Place;
use crate::sys::{BorrowedFd, FromRawFd, MapFlags, OwnedFd, ProtFlags, RawFd};
use crate::{Error, PageSize};

/// Of any map.
const MOST: usize = isize::MAX.cast_unsigned();

/// In place of a descriptor.
const NO_FILE_KEPT: RawFd = -1;

/// A descriptor, a place in the table of contained maps, guard pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extras {
    // Not an `Option<OwnedFd>`: see `MmapRaw::ptr`.
    kept: RawFd,
    // Whether there is any of them.
    any: bool,
    guarded: bool,
    #[cfg(feature = "fault")]
    place: Place,
}

impl Extras {
    pub(super) const NONE: Self = Self {
        kept: NO_FILE_KEPT,
        any: false,
        guarded: false,
        #[cfg(feature = "fault")]
        place: Place::NONE,
    };

    #[inline]
    pub(super) const fn are_none(&self) -> bool {
        !self.any
    }

    #[inline]
    pub(super) const fn keep_file(&self) -> bool {
        self.kept != NO_FILE_KEPT
    }

    pub(super) fn kept_file(&self) -> Option<BorrowedFd<'_>> {
        if !self.keep_file() {
            return None;
        }
        // SAFETY: the map's own, which it closes when it is dropped.
        Some(unsafe { BorrowedFd::borrow_raw(self.kept) })
    }

    /// The descriptor is the map's from here on.
    pub(super) const fn keep(&mut self, file: RawFd) {
        self.kept = file;
        self.any = true;
    }

    pub(super) const fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// A page before the map and one behind it are the map's, too.
    pub(super) const fn guard(&mut self) {
        self.guarded = true;
        self.any = true;
    }

    /// Before a map with extras is unmapped: gives them up, and gives the bytes of each guard. By value: the address of
    /// a map that is passed on costs those without extras that they are in memory.
    #[cold]
    #[inline(never)]
    pub(super) fn give_up(self, page: PageSize) -> usize {
        // First: an address of these pages may be another map's as soon as they are unmapped.
        #[cfg(feature = "fault")]
        if let Some(place) = self.place() {
            place.give();
        }
        if self.keep_file() {
            // SAFETY: the map's own descriptor, and the map ends here. Its pages do not need it.
            drop(unsafe { OwnedFd::from_raw_fd(self.kept) });
        }
        if self.guarded { page.get() } else { 0 }
    }

    #[cfg(feature = "fault")]
    pub(super) fn place(&self) -> Option<Place> {
        (self.place != Place::NONE).then_some(self.place)
    }

    #[cfg(feature = "fault")]
    pub(super) const fn contain(&mut self, place: Place) {
        self.place = place;
        self.any = true;
    }
}

impl MmapRaw {
    /// Maps memory that belongs to no file, readable and writable, between two pages that are neither.
    pub(crate) fn new_guarded(len: usize, flags: MapFlags, page: PageSize) -> Result<Self, Error> {
        let mapped = mapped_len(page, 0, len)?;
        let guards = page.get().saturating_mul(2);
        let Some(all) = mapped.checked_add(guards).filter(|all| *all <= MOST) else {
            let len = to_u64(len);
            return Err(Error::TooLong { len });
        };
        // Whole, so that nobody else's map is where the guards are to be.
        let request = Request {
            file: None,
            offset: 0,
            len: all,
            prot: ProtFlags::empty(),
            flags: flags.difference(MapFlags::POPULATE),
            page,
            supplied: true,
        };
        let mut map = Self::new(&request)?;
        if map.page != page {
            // The size that was supplied is larger than the kernel's: it is of no use here.
            return Self::new_guarded(len, flags, map.page);
        }
        map.protect_range(Protection::ReadWrite, page.get(), mapped)?;
        map.ptr = map.ptr.wrapping_add(page.get());
        map.len = len;
        map.access = Access::READ_WRITE.private(map.is_private());
        map.extras.guard();
        if flags.contains(MapFlags::POPULATE) {
            // As with MAP_POPULATE, an error is not reported.
            let _ = map.prefault_write(0, len);
        }
        Ok(map)
    }
}
