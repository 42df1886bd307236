//! A critical section for Linux programs without std. Linked in by the feature `critical-section-linux`, which
//! is for final binaries only.
//!
//! # Safety
//!
//! What critical-section asks of an implementation: between `acquire` and `release` of one thread no
//! other thread is there, and no signal handler of its own. The first is a lock on futex(2); for the second all signals
//! but those of faults wait meanwhile, as interrupts do on a bare machine. A section inside a section is seen by the thread's id.

#![allow(unsafe_code, reason = "the promise that critical-section asks for")]

use core::sync::atomic::{AtomicU32, Ordering};

use critical_section::{Impl, RawRestoreState};

use crate::sys::{SignalMask, signal_mask, thread_id};
use crate::tracked::Turn;

struct OneThread;

critical_section::set_impl!(OneThread);

static TURN: Turn = Turn::new();

/// The thread that is inside, or 0.
static INSIDE: AtomicU32 = AtomicU32::new(0);

/// In the signals that waited before: that the thread was inside already. The bit of SIGKILL, which
/// never waits.
const NESTED: RawRestoreState = 1 << 8;

/// SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV and SIGSYS: they are about the instruction that runs, and
/// while they wait the kernel kills the process in place of calling a handler. What such a handler does
/// is inside the section.
const FAULTS: u64 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 30;

// SAFETY: see # Safety above.
unsafe impl Impl for OneThread {
    unsafe fn acquire() -> RawRestoreState {
        // SAFETY: they come when the section ends.
        let waited = unsafe { signal_mask(SignalMask::Block, !FAULTS) };
        let thread = thread_id();
        // Relaxed: only this thread ever stores its own id. If the kernel gives none (a filter of system
        // calls), a section in a section waits for ever, and that is better than two threads inside.
        if thread != 0 && INSIDE.load(Ordering::Relaxed) == thread {
            return NESTED;
        }
        TURN.take();
        INSIDE.store(thread, Ordering::Relaxed);
        waited & !NESTED
    }

    unsafe fn release(waited: RawRestoreState) {
        if waited & NESTED != 0 {
            return;
        }
        INSIDE.store(0, Ordering::Relaxed);
        TURN.give();
        // SAFETY: as before the section.
        unsafe { signal_mask(SignalMask::Set, waited) };
    }
}
