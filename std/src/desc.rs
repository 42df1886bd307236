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

use std::any::TypeId;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

/// Hands a descriptor to a constructor. Made by [`MmapAsRawDesc`].
pub struct MmapRawDescriptor {
    file: RawFd,
}

impl MmapRawDescriptor {
    /// Of a number that may be none. The kernel gives other meanings to some negative ones, and -1 is not a value of
    /// `BorrowedFd`: they become another one that no file has, as a table of open files is not as long.
    #[inline]
    const fn unproved(number: RawFd) -> Self {
        let file = if number < 0 { RawFd::MAX } else { number };
        Self { file }
    }

    #[inline]
    pub(crate) const fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: not -1. That it stays open is up to the caller. If it
        // does not, a call gets EBADF or another file; the borrow ends with the constructor, and the one
        // constructor whose soundness rests on which file it is (`map_if_safe`) takes a duplicate.
        unsafe { BorrowedFd::borrow_raw(self.file) }
    }
}

impl fmt::Debug for MmapRawDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MmapRawDescriptor")
            .field(&self.file)
            .finish()
    }
}

/// Names what a map can be made of: a reference to anything with a descriptor, such as `&File`, or a bare `RawFd`.
///
/// memmap2 takes any type that gives a number. That proves nothing about the file, so a [`Shared`](crate::Shared) view of
/// such a map only reads, unless the type is `File`, `OwnedFd`, `BorrowedFd` or a reference, `Arc`, `Box` or `Rc`
/// of one. Others are passed as `&x.as_fd()`.
pub trait MmapAsRawDesc {
    /// Returns the descriptor.
    fn as_raw_desc(&self) -> MmapRawDescriptor;
}

impl MmapAsRawDesc for RawFd {
    #[inline]
    fn as_raw_desc(&self) -> MmapRawDescriptor {
        MmapRawDescriptor::unproved(*self)
    }
}

impl<T: AsRawFd> MmapAsRawDesc for &T {
    #[inline]
    fn as_raw_desc(&self) -> MmapRawDescriptor {
        let file = self.as_raw_fd();
        if is_owned::<Self>() {
            return MmapRawDescriptor { file };
        }
        MmapRawDescriptor::unproved(file)
    }
}

/// Returns whether what a constructor is given refers to one of std's types that own a file, or borrow one: then safe code
/// may store through a map of it. A bare number may be a file of another module's, and so may what a type of the caller's
/// gives as its descriptor, which may be left from a file that was closed.
#[inline]
pub(crate) fn is_owned<T>() -> bool {
    let given = typeid::of::<T>();
    let is = |types: [TypeId; 5]| types.contains(&given);
    is(types::<File>()) || is(types::<OwnedFd>()) || is(types::<BorrowedFd<'static>>())
}

#[inline]
fn types<T: 'static>() -> [TypeId; 5] {
    [
        TypeId::of::<&'static T>(),
        TypeId::of::<&'static &'static T>(),
        TypeId::of::<&'static Arc<T>>(),
        TypeId::of::<&'static Box<T>>(),
        TypeId::of::<&'static Rc<T>>(),
    ]
}
