//! `threads FILE`: `SharedTracked` and the critical section of `critical-section-linux`, with real threads and
//! no libc. FILE is emptied and used.
//!
//! Ends with 0, or with the number of the step that failed.

#![no_std]
#![no_main]

use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use critical_section::Mutex;
use rawmap_core::{MmapMut, SharedTracked};
use rawmap_freestanding::thread::{Stack, join_all, spawn};
use rawmap_freestanding::{Arguments, start};
use rustix::fs::{Mode, OFlags};

start!(main);

const WRITERS: usize = 3;
const TURNS: usize = 400;
const AREA: usize = 100_000;
const COUNTER: usize = 350_000;

static STACKS: [Stack; WRITERS + 1] = [const { Stack::new() }; WRITERS + 1];
static TRACKED: AtomicPtr<SharedTracked<4>> = AtomicPtr::new(core::ptr::null_mut());
static FAILED: AtomicU32 = AtomicU32::new(0);
static WRITING: AtomicU32 = AtomicU32::new(0);
/// Not atomic: only the critical section keeps it right.
static SUM: Mutex<Cell<u32>> = Mutex::new(Cell::new(0));

fn tracked() -> &'static SharedTracked<4> {
    // SAFETY: set before the threads start, and it outlives them.
    unsafe { &*TRACKED.load(Ordering::Relaxed) }
}

fn check(number: u32, condition: bool) {
    if !condition {
        FAILED.store(number, Ordering::Relaxed);
    }
}

fn write(thread: usize) {
    for turn in 0..TURNS {
        let bytes = [(turn + thread) as u8; 24];
        check(
            10,
            tracked().write(thread * AREA + turn * 200, &bytes).is_ok(),
        );
        critical_section::with(|section| {
            let sum = SUM.borrow(section);
            let old = sum.get();
            // A section in a section, and in it a write.
            check(11, tracked().write(COUNTER, &old.to_le_bytes()).is_ok());
            sum.set(old + 1);
        });
    }
    WRITING.fetch_sub(1, Ordering::Relaxed);
}

fn commit(_: usize) {
    while WRITING.load(Ordering::Relaxed) > 0 {
        check(12, tracked().commit().is_ok());
    }
}

fn main(arguments: &Arguments) -> u8 {
    let Some(path) = arguments.get(1) else {
        return 1;
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) else {
        return 2;
    };
    if rawmap_core::reserve(&file, 0, 400_000).is_err()
        && rustix::fs::ftruncate(&file, 400_000).is_err()
    {
        return 3;
    }
    // SAFETY: nobody else uses the file.
    let Ok(map) = (unsafe { MmapMut::map_mut(&file) }) else {
        return 4;
    };
    let mut shared = SharedTracked::<4>::new(map);
    TRACKED.store(&mut shared, Ordering::Relaxed);
    WRITING.store(WRITERS as u32, Ordering::Relaxed);
    for (thread, stack) in STACKS.iter().enumerate() {
        let body = if thread < WRITERS { write } else { commit };
        // SAFETY: a stack for each.
        if !unsafe { spawn(stack, body, thread) } {
            return 5;
        }
    }
    join_all();
    match FAILED.load(Ordering::Relaxed) {
        0 => {}
        number => return number as u8,
    }
    if critical_section::with(|section| SUM.borrow(section).get()) != (WRITERS * TURNS) as u32 {
        return 6;
    }
    if shared.commit().is_err() || shared.is_dirty() {
        return 7;
    }
    let map = shared.into_inner();
    for thread in 0..WRITERS {
        for turn in 0..TURNS {
            let at = thread * AREA + turn * 200;
            if map[at..at + 24] != [(turn + thread) as u8; 24] {
                return 8;
            }
        }
    }
    let last = ((WRITERS * TURNS) as u32 - 1).to_le_bytes();
    if map[COUNTER..COUNTER + 4] != last {
        9
    } else {
        0
    }
}
