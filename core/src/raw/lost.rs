//! What a contained map lost, and what a flush says of it.
//!
//! # Safety
//!
//! The pages that were replaced are pages of the own map.

#![allow(unsafe_code, reason = "maps the own file over pages of the own map")]

#[cfg(feature = "fault")]
use core::sync::atomic::{Ordering, compiler_fence};

use super::MmapRaw;
#[cfg(feature = "fault")]
use super::durable::to_u64;
#[cfg(feature = "fault")]
use super::pages::unmap;
#[cfg(feature = "fault")]
use crate::fault::Place;
#[cfg(feature = "fault")]
use crate::sys::{self, AsFd, MapFlags, ProtFlags, Touch};
use crate::{Error, Span};

impl MmapRaw {
    /// No byte of a span was lost, and no loss of others is unacknowledged.
    pub(super) fn check_not_lost(&self, span: Span) -> Result<(), Error> {
        #[cfg(feature = "fault")]
        if let Some(place) = self.extras.place() {
            return self.check_place(place, span);
        }
        let _ = span;
        Ok(())
    }

    /// Flushes a span, and believes it only if all of the span was the file's before and after.
    #[inline]
    pub(super) fn flush_if_there(
        &self,
        span: Span,
        flush: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        #[cfg(feature = "fault")]
        if let Some(place) = self.extras.place() {
            self.check_place(place, span)?;
            flush()?;
            return self.check_reached(place, span);
        }
        let _ = span;
        flush()
    }
}

#[cfg(feature = "fault")]
impl MmapRaw {
    /// Gives the map a place in the table of contained maps.
    #[cold]
    pub(crate) fn contain(&mut self) -> Result<(), Error> {
        let (base, mapped) = self.all_pages();
        let base = base.expose_provenance();
        let (prot, private) = (self.access.prot(), self.is_private());
        let place = Place::take(base, mapped, self.page, prot, private)?;
        self.extras.contain(place);
        self.flushing.take_the_long_way();
        Ok(())
    }

    /// The table has to know where the pages are and what they allow.
    pub(super) fn tell_place(&self) {
        if let Some(place) = self.extras.place() {
            let (base, mapped) = self.all_pages();
            let base = base.expose_provenance();
            let (prot, private) = (self.access.prot(), self.is_private());
            place.set(base, mapped, self.page, prot, private);
        }
    }

    /// The pages are about to move, which those of another kind among them would not do.
    pub(super) fn hide_place(&self) -> Result<(), Error> {
        let Some(place) = self.extras.place() else {
            return Ok(());
        };
        if let Some((from, _)) = place.replaced() {
            return Err(self.lost_from(from));
        }
        place.hide();
        Ok(())
    }

    /// After a flush of a span: what was stored is the file's, from the first byte to the last.
    fn check_reached(&self, place: Place, span: Span) -> Result<(), Error> {
        // A file loses its end first.
        let [_, last] = span.ends();
        // A page that may not be read cannot be asked.
        if !span.is_empty() && !self.access.has_holes() && self.is_unreachable(last) {
            let offset = to_u64(self.first_unreachable(span));
            return Err(Error::Lost { offset });
        }
        self.check_place(place, span)
    }

    fn check_place(&self, place: Place, span: Span) -> Result<(), Error> {
        if let Some(from) = place.lost() {
            return Err(self.lost_from(from));
        }
        let Some((from, to)) = place.replaced().filter(|_| !span.is_empty()) else {
            return Ok(());
        };
        let span = span.shifted(self.head()).out_to_pages(self.page);
        if span.offset() < to && from < span.end() {
            return Err(self.lost_from(from.max(span.offset())));
        }
        Ok(())
    }

    /// From an offset in the pages to one in the map.
    fn offset_in_map(&self, from: usize) -> usize {
        from.saturating_sub(self.head()).min(self.len)
    }

    fn lost_from(&self, from: usize) -> Error {
        let offset = to_u64(self.offset_in_map(from));
        Error::Lost { offset }
    }

    fn is_unreachable(&self, byte: Span) -> bool {
        let (page, _, _) = self.kernel_pages(byte);
        let touched = self.touch(page, Touch::Read, byte);
        matches!(touched, Err(Error::Unreachable { .. }))
    }

    /// The first byte of a span whose last byte cannot be reached that cannot, either.
    fn first_unreachable(&self, span: Span) -> usize {
        let (mut reached, mut not) = (span.offset(), span.end());
        // Bytes before `reached` can be, those from `not` on cannot.
        while reached < not {
            let middle = reached.midpoint(not);
            let byte = Span::new(middle, 1, self.len);
            if byte.is_ok_and(|byte| !self.is_unreachable(byte)) {
                reached = middle.saturating_add(1);
            } else {
                not = middle;
            }
        }
        reached
    }

    /// Tells whether the map is [contained](crate::MmapOptions::contained).
    #[must_use]
    pub fn is_contained(&self) -> bool {
        self.extras.place().is_some()
    }

    /// Gives the offset of the first byte that a contained map lost to SIGBUS, until it is
    /// [acknowledged](Self::acknowledge_lost) or [recovered](Self::recover). It is the first of its page, or of
    /// the map.
    ///
    /// A loss is noticed where a byte is accessed. A file that got shorter and was not accessed since has no loss
    /// here; a [`flush`](Self::flush) finds that out.
    #[must_use]
    pub fn lost(&self) -> Option<usize> {
        let from = self.extras.place()?.lost()?;
        Some(self.offset_in_map(from))
    }

    /// Gives what [`lost`](Self::lost) does, and forgets it: flushes of ranges that lost nothing go on.
    ///
    /// Pages that were lost are private memory from now on, zeros and what was stored there since. They belong to no
    /// file, so that a flush of a range with one of them, or with a page between two of them, still fails with
    /// [`Error::Lost`]. [`recover`](Self::recover) makes them the file's again.
    pub fn acknowledge_lost(&self) -> Option<usize> {
        let from = self.extras.place()?.acknowledge()?;
        Some(self.offset_in_map(from))
    }

    /// `mmap` of the lost pages once more -- acknowledges the loss, and makes all of the map the file's
    /// again.
    ///
    /// Where the file has been extended meanwhile, the pages read as what it has there. What was stored to them
    /// while they were lost is gone. Where the file is still short, the next access is lost again. `file` is
    /// the one that is mapped, open as it was then. The new pages have no advice, are not
    /// locked, and allow what any page of the map does, whatever `protect_range` said of them.
    ///
    /// # Errors
    ///
    /// - [`Error::NoFile`]: the map is of memory or private, so that what its pages had is nowhere.
    /// - [`Error::Sys`]: the kernel refused. The map is as it was.
    ///
    /// # References
    ///
    /// - [mmap(2)](https://man7.org/linux/man-pages/man2/mmap.2.html),
    ///   [mremap(2)](https://man7.org/linux/man-pages/man2/mremap.2.html)
    pub fn recover<F: AsFd>(&mut self, file: F) -> Result<(), Error> {
        let Some(place) = self.extras.place() else {
            return Ok(());
        };
        if let Some((from, to)) = place.replaced() {
            if self.is_private() {
                return Err(Error::NoFile);
            }
            let first = self.file_offset()?.wrapping_sub(to_u64(self.head()));
            let (base, _) = self.all_pages();
            let len = to.wrapping_sub(from);
            // Elsewhere first: with MAP_FIXED, a refusal could leave a hole.
            let mut prot = self.access.prot();
            if prot.contains(ProtFlags::WRITE) {
                // Of different pages, perhaps: never both.
                prot.remove(ProtFlags::EXEC);
            }
            let new = sys::mmap(
                Some(file.as_fd()),
                len,
                prot,
                MapFlags::SHARED,
                first.wrapping_add(to_u64(from)),
            )?;
            let start = base.wrapping_byte_add(from);
            // SAFETY: the new map, and as many pages of this one, which `&mut self` keeps others from. What
            // they hold is lost, and those between are the same pages of the file.
            let moved = unsafe { sys::move_over(new, len, start) };
            if moved.is_err() {
                // It may have taken the old pages away before it failed.
                // SAFETY: pages of this map, which are lost.
                let _ = unsafe { sys::map_zeros_over(start, len, prot) };
                // SAFETY: the new map, which nobody has seen.
                unsafe { unmap(new, len) };
            }
            moved?;
        }
        place.restored();
        Ok(())
    }

    /// Runs a closure on a contained map, and tells whether the map lost anything while it ran.
    ///
    /// It is an error, too, if something was lost before and not [acknowledged](Self::acknowledge_lost); the closure
    /// does not run then. A loss that another thread meets meanwhile counts. For a map that is not contained
    /// this only runs the closure.
    ///
    /// # Errors
    ///
    /// - [`Error::Lost`]: the first byte that was lost. What the closure gave is dropped: it may have been made of zeros.
    pub fn try_with<R>(&self, body: impl FnOnce(&Self) -> R) -> Result<R, Error> {
        let Some(place) = self.extras.place() else {
            return Ok(body(self));
        };
        let unlost = || {
            place
                .lost()
                .map_or(Ok(()), |from| Err(self.lost_from(from)))
        };
        unlost()?;
        let before = place.losses();
        let result = body(self);
        // An access of the closure is not moved behind the question.
        compiler_fence(Ordering::SeqCst);
        unlost()?;
        if place.losses() != before {
            // Another thread has acknowledged it.
            let from = place.replaced().map_or(0, |(from, _)| from);
            return Err(self.lost_from(from));
        }
        Ok(result)
    }
}
