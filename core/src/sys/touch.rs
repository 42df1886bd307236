//! Touches of pages that are answered with an error where a load or a store would raise a signal.
//!
//! futex(2) reads or changes a word of the caller's memory from inside the kernel: where the page
//! cannot be had it says `EFAULT`. That is so on every kernel, and in QEMU's user mode; madvise(2) can do
//! it for many pages at once from Linux 5.14 on.
//!
//! # Safety
//!
//! The addresses are of pages that the caller owns. What is done there is atomic and changes no bit.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::AtomicU32;

use rustix::mm;

use super::{Errno, again, bare, page_size};
use crate::page::PageSize;

/// What a touch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    Read,
    /// An atomic read-modify-write that changes nothing. The page is dirty afterwards.
    Write,
}

/// A word that no thread waits at.
static NO_WAITERS: AtomicU32 = AtomicU32::new(0);

/// Touches the page of `len` bytes at `page`. `EFAULT` where a load or store would raise a signal.
///
/// # Safety
///
/// - It is a page of a map that the caller owns.
pub(crate) unsafe fn touch(page: *mut c_void, len: usize, touch: Touch) -> Result<(), Errno> {
    let result = match touch {
        // SAFETY: aligned, in a map that the caller owns.
        Touch::Read => unsafe { bare::futex_compare(&NO_WAITERS, page.cast()) },
        // SAFETY: as above.
        Touch::Write => unsafe { bare::futex_or_nothing(&NO_WAITERS, page.cast()) },
    };
    match result {
        // EAGAIN: the word was read, and is not 0.
        Ok(()) | Err(Errno::AGAIN) => Ok(()),
        Err(Errno::FAULT) => Err(Errno::FAULT),
        // A filter of system calls has no futex(2): from Linux 5.14 on there is another way. Where there is none, the
        // caller is told: a load and a store of our own would race with references to the bytes.
        // SAFETY: the caller's duty, passed on.
        Err(errno) => match unsafe { populate(page, len, touch) } {
            // By its protection.
            Some(Err(Errno::INVAL)) => Err(Errno::FAULT),
            Some(result) => result,
            None => Err(errno),
        },
    }
}

/// madvise(2) with `MADV_POPULATE_READ` or `MADV_POPULATE_WRITE`; `None` where the kernel does not know it, or
/// says yes to everything (QEMU's user mode).
///
/// # Safety
///
/// - The caller owns every page of the range.
pub(crate) unsafe fn populate(
    start: *mut c_void,
    len: usize,
    touch: Touch,
) -> Option<Result<(), Errno>> {
    let advice = match touch {
        Touch::Read => mm::Advice::LinuxPopulateRead,
        Touch::Write => mm::Advice::LinuxPopulateWrite,
    };
    // Nothing is mapped at 0: a kernel that knows the advice says ENOMEM, and one that does not EINVAL.
    if advise_nothing(advice) != Err(Errno::NOMEM) {
        return None;
    }
    Some(again(|| {
        // SAFETY: faults pages in and changes no byte; the range is the caller's duty.
        unsafe { mm::madvise(start, len, advice) }
    }))
}

fn advise_nothing(advice: mm::Advice) -> Result<(), Errno> {
    // SAFETY: changes no byte, also if something is mapped there.
    unsafe { mm::madvise(ptr::null_mut(), 1, advice) }
}

/// Returns whether this is QEMU's user mode, by an answer that no kernel gives. It aborts on an mremap(2) of 0 bytes.
pub(crate) fn is_emulated() -> bool {
    advise_nothing(mm::Advice::LinuxPopulateRead).is_ok()
}

/// How many pages [`resident`] looks at in one go.
pub(crate) const RESIDENT_PAGES: usize = 256;

/// mincore(2) of at most [`RESIDENT_PAGES`] of the kernel's pages: a byte for each, whose lowest bit says
/// whether it is in memory.
///
/// # Safety
///
/// - The caller owns every page of the range, which is no longer than that.
pub(crate) unsafe fn mincore(
    start: *mut c_void,
    len: usize,
) -> Result<[u8; RESIDENT_PAGES], Errno> {
    let mut pages = [0; RESIDENT_PAGES];
    // SAFETY: the caller's duty, and there is a byte for each page.
    unsafe { bare::mincore(start, len, &mut pages) }.map(|()| pages)
}

/// mincore(2): tells of each page of the range, from `start` on, whether it is in memory. All are, where
/// the kernel does not say.
///
/// # Safety
///
/// - The caller owns every page of the range.
pub(crate) unsafe fn resident(
    start: *mut c_void,
    len: usize,
    page: PageSize,
) -> [u8; RESIDENT_PAGES] {
    // The kernel writes a byte for each page of its own size: only if that is what the caller counts in.
    let counted = page_size() == Ok(page) && len.div_ceil(page.get()) <= RESIDENT_PAGES;
    let unknown = [1; RESIDENT_PAGES];
    if counted {
        // SAFETY: the caller's duty.
        unsafe { mincore(start, len) }.unwrap_or(unknown)
    } else {
        unknown
    }
}
