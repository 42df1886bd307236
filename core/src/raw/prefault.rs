//! Touches pages beforehand: brings them into memory, finds out whether they can be reached, and makes them dirty.
//!
//! # Safety
//!
//! A checked range of a map, rounded to the kernel's pages, lies inside the pages that the map owns.

#![allow(unsafe_code, reason = "touches pages of the own map")]

use super::{MmapRaw, to_u64};
use crate::error::{Call, Error};
use crate::page::PageSize;
use crate::protection::Access;
use crate::span::Span;
use crate::sys::{self, Errno, RESIDENT_PAGES, Touch, page_size};

impl MmapRaw {
    /// `madvise(.., MADV_POPULATE_READ)` -- brings `len` bytes at `offset` into memory, and finds out
    /// whether they can be read without a signal.
    ///
    /// Where a load would raise SIGBUS (past the end of a file that got shorter, or a device that fails) this is an
    /// error that tells where. It holds for the moment: another process may truncate the file right after.
    ///
    /// Before Linux 5.14, and for memory that the kernel does not populate (`memfd_secret`, device memory), the kernel
    /// reads a word of each page for this call, by futex(2): as reliable, and slower. Nothing is changed. Before Linux 6.9 the
    /// call does not return while a device cannot be read that a private map is of.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was touched.
    /// - [`Error::Unreachable`]: from its offset on, bytes cannot be read.
    /// - [`Error::Protected`]: the protection of a page does not allow it.
    /// - [`Error::Sys`]: memory is short (`ENOMEM`), or the memory is broken (`EHWPOISON`).
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
    pub fn prefault_read(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.prefault(Span::new(offset, len, self.len)?, Touch::Read)
    }

    /// `madvise(.., MADV_POPULATE_WRITE)` -- brings `len` bytes at `offset` into memory for writing, and
    /// finds out whether they can be written without a signal.
    ///
    /// Like [`prefault_read`](Self::prefault_read), and the file system finds a place on the device for
    /// each page: on a full disk this is an error, and not a SIGBUS at the store. The
    /// pages become dirty, so a later flush writes all of them; to have room without that, use
    /// [`reserve`](crate::reserve). A private map gets its own copy of each page.
    ///
    /// Where `prefault_read` uses futex(2), the kernel writes a word of each page for this call, atomically and without a
    /// change.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was touched.
    /// - [`Error::Protected`]: the map is read-only, or was made of a bare descriptor number; nothing was touched. Or a page
    ///   of the range is read-only.
    /// - [`Error::Unwritable`]: from its offset on, bytes can be read and not written.
    /// - [`Error::Unreachable`]: from its offset on, bytes cannot be read either. On tmpfs a full disk is this.
    /// - [`Error::Sys`]: as for [`prefault_read`](Self::prefault_read).
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
    pub fn prefault_write(&self, offset: usize, len: usize) -> Result<(), Error> {
        let span = Span::new(offset, len, self.len)?;
        if !self.access.allows(Access::WRITE) || self.access.allows(Access::NUMBER) {
            return Err(Error::Protected);
        }
        self.prefault(span, Touch::Write)
    }

    /// `mincore` -- returns how many pages of the kernel's, among those that hold `len` bytes at `offset`, are in
    /// memory.
    ///
    /// For a map of a file that is the page cache: pages that another process brought in count. The answer is of the past
    /// as soon as it is there. If the process may not write the file (and does not own it), Linux 5.2 and later say
    /// that all are.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map.
    /// - [`Error::Sys`]: the page size is not known, or there is no mincore(2) here (`ENOSYS`).
    ///
    /// # References
    ///
    /// - [mincore(2)](https://man7.org/linux/man-pages/man2/mincore.2.html)
    pub fn resident_pages(&self, offset: usize, len: usize) -> Result<usize, Error> {
        let span = Span::new(offset, len, self.len)?;
        let step = page_size()?.get();
        let (mut start, end, _) = self.kernel_pages(span);
        let mut sum = 0usize;
        while !span.is_empty() && start.addr() < end.addr() {
            let left = end.addr().wrapping_sub(start.addr());
            let len = left.min(step.saturating_mul(RESIDENT_PAGES));
            // SAFETY: pages of this map.
            let pages = unsafe { sys::mincore(start.cast(), len) };
            let pages = self.ranged(Call::Mincore, span, pages)?;
            let pages = pages.iter().take(len.div_ceil(step));
            sum = sum.saturating_add(pages.filter(|page| *page & 1 != 0).count());
            start = start.wrapping_add(len);
        }
        Ok(sum)
    }

    pub(super) fn prefault(&self, span: Span, touch: Touch) -> Result<(), Error> {
        if span.is_empty() {
            return Ok(());
        }
        let (mut start, end, page) = self.kernel_pages(span);
        let len = end.addr().wrapping_sub(start.addr());
        if !self.is_private() {
            // Before Linux 6.9, to populate a page that cannot be read never ends.
            self.for_each_page(span, |page, size, resident| match resident {
                true => Ok(()),
                false => self.touch(page, size, Touch::Read, span),
            })?;
        }
        // SAFETY: pages of this map.
        match unsafe { sys::populate(start.cast(), len, touch) } {
            Some(Ok(())) => return Ok(()),
            // Which page is it? Or the kernel does not populate memory of this kind. Or it was not asked.
            Some(Err(Errno::FAULT | Errno::INVAL)) | None => {}
            Some(Err(errno)) => return self.ranged(Call::Madvise, span, Err(errno)),
        }
        while start.addr() < end.addr() {
            self.touch(start, page, touch, span)?;
            start = start.wrapping_add(page.get());
        }
        Ok(())
    }

    /// Finds a page of a span that is no longer in memory, although it was changed and is not stored.
    pub(crate) fn find_lost(&self, span: Span) -> Result<(), Error> {
        self.for_each_page(span, |page, _, resident| {
            if resident {
                return Ok(());
            }
            let offset = self.offset_of(page, span);
            Err(Error::Lost { offset })
        })
    }

    /// Makes the pages of the map dirty that are in memory, and changes nothing in them. A page that is
    /// not has no bytes that the device lacks. The first page that cannot be made dirty is told at the end.
    pub(crate) fn dirty_again(&self) -> Result<(), Error> {
        let whole = Span::whole(self.len);
        let mut first = Ok(());
        self.for_each_page(whole, |page, size, resident| {
            if !resident {
                return Ok(());
            }
            let made = self.dirty(page, size);
            if let Err(Error::Unwritable { .. }) = made {
                first = first.and(made);
                return Ok(());
            }
            made
        })?;
        first
    }

    fn dirty(&self, page: *mut u8, size: PageSize) -> Result<(), Error> {
        // SAFETY: the start of a page of this map.
        match unsafe { sys::touch(page.cast(), size.get(), Touch::Write) } {
            Ok(()) => Ok(()),
            Err(Errno::FAULT) => self.dirty_elsewhere(page, size),
            Err(errno) => self.ranged(Call::Futex, Span::whole(self.len), Err(errno)),
        }
    }

    /// A page that cannot be written where it is: by its protection, or because there is nothing of the file.
    #[cold]
    fn dirty_elsewhere(&self, page: *mut u8, size: PageSize) -> Result<(), Error> {
        let whole = Span::whole(self.len);
        let offset = self.offset_of(page, whole);
        match self.touch_elsewhere(page, size, Touch::Write)? {
            Ok(()) => return Ok(()),
            Err(Errno::FAULT) => {}
            Err(errno) => return self.ranged(Call::Futex, Span::whole(self.len), Err(errno)),
        }
        match self.touch_elsewhere(page, size, Touch::Read)? {
            Ok(()) => Err(Error::Unwritable { offset }),
            // Past the end of the file, or the device cannot read it: no bytes are there.
            Err(Errno::FAULT) => Ok(()),
            Err(errno) => self.ranged(Call::Futex, Span::whole(self.len), Err(errno)),
        }
    }

    /// Touches a page of a shared map through another mapping of it, which has the protection that this takes. The outer
    /// error is that there is no such mapping.
    #[cold]
    pub(super) fn touch_elsewhere(
        &self,
        page: *mut u8,
        size: PageSize,
        touch: Touch,
    ) -> Result<Result<(), Errno>, Error> {
        let access = match touch {
            Touch::Read => Access::READ,
            Touch::Write => Access::READ_WRITE,
        };
        // SAFETY: a page of this map.
        let other = match unsafe { sys::map_again(page.cast(), size.get(), access) } {
            Ok(other) => other,
            Err((call, errno)) => {
                let offset = self.offset_of(page, Span::whole(self.len));
                return Err(Error::of_range(call, errno, offset, to_u64(size.get())));
            }
        };
        // SAFETY: that mapping, which nothing else uses.
        let touched = unsafe { sys::touch(other, size.get(), touch) };
        // SAFETY: as above, and it is used no more. An error leaves it mapped, which harms nothing.
        let _ = unsafe { sys::munmap(other, size.get()) };
        Ok(touched)
    }

    /// Goes through the kernel's pages that hold a span, with whether each is in memory.
    fn for_each_page(
        &self,
        span: Span,
        mut body: impl FnMut(*mut u8, PageSize, bool) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut start, end, page) = self.kernel_pages(span);
        let step = page.get();
        while start.addr() < end.addr() {
            let left = end.addr().wrapping_sub(start.addr());
            let len = left.min(step.saturating_mul(RESIDENT_PAGES));
            // SAFETY: pages of this map.
            let resident = unsafe { sys::resident(start.cast(), len, page) };
            for is_resident in resident.into_iter().take(len.div_ceil(step)) {
                body(start, page, is_resident & 1 != 0)?;
                start = start.wrapping_add(step);
            }
        }
        Ok(())
    }

    /// The kernel's pages that hold a span: where the first begins, where the last byte ends, and their
    /// size. The map's own `page` may be larger, or be supplied as smaller.
    pub(super) fn kernel_pages(&self, span: Span) -> (*mut u8, *mut u8, PageSize) {
        // A map begins at one of them. Where the kernel does not tell how large they are, each is looked at several
        // times.
        let page = page_size().unwrap_or(PageSize::KIB_4);
        let first = self.as_mut_ptr().wrapping_add(span.offset());
        let start = first.wrapping_sub(page.offset_in_page(first.addr()));
        (start, first.wrapping_add(span.len()), page)
    }

    /// Touches the page at `start`, one of the span's.
    fn touch(&self, start: *mut u8, size: PageSize, touch: Touch, span: Span) -> Result<(), Error> {
        // SAFETY: the start of a page of this map.
        let again = |touch| unsafe { sys::touch(start.cast(), size.get(), touch) };
        let offset = self.offset_of(start, span);
        match again(touch) {
            Ok(()) => Ok(()),
            Err(Errno::FAULT) if self.is_protected(start, size, touch) => Err(Error::Protected),
            Err(Errno::FAULT) if touch == Touch::Write && again(Touch::Read).is_ok() => {
                Err(Error::Unwritable { offset })
            }
            Err(Errno::FAULT) => Err(Error::Unreachable { offset }),
            Err(errno) => self.ranged(Call::Futex, span, Err(errno)),
        }
    }

    /// Returns whether the protection of a page is all that forbids the access. Of a private map the kernel tells since
    /// Linux 5.14.
    #[cold]
    fn is_protected(&self, page: *mut u8, size: PageSize, touch: Touch) -> bool {
        if self.is_private() {
            // SAFETY: a page of this map.
            let populated = unsafe { sys::populate(page.cast(), size.get(), touch) };
            return populated == Some(Err(Errno::INVAL));
        }
        self.touch_elsewhere(page, size, touch) == Ok(Ok(()))
    }

    /// The first byte of a span that is in the page at `start`, or after it.
    fn offset_of(&self, start: *mut u8, span: Span) -> u64 {
        let from_map = start.addr().saturating_sub(self.as_ptr().addr());
        to_u64(from_map.max(span.offset()))
    }
}
