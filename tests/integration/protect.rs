//! mprotect: what is allowed shows in /proc/self/maps.

use rawmap_core::{MmapMut, MmapOptions, Protection};

use crate::IsRange as _;
use crate::{bytes_of, file_of, libc_page_size, store};

/// The permissions of the VMA that holds an address: "rw-s".
fn permissions(address: *const u8) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines() {
        let mut words = line.split(' ');
        let (range, permissions) = (words.next().unwrap(), words.next().unwrap());
        let (start, end) = range.split_once('-').unwrap();
        let hex = |text| usize::from_str_radix(text, 16).unwrap();
        if (hex(start)..hex(end)).contains(&address.addr()) {
            return permissions.to_owned();
        }
    }
    panic!("{address:?} is not mapped");
}

#[test]
fn the_whole_map_changes() {
    let file = file_of(3 * libc_page_size() as u64);
    let mut map = MmapOptions::new().offset(5).map_raw(&file).unwrap();
    let last = map.as_ptr().wrapping_add(map.len() - 1);
    for (protection, text) in [
        (Protection::None, "---s"),
        (Protection::ReadOnly, "r--s"),
        (Protection::ReadExec, "r-xs"),
        (Protection::ReadWrite, "rw-s"),
    ] {
        map.protect(protection).unwrap();
        assert_eq!(permissions(map.as_ptr()), text);
        assert_eq!(permissions(last), text);
    }
    store(&map, 0, b"x");
}

#[test]
fn a_range_changes_whole_pages() {
    let page = libc_page_size();
    let file = file_of(4 * page as u64);
    let mut map = MmapOptions::new().map_raw(&file).unwrap();
    let at = |offset: usize| permissions(map.as_ptr().wrapping_add(offset));
    assert_eq!(at(0), "rw-s");
    map.protect_range(Protection::ReadOnly, 2 * page - 1, 2)
        .unwrap();
    let at = |offset: usize| permissions(map.as_ptr().wrapping_add(offset));
    assert_eq!(
        [at(0), at(page), at(2 * page), at(3 * page)],
        ["rw-s", "r--s", "r--s", "rw-s"]
    );
    store(&map, 3 * page, b"x");
    assert_eq!(bytes_of(&map)[page], 0);
    // Several VMAs are changed, flushed and unmapped as one.
    map.protect_range(Protection::None, 0, 0).unwrap();
    map.flush().unwrap();
    map.protect(Protection::ReadWrite).unwrap();
    let beyond = map.protect_range(Protection::None, 1, 4 * page);
    assert!(beyond.unwrap_err().is_range());
}

#[test]
fn anonymous_memory_becomes_read_only_executable_and_writable() {
    let map = MmapMut::map_anon(5000).unwrap();
    assert_eq!(permissions(map.as_ptr()), "rw-p");
    let map = map.make_read_only().unwrap();
    assert_eq!(permissions(map.as_ptr()), "r--p");
    let map = map.make_mut().unwrap().make_exec().unwrap();
    assert_eq!(permissions(map.as_ptr()), "r-xp");
    assert_eq!(map.make_mut().unwrap().len(), 5000);
}

/// A page that may not be accessed is no page that cannot be had, also of a private map.
#[test]
fn a_protected_page_is_told_as_that() {
    let page = libc_page_size();
    let file = file_of(2 * page as u64);
    let shared = MmapOptions::new().map_raw(&file).unwrap();
    // SAFETY: the file is this test's own.
    let private = unsafe { MmapOptions::new().map_copy(&file) }.unwrap();
    let anonymous = MmapMut::map_anon(2 * page).unwrap();
    let maps = [shared, private.into(), anonymous.into()];
    for (number, mut map) in maps.into_iter().enumerate() {
        // Of private pages the kernel tells it since Linux 5.14, and QEMU's user mode does not.
        let told = number == 0 || rawmap_core::Advice::PopulateRead.is_supported();
        if rawmap_tests::emulator().is_some() || !told {
            continue;
        }
        map.protect_range(Protection::ReadOnly, page, 1).unwrap();
        let protected = Err(rawmap_core::Error::Protected);
        assert_eq!(map.prefault_write(page, 1), protected, "{number}");
        map.prefault_read(page, 1).unwrap();
        map.protect_range(Protection::None, page, 1).unwrap();
        assert_eq!(map.prefault_read(0, 2 * page), protected, "{number}");
        assert_eq!(map.prefault_write(0, 2 * page), protected, "{number}");
        map.prefault_write(0, 1).unwrap();
    }
}

#[test]
fn what_is_allowed_twice_is_allowed() {
    let page = libc_page_size();
    let file = file_of(3 * page as u64);
    let mut map = MmapOptions::new().map_raw(&file).unwrap();
    for _ in 0..2 {
        map.protect_range(Protection::ReadWrite, page, 1).unwrap();
        map.prefault_write(page, 1).unwrap();
        map.shared().store(page, 7_u32).unwrap();
    }
}
