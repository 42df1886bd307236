//! [`Turn`]: one thread at a time; the others sleep.
//!
//! # Safety
//!
//! One word says at any moment which thread has the turn, also to a signal handler that comes between any
//! two instructions: it finds the number of its own thread, of another one, or none.

use core::sync::atomic::{AtomicU32, Ordering};

use super::bare;

const FREE: u32 = 0;
/// Beside the owner: other threads may sleep. The bit of robust futexes.
const WAITERS: u32 = 1 << 31;
/// The owner where the kernel gives no id. Threads have numbers below 2^22.
const UNKNOWN: u32 = WAITERS >> 1;

/// A lock on futex(2), for what takes too long for a critical section. Without a priority protocol.
///
/// The word is the owner's thread id and [`WAITERS`]. After fork(2) the id is none of the child's threads.
#[derive(Debug)]
pub(crate) struct Turn(AtomicU32);

/// What a thread found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Free: it is this thread's now.
    Free,
    /// This thread had it before.
    Mine,
    /// Another thread's, and the word to sleep at.
    Awaited(u32),
}

impl Turn {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Takes the turn if it is free. A thread that slept says so, for others may still sleep.
    pub(crate) fn attempt(&self, slept: bool) -> Found {
        // Without an id a thread that has the turn waits for itself: better than two that have it.
        let thread = bare::thread_id().unwrap_or(UNKNOWN);
        let mine = if slept { thread | WAITERS } else { thread };
        let order = (Ordering::Acquire, Ordering::Relaxed);
        match self.0.compare_exchange(FREE, mine, order.0, order.1) {
            Ok(_) => Found::Free,
            Err(word) if word & !WAITERS == thread && thread != UNKNOWN => Found::Mine,
            Err(word) => {
                let awaited = word | WAITERS;
                // If the word is another one by now, the sleep ends at once.
                let _ = self.0.compare_exchange(word, awaited, order.1, order.1);
                Found::Awaited(awaited)
            }
        }
    }

    /// Sleeps until the word has changed. May return earlier.
    pub(crate) fn sleep(&self, awaited: u32) {
        bare::futex_wait(&self.0, awaited);
    }

    /// Takes the turn, and waits for it. `false` if this thread has it already.
    #[must_use]
    pub(crate) fn take(&self) -> bool {
        let mut slept = false;
        loop {
            match self.attempt(slept) {
                Found::Free => return true,
                Found::Mine => return false,
                Found::Awaited(word) => self.sleep(word),
            }
            slept = true;
        }
    }

    pub(crate) fn give(&self) {
        if self.0.swap(FREE, Ordering::Release) & WAITERS != 0 {
            bare::futex_wake_one(&self.0);
        }
    }
}
