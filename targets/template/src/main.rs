//! `@NAME@ FILE`: counts how often it ran, in a mapped file that a power cut at any moment leaves whole. The count is on stable
//! storage when it is printed; the name of a new file is when its folder was flushed, too (fsync(2)).
//!
//! Ends with 0, with 2 where no file is named, or with 1 where a call failed.

#![no_std]
#![no_main]

use core::fmt::{self, Write};

use rawmap_core::record::{Layout, Part, Store, layout, prepare};
use rawmap_core::{Error, MmapOptions, OwnedFd};
use rawmap_start::{Arguments, start};
use rustix::fs::{Mode, OFlags};

start!(main);

const LAYOUT: Layout<1> = layout!("@NAME@", 1, [Part::slots("boots", 8)]);

fn main(arguments: &Arguments) -> u8 {
    let Some(path) = arguments.get(1) else {
        let _ = writeln!(Stderr, "usage: @NAME@ FILE");
        return 2;
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => file,
        Err(error) => {
            let _ = writeln!(Stderr, "@NAME@: open: error {}", error.raw_os_error());
            return 1;
        }
    };
    match count(&file) {
        Ok(boots) => {
            let _ = writeln!(Stdout, "boot {boots}");
            0
        }
        Err(error) => {
            let _ = writeln!(Stderr, "@NAME@: {error}");
            1
        }
    }
}

/// Adds one to the number in a file, which is made where it is new, and returns it.
fn count(file: &OwnedFd) -> Result<u64, Error> {
    // Locks it, and gives it its length and room.
    prepare(file, &LAYOUT)?;
    let mut options = MmapOptions::new();
    // SAFETY: this process has the lock, and nothing else writes the file.
    let map = unsafe { options.len(LAYOUT.len()).scattered().map_mut(file) }?;
    let mut store = Store::open(map, LAYOUT)?;
    let mut boots = store.slots("boots")?;
    let last = boots.load()?.and_then(|value| value.bytes.first_chunk().copied());
    let next = u64::from_le_bytes(last.unwrap_or([0; 8])).wrapping_add(1);
    boots.store(1, &next.to_le_bytes())?;
    Ok(next)
}

struct Stdout;
struct Stderr;

impl Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: nothing here closes it.
        let out = unsafe { rustix::stdio::stdout() };
        write(out, text)
    }
}

impl Write for Stderr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: nothing here closes it.
        let err = unsafe { rustix::stdio::stderr() };
        write(err, text)
    }
}

fn write(to: rustix::fd::BorrowedFd<'_>, text: &str) -> fmt::Result {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match rustix::io::write(to, left) {
            Ok(0) => return Err(fmt::Error),
            Ok(written) => left = left.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(fmt::Error),
        }
    }
    Ok(())
}
