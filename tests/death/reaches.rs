//! What a flush and a retry say of pages that the file has, does not have, or that the protection hides.

use rawmap::{
    Advice, Errno, Error, MmapMut, MmapOptions, MmapRaw, Protection, SharedTracked, Tracked,
};
use rawmap_tests::calls::{FUTEX_TIME64, Refused, refuse};
use rawmap_tests::disk::{FailingDisk, On};
use rawmap_tests::{emulator, skip};

use crate::{contained, cut, in_file, load, lost_at, page, pages, store, survives};

/// A page whose protection hides it is looked at through another mapping, which mremap(2) of 0 bytes makes.
const NO_OTHER_MAPPING: &str = "QEMU's user mode refuses mremap(2) of 0 bytes";

/// Stores, flushes, and flushes once more after a truncation by a peer.
fn is_told(protect: impl Fn(&mut MmapRaw)) {
    let (file, page) = (pages(6), page());
    let mut map = contained(&file);
    protect(&mut map);
    store(&map, 2 * page, 9);
    map.flush().unwrap();
    map.flush_range(5 * page, 1).unwrap();
    assert_eq!(in_file(&file, 2 * page), 9);
    cut(&file, 2);
    let at = Some(2 * page as u64);
    assert_eq!(lost_at(map.flush()), at);
    assert_eq!(lost_at(map.flush_all(&file)), at);
    assert_eq!(lost_at(map.flush_range(5 * page, 1)), Some(5 * page as u64));
    map.flush_range(0, 2 * page).unwrap();
    assert_eq!(map.lost(), None);
}

#[test]
fn a_protection_that_was_hides_no_truncation() {
    survives("reaches::a_protection_that_was_hides_no_truncation", || {
        is_told(|map| {
            map.protect_range(Protection::None, 0, 1).unwrap();
            map.protect_range(Protection::ReadWrite, 0, 1).unwrap();
        });
        is_told(|map| {
            map.protect(Protection::None).unwrap();
            map.protect(Protection::ReadWrite).unwrap();
        });
    });
}

#[test]
fn a_protection_of_a_part_hides_no_truncation() {
    const NAME: &str = "reaches::a_protection_of_a_part_hides_no_truncation";
    if emulator().is_some() {
        return skip(NAME, NO_OTHER_MAPPING);
    }
    survives(NAME, || {
        is_told(|map| map.protect_range(Protection::None, 0, 1).unwrap());
        is_told(|map| map.protect_range(Protection::None, page(), 1).unwrap());
        is_told(|map| {
            let last = 5 * page();
            map.protect_range(Protection::ReadOnly, last, 1).unwrap();
        });
    });
}

#[test]
fn a_last_page_that_cannot_be_read_is_known_to_be_there() {
    const NAME: &str = "reaches::a_last_page_that_cannot_be_read_is_known_to_be_there";
    if emulator().is_some() {
        return skip(NAME, NO_OTHER_MAPPING);
    }
    survives(NAME, || {
        is_told(|map| map.protect_range(Protection::None, 5 * page(), 1).unwrap());
        is_told(|map| {
            map.protect_range(Protection::None, 3 * page(), 3 * page())
                .unwrap()
        });
    });
}

/// A map that is longer than its file, with pages that cannot be written or read.
fn retried(contained: bool, then: impl FnOnce()) {
    let (file, page) = (pages(4), page());
    let mut options = MmapOptions::new();
    if contained {
        options.contained();
    }
    let mut map = options.len(16 * page).map_raw(&file).unwrap();
    for number in 0..4 {
        store(&map, number * page, 20);
    }
    if emulator().is_none() {
        map.protect_range(Protection::ReadOnly, page, page).unwrap();
        map.protect_range(Protection::None, 2 * page, page).unwrap();
        map.protect_range(Protection::None, 9 * page, page).unwrap();
    }
    then();
    for _ in 0..2 {
        map.retry_flush().unwrap();
        map.flush_range(0, 4 * page).unwrap();
        assert_eq!(map.failed(), None);
    }
    for number in 0..4 {
        assert_eq!(in_file(&file, number * page), 20);
    }
    // Nothing was changed, in memory or in the file.
    assert_eq!(file.metadata().unwrap().len(), 4 * page as u64);
    assert_eq!(load(&map, page), 20);
}

#[test]
fn a_retry_takes_pages_of_any_protection_and_a_file_that_is_short() {
    const NAME: &str = "reaches::a_retry_takes_pages_of_any_protection_and_a_file_that_is_short";
    survives(NAME, || {
        retried(false, || ());
        retried(true, || ());
    });
}

/// Of this thread alone. The C library's call signals the others, and one that handles that while this ends the process
/// may die of SIGSEGV.
fn become_user(id: libc::uid_t) {
    // Of 32 bit, where another one has 16.
    #[cfg(any(target_arch = "arm", target_arch = "x86"))]
    const SETRESUID: libc::c_long = libc::SYS_setresuid32;
    #[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
    const SETRESUID: libc::c_long = libc::SYS_setresuid;
    // SAFETY: numbers.
    assert_eq!(unsafe { libc::syscall(SETRESUID, id, id, 0) }, 0);
}

/// mincore(2) says then that all pages are in memory.
#[test]
fn a_retry_of_a_process_that_may_not_write_the_file() {
    const NAME: &str = "reaches::a_retry_of_a_process_that_may_not_write_the_file";
    // SAFETY: asks.
    if unsafe { libc::geteuid() } != 0 {
        return skip(NAME, "not root, which it is to give up");
    }
    if emulator().is_some() {
        return skip(NAME, NO_OTHER_MAPPING);
    }
    survives(NAME, || {
        for contained in [false, true] {
            // Not the saved one, so that the second map is made by root.
            retried(contained, || become_user(65_534));
            become_user(0);
        }
    });
}

#[test]
fn a_commit_of_a_split_map_checks_what_it_stores() {
    survives(
        "reaches::a_commit_of_a_split_map_checks_what_it_stores",
        || {
            for keep in [false, true] {
                let (file, page) = (pages(2), page());
                let mut options = MmapOptions::new();
                options.len(16 * page).contained();
                if keep {
                    options.keep_file();
                }
                // SAFETY: no slice is used across a truncation, and pages past the end are not used.
                let map = unsafe { options.map_mut(&file) }.unwrap();
                let mut state = Tracked::<4>::new(map);
                state.write(0, b"record").unwrap();
                state.commit().unwrap();
                let map: MmapMut = state.into_inner().into();
                map.advise_range(Advice::Random, 0, page).unwrap();
                let mut state = Tracked::<4>::new(map);
                state.write(0, b"second").unwrap();
                assert_eq!(state.commit().unwrap().ranges, 1);
                state.write(page, b"third").unwrap();
                assert_eq!(state.retry().unwrap().ranges, 1);
                assert_eq!((state.lost(), in_file(&file, page)), (None, b't'));
                // What it stores it checks.
                state.write(0, b"fourth").unwrap();
                cut(&file, 0);
                assert_eq!(lost_at(state.commit()), Some(0));
            }
        },
    );
}

#[test]
fn a_shared_tracked_map_has_a_way_out_of_a_loss() {
    survives(
        "reaches::a_shared_tracked_map_has_a_way_out_of_a_loss",
        || {
            let (file, page) = (pages(4), page());
            // SAFETY: no slice is used across a truncation.
            let map = unsafe { MmapOptions::new().contained().map_mut(&file) }.unwrap();
            let mut state = SharedTracked::<4>::new(map);
            state.write(0, b"kept").unwrap();
            cut(&file, 1);
            state.write(2 * page, b"lost").unwrap();
            let at = Some(2 * page as u64);
            assert_eq!(state.lost(), Some(2 * page));
            for _ in 0..2 {
                assert_eq!(lost_at(state.commit()), at);
                assert_eq!(lost_at(state.retry()), at);
            }
            // Acknowledged: what is not near it can be stored, and what is pending there cannot.
            assert_eq!(state.acknowledge_lost(), Some(2 * page));
            assert_eq!(state.lost(), None);
            assert_eq!(lost_at(state.commit()), at);
            assert!(state.is_dirty());
            cut(&file, 4);
            // SAFETY: the file that is mapped.
            unsafe { state.recover(&file) }.unwrap();
            state.write(2 * page, b"anew").unwrap();
            state.commit().unwrap();
            assert_eq!((state.lost(), state.is_dirty()), (None, false));
            assert_eq!((in_file(&file, 0), in_file(&file, 2 * page)), (b'k', b'a'));
        },
    );
}

const POPULATE_WRITE: u32 = 23;
const WAKE_OP: u32 = 5 | 128;

/// By both of the numbers that 32-bit has.
fn without_futex(more: &[Refused]) -> bool {
    let mut calls = vec![(libc::SYS_futex, Some((1, WAKE_OP)))];
    if cfg!(target_pointer_width = "32") {
        calls.push((FUTEX_TIME64, Some((1, WAKE_OP))));
    }
    calls.extend(more);
    refuse(&calls)
}

fn knows_populate() -> bool {
    // SAFETY: nothing is mapped at 0.
    let result = unsafe { libc::madvise(std::ptr::null_mut(), 1, POPULATE_WRITE.cast_signed()) };
    result != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOMEM)
}

#[test]
fn a_retry_where_futex_is_refused_stores_the_bytes() {
    const NAME: &str = "reaches::a_retry_where_futex_is_refused_stores_the_bytes";
    if emulator().is_some() || rawmap_tests::no_filters() {
        return skip(NAME, "no filters of system calls");
    }
    if let Err(reason) = FailingDisk::new(On::Device) {
        return skip(NAME, &reason);
    }
    survives(NAME, || {
        let disk = FailingDisk::new(On::Device).unwrap();
        let map = MmapOptions::new().len(1 << 20).map_raw(&disk.file).unwrap();
        let at = 9 * page();
        assert!(without_futex(&[]));
        disk.fail();
        store(&map, at, 7);
        assert!(map.flush().is_err());
        disk.recover();
        if !knows_populate() {
            let refused = map.retry_flush().unwrap_err();
            assert_eq!(refused.errno(), Some(Errno::NOSYS));
            return;
        }
        let mut tries = (0..5).map(|_| map.retry_flush());
        tries.find(Result::is_ok).unwrap().unwrap();
        map.flush().unwrap();
        assert_eq!(disk.medium(at, 1), [7]);
    });
}

#[test]
fn a_retry_that_can_make_no_page_dirty_is_an_error() {
    const NAME: &str = "reaches::a_retry_that_can_make_no_page_dirty_is_an_error";
    if emulator().is_some() || rawmap_tests::no_filters() {
        return skip(NAME, "no filters of system calls");
    }
    survives(NAME, || {
        let (file, page) = (pages(2), page());
        let map = MmapOptions::new().map_raw(&file).unwrap();
        store(&map, page, 7);
        map.retry_flush().unwrap();
        let populate = (libc::SYS_madvise, Some((2, POPULATE_WRITE)));
        assert!(without_futex(&[populate]));
        let refused = map.retry_flush().unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::NOSYS), "{refused}");
        // Not of the map's health: nothing failed.
        assert_eq!(map.failed(), None);
        map.flush().unwrap();
        assert_eq!((load(&map, page), in_file(&file, page)), (7, 7));
    });
}

/// Through a descriptor that only reads there is no other mapping to write by.
#[test]
fn a_retry_of_a_file_that_was_opened_for_reading_says_so() {
    const NAME: &str = "reaches::a_retry_of_a_file_that_was_opened_for_reading_says_so";
    if emulator().is_some() {
        return skip(NAME, NO_OTHER_MAPPING);
    }
    let path = rawmap_tests::test_dir().join(format!("read-only-{}", std::process::id()));
    std::fs::write(&path, vec![1; 2 * page()]).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let map = MmapOptions::new().map_raw_read_only(&file).unwrap();
    assert_eq!(load(&map, page()), 1);
    match map.retry_flush() {
        Err(Error::Sys { errno, .. }) => assert_eq!(errno, Errno::ACCESS),
        other => panic!("{other:?}"),
    }
}
