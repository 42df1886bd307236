//! Contained maps that are recovered or remapped while another thread uses them, and recovers that fail.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use rawmap::{Errno, MmapMut, MmapOptions, RemapOptions};
use rawmap_tests::{emulator, skip};

use crate::{contained, cut, in_file, load, lost_at, page, pages, store, survives};

#[test]
fn a_recover_beside_a_thread_that_stores_loses_nothing_silently() {
    const NAME: &str = "recover::a_recover_beside_a_thread_that_stores_loses_nothing_silently";
    survives(NAME, || {
        static END: AtomicBool = AtomicBool::new(false);
        static STORED: AtomicUsize = AtomicUsize::new(0);
        let (file, page) = (pages(4), page());
        let mut map = contained(&file);
        cut(&file, 1);
        let at = AtomicPtr::new(map.as_mut_ptr());
        let writer = thread::spawn(move || {
            let start = at.into_inner();
            while !END.load(SeqCst) {
                // One page: a loss of another would be told in the place of one that was forgotten.
                // SAFETY: in the map, which lives until this thread has ended.
                unsafe { start.add(page).write_volatile(7) };
                STORED.fetch_add(1, SeqCst);
            }
        });
        let (began, mut rounds) = (Instant::now(), 0u32);
        while began.elapsed() < Duration::from_secs(3) {
            rounds += 1;
            map.recover(&file).unwrap();
            // The file is still short: some whole rounds of stores later something was lost again.
            let stored = STORED.load(SeqCst);
            while STORED.load(SeqCst) < stored + 3 {
                thread::yield_now();
            }
            assert!(map.lost().is_some(), "round {rounds}: not told");
            assert!(map.flush().is_err(), "round {rounds}: stored nothing");
            if rounds.is_multiple_of(3) {
                // Acknowledged is not recovered.
                map.acknowledge_lost();
                assert!(map.flush_range(page, 1).is_err());
            }
        }
        END.store(true, SeqCst);
        writer.join().unwrap();
        cut(&file, 4);
        map.recover(&file).unwrap();
        assert_eq!(map.lost(), None);
        store(&map, page, 8);
        map.flush().unwrap();
        assert_eq!(in_file(&file, page), 8);
        eprintln!("{rounds} recovers");
    });
}

/// Losses at pages 5 and 10, and a store between them that is not lost.
fn with_two_losses(fails: impl FnOnce(&mut rawmap::MmapRaw, &File)) {
    let (file, page) = (pages(16), page());
    let mut map = contained(&file);
    for (lost, length) in [(5, 5), (10, 10)] {
        cut(&file, length);
        load(&map, lost * page);
        cut(&file, 16);
        if lost == 5 {
            store(&map, 7 * page, 77);
        }
    }
    let told = Some(5 * page);
    assert_eq!((map.lost(), load(&map, 7 * page)), (told, 77));
    fails(&mut map, &file);
    // Told as before, and nothing was unmapped.
    assert_eq!((map.lost(), load(&map, 7 * page)), (told, 77));
    let at = Some(5 * page as u64);
    assert_eq!((lost_at(map.flush()), lost_at(map.retry_flush())), (at, at));
    assert_eq!(map.acknowledge_lost(), told);
    assert_eq!(lost_at(map.flush_range(7 * page, 1)), Some(7 * page as u64));
    assert_eq!(load(&map, 2 * page), 3);
    map.flush_range(0, 5 * page).unwrap();
    map.recover(&file).unwrap();
    assert_eq!((map.lost(), load(&map, 7 * page)), (None, 77));
    store(&map, 10 * page, 9);
    map.flush().unwrap();
    assert_eq!(
        (in_file(&file, 7 * page), in_file(&file, 10 * page)),
        (77, 9)
    );
}

#[test]
fn a_recover_that_is_refused_leaves_the_loss_told() {
    survives(
        "recover::a_recover_that_is_refused_leaves_the_loss_told",
        || {
            with_two_losses(|map, _| {
                // Not open for writing.
                let program = File::open("/proc/self/exe").unwrap();
                let refused = map.recover(&program).unwrap_err();
                assert_eq!(refused.errno(), Some(Errno::ACCESS), "{refused}");
            });
        },
    );
}

#[test]
fn a_recover_past_the_limit_of_memory_leaves_the_loss_told() {
    const NAME: &str = "recover::a_recover_past_the_limit_of_memory_leaves_the_loss_told";
    if emulator().is_some() {
        return skip(NAME, "user mode has no limit of address space");
    }
    survives(NAME, || {
        with_two_losses(|map, file| {
            let limit = |soft| {
                let limit = libc::rlimit {
                    rlim_cur: soft,
                    rlim_max: libc::RLIM_INFINITY,
                };
                // SAFETY: reads the limit.
                assert_eq!(
                    unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) },
                    0
                );
            };
            limit(4096);
            let refused = map.recover(file);
            limit(libc::RLIM_INFINITY);
            let refused = refused.unwrap_err();
            assert_eq!(refused.errno(), Some(Errno::NOMEM), "{refused}");
        });
    });
}

/// Another thread's accesses find the map in the table, as long as its pages stay where they are.
#[test]
fn a_remap_in_place_hides_nothing_from_the_handler() {
    const NAME: &str = "recover::a_remap_in_place_hides_nothing_from_the_handler";
    survives(NAME, || {
        static AT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
        static WAIT: AtomicUsize = AtomicUsize::new(0);
        static DONE: AtomicUsize = AtomicUsize::new(0);
        let (file, page) = (pages(1), page());
        thread::spawn(move || {
            loop {
                let start = AT.swap(std::ptr::null_mut(), SeqCst);
                if start.is_null() {
                    thread::yield_now();
                    continue;
                }
                for _ in 0..WAIT.load(SeqCst) {
                    std::hint::spin_loop();
                }
                // SAFETY: the second page of a map that is not dropped before this is done.
                unsafe { start.add(page).write_volatile(7) };
                DONE.fetch_add(1, SeqCst);
            }
        });
        let (began, mut rounds) = (Instant::now(), 0usize);
        while began.elapsed() < Duration::from_secs(2) {
            // Room behind the map.
            drop(MmapMut::map_anon(64 * page).unwrap());
            let mut options = MmapOptions::new();
            let mut map = options.len(2 * page).contained().map_raw(&file).unwrap();
            let done = DONE.load(SeqCst);
            WAIT.store(rounds % 7 * 20, SeqCst);
            AT.store(map.as_mut_ptr(), SeqCst);
            for _ in 0..rounds % 50 {
                std::hint::spin_loop();
            }
            // The same pages, more of them where there is room, and more than there can be.
            let lens = [2 * page - 1, 4 * page, isize::MAX.cast_unsigned() / 2];
            // SAFETY: it does not move, and does not get shorter by a page.
            let _ = unsafe { map.remap(lens[rounds % 3], RemapOptions::new()) };
            while DONE.load(SeqCst) == done {
                thread::yield_now();
            }
            assert_eq!(map.lost(), Some(page));
            rounds += 1;
        }
        eprintln!("{rounds} remaps");
    });
}
