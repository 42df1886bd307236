//! `peer FILE`: counts a number up that is in FILE, and wakes who sleeps at it. `peer FILE SEEN`: sleeps until it is another
//! than SEEN, and ends with it.
//!
//! FILE has to be there, with four bytes at least. Ends with 200 and more where it failed.

#![no_std]
#![no_main]

use rawmap_core::{Error, MmapOptions, Shared};
use rawmap_freestanding::{Arguments, start};
use rustix::fs::{Mode, OFlags};

start!(main);

fn main(arguments: &Arguments) -> u8 {
    let Some(path) = arguments.get(1) else {
        return 200;
    };
    let seen = match arguments.get(2).map(|word| number(word.to_bytes())) {
        Some(None) => return 201,
        Some(seen) => seen,
        None => None,
    };
    let Ok(file) = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else {
        return 202;
    };
    let Ok(map) = MmapOptions::new().len(4).map_raw(&file) else {
        return 203;
    };
    let done = match seen {
        Some(seen) => wait(map.shared(), seen),
        None => count(map.shared()),
    };
    // Between two programs that run on one machine: in its byte order.
    done.map_or(204, |number| number as u8)
}

fn number(word: &[u8]) -> Option<u32> {
    word.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then_some(number.wrapping_mul(10).wrapping_add(digit.into()))
    })
}

fn count(view: Shared<'_>) -> Result<u32, Error> {
    let number = view.load::<u32>(0)?.wrapping_add(1);
    view.store_release(0, number)?;
    view.wake(0, u32::MAX)?;
    Ok(number)
}

fn wait(view: Shared<'_>, seen: u32) -> Result<u32, Error> {
    loop {
        let number = view.load_acquire(0)?;
        if number != seen {
            return Ok(number);
        }
        // Woken, by a signal too, or not even asleep: the number says what is so.
        view.wait(0, seen, None)?;
    }
}
