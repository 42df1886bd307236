//! A critical section for Linux programs without std. Linked in by the feature `critical-section-linux`, which
//! is for final binaries only. The crate's README says what holds beside fork(2), setuid(2) and commits.
//!
//! # Safety
//!
//! What critical-section asks of an implementation: between `acquire` and `release` of one thread no
//! other thread is there, and no signal handler of its own. The first is a lock on futex(2); for the second all signals
//! but [`LET_THROUGH`] wait meanwhile, as interrupts do on a bare machine. Their handlers are inside the section.
//! The lock is taken and its owner known by one instruction, so these may come at any moment.

#![allow(unsafe_code, reason = "the promise that critical-section asks for")]

use critical_section::{Impl, RawRestoreState};

use crate::sys::{BLOCK, FAULTS, Lock, SET, abort, signal_mask};

struct OneThread;

critical_section::set_impl!(OneThread);

static LOCK: Lock = Lock::new();

/// In the signals that waited before: that the thread was inside already. The bit of SIGKILL, which never waits.
const NESTED: RawRestoreState = 1 << 8;

/// The signals of faults: while they wait, the kernel kills the process for a fault in place of calling a handler. Then the C
/// library's own, which its `pthread_sigmask` never blocks: 32 and 33, and 34 of musl.
const LET_THROUGH: u64 = faults() | C_LIBRARY;
const C_LIBRARY: u64 = if cfg!(target_env = "musl") { 7 } else { 3 } << 31;

const fn faults() -> u64 {
    let (mut set, mut left) = (0, FAULTS.as_slice());
    while let [signal, rest @ ..] = left {
        set |= 1u64.wrapping_shl(signal.wrapping_sub(1));
        left = rest;
    }
    set
}

// SAFETY: see # Safety above.
unsafe impl Impl for OneThread {
    unsafe fn acquire() -> RawRestoreState {
        // SAFETY: they come when the section ends.
        let mut waited = unsafe { signal_mask(BLOCK, !LET_THROUGH) };
        let taken = LOCK.lock(|gone, sleep| {
            // SAFETY: as before the section.
            unsafe { signal_mask(SET, waited) };
            if gone {
                // What the section protects may be half changed, and nothing will end it.
                abort();
            }
            sleep();
            // SAFETY: as above.
            waited = unsafe { signal_mask(BLOCK, !LET_THROUGH) };
            true
        });
        if taken { waited & !NESTED } else { NESTED }
    }

    unsafe fn release(waited: RawRestoreState) {
        if waited & NESTED != 0 {
            return;
        }
        LOCK.unlock();
        // SAFETY: as before the section.
        unsafe { signal_mask(SET, waited) };
    }
}
