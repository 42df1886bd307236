//! The calls on the whole map or a range of it: flush, advise, lock.
//!
//! From a call to the kernel: [`Span::new`] checks the range, `cover` rounds it to pages and places it
//! in the address space, `sys` asks the kernel.
//!
//! # Safety
//!
//! A checked range of a map, rounded to pages, lies inside the pages that the map owns.

#![allow(unsafe_code, reason = "system calls on pages of the own map")]

use core::ffi::c_void;

use super::MmapRaw;
use super::pages::refused_huge;
use crate::sys::{self, MprotectFlags};
use crate::{Advice, Error, Span, UncheckedAdvice};

impl MmapRaw {
    /// `msync(.., MS_SYNC)` of the whole map -- writes every changed byte to the medium and waits.
    ///
    /// When this returns `Ok`, the bytes survive a power cut. A signal that interrupts the wait
    /// does not end it. A private map ([`map_copy`](crate::MmapOptions::map_copy) and private anonymous
    /// memory) stores nothing: it is `Ok`, and there is nothing to survive. The file's times need
    /// not be stored.
    ///
    /// f2fs has a bug here (seen in Linux 6.1 and 6.12): it flushes the device too early in the first fsync(2) or
    /// msync(2) after each of its checkpoints, if that has to store a new length or new blocks of the file. A power
    /// cut before the next one may lose these. Bytes that replace stored ones are not affected.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: write-back failed (`EIO`, `ENOSPC`, ...), now or in a flush before. The kernel then
    ///   forgets that the pages were changed, and a second msync(2) would say `Ok` without having stored
    ///   them. So this and every other flush of the map fails until
    ///   [`retry_flush`](Self::retry_flush) succeeds.
    /// - [`Error::Lost`]: a contained map lost bytes to SIGBUS, and that was not acknowledged, or they are of this
    ///   range; or the file no longer reaches to the page of its last byte. (In the file's last page, bytes past its
    ///   end are in memory only, and that is not an error.) A range that never lay in the file is such a
    ///   range, too. See the feature `fault`, `MmapOptions::contained`.
    ///
    /// The kernel reports a failure once for each open file, not for each map or thread. Where several maps
    /// are of one open file, or threads flush a map at the same time, one of them gets the error and the others
    /// may get `Ok`: take the error of one as an error of all.
    ///
    /// # References
    ///
    /// - [msync(2)](https://man7.org/linux/man-pages/man2/msync.2.html)
    #[inline]
    pub fn flush(&self) -> Result<(), Error> {
        self.sync(0, self.len)
    }

    /// Starts to write the whole map to the medium, if it keeps its file -- else `msync(.., MS_ASYNC)`, which
    /// starts nothing on Linux.
    ///
    /// A map that [keeps its file](crate::MmapOptions::keep_file) does what
    /// [`start_writeback`](Self::start_writeback) does. For one that does not, the kernel checks the
    /// range and returns, and the bytes are written when its own timer gets to them, about 30 seconds
    /// later. In both cases only a later [`flush`](Self::flush) promises anything.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the kernel refused.
    #[inline]
    pub fn flush_async(&self) -> Result<(), Error> {
        self.start_sync(0, self.len)
    }

    /// Like [`flush`](Self::flush), for `len` bytes at `offset`.
    ///
    /// Whole pages are written, so bytes around the range may be stored too. 0 bytes store
    /// nothing. One call is one flush command to the device: to store many small changes, one call
    /// over all of them costs far less than a call for each.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was stored.
    /// - [`Error::Sys`], [`Error::Lost`]: as for [`flush`](Self::flush).
    #[inline]
    pub fn flush_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.sync(offset, len)
    }

    /// Like [`flush_async`](Self::flush_async), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map.
    /// - [`Error::Sys`]: as for [`flush_async`](Self::flush_async).
    #[inline]
    pub fn flush_async_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.start_sync(offset, len)
    }

    /// `madvise` of the whole map -- tells the kernel how it will be used.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the kernel does not know the advice, or it does not fit this map
    ///   (`EINVAL`), or a page cannot be had (`ENOMEM`, `EFAULT`, `EIO`).
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
    #[inline]
    pub fn advise(&self, advice: Advice) -> Result<(), Error> {
        self.madvise(Span::whole(self.len()), advice.number())
    }

    /// Like [`advise`](Self::advise), for `len` bytes at `offset`.
    ///
    /// 0 bytes advise nothing. Advice that the kernel keeps for each range (`Random`,
    /// `Sequential`, `DontFork`, `HugePage`, `DontDump`, `Mergeable`) splits the map into several
    /// VMAs; every later [`flush`](Self::flush) then costs one flush of the device for each, and
    /// [`remap`](Self::remap) may be refused.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was advised.
    /// - [`Error::Sys`]: as for [`advise`](Self::advise).
    #[inline]
    pub fn advise_range(&self, advice: Advice, offset: usize, len: usize) -> Result<(), Error> {
        self.madvise(Span::new(offset, len, self.len())?, advice.number())
    }

    /// `madvise` of the whole map, with advice that can change what the memory holds.
    ///
    /// # Safety
    ///
    /// - No reference to the map's bytes lives, or the advice leaves the bytes as they are.
    /// - For [`UncheckedAdvice::Remove`]: no other map of the file, in any process, has a reference
    ///   to the bytes.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: as for [`advise`](Self::advise).
    #[inline]
    pub unsafe fn unchecked_advise(&self, advice: UncheckedAdvice) -> Result<(), Error> {
        self.madvise_whole_pages(Span::whole(self.len()), advice.number())
    }

    /// Like [`unchecked_advise`](Self::unchecked_advise), for `len` bytes at `offset`, rounded out
    /// to whole pages: bytes around the range change too.
    ///
    /// # Safety
    ///
    /// - As for [`unchecked_advise`](Self::unchecked_advise).
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was advised.
    /// - [`Error::Sys`]: as for [`advise`](Self::advise).
    #[inline]
    pub unsafe fn unchecked_advise_range(
        &self,
        advice: UncheckedAdvice,
        offset: usize,
        len: usize,
    ) -> Result<(), Error> {
        self.madvise_whole_pages(Span::new(offset, len, self.len())?, advice.number())
    }

    /// `madvise(.., MADV_WIPEONFORK)` of the whole map, or `MADV_KEEPONFORK` -- says whether a child made by
    /// fork(2) finds zeros here.
    ///
    /// For private anonymous memory: keys, or the state of a random number generator, that a child is not to have.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: not private anonymous memory, or the kernel is older than 4.14 (`EINVAL`).
    ///
    /// # Safety
    ///
    /// - In a child, nobody relies on what a reference into the map showed before.
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html), Linux 4.14
    #[inline]
    pub unsafe fn wipe_on_fork(&self, wipe: bool) -> Result<(), Error> {
        let advice = if wipe {
            sys::AdviceNumber::LinuxWipeOnFork
        } else {
            sys::AdviceNumber::LinuxKeepOnFork
        };
        self.madvise(Span::whole(self.len()), advice)
    }

    /// `mlock` of the whole map -- reads it into memory and keeps it there.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: past the limit `RLIMIT_MEMLOCK` (`ENOMEM`, `EPERM`), or a page cannot be
    ///   read (`EAGAIN`, `ENOMEM`).
    ///
    /// # References
    ///
    /// - [mlock(2)](https://man7.org/linux/man-pages/man2/mlock.2.html)
    #[inline]
    pub fn lock(&self) -> Result<(), Error> {
        self.mlock(Span::whole(self.len()), false)
    }

    /// Like [`lock`](Self::lock), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was locked.
    /// - [`Error::Sys`]: as for [`lock`](Self::lock).
    #[inline]
    pub fn lock_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.mlock(Span::new(offset, len, self.len())?, false)
    }

    /// `mlock2(.., MLOCK_ONFAULT)` of the whole map -- keeps each page in memory from its first
    /// touch on. Linux 4.4.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: as for [`lock`](Self::lock), and `ENOSYS` below Linux 4.4.
    #[inline]
    pub fn lock_on_fault(&self) -> Result<(), Error> {
        self.mlock(Span::whole(self.len()), true)
    }

    /// Like [`lock_on_fault`](Self::lock_on_fault), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was locked.
    /// - [`Error::Sys`]: as for [`lock_on_fault`](Self::lock_on_fault).
    #[inline]
    pub fn lock_on_fault_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.mlock(Span::new(offset, len, self.len())?, true)
    }

    /// `munlock` of the whole map -- undoes every lock. Locks do not nest.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the kernel refused the range.
    #[inline]
    pub fn unlock(&self) -> Result<(), Error> {
        self.munlock(Span::whole(self.len()))
    }

    /// Like [`unlock`](Self::unlock), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was unlocked.
    /// - [`Error::Sys`]: as for [`unlock`](Self::unlock).
    #[inline]
    pub fn unlock_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.munlock(Span::new(offset, len, self.len())?)
    }

    /// Where the page of the byte at `offset` begins, and how far the byte is from there. The one way
    /// from an offset to an address.
    #[inline]
    fn locate(&self, offset: usize) -> (*mut c_void, usize) {
        let byte = self.as_mut_ptr().wrapping_add(offset);
        let in_page = self.page_size().offset_in_page(byte.addr());
        (byte.wrapping_sub(in_page).cast(), in_page)
    }

    /// Where the pages of a span begin, and the bytes from there to its end; no bytes for none.
    ///
    /// The end is not rounded up: the kernel does that, to its own page size, and where a supplied size
    /// is larger than that the next page may lie past the end of the file.
    #[inline]
    pub(super) fn cover(&self, span: Span) -> (*mut c_void, usize) {
        let (start, in_page) = self.locate(span.offset());
        let len = if span.is_empty() {
            0
        } else {
            span.len().wrapping_add(in_page)
        };
        (start, len)
    }

    /// No bytes store nothing; or there is an error to tell. Out of line, for the sake of `sync`.
    #[cold]
    #[inline(never)]
    fn sync_nothing(&self, offset: usize, len: usize) -> Result<(), Error> {
        Span::new(offset, len, self.len()).map(|_| ())
    }

    #[inline]
    fn sync(&self, offset: usize, len: usize) -> Result<(), Error> {
        let Some(span) = Span::not_empty(offset, len, self.len()) else {
            return self.sync_nothing(offset, len);
        };
        // `cover` of a span that is known to hold a byte.
        let (start, in_page) = self.locate(span.offset());
        let whole = span.len().wrapping_add(in_page);
        let flags = self.sync_flags();
        // SAFETY: from the start of the page that holds the span's first byte to its last byte: pages
        // of this map.
        match unsafe { sys::msync(start, whole, flags) } {
            Ok(()) => Ok(()),
            Err(errno) => self.sync_refused(flags, errno, len, offset),
        }
    }

    #[inline]
    fn madvise(&self, span: Span, advice: sys::AdviceNumber) -> Result<(), Error> {
        use sys::AdviceNumber as Kernel;
        let once = matches!(
            advice,
            Kernel::WillNeed | Kernel::LinuxPopulateRead | Kernel::LinuxPopulateWrite
        );
        if !once {
            self.may_be_split(span);
        }
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map, and this advice changes no bytes.
        let result = unsafe { sys::madvise(start, len, advice) };
        match self.page_size().ceil(len) {
            Some(whole) if refused_huge(result) && whole != len => {
                // SAFETY: as above: `start` is at a multiple of the map's page size, so this ends with
                // one of its pages.
                unsafe { sys::madvise(start, whole, advice) }
            }
            _ => result,
        }
    }

    /// For advice that takes bytes away: from huge pages the kernel takes only those that lie whole in the
    /// range, so the end is rounded up here. (Other advice must not reach past the end of a file.)
    #[inline]
    fn madvise_whole_pages(&self, span: Span, advice: sys::AdviceNumber) -> Result<(), Error> {
        let (start, len) = self.cover(span);
        let whole = self.page_size().ceil(len).unwrap_or(len);
        // SAFETY: `start` is at a multiple of the map's page size, so this ends with one of its pages.
        // The caller of `unchecked_advise` answers for references.
        unsafe { sys::madvise(start, whole, advice) }
    }

    /// The part of `protect_range` that knows where the range lies.
    #[inline]
    pub(super) fn mprotect(&mut self, span: Span, prot: MprotectFlags) -> Result<(), Error> {
        let (start, len) = self.cover(span);
        if len == 0 {
            // QEMU's user mode answers ENOMEM to 0 bytes, where Linux says that all is well.
            return Ok(());
        }
        self.may_be_split(span);
        // SAFETY: `cover` gives pages of this map, and `&mut self` rules out references.
        let result = unsafe { sys::mprotect(start, len, prot) };
        match self.page_size().ceil(len) {
            Some(whole) if refused_huge(result) && whole != len => {
                // SAFETY: as above, and as in `madvise`.
                unsafe { sys::mprotect(start, whole, prot) }
            }
            _ => result,
        }
    }

    #[inline]
    fn mlock(&self, span: Span, on_fault: bool) -> Result<(), Error> {
        self.may_be_split(span);
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map.
        unsafe { sys::mlock(start, len, on_fault) }
    }

    #[inline]
    fn munlock(&self, span: Span) -> Result<(), Error> {
        self.may_be_split(span);
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map.
        unsafe { sys::munlock(start, len) }
    }
}
