//! Containment, and the end of a map, where the process has reached a limit of the kernel's, or has no memory left.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::ErrorKind;

use rawmap::{Mmap, MmapMut, MmapOptions};
use rawmap_tests::{emulator, machine, skip};

use crate::{contained, cut, in_file, load, lost_at, page, pages, store, survives};

#[allow(
    clippy::unnecessary_cast,
    reason = "the type of a resource is the C library's"
)]
fn limit_data(soft: u64) {
    let limit = libc::rlimit {
        rlim_cur: soft as libc::rlim_t,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: reads the limit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) };
    assert_eq!(result, 0);
}

/// What takes the place of a lost page does not count.
#[test]
fn a_shared_map_is_contained_past_the_limit_of_data() {
    survives(
        "limits::a_shared_map_is_contained_past_the_limit_of_data",
        || {
            let (file, page) = (pages(4), page());
            let mut map = contained(&file);
            let read_only = rawmap::MmapOptions::new()
                .contained()
                .map_raw_read_only(&file)
                .unwrap();
            cut(&file, 1);
            limit_data(4096);
            assert_eq!((load(&map, 2 * page), map.lost()), (0, Some(2 * page)));
            store(&map, 3 * page, 5);
            assert_eq!(load(&map, 3 * page), 5);
            assert_eq!((load(&read_only, page), read_only.lost()), (0, Some(page)));
            cut(&file, 4);
            map.recover(&file).unwrap();
            store(&map, 3 * page, 6);
            map.flush().unwrap();
            assert_eq!(in_file(&file, 3 * page), 6);
            limit_data(u64::MAX);
        },
    );
}

/// Maps until the kernel has no more, if there is a bound that can be reached.
fn to_the_limit(file: &std::fs::File) -> Option<Vec<Mmap>> {
    if machine().is_some() {
        // A guest is the tests' own, and takes minutes for 65,530. Who may not set it has those.
        let _ = std::fs::write("/proc/sys/vm/max_map_count", "10000");
    }
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 100_000 {
        eprintln!("a kernel with room for {limit} maps has room enough");
        return None;
    }
    let mut maps = Vec::with_capacity(limit);
    // SAFETY: no slice is used.
    while let Ok(map) = unsafe { Mmap::map(file) } {
        maps.push(map);
    }
    assert!(maps.len() > limit / 2, "{}", maps.len());
    Some(maps)
}

#[test]
fn a_shared_map_is_contained_at_the_limit_of_maps() {
    const NAME: &str = "limits::a_shared_map_is_contained_at_the_limit_of_maps";
    if emulator().is_some() {
        return skip(NAME, "the emulator's own maps are what is counted");
    }
    survives(NAME, || {
        let (file, page) = (pages(5), page());
        let mut map = contained(&file);
        store(&map, 0, 50);
        let other = pages(1);
        let Some(mut maps) = to_the_limit(&other) else {
            return;
        };
        // The last that the kernel gives is one past the limit, and from there on it gives none, in the place of
        // others either.
        drop(maps.pop());
        cut(&file, 1);
        // In the middle: two VMAs more, which there are not.
        assert_eq!(load(&map, 2 * page), 0);
        let lost = map.lost().unwrap();
        assert!(lost <= 2 * page);
        store(&map, 3 * page, 4);
        assert_eq!(load(&map, 3 * page), 4);
        assert_eq!(lost_at(map.flush()), Some(lost as u64));
        maps.truncate(maps.len() / 2);
        cut(&file, 5);
        map.recover(&file).unwrap();
        // What was stored in a page that was not lost is the file's.
        assert_eq!((map.lost(), load(&map, 0)), (None, 50));
        store(&map, 2 * page, 3);
        map.flush().unwrap();
        assert_eq!((in_file(&file, 0), in_file(&file, 2 * page)), (50, 3));
    });
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let maps = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = maps.split(' ').nth(1).unwrap();
    pages.parse::<usize>().unwrap() * page()
}

#[test]
fn a_drop_at_the_limit_of_maps_gives_the_bytes_back() {
    const NAME: &str = "limits::a_drop_at_the_limit_of_maps_gives_the_bytes_back";
    if emulator().is_some() {
        return skip(NAME, "the emulator's own maps are what is counted");
    }
    survives(NAME, || {
        let len = 16 << 20;
        // Neighbours, which the kernel makes one VMA of: three of those that have no hole between them.
        let mut near: Vec<_> = (0..12).map(|_| MmapMut::map_anon(len).unwrap()).collect();
        near.sort_by_key(|map| map.as_ptr());
        let starts: Vec<usize> = near.iter().map(|map| map.as_ptr().addr()).collect();
        let three = starts
            .windows(3)
            .position(|of| of[0] + len == of[1] && of[1] + len == of[2]);
        let middle = three.unwrap() + 1;
        near[middle].fill(1);
        let file = pages(1);
        let Some(maps) = to_the_limit(&file) else {
            return;
        };
        let before = resident();
        drop(near.remove(middle));
        let after = resident();
        assert!(after + len / 4 * 3 < before, "{before} {after}");
        drop(maps);
    });
}

/// The heap of this program, which has nothing for a thread that says so.
struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

std::thread_local! {
    static IS_FULL: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: passes all on to the system's, or says that there is no memory.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has none.
        if IS_FULL.try_with(Cell::get).unwrap_or(false) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's duty, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's duty, passed on.
        unsafe { System.dealloc(start, layout) }
    }
}

/// It is an error that the program is told, with its kind and without its numbers.
#[test]
fn an_error_needs_no_memory() {
    survives("limits::an_error_needs_no_memory", || {
        let map = MmapMut::map_anon(4096).unwrap();
        let (range, refused) = (
            || map.flush_range(4096, 1).unwrap_err(),
            || MmapOptions::new().len(usize::MAX).map_anon().unwrap_err(),
        );
        let numbers = |error| rawmap::Error::from_io(&error).is_some();
        assert!(numbers(range()) && numbers(refused()));
        let kinds = [range().kind(), refused().kind()];
        assert_eq!(kinds[0], ErrorKind::InvalidInput);
        IS_FULL.set(true);
        let told = [range(), refused()];
        IS_FULL.set(false);
        assert_eq!(told.each_ref().map(std::io::Error::kind), kinds);
        assert!(!told.into_iter().any(numbers));
    });
}
