//! What happens to the process of a walk. None of it can be taken back, so each walk has a process of its own.

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::AsRawFd as _;

/// Gives root up.
pub fn be_nobody() {
    const NOBODY: u32 = 65_534;
    // SAFETY: plain system calls.
    unsafe {
        libc::setresgid(NOBODY, NOBODY, NOBODY);
        libc::setresuid(NOBODY, NOBODY, NOBODY);
    }
}

extern "C" fn sent(_: c_int) {}

/// A fault that was not contained, and must be: its address would fault again and again.
extern "C" fn fault(_: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel's.
    if unsafe { (*info).si_code } > 0 {
        // SAFETY: ends the process.
        unsafe { libc::_exit(crate::board::DIED) }
    }
}

/// What is there before the library's handler.
pub fn install_handlers() {
    let set = |signal: c_int, handler: usize, flags: c_int| {
        // SAFETY: all zeros is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        // SAFETY: the handlers are async-signal-safe.
        assert_eq!(
            unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) },
            0
        );
    };
    set(libc::SIGUSR1, sent as *const () as usize, 0);
    // Of a file that is longer than the limit: the call fails, too.
    set(libc::SIGXFSZ, libc::SIG_IGN, 0);
    set(libc::SIGBUS, fault as *const () as usize, libc::SA_SIGINFO);
}

/// A signal each millisecond, until the process ends. It interrupts system calls.
pub fn start_timer(signal: c_int) {
    // SAFETY: all zeros is a valid value.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = signal;
    let mut timer = std::ptr::null_mut();
    // SAFETY: all zeros is a valid value.
    let mut each: libc::itimerspec = unsafe { std::mem::zeroed() };
    each.it_value.tv_nsec = 1_000_000;
    each.it_interval.tv_nsec = 1_000_000;
    // SAFETY: pointers to our own values.
    unsafe {
        if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) == 0 {
            libc::timer_settime(timer, 0, &raw const each, std::ptr::null_mut());
        }
    }
}

/// A child that looks at its memory and ends at once. Returns whether it found it right.
pub fn fork(look: impl FnOnce() -> bool) -> bool {
    let mut status = 0;
    // SAFETY: the child looks, and makes one system call.
    match unsafe { libc::fork() } {
        // SAFETY: ends the child.
        0 => unsafe { libc::_exit(i32::from(!look())) },
        // SAFETY: waits for our own child.
        child if child > 0 => while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {},
        _ => {}
    }
    status == 0
}

/// A process that maps pages of the file and writes there, and is killed in the middle of it. Returns whether it wrote.
pub fn write_and_die(file: &File, from: usize, len: usize, byte: u8) -> bool {
    let start = from / crate::world::page() * crate::world::page();
    let (head, prot) = (from - start, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: the child makes system calls only, and writes in its own mapping.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above; a fault ends the child.
        unsafe {
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
            let (fd, at) = (file.as_raw_fd(), start as libc::off_t);
            let map = libc::mmap(
                std::ptr::null_mut(),
                head + len,
                prot,
                libc::MAP_SHARED,
                fd,
                at,
            );
            if map == libc::MAP_FAILED {
                libc::_exit(1);
            }
            map.cast::<u8>().add(head).write_bytes(byte, len);
            libc::raise(libc::SIGKILL);
            libc::_exit(1);
        }
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    while child > 0 && unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {}
    child > 0 && libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
}
