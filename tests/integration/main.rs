//! Rung 2: integration tests, one binary, the same on every target.

mod advise;
mod compat;
mod cursor;
mod descriptors;
mod device;
mod errors;
mod failing;
mod fixes;
mod flash;
mod flash_store;
mod flush;
mod kinds;
mod ladder;
mod large;
mod layers;
mod lock;
mod matrix;
mod memfd;
mod model;
mod options;
mod page_math;
mod page_size;
mod pages;
mod protect;
mod reach;
mod record;
mod recorder;
mod remap;
mod retry;
mod surface;
mod table;
mod tracked;
mod writeback;

use std::fs::File;
use std::io::Write as _;

use rawmap_tests::{machine, test_dir};

/// Whether an error is about a range that ends past its limit.
trait IsRange {
    fn is_range(&self) -> bool;
}

impl IsRange for rawmap_core::Error {
    fn is_range(&self) -> bool {
        matches!(self, Self::OutOfRange { .. })
    }
}

/// The kernel's number in an error of either crate.
trait Told {
    fn number(&self) -> Option<i32>;
}

impl Told for rawmap_core::Error {
    fn number(&self) -> Option<i32> {
        self.errno().map(rawmap_core::Errno::raw_os_error)
    }
}

impl Told for rawmap_core::Errno {
    fn number(&self) -> Option<i32> {
        Some(self.raw_os_error())
    }
}

impl Told for std::io::Error {
    fn number(&self) -> Option<i32> {
        let own = rawmap_core::Error::from_io(self).and_then(|error| error.number());
        own.or(self.raw_os_error())
    }
}

/// Waits for a child of the test, and ends it where that takes too long.
fn wait_for(
    child: &mut std::process::Child,
    patience: std::time::Duration,
) -> Option<std::process::ExitStatus> {
    let start = std::time::Instant::now();
    while start.elapsed() < patience {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Runs what hangs where a wake-up is lost: then the whole test run ends, with a word on why.
fn with_watchdog<T>(test: &str, body: impl FnOnce() -> T) -> T {
    // Before tests/run ends all of them; a machine that is emulated takes longer.
    let patience = if machine().is_some() { 600 } else { 240 };
    let patience = std::time::Duration::from_secs(patience);
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // The sender is dropped at the end, also by a panic.
            if is_done.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // Threads that hang cannot be ended in another way.
                let _ = writeln!(std::io::stderr(), "{test}: hangs for {patience:?}");
                std::process::exit(101);
            }
        });
        let done = done;
        let result = body();
        drop(done);
        result
    })
}

/// An unnamed file with these bytes.
fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile_in(test_dir()).expect("a temporary file");
    file.write_all(bytes).expect("room for the file");
    file
}

/// An unnamed file of this length, all zero.
fn file_of(len: u64) -> File {
    let file = file_with(&[]);
    file.set_len(len).expect("room for the file");
    file
}

/// `len` bytes that differ from their neighbours and from page to page.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i % 251) as u8 ^ (i >> 12) as u8)
        .collect()
}

/// The page size as libc sees it, to check ours against.
fn libc_page_size() -> usize {
    // SAFETY: sysconf only reads its argument.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("sysconf knows the page size")
}

/// Reads the bytes of a raw map.
fn bytes_of(map: &rawmap_core::MmapRaw) -> Vec<u8> {
    // SAFETY: the callers map readable memory inside the file, and change it in no other thread.
    unsafe { std::slice::from_raw_parts(map.as_ptr(), map.len()) }.to_vec()
}

/// Stores bytes through a raw map.
fn store(map: &rawmap_core::MmapRaw, offset: usize, bytes: &[u8]) {
    assert!(offset + bytes.len() <= map.len());
    // SAFETY: inside the map, by the line above; the callers map writable memory inside the file.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.as_mut_ptr().add(offset), bytes.len());
    }
}
