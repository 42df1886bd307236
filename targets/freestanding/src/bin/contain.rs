//! `contain FILE`: SIGBUS contained where there is no std and no libc. FILE is emptied and used.
//!
//! It installs a handler by the bare system call, maps FILE, takes its pages away as another process might, and
//! goes on. Ends with 0, or with the number of the step that failed.

#![no_std]
#![no_main]

use core::ffi::c_int;

use rawmap_core::{Error, MmapOptions, fault};
use rawmap_freestanding::{Arguments, signal, start};
use rustix::fs::{Mode, OFlags};

start!(main);

const SIGBUS: c_int = 7;
/// `si_code` of an access past the end of a file, and of memory that is broken.
const BUS_ADRERR: c_int = 2;
const BUS_MCEERR_AR: c_int = 4;

/// A fault of ours goes on behind the handler; any other dies of SIGBUS, as without it.
extern "C" fn on_sigbus(_: c_int, info: &signal::Info, _: usize) {
    if matches!(info.code, BUS_ADRERR | BUS_MCEERR_AR) {
        // SAFETY: the address of a fault, from the kernel; this program accessed it.
        if unsafe { fault::contain(info.address) } {
            return;
        }
    }
    signal::set_default(SIGBUS);
}

fn main(arguments: &Arguments) -> u8 {
    let Some(path) = arguments.get(1) else {
        return 100;
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) else {
        return 99;
    };
    let Some(page) = arguments.page_size() else {
        return 98;
    };
    let page_len = u64::try_from(page.get()).unwrap_or(0);
    if !signal::handle(SIGBUS, on_sigbus) {
        return 97;
    }
    let set_len = |pages: u64| rustix::fs::ftruncate(&file, pages * page_len).is_ok();
    if !set_len(4) {
        return 1;
    }
    let Ok(mut map) = MmapOptions::new().contained().map_raw(&file) else {
        return 2;
    };
    let at = 2 * page.get() + 100;
    if map.shared().store(at, 7u8).is_err() || map.flush().is_err() {
        return 3;
    }
    // As another process would.
    if !set_len(1) {
        return 4;
    }
    // Here the kernel raises SIGBUS.
    if map.shared().load::<u8>(at) != Ok(0) {
        return 5;
    }
    let lost = Error::Lost {
        offset: 2 * page_len,
    };
    if map.lost() != Some(2 * page.get()) || map.flush() != Err(lost) {
        return 6;
    }
    say("contain: a page was lost, and the flush says so\n");
    // A store, in a page of its own.
    if map.try_with(|_| ()).is_ok() || map.acknowledge_lost().is_none() {
        return 7;
    }
    if map
        .try_with(|map| map.shared().store(3 * page.get(), 1u8))
        .is_ok()
    {
        return 8;
    }
    if !set_len(4) || map.recover(&file).is_err() {
        return 9;
    }
    if map.shared().store(at, 9u8).is_err() || map.flush().is_err() {
        return 10;
    }
    let mut byte = [0];
    let offset = u64::try_from(at).unwrap_or(0);
    if rustix::io::pread(&file, &mut byte, offset) != Ok(1) || byte != [9] {
        return 11;
    }
    say("contain: the file is long again, and the map is its own\n");
    // A fault of nobody's: dies of SIGBUS, if it is asked for.
    if arguments.get(2).is_some_and(|word| word == c"--foreign") {
        let Ok(outside) = MmapOptions::new().map_raw(&file) else {
            return 12;
        };
        if set_len(0) && outside.shared().load::<u8>(0).is_ok() {
            return 13;
        }
    }
    0
}

fn say(words: &str) {
    // SAFETY: standard error is not closed by this program.
    let stderr = unsafe { rustix::stdio::stderr() };
    let _ = rustix::io::write(stderr, words.as_bytes());
}
