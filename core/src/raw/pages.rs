//! Which pages a map takes, and what to do where the kernel's pages are not those that were asked for.
//!
//! # Safety
//!
//! The two functions that unmap are called by `raw.rs` with all pages of a map that nobody else uses.

#![allow(unsafe_code, reason = "gives back pages of the map at hand")]

use core::ffi::c_void;

use crate::error::Error;
use crate::page::PageSize;
use crate::sys::{self, Errno};

/// Cuts a distance inside a page, which is less than the page size and so fits in a `usize`.
#[allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "less than a page size, and that is a usize"
)]
#[inline]
pub(super) const fn narrow(head: u64) -> usize {
    head as usize
}

/// A slice, and pointer arithmetic, may not span more than `isize::MAX` bytes.
#[inline]
pub(crate) fn check_len(len: usize) -> Result<usize, Error> {
    match isize::try_from(len) {
        Ok(_) => Ok(len),
        Err(_) => Err(too_long(len)),
    }
}

#[cold]
fn too_long(len: usize) -> Error {
    Error::TooLong { len: to_u64(len) }
}

/// Bytes that a map of `len` bytes at `head` in its first page takes: whole pages, at least one
/// (mmap(2) refuses none, and an empty map is useful: an empty file has one).
#[inline]
pub(super) fn mapped_len(page: PageSize, head: usize, len: usize) -> Result<usize, Error> {
    // The byte that must be mapped last; the first of the page where there is none.
    let last = head.checked_add(check_len(len)?.saturating_sub(1));
    match last.and_then(|last| page.page_end(last)) {
        Some(mapped) => Ok(mapped),
        None => Err(too_long(len)),
    }
}

/// Makes a call for a length, and once more for longer ones where the kernel refuses with `EINVAL`, because it cuts a huge
/// page in two: a file on hugetlbfs was mapped, whose page size is not known here.
///
/// The lengths are multiples of the page sizes at which the map could begin, and the first that the kernel accepts is what
/// its huge pages take. The length itself is asked for thrice: a filter's refusal may pass, and what lies behind is not ours.
pub(super) fn huge(
    base: *mut c_void,
    mapped: usize,
    mut call: impl FnMut(usize) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let (mut page, mut len) = (PageSize::KIB_4, mapped);
    for asked in 0..64 {
        let result = call(len);
        if asked < 2 && result == Err(Errno::INVAL) {
            continue;
        }
        match page.ceil(mapped) {
            Some(next)
                if result == Err(Errno::INVAL)
                    && page.at_most_alignment_of(base.addr()) == page =>
            {
                len = next;
            }
            _ => return result,
        }
        page = page.doubled();
    }
    Err(Errno::INVAL)
}

/// munmap(2) of a whole map.
///
/// An error has nowhere to go: Drop cannot return one and must not panic.
///
/// # Safety
///
/// - All pages of a map that nothing uses afterwards.
#[inline]
pub(super) unsafe fn unmap(base: *mut c_void, mapped: usize) {
    // SAFETY: the caller's duty, passed on.
    if let Err(errno) = unsafe { sys::munmap(base, mapped) } {
        unmap_refused(base, mapped, errno);
    }
}

#[cold]
#[inline(never)]
fn unmap_refused(base: *mut c_void, mapped: usize, mut errno: Errno) {
    if errno == Errno::INVAL {
        // SAFETY: as in `unmap`, whose pages these are; see `huge`.
        match huge(base, mapped, |len| unsafe { sys::munmap(base, len) }) {
            Ok(()) => return,
            Err(last) => errno = last,
        }
    }
    if errno == Errno::NOMEM {
        // The kernel merged the map with a neighbour, and at the limit on the number of VMAs it does not cut one in
        // two. The bytes go; the addresses stay, and nothing else is harmed.
        // SAFETY: as above.
        unsafe { sys::drop_pages(base, mapped) };
    }
}

/// Lossless: no target has a `usize` of more than 64 bits.
#[allow(clippy::as_conversions, reason = "see above; and `From` is not const")]
pub(crate) const fn to_u64(bytes: usize) -> u64 {
    bytes as u64
}
