//! System calls made by hand: rustix has no function for them, or only together with features that reach further; or, of
//! msync(2), one that in its libc form gives -1 for every error.
//!
//! # Safety
//!
//! The instruction is the one by which Linux takes system calls on the architecture, and the registers
//! that the kernel changes are named; or libc has both. What a call does to memory is its caller's duty.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::AtomicU32;
#[cfg(target_pointer_width = "32")]
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use rustix::io::Errno;

#[cfg(target_pointer_width = "32")]
use self::enter::FUTEX_TIME64;
#[cfg(all(target_pointer_width = "32", feature = "device"))]
pub(super) use self::enter::PPOLL_TIME64;
#[cfg(feature = "critical-section-linux")]
pub(crate) use self::enter::{BLOCK, FAULTS, SET};
#[cfg(feature = "critical-section-linux")]
use self::enter::{EXIT_GROUP, RT_SIGPROCMASK, SIGNAL_SET};
use self::enter::{FUTEX, MINCORE, MREMAP};
#[cfg(feature = "critical-section")]
use self::enter::{GETPID, GETTID, TGKILL};
pub(super) use self::enter::{call, msync, sync_file_range};

// The second as core/Cargo.toml has it: where rustix makes no system calls itself.
#[cfg_attr(
    all(
        not(any(miri, rustix_use_libc)),
        target_os = "linux",
        any(
            target_endian = "little",
            target_arch = "s390x",
            target_arch = "powerpc"
        ),
        any(
            target_arch = "arm",
            target_arch = "x86",
            all(
                target_pointer_width = "64",
                any(
                    target_arch = "aarch64",
                    target_arch = "riscv64",
                    target_arch = "x86_64"
                )
            ),
            all(
                rustix_use_experimental_asm,
                any(
                    target_arch = "powerpc",
                    target_arch = "powerpc64",
                    target_arch = "s390x"
                )
            )
        )
    ),
    path = "bare/instruction.rs"
)]
#[cfg_attr(
    not(all(
        not(any(miri, rustix_use_libc)),
        target_os = "linux",
        any(
            target_endian = "little",
            target_arch = "s390x",
            target_arch = "powerpc"
        ),
        any(
            target_arch = "arm",
            target_arch = "x86",
            all(
                target_pointer_width = "64",
                any(
                    target_arch = "aarch64",
                    target_arch = "riscv64",
                    target_arch = "x86_64"
                )
            ),
            all(
                rustix_use_experimental_asm,
                any(
                    target_arch = "powerpc",
                    target_arch = "powerpc64",
                    target_arch = "s390x"
                )
            )
        )
    )),
    path = "bare/libc.rs"
)]
mod enter;

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

/// mremap(2) without `MREMAP_FIXED`.
///
/// # Safety
///
/// - The caller owns every page of the range, and uses only the result afterwards; but of a length of 0 the range, too.
pub(super) unsafe fn mremap(
    start: *mut c_void,
    len: usize,
    new_len: usize,
    may_move: bool,
) -> Result<*mut c_void, Errno> {
    // MREMAP_MAYMOVE is 1.
    let arguments = [
        start.expose_provenance(),
        len,
        new_len,
        may_move.into(),
        0,
        0,
    ];
    // SAFETY: the caller's duty, passed on.
    unsafe { call(MREMAP, arguments) }.map(ptr::with_exposed_provenance_mut)
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

/// `FUTEX_WAIT` among all processes that have the word mapped: sleeps while it has this value, until the time is over.
///
/// # Safety
///
/// - `word` is a multiple of 4, in a map that the caller owns.
pub(crate) unsafe fn futex_wait_shared(
    word: *const u32,
    value: u32,
    timeout: Option<Duration>,
) -> Result<(), Errno> {
    const WAIT: usize = 0;
    // A struct __kernel_timespec, and a struct timespec of before. More is not told from for ever. That is said by a time, too:
    // without one the kernel sleeps on after a signal handler with SA_RESTART.
    let time = timeout.map_or([i64::MAX, 0], |time| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        [seconds, time.subsec_nanos().into()]
    });
    let old = time.map(|part| isize::try_from(part).unwrap_or(isize::MAX));
    let word = word.expose_provenance();
    let value = usize::try_from(value).unwrap_or(usize::MAX);
    let arguments = |time: usize| [word, WAIT, value, time, 0, 0];
    let (new, old) = (&raw const time, &raw const old);
    // SAFETY: the kernel reads the word and the times.
    unsafe {
        futex_of(
            arguments(new.expose_provenance()),
            arguments(old.expose_provenance()),
        )
    }
    .map(|_| ())
}

/// `FUTEX_WAKE` among all processes that have the word mapped. Returns how many were woken.
///
/// # Safety
///
/// - `word` is a multiple of 4, in a map that the caller owns.
pub(crate) unsafe fn futex_wake_shared(word: *const u32, count: u32) -> Result<usize, Errno> {
    const WAKE: usize = 1;
    // The kernel takes an int.
    let count = usize::try_from(count.min(i32::MAX.cast_unsigned())).unwrap_or(0);
    let arguments = [word.expose_provenance(), WAKE, count, 0, 0, 0];
    // SAFETY: changes no memory.
    unsafe { futex_of(arguments, arguments) }
}

/// futex(2) among the threads of this process. Without timeouts, so that old and new numbers take the same.
///
/// # Safety
///
/// - What the operation does to memory is allowed.
unsafe fn futex([word, operation, value, value2, word2, value3]: [usize; 6]) -> Result<(), Errno> {
    const PRIVATE: usize = 128;
    let arguments = [word, operation | PRIVATE, value, value2, word2, value3];
    // SAFETY: the caller's duty, passed on.
    unsafe { futex_of(arguments, arguments) }.map(|_| ())
}

/// futex(2), by the number that the kernel has: with 64-bit times, or on 32 bit with those of before.
///
/// # Safety
///
/// - What the operation does to memory is allowed.
unsafe fn futex_of(
    arguments: [usize; 6],
    #[cfg_attr(
        target_pointer_width = "64",
        expect(unused, reason = "times have 64 bits")
    )]
    old: [usize; 6],
) -> Result<usize, Errno> {
    #[cfg(target_pointer_width = "32")]
    if !OLD_FUTEX.load(Ordering::Relaxed) {
        // SAFETY: the caller's duty, passed on.
        match unsafe { call(FUTEX_TIME64, arguments) } {
            Err(refused @ (Errno::NOSYS | Errno::PERM)) => {
                // SAFETY: as above.
                let result = unsafe { call(FUTEX, old) };
                if result == Err(Errno::NOSYS) {
                    return Err(refused);
                }
                OLD_FUTEX.store(true, Ordering::Relaxed);
                return result;
            }
            result => return result,
        }
    }
    #[cfg(target_pointer_width = "64")]
    let old = arguments;
    // SAFETY: the caller's duty, passed on.
    unsafe { call(FUTEX, old) }
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

/// `rt_sigprocmask(2)` of the calling thread: changes which signals wait, and gives which did before.
/// Bit 0 is signal 1. Those above 64, which MIPS has, stay as they are.
///
/// # Safety
///
/// - The thread does not depend on a signal that it now no longer gets, or gets.
#[cfg(feature = "critical-section-linux")]
pub(crate) unsafe fn signal_mask(how: usize, set: u64) -> u64 {
    // The kernel's set is an array of words, the lower signals first.
    let in_words = |set: u64| {
        if cfg!(all(target_endian = "big", target_pointer_width = "32")) {
            set.rotate_left(32)
        } else {
            set
        }
    };
    let mut set = [in_words(set), 0];
    let mut old = [0u64; 2];
    let to = old.as_mut_ptr().expose_provenance();
    if SIGNAL_SET > 8 && how == SET {
        // It fails on bad arguments only, here and below.
        // SAFETY: the kernel writes that many bytes at `to`.
        let _ = unsafe { call(RT_SIGPROCMASK, [BLOCK, 0, to, SIGNAL_SET, 0, 0]) };
        set[1] = old[1];
    }
    let from = set.as_ptr().expose_provenance();
    // SAFETY: the kernel reads that many bytes at `from` and writes as many at `to`.
    let _ = unsafe { call(RT_SIGPROCMASK, [how, from, to, SIGNAL_SET, 0, 0]) };
    in_words(old[0])
}
