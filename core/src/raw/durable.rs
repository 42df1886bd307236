//! What a flush does where msync(2) alone will not do, and write-back that starts.
//!
//! # Safety
//!
//! A checked range of a map, rounded to pages, lies inside the pages that the map owns.

#![allow(unsafe_code, reason = "system calls on pages of the own map")]

use core::num::NonZeroU64;
use core::sync::atomic::Ordering;

use super::flushing::Flushing;
use super::{MmapRaw, NO_FILE};
use crate::error::Call;
use crate::sys::{self, AsFd, BorrowedFd, Errno, IntoRawFd, MsyncFlags};
use crate::{Error, Span};

impl MmapRaw {
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
    /// - [`Error::Lost`]: as for [`flush`](Self::flush).
    ///
    /// # References
    ///
    /// - [fsync(2)](https://man7.org/linux/man-pages/man2/fsync.2.html)
    pub fn flush_all<F: AsFd>(&self, file: F) -> Result<(), Error> {
        self.check_not_failed()?;
        self.flush_if_there(Span::whole(self.len), || {
            sys::fsync(file.as_fd()).map_err(|errno| self.remember(Call::Fsync, errno))
        })
    }

    /// `posix_fadvise(.., POSIX_FADV_DONTNEED)` -- starts to write `len` bytes at `offset` to the medium,
    /// and does not wait for it.
    ///
    /// A later [`flush`](Self::flush) then has less to wait for. Nothing is promised before that one
    /// is `Ok`. Whole pages are written. Pages of the range that are clean and that no map uses leave the
    /// page cache. Linux before 5.18 starts nothing while the device has too much to do already.
    ///
    /// `file` is the one that is mapped: a map does not keep it, unless
    /// [`keep_file`](crate::MmapOptions::keep_file) says so, and then
    /// [`flush_async_range`](Self::flush_async_range) does the same.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was started.
    /// - [`Error::NoFile`]: the map is of memory, not of a file.
    /// - [`Error::Sys`]: not a file that has pages (`ESPIPE`), or not open (`EBADF`); or a flush failed
    ///   before.
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
        // A page that failed counts as clean: it must not be dropped.
        self.check_not_failed()?;
        self.check_not_lost(span)?;
        let at = self.file_offset()?.saturating_add(to_u64(span.offset()));
        match NonZeroU64::new(to_u64(span.len())) {
            Some(len) => sys::drop_clean_pages(file.as_fd(), at, Some(len)),
            None => Ok(()),
        }
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
        if self.extras.keep_file() && span != Span::whole(self.len) {
            self.split.store(true, Ordering::Relaxed);
        }
    }

    /// Gives the map a descriptor of its own.
    #[cold]
    pub(crate) fn keep(&mut self, file: BorrowedFd<'_>) -> Result<(), Error> {
        self.extras.keep(sys::duplicate(file)?.into_raw_fd());
        self.flushing.take_the_long_way();
        Ok(())
    }

    pub(super) fn kept_file(&self) -> Option<BorrowedFd<'_>> {
        self.extras.kept_file()
    }

    pub(crate) fn check_not_failed(&self) -> Result<(), Error> {
        match self.failed() {
            Some(errno) => Err(msync_error(errno)),
            None => self.check_not_lost(Span::whole(0)),
        }
    }

    /// Starts write-back where the map keeps its file; else asks for it in vain.
    #[inline]
    pub(super) fn start_sync(&self, offset: usize, len: usize) -> Result<(), Error> {
        let span = Span::new(offset, len, self.len)?;
        self.check_not_lost(span)?;
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
        flags: MsyncFlags,
        errno: Errno,
        len: usize,
        offset: usize,
    ) -> Result<(), Error> {
        // By the flags that were given: what the map says now may be another thread's doing.
        if !Flushing::are_refused(flags) && errno != Errno::INTR {
            return Err(self.remember(Call::Msync, errno));
        }
        self.check_not_failed()?;
        match Span::not_empty(offset, len, self.len) {
            Some(span) => self.sync_span(span),
            // Never: `sync` has checked it.
            None => Ok(()),
        }
    }

    /// Flushes all of the file, where that costs fewer flushes of the device than msync(2).
    pub(crate) fn flush_file(&self) -> Option<Result<(), Error>> {
        let file = self
            .kept_file()
            .filter(|_| self.split.load(Ordering::Relaxed))?;
        Some(self.check_not_failed().and_then(|()| self.sync_file(file)))
    }

    /// `flush_range` of a span that holds a byte.
    pub(crate) fn flush_span(&self, span: Span) -> Result<(), Error> {
        self.check_not_failed()?;
        self.sync_span(span)
    }

    /// Stores a span, which holds a byte, in the way that costs the fewest flushes of the device, and
    /// again for as long as a signal interrupts it.
    pub(super) fn sync_span(&self, span: Span) -> Result<(), Error> {
        self.flush_if_there(span, || self.sync_pages(span))
    }

    fn sync_pages(&self, span: Span) -> Result<(), Error> {
        match self.kept_file() {
            Some(file) if self.split.load(Ordering::Relaxed) && span == Span::whole(self.len) => {
                self.fdatasync(file)
            }
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
    pub(super) fn sync_file(&self, file: BorrowedFd<'_>) -> Result<(), Error> {
        self.flush_if_there(Span::whole(self.len), || self.fdatasync(file))
    }

    fn fdatasync(&self, file: BorrowedFd<'_>) -> Result<(), Error> {
        sys::fdatasync(file).map_err(|errno| self.remember(Call::Fdatasync, errno))
    }

    /// msync(2) of a span that holds a byte.
    pub(super) fn msync(&self, span: Span, flags: MsyncFlags) -> Result<(), Errno> {
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
