//! [`SharedTracked`]: the same for several threads and for contexts like an interrupt's.
//!
//! # Safety
//!
//! The map's bytes are copied from and to only inside a critical section, of which there is one at a time, and
//! no slice of them is handed out while the value lives. The flush reads them in the kernel.

#![allow(unsafe_code, reason = "two copies, inside the critical section")]

use core::cell::RefCell;
use core::fmt;

use critical_section::Mutex;

use super::{Commit, commit, retry, start_writeback};
use crate::dirty::DirtyRanges;
use crate::error::Error;
use crate::map::MmapMut;
use crate::raw::MmapRaw;
use crate::span::Span;
use crate::sys::{AsFd, Lock};

/// Bytes that are copied in one critical section: so long may an interrupt wait.
const COPIED_AT_ONCE: usize = 256;

/// [`Tracked`](crate::Tracked) through `&self`: several threads, and contexts like an interrupt's, write;
/// one thread at a time commits.
///
/// A write copies its bytes and remembers their range inside a critical section, at most 256 bytes in each. What
/// that is, the final binary chooses: feature `std` of the crate critical-section, a board's own, or this
/// crate's feature `critical-section-linux`. This crate makes no system call inside, and a commit does not hold it.
/// But a store to a page that is not in memory waits for the kernel to bring it there, and where that cannot be
/// done it raises SIGBUS: [`MmapRaw::prefault_write`] and [`reserve`](crate::reserve) beforehand help. A write that comes while a commit runs is in that commit, or pending afterwards.
///
/// # Examples
///
/// ```
/// use rawmap_core::{MmapMut, SharedTracked};
///
/// # #[cfg(feature = "critical-section-linux")] {
/// let state = SharedTracked::<8>::new(MmapMut::map_anon(8192)?);
/// state.write(100, b"from any thread")?;
/// assert_eq!(state.commit()?.ranges, 1);
/// # }
/// # Ok::<(), rawmap_core::Error>(())
/// ```
pub struct SharedTracked<const N: usize> {
    pub(super) map: MmapMut,
    ranges: Mutex<RefCell<Ranges<N>>>,
    /// Held by the thread that commits.
    commit: Lock,
}

struct Ranges<const N: usize> {
    dirty: DirtyRanges<N>,
    /// Of the commit that runs, until it is on stable storage.
    in_flight: DirtyRanges<N>,
}

impl<const N: usize> SharedTracked<N> {
    /// Takes a map of which nothing is pending.
    #[must_use]
    pub fn new(map: impl Into<MmapMut>) -> Self {
        Self {
            map: map.into(),
            ranges: Mutex::new(RefCell::new(Ranges {
                dirty: DirtyRanges::new(),
                in_flight: DirtyRanges::new(),
            })),
            commit: Lock::new(),
        }
    }

    /// Copies bytes into the map, and remembers where.
    ///
    /// Up to 256 bytes are seen by [`read`](Self::read) and by other writers all at once; longer ones in
    /// pieces of 256. A commit may have the first pieces only, and the others are then pending.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the bytes would end past the map; none was written.
    /// - [`Error::Busy`]: the critical section let this in although one was running: a signal handler, with an
    ///   implementation that does not keep signals out. The pieces before were written.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let whole = Span::new(offset, bytes.len(), self.len())?;
        let mut offset = whole.offset();
        for piece in bytes.chunks(COPIED_AT_ONCE) {
            let span = Span::new(offset, piece.len(), self.len())?;
            self.with(|ranges| {
                let to = self.raw().as_mut_ptr().wrapping_add(span.offset());
                // SAFETY: a span of the map, which is writable; inside the critical section nobody else
                // copies, and nobody has a slice. `piece` is not of this map, which lends none.
                unsafe { to.copy_from_nonoverlapping(piece.as_ptr(), piece.len()) };
                ranges.dirty.mark(span);
            })?;
            offset = span.end();
        }
        Ok(())
    }

    /// Copies bytes out of the map, in pieces as [`write`](Self::write) copies them in.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was copied.
    /// - [`Error::Busy`]: as for [`write`](Self::write).
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let whole = Span::new(offset, bytes.len(), self.len())?;
        let mut offset = whole.offset();
        for piece in bytes.chunks_mut(COPIED_AT_ONCE) {
            let span = Span::new(offset, piece.len(), self.len())?;
            self.with(|_| {
                let from = self.raw().as_ptr().wrapping_add(span.offset());
                // SAFETY: as in `write`.
                unsafe { from.copy_to_nonoverlapping(piece.as_mut_ptr(), piece.len()) };
            })?;
            offset = span.end();
        }
        Ok(())
    }

    /// Writes all bytes that are pending when it begins to stable storage, and waits; see
    /// [`Tracked::commit`](crate::Tracked::commit).
    ///
    /// While another thread commits, this waits for its turn. Not for interrupt-like contexts.
    ///
    /// Do not call this inside a critical section: the commit that it waits for enters sections, and both wait
    /// for ever.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: write-back failed, now or in an earlier commit. All ranges stay pending, and every
    ///   commit fails until [`retry`](Self::retry) succeeds.
    /// - [`Error::Busy`]: as for [`write`](Self::write); or a signal handler asks while its own
    ///   thread commits; or in a child of fork(2), another thread committed when it was forked.
    pub fn commit(&self) -> Result<Commit, Error> {
        self.commit_with(usize::MAX)
    }

    /// Like [`commit`](Self::commit), but ranges that are more than `gap` bytes apart are committed apart; see
    /// [`Tracked::commit_with`](crate::Tracked::commit_with).
    ///
    /// # Errors
    ///
    /// - As for [`commit`](Self::commit).
    pub fn commit_with(&self, gap: usize) -> Result<Commit, Error> {
        self.one_at_a_time(|| {
            self.raw().check_sound(Span::whole(0))?;
            self.store(|ranges| commit(self.raw(), ranges, gap))
        })
    }

    /// Commits once more after a commit failed; see [`Tracked::retry`](crate::Tracked::retry). Waits like
    /// [`commit`](Self::commit): never call this inside a critical section.
    ///
    /// # Errors
    ///
    /// - As for [`Tracked::retry`](crate::Tracked::retry).
    /// - [`Error::Busy`]: as for [`commit`](Self::commit).
    pub fn retry(&self) -> Result<Commit, Error> {
        self.one_at_a_time(|| self.store(|ranges| retry(self.raw(), ranges)))
    }

    /// Starts to write what is pending to stable storage, and does not wait; see
    /// [`Tracked::start_writeback`](crate::Tracked::start_writeback).
    ///
    /// # Errors
    ///
    /// - As for [`MmapRaw::start_writeback`].
    /// - [`Error::Busy`]: as for [`write`](Self::write).
    pub fn start_writeback<F: AsFd>(&self, file: F) -> Result<(), Error> {
        let hull = self.with(|ranges| ranges.dirty.hull())?;
        start_writeback(self.raw(), hull, file)
    }

    /// Returns the number of bytes that no commit has stored yet. More than there are, where a commit runs and
    /// some are written again.
    ///
    /// # Errors
    ///
    /// - [`Error::Busy`]: as for [`write`](Self::write).
    pub fn pending_bytes(&self) -> Result<usize, Error> {
        self.with(|ranges| {
            let in_flight = ranges.in_flight.bytes();
            ranges.dirty.bytes().saturating_add(in_flight)
        })
    }

    /// Returns whether bytes were written that no commit has stored yet.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        // If nobody can say so, there may be.
        self.with(|ranges| !ranges.dirty.is_empty() || !ranges.in_flight.is_empty())
            .unwrap_or(true)
    }

    /// Returns the length of the map in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw().len()
    }

    /// Returns whether the length is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw().is_empty()
    }

    const fn raw(&self) -> &MmapRaw {
        self.map.as_raw()
    }

    /// Runs something inside a critical section.
    fn with<R>(&self, body: impl FnOnce(&mut Ranges<N>) -> R) -> Result<R, Error> {
        critical_section::with(|cs| match self.ranges.borrow(cs).try_borrow_mut() {
            Ok(mut ranges) => Ok(body(&mut ranges)),
            Err(_) => Err(Error::Busy),
        })
    }

    /// Runs something while no other thread commits.
    fn one_at_a_time(&self, body: impl FnOnce() -> Result<Commit, Error>) -> Result<Commit, Error> {
        let taken = self.commit.lock(|gone, sleep| {
            if !gone {
                sleep();
            }
            !gone
        });
        if !taken {
            return Err(Error::Busy);
        }
        let result = body();
        self.commit.unlock();
        result
    }

    /// Takes what is pending, stores it in the way that is given, outside of any critical section, and puts
    /// it back if that fails.
    fn store(
        &self,
        store: impl FnOnce(&DirtyRanges<N>) -> Result<Commit, Error>,
    ) -> Result<Commit, Error> {
        let taken = self.with(|ranges| {
            ranges.in_flight.merge(&ranges.dirty);
            ranges.dirty.clear();
            ranges.in_flight.clone()
        })?;
        let result = store(&taken);
        self.with(|ranges| {
            if result.is_err() {
                ranges.dirty.merge(&ranges.in_flight);
            }
            ranges.in_flight.clear();
        })?;
        result
    }
}

impl<const N: usize> fmt::Debug for SharedTracked<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTracked")
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}
