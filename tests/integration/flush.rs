//! Flushes: ranges, and which pages they write.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd as _;
use std::sync::Mutex;

use rawmap_core::{Advice, MmapOptions, MmapRaw, page_size};
use rawmap_tests::{hides_dirty_pages, leave_out, skip};

use crate::IsRange as _;
use crate::{file_of, store};

#[test]
fn every_range_inside_the_map_is_flushed_and_no_other() {
    let file = file_of(20_000);
    for offset in [0, 1, 4096, 5001] {
        let map = MmapOptions::new().offset(offset).map_raw(&file).unwrap();
        let len = map.len();
        for start in [0, 1, 4095, 4096, 8191, len - 1, len] {
            for count in [0, 1, 4096, 4097, len - start] {
                if start + count <= len {
                    map.flush_range(start, count).unwrap();
                    map.flush_async_range(start, count).unwrap();
                }
            }
            for count in [
                len - start + 1,
                len + 1,
                usize::MAX,
                (usize::MAX - start).saturating_add(1),
            ] {
                let refused = map.flush_range(start, count).unwrap_err();
                assert!(refused.is_range(), "{start} {count}");
                assert!(map.flush_async_range(start, count).unwrap_err().is_range());
            }
        }
        assert!(map.flush_range(len + 1, 0).unwrap_err().is_range());
        assert!(
            map.flush_range(usize::MAX, usize::MAX)
                .unwrap_err()
                .is_range()
        );
        map.flush().unwrap();
        map.flush_async().unwrap();
    }
}

/// What cachestat(2) says about a range of a file: pages that are dirty, or on their way out.
pub(crate) fn dirty_pages(file: &std::fs::File, offset: u64, len: u64) -> Option<u64> {
    #[repr(C)]
    #[derive(Default)]
    struct CacheStat {
        cache: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    let range = [offset, len];
    let mut stat = CacheStat::default();
    // SAFETY: the kernel reads two u64 and writes five, which are there.
    let result = unsafe {
        libc::syscall(
            rawmap_tests::calls::CACHESTAT,
            file.as_raw_fd(),
            range.as_ptr(),
            &raw mut stat,
            0,
        )
    };
    (result == 0).then_some(stat.dirty + stat.writeback)
}

/// Tells why dirty pages cannot be counted here.
pub(crate) fn cannot_count() -> Option<&'static str> {
    if hides_dirty_pages(&crate::test_dir()) {
        return Some("this file system does not count dirty pages");
    }
    let none = dirty_pages(&file_of(1), 0, 1).is_none();
    none.then_some("cachestat is not to be had here")
}

/// Asserts that the kernel has no dirty page in the first bytes of a file. Where it cannot be asked, the test of that name
/// leaves that out, and says so once.
pub(crate) fn assert_clean(test: &'static str, file: &std::fs::File, len: usize) {
    static SAID: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    match cannot_count() {
        None => assert_eq!(dirty_pages(file, 0, len as u64), Some(0), "{test}"),
        Some(reason) if SAID.lock().unwrap().insert(test) => leave_out(test, reason),
        Some(_) => {}
    }
}

/// Not a proof of durability, but of which pages reach the device: the ones that must.
#[test]
fn flush_range_writes_its_pages_and_no_others() {
    let page = page_size().unwrap().get();
    let test = "flush::flush_range_writes_its_pages_and_no_others";
    if let Some(reason) = cannot_count() {
        return skip(test, reason);
    }
    let pages = 64;
    // Over the kernel's own write-back, which may clean a page at any time: seen once is enough.
    let mut others_stayed_dirty = false;
    for in_page in [0, 1, page - 1] {
        let file = file_of((pages * page) as u64);
        let map = MmapOptions::new()
            .offset(in_page as u64)
            .map_raw(&file)
            .unwrap();
        // Else a store may dirty a large folio around it.
        map.advise(Advice::Random).unwrap();
        let dirty = |page_number: usize| {
            let offset = (page_number * page) as u64;
            dirty_pages(&file, offset, page as u64).expect("it had cachestat a moment ago")
        };
        let touch = |page_number: usize| {
            let offset = (page_number * page).saturating_sub(in_page);
            store(&map, offset, &[page_number as u8 + 1]);
        };
        for number in [3, 9, 10, 20] {
            touch(number);
        }
        let before: Vec<_> = [3, 9, 10, 20].into_iter().map(dirty).collect();
        // The last byte of page 9 and the first of page 10.
        map.flush_range(10 * page - in_page - 1, 2).unwrap();
        assert_eq!(
            (dirty(9), dirty(10)),
            (0, 0),
            "the flushed pages, {in_page}"
        );
        others_stayed_dirty |= before == [1, 1, 1, 1] && dirty(3) == 1 && dirty(20) == 1;
        // No bytes, no pages.
        touch(30);
        map.flush_range(30 * page - in_page, 0).unwrap();
        others_stayed_dirty &= dirty(30) == 1;
        map.flush().unwrap();
        assert_eq!(dirty_pages(&file, 0, (pages * page) as u64), Some(0));
    }
    assert!(
        others_stayed_dirty,
        "every flush wrote pages around its range"
    );
}

#[test]
fn a_flush_from_another_thread_is_fine() {
    let map = MmapRaw::map_raw(file_of(100_000)).unwrap();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let map = &map;
            scope.spawn(move || {
                for turn in 0..20 {
                    store(map, part * 25_000, &[turn]);
                    map.flush_range(part * 25_000, 1).unwrap();
                }
            });
        }
    });
}
