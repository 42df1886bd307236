//! The system calls: the only module that names rustix's calls.
//!
//! No policy here. Every function is one call into the kernel (the page size lookup is a few),
//! passes its arguments on unchanged and turns the error number into an [`Error`].
//!
//! # Safety
//!
//! The `unsafe fn`s change address space. Their callers own the pages that they name: `raw.rs`
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
mod touch;

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm;

#[cfg(feature = "critical-section-linux")]
pub(crate) use self::bare::{BLOCK, SET, signal_mask};
#[cfg(feature = "device")]
pub(crate) use self::device::*;
pub(crate) use self::file::*;
#[cfg(feature = "critical-section")]
pub(crate) use self::lock::Turn;
#[cfg(feature = "critical-section-linux")]
pub(crate) use self::lock::abort;
pub(crate) use self::touch::*;
// The other modules get rustix's types from here.
pub use rustix::fd::AsFd;
pub use rustix::fd::OwnedFd;
pub(crate) use rustix::fd::{BorrowedFd, FromRawFd, IntoRawFd, RawFd};
pub(crate) use rustix::fs::{FileType, MemfdFlags, SealFlags};
pub(crate) use rustix::io::Errno;
pub(crate) use rustix::mm::Advice as AdviceNumber;
pub(crate) use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, MsyncFlags, ProtFlags};

use crate::error::{Call, Error};
use crate::{Advice, PageSize, UncheckedAdvice};

/// Names the call in its error. Inline, as are all errors of the hot paths: a caller that only asks
/// `is_ok` then pays one compare, and not for an error that is built elsewhere and looked at again.
#[inline]
fn named<T>(call: Call, result: Result<T, Errno>) -> Result<T, Error> {
    match result {
        Ok(value) => Ok(value),
        Err(errno) => Err(Error::Sys { call, errno }),
    }
}

/// mmap(2) of a file, or of anonymous memory where there is none.
#[inline]
pub(crate) fn mmap(
    file: Option<BorrowedFd<'_>>,
    len: usize,
    prot: ProtFlags,
    flags: MapFlags,
    offset: u64,
) -> Result<*mut c_void, Error> {
    let result = match file {
        // SAFETY: with a null hint and no MAP_FIXED the kernel picks a free range, so no mapping
        // that exists is touched. The result is a new one that nobody else owns.
        Some(fd) => unsafe { mm::mmap(ptr::null_mut(), len, prot, flags, fd, offset) },
        // SAFETY: as above.
        None => unsafe { mm::mmap_anonymous(ptr::null_mut(), len, prot, flags) },
    };
    match result {
        Ok(base) => Ok(base),
        Err(errno) => Err(mmap_refused(errno)),
    }
}

/// Out of line: else the fields of the map that there is not are carried about for it.
#[cold]
#[inline(never)]
fn mmap_refused(errno: Errno) -> Error {
    Error::Sys {
        call: Call::Mmap,
        errno,
    }
}

/// mmap(2) of zeros with `MAP_FIXED`: private memory in the place of pages that are mapped. For a signal
/// handler: one system call and nothing else.
///
/// # Safety
///
/// - The caller owns every page of the range, and nobody needs what they hold.
#[cfg(feature = "fault")]
pub(crate) unsafe fn map_zeros_over(
    start: *mut c_void,
    len: usize,
    prot: ProtFlags,
) -> Result<(), Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: the caller's duty, passed on.
    unsafe { mm::mmap_anonymous(start, len, prot, flags) }.map(|_| ())
}

/// mremap(2) with `MREMAP_FIXED`: moves a map to the place of pages that are mapped.
///
/// # Safety
///
/// - The caller owns every page of both ranges, which have the same length and do not overlap, and nobody
///   needs what the new place holds.
#[cfg(feature = "fault")]
pub(crate) unsafe fn move_over(
    from: *mut c_void,
    len: usize,
    to: *mut c_void,
) -> Result<(), Error> {
    // SAFETY: the caller's duty, passed on.
    let moved = unsafe { mm::mremap_fixed(from, len, len, MremapFlags::MAYMOVE, to) };
    named(Call::Mremap, moved.map(|_| ()))
}

/// munmap(2). The errno is the caller's to judge.
///
/// # Safety
///
/// - The caller owns every page of the range, and nobody uses them afterwards.
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
pub(crate) unsafe fn mprotect(
    start: *mut c_void,
    len: usize,
    prot: MprotectFlags,
) -> Result<(), Error> {
    // SAFETY: the caller's duty, passed on.
    named(Call::Mprotect, unsafe { mm::mprotect(start, len, prot) })
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
    flags: MremapFlags,
) -> Result<*mut c_void, Error> {
    // SAFETY: the caller's duty, passed on.
    named(Call::Mremap, unsafe {
        mm::mremap(base, old_len, new_len, flags)
    })
}

/// msync(2). The errno is the caller's to judge.
///
/// # Safety
///
/// - The caller owns every page of the range. (`MS_INVALIDATE` is not among the flags used, so
///   the bytes in memory stay as they are.)
#[inline]
pub(crate) unsafe fn msync(start: *mut c_void, len: usize, flags: MsyncFlags) -> Result<(), Errno> {
    // SAFETY: the caller's duty, passed on.
    unsafe { mm::msync(start, len, flags) }
}

/// madvise(2).
///
/// # Safety
///
/// - The caller owns every page of the range, or `len` is 0.
/// - The advice does not change bytes that somebody holds a reference to.
#[inline]
pub(crate) unsafe fn madvise(
    start: *mut c_void,
    len: usize,
    advice: mm::Advice,
) -> Result<(), Error> {
    // SAFETY: the caller's duty, passed on.
    named(Call::Madvise, unsafe { mm::madvise(start, len, advice) })
}

/// mlock(2), or mlock2(2) with `MLOCK_ONFAULT`.
///
/// # Safety
///
/// - The caller owns every page of the range.
#[inline]
pub(crate) unsafe fn mlock(start: *mut c_void, len: usize, on_fault: bool) -> Result<(), Error> {
    let result = if on_fault {
        // SAFETY: locking changes no byte and no protection; the range is the caller's duty.
        unsafe { mm::mlock_with(start, len, mm::MlockFlags::ONFAULT) }
    } else {
        // SAFETY: as above.
        unsafe { mm::mlock(start, len) }
    };
    named(Call::Mlock, result)
}

/// munlock(2).
///
/// # Safety
///
/// - The caller owns every page of the range.
#[inline]
pub(crate) unsafe fn munlock(start: *mut c_void, len: usize) -> Result<(), Error> {
    // SAFETY: the caller's duty, passed on.
    named(Call::Munlock, unsafe { mm::munlock(start, len) })
}

/// The page size, as [`PageSize::to_word`] gives it, 0 until it was found.
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// Gives the kernel's page size. The first call asks the kernel; later ones load one word.
///
/// It works without `/proc`, without libc and on every kernel: mprotect(2) of 0 bytes changes
/// nothing, and refuses an address that is not a multiple of the page size. On a kernel with 4 KiB
/// pages this is one system call, with 64 KiB pages it is five.
///
/// # Errors
///
/// - [`Error::Sys`] with [`Call::Mprotect`]: the kernel, or a filter in front of it, gave an answer
///   that says nothing about the page size. Nothing is guessed: supply the size with
///   [`MmapOptions::page_size`](crate::MmapOptions::page_size).
///
/// # Examples
///
/// ```
/// let page = rawmap_core::page_size()?;
/// assert!(page.get() >= 4096);
/// # Ok::<(), rawmap_core::Error>(())
/// ```
///
/// # References
///
/// - [mprotect(2)](https://man7.org/linux/man-pages/man2/mprotect.2.html)
#[inline]
pub fn page_size() -> Result<PageSize, Error> {
    // Relaxed: the word depends on no other memory, and every thread finds the same value.
    match PageSize::from_word(PAGE_SIZE.load(Ordering::Relaxed)) {
        Some(page) => Ok(page),
        None => ask_page_size(),
    }
}

#[cold]
#[inline(never)]
fn ask_page_size() -> Result<PageSize, Error> {
    /// Linux has pages of 4 KiB (arm, riscv, x86) to 1 MiB (hexagon).
    const BITS: core::ops::RangeInclusive<u8> = 12..=20;
    let mut refused = Errno::INVAL;
    for bits in BITS {
        let page = PageSize::from_bits(bits)?;
        let address = ptr::without_provenance_mut(page.get());
        // SAFETY: a length of 0 names no page.
        match unsafe { mm::mprotect(address, 0, MprotectFlags::empty()) } {
            // Not a multiple of the page size: the page is larger.
            Err(Errno::INVAL) => {}
            // ENOMEM: the address was accepted and nothing is mapped there (QEMU's user mode).
            Ok(()) | Err(Errno::NOMEM) => {
                PAGE_SIZE.store(page.to_word(), Ordering::Relaxed);
                return Ok(page);
            }
            Err(errno) => {
                refused = errno;
                break;
            }
        }
    }
    named(Call::Mprotect, Err(refused))
}

/// Tells whether the kernel knows an advice: madvise(2) of 0 bytes checks just that.
fn knows_advice(advice: mm::Advice) -> bool {
    // SAFETY: a length of 0 names no page.
    unsafe { madvise(ptr::null_mut(), 0, advice) }.is_ok()
}

impl Advice {
    /// Tells whether the running kernel knows this advice.
    ///
    /// Asks with madvise(2) of 0 bytes, which changes nothing. QEMU's user mode says yes to
    /// everything.
    #[must_use]
    pub fn is_supported(self) -> bool {
        knows_advice(self.number())
    }

    #[inline]
    pub(crate) const fn number(self) -> mm::Advice {
        use mm::Advice as Kernel;
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
    /// Tells whether the running kernel knows this advice; see [`Advice::is_supported`].
    #[must_use]
    pub fn is_supported(self) -> bool {
        knows_advice(self.number())
    }

    #[inline]
    pub(crate) const fn number(self) -> mm::Advice {
        match self {
            Self::DontNeed => mm::Advice::LinuxDontNeed,
            Self::Free => mm::Advice::LinuxFree,

            Self::Remove => mm::Advice::LinuxRemove,
        }
    }
}
