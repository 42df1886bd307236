//! From what the caller calls a file to a descriptor: memmap2's two names for it.
//!
//! # Safety
//!
//! memmap2 takes a bare `RawFd` in safe functions, so a number that is not an open file can get
//! here. It is borrowed for one call; the kernel answers a wrong number with `EBADF`.

#![allow(
    unsafe_code,
    reason = "borrows a bare descriptor, which memmap2's interface takes"
)]

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rawmap_core::Errno;

/// A descriptor on its way into a constructor. Made by [`MmapAsRawDesc`].
pub struct MmapRawDescriptor(RawFd);

impl MmapRawDescriptor {
    /// # Errors
    ///
    /// - `EBADF`: the number is negative. The kernel gives other meanings to some of those, and -1
    ///   is not a value of `BorrowedFd`.
    #[inline]
    pub(crate) fn borrow(&self) -> io::Result<BorrowedFd<'_>> {
        if self.0 < 0 {
            return Err(io::Error::from_raw_os_error(Errno::BADF.raw_os_error()));
        }
        // SAFETY: not -1. That it stays open is up to whoever made the number into a descriptor. If it
        // does not, a call gets EBADF or another file; the borrow ends with the constructor, and the one
        // constructor whose soundness rests on which file it is (`map_if_safe`) takes a duplicate.
        Ok(unsafe { BorrowedFd::borrow_raw(self.0) })
    }
}

impl fmt::Debug for MmapRawDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MmapRawDescriptor").field(&self.0).finish()
    }
}

/// What a map can be made of: a reference to anything with a descriptor, such as `&File`, or a
/// bare `RawFd`.
pub trait MmapAsRawDesc {
    /// Gives the descriptor.
    fn as_raw_desc(&self) -> MmapRawDescriptor;
}

impl MmapAsRawDesc for RawFd {
    #[inline]
    fn as_raw_desc(&self) -> MmapRawDescriptor {
        MmapRawDescriptor(*self)
    }
}

impl<T: AsRawFd> MmapAsRawDesc for &T {
    #[inline]
    fn as_raw_desc(&self) -> MmapRawDescriptor {
        MmapRawDescriptor(self.as_raw_fd())
    }
}
