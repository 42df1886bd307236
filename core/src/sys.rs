//! The system calls: the only module that names rustix's calls.
//!
//! No policy here. Every function is one call into the kernel (the page size lookup is a few) and passes its
//! arguments on unchanged. Calls that have a range give the error number, and `raw` adds the range of its caller.
//!
//! # Safety
//!
//! The `unsafe fn`s change address space. Their callers own the pages that they name: `raw`
//! proves it from the invariant of `MmapRaw`. Offsets are multiples of the page size, always:
//! on 32-bit rustix divides them without a check.

#![allow(
    unsafe_code,
    reason = "the one place where system calls are made; see # Safety above"
)]

mod bare;
#[cfg(feature = "device")]
mod device;
mod file;
#[cfg(feature = "critical-section")]
mod lock;
mod page_size;
mod touch;

use core::ffi::c_void;
use core::ptr;
#[cfg(feature = "critical-section")]
use core::sync::atomic;

use rustix::mm;

#[cfg(feature = "critical-section-linux")]
pub(crate) use self::bare::{BLOCK, FAULTS, SET, signal_mask};
pub(crate) use self::bare::{futex_wait_shared, futex_wake_shared};
#[cfg(feature = "device")]
pub(crate) use self::device::*;
pub(crate) use self::file::*;
#[cfg(feature = "critical-section")]
pub(crate) use self::lock::Lock;
#[cfg(feature = "critical-section-linux")]
pub(crate) use self::lock::abort;
pub use self::page_size::page_size;
pub(crate) use self::touch::*;
// The other modules get rustix's types from here.
pub use rustix::fd::AsFd;
pub(crate) use rustix::fd::AsRawFd;
pub(crate) use rustix::fd::BorrowedFd;
pub use rustix::fd::OwnedFd;
#[cfg(feature = "device")]
pub(crate) use rustix::fd::{FromRawFd, RawFd};
pub(crate) use rustix::fs::{FileType, MemfdFlags, SealFlags};
pub(crate) use rustix::io::Errno;
pub(crate) use rustix::mm::Advice as AdviceNumber;
pub(crate) use rustix::mm::{MapFlags, MsyncFlags};
use rustix::mm::{MprotectFlags, ProtFlags};

use crate::advice::{Advice, UncheckedAdvice};
use crate::error::{Call, Error};
use crate::protection::Access;

/// Names a call that has no range in its error. Inline: a caller that only asks `is_ok` then pays one compare, and not
/// for an error that is built elsewhere and looked at again.
#[inline]
fn named<T>(call: Call, result: Result<T, Errno>) -> Result<T, Error> {
    match result {
        Ok(value) => Ok(value),
        Err(errno) => Err(Error::sys(call, errno)),
    }
}

/// How often a call is made again after a signal interrupted it, before the caller is told: no loop here is endless.
pub(crate) const PATIENCE: u32 = 1000;

/// Makes a call again while a signal interrupts it.
#[inline]
pub(crate) fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..PATIENCE {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::INTR)
}

#[inline]
fn prot(access: Access) -> ProtFlags {
    ProtFlags::from_bits_retain(access.prot().into())
}

/// mmap(2) of a file, or of anonymous memory where there is none.
#[inline]
pub(crate) fn mmap(
    file: Option<BorrowedFd<'_>>,
    len: usize,
    access: Access,
    flags: MapFlags,
    offset: u64,
) -> Result<*mut c_void, Errno> {
    match file {
        // SAFETY: with a null hint and no MAP_FIXED the kernel picks a free range, so no mapping
        // that exists is touched. The result is a new one that nothing else owns.
        Some(fd) => unsafe { mm::mmap(ptr::null_mut(), len, prot(access), flags, fd, offset) },
        // SAFETY: as above.
        None => unsafe { mm::mmap_anonymous(ptr::null_mut(), len, prot(access), flags) },
    }
}

/// mmap(2) of a file with `MAP_FIXED`, shared, in the place of pages that are mapped.
///
/// # Safety
///
/// - The caller owns every page of the range, and nothing needs what they hold.
#[cfg(feature = "fault")]
pub(crate) unsafe fn map_file_over(
    start: *mut c_void,
    len: usize,
    access: Access,
    file: BorrowedFd<'_>,
    offset: u64,
) -> Result<(), Errno> {
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: the caller's duty, passed on.
    unsafe { mm::mmap(start, len, prot(access), flags, file, offset) }.map(|_| ())
}

/// mmap(2) of zeros with `MAP_FIXED`, in the place of pages that are mapped. For a signal handler: one system call
/// and nothing else. Shared memory, in the place of shared, does not count against `RLIMIT_DATA`.
///
/// # Safety
///
/// - The caller owns every page of the range, and nothing needs what they hold.
#[cfg(feature = "fault")]
pub(crate) unsafe fn map_zeros_over(
    start: *mut c_void,
    len: usize,
    access: Access,
) -> Result<(), Errno> {
    let kind = if access.allows(Access::PRIVATE) {
        MapFlags::PRIVATE
    } else {
        MapFlags::SHARED
    };
    let flags = kind | MapFlags::FIXED | MapFlags::NORESERVE;
    // Never executable: zeros are instructions on some architectures.
    let prot = prot(access.without(Access::EXEC));
    // SAFETY: the caller's duty, passed on.
    unsafe { mm::mmap_anonymous(start, len, prot, flags) }.map(|_| ())
}

/// mmap(2) of zeros with `MAP_FIXED_NOREPLACE`: only where nothing is mapped. (Linux 4.17; older kernels take the address
/// for a hint, and what they give is given back.)
///
/// # Safety
///
/// - The caller owns the range, if nothing is mapped there.
#[cfg(feature = "fault")]
pub(crate) unsafe fn map_zeros_into_gap(
    start: *mut c_void,
    len: usize,
    access: Access,
) -> Result<(), Errno> {
    let flags = MapFlags::SHARED | MapFlags::FIXED_NOREPLACE | MapFlags::NORESERVE;
    // SAFETY: replaces no mapping.
    let got = unsafe { mm::mmap_anonymous(start, len, prot(access), flags)? };
    if got != start {
        // SAFETY: the new mapping, which nothing uses.
        unsafe { munmap(got, len)? };
    }
    Ok(())
}

/// munmap(2).
///
/// # Safety
///
/// - The caller owns every page of the range, and nothing uses them afterwards.
#[inline]
pub(crate) unsafe fn munmap(base: *mut c_void, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller's duty, passed on.
    unsafe { mm::munmap(base, len) }
}

/// mprotect(2).
///
/// # Safety
///
/// - The caller owns every page of the range.
/// - No reference lives that the new protection would break.
#[inline]
pub(crate) unsafe fn mprotect(start: *mut c_void, len: usize, access: Access) -> Result<(), Errno> {
    let prot = MprotectFlags::from_bits_retain(access.prot().into());
    // SAFETY: the caller's duty, passed on.
    unsafe { mm::mprotect(start, len, prot) }
}

/// mremap(2) without `MREMAP_FIXED`.
///
/// # Safety
///
/// - The caller owns every page of the range, and uses only the result afterwards.
#[inline]
pub(crate) unsafe fn mremap(
    base: *mut c_void,
    old_len: usize,
    new_len: usize,
    may_move: bool,
) -> Result<*mut c_void, Errno> {
    // SAFETY: the caller's duty, passed on.
    unsafe { bare::mremap(base, old_len, new_len, may_move) }
}

/// mremap(2) of 0 bytes -- maps the same pages of a shared mapping once more, elsewhere, with another protection.
///
/// # Safety
///
/// - The caller owns every page of the range, which is of a shared mapping.
pub(crate) unsafe fn map_again(
    start: *mut c_void,
    len: usize,
    access: Access,
) -> Result<*mut c_void, (Call, Errno)> {
    if is_emulated() {
        return Err((Call::Mremap, Errno::NOSYS));
    }
    // SAFETY: takes nothing away from the range; the result is a mapping that nothing else owns.
    let other = unsafe { bare::mremap(start, 0, len, true) };
    let other = other.map_err(|errno| (Call::Mremap, errno))?;
    // SAFETY: that mapping.
    match unsafe { mprotect(other, len, access) } {
        Ok(()) => Ok(other),
        Err(errno) => {
            // SAFETY: as above, and it is used no more. The error that is told is the first one.
            let _ = unsafe { munmap(other, len) };
            Err((Call::Mprotect, errno))
        }
    }
}

/// msync(2).
///
/// # Safety
///
/// - The caller owns every page of the range. (`MS_INVALIDATE` is not among the flags used, so
///   the bytes in memory stay as they are.)
#[inline]
pub(crate) unsafe fn msync(start: *mut c_void, len: usize, flags: MsyncFlags) -> Result<(), Errno> {
    // It has no files.
    if cfg!(miri) {
        return Ok(());
    }
    // SAFETY: the caller's duty, passed on.
    unsafe { bare::msync(start, len, flags) }
}

/// madvise(2).
///
/// # Safety
///
/// - The caller owns every page of the range, or `len` is 0.
/// - The advice does not change bytes that a reference shows.
#[inline]
pub(crate) unsafe fn madvise(
    start: *mut c_void,
    len: usize,
    advice: AdviceNumber,
) -> Result<(), Errno> {
    // SAFETY: the caller's duty, passed on.
    unsafe { mm::madvise(start, len, advice) }
}

/// madvise(2) that gives the bytes of pages back, locked pages too (`MADV_DONTNEED_LOCKED`, Linux 5.18).
///
/// # Safety
///
/// - The caller owns every page of the range, and nothing uses them afterwards.
pub(crate) unsafe fn drop_pages(start: *mut c_void, len: usize) {
    // SAFETY: the caller's duty, passed on.
    if unsafe { madvise(start, len, AdviceNumber::LinuxDontNeed) }.is_err() {
        // SAFETY: as above. What is refused again stays.
        let _ = unsafe { madvise(start, len, AdviceNumber::LinuxDontneedLocked) };
    }
}

/// mlock(2), or mlock2(2) with `MLOCK_ONFAULT`.
///
/// # Safety
///
/// - The caller owns every page of the range.
#[inline]
pub(crate) unsafe fn mlock(start: *mut c_void, len: usize, on_fault: bool) -> Result<(), Errno> {
    if on_fault {
        // SAFETY: locking changes no byte and no protection; the range is the caller's duty.
        unsafe { mm::mlock_with(start, len, mm::MlockFlags::ONFAULT) }
    } else {
        // SAFETY: as above.
        unsafe { mm::mlock(start, len) }
    }
}

/// munlock(2).
///
/// # Safety
///
/// - The caller owns every page of the range.
#[inline]
pub(crate) unsafe fn munlock(start: *mut c_void, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller's duty, passed on.
    unsafe { mm::munlock(start, len) }
}

/// Returns whether the kernel knows an advice: madvise(2) of 0 bytes checks just that.
fn knows_advice(advice: AdviceNumber) -> bool {
    // SAFETY: a length of 0 names no page.
    unsafe { madvise(ptr::null_mut(), 0, advice) }.is_ok()
}

impl Advice {
    /// Returns whether the running kernel knows this advice.
    ///
    /// Asks with madvise(2) of 0 bytes, which changes nothing. QEMU's user mode says yes to everything.
    #[must_use]
    pub fn is_supported(self) -> bool {
        knows_advice(self.number())
    }

    #[inline]
    pub(crate) const fn number(self) -> AdviceNumber {
        use AdviceNumber as Kernel;
        match self {
            Self::Normal => Kernel::Normal,
            Self::Random => Kernel::Random,
            Self::Sequential => Kernel::Sequential,
            Self::WillNeed => Kernel::WillNeed,
            Self::DontFork => Kernel::LinuxDontFork,
            Self::DoFork => Kernel::LinuxDoFork,
            Self::Mergeable => Kernel::LinuxMergeable,
            Self::Unmergeable => Kernel::LinuxUnmergeable,
            Self::HugePage => Kernel::LinuxHugepage,
            Self::NoHugePage => Kernel::LinuxNoHugepage,
            Self::DontDump => Kernel::LinuxDontDump,
            Self::DoDump => Kernel::LinuxDoDump,
            Self::HwPoison => Kernel::LinuxHwPoison,
            Self::PopulateRead => Kernel::LinuxPopulateRead,
            Self::PopulateWrite => Kernel::LinuxPopulateWrite,
        }
    }
}

impl UncheckedAdvice {
    /// Returns whether the running kernel knows this advice; see [`Advice::is_supported`].
    #[must_use]
    pub fn is_supported(self) -> bool {
        knows_advice(self.number())
    }

    #[inline]
    pub(crate) const fn number(self) -> AdviceNumber {
        match self {
            Self::DontNeed => AdviceNumber::LinuxDontNeed,
            Self::Free => AdviceNumber::LinuxFree,
            Self::Remove => AdviceNumber::LinuxRemove,
        }
    }
}
