//! Contained maps that move, grow and end, and the table's places for them.

use rawmap::{Error, MmapMut, MmapOptions, RemapOptions, fault};

use crate::{contained, cut, in_child, load, lost_at, page, pages, signal, store, survives};

#[test]
fn maps_that_grow_and_move() {
    survives("places::maps_that_grow_and_move", || {
        let (file, page) = (pages(2), page());
        let mut map = contained(&file);
        // Something behind it, so that it moves.
        let _behind: Vec<_> = (0..8).map(|_| MmapMut::map_anon(page).unwrap()).collect();
        map.grow(&file, 64 * page).unwrap();
        store(&map, 63 * page, 9);
        map.flush().unwrap();
        cut(&file, 1);
        assert_eq!(load(&map, 63 * page), 0);
        assert_eq!(map.lost(), Some(63 * page));
        // A map with other pages in it cannot move.
        let options = RemapOptions::new().may_move(true);
        // SAFETY: no pointer is kept.
        let refused = unsafe { map.remap(page, options) };
        assert_eq!(lost_at(refused), Some(63 * page as u64));
        assert!(map.grow(&file, 65 * page).is_err());
        // And is still contained where it is.
        assert_eq!(load(&map, 62 * page), 0);
        map.recover(&file).unwrap();
        // SAFETY: as above.
        unsafe { map.remap(2 * page, options) }.unwrap();
        assert_eq!(load(&map, page), 0);
        assert_eq!((map.lost(), load(&map, 0)), (Some(page), 1));
    });
}

#[test]
fn a_remap_that_fails_stays_contained() {
    survives("places::a_remap_that_fails_stays_contained", || {
        let (file, page) = (pages(2), page());
        let mut map = contained(&file);
        // SAFETY: no pointer is kept.
        let refused = unsafe { map.remap(isize::MAX.cast_unsigned() / 2, RemapOptions::new()) };
        assert!(refused.is_err());
        cut(&file, 1);
        assert_eq!(load(&map, page), 0);
        assert_eq!(map.lost(), Some(page));
    });
}

#[test]
fn what_was_unmapped_is_not_contained() {
    let status = in_child("places::what_was_unmapped_is_not_contained", || {
        let (file, page) = (pages(2), page());
        let map = contained(&file);
        let start = map.as_ptr();
        drop(map);
        // The same address, of a map that is not contained.
        let map = MmapOptions::new().map_raw(&file).unwrap();
        if map.as_ptr() != start {
            // SAFETY: a page that nobody has mapped: dies of SIGSEGV, if all is well.
            unsafe { start.read_volatile() };
        }
        cut(&file, 1);
        load(&map, page);
    });
    assert!(
        [Some(libc::SIGBUS), Some(libc::SIGSEGV)].contains(&signal(status)),
        "{status}"
    );
}

#[test]
fn a_full_table_is_an_error() {
    survives("places::a_full_table_is_an_error", || {
        let file = pages(1);
        let mut maps: Vec<_> = (0..fault::CAPACITY).map(|_| contained(&file)).collect();
        let mut options = MmapOptions::new();
        let refused = options.contained().map_raw(&file).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::QuotaExceeded);
        let full = Error::TooManyMaps {
            capacity: fault::CAPACITY,
        };
        assert_eq!(Error::from_io(&refused), Some(full));
        // A place that is given back is taken again, and has lost nothing.
        cut(&file, 0);
        assert_eq!(load(&maps[3], 0), 0);
        assert_eq!(maps[3].lost(), Some(0));
        drop(maps.swap_remove(3));
        let map = options.map_raw(&pages(1)).unwrap();
        assert_eq!((map.lost(), load(&map, 0)), (None, 1));
        maps.truncate(1);
        assert_eq!(load(&maps[0], 0), 0);
        assert_eq!((maps[0].lost(), map.lost()), (Some(0), None));
    });
}

/// The first byte behind a contained map is another's, and so is a fault there.
#[test]
fn what_lies_behind_a_map_is_not_contained() {
    const NAME: &str = "places::what_lies_behind_a_map_is_not_contained";
    let status = in_child(NAME, || {
        fault::install().unwrap();
        let (file, other, page) = (pages(1), pages(1), page());
        let fixed = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
        // Two maps lie side by side, mostly; in the place of the one behind, another file is mapped. Where they do not, both
        // stay, and fill holes.
        let mut maps = Vec::new();
        let behind = (0..50).find_map(|_| {
            let (first, map) = (contained(&file), contained(&file));
            drop(first);
            let end = map.as_mut_ptr().wrapping_add(page);
            maps.push(map);
            let fd = std::os::fd::AsRawFd::as_raw_fd(&other);
            // SAFETY: a new mapping, which replaces none.
            let behind = unsafe { libc::mmap(end.cast(), page, libc::PROT_READ, fixed, fd, 0) };
            if behind == end.cast() {
                return Some(end);
            }
            maps.push(contained(&file));
            None
        });
        let behind = behind.expect("one of them has room behind it");
        // SAFETY: mapped, and read as others may change it.
        let read = |at: *mut u8| unsafe { at.read_volatile() };
        assert_eq!(read(behind), 1);
        cut(&file, 0);
        cut(&other, 0);
        assert_eq!(read(behind.wrapping_sub(1)), 0);
        read(behind);
    });
    assert_eq!(signal(status), Some(libc::SIGBUS));
}
