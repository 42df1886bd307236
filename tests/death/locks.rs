//! The locks of `critical-section-linux` and of `SharedTracked`: beside signals that are sent, fork(2) and
//! setuid(2), and on 32-bit kernels that know one kind of times only.

use std::os::unix::thread::JoinHandleExt as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rawmap_core::{Error, MmapMut, SharedTracked};
use rawmap_tests::is_slow;

use crate::survives;

/// After this a thread or a child that has not gone on hangs.
const HANGS: Duration = Duration::from_secs(20);

fn on_signal(number: i32, handler: extern "C" fn(i32)) {
    // SAFETY: all zeros is a `sigaction` with an empty mask and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handlers here enter sections, load and store, and nothing else.
    let set = unsafe { libc::sigaction(number, &raw const action, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

/// Sends a signal to a thread that enters sections all the time; its handler enters one, too.
fn sent(number: i32) {
    static SECTIONS: AtomicU64 = AtomicU64::new(0);
    static HANDLED: AtomicU64 = AtomicU64::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);

    extern "C" fn handler(_: i32) {
        critical_section::with(|_| HANDLED.fetch_add(1, Ordering::Relaxed));
    }
    let spin = || {
        while !DONE.load(Ordering::Relaxed) {
            critical_section::with(|_| SECTIONS.fetch_add(1, Ordering::Relaxed));
        }
    };

    on_signal(number, handler);
    // Two: the lock is also waited for.
    let (target, other) = (thread::spawn(spin), thread::spawn(spin));
    let (began, signals) = (Instant::now(), if is_slow() { 3_000 } else { 200_000 });
    let mut last = (0, Instant::now());
    for _ in 0..signals {
        // SAFETY: the thread is joined below.
        unsafe { libc::pthread_kill(target.as_pthread_t(), number) };
        for _ in 0..200 {
            std::hint::spin_loop();
        }
        let sum = SECTIONS.load(Ordering::Relaxed) + HANDLED.load(Ordering::Relaxed);
        if sum != last.0 {
            last = (sum, Instant::now());
        }
        assert!(last.1.elapsed() < HANGS, "signal {number}: hangs");
        if began.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    // A thread that hangs is not joined.
    DONE.store(true, Ordering::Relaxed);
    let ends = Instant::now();
    while !(target.is_finished() && other.is_finished()) {
        assert!(ends.elapsed() < HANGS, "signal {number}: hangs");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(HANDLED.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_sent_sigtrap_enters_a_section() {
    survives("locks::a_sent_sigtrap_enters_a_section", || {
        sent(libc::SIGTRAP);
    });
}

#[test]
fn a_sent_sigbus_enters_a_section() {
    survives("locks::a_sent_sigbus_enters_a_section", || {
        sent(libc::SIGBUS);
    });
}

#[test]
fn another_signal_enters_a_section() {
    survives("locks::another_signal_enters_a_section", || {
        sent(libc::SIGUSR1);
    });
}

/// A section that a SIGBUS inside of it enters is the same one; it ends with the outer one.
#[test]
fn a_section_in_a_section() {
    survives("locks::a_section_in_a_section", || {
        static INSIDE: AtomicU32 = AtomicU32::new(0);
        extern "C" fn handler(_: i32) {
            critical_section::with(|_| INSIDE.fetch_add(1, Ordering::Relaxed));
        }
        on_signal(libc::SIGBUS, handler);
        on_signal(libc::SIGUSR1, handler);
        critical_section::with(|_| {
            // SAFETY: its handler is above.
            unsafe { libc::raise(libc::SIGBUS) };
            assert_eq!(INSIDE.load(Ordering::Relaxed), 1);
            // SAFETY: as above.
            unsafe { libc::raise(libc::SIGUSR1) };
            critical_section::with(|_| ());
            assert_eq!(INSIDE.load(Ordering::Relaxed), 1);
        });
        assert_eq!(INSIDE.load(Ordering::Relaxed), 2);
    });
}

/// Forks a child for a body.
fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: the child takes no lock of the other threads.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        body();
        exit(0);
    }
    child
}

fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// How a child ends, as waitpid(2) says it; `None` if it hangs. It is gone then, too.
fn end_of(child: i32) -> Option<i32> {
    let began = Instant::now();
    let mut status = 0;
    // SAFETY: our child.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if began.elapsed() > HANGS {
            // SAFETY: our child, which nobody has waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Some(status)
}

#[test]
fn a_child_that_was_forked_inside_a_section_leaves_it() {
    survives(
        "locks::a_child_that_was_forked_inside_a_section_leaves_it",
        || {
            assert_eq!(end_of(fork(|| critical_section::with(|_| ()))), Some(0));
            // SAFETY: as in `fork`.
            let child = critical_section::with(|_| unsafe { libc::fork() });
            // The parent, too, has left it.
            critical_section::with(|_| ());
            if child == 0 {
                exit(0);
            }
            assert_eq!(end_of(child), Some(0));
        },
    );
}

#[test]
fn a_child_that_waits_for_ever_ends_by_a_signal() {
    survives(
        "locks::a_child_that_waits_for_ever_ends_by_a_signal",
        || {
            static INSIDE: AtomicBool = AtomicBool::new(false);
            static FORKED: AtomicBool = AtomicBool::new(false);
            let beside = thread::spawn(|| {
                critical_section::with(|_| {
                    INSIDE.store(true, Ordering::Relaxed);
                    while !FORKED.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            });
            while !INSIDE.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            let beside_it = fork(|| critical_section::with(|_| ()));
            FORKED.store(true, Ordering::Relaxed);
            beside.join().unwrap();
            let inside_it = critical_section::with(|_| fork(|| critical_section::with(|_| ())));
            // So long that they have come to the section. If not, they end as well.
            thread::sleep(Duration::from_millis(200));
            // The one that nests has the mask of the section that it was forked in: that it waits is documented.
            // SAFETY: our child.
            unsafe { libc::kill(inside_it, libc::SIGKILL) };
            assert_eq!(end_of(inside_it), Some(libc::SIGKILL));
            // SAFETY: our child.
            unsafe { libc::kill(beside_it, libc::SIGTERM) };
            assert_eq!(end_of(beside_it), Some(libc::SIGTERM));
        },
    );
}

/// The C library's setuid(2) signals all threads, and waits until each was there.
#[test]
fn a_thread_that_waits_hears_of_setuid() {
    survives("locks::a_thread_that_waits_hears_of_setuid", || {
        let child = fork(|| {
            thread::spawn(|| {
                loop {
                    critical_section::with(|_| ());
                }
            });
            for _ in 0..if is_slow() { 20 } else { 200 } {
                critical_section::with(|_| {
                    thread::sleep(Duration::from_micros(500));
                    // SAFETY: to what it is.
                    unsafe { libc::setuid(libc::getuid()) };
                });
            }
        });
        assert_eq!(end_of(child), Some(0));
    });
}

#[test]
fn a_commit_in_a_commit_is_busy() {
    survives("locks::a_commit_in_a_commit_is_busy", || {
        static STATE: OnceLock<SharedTracked<4>> = OnceLock::new();
        static BUSY: AtomicU32 = AtomicU32::new(0);
        extern "C" fn handler(_: i32) {
            match STATE.get().map(SharedTracked::commit) {
                Some(Err(Error::Busy)) => _ = BUSY.fetch_add(1, Ordering::Relaxed),
                Some(Ok(_)) => {}
                _ => exit(9),
            }
        }
        let child = fork(|| {
            let state = STATE.get_or_init(|| SharedTracked::new(MmapMut::map_anon(4096).unwrap()));
            on_signal(libc::SIGUSR1, handler);
            // SAFETY: this thread's id, which lives as long as the process.
            let target = unsafe { libc::pthread_self() };
            thread::spawn(move || {
                loop {
                    // SAFETY: as above.
                    unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
                    thread::yield_now();
                }
            });
            while BUSY.load(Ordering::Relaxed) == 0 {
                state.write(0, &[1; 8]).unwrap();
                state.commit().unwrap();
            }
        });
        assert_eq!(end_of(child), Some(0));
    });
}
