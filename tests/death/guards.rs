//! Guard pages, and which pages are in memory.

use rawmap::{MmapMut, MmapOptions, RemapOptions};
use rawmap_tests::{emulator, skip};

use crate::{contained, in_child_saying, load, page, pages, signal, survives, word};

#[test]
fn an_access_beside_a_guarded_map_raises_sigsegv() {
    const NAME: &str = "guards::an_access_beside_a_guarded_map_raises_sigsegv";
    let body = || {
        let word = word();
        let mut words = word.split(' ');
        let [len, at, shared] = [(); 3].map(|()| words.next().unwrap());
        let (len, at) = (len.parse().unwrap(), at.parse().unwrap());
        let mut options = MmapOptions::new();
        options.len(len).guarded();
        let map = if shared == "true" {
            options.map_anon_shared().unwrap()
        } else {
            options.map_anon().unwrap().into()
        };
        map.shared().fill(0, len, 1).unwrap();
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
        (page, page),
        (3 * page - 5, 3 * page),
        (0, -1),
        (0, page),
        // A control: inside.
        (page, 0),
    ] {
        for shared in [false, true] {
            let (status, _) =
                in_child_saying(NAME, &format!("{len} {at} {shared}"), || unreachable!());
            if at == 0 {
                assert!(status.success(), "{status}");
            } else {
                assert_eq!(
                    signal(status),
                    Some(libc::SIGSEGV),
                    "{len} {at} {shared}: {status}"
                );
            }
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
            let mut map = MmapOptions::new().len(5000).guarded().map_anon().unwrap();
            map[4999] = 1;
        }
        let after = mapped_bytes();
        // A thousand pairs of guards would be eight megabytes.
        assert!(after < before + 1_000_000, "{before} {after}");
    });
}

#[test]
fn a_guarded_map_is_what_others_are() {
    let mut map = MmapOptions::new()
        .len(10_000)
        .guarded()
        .populate()
        .map_anon()
        .unwrap();
    map.fill(3);
    map.flush().unwrap();
    map.advise(rawmap::Advice::DontDump).unwrap();
    map.lock().unwrap();
    map.unlock().unwrap();
    // SAFETY: no pointer is kept.
    let refused = unsafe { map.remap(20_000, RemapOptions::new().may_move(true)) };
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    let map = map.make_read_only().unwrap();
    assert!(map.iter().all(|byte| *byte == 3));
    // Too long, with or without guards.
    for len in [
        usize::MAX,
        isize::MAX.cast_unsigned(),
        isize::MAX.cast_unsigned() - page(),
    ] {
        assert!(MmapOptions::new().len(len).guarded().map_anon().is_err());
    }
    let refused = MmapOptions::new().len(1).guarded().huge(None).map_anon();
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    // Maps of files ignore it.
    let file = pages(1);
    let map = MmapOptions::new().guarded().map_raw(&file).unwrap();
    assert_eq!(load(&map, 0), 1);
    assert!(!map.is_contained() && contained(&file).is_contained());
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
    let count = |map: &MmapMut, offset, len| map.resident_pages(offset, len).unwrap();
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
    assert!(map.resident_pages(1000 * page, 1).is_err());
    assert!(map.resident_pages(usize::MAX, 2).is_err());
}
