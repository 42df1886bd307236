//! [`Turn`]: one thread at a time; the others sleep.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::sys::{futex_wait, futex_wake_one};

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// And somebody may sleep.
const AWAITED: u32 = 2;

/// A lock on futex(2), for what takes too long for a critical section. Without a priority protocol.
#[derive(Debug)]
pub(crate) struct Turn(AtomicU32);

impl Turn {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    pub(crate) fn take(&self) {
        let order = (Ordering::Acquire, Ordering::Relaxed);
        if self
            .0
            .compare_exchange(FREE, TAKEN, order.0, order.1)
            .is_ok()
        {
            return;
        }
        // Who had to wait leaves it as awaited: others may sleep, too.
        while self.0.swap(AWAITED, Ordering::Acquire) != FREE {
            futex_wait(&self.0, AWAITED);
        }
    }

    pub(crate) fn give(&self) {
        if self.0.swap(FREE, Ordering::Release) == AWAITED {
            futex_wake_one(&self.0);
        }
    }
}
