//! `log FILE TEXT`: appends a record to a log, and waits until it is on stable storage. `targets/size` weighs it.
//!
//! FILE has to be there, with 128 KiB at least. Ends with 0, or with the number of the step that failed.

#![no_std]
#![no_main]

use rawmap_core::record::{Layout, Part, Store, layout};
use rawmap_core::{Error, MmapOptions, OwnedFd};
use rawmap_freestanding::{Arguments, start};
use rustix::fs::{Mode, OFlags};

start!(main);

const LAYOUT: Layout<1> = layout!(
    4096,
    "log",
    1,
    [Part::log("log", 64 << 10).segment(8 << 10)]
);

fn main(arguments: &Arguments) -> u8 {
    let (Some(path), Some(text)) = (arguments.get(1), arguments.get(2)) else {
        return 1;
    };
    let Ok(file) = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
        return 2;
    };
    match append(&file, text.to_bytes()) {
        Ok(()) => 0,
        Err(_) => 3,
    }
}

fn append(file: &OwnedFd, text: &[u8]) -> Result<(), Error> {
    // SAFETY: nothing else uses the file.
    let map = unsafe { MmapOptions::new().len(LAYOUT.len()).map_mut(file) }?;
    let mut store = Store::without_table(map, LAYOUT)?;
    let mut log = store.log("log")?;
    log.append(text)?;
    log.commit()
}
