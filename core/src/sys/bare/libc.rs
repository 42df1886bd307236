//! The numbers of calls, and what makes them, where rustix calls libc: libc's own.

#![allow(dead_code, reason = "some numbers are for features")]
#![allow(
    clippy::as_conversions,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "numbers of system calls are small, and a word of the kernel's is a usize"
)]

use core::ffi::c_void;

use rustix::fd::RawFd;
use rustix::io::Errno;
use rustix::mm::MsyncFlags;

/// The numbers of the calls that are made here.
macro_rules! numbers {
    ($($name:ident $number:ident)*) => {
        $(pub(crate) const $name: usize = libc::$number as usize;)*
    };
}
// There the old one never was.
#[cfg(target_arch = "riscv32")]
pub(in crate::sys) const FUTEX: usize = FUTEX_TIME64;
#[cfg(not(target_arch = "riscv32"))]
numbers! { FUTEX SYS_futex }
numbers! {
    EXIT_GROUP SYS_exit_group GETPID SYS_getpid GETTID SYS_gettid MINCORE SYS_mincore MREMAP SYS_mremap MSYNC SYS_msync
    RT_SIGPROCMASK SYS_rt_sigprocmask TGKILL SYS_tgkill
}

/// The first number: libc does not name the calls with 64-bit times for every target.
#[cfg(target_pointer_width = "32")]
const FIRST: usize = if cfg!(any(target_arch = "mips", target_arch = "mips32r6")) {
    4000
} else {
    0
};
#[cfg(target_pointer_width = "32")]
pub(in crate::sys) const FUTEX_TIME64: usize = FIRST + 422;
#[cfg(target_pointer_width = "32")]
pub(in crate::sys) const PPOLL_TIME64: usize = FIRST + 414;

// `SIG_BLOCK` of rt_sigprocmask(2): these wait, too. `SIG_SETMASK`: these wait and no others.
numbers! { BLOCK SIG_BLOCK SET SIG_SETMASK }

/// Bytes of a set of signals: MIPS has 128.
pub(crate) const SIGNAL_SET: usize = if cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
)) {
    16
} else {
    8
};

pub(crate) const FAULTS: [u32; 7] = [
    libc::SIGILL as u32,
    libc::SIGTRAP as u32,
    libc::SIGABRT as u32,
    libc::SIGBUS as u32,
    libc::SIGFPE as u32,
    libc::SIGSEGV as u32,
    libc::SIGSYS as u32,
];

/// msync(2): rustix's gives -1 for every error.
///
/// # Safety
///
/// - The caller owns every page of the range, and `flags` do not give its bytes back.
#[inline]
pub(in crate::sys) unsafe fn msync(
    start: *mut c_void,
    len: usize,
    flags: MsyncFlags,
) -> Result<(), Errno> {
    let arguments = [
        start.expose_provenance(),
        len,
        flags.bits() as usize,
        0,
        0,
        0,
    ];
    // SAFETY: writes what the pages hold, and changes none.
    unsafe { call(MSYNC, arguments) }.map(|_| ())
}

/// `sync_file_range(2)` with `SYNC_FILE_RANGE_WRITE`.
pub(in crate::sys) fn sync_file_range(file: RawFd, offset: u64, len: u64) -> Result<(), Errno> {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else {
        return Err(Errno::INVAL);
    };
    // SAFETY: touches no memory.
    match unsafe { libc::sync_file_range(file, offset, len, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// # Safety
///
/// - What the call does to memory is allowed.
pub(in crate::sys) unsafe fn call(
    number: usize,
    [a, b, c, d, e, f]: [usize; 6],
) -> Result<usize, Errno> {
    // SAFETY: the caller's duty, passed on.
    let result = unsafe { libc::syscall(number as libc::c_long, a, b, c, d, e, f) };
    if result == -1 {
        return Err(last_error());
    }
    Ok(result as usize)
}

/// The error number of the call that this thread made last.
fn last_error() -> Errno {
    // SAFETY: takes nothing.
    let number = unsafe { libc::__errno_location() };
    // SAFETY: this thread's own, and libc has it as long as the thread lives.
    Errno::from_raw_os_error(unsafe { number.read() })
}
