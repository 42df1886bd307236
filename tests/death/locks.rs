//! The locks of `critical-section-linux` and of `SharedTracked`: beside signals that are sent, fork(2) and
//! setuid(2), and on 32-bit kernels without one of the two kinds of times.

use std::os::unix::process::ExitStatusExt as _;
use std::os::unix::thread::JoinHandleExt as _;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rawmap_core::{Error, MmapMut, SharedTracked};
use rawmap_tests::rounds;

use crate::{signal, survives};

/// After this a thread or a child that has not gone on hangs.
const HANGS: Duration = Duration::from_secs(15);

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
    static HANDLED: AtomicU32 = AtomicU32::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);

    extern "C" fn handler(_: i32) {
        critical_section::with(|_| HANDLED.fetch_add(1, Ordering::Relaxed));
    }
    let spin = || {
        while !DONE.load(Ordering::Relaxed) {
            critical_section::with(|_| ());
        }
    };

    on_signal(number, handler);
    let target = thread::spawn(spin);
    let began = Instant::now();
    let mut other = None;
    while began.elapsed() < Duration::from_secs(2) {
        // SAFETY: the thread is joined below.
        unsafe { libc::pthread_kill(target.as_pthread_t() as libc::pthread_t, number) };
        for _ in 0..200 {
            std::hint::spin_loop();
        }
        // At last the lock is also waited for.
        if began.elapsed() > Duration::from_millis(1_500) {
            other.get_or_insert_with(|| thread::spawn(spin));
        }
    }
    // A thread that hangs is not joined.
    DONE.store(true, Ordering::Relaxed);
    let ends = Instant::now();
    while ![Some(&target), other.as_ref()]
        .into_iter()
        .flatten()
        .all(thread::JoinHandle::is_finished)
    {
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
pub(crate) fn fork(body: impl FnOnce()) -> i32 {
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

/// How a child ends; `None` if it hangs. It is gone then, too.
pub(crate) fn end_of(child: i32) -> Option<ExitStatus> {
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
    Some(ExitStatus::from_raw(status))
}

#[test]
fn a_child_that_was_forked_inside_a_section_leaves_it() {
    survives(
        "locks::a_child_that_was_forked_inside_a_section_leaves_it",
        || {
            assert!(
                end_of(fork(|| critical_section::with(|_| ())))
                    .unwrap()
                    .success()
            );
            // SAFETY: as in `fork`.
            let child = critical_section::with(|_| unsafe { libc::fork() });
            // The parent, too, has left it.
            critical_section::with(|_| ());
            if child == 0 {
                exit(0);
            }
            assert!(end_of(child).unwrap().success());
        },
    );
}

#[test]
fn a_child_ends_where_the_owner_of_a_section_is_not() {
    survives(
        "locks::a_child_ends_where_the_owner_of_a_section_is_not",
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
            let child = fork(|| critical_section::with(|_| ()));
            FORKED.store(true, Ordering::Relaxed);
            beside.join().unwrap();
            assert_eq!(end_of(child).and_then(signal), Some(libc::SIGABRT));
            let child = critical_section::with(|_| fork(|| critical_section::with(|_| ())));
            assert_eq!(end_of(child).and_then(signal), Some(libc::SIGABRT));
            // It is ignored, and not blocked: the child ends with the status that a shell shows for it.
            let child = critical_section::with(|_| {
                fork(|| {
                    // SAFETY: ignores it.
                    unsafe { libc::signal(libc::SIGABRT, libc::SIG_IGN) };
                    // SAFETY: all zeros is an empty set.
                    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
                    let to_none = (libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
                    // SAFETY: reads the set.
                    unsafe { libc::sigprocmask(to_none.0, to_none.1, to_none.2) };
                    critical_section::with(|_| ());
                })
            });
            assert_eq!(end_of(child).and_then(|end| end.code()), Some(134));
        },
    );
}

#[test]
fn a_commit_whose_thread_is_not_in_the_child_is_busy() {
    survives(
        "locks::a_commit_whose_thread_is_not_in_the_child_is_busy",
        || {
            static STATE: OnceLock<SharedTracked<4>> = OnceLock::new();
            let state = STATE.get_or_init(|| SharedTracked::new(MmapMut::map_anon(4096).unwrap()));
            thread::spawn(|| {
                loop {
                    state.write(0, &[1; 8]).unwrap();
                    state.commit().unwrap();
                }
            });
            // A child that was forked beside a section ends by SIGABRT, beside neither it commits.
            let (mut busy, began) = (0, Instant::now());
            while busy == 0 {
                assert!(began.elapsed() < HANGS);
                let child = fork(|| match state.commit() {
                    Err(Error::Busy) => exit(3),
                    result => exit(i32::from(result.is_err()) * 9),
                });
                let status = end_of(child).unwrap();
                match (status.code(), signal(status)) {
                    (Some(0), _) | (_, Some(libc::SIGABRT)) => {}
                    (Some(3), _) => busy += 1,
                    _ => panic!("{status}"),
                }
            }
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
            for _ in 0..rounds(200) {
                critical_section::with(|_| {
                    thread::sleep(Duration::from_micros(500));
                    // SAFETY: to what it is.
                    unsafe { libc::setuid(libc::getuid()) };
                });
            }
        });
        assert!(end_of(child).unwrap().success());
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
            let target = unsafe { libc::pthread_self() } as usize;
            thread::spawn(move || {
                loop {
                    // SAFETY: as above.
                    unsafe { libc::pthread_kill(target as libc::pthread_t, libc::SIGUSR1) };
                    thread::yield_now();
                }
            });
            while BUSY.load(Ordering::Relaxed) == 0 {
                state.write(0, &[1; 8]).unwrap();
                state.commit().unwrap();
            }
        });
        assert!(end_of(child).unwrap().success());
    });
}

#[cfg(target_pointer_width = "32")]
mod times;
