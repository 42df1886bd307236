//! Guard pages, and which pages are in memory.

use rawmap::{Advice, Error, Guarded, MmapMut};
use rawmap_tests::{emulator, skip};

use crate::{in_child_saying, page, signal, survives, word};

#[test]
fn an_access_beside_a_guarded_map_raises_sigsegv() {
    const NAME: &str = "guards::an_access_beside_a_guarded_map_raises_sigsegv";
    let body = || {
        let word = word();
        let (len, at) = word.split_once(' ').unwrap();
        let (len, at): (usize, isize) = (len.parse().unwrap(), at.parse().unwrap());
        let mut map = Guarded::new(len).unwrap();
        map.fill(1);
        // SAFETY: not sound: this is to die.
        unsafe { map.as_mut_ptr().wrapping_offset(at).write_volatile(1) };
    };
    if std::env::var(crate::CASE).is_ok() {
        in_child_saying(NAME, "", body);
        return;
    }
    let page = page().cast_signed();
    for (len, at) in [
        (page, -1),
        (page, -page),
        (page, page),
        (page, 2 * page - 1),
        (3 * page - 5, 3 * page),
        (0, -1),
        (0, page),
        // Controls: inside, and the rest of the last page.
        (page, 0),
        (page - 5, page - 1),
    ] {
        let (status, _) = in_child_saying(NAME, &format!("{len} {at}"), || unreachable!());
        if (0..page).contains(&at) {
            assert!(status.success(), "{len} {at}: {status}");
        } else {
            let died = signal(status);
            assert_eq!(died, Some(libc::SIGSEGV), "{len} {at}: {status}");
        }
    }
}

fn mapped_bytes() -> usize {
    let maps = std::fs::read_to_string("/proc/self/statm").unwrap();
    maps.split(' ').next().unwrap().parse::<usize>().unwrap() * page()
}

#[test]
fn guards_go_with_their_map() {
    if emulator().is_some() {
        let reason = "the emulator's own memory is what is counted there";
        return skip("guards::guards_go_with_their_map", reason);
    }
    survives("guards::guards_go_with_their_map", || {
        let before = mapped_bytes();
        for _ in 0..1000 {
            let mut map = Guarded::new(5000).unwrap();
            map[4999] = 1;
        }
        let after = mapped_bytes();
        // A thousand pairs of guards would be eight megabytes.
        assert!(after < before + 1_000_000, "{before} {after}");
    });
}

#[test]
fn guarded_memory_is_a_slice_that_can_be_locked() {
    let mut map = Guarded::new(10_000).unwrap();
    assert!(map.len() == 10_000 && map.iter().all(|byte| *byte == 0));
    map.fill(3);
    map.advise(Advice::DontDump).unwrap();
    map.lock().unwrap();
    assert!(map.iter().all(|byte| *byte == 3));
    assert!(Guarded::new(0).unwrap().is_empty());
    // Too long, with or without guards.
    for len in [
        usize::MAX,
        isize::MAX.cast_unsigned(),
        isize::MAX.cast_unsigned() - page(),
    ] {
        let refused = Guarded::new(len).unwrap_err();
        assert!(matches!(refused, Error::TooLong { .. }), "{refused}");
    }
}

#[test]
fn resident_pages_are_counted() {
    const NAME: &str = "guards::resident_pages_are_counted";
    if emulator().is_some() {
        return skip(NAME, "user mode says what it likes of pages");
    }
    let page = page();
    let mut map = MmapMut::map_anon(1000 * page).unwrap();
    // Not in groups by the kernel's own wish.
    let _ = map.advise(rawmap::Advice::NoHugePage);
    let count = |map: &MmapMut, offset, len| map.as_raw().resident_pages(offset, len).unwrap();
    assert_eq!(count(&map, 0, 1000 * page), 0);
    for number in [0, 1, 255, 256, 700, 999] {
        map[number * page] = 1;
    }
    assert_eq!(count(&map, 0, 1000 * page), 6);
    assert_eq!(count(&map, page - 1, 2), 2);
    assert_eq!(count(&map, page, 1), 1);
    assert_eq!(count(&map, 2 * page, 1), 0);
    assert_eq!(count(&map, 256 * page - 1, 2), 2);
    assert_eq!(count(&map, 999 * page, page), 1);
    assert_eq!(count(&map, page, 0), 0);
    assert!(map.as_raw().resident_pages(1000 * page, 1).is_err());
    assert!(map.as_raw().resident_pages(usize::MAX, 2).is_err());
}
