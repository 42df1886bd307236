//! What a flush does where msync(2) alone will not do: a flush that failed, and a map that keeps its
//! file.
//!
//! # Safety
//!
//! A checked range of a map, rounded to pages, lies inside the pages that the map owns.

#![allow(unsafe_code, reason = "system calls on pages of the own map")]

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};

use super::{MmapRaw, NO_FILE, NONE_KEPT};
use crate::error::Call;
use crate::sys::{self, AsFd, BorrowedFd, Errno, IntoRawFd, MsyncFlags, RESIDENT_PAGES, Touch};
use crate::{Error, Span};

/// What a flush has to know of its map. Loads and stores only, no read-modify-write: on aarch64 those are
/// calls of helpers that need libc.
#[derive(Debug)]
pub(super) struct Flushing {
    /// The flags that a flush gives to msync(2): `MS_SYNC`, or `REFUSED` where there is more to do. That way
    /// the hot path has no check of its own: the kernel answers `EINVAL`, and what follows is out of line.
    flags: AtomicU32,
    /// The error of the flush that failed, or 0.
    failed: AtomicU16,
    /// The map keeps its file, and ranged advice may have split it into several VMAs.
    split: AtomicBool,
}

const SYNC: u32 = MsyncFlags::SYNC.bits();
/// `MS_SYNC` and `MS_ASYNC`: only one may be given.
const REFUSED: u32 = MsyncFlags::SYNC.bits() | MsyncFlags::ASYNC.bits();

impl Flushing {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            flags: AtomicU32::new(SYNC),
            failed: AtomicU16::new(0),
            split: AtomicBool::new(false),
        }
    }

    // Relaxed, all of it: it says nothing about other memory.

    #[inline]
    fn flags(&self) -> MsyncFlags {
        MsyncFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    fn set_failed(&self, errno: Errno) {
        // The kernel has none above 4095.
        let errno = u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX);
        self.failed.store(errno, Ordering::Relaxed);
        self.flags.store(REFUSED, Ordering::Relaxed);
    }

    fn set_split(&self) {
        self.split.store(true, Ordering::Relaxed);
        self.flags.store(REFUSED, Ordering::Relaxed);
    }

    fn forget_failure(&self) {
        self.failed.store(0, Ordering::Relaxed);
        if !self.split.load(Ordering::Relaxed) {
            self.flags.store(SYNC, Ordering::Relaxed);
        }
    }
}

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
    /// somebody else: see [`flush`](Self::flush).
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
    #[cold]
    pub fn retry_flush_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.retry_span(Span::new(offset, len, self.len)?)
    }

    /// Gives the error number of the flush that failed, until a
    /// [`retry_flush`](Self::retry_flush) succeeds.
    #[must_use]
    #[inline]
    pub fn failed(&self) -> Option<Errno> {
        match self.flushing.failed.load(Ordering::Relaxed) {
            0 => None,
            errno => Some(Errno::from_raw_os_error(i32::from(errno))),
        }
    }

    /// `fsync` -- writes the bytes and all that is known of the file to the medium: its length and its
    /// times too.
    ///
    /// [`flush`](Self::flush) stores what is needed to find the bytes again, and that includes the length on
    /// the file systems of Linux; the times it need not store. A file that was just created has its name in
    /// its folder: fsync that.
    ///
    /// `file` is the one that is mapped. The call takes part in the map's memory of failures, as
    /// [`flush`](Self::flush) does: a failure that fsync(2) reports is not reported again.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: write-back failed, now or in a flush before.
    ///
    /// # References
    ///
    /// - [fsync(2)](https://man7.org/linux/man-pages/man2/fsync.2.html)
    pub fn flush_all<F: AsFd>(&self, file: F) -> Result<(), Error> {
        self.check_not_failed()?;
        sys::fsync(file.as_fd()).map_err(|errno| self.remember(Call::Fsync, errno))
    }

    /// `posix_fadvise(.., POSIX_FADV_DONTNEED)` -- starts to write `len` bytes at `offset` to the medium,
    /// and does not wait for it.
    ///
    /// A later [`flush`](Self::flush) then has less to wait for. Nothing is promised before that one
    /// is `Ok`. Whole pages are written. Pages of the range that are clean and that no map uses leave the
    /// page cache.
    ///
    /// `file` is the one that is mapped: a map does not keep it, unless
    /// [`keep_file`](crate::MmapOptions::keep_file) says so, and then
    /// [`flush_async_range`](Self::flush_async_range) does the same.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was started.
    /// - [`Error::NoFile`]: the map is of memory, not of a file.
    /// - [`Error::Sys`]: not a file that has pages (`ESPIPE`), or not open (`EBADF`).
    ///
    /// # References
    ///
    /// - [posix_fadvise(2)](https://man7.org/linux/man-pages/man2/posix_fadvise.2.html)
    pub fn start_writeback<F: AsFd>(
        &self,
        file: F,
        offset: usize,
        len: usize,
    ) -> Result<(), Error> {
        let span = Span::new(offset, len, self.len)?;
        self.start(file, span)
    }

    fn start<F: AsFd>(&self, file: F, span: Span) -> Result<(), Error> {
        let at = self.file_offset()?.saturating_add(to_u64(span.offset()));
        sys::drop_clean_pages(file.as_fd(), at, to_u64(span.len()))
    }

    /// Where the map begins in its file, in bytes.
    ///
    /// # Errors
    ///
    /// - [`Error::NoFile`]: the map is of memory, not of a file.
    pub const fn file_offset(&self) -> Result<u64, Error> {
        match self.file_offset {
            NO_FILE => Err(Error::NoFile),
            offset => Ok(offset),
        }
    }

    /// The flags for msync(2), which the kernel refuses where there is more to do.
    #[inline]
    pub(super) fn sync_flags(&self) -> MsyncFlags {
        self.flushing.flags()
    }

    /// Called with every call that can split the map. Only a map that keeps its file has another way.
    #[inline]
    pub(super) fn may_be_split(&self, span: Span) {
        if self.kept != NONE_KEPT && span != Span::whole(self.len) {
            self.flushing.set_split();
        }
    }

    /// Gives the map a descriptor of its own.
    #[cold]
    pub(crate) fn keep(&mut self, file: BorrowedFd<'_>) -> Result<(), Error> {
        self.kept = sys::duplicate(file)?.into_raw_fd();
        Ok(())
    }

    fn is_split(&self) -> bool {
        self.flushing.split.load(Ordering::Relaxed)
    }

    fn kept_file(&self) -> Option<BorrowedFd<'_>> {
        if self.kept == NONE_KEPT {
            return None;
        }
        // SAFETY: the map's own, which it closes when it is dropped.
        Some(unsafe { BorrowedFd::borrow_raw(self.kept) })
    }

    pub(crate) fn check_not_failed(&self) -> Result<(), Error> {
        self.failed()
            .map_or(Ok(()), |errno| Err(msync_error(errno)))
    }

    /// Starts write-back where the map keeps its file; else asks for it in vain.
    #[inline]
    pub(super) fn start_sync(&self, offset: usize, len: usize) -> Result<(), Error> {
        let span = Span::new(offset, len, self.len)?;
        match self.kept_file() {
            Some(file) => self.start(file, span),
            None if span.is_empty() => Ok(()),
            None => self.msync(span, MsyncFlags::ASYNC).map_err(msync_error),
        }
    }

    /// msync(2) gave an error: a signal came, or the flags were to be refused, or write-back failed. Out
    /// of line, for the sake of `sync`.
    #[cold]
    #[inline(never)]
    pub(super) fn sync_refused(
        &self,
        offset: usize,
        len: usize,
        errno: Errno,
    ) -> Result<(), Error> {
        if self.sync_flags() == MsyncFlags::SYNC && errno != Errno::INTR {
            return Err(self.remember(Call::Msync, errno));
        }
        self.check_not_failed()?;
        match Span::not_empty(offset, len, self.len) {
            Some(span) => self.sync_span(span),
            // Never: `sync` has checked it.
            None => Ok(()),
        }
    }

    /// Like `flush_range` for a span that holds a byte, but may store more where that is cheaper.
    pub(crate) fn flush_around(&self, span: Span) -> Result<(), Error> {
        self.check_not_failed()?;
        match self.kept_file() {
            Some(file) if self.is_split() => self.sync_file(file),
            _ => self.sync_span(span),
        }
    }

    /// Stores a span, which holds a byte, in the way that costs the fewest flushes of the device, and
    /// again for as long as a signal interrupts it.
    fn sync_span(&self, span: Span) -> Result<(), Error> {
        match self.kept_file() {
            Some(file) if self.is_split() && span == Span::whole(self.len) => self.sync_file(file),
            _ => loop {
                // The kernel remembers no progress: the whole range each time.
                match self.msync(span, MsyncFlags::SYNC) {
                    Ok(()) => return Ok(()),
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(self.remember(Call::Msync, errno)),
                }
            },
        }
    }

    /// One flush of the device for all of the file, where msync(2) takes one for each VMA.
    fn sync_file(&self, file: BorrowedFd<'_>) -> Result<(), Error> {
        sys::fdatasync(file).map_err(|errno| self.remember(Call::Fdatasync, errno))
    }

    /// msync(2) of a span that holds a byte.
    fn msync(&self, span: Span, flags: MsyncFlags) -> Result<(), Errno> {
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map.
        unsafe { sys::msync(start, len, flags) }
    }

    /// Keeps the failure of a flush, and makes it an error. Any counts: a file system may hand on whatever
    /// its device says.
    #[cold]
    #[inline(never)]
    fn remember(&self, call: Call, errno: Errno) -> Error {
        self.flushing.set_failed(errno);
        Error::Sys { call, errno }
    }

    fn retry_span(&self, span: Span) -> Result<(), Error> {
        self.collect_old_error(span);
        self.dirty_again(span, false)?;
        self.flush_again(span)
    }

    /// A retry must not fail for what went wrong before it: the kernel may have tried again by itself, or
    /// try right now, and keeps that error for the next who asks. Whatever it was about is made dirty next.
    pub(crate) fn collect_old_error(&self, span: Span) {
        if !span.is_empty() {
            let _ = self.msync(span, MsyncFlags::SYNC);
        }
    }

    /// The second half of a retry: stores the span, and forgets the failure if that went well.
    pub(crate) fn flush_again(&self, span: Span) -> Result<(), Error> {
        if !span.is_empty() {
            self.sync_span(span)?;
        }
        self.flushing.forget_failure();
        Ok(())
    }

    /// The first half: makes those pages of a span dirty that are in memory. A page that is
    /// not cannot hold bytes that the medium lacks; where it should, that is [`Error::Lost`].
    pub(crate) fn dirty_again(&self, span: Span, should_be_there: bool) -> Result<(), Error> {
        let (mut start, end, page) = self.kernel_pages(span);
        let step = page.get();
        while start.addr() < end.addr() {
            let left = end.addr().wrapping_sub(start.addr());
            let len = left.min(step.saturating_mul(RESIDENT_PAGES));
            // SAFETY: pages of this map, and no more of them than that.
            let resident = unsafe { sys::resident(start.cast(), len) };
            for page in resident.into_iter().take(len.div_ceil(step)) {
                if page & 1 != 0 {
                    self.dirty_page(start, span)?;
                } else if should_be_there {
                    return Err(Error::Lost {
                        offset: to_u64(self.offset_of(start, span)),
                    });
                }
                start = start.wrapping_add(step);
            }
        }
        Ok(())
    }
}

impl MmapRaw {
    /// Makes one page dirty and changes nothing in it.
    fn dirty_page(&self, start: *mut u8, span: Span) -> Result<(), Error> {
        match self.touch(start, Touch::Write, span) {
            // No futex(2) here: then by an instruction of our own. It could raise a signal, but the page is
            // in memory.
            Err(Error::Sys { errno, .. }) if errno == Errno::NOSYS => {
                // SAFETY: aligned, at the start of a page of this map; used atomically.
                let word = unsafe { AtomicU32::from_ptr(start.cast()) };
                let order = Ordering::Relaxed;
                let old = word.load(order);
                // The compiler must not see that it stores what is there. If it is there no longer, another
                // has just made the page dirty.
                let new = core::hint::black_box(old);
                let _ = word.compare_exchange(old, new, order, order);
                Ok(())
            }
            result => result,
        }
    }
}

fn msync_error(errno: Errno) -> Error {
    Error::Sys {
        call: Call::Msync,
        errno,
    }
}

/// Lossless: no target has a `usize` of more than 64 bits.
#[allow(clippy::as_conversions, reason = "see above; and `From` is not const")]
pub(super) const fn to_u64(bytes: usize) -> u64 {
    bytes as u64
}
