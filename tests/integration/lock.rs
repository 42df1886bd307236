//! mlock and its relatives.

use rawmap_core::{Errno, Error, MmapOptions, MmapRaw};
use rawmap_tests::disk::MapperDisk;
use rawmap_tests::{emulator, locked_bytes, skip};

use crate::IsRange as _;
use crate::{file_of, libc_page_size};

#[test]
fn whole_and_range() {
    let page = libc_page_size();
    let file = file_of(8 * page as u64);
    let map = MmapOptions::new().offset(10).map_raw(&file).unwrap();
    let expect = |pages: usize| {
        // The emulator makes the calls, but shows another /proc.
        if emulator().is_none() {
            assert_eq!(locked_bytes(&map), pages * page);
        }
    };
    expect(0);
    map.lock().unwrap();
    expect(8);
    // Locks do not nest.
    map.lock().unwrap();
    map.unlock().unwrap();
    expect(0);
    // The last byte of page 2 and the first of page 3.
    map.lock_range(3 * page - 11, 2).unwrap();
    expect(2);
    map.unlock_range(2 * page, 1).unwrap();
    expect(1);
    map.unlock().unwrap();
    expect(0);
    map.lock_range(page, 0).unwrap();
    expect(0);
    assert!(map.lock_range(map.len(), 1).unwrap_err().is_range());
    assert!(map.unlock_range(1, map.len()).unwrap_err().is_range());
}

#[test]
fn on_fault() {
    let page = libc_page_size();
    let file = file_of(4 * page as u64);
    let map = MmapRaw::map_raw(&file).unwrap();
    if emulator().is_some() {
        let refused = map.lock_on_fault().unwrap_err().errno();
        assert!(
            matches!(refused, Some(Errno::NOSYS | Errno::INVAL)),
            "{refused:?}"
        );
        return skip("lock::on_fault", "there is no mlock2 here");
    }
    map.lock_on_fault().unwrap();
    map.unlock().unwrap();
    map.lock_on_fault_range(page, 1).unwrap();
    // SAFETY: the second page is inside the map.
    assert_eq!(unsafe { map.as_ptr().add(page).read_volatile() }, 0);
    assert_eq!(locked_bytes(&map), page);
    assert!(
        map.lock_on_fault_range(0, 4 * page + 1)
            .unwrap_err()
            .is_range()
    );
}

/// A lock does not return where a page cannot be read, so it is asked beforehand; that call returns, before Linux 6.9 too.
#[test]
fn what_cannot_be_read_is_told_beforehand() {
    const NAME: &str = "lock::what_cannot_be_read_is_told_beforehand";
    let disk = match MapperDisk::new("rawmap-unread") {
        Ok(disk) => disk,
        Err(reason) => return skip(NAME, &reason),
    };
    let map = rawmap_core::MmapRaw::map_raw(disk.open().unwrap()).unwrap();
    // Not at the begin, which is read when the device appears.
    let (first, second) = (1 << 20, 2 << 20);
    disk.fail(true);
    for unread in [
        map.prefault_read(first, 1),
        map.prefault_write(first, 1),
        map.prefault_read(first, second),
    ] {
        assert!(
            matches!(unread, Err(Error::Unreachable { offset }) if offset == first as u64),
            "{unread:?}"
        );
    }
    disk.fail(false);
    map.prefault_read(first, 1).unwrap();
    map.prefault_write(second, 1).unwrap();
}

#[test]
fn what_cannot_be_locked_for_writing_says_where() {
    let page = libc_page_size();
    let file = file_of(2 * page as u64);
    let map = MmapOptions::new().len(4 * page).map_raw(&file).unwrap();
    map.lock_writable(0, 2 * page).unwrap();
    map.unlock().unwrap();
    let offset = 2 * page as u64;
    for (at, len) in [(0, 4 * page), (page + 7, page), (2 * page, 1)] {
        let refused = map.lock_writable(at, len);
        assert_eq!(refused, Err(Error::Unreachable { offset }), "{at} {len}");
    }
    if emulator().is_none() {
        assert_eq!(locked_bytes(&map), 0);
    }
    assert!(map.lock_writable(1, 4 * page).unwrap_err().is_range());
    map.lock_writable(4 * page, 0).unwrap();
    let reads = MmapOptions::new().map_raw_read_only(&file).unwrap();
    assert_eq!(reads.lock_writable(0, 1), Err(Error::Protected));
}
