//! A flush once more after one that failed.
//!
//! In this order: collect the errors that are older, so that the retry does not fail for them; make the
//! pages dirty; flush; forget the failure, unless another was recorded meanwhile.
//!
//! # Safety
//!
//! A checked range of a map, rounded to the kernel's pages, lies inside the pages that the map owns.

#![allow(unsafe_code, reason = "touches pages of the own map")]

use core::hint;
use core::sync::atomic::{AtomicU32, Ordering};

use super::MmapRaw;
use super::durable::to_u64;
use crate::sys::{self, Errno, MsyncFlags, RESIDENT_PAGES, Touch};
use crate::{Error, Span};

impl MmapRaw {
    /// `msync` of the whole map once more after a flush failed -- and of what the kernel then took for
    /// stored.
    ///
    /// After a failed write-back the kernel marks the pages clean, so that a second msync(2) says `Ok`
    /// without having stored them. The map remembers the failure, and every flush fails until this call
    /// succeeds. It makes the pages dirty again, by an atomic read-modify-write in each that changes
    /// nothing and is safe beside other writers, and flushes the map.
    ///
    /// The kernel does not tell which pages failed, so this takes all pages of the map that are in
    /// memory: they are all written. Where it is known what was changed since the last flush that was
    /// `Ok`, [`retry_flush_range`](Self::retry_flush_range) writes less. Do not wait long: a page that
    /// the kernel takes for clean can be dropped when memory is short, and then reads as what the medium
    /// has. [`Tracked`](crate::Tracked) looks for such pages.
    ///
    /// It does the same where no flush of this map failed. That is of use where the failure was told to
    /// somebody else, and needed where several maps are of one open file: after a failure, retry each of
    /// them. The kernel tells the failure once, and a retry of one map may take the news from the
    /// others. A private map has nothing to retry.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the write-back failed again.
    /// - [`Error::Unreachable`]: a page cannot be made dirty: the disk is full, the file system has become
    ///   read-only, or the map is.
    ///
    /// In both cases the map stays as it is, failed.
    #[cold]
    pub fn retry_flush(&self) -> Result<(), Error> {
        self.retry_span(Span::whole(self.len))
    }

    /// Like [`retry_flush`](Self::retry_flush), for `len` bytes at `offset`: the caller knows that
    /// nothing else was changed since the last flush that was `Ok`. The map is no longer failed
    /// afterwards.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was done.
    /// - As for [`retry_flush`](Self::retry_flush).
    ///
    /// 0 bytes are `Ok`, and a failed map stays failed.
    #[cold]
    pub fn retry_flush_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.retry_span(Span::new(offset, len, self.len)?)
    }

    /// Gives the error number of the flush that failed, until a
    /// [`retry_flush`](Self::retry_flush) succeeds.
    #[must_use]
    #[inline]
    pub fn failed(&self) -> Option<Errno> {
        self.flushing.failed()
    }

    fn retry_span(&self, span: Span) -> Result<(), Error> {
        self.collect_old_errors(span);
        self.retry_with(span, || self.dirty_again(span))
    }

    /// The kernel may have tried again by itself, or try right now, and keeps that error for the next who
    /// asks. Here nobody is told; but unless the retry succeeds it must not be forgotten.
    pub(crate) fn collect_old_errors(&self, span: Span) {
        if span.is_empty() || self.is_private() {
            return;
        }
        match self.msync(span, MsyncFlags::SYNC) {
            Ok(()) | Err(Errno::INTR) => {}
            Err(errno) => self.flushing.set_failed(errno),
        }
    }

    /// Makes pages dirty in the way that is given, flushes the span, and forgets the failure if all went
    /// well.
    pub(crate) fn retry_with(
        &self,
        span: Span,
        dirty: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        if span.is_empty() || self.is_private() {
            return Ok(());
        }
        let long_way = !self.extras.are_none();
        let ticket = self.flushing.begin_retry();
        let file = self
            .kept_file()
            .filter(|_| self.split.load(Ordering::Relaxed));
        let sync = |()| file.map_or_else(|| self.sync_span(span), |file| self.sync_file(file));
        match dirty().and_then(sync) {
            Ok(()) => {
                self.flushing.end_retry(&ticket, long_way);
                // The kernel tells one of those who flush at the same time. It may have been another.
                self.check_not_failed()
            }
            Err(error) => {
                self.flushing.give_up_retry(&ticket, long_way);
                Err(error)
            }
        }
    }

    /// Makes those pages of a span dirty that are in memory, and changes nothing in them. A page that is
    /// not has no bytes that the medium lacks.
    pub(crate) fn dirty_again(&self, span: Span) -> Result<(), Error> {
        self.for_each_page(span, |page, resident| {
            if resident {
                self.dirty_page(page, span)
            } else {
                Ok(())
            }
        })
    }

    /// Finds a page of a span that is no longer in memory, although it was changed and is not stored.
    pub(crate) fn find_lost(&self, span: Span) -> Result<(), Error> {
        self.for_each_page(span, |page, resident| {
            if resident {
                Ok(())
            } else {
                Err(Error::Lost {
                    offset: to_u64(self.offset_of(page, span)),
                })
            }
        })
    }

    /// Goes through the kernel's pages that hold a span, with whether each is in memory.
    fn for_each_page(
        &self,
        span: Span,
        mut body: impl FnMut(*mut u8, bool) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut start, end, page) = self.kernel_pages(span);
        let step = page.get();
        while start.addr() < end.addr() {
            let left = end.addr().wrapping_sub(start.addr());
            let len = left.min(step.saturating_mul(RESIDENT_PAGES));
            // SAFETY: pages of this map.
            let resident = unsafe { sys::resident(start.cast(), len, page) };
            for page in resident.into_iter().take(len.div_ceil(step)) {
                body(start, page & 1 != 0)?;
                start = start.wrapping_add(step);
            }
        }
        Ok(())
    }

    fn dirty_page(&self, page: *mut u8, span: Span) -> Result<(), Error> {
        match self.touch(page, Touch::Write, span) {
            // No futex(2) here: then by an instruction of our own. It could raise a signal, but the page is
            // in memory.
            Err(Error::Sys { errno, .. }) if errno == Errno::NOSYS => {
                // SAFETY: aligned, at the start of a page of this map; used atomically.
                let word = unsafe { AtomicU32::from_ptr(page.cast()) };
                let order = Ordering::Relaxed;
                let old = word.load(order);
                // The compiler must not see that it stores what is there. If it is there no longer, another
                // has just made the page dirty.
                let new = hint::black_box(old);
                let _ = word.compare_exchange(old, new, order, order);
                Ok(())
            }
            result => result,
        }
    }
}
