//! `checks FILE`: the behaviour of rawmap-core where there is no std, no libc and perhaps no `/proc`.
//! FILE is emptied and used.
//!
//! Ends with 0, or with the number of the first check that failed, which it names on standard error.

#![no_std]
#![no_main]

use rawmap_core::{
    Advice, Error, Mmap, MmapMut, MmapOptions, MmapRaw, Protection, RemapOptions, Span, Tracked,
    memfd, page_size, reserve,
};
use rawmap_freestanding::{Arguments, start};
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

start!(main);

type Check = (&'static str, fn(&Arguments, &OwnedFd) -> Option<()>);

const CHECKS: &[Check] = &[
    (
        "the page size is found, and is the one of the auxiliary vector",
        finds_page_size,
    ),
    (
        "a store reaches the file, at an offset inside a page",
        stores,
    ),
    ("a range past the map is an error", refuses_ranges),
    ("an empty map works", maps_nothing),
    (
        "the page size can be supplied, and no other",
        takes_page_size,
    ),
    ("offsets past 4 GiB", reaches_past_4_gib),
    ("private memory, read-only and back", changes_protection),
    ("shared anonymous memory", maps_shared_memory),
    ("remap grows and refuses what wraps", remaps),
    ("lock and advice", locks_and_advises),
    ("only a sealed memfd is immutable", knows_seals),
    ("a character device has no length", refuses_devices),
    ("tracked writes, one commit", commits),
    ("a retry keeps bytes", retries),
    (
        "write-back starts, and a split map flushes",
        starts_writeback,
    ),
    ("where the file ends is known beforehand", prefaults),
    ("room is reserved, and map and file grow", grows),
];

fn main(arguments: &Arguments) -> u8 {
    let Some(path) = arguments.get(1) else {
        return 100;
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) else {
        return 99;
    };
    // QEMU before 8 puts maps past 4 GiB in the wrong place of the file on arm; the caller says so.
    let skip = arguments
        .get(2)
        .is_some_and(|word| word == c"--no-large-offsets");
    for (number, (name, check)) in (1u8..).zip(CHECKS) {
        if skip && *name == "offsets past 4 GiB" {
            say(&["skip: freestanding::offsets_past_4_gib: this QEMU wraps them\n"]);
            continue;
        }
        if rustix::fs::ftruncate(&file, 0).is_err()
            || rustix::fs::ftruncate(&file, 300_000).is_err()
            || check(arguments, &file).is_none()
        {
            say(&["failed: ", name, "\n"]);
            return number;
        }
    }
    0
}

fn say(words: &[&str]) {
    // SAFETY: standard error is not closed by this program.
    let stderr = unsafe { rustix::stdio::stderr() };
    for word in words {
        let _ = rustix::io::write(stderr, word.as_bytes());
    }
}

/// `None` where the condition does not hold, so that checks read as a list.
fn ensure(condition: bool) -> Option<()> {
    condition.then_some(())
}

fn read_at<const N: usize>(file: &OwnedFd, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let read = rustix::io::pread(file, &mut bytes, offset).ok()?;
    (read == N).then_some(bytes)
}

fn store(map: &MmapRaw, offset: usize, bytes: &[u8]) {
    if Span::new(offset, bytes.len(), map.len()).is_ok() {
        for (i, byte) in bytes.iter().enumerate() {
            // SAFETY: inside the map, by the span; the file reaches that far, and this program has
            // one thread.
            unsafe { map.as_mut_ptr().add(offset + i).write(*byte) };
        }
    }
}

fn finds_page_size(arguments: &Arguments, _: &OwnedFd) -> Option<()> {
    ensure(page_size().ok() == arguments.page_size())
}

fn stores(_: &Arguments, file: &OwnedFd) -> Option<()> {
    for offset in [0, 1, 4095, 4096, 65_537] {
        let map = MmapOptions::new().offset(offset).map_raw(file).ok()?;
        ensure(map.len() as u64 == 300_000 - offset)?;
        store(&map, 70_000, b"record");
        map.flush_range(70_000, 6).ok()?;
        ensure(read_at(file, offset + 70_000)? == *b"record")?;
        map.flush().ok()?;
        map.flush_async().ok()?;
    }
    Some(())
}

fn refuses_ranges(_: &Arguments, file: &OwnedFd) -> Option<()> {
    let map = MmapOptions::new()
        .offset(100)
        .len(5000)
        .map_raw(file)
        .ok()?;
    for (offset, len) in [
        (5000, 1),
        (5001, 0),
        (1, 5000),
        (usize::MAX, 2),
        (2, usize::MAX),
    ] {
        let limit = 5000;
        let (offset64, len64) = (offset as u64, len as u64);
        let want = Err(Error::OutOfRange {
            offset: offset64,
            len: len64,
            limit,
        });
        ensure(map.flush_range(offset, len) == want)?;
        ensure(map.advise_range(Advice::Normal, offset, len) == want)?;
        ensure(map.lock_range(offset, len) == want)?;
    }
    let past = MmapOptions::new().offset(300_001).map_raw(file);
    ensure(matches!(
        past,
        Err(Error::PastEnd {
            offset: 300_001,
            file_len: 300_000
        })
    ))?;
    let long = MmapOptions::new().len(usize::MAX).map_raw(file);
    ensure(matches!(long, Err(Error::TooLong { .. })))
}

fn maps_nothing(_: &Arguments, file: &OwnedFd) -> Option<()> {
    for offset in [0, 77, 300_000] {
        let map = MmapOptions::new()
            .offset(offset)
            .len(0)
            .map_raw(file)
            .ok()?;
        ensure(map.is_empty())?;
        map.flush().ok()?;
        map.flush_range(0, 0).ok()?;
        ensure(map.flush_range(0, 1).is_err())?;
    }
    Some(())
}

fn takes_page_size(arguments: &Arguments, file: &OwnedFd) -> Option<()> {
    let page = arguments.page_size()?;
    let larger = rawmap_core::PageSize::from_bits(page.bits() + 2).ok()?;
    let supplied = |page| {
        let mut options = MmapOptions::new();
        options.page_size(page).offset(70_001).len(9_000);
        options.map_raw(file)
    };
    let map = supplied(page).ok()?;
    store(&map, 8_000, b"same");
    map.flush_range(8_000, 4).ok()?;
    ensure(read_at(file, 78_001)? == *b"same")?;
    ensure(matches!(supplied(larger), Err(Error::PageSize { .. })))
}

fn reaches_past_4_gib(_: &Arguments, file: &OwnedFd) -> Option<()> {
    let offset = (5 << 30) + 4097;
    rustix::fs::ftruncate(file, offset + 9000).ok()?;
    let map = MmapOptions::new().offset(offset).map_raw(file).ok()?;
    ensure(map.len() == 9000)?;
    store(&map, 5000, b"far out");
    map.flush_range(5000, 7).ok()?;
    ensure(read_at(file, offset + 5000)? == *b"far out")
}

fn changes_protection(_: &Arguments, _: &OwnedFd) -> Option<()> {
    let mut map = MmapMut::map_anon(10_000).ok()?;
    map[9_999] = 1;
    let map: Mmap = map.make_read_only().ok()?;
    ensure(map[9_999] == 1 && map[0] == 0)?;
    let mut map = MmapRaw::from(map.make_mut().ok()?);
    map.protect(Protection::None).ok()?;
    map.protect_range(Protection::ReadWrite, 9_999, 1).ok()?;
    store(&map, 9_999, b"2");
    Some(())
}

fn maps_shared_memory(_: &Arguments, _: &OwnedFd) -> Option<()> {
    let map = MmapOptions::new().len(5000).map_anon_shared().ok()?;
    store(&map, 4990, b"shared");
    map.flush().ok()
}

fn remaps(_: &Arguments, file: &OwnedFd) -> Option<()> {
    let mut map = MmapOptions::new().offset(5).len(100).map_raw(file).ok()?;
    let may_move = RemapOptions::new().may_move(true);
    // SAFETY: no pointer into the map is kept, and the file has 300,000 bytes.
    unsafe { map.remap(200_000, may_move) }.ok()?;
    store(&map, 199_000, b"grown");
    ensure(read_at(file, 199_005)? == *b"grown")?;
    for len in [usize::MAX, usize::MAX - 5, usize::MAX - 4] {
        // SAFETY: as above.
        let refused = unsafe { map.remap(len, may_move) };
        ensure(matches!(refused, Err(Error::TooLong { .. })))?;
    }
    ensure(map.len() == 200_000)?;
    map.flush().ok()
}

fn locks_and_advises(_: &Arguments, file: &OwnedFd) -> Option<()> {
    let map = MmapOptions::new().offset(9).len(9000).map_raw(file).ok()?;
    map.lock_range(5000, 10).ok()?;
    map.unlock().ok()?;
    map.advise(Advice::Random).ok()?;
    map.advise_range(Advice::Normal, 4000, 5000).ok()
}

fn knows_seals(_: &Arguments, file: &OwnedFd) -> Option<()> {
    ensure(!memfd::is_immutable(file))?;
    ensure(Mmap::map_if_safe(file).is_err())?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let sealed = rustix::fs::memfd_create(c"checks", flags).ok()?;
    rustix::io::write(&sealed, b"for ever").ok()?;
    ensure(!memfd::is_immutable(&sealed))?;
    rustix::fs::fcntl_add_seals(&sealed, SealFlags::SHRINK | SealFlags::WRITE).ok()?;
    let map = Mmap::map_if_safe(&sealed).ok()?;
    ensure(map[..] == *b"for ever")
}

fn refuses_devices(_: &Arguments, _: &OwnedFd) -> Option<()> {
    // Without /dev, as in a chroot, there is nothing to ask.
    let Ok(zero) = rustix::fs::open(c"/dev/zero", OFlags::RDWR, Mode::empty()) else {
        return Some(());
    };
    ensure(matches!(MmapRaw::map_raw(&zero), Err(Error::NoLength)))
}

/// A map of the file that only the caller uses.
fn map_mut(options: &MmapOptions, file: &OwnedFd) -> Option<MmapMut> {
    // SAFETY: nobody else uses the file.
    unsafe { options.map_mut(file) }.ok()
}

fn commits(_: &Arguments, file: &OwnedFd) -> Option<()> {
    let mut options = MmapOptions::new();
    let map = map_mut(options.offset(5).scattered(), file)?;
    let mut tracked = Tracked::<2>::new(map);
    ensure(tracked.commit().ok()?.calls == 0)?;
    for offset in [100, 104, 200_000, 90_000, 100_000] {
        tracked.write(offset, b"abcd").ok()?;
    }
    tracked.edit(150_000, 1).ok()?[0] = b'e';
    ensure(tracked.pending().len() == 2 && tracked.is_dirty())?;
    let done = tracked.commit().ok()?;
    ensure(done.ranges == 2 && done.calls == 1 && !tracked.is_dirty())?;
    ensure(read_at(file, 105)? == *b"abcdabcd" && read_at(file, 150_005)? == *b"e")?;
    ensure(tracked.write(299_995, b"x").is_err() && !tracked.is_dirty())
}

fn retries(_: &Arguments, file: &OwnedFd) -> Option<()> {
    let map = MmapOptions::new().offset(7).map_raw(file).ok()?;
    store(&map, 70_000, b"again");
    ensure(map.failed().is_none())?;
    map.retry_flush().ok()?;
    map.flush_all(file).ok()?;
    ensure(read_at(file, 70_007)? == *b"again")
}

fn starts_writeback(_: &Arguments, file: &OwnedFd) -> Option<()> {
    let map = MmapOptions::new().offset(9).map_raw(file).ok()?;
    store(&map, 70_000, b"early");
    map.flush_async().ok()?;
    map.start_writeback(file, 70_000, 5).ok()?;
    map.advise_range(Advice::Random, 0, 100).ok()?;
    map.flush().ok()?;
    ensure(map.file_offset() == Ok(9))?;
    ensure(read_at(file, 70_009)? == *b"early")?;
    let memory = MmapOptions::new().len(10).map_anon_shared().ok()?;
    ensure(memory.start_writeback(file, 0, 1) == Err(Error::NoFile))
}

fn prefaults(_: &Arguments, file: &OwnedFd) -> Option<()> {
    let page = page_size().ok()?.get() as u64;
    let map = MmapOptions::new().offset(1).map_raw(file).ok()?;
    map.prefault_read(0, map.len()).ok()?;
    map.prefault_write(0, map.len()).ok()?;
    rustix::fs::ftruncate(file, page + 1).ok()?;
    let end = Err(Error::Unreachable {
        offset: 2 * page - 1,
    });
    ensure(map.prefault_read(0, map.len()) == end && map.prefault_write(0, map.len()) == end)?;
    map.prefault_write(0, 2 * page as usize - 1).ok()
}

fn grows(_: &Arguments, file: &OwnedFd) -> Option<()> {
    // Some file systems cannot reserve.
    ensure(reserve(file, 0, 310_000).is_ok() || rustix::fs::ftruncate(file, 310_000).is_ok())?;
    let mut map = map_mut(MmapOptions::new().offset(5).len(310_000 - 5), file)?;
    map[300_000] = 1;
    // SAFETY: the file that is mapped, and no other map is of it.
    unsafe { map.grow(file, 500_000) }.ok()?;
    ensure(map.len() == 500_000 && map[300_000] == 1)?;
    map[499_999] = 2;
    map.flush().ok()?;
    ensure(read_at(file, 500_004)? == [2])?;
    // SAFETY: as above.
    let refused = unsafe { map.grow(file, usize::MAX) };
    ensure(matches!(refused, Err(Error::TooLong { .. })))
}
