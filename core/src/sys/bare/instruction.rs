//! The system call instruction, and the numbers of calls, of the targets for which rustix has both, too.

#![allow(dead_code, reason = "some numbers are for features")]

use core::ffi::c_void;

use rustix::fd::RawFd;
use rustix::io::Errno;
use rustix::mm::{self, MsyncFlags};

/// The numbers of the calls that are made here.
macro_rules! numbers {
    ($($name:ident $number:literal)*) => {
        $(pub(crate) const $name: usize = $number;)*
    };
}

#[cfg(target_arch = "x86_64")]
numbers! { EXIT_GROUP 231 FUTEX 202 GETPID 39 GETTID 186 MINCORE 27 MREMAP 25 RT_SIGPROCMASK 14 SYNC_FILE_RANGE 277 TGKILL 234 }
#[cfg(target_arch = "x86")]
numbers! { EXIT_GROUP 252 FUTEX 240 GETPID 20 GETTID 224 MINCORE 218 MREMAP 163 RT_SIGPROCMASK 175 SYNC_FILE_RANGE 314 TGKILL 270 }
#[cfg(target_arch = "arm")]
numbers! { EXIT_GROUP 248 FUTEX 240 GETPID 20 GETTID 224 MINCORE 219 MREMAP 163 RT_SIGPROCMASK 175 SYNC_FILE_RANGE 341 TGKILL 268 }
#[cfg(target_arch = "s390x")]
numbers! { EXIT_GROUP 248 FUTEX 238 GETPID 20 GETTID 236 MINCORE 218 MREMAP 163 RT_SIGPROCMASK 175 SYNC_FILE_RANGE 307 TGKILL 241 }
#[cfg(any(target_arch = "powerpc", target_arch = "powerpc64"))]
numbers! { EXIT_GROUP 234 FUTEX 221 GETPID 20 GETTID 207 MINCORE 206 MREMAP 163 RT_SIGPROCMASK 174 SYNC_FILE_RANGE 308 TGKILL 250 }
// What came after those.
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
numbers! { EXIT_GROUP 94 FUTEX 98 GETPID 172 GETTID 178 MINCORE 232 MREMAP 216 RT_SIGPROCMASK 135 SYNC_FILE_RANGE 84 TGKILL 131 }

// With 64-bit times, where a word has 32.
#[cfg(target_pointer_width = "32")]
numbers! { FUTEX_TIME64 422 PPOLL_TIME64 414 }

// `SIG_BLOCK` of rt_sigprocmask(2): these wait, too. `SIG_SETMASK`: these wait and no others. And bytes of a set of signals.
numbers! { BLOCK 0 SET 2 SIGNAL_SET 8 }

/// SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV and SIGSYS.
pub(crate) const FAULTS: [u32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// msync(2), by rustix. Where a feature of another crate has that call libc, it gives -1 for every error, and what it was is in
/// libc's errno, of which nothing is known here: the bytes are not stored.
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
    // SAFETY: the caller's duty, passed on.
    match unsafe { mm::msync(start, len, flags) } {
        Err(errno) if errno.raw_os_error() == -1 => Err(Errno::IO),
        result => result,
    }
}

/// `sync_file_range(2)` with `SYNC_FILE_RANGE_WRITE`; on arm and powerpc `sync_file_range2`, which has the flags first.
pub(in crate::sys) fn sync_file_range(file: RawFd, offset: u64, len: u64) -> Result<(), Errno> {
    const WRITE: usize = 2;
    const FLAGS_FIRST: bool = cfg!(any(
        target_arch = "arm",
        target_arch = "powerpc",
        target_arch = "powerpc64"
    ));
    let file = usize::try_from(file).map_err(|_| Errno::BADF)?;
    #[cfg(target_pointer_width = "32")]
    let arguments = {
        let [offset, next] = halves(offset);
        let [len, len_next] = halves(len);
        if FLAGS_FIRST {
            [file, WRITE, offset, next, len, len_next]
        } else {
            [file, offset, next, len, len_next, WRITE]
        }
    };
    #[cfg(not(target_pointer_width = "32"))]
    let arguments = {
        let word = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        if FLAGS_FIRST {
            [file, WRITE, word(offset), word(len), 0, 0]
        } else {
            [file, word(offset), word(len), WRITE, 0, 0]
        }
    };
    // SAFETY: touches no memory.
    unsafe { call(SYNC_FILE_RANGE, arguments) }.map(|_| ())
}

/// Both words, in the order in which two registers take them: that of their bytes in memory.
#[cfg(target_pointer_width = "32")]
fn halves(bytes: u64) -> [usize; 2] {
    let [a, b, c, d, e, f, g, h] = bytes.to_ne_bytes();
    [
        usize::from_ne_bytes([a, b, c, d]),
        usize::from_ne_bytes([e, f, g, h]),
    ]
}

/// # Safety
///
/// - What the call does to memory is allowed.
#[inline]
pub(in crate::sys) unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: the caller's duty, passed on.
    let result = unsafe { enter(number, arguments) };
    // -4095 to -1 are error numbers.
    match i32::try_from(result.cast_signed()) {
        Ok(negative @ -4095..=-1) => Err(Errno::from_raw_os_error(negative.wrapping_neg())),
        _ => Ok(result),
    }
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[inline]
unsafe fn enter(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: syscall takes and gives these, and changes rcx and r11; the rest is the caller's duty.
    unsafe {
        core::arch::asm!(
            "syscall", inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _, options(nostack)
        );
    }
    result
}

#[cfg(target_arch = "x86")]
#[inline]
unsafe fn enter(number: usize, arguments: [usize; 6]) -> usize {
    let result;
    // SAFETY: int 0x80 takes and gives these. The compiler keeps ebx, esi and ebp for itself, so they
    // are put back. The rest is the caller's duty.
    unsafe {
        core::arch::asm!(
            "push ebp", "push ebx", "push esi",
            "mov ebx, [edi]", "mov esi, [edi + 12]", "mov ebp, [edi + 20]", "mov ecx, [edi + 4]",
            "mov edx, [edi + 8]", "mov edi, [edi + 16]",
            "int 0x80",
            "pop esi", "pop ebx", "pop ebp",
            inlateout("eax") number => result, inlateout("edi") arguments.as_ptr() => _,
            lateout("ecx") _, lateout("edx") _
        );
    }
    result
}

#[cfg(target_arch = "arm")]
#[inline]
unsafe fn enter(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: svc takes and gives these; r7 is the frame pointer of Thumb code, so it is put back. The
    // rest is the caller's duty.
    unsafe {
        core::arch::asm!(
            "mov {saved}, r7", "mov r7, {number}", "svc 0", "mov r7, {saved}",
            saved = out(reg) _, number = in(reg) number,
            inlateout("r0") a => result, in("r1") b, in("r2") c, in("r3") d, in("r4") e, in("r5") f,
            options(nostack)
        );
    }
    result
}

#[cfg(all(target_arch = "aarch64", target_pointer_width = "64"))]
#[inline]
unsafe fn enter(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: svc takes and gives these, and changes x8 where a signal stops a sleep; the rest is the caller's duty.
    unsafe {
        core::arch::asm!(
            "svc 0", inlateout("x8") number => _, inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f, options(nostack)
        );
    }
    result
}

#[cfg(all(target_arch = "riscv64", target_pointer_width = "64"))]
#[inline]
unsafe fn enter(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: ecall takes and gives these, and changes a7 where a signal stops a sleep; the rest is the caller's duty.
    unsafe {
        core::arch::asm!(
            "ecall", inlateout("a7") number => _, inlateout("a0") a => result,
            in("a1") b, in("a2") c, in("a3") d, in("a4") e, in("a5") f, options(nostack)
        );
    }
    result
}

#[cfg(target_arch = "s390x")]
#[inline]
unsafe fn enter(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: svc takes and gives these, and may change r1, as above; the rest is the caller's duty.
    unsafe {
        core::arch::asm!(
            "svc 0", inlateout("r1") number => _, inlateout("r2") a => result,
            in("r3") b, in("r4") c, in("r5") d, in("r6") e, in("r7") f, options(nostack)
        );
    }
    result
}

#[cfg(any(target_arch = "powerpc", target_arch = "powerpc64"))]
#[inline]
unsafe fn enter(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: sc takes and gives these, says by the summary overflow bit that r3 is an error number, and changes the
    // registers that a function may change, too; the rest is the caller's duty.
    unsafe {
        core::arch::asm!(
            "sc", "bns 1f", "neg 3, 3", "1:", inlateout("r0") number => _, inlateout("r3") a => result,
            inlateout("r4") b => _, inlateout("r5") c => _, inlateout("r6") d => _, inlateout("r7") e => _,
            inlateout("r8") f => _, lateout("r9") _, lateout("r10") _, lateout("r11") _, lateout("r12") _,
            lateout("cr0") _, lateout("ctr") _, lateout("xer") _, options(nostack)
        );
    }
    result
}
