//! The handler that was there before ours: it runs as it does without ours, on its stack, with its mask, and as often.

use std::ffi::c_int;
use std::io::{Read as _, Write as _};
use std::mem;
use std::os::unix::thread::JoinHandleExt as _;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use rawmap::{MmapOptions, fault};
use rawmap_tests::{few_steps, is_slow};

use crate::{cut, in_child_saying, load, pages, signal, survives, word};

static RAN: AtomicU32 = AtomicU32::new(0);
/// What each run of the handler saw, in bits.
static SAW: AtomicU32 = AtomicU32::new(0);

/// Whether it is on the alternate stack, and which signals are blocked.
fn look() {
    RAN.fetch_add(1, SeqCst);
    // SAFETY: all zeros are a value.
    let mut stack: libc::stack_t = unsafe { mem::zeroed() };
    // SAFETY: asks.
    unsafe { libc::sigaltstack(std::ptr::null(), &raw mut stack) };
    // SAFETY: all zeros are an empty set.
    let mut blocked: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: asks.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut blocked) };
    // SAFETY: a set that the kernel has written.
    let has = |number| u32::from(unsafe { libc::sigismember(&raw const blocked, number) } == 1);
    let on_stack = u32::from(stack.ss_flags & libc::SS_ONSTACK != 0);
    let saw = 1 | on_stack << 1 | has(libc::SIGBUS) << 2 | has(libc::SIGUSR1) << 3;
    SAW.fetch_or(1 << saw, SeqCst);
}

extern "C" fn plain(_: c_int) {
    look();
}

/// More than an alternate stack has.
#[inline(never)]
extern "C" fn big(_: c_int) {
    let room = std::hint::black_box([1u8; 300_000]);
    look();
    assert_eq!(std::hint::black_box(&room)[299_999], 1);
}

extern "C" fn nested(_: c_int) {
    look();
    // Once: two frames have room on an alternate stack.
    if RAN.load(SeqCst) < 2 {
        send();
    }
    look();
}

/// For faults: a handler that returned would be called for ever.
extern "C" fn leaves(_: c_int) {
    look();
    say();
    // SAFETY: ends the process.
    unsafe { libc::_exit(41) };
}

fn send() {
    // SAFETY: a signal to this thread.
    unsafe { libc::raise(libc::SIGBUS) };
}

fn say() {
    eprintln!("outcome: {} {:#x}", RAN.load(SeqCst), SAW.load(SeqCst));
}

/// Room for two frames and what handlers do: what std brings is 8 KiB on some targets.
fn make_room() {
    let room = Box::leak(Box::new([0u8; 65_536]));
    let stack = libc::stack_t {
        ss_sp: room.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: room.len(),
    };
    // SAFETY: nothing else has this memory.
    let result = unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

fn handle(how: &str, what: &str) {
    if what == "nested" {
        make_room();
    }
    // SAFETY: all zeros are a value.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    let handler: extern "C" fn(c_int) = match what {
        "nested" => nested,
        "big" | "big, thread" => big,
        "fault" | "stack" => leaves,
        _ => plain,
    };
    action.sa_sigaction = handler as *const () as usize;
    for flag in how.split('+') {
        action.sa_flags |= match flag {
            "default" => {
                action.sa_sigaction = libc::SIG_DFL;
                0
            }
            "ignored" => {
                action.sa_sigaction = libc::SIG_IGN;
                0
            }
            "mask" => {
                // SAFETY: a set and a signal.
                unsafe { libc::sigaddset(&raw mut action.sa_mask, libc::SIGUSR1) };
                0
            }
            "onstack" => libc::SA_ONSTACK,
            "nodefer" => libc::SA_NODEFER,
            "resethand" => libc::SA_RESETHAND,
            "restart" => libc::SA_RESTART,
            "info" => libc::SA_SIGINFO,
            "none" => 0,
            other => panic!("{other}"),
        };
    }
    // SAFETY: a handler that takes what any gets.
    let result = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// Until a thread sleeps, and goes on to, or has ended. One that is only kept from running does not sleep.
fn waits<T>(thread: &thread::JoinHandle<T>, number: libc::pid_t) {
    let stat = format!("/proc/self/task/{number}/stat");
    let mut asleep = 0;
    while asleep < 20 && !thread.is_finished() {
        thread::sleep(Duration::from_millis(5));
        // After the name, which may have spaces.
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        let sleeps = stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .starts_with('S');
        asleep = if sleeps { asleep + 1 } else { 0 };
    }
}

fn happen(what: &str) {
    match what {
        "sent" | "nested" | "big" => send(),
        "sent twice" => {
            send();
            say();
            send();
        }
        "big, thread" => thread::spawn(send).join().unwrap(),
        "fault" => {
            let file = pages(1);
            let map = MmapOptions::new().map_raw(&file).unwrap();
            cut(&file, 0);
            load(&map, 0);
        }
        // A code of the kernel's that is none of SIGBUS's own: an address that is none, through the stack's register.
        #[cfg(target_arch = "x86_64")]
        "stack" => {
            // SAFETY: a load of nothing; registers are given back.
            unsafe {
                std::arch::asm!(
                    "push rbp", "mov rbp, {nowhere}", "mov {nowhere}, [rbp]", "pop rbp",
                    nowhere = inout(reg) 1_u64 << 63 => _,
                );
            }
        }
        "reading" => {
            let (mut end, mut start) = std::io::pipe().unwrap();
            let (number, its_number) = std::sync::mpsc::channel();
            let reader = thread::spawn(move || {
                // SAFETY: takes nothing.
                number.send(unsafe { libc::gettid() }).unwrap();
                // One read(2), which std does not repeat.
                end.read(&mut [0]).map_err(|error| error.kind())
            });
            let number = its_number.recv().unwrap();
            waits(&reader, number);
            // SAFETY: a thread that is joined below.
            unsafe { libc::pthread_kill(reader.as_pthread_t() as libc::pthread_t, libc::SIGBUS) };
            waits(&reader, number);
            let _ = start.write_all(&[1]);
            eprintln!("outcome: {:?}", reader.join().unwrap());
        }
        other => panic!("{other}"),
    }
    // What is blocked afterwards, too.
    look();
    say();
}

#[test]
fn the_previous_handler_runs_as_without_us() {
    const NAME: &str = "chain::the_previous_handler_runs_as_without_us";
    let body = || {
        let word = word();
        let mut words = word.split('/');
        let [with, how, what] = [(); 3].map(|()| words.next().unwrap());
        handle(how, what);
        if with == "with" {
            fault::install().unwrap();
        }
        happen(what);
    };
    if std::env::var(crate::CASE).is_ok() {
        in_child_saying(NAME, "", body);
        return;
    }
    // Each is a process: with few rounds, where starting one takes long, a third of the pairs, in which each word has its turn.
    let few = few_steps() && is_slow();
    let (mut lived, mut died, mut pair) = (0, 0, 0);
    for how in [
        "default",
        "ignored",
        "none",
        "mask",
        "onstack",
        "nodefer",
        "resethand",
        "restart",
        "info",
        "onstack+nodefer+mask",
        "resethand+nodefer",
        "info+onstack+restart+mask",
    ] {
        for what in [
            "sent",
            "sent twice",
            "nested",
            "big",
            "big, thread",
            "fault",
            "stack",
            "reading",
        ] {
            pair += 1;
            if few && pair % 3 != 0 {
                continue;
            }
            if what == "stack" && !cfg!(target_arch = "x86_64") {
                continue;
            }
            // A frame larger than the alternate stack, on it: what lies below is written, and the end is chance.
            if how.contains("onstack") && what.starts_with("big") {
                continue;
            }
            // QEMU's user mode lets a fault be ignored, and faults for ever.
            if how == "ignored" && what == "fault" && rawmap_tests::emulator().is_some() {
                continue;
            }
            let end = |with: &str| {
                let word = format!("{with}/{how}/{what}");
                let (status, said) = in_child_saying(NAME, &word, || unreachable!());
                let said = said.lines().filter(|line| line.starts_with("outcome"));
                let said: Vec<String> = said.map(str::to_owned).collect();
                (status.code(), signal(status), said)
            };
            let (without, with) = (end("without"), end("with"));
            assert_eq!(with, without, "{how}, {what}");
            lived += u32::from(with.0 == Some(0));
            died += u32::from(with.1.is_some());
        }
    }
    // What is compared is not always the same.
    let part = if few { 3 } else { 1 };
    assert!(
        lived > 30 / part && died >= 10 / part,
        "{lived} lived, {died} died"
    );
}

/// A thread's stack may be at its end where it loses a page.
#[test]
fn the_handler_takes_the_alternate_stack() {
    survives("chain::the_handler_takes_the_alternate_stack", || {
        // As in a program that has no handler of std's.
        // SAFETY: plain system call.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        fault::install().unwrap();
        // SAFETY: all zeros are a value.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: asks.
        unsafe { libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut action) };
        assert_ne!(action.sa_flags & libc::SA_ONSTACK, 0);
    });
}
