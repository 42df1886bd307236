//! `record FILE`: opens a file, maps it, writes a record into its second page, flushes that range,
//! unmaps. The smallest program of its kind; `targets/size` weighs it.
//!
//! Ends with 0, or with the number of the step that failed.

#![no_std]
#![no_main]

use rawmap_core::{MmapOptions, page_size};
use rawmap_freestanding::{Arguments, start};
use rustix::fs::{Mode, OFlags};

start!(main);

const RECORD: u32 = 0xC0FF_EE42;

fn main(arguments: &Arguments) -> u8 {
    let Some(path) = arguments.get(1) else {
        return 1;
    };
    let Ok(file) = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
        return 2;
    };
    let Ok(page) = page_size() else {
        return 3;
    };
    let Ok(map) = MmapOptions::new().len(2 * page.get()).map_raw(&file) else {
        return 4;
    };
    let offset = page.get() + 8;
    // Little-endian in the file, on every machine.
    // SAFETY: 4 aligned bytes inside the map; nothing else in this program uses them.
    unsafe {
        map.as_mut_ptr()
            .add(offset)
            .cast::<u32>()
            .write(RECORD.to_le())
    };
    if map.flush_range(offset, 4).is_err() {
        return 5;
    }
    0
}
