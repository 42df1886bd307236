//! [`Flushing`]: what a flush has to know of its map.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::sys::{Errno, MsyncFlags};

/// Whether a flush failed, and whether a flush is more than msync(2).
///
/// A flush only loads, and only stores where it fails: on aarch64 a read-modify-write is a call of a helper that
/// needs libc. Retries have some.
#[derive(Debug)]
pub(super) struct Flushing {
    // The flags that a flush gives to msync(2): `MS_SYNC`, or `REFUSED` where there is more to do. That way
    // the hot path has no check of its own: the kernel answers `EINVAL`, and what follows is out of line.
    // Above the flags are the errno of the flush that failed, or 0, and the ticket of the retry that is under
    // way, or 0. All in one word, so that no two of them can disagree.
    word: AtomicU32,
}

/// All is well, and msync(2) is all that a flush takes.
const PLAIN: u32 = MsyncFlags::SYNC.bits();
/// `MS_SYNC` and `MS_ASYNC`: only one may be given.
const REFUSED: u32 = MsyncFlags::SYNC.bits() | MsyncFlags::ASYNC.bits();
const ERRNO_SHIFT: u32 = 4;
const ERRNO: u32 = 0xfff << ERRNO_SHIFT;
const TICKET_SHIFT: u32 = 16;

/// A retry that was begun.
#[derive(Debug)]
pub(super) struct Ticket(u32);

// Relaxed, all of it: it says nothing about other memory.
const ORDER: Ordering = Ordering::Relaxed;

impl Flushing {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            word: AtomicU32::new(PLAIN),
        }
    }

    /// From now on a flush is more than msync(2): the map has a file of its own, or may lose pages.
    pub(super) fn take_the_long_way(&mut self) {
        *self.word.get_mut() = REFUSED;
    }

    #[inline]
    pub(super) fn flags(&self) -> MsyncFlags {
        MsyncFlags::from_bits_retain(self.word.load(ORDER))
    }

    /// Tells whether these flags were to be refused.
    pub(super) fn are_refused(flags: MsyncFlags) -> bool {
        flags != MsyncFlags::SYNC
    }

    #[inline]
    pub(super) fn failed(&self) -> Option<Errno> {
        let errno = (self.word.load(ORDER) & ERRNO).wrapping_shr(ERRNO_SHIFT);
        (errno != 0).then(|| Errno::from_raw_os_error(errno.cast_signed()))
    }

    /// Whatever else was under way: a retry does not end well then.
    pub(super) fn set_failed(&self, errno: Errno) {
        let errno = errno.raw_os_error().cast_unsigned();
        self.word
            .store(REFUSED | errno.wrapping_shl(ERRNO_SHIFT) & ERRNO, ORDER);
    }

    /// What was recorded up to now is what the retry is about.
    pub(super) fn begin_retry(&self) -> Ticket {
        static TICKETS: AtomicU32 = AtomicU32::new(0);
        // Never 0, and another for each of the retries that can be under way at the same time.
        let ticket = TICKETS.fetch_add(1, ORDER) | 1 << 15;
        let mut word = self.word.load(ORDER);
        loop {
            let marked = REFUSED | word & ERRNO | ticket.wrapping_shl(TICKET_SHIFT);
            match self.word.compare_exchange_weak(word, marked, ORDER, ORDER) {
                Ok(_) => return Ticket(marked),
                Err(now) => word = now,
            }
        }
    }

    /// It went well. What was recorded since it began stays.
    pub(super) fn end_retry(&self, ticket: &Ticket, long_way: bool) {
        let well = if long_way { REFUSED } else { PLAIN };
        let _ = self.word.compare_exchange(ticket.0, well, ORDER, ORDER);
    }

    /// It did not go well: all is as before.
    pub(super) fn give_up_retry(&self, ticket: &Ticket, long_way: bool) {
        let before = match ticket.0 & ERRNO {
            0 if !long_way => PLAIN,
            errno => REFUSED | errno,
        };
        let _ = self.word.compare_exchange(ticket.0, before, ORDER, ORDER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_plain(flushing: &Flushing) -> bool {
        !Flushing::are_refused(flushing.flags())
    }

    #[test]
    fn a_failure_stays_until_a_retry_ends_well() {
        let state = Flushing::new();
        assert!(is_plain(&state) && state.failed().is_none());
        state.set_failed(Errno::IO);
        assert_eq!(state.failed(), Some(Errno::IO));
        let ticket = state.begin_retry();
        assert_eq!(state.failed(), Some(Errno::IO));
        state.give_up_retry(&ticket, false);
        assert_eq!(state.failed(), Some(Errno::IO));
        let ticket = state.begin_retry();
        state.end_retry(&ticket, false);
        assert!(is_plain(&state) && state.failed().is_none());
    }

    #[test]
    fn a_retry_does_not_forget_what_came_after_it_began() {
        let state = Flushing::new();
        state.set_failed(Errno::IO);
        let (first, second) = (state.begin_retry(), state.begin_retry());
        // Of two retries the later one counts.
        state.end_retry(&first, false);
        assert_eq!(state.failed(), Some(Errno::IO));
        state.set_failed(Errno::NOSPC);
        state.end_retry(&second, false);
        assert_eq!(state.failed(), Some(Errno::NOSPC));
        assert!(!is_plain(&state));
        // One that began where nothing had failed, and did not end well.
        let state = Flushing::new();
        let ticket = state.begin_retry();
        state.give_up_retry(&ticket, false);
        assert!(is_plain(&state));
    }

    #[test]
    fn a_map_that_keeps_its_file_always_goes_the_long_way() {
        let mut state = Flushing::new();
        state.take_the_long_way();
        assert!(!is_plain(&state) && state.failed().is_none());
        state.set_failed(Errno::IO);
        let ticket = state.begin_retry();
        state.end_retry(&ticket, true);
        assert!(!is_plain(&state) && state.failed().is_none());
    }
}
