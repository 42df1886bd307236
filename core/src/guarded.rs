//! [`Guarded`]: anonymous memory between two pages that raise SIGSEGV.
//!
//! # Safety
//!
//! The memory is private, and only the bytes between the guards are handed out, by borrows of the value that owns them.

#![allow(unsafe_code, reason = "the two slices, inside the own map")]

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::slice;

use crate::advice::Advice;
use crate::error::Error;
use crate::page::PageSize;
use crate::protection::Protection;
use crate::raw::{MmapRaw, Request, check_len, to_u64};
use crate::sys::{self, MapFlags};

/// Private anonymous memory between two guard pages: a stray access before it or behind it raises SIGSEGV, and harms no
/// other memory. For keys, buffers and stacks.
///
/// The guard behind it begins after the last page, which a length that is no multiple of the page size does not fill.
/// The guards are address space and take no memory.
///
/// # Examples
///
/// ```
/// use rawmap_core::Guarded;
///
/// let mut key = Guarded::new(32)?;
/// key.copy_from_slice(&[7; 32]);
/// assert_eq!(key[31], 7);
/// # Ok::<(), rawmap_core::Error>(())
/// ```
pub struct Guarded {
    // Invariant: the first page is a guard, then come `len` bytes, and behind their last page is a guard.
    all: MmapRaw,
    page: PageSize,
    len: usize,
}

impl Guarded {
    /// Maps `len` bytes, all zero.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: memory is short (`ENOMEM`).
    /// - [`Error::TooLong`]: the length and its guards do not fit in an `isize`.
    pub fn new(len: usize) -> Result<Self, Error> {
        let page = sys::page_size()?;
        let inner = page.ceil(check_len(len)?.max(1));
        let all = inner.and_then(|inner| inner.checked_add(page.get())?.checked_add(page.get()));
        let (Some(inner), Some(all)) = (inner, all) else {
            return Err(Error::TooLong { len: to_u64(len) });
        };
        // Whole, so that no other mapping is where the guards are to be.
        let mut all = MmapRaw::new(&Request {
            file: None,
            offset: 0,
            len: check_len(all)?,
            access: Protection::None.access(),
            flags: MapFlags::PRIVATE,
            page,
            supplied: false,
        })?;
        all.protect_range(Protection::ReadWrite, page.get(), inner)?;
        Ok(Self { all, page, len })
    }

    /// `mlock` -- keeps the memory from being written to swap.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: past the limit `RLIMIT_MEMLOCK` (`ENOMEM`, `EPERM`).
    ///
    /// # References
    ///
    /// - [mlock(2)](https://man7.org/linux/man-pages/man2/mlock.2.html)
    pub fn lock(&self) -> Result<(), Error> {
        self.all.lock_range(self.page.get(), self.len)
    }

    /// `madvise` -- tells the kernel how the memory will be used: [`Advice::DontDump`] leaves it out of core dumps.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: see [`MmapRaw::advise`].
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
    pub fn advise(&self, advice: Advice) -> Result<(), Error> {
        self.all.advise_range(advice, self.page.get(), self.len)
    }

    fn start(&self) -> *mut u8 {
        self.all.as_mut_ptr().wrapping_add(self.page.get())
    }
}

impl Deref for Guarded {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: mapped, readable and initialised, by the invariant; changed by no other.
        unsafe { slice::from_raw_parts(self.start(), self.len) }
    }
}

impl DerefMut for Guarded {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; writable, and `&mut self` makes it the only slice.
        unsafe { slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("ptr", &self.as_ptr())
            .field("len", &self.len)
            .finish()
    }
}
