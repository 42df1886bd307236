//! [`Word`]: the widths that the machine reads and writes at once.

use core::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicUsize,
    Ordering, fence,
};
#[cfg(target_has_atomic = "64")]
use core::sync::atomic::{AtomicI64, AtomicU64};

use crate::protection::Access;

/// A number that is read and written at once: the integers of 1, 2, 4 and, where the machine can, 8 bytes.
pub trait Word: Copy + sealed::Sealed {}

pub(super) mod sealed {
    use crate::protection::Access;

    /// The atomic instructions. The pointer is mapped, aligned for `Atomic`, and may be read and written as the
    /// instruction does.
    #[allow(
        clippy::missing_safety_doc,
        unreachable_pub,
        unnameable_types,
        reason = "one rule for all, above; nobody outside can name it"
    )]
    pub trait Sealed: Sized {
        type Atomic;
        const LOAD_NEEDS: Access;

        unsafe fn load(word: *mut Self) -> Self;
        unsafe fn load_acquire(word: *mut Self) -> Self;
        unsafe fn store(word: *mut Self, value: Self);
        unsafe fn store_release(word: *mut Self, value: Self);
        unsafe fn swap(word: *mut Self, value: Self) -> Self;
        unsafe fn compare_exchange(word: *mut Self, current: Self, new: Self)
        -> Result<Self, Self>;
        unsafe fn fetch_add(word: *mut Self, value: Self) -> Self;
        unsafe fn fetch_sub(word: *mut Self, value: Self) -> Self;
        unsafe fn fetch_and(word: *mut Self, value: Self) -> Self;
        unsafe fn fetch_or(word: *mut Self, value: Self) -> Self;
        unsafe fn fetch_xor(word: *mut Self, value: Self) -> Self;
    }
}

/// core promises relaxed loads of memory that is read-only up to the width of a pointer.
const fn load_needs(width: usize) -> Access {
    if width <= size_of::<usize>() {
        Access::READ
    } else {
        Access::READ_WRITE
    }
}

macro_rules! words {
    ($($word:ident $atomic:ident)*) => {$(
        impl Word for $word {}

        impl sealed::Sealed for $word {
            type Atomic = $atomic;
            const LOAD_NEEDS: Access = load_needs(size_of::<$word>());

            #[inline]
            unsafe fn load(word: *mut Self) -> Self {
                // SAFETY: the caller's duty.
                unsafe { $atomic::from_ptr(word) }.load(Ordering::Relaxed)
            }

            #[inline]
            unsafe fn load_acquire(word: *mut Self) -> Self {
                // No load of another order: on ARMv5 it is a store where the word is 0, which read-only memory does not take.
                // SAFETY: the caller's duty.
                let value = unsafe { $atomic::from_ptr(word) }.load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                value
            }

            #[inline]
            unsafe fn store(word: *mut Self, value: Self) {
                // SAFETY: the caller's duty.
                unsafe { $atomic::from_ptr(word) }.store(value, Ordering::Relaxed);
            }

            #[inline]
            unsafe fn store_release(word: *mut Self, value: Self) {
                // SAFETY: the caller's duty.
                unsafe { $atomic::from_ptr(word) }.store(value, Ordering::Release);
            }

            #[inline]
            unsafe fn swap(word: *mut Self, value: Self) -> Self {
                // SAFETY: the caller's duty.
                unsafe { $atomic::from_ptr(word) }.swap(value, Ordering::AcqRel)
            }

            #[inline]
            unsafe fn compare_exchange(
                word: *mut Self,
                current: Self,
                new: Self,
            ) -> Result<Self, Self> {
                let (done, failed) = (Ordering::AcqRel, Ordering::Acquire);
                // SAFETY: the caller's duty.
                unsafe { $atomic::from_ptr(word) }.compare_exchange(current, new, done, failed)
            }

            words!(fetch $atomic: fetch_add fetch_sub fetch_and fetch_or fetch_xor);
        }
    )*};
    (fetch $atomic:ident: $($name:ident)*) => {$(
        #[inline]
        unsafe fn $name(word: *mut Self, value: Self) -> Self {
            // SAFETY: the caller's duty.
            unsafe { $atomic::from_ptr(word) }.$name(value, Ordering::AcqRel)
        }
    )*};
}

words! {
    u8 AtomicU8
    u16 AtomicU16
    u32 AtomicU32
    usize AtomicUsize
    i8 AtomicI8
    i16 AtomicI16
    i32 AtomicI32
    isize AtomicIsize
}
#[cfg(target_has_atomic = "64")]
words! {
    u64 AtomicU64
    i64 AtomicI64
}
