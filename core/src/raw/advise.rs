//! Advice for the kernel, and locks in memory.
//!
//! # Safety
//!
//! A checked range of a map, rounded to pages, lies inside the pages that the map owns.

#![allow(unsafe_code, reason = "system calls on pages of the own map")]

use super::MmapRaw;
use crate::advice::{Advice, UncheckedAdvice};
use crate::error::{Call, Error};
use crate::span::Span;
use crate::sys::{self, AdviceNumber, Errno};

/// A call for the whole map, and one for a range.
macro_rules! locks {
    ($what:literal $name:ident; $of_range:literal $range:ident; ($call:expr)) => {
        #[doc = $what]
        ///
        /// # Errors
        ///
        /// - [`Error::Sys`]: past the limit `RLIMIT_MEMLOCK` (`ENOMEM`, `EPERM`), a page cannot be read (`EAGAIN`,
        ///   `ENOMEM`), or the kernel does not know the call (`ENOSYS`).
        ///
        /// # References
        ///
        /// - [mlock(2)](https://man7.org/linux/man-pages/man2/mlock.2.html)
        #[inline]
        pub fn $name(&self) -> Result<(), Error> {
            $call(self, Span::whole(self.len()))
        }

        #[doc = $of_range]
        ///
        /// # Errors
        ///
        /// - [`Error::OutOfRange`]: the range ends past the map; nothing was done.
        #[doc = concat!("- [`Error::Sys`]: as for [`", stringify!($name), "`](Self::", stringify!($name), ").")]
        #[inline]
        pub fn $range(&self, offset: usize, len: usize) -> Result<(), Error> {
            $call(self, Span::new(offset, len, self.len())?)
        }
    };
}

impl MmapRaw {
    /// `madvise` of the whole map -- tells the kernel how it will be used.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the kernel does not know the advice, or it does not fit this map
    ///   (`EINVAL`), or a page cannot be had (`ENOMEM`, `EFAULT`, `EIO`). [`Advice::HwPoison`] is always `EPERM`.
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
    #[inline]
    pub fn advise(&self, advice: Advice) -> Result<(), Error> {
        self.advise_span(Span::whole(self.len()), advice)
    }

    /// Like [`advise`](Self::advise), for `len` bytes at `offset`.
    ///
    /// 0 bytes advise nothing. Advice that the kernel keeps for each range (`Random`, `Sequential`, `DontFork`,
    /// `HugePage`, `DontDump`, `Mergeable`) splits the map into several VMAs; every later [`flush`](Self::flush) then
    /// costs one flush of the device for each, and [`remap`](Self::remap) may be refused.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was advised.
    /// - [`Error::Sys`]: as for [`advise`](Self::advise).
    #[inline]
    pub fn advise_range(&self, advice: Advice, offset: usize, len: usize) -> Result<(), Error> {
        self.advise_span(Span::new(offset, len, self.len())?, advice)
    }

    /// `madvise` of the whole map, with advice that can change what the memory holds.
    ///
    /// # Safety
    ///
    /// - No reference to the map's bytes lives, or the advice leaves the bytes as they are.
    /// - For [`UncheckedAdvice::Remove`]: no other map of the file, in any process, has a reference to the bytes.
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
    /// - In a child, no code relies on what a reference into the map showed before.
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html), Linux 4.14
    pub unsafe fn wipe_on_fork(&self, wipe: bool) -> Result<(), Error> {
        let advice = if wipe {
            AdviceNumber::LinuxWipeOnFork
        } else {
            AdviceNumber::LinuxKeepOnFork
        };
        self.madvise(Span::whole(self.len()), advice)
    }

    locks! {
        "`mlock` of the whole map -- reads it into memory and keeps it there.\n\nThe call does not return while a device cannot
        be read (since Linux 5.1 at least), nor does one that makes a locked map longer: call `prefault_read` before." lock;
        "`mlock` of `len` bytes at `offset` -- reads them into memory and keeps them there." lock_range;
        (|map: &Self, span| map.mlock(span, false))
    }

    locks! {
        "`mlock2(.., MLOCK_ONFAULT)` of the whole map -- keeps each page in memory from its first touch on. Linux 4.4."
        lock_on_fault;
        "`mlock2(.., MLOCK_ONFAULT)` of `len` bytes at `offset` -- keeps each page in memory from its first touch on. Linux 4.4."
        lock_on_fault_range;
        (|map: &Self, span| map.mlock(span, true))
    }

    locks! {
        "`munlock` of the whole map -- undoes every lock. Locks do not nest." unlock;
        "`munlock` of `len` bytes at `offset` -- undoes every lock. Locks do not nest." unlock_range;
        (|map: &Self, span| map.munlock(span))
    }

    #[inline]
    fn advise_span(&self, span: Span, advice: Advice) -> Result<(), Error> {
        match advice {
            // Safe calls: bytes under a slice of a contained map could become zero.
            Advice::HwPoison => self.ranged(Call::Madvise, span, Err(Errno::PERM)),
            // In a child, the table would still say that the addresses are this map's.
            Advice::DontFork if self.is_in_table() => {
                self.ranged(Call::Madvise, span, Err(Errno::INVAL))
            }
            _ => self.madvise(span, advice.number()),
        }
    }

    #[inline]
    fn madvise(&self, span: Span, advice: AdviceNumber) -> Result<(), Error> {
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map, and this advice changes no bytes.
        let mut result = unsafe { sys::madvise(start, len, advice) };
        if let (Err(Errno::INVAL), Some(whole)) = (result, self.page_size().ceil(len)) {
            if whole != len {
                // SAFETY: as above: `start` is at a multiple of the map's page size, so this ends with
                // one of its pages.
                result = unsafe { sys::madvise(start, whole, advice) };
            }
        }
        self.ranged(Call::Madvise, span, result)
    }

    /// For advice that takes bytes away: from huge pages the kernel takes only those that lie whole in the
    /// range, so the end is rounded up here. (Other advice must not reach past the end of a file.)
    fn madvise_whole_pages(&self, span: Span, advice: AdviceNumber) -> Result<(), Error> {
        let (start, len) = self.cover(span);
        let whole = self.page_size().ceil(len).unwrap_or(len);
        // SAFETY: `start` is at a multiple of the map's page size, so this ends with one of its pages.
        // The caller of `unchecked_advise` answers for references.
        let result = unsafe { sys::madvise(start, whole, advice) };
        self.ranged(Call::Madvise, span, result)
    }

    fn mlock(&self, span: Span, on_fault: bool) -> Result<(), Error> {
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map.
        let result = unsafe { sys::mlock(start, len, on_fault) };
        self.ranged(Call::Mlock, span, result)
    }

    fn munlock(&self, span: Span) -> Result<(), Error> {
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map.
        let result = unsafe { sys::munlock(start, len) };
        self.ranged(Call::Munlock, span, result)
    }
}
