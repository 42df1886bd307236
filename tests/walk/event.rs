//! What happens to the process of a walk. None of it can be taken back, so each walk has a process of its own.

use std::ffi::c_int;

use crate::step::Refused;

fn number(call: Refused) -> libc::c_long {
    match call {
        Refused::Msync => libc::SYS_msync,
        #[cfg(not(target_pointer_width = "32"))]
        Refused::Mmap => libc::SYS_mmap,
        #[cfg(target_pointer_width = "32")]
        Refused::Mmap => libc::SYS_mmap2,
        Refused::Munmap => libc::SYS_munmap,
        Refused::Mremap => libc::SYS_mremap,
        Refused::Mprotect => libc::SYS_mprotect,
        Refused::Madvise => libc::SYS_madvise,
        Refused::Mincore => libc::SYS_mincore,
        Refused::Futex => libc::SYS_futex,
        Refused::Fallocate => libc::SYS_fallocate,
        Refused::Fsync => libc::SYS_fsync,
        #[cfg(not(target_arch = "arm"))]
        Refused::SyncFileRange => libc::SYS_sync_file_range,
        // sync_file_range2.
        #[cfg(target_arch = "arm")]
        Refused::SyncFileRange => 341,
        #[cfg(target_arch = "arm")]
        Refused::Fadvise => libc::SYS_arm_fadvise64_64,
        #[cfg(target_arch = "x86")]
        Refused::Fadvise => libc::SYS_fadvise64_64,
        #[cfg(not(target_pointer_width = "32"))]
        Refused::Fadvise => libc::SYS_fadvise64,
        Refused::Mlock => libc::SYS_mlock,
    }
}

/// From now on the kernel answers this call with the error, by seccomp(2). Returns whether it does.
pub fn refuse(call: Refused, errno: i32) -> bool {
    let step = |code: u32, jump: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: jump,
        k,
    };
    let number = number(call) as u32;
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    }
}

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

/// A child that ends at once.
pub fn fork() {
    // SAFETY: the child makes one system call.
    match unsafe { libc::fork() } {
        // SAFETY: ends the child.
        0 => unsafe { libc::_exit(0) },
        // SAFETY: waits for our own child.
        child if child > 0 => while unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } < 0 {},
        _ => {}
    }
}
