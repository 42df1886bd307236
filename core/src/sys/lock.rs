//! [`Lock`]: one thread at a time; the others sleep. `tests/loom` runs this file under loom.

use super::atomic::{AtomicU32, Ordering};
use super::{Errno, bare};

const FREE: u32 = 0;
/// Beside the owner: other threads may sleep. The bit of robust futexes.
const WAITERS: u32 = 1 << 31;
/// The owner where the kernel gives no id. Those of threads are below 2^22.
const UNKNOWN: u32 = WAITERS >> 1;

/// A lock on futex(2), for what takes too long for a critical section. Without a priority protocol.
///
/// The word is the owner's thread id and [`WAITERS`]: a signal handler that comes between any two instructions
/// finds its own thread, another one, or none. A child of fork(2) finds a thread that it does not have.
#[derive(Debug)]
pub(crate) struct Lock(AtomicU32);

impl Lock {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Takes the lock. `false` if this thread has it already.
    ///
    /// Where it has to wait, `wait` calls what sleeps; that may return early. It is told whether the owner is
    /// gone: it is of the process that this one was forked from, or has ended. `false` gives up.
    pub(crate) fn lock(&self, mut wait: impl FnMut(bool, &dyn Fn()) -> bool) -> bool {
        let order = (Ordering::Acquire, Ordering::Relaxed);
        // Without an id a thread that has the lock waits for itself: better than two that have it.
        let thread = bare::thread_id().unwrap_or(UNKNOWN);
        let mut mine = thread;
        loop {
            let word = match self.0.compare_exchange(FREE, mine, order.0, order.1) {
                Ok(_) => return true,
                Err(word) if word & !WAITERS == thread && thread != UNKNOWN => return false,
                Err(word) => word,
            };
            // If the word is another one by now, the sleep ends at once.
            let (owner, awaited) = (word & !WAITERS, word | WAITERS);
            let _ = self.0.compare_exchange(word, awaited, order.1, order.1);
            // A thread that unlocked it and then ended has changed the word.
            let gone = owner != UNKNOWN
                && bare::signal_thread(owner, 0) == Err(Errno::SRCH)
                && self.0.load(Ordering::Relaxed) & !WAITERS == owner;
            if !wait(gone, &|| bare::futex_wait(&self.0, awaited)) {
                return false;
            }
            // A thread that slept leaves the bit: others may still sleep.
            mine = thread | WAITERS;
        }
    }

    pub(crate) fn unlock(&self) {
        if self.0.swap(FREE, Ordering::Release) & WAITERS != 0 {
            bare::futex_wake_one(&self.0);
        }
    }
}

/// Ends the process by SIGABRT; or where that is blocked, ignored or handled, with the status 134.
#[cfg(feature = "critical-section-linux")]
pub(crate) fn abort() {
    const SIGABRT: usize = 6;
    let thread = bare::thread_id().unwrap_or(UNKNOWN);
    let _ = bare::signal_thread(thread, SIGABRT);
    bare::exit_process(134);
}
