//! System calls that rustix has no function for, or only together with features that reach further, made by hand.
//!
//! # Safety
//!
//! The instruction is the one by which Linux takes system calls on the architecture, and the registers
//! that the kernel changes are named. What a call does to memory is its caller's duty.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::AtomicU32;
#[cfg(target_pointer_width = "32")]
use core::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::RawFd;
use rustix::io::Errno;

/// The numbers of the calls that are made here.
macro_rules! numbers {
    ($($name:ident $number:literal)*) => {
        $(#[allow(dead_code, reason = "some are for features")] const $name: usize = $number;)*
    };
}

#[cfg(target_arch = "x86_64")]
numbers! { EXIT_GROUP 231 FUTEX 202 GETPID 39 GETTID 186 MINCORE 27 RT_SIGPROCMASK 14 SYNC_FILE_RANGE 277 TGKILL 234 }
#[cfg(target_arch = "x86")]
numbers! { EXIT_GROUP 252 FUTEX 240 GETPID 20 GETTID 224 MINCORE 218 RT_SIGPROCMASK 175 SYNC_FILE_RANGE 314 TGKILL 270 }
#[cfg(target_arch = "arm")]
numbers! { EXIT_GROUP 248 FUTEX 240 GETPID 20 GETTID 224 MINCORE 219 RT_SIGPROCMASK 175 SYNC_FILE_RANGE 341 TGKILL 268 }
// aarch64, riscv64 and what came after them.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm")))]
numbers! { EXIT_GROUP 94 FUTEX 98 GETPID 172 GETTID 178 MINCORE 232 RT_SIGPROCMASK 135 SYNC_FILE_RANGE 84 TGKILL 131 }

/// That the kernel, or a filter in front of it, does not know futex(2) with 64-bit times: from Linux 5.1 on, and
/// the only one without `COMPAT_32BIT_TIME`.
#[cfg(target_pointer_width = "32")]
static OLD_FUTEX: AtomicBool = AtomicBool::new(false);

/// mincore(2): for each page of the kernel's that the range holds, a byte whose lowest bit says whether
/// the page is in memory. `start` is at the start of a page.
///
/// # Safety
///
/// - The caller owns every page of the range.
/// - `pages` has a byte for each.
pub(super) unsafe fn mincore(
    start: *mut c_void,
    len: usize,
    pages: &mut [u8],
) -> Result<(), Errno> {
    let (start, pages) = (start.expose_provenance(), pages.as_mut_ptr());
    let arguments = [start, len, pages.expose_provenance(), 0, 0, 0];
    // SAFETY: reads page tables, and writes to `pages`.
    unsafe { call(MINCORE, arguments) }.map(|_| ())
}

/// `sync_file_range(2)` with `SYNC_FILE_RANGE_WRITE`; on arm, `sync_file_range2`, which has the flags first.
pub(super) fn sync_file_range(file: RawFd, offset: u64, len: u64) -> Result<(), Errno> {
    const WRITE: usize = 2;
    let file = usize::try_from(file).map_err(|_| Errno::BADF)?;
    #[cfg(target_pointer_width = "32")]
    let arguments = {
        let [low, high] = halves(offset);
        let [len_low, len_high] = halves(len);
        if cfg!(target_arch = "arm") {
            [file, WRITE, low, high, len_low, len_high]
        } else {
            [file, low, high, len_low, len_high, WRITE]
        }
    };
    #[cfg(not(target_pointer_width = "32"))]
    let arguments = {
        let word = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        [file, word(offset), word(len), WRITE, 0, 0]
    };
    // SAFETY: touches no memory.
    unsafe { call(SYNC_FILE_RANGE, arguments) }.map(|_| ())
}

/// The lower word and the upper one, as little-endian machines take them.
#[cfg(target_pointer_width = "32")]
fn halves(bytes: u64) -> [usize; 2] {
    let [a, b, c, d, e, f, g, h] = bytes.to_le_bytes();
    [
        usize::from_le_bytes([a, b, c, d]),
        usize::from_le_bytes([e, f, g, h]),
    ]
}

/// `exit_group(2)`.
#[cfg(feature = "critical-section-linux")]
pub(super) fn exit_process(status: usize) {
    // SAFETY: does not come back.
    let _ = unsafe { call(EXIT_GROUP, [status, 0, 0, 0, 0, 0]) };
}

/// `FUTEX_WAKE_OP`, which ORs 0 to the word and wakes one waiter at most, here and there.
///
/// # Safety
///
/// - `word` is a multiple of 4, in a map that the caller owns.
pub(super) unsafe fn futex_or_nothing(unwaited: &AtomicU32, word: *mut u32) -> Result<(), Errno> {
    const WAKE_OP: usize = 5;
    // Upper four bits: FUTEX_OP_OR; the next: FUTEX_OP_CMP_EQ; then both operands, 0.
    const OR_NOTHING: usize = 2 << 28;
    let unwaited = ptr::from_ref(unwaited).expose_provenance();
    let word = word.expose_provenance();
    // SAFETY: the kernel changes the word atomically, and to what it was.
    unsafe { futex([unwaited, WAKE_OP, 0, 0, word, OR_NOTHING]) }
}

/// `FUTEX_CMP_REQUEUE`, which compares the word with 0 and moves no waiter: `EAGAIN` if it is another number.
///
/// # Safety
///
/// - `word` is a multiple of 4, in a map that the caller owns.
pub(super) unsafe fn futex_compare(unwaited: &AtomicU32, word: *const u32) -> Result<(), Errno> {
    const CMP_REQUEUE: usize = 4;
    let unwaited = ptr::from_ref(unwaited).expose_provenance();
    // SAFETY: the kernel reads the word.
    unsafe { futex([word.expose_provenance(), CMP_REQUEUE, 0, 0, unwaited, 0]) }
}

/// `FUTEX_WAIT`: sleeps while the word has this value. May return earlier.
#[cfg(feature = "critical-section")]
pub(super) fn futex_wait(word: &AtomicU32, value: u32) {
    const WAIT: usize = 0;
    let word = ptr::from_ref(word).expose_provenance();
    let value = usize::try_from(value).unwrap_or(usize::MAX);
    // An error is a value that has changed, or a signal: the caller looks again.
    // SAFETY: the kernel reads the word. No timeout.
    let _ = unsafe { futex([word, WAIT, value, 0, 0, 0]) };
}

/// `FUTEX_WAKE`: wakes one thread that sleeps at the word.
#[cfg(feature = "critical-section")]
pub(super) fn futex_wake_one(word: &AtomicU32) {
    const WAKE: usize = 1;
    let word = ptr::from_ref(word).expose_provenance();
    // SAFETY: touches no memory.
    let _ = unsafe { futex([word, WAKE, 1, 0, 0, 0]) };
}

/// futex(2) among the threads of this process. Without timeouts, so that old and new numbers take the same.
///
/// # Safety
///
/// - What the operation does to memory is allowed.
unsafe fn futex([word, operation, value, value2, word2, value3]: [usize; 6]) -> Result<(), Errno> {
    const PRIVATE: usize = 128;
    let arguments = [word, operation | PRIVATE, value, value2, word2, value3];
    #[cfg(target_pointer_width = "32")]
    if !OLD_FUTEX.load(Ordering::Relaxed) {
        const FUTEX_TIME64: usize = 422;
        // SAFETY: the caller's duty, passed on.
        match unsafe { call(FUTEX_TIME64, arguments) } {
            Err(refused @ (Errno::NOSYS | Errno::PERM)) => {
                // SAFETY: as above.
                let result = unsafe { call(FUTEX, arguments) };
                if result == Err(Errno::NOSYS) {
                    return Err(refused);
                }
                OLD_FUTEX.store(true, Ordering::Relaxed);
                return result.map(|_| ());
            }
            result => return result.map(|_| ()),
        }
    }
    // SAFETY: the caller's duty, passed on.
    unsafe { call(FUTEX, arguments) }.map(|_| ())
}

/// gettid(2). It always succeeds, if no filter of system calls refuses it.
#[cfg(feature = "critical-section")]
pub(super) fn thread_id() -> Option<u32> {
    // SAFETY: touches no memory.
    let id = unsafe { call(GETTID, [0; 6]) };
    id.ok().and_then(|id| u32::try_from(id).ok())
}

/// tgkill(2) of a thread of this process: `ESRCH` if it is none. Signal 0 only asks.
#[cfg(feature = "critical-section")]
pub(super) fn signal_thread(thread: u32, signal: usize) -> Result<(), Errno> {
    let thread = usize::try_from(thread).unwrap_or(usize::MAX);
    // SAFETY: touches no memory.
    let process = unsafe { call(GETPID, [0; 6]) }?;
    // SAFETY: touches no memory.
    unsafe { call(TGKILL, [process, thread, signal, 0, 0, 0]) }.map(|_| ())
}

/// `SIG_BLOCK` of `rt_sigprocmask(2)`: these wait, too.
#[cfg(feature = "critical-section-linux")]
pub(crate) const BLOCK: usize = 0;
/// `SIG_SETMASK`: these wait and no others.
#[cfg(feature = "critical-section-linux")]
pub(crate) const SET: usize = 2;

/// `rt_sigprocmask(2)` of the calling thread: changes which signals wait, and gives which did before.
/// Bit 0 is signal 1.
///
/// # Safety
///
/// - The thread does not depend on a signal that it now no longer gets, or gets.
#[cfg(feature = "critical-section-linux")]
pub(crate) unsafe fn signal_mask(how: usize, set: u64) -> u64 {
    // The kernel's set is an array of words, the lower signals first: as u64 on little-endian.
    let mut old = 0u64;
    let from = (&raw const set).expose_provenance();
    let to = (&raw mut old).expose_provenance();
    // It fails on bad arguments only.
    // SAFETY: the kernel reads 8 bytes at `from` and writes 8 at `to`.
    let _ = unsafe { call(RT_SIGPROCMASK, [how, from, to, size_of::<u64>(), 0, 0]) };
    old
}

/// # Safety
///
/// - What the call does to memory is allowed.
pub(super) unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: the caller's duty, passed on.
    let result = unsafe { enter(number, arguments) };
    // -4095 to -1 are error numbers.
    match i32::try_from(result.cast_signed()) {
        Ok(negative @ -4095..=-1) => Err(Errno::from_raw_os_error(negative.wrapping_neg())),
        _ => Ok(result),
    }
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
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
unsafe fn enter(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: svc takes and gives these; the rest is the caller's duty.
    unsafe {
        core::arch::asm!(
            "svc 0", in("x8") number, inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f, options(nostack)
        );
    }
    result
}

#[cfg(all(target_arch = "riscv64", target_pointer_width = "64"))]
unsafe fn enter(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> usize {
    let result;
    // SAFETY: ecall takes and gives these; the rest is the caller's duty.
    unsafe {
        core::arch::asm!(
            "ecall", in("a7") number, inlateout("a0") a => result,
            in("a1") b, in("a2") c, in("a3") d, in("a4") e, in("a5") f, options(nostack)
        );
    }
    result
}

/// Where rustix uses libc, and no numbers are known here: `ENOSYS`, which callers have an answer to.
#[cfg(not(any(
    target_arch = "x86",
    target_arch = "arm",
    all(
        target_pointer_width = "64",
        any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        )
    )
)))]
unsafe fn enter(_: usize, _: [usize; 6]) -> usize {
    #[cfg(feature = "critical-section-linux")]
    compile_error!("critical-section-linux makes system calls that are not known for this target");
    const ENOSYS: usize = 38;
    ENOSYS.wrapping_neg()
}
