//! Which pages a map takes, and what to do where the kernel's pages are not those that were asked for.
//!
//! # Safety
//!
//! The two functions that unmap are called by `raw.rs` with all pages of a map that nobody else uses.

#![allow(unsafe_code, reason = "gives back pages of the map at hand")]

use core::ffi::c_void;

use crate::sys::{self, Errno};
use crate::{Error, PageSize};

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
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    Error::TooLong { len }
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

/// The page size that the invariant holds for: that of the request, unless the map does not start at a
/// multiple of it. Then one was supplied that is larger than the kernel's.
#[inline]
pub(super) fn fitting(
    page: PageSize,
    base: *mut c_void,
    mapped: usize,
    head: usize,
    len: usize,
) -> PageSize {
    if page.offset_in_page(base.addr()) == 0 {
        page
    } else {
        trim(base, mapped, head, len)
    }
}

/// Gives the page size that the address of a new map allows, and unmaps what its bytes then do not need.
#[cold]
#[inline(never)]
fn trim(base: *mut c_void, mapped: usize, head: usize, len: usize) -> PageSize {
    let bits = u8::try_from(base.addr().trailing_zeros()).unwrap_or(0);
    // Never an error: a pointer that is not null has fewer zeros than a word has bits.
    let page = PageSize::from_bits(bits).unwrap_or(PageSize::KIB_4);
    let before = page.floor(head);
    // At most `mapped`, which is a multiple of a larger page size.
    let after = page.ceil(head.wrapping_add(len.max(1))).unwrap_or(mapped);
    for (start, end) in [(0, before), (after, mapped)] {
        if start < end {
            let first = base.cast::<u8>().wrapping_add(start).cast();
            // SAFETY: pages of the new map, outside those that hold its bytes. An error leaves them
            // mapped, which harms nobody.
            let _ = unsafe { sys::munmap(first, end.wrapping_sub(start)) };
        }
    }
    page
}

/// Lengths to try where the kernel refused one because it cuts a huge page in two: a file on hugetlbfs
/// was mapped, whose page size is not known here.
///
/// They are the next powers of two's multiples. Each is at most what the huge pages of the map take, so
/// memory behind the map is never touched, and the first that the kernel accepts is exactly that.
pub(super) fn huge_lens(mapped: usize) -> impl Iterator<Item = usize> {
    /// The largest huge page of any architecture has 16 GiB.
    const BITS: core::ops::RangeInclusive<u8> = 13..=34;
    BITS.filter_map(move |bits| PageSize::from_bits(bits).ok()?.ceil(mapped))
}

pub(super) fn refused_huge(result: Result<(), Error>) -> bool {
    matches!(
        result,
        Err(Error::Sys {
            errno: Errno::INVAL,
            ..
        })
    )
}

/// munmap(2) of a whole map.
///
/// An error has nowhere to go: Drop cannot return one and must not panic. The only one that is not handled is
/// ENOMEM, if splitting a merged VMA passes the limit on their number; the pages then stay mapped and nothing
/// else is harmed.
///
/// # Safety
///
/// - All pages of a map that nobody uses afterwards.
#[inline]
pub(super) unsafe fn unmap(base: *mut c_void, mapped: usize) {
    // SAFETY: the caller's duty, passed on.
    if unsafe { sys::munmap(base, mapped) } == Err(Errno::INVAL) {
        unmap_huge(base, mapped);
    }
}

/// The part of `unmap` for files on hugetlbfs.
#[cold]
#[inline(never)]
fn unmap_huge(base: *mut c_void, mapped: usize) {
    for len in huge_lens(mapped) {
        // SAFETY: as in `drop`, whose pages these are; see `huge_lens`.
        if unsafe { sys::munmap(base, len) } != Err(Errno::INVAL) {
            break;
        }
    }
}
