//! `slots FILE`: counts how often it was started, in a value that survives a power cut. `targets/size` weighs it.
//!
//! FILE has to be there, with 64 KiB at least. Ends with the number of the start, or with 100 and more where it failed.

#![no_std]
#![no_main]

use rawmap_core::record::{Layout, Part, Store, layout};
use rawmap_core::{Error, MmapOptions, OwnedFd};
use rawmap_freestanding::{Arguments, start};
use rustix::fs::{Mode, OFlags};

start!(main);

const LAYOUT: Layout<1> = layout!(4096, "starts", 1, [Part::slots("starts", 1)]);

fn main(arguments: &Arguments) -> u8 {
    let Some(path) = arguments.get(1) else {
        return 100;
    };
    let Ok(file) = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
        return 101;
    };
    count(&file).unwrap_or(102)
}

fn count(file: &OwnedFd) -> Result<u8, Error> {
    // SAFETY: nothing else uses the file.
    let map = unsafe { MmapOptions::new().len(LAYOUT.len()).map_mut(file) }?;
    let mut store = Store::without_table(map, LAYOUT)?;
    let mut starts = store.slots("starts")?;
    let last = starts
        .load()?
        .and_then(|value| value.bytes.first().copied());
    let number = last.unwrap_or(0).wrapping_add(1);
    starts.store(1, &[number])?;
    Ok(number)
}
