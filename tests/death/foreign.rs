//! A SIGBUS that is not about a contained map: each program dies, or goes on, as it does without our handler.

use std::ffi::{c_int, c_void};
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};

use rawmap::{MmapOptions, MmapRaw, fault};

use crate::{contained, cut, in_child_saying, load, page, pages, signal, survives, word};

fn handle(handler: usize, flags: c_int) {
    // SAFETY: all zeros are a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the callers give a handler that fits the flags.
    let result = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

fn send() {
    // SAFETY: a signal to this thread.
    unsafe { libc::raise(libc::SIGBUS) };
}

/// A map that is not contained, of a file that is no longer there.
fn gone() -> MmapRaw {
    let file = pages(1);
    let map = MmapOptions::new().map_raw(&file).unwrap();
    cut(&file, 0);
    map
}

fn fault_outside() {
    load(&gone(), 0);
}

/// Ends the process, and tells that it was called.
extern "C" fn plain(_: c_int) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(41) };
}

static EXPECTED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn with_info(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: what the kernel gave.
    let info = unsafe { &*info };
    // SAFETY: a fault has an address.
    let address = unsafe { info.si_addr() }.addr();
    let right = signal == libc::SIGBUS
        && info.si_code == libc::BUS_ADRERR
        && address == EXPECTED.load(Ordering::Relaxed)
        && !context.is_null();
    // SAFETY: ends the process.
    unsafe { libc::_exit(if right { 42 } else { 43 }) };
}

extern "C" fn counting(_: c_int) {
    EXPECTED.fetch_add(1, Ordering::Relaxed);
}

#[allow(clippy::fn_to_numeric_cast_any, reason = "as sigaction(2) takes it")]
fn set_up(how: &str) {
    let plain = plain as *const () as usize;
    let counting = counting as *const () as usize;
    match how {
        "runtime" => {}
        "default" => handle(libc::SIG_DFL, 0),
        "ignored" => handle(libc::SIG_IGN, 0),
        "plain" => handle(plain, 0),
        "info" => handle(with_info as *const () as usize, libc::SA_SIGINFO),
        "counting" => handle(counting, 0),
        "once" => handle(counting, libc::SA_RESETHAND),
        other => panic!("{other}"),
    }
}

fn happen(what: &str) {
    match what {
        "fault" => {
            let map = gone();
            EXPECTED.store(map.as_ptr().addr() + 7, Ordering::Relaxed);
            load(&map, 7);
        }
        "sent" => send(),
        "sent twice" => {
            send();
            send();
        }
        "sent, fault" => {
            send();
            fault_outside();
        }
        other => panic!("{other}"),
    }
}

/// The whole cross: what was there before, and what comes.
#[test]
fn a_program_ends_as_it_does_without_us() {
    const NAME: &str = "foreign::a_program_ends_as_it_does_without_us";
    let body = || {
        let word = word();
        let mut words = word.split('/');
        let [with, before, what] = [(); 3].map(|()| words.next().unwrap());
        set_up(before);
        if with == "with" {
            fault::install().unwrap();
            // Installing once more changes nothing.
            fault::install().unwrap();
        }
        happen(what);
    };
    if std::env::var(crate::CASE).is_ok() {
        in_child_saying(NAME, "", body);
        return;
    }
    let mut died = 0;
    for before in [
        "runtime", "default", "ignored", "plain", "info", "counting", "once",
    ] {
        for what in ["fault", "sent", "sent twice", "sent, fault"] {
            // A handler that returns from a fault is called for ever.
            if before == "counting" && what.contains("fault") {
                continue;
            }
            // QEMU's user mode lets a fault be ignored, and faults for ever.
            if before == "ignored" && what.contains("fault") && rawmap_tests::emulator().is_some() {
                continue;
            }
            // The address of one that was sent is nothing.
            if before == "info" && what != "fault" {
                continue;
            }
            let end = |with: &str| {
                let word = format!("{with}/{before}/{what}");
                let (status, _) = in_child_saying(NAME, &word, || unreachable!());
                (status.code(), signal(status))
            };
            let (without, with) = (end("without"), end("with"));
            assert_eq!(with, without, "{before}, {what}");
            died += usize::from(with.1 == Some(libc::SIGBUS));
        }
    }
    // What is compared is not always the same.
    assert!(died >= 8, "{died} died of SIGBUS");
}

#[test]
fn foreign_fault_dies_of_sigbus() {
    let name = "foreign::foreign_fault_dies_of_sigbus";
    let (status, _) = in_child_saying(name, "", || {
        let file = pages(2);
        let _map = contained(&file);
        fault_outside();
    });
    assert_eq!(signal(status), Some(libc::SIGBUS), "{status}");
}

#[test]
fn stack_overflow_is_still_reported() {
    #[allow(unconditional_recursion, reason = "that is what it is for")]
    fn deeper(depth: usize) -> usize {
        let room = std::hint::black_box([depth; 100]);
        deeper(depth + 1) + room[depth % 100]
    }
    let name = "foreign::stack_overflow_is_still_reported";
    let (status, said) = in_child_saying(name, "", || {
        fault::install().unwrap();
        deeper(1);
    });
    // Of the runtime; QEMU's user mode may end with SIGSEGV before that gets a word.
    if rawmap_tests::emulator().is_none() {
        assert!(said.contains("overflowed its stack"), "{said}");
    }
    let ends = [Some(libc::SIGABRT), Some(libc::SIGSEGV)];
    assert!(ends.contains(&signal(status)), "{status}");
}

#[test]
fn containment_goes_on_after_a_signal_that_was_sent() {
    survives(
        "foreign::containment_goes_on_after_a_signal_that_was_sent",
        || {
            let (file, page) = (pages(2), page());
            let map = contained(&file);
            // The runtime's handler puts the default in its place: that is what the next one meets.
            send();
            cut(&file, 1);
            assert_eq!(load(&map, page), 0);
            assert_eq!(map.lost(), Some(page));
            // An ignored one, in the same way.
            handle(libc::SIG_DFL, 0);
        },
    );
}

#[test]
fn errno_of_the_interrupted_code_stays() {
    survives("foreign::errno_of_the_interrupted_code_stays", || {
        let file = pages(1);
        let map = contained(&file);
        cut(&file, 0);
        // SAFETY: the thread's own.
        unsafe { *libc::__errno_location() = 77 };
        let byte = load(&map, 0);
        // SAFETY: as above.
        assert_eq!((unsafe { *libc::__errno_location() }, byte), (77, 0));
    });
}
