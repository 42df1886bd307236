//! Of kernels that lack one kind of times: without `COMPAT_32BIT_TIME`, and before Linux 5.1.

use std::io::Write as _;
use std::sync::atomic::AtomicI32;

use rawmap_core::device::uio::Uio;
use rawmap_tests::calls::{FUTEX_TIME64, PPOLL_TIME64, refuse};
use rawmap_tests::{emulator, skip};

use super::*;

const OLD: [libc::c_long; 2] = [libc::SYS_futex, libc::SYS_ppoll];
const NEW: [libc::c_long; 2] = [FUTEX_TIME64, PPOLL_TIME64];

/// From now on these are unknown to this thread, and to those that it starts.
fn deny(numbers: &[libc::c_long]) {
    let calls: Vec<_> = numbers.iter().map(|number| (*number, None)).collect();
    assert!(refuse(&calls));
}

fn no_filters() -> bool {
    emulator().is_some() || rawmap_tests::no_filters()
}

/// A thread that waits for a section sleeps, and is woken.
fn sleeps(denied: &[libc::c_long]) {
    static WAITER: AtomicI32 = AtomicI32::new(0);
    static INSIDE: AtomicBool = AtomicBool::new(false);
    deny(denied);
    thread::spawn(|| {
        while !INSIDE.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        // SAFETY: asks.
        WAITER.store(unsafe { libc::gettid() }, Ordering::Relaxed);
        critical_section::with(|_| ());
        exit(0);
    });
    critical_section::with(|_| {
        INSIDE.store(true, Ordering::Relaxed);
        let (began, mut asleep) = (Instant::now(), 0);
        while asleep < 20 {
            assert!(began.elapsed() < HANGS, "does not sleep");
            thread::sleep(Duration::from_millis(1));
            let stat = format!("/proc/self/task/{}/stat", WAITER.load(Ordering::Relaxed));
            let stat = std::fs::read_to_string(stat).unwrap_or_default();
            asleep = if stat.contains(") S ") { asleep + 1 } else { 0 };
        }
    });
    thread::sleep(HANGS);
    panic!("is not woken");
}

#[test]
fn a_thread_sleeps_without_32_bit_times() {
    const NAME: &str = "locks::times::a_thread_sleeps_without_32_bit_times";
    if no_filters() {
        return skip(NAME, "no filters of system calls");
    }
    survives(NAME, || sleeps(&OLD));
}

#[test]
fn a_thread_sleeps_without_64_bit_times() {
    const NAME: &str = "locks::times::a_thread_sleeps_without_64_bit_times";
    if no_filters() {
        return skip(NAME, "no filters of system calls");
    }
    survives(NAME, || sleeps(&NEW));
}

/// A pipe in the place of `/dev/uio0`, in a mount namespace of its own.
fn pretend_device() -> bool {
    // SAFETY: takes numbers only.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return false;
    }
    let (none, root, dev) = (std::ptr::null(), c"/".as_ptr(), c"/dev".as_ptr());
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: reads the texts.
    assert_eq!(
        unsafe { libc::mount(none, root, none, private, none.cast()) },
        0
    );
    let tmpfs = c"tmpfs".as_ptr();
    // SAFETY: as above.
    assert_eq!(unsafe { libc::mount(tmpfs, dev, tmpfs, 0, none.cast()) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::mkfifo(c"/dev/uio0".as_ptr(), 0o600) }, 0);
    true
}

#[test]
fn an_interrupt_is_waited_for() {
    const NAME: &str = "locks::times::an_interrupt_is_waited_for";
    if no_filters() {
        return skip(NAME, "no filters of system calls");
    }
    let status = crate::in_child(NAME, || {
        if !pretend_device() {
            exit(77);
        }
        let uio = Uio::open(0).unwrap();
        let pipe = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/uio0");
        let mut pipe = pipe.unwrap();
        for denied in [&[][..], &OLD, &NEW] {
            // A process: std's threads do not end without these calls.
            let child = fork(|| {
                deny(denied);
                let short = Duration::from_millis(10);
                let long = [Duration::from_secs(1 << 31), Duration::MAX];
                for time in [Some(short), Some(long[0]), Some(long[1]), None] {
                    pipe.write_all(&7u32.to_ne_bytes()).unwrap();
                    assert_eq!(uio.wait(time), Ok(Some(7)), "{denied:?} {time:?}");
                }
                assert_eq!(uio.wait(Some(short)), Ok(None), "{denied:?}");
            });
            assert!(end_of(child).unwrap().success());
        }
    });
    match status.code() {
        Some(77) => skip(NAME, "mounts"),
        code => assert_eq!(code, Some(0), "{status}"),
    }
}
