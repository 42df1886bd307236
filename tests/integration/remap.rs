//! mremap: growing, shrinking, moving, and maps that start inside a page.

use rawmap_core::{Error, MmapMut, MmapOptions, RemapOptions};

use crate::{bytes_of, file_with, libc_page_size, pattern};

const MAY_MOVE: RemapOptions = RemapOptions::new().may_move(true);

#[test]
fn grows_shrinks_and_keeps_its_bytes() {
    let page = libc_page_size();
    let whole = pattern(64 * page);
    let file = file_with(&whole);
    for offset in [0, 1, page - 1, page, 2 * page + 7] {
        let mut map = MmapOptions::new()
            .offset(offset as u64)
            .len(page)
            .map_raw(&file)
            .unwrap();
        for len in [page, 3 * page, 1, 0, 1, 40 * page + 3, page - 1, 60 * page] {
            // SAFETY: no pointer into the map is kept, and all lengths are inside the file.
            unsafe { map.remap(len, MAY_MOVE) }.unwrap();
            assert_eq!(
                bytes_of(&map),
                whole[offset..offset + len],
                "{offset} {len}"
            );
            map.flush().unwrap();
        }
    }
}

/// QEMU's user mode of 32 bit takes the pages behind a map away when mremap(2) makes it shorter.
#[test]
fn a_shorter_map_leaves_its_neighbour_alone() {
    let page = libc_page_size();
    let file = file_with(&pattern(8 * page));
    let map = |pages: usize| MmapOptions::new().len(pages * page).map_raw(&file).unwrap();
    let mut maps: Vec<_> = (0..64).map(|_| map(4)).collect();
    let mut neighbours = 0;
    for index in 0..maps.len() {
        let end = maps[index].as_ptr().addr() + 4 * page;
        neighbours += usize::from(maps.iter().any(|other| other.as_ptr().addr() == end));
        // SAFETY: no pointer into the map is kept.
        unsafe { maps[index].remap(page, RemapOptions::new()) }.unwrap();
    }
    // Kernels place maps of files as they like.
    if rawmap_tests::emulator().is_some() {
        assert!(neighbours > 20, "{neighbours}");
    }
    for map in &maps {
        assert_eq!(bytes_of(map), pattern(page));
    }
}

#[test]
fn anonymous_memory_grows_with_zeros() {
    let mut map = MmapMut::map_anon(10).unwrap();
    map.fill(7);
    // SAFETY: no pointer into the map is kept.
    unsafe { map.remap(100_000, MAY_MOVE) }.unwrap();
    assert_eq!(map[..10], [7; 10]);
    assert!(map[10..].iter().all(|byte| *byte == 0));
    map[99_999] = 1;
}

#[test]
fn without_leave_to_move_it_stays_or_fails() {
    let mut map = MmapMut::map_anon(libc_page_size()).unwrap();
    let before = map.as_ptr();
    // More than any gap: it cannot be done in place.
    let huge = isize::MAX as usize / 2;
    // SAFETY: no pointer into the map is kept.
    assert!(unsafe { map.remap(huge, RemapOptions::new()) }.is_err());
    assert_eq!((map.as_ptr(), map.len()), (before, libc_page_size()));
    // SAFETY: as above.
    unsafe { map.remap(1, RemapOptions::new()) }.unwrap();
    assert_eq!((map.as_ptr(), map.len()), (before, 1));
}

#[test]
fn lengths_that_wrap_are_errors_and_change_nothing() {
    let page = libc_page_size();
    let whole = pattern(3 * page);
    let file = file_with(&whole);
    for offset in [0, 1, page - 1] {
        let mut map = MmapOptions::new()
            .offset(offset as u64)
            .len(page)
            .map_raw(&file)
            .unwrap();
        let before = map.as_ptr();
        for len in [
            usize::MAX,
            usize::MAX - offset,
            (usize::MAX - offset).saturating_add(1),
            isize::MAX as usize + 1,
        ] {
            // SAFETY: no pointer into the map is kept.
            let refused = unsafe { map.remap(len, MAY_MOVE) }.unwrap_err();
            assert_eq!(refused, Error::TooLong { len: len as u64 });
        }
        // The longest that may be asked for; a 32-bit process may even get it.
        if usize::BITS == 64 && !cfg!(target_arch = "s390x") {
            // SAFETY: as above.
            assert!(unsafe { map.remap(isize::MAX as usize, MAY_MOVE) }.is_err());
        }
        assert_eq!((map.as_ptr(), map.len()), (before, page));
        assert_eq!(bytes_of(&map), whole[offset..offset + page]);
    }
}
