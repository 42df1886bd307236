//! Stores the bytes of a map, and remembers a store that failed.
//!
//! From a call to the kernel: [`Span`] checks the range, `locate` rounds it to pages and places it in the address space,
//! `sys` asks the kernel. What the map remembers is in [`Health`].
//!
//! # Safety
//!
//! A checked range of a map, rounded to pages, lies inside the pages that the map owns.

#![allow(unsafe_code, reason = "system calls on pages of the own map")]

use core::sync::atomic::{AtomicU32, Ordering};

use super::{MmapRaw, NO_FILE, to_u64};
use crate::error::{Call, Error};
use crate::span::Span;
use crate::sys::{self, AsFd, Errno, MsyncFlags};

/// Whether a flush failed, and whether a flush is more than msync(2). One word, so that no two facts can disagree:
/// the lower half is 0 where msync(2) is all that there is to do.
///
/// | health | event | becomes |
/// |---|---|---|
/// | sound | a flush is `Ok` | sound |
/// | any | a flush, or the collecting msync(2) of a retry, fails | failed, without a ticket |
/// | any | a retry misses bytes that are pending | failed, without a ticket |
/// | any | a retry begins | the same, with its ticket |
/// | with the ticket | the retry stored all resident pages | sound |
/// | another ticket, or none | the retry stored all resident pages | as it is |
/// | any | a retry fails | as it is |
///
/// A flush only loads, and only stores where it fails: on aarch64 a read-modify-write is a call of a helper that
/// needs libc. Retries have some.
#[derive(Debug)]
pub(super) struct Health(AtomicU32);

/// The errno of the flush that failed, or 0.
const ERRNO: u32 = 0xfff;
/// The map may lose pages. Set once, before the map is handed out.
#[cfg(feature = "fault")]
const CONTAINED: u32 = 1 << 12;
const TICKET: u32 = 0xffff << 16;

/// A retry that was begun.
#[derive(Debug)]
struct Ticket(u32);

// Relaxed, all of it: it says nothing about other memory.
const ORDER: Ordering = Ordering::Relaxed;

impl Health {
    #[inline]
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[cfg(feature = "fault")]
    pub(super) fn contain(&mut self) {
        *self.0.get_mut() |= CONTAINED;
    }

    /// Returns whether msync(2) is all that a flush takes.
    #[inline]
    fn is_plain(&self) -> bool {
        self.0.load(ORDER) & !TICKET == 0
    }

    fn failed(&self) -> Option<Errno> {
        let errno = self.0.load(ORDER) & ERRNO;
        (errno != 0).then(|| Errno::from_raw_os_error(errno.cast_signed()))
    }

    /// Takes the ticket away: a retry that is under way does not end well.
    fn set_failed(&self, errno: Errno) {
        let errno = errno.raw_os_error().cast_unsigned() & ERRNO;
        let kept = self.0.load(ORDER) & !ERRNO & !TICKET;
        self.0.store(kept | errno, ORDER);
    }

    fn begin_retry(&self) -> Ticket {
        static TICKETS: AtomicU32 = AtomicU32::new(0);
        // Never 0, and another for each of the retries that can be under way at the same time.
        let ticket = (TICKETS.fetch_add(1, ORDER) | 1 << 15).wrapping_shl(16);
        let mut word = self.0.load(ORDER);
        loop {
            let marked = word & !TICKET | ticket;
            match self.0.compare_exchange_weak(word, marked, ORDER, ORDER) {
                Ok(_) => return Ticket(marked),
                Err(now) => word = now,
            }
        }
    }

    fn end_retry(&self, ticket: &Ticket) {
        let sound = ticket.0 & !ERRNO & !TICKET;
        let _ = self.0.compare_exchange(ticket.0, sound, ORDER, ORDER);
    }
}

impl MmapRaw {
    /// `msync(.., MS_SYNC)` of the whole map -- writes every changed byte to stable storage and waits.
    ///
    /// When this returns `Ok`, the bytes survive a power cut. A signal that interrupts the wait
    /// does not end it. A private map ([`map_copy`](crate::MmapOptions::map_copy) and private anonymous
    /// memory) stores nothing: it is `Ok`, and there is nothing to survive. So is a map of a file that is open for reading
    /// only: [`flush_all`](Self::flush_all) stores what others wrote there. The file's times need not be stored.
    ///
    /// f2fs has a bug here (seen in Linux 6.1 and 6.12): it flushes the device too early in the first fsync(2) or
    /// msync(2) after each of its checkpoints, if that has to store a new length or new blocks of the file. A power
    /// cut before the next one may lose these. Bytes that replace stored ones are not affected.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: write-back failed (`EIO`, `ENOSPC`, ...), now or in a flush before. The kernel then
    ///   forgets that the pages were changed, and a second msync(2) would say `Ok` without having stored
    ///   them. So this and every other flush of the map fails until [`retry_flush`](Self::retry_flush)
    ///   succeeds. With `EINTR`, a thousand signals in a row interrupted the call, and the map is as before.
    /// - [`Error::Lost`]: a contained map lost bytes to SIGBUS, and that was not acknowledged, or they are of this
    ///   range; or the file no longer reaches to the page of its last byte, or the device cannot read that page. (In the
    ///   file's last page, bytes past its end are in memory only, and that is not an error.) A range that never lay in the
    ///   file is such a range, too. See the feature `fault`, `MmapOptions::contained`.
    ///
    /// The kernel reports a failure once for each open file, not for each map or thread. Where several maps
    /// are of one open file, or threads flush a map at the same time, one of them gets the error and the others
    /// may get `Ok`: take the error of one as an error of all.
    ///
    /// The kernel stores to the file that was open when it was mapped. On overlayfs, a file of a lower layer that was
    /// opened for reading only is another one after its copy-up.
    ///
    /// # References
    ///
    /// - [msync(2)](https://man7.org/linux/man-pages/man2/msync.2.html)
    #[inline]
    pub fn flush(&self) -> Result<(), Error> {
        self.sync(0, self.len)
    }

    /// `msync(.., MS_ASYNC)` of the whole map -- starts nothing on Linux: the kernel checks the range and returns.
    ///
    /// The bytes are written when the kernel's own timer gets to them, about 30 seconds later. Only a later
    /// [`flush`](Self::flush) promises anything. [`start_writeback`](Self::start_writeback) does start.
    ///
    /// # Errors
    ///
    /// - As for [`flush`](Self::flush).
    #[inline]
    pub fn flush_async(&self) -> Result<(), Error> {
        self.flush_async_range(0, self.len)
    }

    /// Flushes `len` bytes at `offset`; see [`flush`](Self::flush).
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
    /// - As for [`flush`](Self::flush).
    pub fn flush_async_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        let span = Span::new(offset, len, self.len)?;
        self.check_sound(span)?;
        if span.is_empty() {
            return Ok(());
        }
        self.ranged(Call::Msync, span, self.msync(span, MsyncFlags::ASYNC))
    }

    /// `fsync` -- writes the bytes and all that is known of the file to stable storage: its length and its times too.
    ///
    /// [`flush`](Self::flush) stores what is needed to find the bytes again, and that includes the length on
    /// the file systems of Linux; the times it need not store. A file that was just created has its name in
    /// its directory: fsync that.
    ///
    /// `file` is the one that is mapped: the open file that the map was made of, or one that was opened for this call. Of one
    /// that another map was made of, it would take the news. The call flushes the map, too: a failure that was told to
    /// another descriptor of the file is seen only there. It takes part in the map's memory of failures.
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
        let whole = Span::whole(self.len);
        self.flush_span(whole)?;
        match sys::fsync(file.as_fd()) {
            Ok(()) => self.check_sound(whole),
            // Not of a file.
            Err(errno @ Errno::BADF) => self.ranged(Call::Fsync, whole, Err(errno)),
            Err(errno) => Err(self.remember(Call::Fsync, errno, whole)),
        }
    }

    /// `sync_file_range(.., SYNC_FILE_RANGE_WRITE)` -- starts to write `len` bytes at `offset` to stable storage,
    /// and does not wait for it.
    ///
    /// A later [`flush`](Self::flush) then has less to wait for. Nothing is promised before that one
    /// is `Ok`. Whole pages are written. Where the device has too much to do already, the call waits for that. F2FS starts nothing
    /// while another file of the disk is being synced.
    ///
    /// `file` is the one that is mapped: a map does not keep it.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was started.
    /// - [`Error::NoFile`]: the map is of memory, not of a file.
    /// - [`Error::Sys`]: not a file that has pages (`ESPIPE`), or not open (`EBADF`); or a flush failed
    ///   before, or this does (`ENOSPC`, `EIO`): then the map has failed as by a [`flush`](Self::flush).
    ///
    /// # References
    ///
    /// - [sync_file_range(2)](https://man7.org/linux/man-pages/man2/sync_file_range.2.html)
    pub fn start_writeback<F: AsFd>(
        &self,
        file: F,
        offset: usize,
        len: usize,
    ) -> Result<(), Error> {
        let span = Span::new(offset, len, self.len)?;
        // A page that failed counts as clean: it must not be dropped.
        self.check_sound(span)?;
        let at = self.file_offset()?.saturating_add(to_u64(span.offset()));
        if span.is_empty() {
            return Ok(());
        }
        // Not posix_fadvise(2), which drops pages that a device has refused: those are clean for the kernel.
        match sys::start_to_write(file.as_fd(), at, to_u64(span.len())) {
            // An architecture whose number of it is not known here.
            Err(Errno::NOSYS) => self.flush_async_range(offset, len),
            // Of the descriptor.
            Err(errno @ (Errno::BADF | Errno::SPIPE | Errno::INVAL | Errno::PERM)) => {
                self.ranged(Call::SyncFileRange, span, Err(errno))
            }
            // The file system may have thrown the bytes away, and tell of it here only.
            Err(errno) => Err(self.remember(Call::SyncFileRange, errno, span)),
            Ok(()) => Ok(()),
        }
    }

    /// `msync` of the whole map once more after a flush failed -- and of what the kernel then took for stored.
    ///
    /// After a failed write-back the kernel marks the pages clean, so that a second msync(2) says `Ok`
    /// without having stored them. The map remembers the failure, and every flush fails until this call
    /// succeeds. It makes the pages dirty again, by an atomic read-modify-write of the kernel's in each, which changes
    /// nothing and is safe beside other writers, and flushes the map.
    ///
    /// The kernel does not tell which pages failed, so this takes all pages of the map that are in
    /// memory: they are all written, whatever their protection is, and holes of the file among them are filled. If the process may not write the file (it has given up
    /// root, say), the kernel does not tell which are in memory, and all are read. Do not wait long: a page that
    /// the kernel takes for clean can be dropped when memory is short, and then reads as what the device
    /// has. [`Tracked`](crate::Tracked) looks for such pages.
    ///
    /// ext4 has a bug here (Linux 6.14, and 6.12 that took it over): of bytes whose first write to new blocks of the file
    /// failed, [reserved](crate::reserve) ones too, it keeps no record that they are written, and this is `Ok` in vain. Bytes
    /// that replace stored ones are not affected: write a new file once and flush it, before it matters.
    ///
    /// It does the same where no flush of this map failed. Call it before the first read, if a process that had the file
    /// before was killed: what is read may be in memory alone. And it is needed where several maps are of one open file: after
    /// a failure, retry each of them. The kernel tells the failure once, and a retry of one map may take the news from the
    /// others. A private map has nothing to retry.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the write-back failed again; or before, and no call had told so: call it once more. Or the file is open for reading only (mprotect(2), `EACCES`), or a
    ///   filter of system calls refuses futex(2) and the kernel is older than 5.14. Or a page that is not writable is reached
    ///   by a second mapping, and a limit leaves no room for one (`EAGAIN`, `ENOMEM`): unlock the map, if it is locked.
    /// - [`Error::Unwritable`], [`Error::Unreachable`]: a page cannot be made dirty: the disk is full, or the file
    ///   system has become read-only.
    /// - [`Error::Lost`]: a contained map lost pages, and has not recovered them.
    ///
    /// In each case the map stays as it is, failed.
    #[cold]
    ///
    /// # Examples
    ///
    /// ```
    /// # use rawmap_core::{Error, MmapRaw};
    /// fn store(map: &MmapRaw, at: usize, word: u32) -> Result<(), Error> {
    ///     map.shared().store(at, word)?;
    ///     map.flush_range(at, 4).or_else(|_| map.retry_flush()) // Once more, and then it is the caller's.
    /// }
    /// ```
    pub fn retry_flush(&self) -> Result<(), Error> {
        self.retry(Span::whole(0), || Ok(()))
    }

    /// Returns the error number of the flush that failed, until a [`retry_flush`](Self::retry_flush) succeeds.
    #[must_use]
    #[inline]
    pub fn failed(&self) -> Option<Errno> {
        self.health.failed()
    }

    /// Returns where the map begins in its file, in bytes.
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

    #[inline]
    fn sync(&self, offset: usize, len: usize) -> Result<(), Error> {
        let span = Span::not_empty(offset, len, self.len);
        let Some(span) = span.filter(|_| self.health.is_plain()) else {
            return self.sync_slowly(offset, len);
        };
        // `cover` of a span that is known to hold a byte.
        let (start, in_page) = self.locate(span.offset());
        let whole = span.len().wrapping_add(in_page);
        // SAFETY: from the start of the page that holds the span's first byte to its last byte: pages
        // of this map.
        match unsafe { sys::msync(start, whole, MsyncFlags::SYNC) } {
            Ok(()) => Ok(()),
            // It was interrupted by a signal.
            Err(Errno::INTR) => self.sync_slowly(offset, len),
            Err(errno) => Err(self.remember(Call::Msync, errno, span)),
        }
    }

    /// The rest of `sync`, out of line: there is more to do than msync(2).
    #[cold]
    #[inline(never)]
    fn sync_slowly(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.flush_span(Span::new(offset, len, self.len)?)
    }

    /// Tells of a flush that failed before, of a loss that was not acknowledged, and of one in the span.
    #[inline]
    pub(crate) fn check_sound(&self, span: Span) -> Result<(), Error> {
        if self.health.is_plain() {
            return Ok(());
        }
        self.check_failed(span)
    }

    #[cold]
    fn check_failed(&self, span: Span) -> Result<(), Error> {
        if let Some(errno) = self.failed() {
            return self.ranged(Call::Msync, span, Err(errno));
        }
        self.check_not_lost(span)
    }

    /// `flush_range` of a span.
    pub(crate) fn flush_span(&self, span: Span) -> Result<(), Error> {
        self.check_sound(span)?;
        self.store(span)?;
        self.check_reached(span)
    }

    /// Stores a span, whatever the health is.
    pub(super) fn store(&self, span: Span) -> Result<(), Error> {
        if span.is_empty() {
            return Ok(());
        }
        // The kernel remembers no progress: the whole range each time.
        match sys::again(|| self.msync(span, MsyncFlags::SYNC)) {
            Ok(()) => Ok(()),
            Err(errno) => Err(self.remember(Call::Msync, errno, span)),
        }
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
    fn remember(&self, call: Call, errno: Errno, span: Span) -> Error {
        if errno != Errno::INTR {
            self.health.set_failed(errno);
        }
        Error::of_range(call, errno, to_u64(span.offset()), to_u64(span.len()))
    }

    /// Flushes all of the map once more. In this order: collects the errors that are older, so that the retry does not
    /// fail for them; calls `check`, before any page is touched; makes the resident pages dirty; flushes; forgets the
    /// failure, unless another was recorded meanwhile. The file has to reach to the end of `pending`.
    pub(crate) fn retry(
        &self,
        pending: Span,
        check: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let whole = Span::whole(self.len);
        self.check_not_lost(whole)?;
        // The kernel may have tried again by itself, or try right now, and keeps that error for the next call that
        // asks. Unless the retry succeeds it must not be forgotten.
        let known = self.failed().is_some();
        let before = self.store(whole);
        let ticket = self.health.begin_retry();
        let mut dirty = Ok(());
        if !self.is_private() {
            // Else the next commit would call stored what memory has in the place of those bytes.
            let lost = || self.health.set_failed(self.failed().unwrap_or(Errno::IO));
            check().inspect_err(|_| lost())?;
            dirty = self.dirty_again();
        }
        self.store(whole)?;
        dirty?;
        self.check_not_lost(whole)?;
        self.check_reached(pending)?;
        self.health.end_retry(&ticket);
        // The kernel tells one of those that flush at the same time. It may have been another.
        self.check_sound(pending)?;
        // It may be about bytes beside this map, and is told once.
        if known { Ok(()) } else { before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stays_until_a_retry_ends_well() {
        let state = Health::new();
        assert!(state.is_plain() && state.failed().is_none());
        state.set_failed(Errno::IO);
        assert_eq!(state.failed(), Some(Errno::IO));
        // One that is given up.
        let _ = state.begin_retry();
        assert_eq!(state.failed(), Some(Errno::IO));
        assert!(!state.is_plain());
        let ticket = state.begin_retry();
        state.end_retry(&ticket);
        assert!(state.is_plain() && state.failed().is_none());
        // One that began where nothing had failed.
        let _ = state.begin_retry();
        assert!(state.is_plain());
    }

    #[test]
    fn a_retry_does_not_forget_what_came_after_it_began() {
        let state = Health::new();
        state.set_failed(Errno::IO);
        let (first, second) = (state.begin_retry(), state.begin_retry());
        // Of two retries the later one counts.
        state.end_retry(&first);
        assert_eq!(state.failed(), Some(Errno::IO));
        state.set_failed(Errno::NOSPC);
        state.end_retry(&second);
        assert_eq!(state.failed(), Some(Errno::NOSPC));
    }

    #[cfg(feature = "fault")]
    #[test]
    fn a_contained_map_is_contained_after_a_retry() {
        let mut state = Health::new();
        state.contain();
        assert!(!state.is_plain() && state.failed().is_none());
        state.set_failed(Errno::IO);
        let ticket = state.begin_retry();
        state.end_retry(&ticket);
        assert!(!state.is_plain() && state.failed().is_none());
    }
}
