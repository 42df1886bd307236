//! Sleeping at a word of shared memory, and being woken: by another process, by the clock or a signal, and by a page that is gone.

use std::time::{Duration, Instant};

use rawmap::{Error, MmapOptions, MmapRaw, Protection, Waited};
use rawmap_core::memfd::MemfdOptions;
use rawmap_tests::calls::refuse;

use crate::locks::{end_of, fork};
use crate::{contained, cut, lost_at, page, pages, store, survives};

const SOON: Option<Duration> = Some(Duration::from_millis(20));
/// A test that would wait for ever ends.
const LONG: Option<Duration> = Some(Duration::from_secs(60));

fn memory() -> MmapRaw {
    let file = std::fs::File::from(MemfdOptions::new().create(c"words").unwrap());
    file.set_len(2 * page() as u64).unwrap();
    MmapOptions::new().map_raw(&file).unwrap()
}

/// Waits until a process sleeps.
fn sleeps(process: libc::pid_t) {
    let began = Instant::now();
    let mut asleep = 0;
    while asleep < 20 {
        assert!(began.elapsed() < Duration::from_secs(300), "does not sleep");
        std::thread::sleep(Duration::from_millis(1));
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        asleep = if stat.contains(") S ") { asleep + 1 } else { 0 };
    }
}

#[test]
fn another_process_wakes_who_sleeps() {
    survives("wait::another_process_wakes_who_sleeps", || {
        let map = memory();
        let word = page() + 8;
        for count in [1, u32::MAX] {
            let child = fork(|| {
                assert_eq!(map.shared().wait(word, 5, LONG), Ok(Waited::Changed));
                let part = map.shared().range(page(), 16).unwrap();
                assert_eq!(part.wait(8, 0, LONG), Ok(Waited::Woken));
                assert_eq!(part.load_acquire(8), Ok(7));
            });
            sleeps(child);
            assert_eq!(map.shared().wake(word - 4, 1), Ok(0));
            map.shared().store_release(word, 7).unwrap();
            assert_eq!(map.shared().wake(word, 0), Ok(0));
            assert_eq!(map.shared().wake(word, count), Ok(1));
            assert!(end_of(child).unwrap().success());
            map.shared().store(word, 0).unwrap();
        }
        assert_eq!(map.shared().wake(word, u32::MAX), Ok(0));
    });
}

#[test]
fn a_wait_comes_to_an_end_by_itself() {
    survives("wait::a_wait_comes_to_an_end_by_itself", || {
        extern "C" fn handler(_: libc::c_int) {}
        let map = memory();
        for time in [Some(Duration::ZERO), SOON] {
            let began = Instant::now();
            assert_eq!(map.shared().wait(0, 0, time), Ok(Waited::TimedOut));
            assert!(began.elapsed() >= time.unwrap());
        }
        // Also where it is more than the kernel's clock can count.
        let times = [
            None,
            LONG,
            Some(Duration::MAX),
            Some(Duration::from_secs(1 << 40)),
        ];
        let flags = [0, libc::SA_RESTART];
        for (time, flags) in times.map(|time| flags.map(|flags| (time, flags))).concat() {
            let handler: extern "C" fn(libc::c_int) = handler;
            // SAFETY: it does nothing.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_flags = flags as _;
                action.sa_sigaction = handler as *const () as usize;
                assert_eq!(
                    libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()),
                    0
                );
            }
            // SAFETY: asks.
            let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
            let child = fork(|| {
                sleeps(thread);
                // SAFETY: sends a signal.
                unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
            });
            assert_eq!(
                map.shared().wait(0, 0, time),
                Ok(Waited::Interrupted),
                "{time:?} {flags}"
            );
            assert!(end_of(child).unwrap().success());
        }
    });
}

#[test]
fn a_word_that_is_none_is_an_error() {
    survives("wait::a_word_that_is_none_is_an_error", || {
        let (file, page) = (pages(2), page());
        let mut map = MmapOptions::new().len(4 * page).map_raw(&file).unwrap();
        let unaligned = Error::Unaligned {
            offset: 2,
            align: 4,
        };
        assert_eq!(map.shared().wait(2, 0, SOON), Err(unaligned));
        assert_eq!(map.shared().wake(2, 1), Err(unaligned));
        assert!(matches!(
            map.shared().wait(4 * page, 0, SOON),
            Err(Error::OutOfRange { .. })
        ));
        // No SIGBUS, of what an access would raise one for.
        let offset = 3 * page as u64;
        let part = map.shared().range(2 * page, 2 * page).unwrap();
        assert_eq!(part.wait(page, 0, SOON), Err(Error::Unreachable { offset }));
        assert_eq!(part.wake(page, 1), Err(Error::Unreachable { offset }));
        // SAFETY: nobody changes the file.
        let private = unsafe { MmapOptions::new().len(4 * page).map_copy(&file) }.unwrap();
        let view = private.as_raw().shared();
        let unreachable = Error::Unreachable { offset };
        assert_eq!(view.wait(3 * page, 0, SOON), Err(unreachable));
        assert_eq!(view.wait(0, 0x0101_0101, SOON), Ok(Waited::TimedOut));
        let reads = MmapOptions::new().map_raw_read_only(&file).unwrap();
        assert_eq!(
            reads.shared().wait(0, 0x0101_0101, SOON),
            Ok(Waited::TimedOut)
        );
        assert_eq!(reads.shared().wake(0, 1), Ok(0));
        // SAFETY: nothing else uses the file.
        let mut copy = unsafe { MmapOptions::new().map_copy(&file) }.unwrap();
        copy[0] = 7;
        let copy = copy.make_read_only().unwrap();
        assert_eq!(
            copy.as_raw().shared().wait(0, 0, SOON),
            Err(Error::Protected)
        );
        assert_eq!(copy.as_raw().shared().wake(0, 1), Err(Error::Protected));
        map.protect(Protection::None).unwrap();
        assert_eq!(map.shared().wait(0, 0, SOON), Err(Error::Protected));
    });
}

/// A peer that waits by another kind of futex(2) cannot end who wakes.
#[test]
fn a_peer_that_waits_for_a_lock_makes_no_error() {
    const NAME: &str = "wait::a_peer_that_waits_for_a_lock_makes_no_error";
    if rawmap_tests::emulator().is_some() {
        return rawmap_tests::skip(NAME, "the word is of the byte order of the machine below");
    }
    survives(NAME, || {
        const LOCK_PI: libc::c_int = 6;
        let map = memory();
        // SAFETY: asks.
        let owner = unsafe { libc::gettid() };
        map.shared().store(0, owner.cast_unsigned()).unwrap();
        let child = fork(|| {
            let (word, none) = (map.as_ptr(), std::ptr::null::<libc::timespec>());
            // SAFETY: a word of the map. It waits until it is killed.
            unsafe { libc::syscall(libc::SYS_futex, word, LOCK_PI, 0, none) };
        });
        let began = Instant::now();
        // With the bit that somebody waits.
        while map.shared().load::<u32>(0).unwrap() == owner.cast_unsigned() {
            assert!(began.elapsed() < Duration::from_secs(300), "does not wait");
            std::thread::sleep(Duration::from_millis(1));
        }
        sleeps(child);
        assert_eq!(map.shared().wake(0, 1), Ok(0));
        // SAFETY: our child.
        unsafe { libc::kill(child, libc::SIGKILL) };
        assert!(!end_of(child).unwrap().success());
    });
}

#[test]
fn a_lost_page_wakes_with_its_error() {
    survives("wait::a_lost_page_wakes_with_its_error", || {
        let (file, page) = (pages(4), page());
        let map = contained(&file);
        store(&map, 3 * page, 4);
        assert_eq!(
            map.shared().wait(3 * page, 0x0404_0404, SOON),
            Ok(Waited::TimedOut)
        );
        cut(&file, 2);
        let at = Some(3 * page as u64);
        // It reads as zeros, and nobody could wake this.
        assert_eq!(lost_at(map.shared().wait(3 * page, 0, LONG)), at);
        assert_eq!(lost_at(map.shared().wait(0, 0x0101_0101, LONG)), at);
        assert_eq!(map.acknowledge_lost().map(|at| at as u64), at);
        assert_eq!(
            map.shared().wait(0, 0x0101_0101, SOON),
            Ok(Waited::TimedOut)
        );
        assert_eq!(lost_at(map.shared().wait(3 * page, 0, LONG)), at);
    });
}

/// A loss is told also where a flush failed before it.
#[test]
fn a_lost_page_is_told_after_a_flush_that_failed() {
    const NAME: &str = "wait::a_lost_page_is_told_after_a_flush_that_failed";
    if rawmap_tests::emulator().is_some() || rawmap_tests::no_filters() {
        return rawmap_tests::skip(NAME, "no filters of system calls");
    }
    survives(NAME, || {
        let (file, page) = (pages(2), page());
        let map = contained(&file);
        store(&map, page, 4);
        assert!(refuse(&[(libc::SYS_msync, None)]));
        map.flush().unwrap_err();
        assert!(map.failed().is_some());
        cut(&file, 1);
        assert_eq!(lost_at(map.shared().wait(page, 0, LONG)), Some(page as u64));
        assert_eq!(map.lost(), Some(page));
    });
}
