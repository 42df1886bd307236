//! `@NAME@ FILE`: counts how often it ran, in a mapped file. The count is on stable storage when it is printed; the name of a new
//! file is when its folder was flushed, too (fsync(2)).
//!
//! Ends with 0, with 2 where no file is named, or with 1 where a call failed.

#![no_std]
#![no_main]

use core::fmt::{self, Write};

use rawmap_core::{Error, MmapOptions, OwnedFd};
use rawmap_start::{Arguments, start};
use rustix::fs::{Mode, OFlags};

start!(main);

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

/// Adds one to the number at the start of a file, which is made long enough, and returns it.
fn count(file: &OwnedFd) -> Result<u32, Error> {
    // The file has room for the map, or it is an error now and not a signal later.
    rawmap_core::reserve(file, 0, 4)?;
    let map = MmapOptions::new().len(4).map_raw(file)?;
    let boots = map.as_mut_ptr().cast::<u32>();
    // SAFETY: 4 aligned bytes inside the map, and no other program has the file.
    let next = u32::from_le(unsafe { boots.read_volatile() }).wrapping_add(1);
    // SAFETY: as above.
    unsafe { boots.write_volatile(next.to_le()) };
    map.flush_range(0, 4)?;
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
