//! What a contained map lost, and what a flush says of it.
//!
//! # Safety
//!
//! The pages that were replaced are pages of the own map.

#![allow(unsafe_code, reason = "maps the own file over pages of the own map")]

use super::MmapRaw;
use crate::error::Error;
use crate::span::Span;

#[cfg(not(feature = "fault"))]
impl MmapRaw {
    #[inline]
    pub(super) fn is_in_table(&self) -> bool {
        false
    }

    #[inline]
    pub(super) fn check_not_lost(&self, _: Span) -> Result<(), Error> {
        Ok(())
    }

    #[inline]
    pub(super) fn check_reached(&self, _: Span) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(feature = "fault")]
mod contained {
    use core::sync::atomic::{Ordering, compiler_fence};

    use super::{Error, MmapRaw, Span};
    use crate::error::Call;
    use crate::fault::Place;
    use crate::protection::Access;
    use crate::raw::{RemapOptions, to_u64, unmap};
    use crate::sys::{self, AsFd, Errno, MapFlags, Touch};

    impl MmapRaw {
        /// Registers the map in the table of contained maps.
        #[cold]
        pub(crate) fn contain(&mut self) -> Result<(), Error> {
            let (base, mapped) = self.all_pages();
            self.place = Place::take(base.expose_provenance(), mapped, self.page, self.access)?;
            self.health.contain();
            Ok(())
        }

        pub(in crate::raw) fn is_in_table(&self) -> bool {
            self.place != Place::NONE
        }

        fn place(&self) -> Option<Place> {
            self.is_in_table().then_some(self.place)
        }

        /// The table has to know where the pages are and what they allow.
        pub(in crate::raw) fn tell_place(&self) {
            if let Some(place) = self.place() {
                let (base, mapped) = self.all_pages();
                place.set(base.expose_provenance(), mapped, self.page, self.access);
            }
        }

        /// A thread may access the pages meanwhile: as long as they stay where they are, the table knows them.
        #[cold]
        pub(in crate::raw) fn remap_contained(
            &mut self,
            new_len: usize,
            new_mapped: usize,
            options: RemapOptions,
        ) -> Result<(), Error> {
            let (base, mapped) = self.all_pages();
            let (place, page, access) = (self.place, self.page, self.access);
            let set = |len| place.set(base.expose_provenance(), len, page, access);
            // Pages of another kind would not move along. Of a private map they cannot be made the file's again, and the
            // kernel says what it cannot do.
            let replaced = place.replaced().filter(|_| !self.is_private());
            if let Some(from) = place.lost().or(replaced.map(|(from, _)| from)) {
                return Err(self.lost_from(from));
            }
            // Before the end is unmapped: its addresses may be another map's right after.
            set(mapped.min(new_mapped));
            let in_place = self.mremap(new_len, new_mapped, false);
            if in_place.is_err() && options.may_move {
                set(0);
                let moved = self.mremap(new_len, new_mapped, options.may_move);
                self.tell_place();
                return moved;
            }
            self.tell_place();
            in_place
        }

        /// Tells of a loss that was not acknowledged, and of one in the span.
        pub(in crate::raw) fn check_not_lost(&self, span: Span) -> Result<(), Error> {
            let Some(place) = self.place() else {
                return Ok(());
            };
            if let Some(from) = place.lost() {
                return Err(self.lost_from(from));
            }
            // What a private map has is stored nowhere: its loss is over when it is acknowledged.
            let replaced = place.replaced().filter(|_| !self.is_private());
            let Some((from, to)) = replaced.filter(|_| !span.is_empty()) else {
                return Ok(());
            };
            let span = span.shifted(self.head()).out_to_pages(self.page);
            if span.offset() < to && from < span.end() {
                return Err(self.lost_from(from.max(span.offset())));
            }
            Ok(())
        }

        /// After a flush of a span: what was stored is the file's, from the first byte to the last.
        pub(in crate::raw) fn check_reached(&self, span: Span) -> Result<(), Error> {
            if self.is_in_table() && !self.is_private() && !span.is_empty() {
                // A file loses its end first.
                let [_, last] = span.ends();
                if !self.is_reached(last)? {
                    let offset = self.first_unreached(span)?;
                    return Err(Error::Lost { offset });
                }
            }
            self.check_not_lost(span)
        }

        /// From an offset in the pages to one in the map.
        fn offset_in_map(&self, from: usize) -> usize {
            from.saturating_sub(self.head()).min(self.len)
        }

        fn lost_from(&self, from: usize) -> Error {
            let offset = to_u64(self.offset_in_map(from));
            Error::Lost { offset }
        }

        /// Returns whether the file has the page of a byte.
        fn is_reached(&self, byte: Span) -> Result<bool, Error> {
            let (page, _, size) = self.kernel_pages(byte);
            // SAFETY: a page of this map.
            match unsafe { sys::touch(page.cast(), size.get(), Touch::Read) } {
                Ok(()) => Ok(true),
                // Or its protection keeps it from being read here.
                Err(Errno::FAULT) => match self.touch_elsewhere(page, size, Touch::Read) {
                    Ok(touched) => Ok(touched.is_ok()),
                    Err(_) if sys::is_emulated() => Ok(false),
                    Err(error) => Err(error),
                },
                Err(errno) => self.ranged(Call::Futex, byte, Err(errno)),
            }
        }

        /// The first byte of a span that the file does not have.
        fn first_unreached(&self, span: Span) -> Result<u64, Error> {
            let (mut reached, mut not) = (span.offset(), span.end());
            // Bytes before `reached` can be, those from `not` on cannot.
            while reached < not {
                let middle = reached.midpoint(not);
                if self.is_reached(Span::new(middle, 1, self.len)?)? {
                    reached = middle.saturating_add(1);
                } else {
                    not = middle;
                }
            }
            Ok(to_u64(reached))
        }

        /// Returns whether the map is [contained](crate::MmapOptions::contained).
        #[must_use]
        pub fn is_contained(&self) -> bool {
            self.is_in_table()
        }

        /// Returns the offset of the first byte that a contained map lost to SIGBUS, until it is
        /// [acknowledged](Self::acknowledge_lost) or [recovered](Self::recover). It is the first of its page, or of
        /// the map.
        ///
        /// A loss is noticed where a byte is accessed. A file that got shorter and was not accessed since has no loss
        /// here; a [`flush`](Self::flush) finds that out.
        #[must_use]
        pub fn lost(&self) -> Option<usize> {
            let from = self.place()?.lost()?;
            Some(self.offset_in_map(from))
        }

        /// Returns what [`lost`](Self::lost) does, and forgets it: flushes of ranges that lost nothing go on.
        ///
        /// Pages that were lost are memory of no file from now on, zeros and what was stored there since. So
        /// a flush of a range with one of them, or with a page between two of them, still fails with
        /// [`Error::Lost`]. [`recover`](Self::recover) makes them the file's again.
        pub fn acknowledge_lost(&self) -> Option<usize> {
            let from = self.place()?.acknowledge()?;
            Some(self.offset_in_map(from))
        }

        /// `mmap` of the lost pages once more -- acknowledges the loss, and makes all of the map the file's again.
        ///
        /// Where the file has been extended meanwhile, the pages read as what it has there. What was stored to them
        /// before this returns is gone. Where the file is still short, the next access is lost again. `file` is
        /// the one that is mapped, open as it was then. The new pages have no advice, are not
        /// locked, and allow what any page of the map does, whatever `protect_range` said of them.
        ///
        /// # Errors
        ///
        /// - [`Error::NoFile`]: the map is of memory or private, so that what its pages had is nowhere.
        /// - [`Error::Sys`]: the kernel refused. The loss is told as before.
        ///
        /// # References
        ///
        /// - [mmap(2)](https://man7.org/linux/man-pages/man2/mmap.2.html)
        ///
        /// # Examples
        ///
        /// ```no_run
        /// # use rawmap_core::{AsFd, Error, MmapRaw};
        /// /// Goes on with a file that a peer has truncated, and made long again.
        /// fn store(map: &mut MmapRaw, file: impl AsFd, word: u32) -> Result<(), Error> {
        ///     if let Some(from) = map.lost() {
        ///         map.recover(file)?; // What was stored from `from` on, and not flushed, is gone.
        ///     }
        ///     map.shared().store(0, word)?;
        ///     map.flush_range(0, 4) // `Lost` again, if the file is still short.
        /// }
        /// ```
        pub fn recover<F: AsFd>(&mut self, file: F) -> Result<(), Error> {
            let Some(place) = self.place() else {
                return Ok(());
            };
            if self.is_private() {
                return place.replaced().map_or(Ok(()), |_| Err(Error::NoFile));
            }
            let first = self.file_offset()?.wrapping_sub(to_u64(self.head()));
            let mut access = self.access;
            if access.allows(Access::WRITE) {
                // Of different pages, perhaps: never both.
                access = access.without(Access::EXEC);
            }
            let Some((from, to)) = place.replaced() else {
                // Not more: another thread may meet a loss right now.
                place.acknowledge();
                return Ok(());
            };
            // The file that was mapped keeps a failure that it has not told yet: it goes with the old mapping.
            let _ = self.store(Span::whole(self.len));
            let offset = |from| first.wrapping_add(to_u64(from));
            let span = |from: usize, to: usize| {
                let (start, end) = (self.offset_in_map(from), self.offset_in_map(to));
                Span::new(start, end.saturating_sub(start), self.len)
            };
            // The first page elsewhere, before: after a refusal with MAP_FIXED the old pages may be gone.
            let (page, at) = (self.page.get(), offset(from));
            let spare = sys::mmap(Some(file.as_fd()), page, access, MapFlags::SHARED, at);
            let spare = self.ranged(Call::Mmap, span(from, to)?, spare)?;
            // SAFETY: the new mapping, which nothing uses.
            unsafe { unmap(spare, page) };
            // First: a loss that comes from here on is told, whether its page is replaced before the next call or after.
            let Some((from, to)) = place.restore() else {
                return Ok(());
            };
            let (base, _) = self.all_pages();
            let (start, len) = (base.wrapping_byte_add(from), to.wrapping_sub(from));
            // SAFETY: pages of this map, whose bytes are lost, and those between are the same pages of the file.
            let mapped =
                unsafe { sys::map_file_over(start, len, access, file.as_fd(), offset(from)) };
            if mapped.is_err() {
                place.lose(from, to);
                // If the kernel has unmapped the old pages, and no other mapping has the addresses by now.
                // SAFETY: takes no mapping's place.
                let _ = unsafe { sys::map_zeros_into_gap(start, len, access) };
            }
            self.ranged(Call::Mmap, span(from, to)?, mapped)
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
        ///
        /// # Examples
        ///
        /// ```
        /// # use rawmap_core::{Error, MmapRaw};
        /// /// The sum of all words, and not one with zeros of a page that was lost meanwhile.
        /// fn sum(map: &MmapRaw) -> Result<u64, Error> {
        ///     let word = |at| map.shared().load::<u32>(at).map(u64::from);
        ///     map.try_with(|map| (0..map.len() / 4).map(|number| word(number * 4)).sum())?
        /// }
        /// ```
        pub fn try_with<R>(&self, body: impl FnOnce(&Self) -> R) -> Result<R, Error> {
            let Some(place) = self.place() else {
                return Ok(body(self));
            };
            self.check_not_lost(Span::whole(0))?;
            let before = place.losses();
            let result = body(self);
            // An access of the closure is not moved behind the question.
            compiler_fence(Ordering::SeqCst);
            self.check_not_lost(Span::whole(0))?;
            if place.losses() != before {
                // Another thread has acknowledged it.
                let from = place.replaced().map_or(0, |(from, _)| from);
                return Err(self.lost_from(from));
            }
            Ok(result)
        }
    }
}
