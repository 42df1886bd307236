//! Faults in several threads, and in a child made by fork(2).

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rawmap::{Advice, MmapOptions};
use rawmap_tests::{emulator, rounds, skip};

use crate::{contained, cut, load, lost_at, page, pages, signal, store, survives};

#[test]
fn two_maps_fault_at_once_in_two_threads() {
    survives("threads::two_maps_fault_at_once_in_two_threads", || {
        let page = page();
        let times = rounds(200);
        for round in 0..times {
            let barrier = Barrier::new(2);
            thread::scope(|scope| {
                for number in 1..=2 {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        let file = pages(3);
                        let map = contained(&file);
                        cut(&file, 1);
                        barrier.wait();
                        store(&map, number * page, 5);
                        assert_eq!(load(&map, number * page), 5, "round {round}");
                        assert_eq!(map.lost(), Some(number * page));
                        assert_eq!(lost_at(map.flush()), Some((number * page) as u64));
                    });
                }
            });
        }
    });
}

#[test]
fn two_threads_fault_in_one_map() {
    survives("threads::two_threads_fault_in_one_map", || {
        let page = page();
        let file = pages(40);
        let map = contained(&file);
        cut(&file, 1);
        thread::scope(|scope| {
            for first in [1, 2] {
                let map = &map;
                scope.spawn(move || {
                    for number in (first..40).step_by(2) {
                        assert_eq!(load(map, number * page), 0);
                    }
                });
            }
        });
        assert_eq!(map.lost(), Some(page));
    });
}

#[test]
fn a_thousand_maps_come_and_go_while_another_thread_faults() {
    const NAME: &str = "threads::a_thousand_maps_come_and_go_while_another_thread_faults";
    survives(NAME, || {
        let page = page();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let file = pages(2);
                for number in 0..1000usize {
                    // Of several lengths, and some that are held for a while.
                    let mut options = MmapOptions::new();
                    options.len(page * (1 + number % 5)).contained();
                    let one = options.map_raw(&file).unwrap();
                    // SAFETY: no slice lives across a truncation: there is none.
                    let mut two = unsafe { options.map_copy(&file) }.unwrap();
                    two[0] = 9;
                    assert_eq!((load(&one, 0), one.lost()), (1, None));
                    drop(one);
                    assert_eq!((two[0], two.as_raw().lost()), (9, None));
                }
                done.store(true, Ordering::Relaxed);
            });
            let mut faults = 0;
            while !done.load(Ordering::Relaxed) {
                let file = pages(4);
                let mut map = contained(&file);
                cut(&file, 1);
                for number in 1..4 {
                    assert_eq!(load(&map, number * page), 0);
                    faults += 1;
                }
                assert_eq!((load(&map, 0), map.lost()), (1, Some(page)));
                cut(&file, 4);
                map.recover(&file).unwrap();
                assert_eq!(load(&map, page), 0);
                map.flush().unwrap();
            }
            assert!(faults > 0);
        });
    });
}

/// Runs a body in a child made by fork(2), and gives how it ended. The caller has one thread that counts.
fn forked(body: impl FnOnce()) -> std::process::ExitStatus {
    use std::os::unix::process::ExitStatusExt as _;
    // SAFETY: the child of a program whose other thread (the harness's) waits: it takes no lock of that one.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        body();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: our child.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    std::process::ExitStatus::from_raw(status)
}

fn check(good: bool) {
    if !good {
        // SAFETY: ends the child.
        unsafe { libc::_exit(9) };
    }
}

#[test]
fn a_forked_child_is_contained_too() {
    survives("threads::a_forked_child_is_contained_too", || {
        let (file, page) = (pages(3), page());
        let mut map = contained(&file);
        let status = forked(|| {
            cut(&file, 1);
            check(load(&map, page) == 0);
            check(map.lost() == Some(page));
            check(map.flush().is_err());
        });
        assert!(status.success(), "{status}");
        // What the child met is the child's.
        assert_eq!(map.lost(), None);
        assert_eq!(load(&map, 2 * page), 0);
        assert_eq!(map.lost(), Some(2 * page));
        // A loss from before the fork is known in the child.
        let status = forked(|| check(map.lost() == Some(2 * page)));
        assert!(status.success(), "{status}");
        map.recover(&file).unwrap();
        // Shared: the child's store is here.
        cut(&file, 3);
        let status = forked(|| store(&map, 0, 200));
        assert!(status.success(), "{status}");
        assert_eq!(load(&map, 0), 200);
    });
}

#[test]
fn a_forked_child_has_a_sealed_map_too() {
    survives("threads::a_forked_child_has_a_sealed_map_too", || {
        let file = rawmap::memfd::MemfdOptions::new().create("forked").unwrap();
        file.set_len(10_000).unwrap();
        let map = MmapOptions::new().map_raw_sealed(&file).unwrap();
        let status = forked(|| {
            check(file.set_len(0).is_err());
            store(&map, 9999, 8);
        });
        assert!(status.success(), "{status}");
        assert_eq!(load(&map, 9999), 8);
    });
}

#[test]
fn a_foreign_fault_kills_the_child_alone() {
    survives("threads::a_foreign_fault_kills_the_child_alone", || {
        let file = pages(1);
        let _map = contained(&pages(1));
        let outside = MmapOptions::new().map_raw(&file).unwrap();
        let status = forked(|| {
            cut(&file, 0);
            load(&outside, 0);
        });
        // Rust's own handler sets the default first: the kernel's next fault kills.
        assert_eq!(signal(status), Some(libc::SIGBUS), "{status}");
    });
}

#[test]
fn memory_that_a_child_is_not_to_have() {
    const NAME: &str = "threads::memory_that_a_child_is_not_to_have";
    if emulator().is_some_and(|version| version < (8, 0)) {
        return skip(NAME, "QEMU 7 takes the advice and does not follow it");
    }
    survives(NAME, || {
        let mut secret = rawmap::MmapMut::map_anon(10_000).unwrap();
        secret.fill(7);
        // SAFETY: no slice lives across a fork, in the child.
        unsafe { secret.as_raw().wipe_on_fork(true) }.unwrap();
        secret.advise(Advice::DontDump).unwrap();
        let status = forked(|| check(secret.iter().all(|byte| *byte == 0)));
        assert!(status.success(), "{status}");
        assert!(secret.iter().all(|byte| *byte == 7));
        // SAFETY: as above.
        unsafe { secret.as_raw().wipe_on_fork(false) }.unwrap();
        let status = forked(|| check(secret.iter().all(|byte| *byte == 7)));
        assert!(status.success(), "{status}");
    });
}
