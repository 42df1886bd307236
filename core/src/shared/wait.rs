//! Sleeping at a word, and waking who sleeps there, across processes.

use core::time::Duration;

use super::Shared;
use crate::error::{Call, Error};
use crate::protection::Access;
use crate::raw::to_u64;
use crate::span::Span;
use crate::sys::{self, Errno, Touch};

/// Why a [`wait`](Shared::wait) has ended.
///
/// Each may come without a reason: look at the word, and wait again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Waited {
    /// Another thread or process woke this one.
    Woken,
    /// The word was another number already: this did not sleep.
    Changed,
    /// The time is over.
    TimedOut,
    /// A signal handler ran, also one with `SA_RESTART`.
    Interrupted,
}

impl Shared<'_> {
    /// `futex(.., FUTEX_WAIT)` -- sleeps while the word of 32 bits at `offset` is `expected`, until another thread, or another
    /// process that has it mapped, calls [`wake`](Self::wake). Without a timeout, for as long as it takes.
    ///
    /// For shared maps, where the kernel looks at the word before it sleeps: who first changes it and then wakes is not missed. It orders
    /// nothing: read what the peer stored after [`load_acquire`](Self::load_acquire) has shown the new number. Of a private map of a file
    /// the page is copied, as by a store, and no other process wakes this.
    ///
    /// A peer that is not trusted can wake this at any time, or let it sleep, also by keeping the wakes of others from it: give a timeout.
    /// A peer that dies sends no wake, and neither does one that truncates the file. So wait for 100 ms, say, and look meanwhile whether the peer is there: a pidfd, or
    /// the socket that you share, is readable when it has ended.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`], [`Error::Unaligned`], [`Error::Protected`]: as for [`load`](Self::load). A page of private memory
    ///   that is only read is `Protected`, too: the kernel does not wait there.
    /// - [`Error::Unreachable`]: the page cannot be had: an access would raise SIGBUS, or `protect_range` hides it; or it is of
    ///   `memfd_secret(2)` or of a device, as a dma-buf, where the kernel does not wait. With the offset in the map.
    /// - [`Error::Lost`]: a contained map lost that page, or lost another that was not acknowledged.
    /// - [`Error::Sys`]: a filter of system calls refuses futex(2).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use rawmap_core::{Error, MmapOptions, Shared, Waited};
    ///
    /// /// The number of the next frame, or `None` if the peer has ended.
    /// fn next(view: Shared<'_>, seen: u32, peer_is_there: impl Fn() -> bool) -> Result<Option<u32>, Error> {
    ///     loop {
    ///         let number = view.load_acquire(0)?;
    ///         if number != seen {
    ///             return Ok(Some(number));
    ///         }
    ///         // Asked before the last look: it may write, and end.
    ///         let is_there = peer_is_there();
    ///         let waited = view.wait(0, seen, Some(Duration::from_millis(100)))?;
    ///         if waited == Waited::TimedOut && !is_there {
    ///             return Ok(None);
    ///         }
    ///     }
    /// }
    ///
    /// fn publish(view: Shared<'_>, number: u32) -> Result<(), Error> {
    ///     view.store_release(0, number)?;
    ///     view.wake(0, u32::MAX).map(drop)
    /// }
    ///
    /// let map = MmapOptions::new().len(4096).map_anon_shared()?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| publish(map.shared(), 1));
    ///     assert_eq!(next(map.shared(), 0, || true), Ok(Some(1)));
    /// });
    /// assert_eq!(next(map.shared(), 1, || false)?, None);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # References
    ///
    /// - [FUTEX_WAIT](https://man7.org/linux/man-pages/man2/FUTEX_WAIT.2const.html)
    pub fn wait(
        self,
        offset: usize,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<Waited, Error> {
        let word = self.word::<u32>(offset, Access::READ)?;
        let at = word.addr().wrapping_sub(self.map.as_ptr().addr());
        let span = Span::new(at, size_of::<u32>(), self.map.len())?;
        self.check_word(offset, span)?;
        // SAFETY: `word` has checked it.
        let waited = unsafe { sys::futex_wait_shared(word, expected, timeout) };
        // Another process may have taken the page meanwhile.
        self.check_word(offset, span)?;
        match waited {
            Ok(()) => Ok(Waited::Woken),
            Err(Errno::AGAIN) => Ok(Waited::Changed),
            Err(Errno::TIMEDOUT) => Ok(Waited::TimedOut),
            Err(Errno::INTR) => Ok(Waited::Interrupted),
            Err(errno) => Err(self.refused(errno, word)),
        }
    }

    /// `futex(.., FUTEX_WAKE)` -- wakes at most `count` threads that [`wait`](Self::wait) at the word at `offset`, of this process
    /// and of others. Returns how many were woken.
    ///
    /// Change the word first. A peer that waits there by another kind of futex(2), as `FUTEX_LOCK_PI`, keeps this from waking the threads
    /// behind it, and they are not counted.
    ///
    /// # Errors
    ///
    /// - As for [`wait`](Self::wait), but [`Error::Lost`].
    ///
    /// # References
    ///
    /// - [FUTEX_WAKE](https://man7.org/linux/man-pages/man2/FUTEX_WAKE.2const.html)
    pub fn wake(self, offset: usize, count: u32) -> Result<usize, Error> {
        let word = self.word::<u32>(offset, Access::READ)?;
        // The kernel would wake one.
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: `word` has checked it.
        let woken = unsafe { sys::futex_wake_shared(word, count) };
        match woken {
            // A peer's doing, which is to hurt nobody but those that wait without a timeout.
            Err(Errno::INVAL) => Ok(0),
            Err(errno) => Err(self.refused(errno, word)),
            Ok(woken) => Ok(woken),
        }
    }

    /// Where a contained map has lost the page, no wake comes. The kernel's own look at the word raises no
    /// SIGBUS, by which the loss is noticed.
    #[cfg(feature = "fault")]
    fn check_word(self, offset: usize, span: Span) -> Result<(), Error> {
        if !self.map.is_contained() {
            return Ok(());
        }
        self.load::<u32>(offset)?;
        self.map.check_lost(span)
    }

    #[cfg(not(feature = "fault"))]
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as with the feature"
    )]
    const fn check_word(self, _: usize, _: Span) -> Result<(), Error> {
        Ok(())
    }

    #[cold]
    fn refused(self, errno: Errno, word: *mut u32) -> Error {
        let offset = to_u64(word.addr().wrapping_sub(self.map.as_ptr().addr()));
        if errno != Errno::FAULT {
            return Error::of_range(Call::Futex, errno, offset, 4);
        }
        // SAFETY: `word` has checked it.
        let is_readable = || unsafe { sys::touch(word.cast(), 4, Touch::Read) }.is_ok();
        // The kernel waits at no page of private memory that is only read.
        if self.access.allows(Access::PRIVATE) && is_readable() {
            return Error::Protected;
        }
        Error::Unreachable { offset }
    }
}
