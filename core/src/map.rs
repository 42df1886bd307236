//! [`Mmap`] and [`MmapMut`]: slices over a [`MmapRaw`].
//!
//! # Safety
//!
//! A slice needs memory that is mapped, initialised and changed by nothing else while it lives. The first two are the
//! invariant of `MmapRaw`: mapped pages hold the file's bytes or zeros. The third is the duty of the caller of the
//! `unsafe` constructor; anonymous private memory and immutable files have no other writer. Every call below that could
//! move, change or unmap the bytes takes `&mut self` or `self`, so no slice is left.

#![allow(
    unsafe_code,
    reason = "the two slices, and calls that pass their caller's duty on"
)]

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::slice;

use crate::advice::{Advice, UncheckedAdvice};
use crate::error::{Error, Refused};
use crate::protection::Protection;
use crate::raw::{MmapRaw, RemapOptions};
use crate::sys::AsFd;

/// A read-only map that dereferences to `&[u8]`.
///
/// It stays valid after the file is closed, and is unmapped when dropped.
///
/// # Safety
///
/// The constructors for files are `unsafe`. A change of the file by any other means, while a slice lives, is
/// undefined behaviour. An access past the end of a file that got shorter raises SIGBUS.
/// [`MmapOptions::map_if_safe`](crate::MmapOptions::map_if_safe) takes only files that cannot change. Use [`MmapRaw`] for files that others may write.
///
/// # Examples
///
/// ```
/// use rawmap_core::MmapOptions;
///
/// let map = MmapOptions::new().len(100).map_anon()?.make_read_only()?;
/// assert_eq!(&map[..], [0; 100]);
/// # Ok::<(), rawmap_core::Error>(())
/// ```
pub struct Mmap {
    raw: MmapRaw,
}

/// A writable map that dereferences to `&mut [u8]`.
///
/// It stays valid after the file is closed, and is unmapped when dropped. What was not flushed by
/// then reaches the file in the kernel's own time.
///
/// # Safety
///
/// As for [`Mmap`].
///
/// # Examples
///
/// ```
/// use rawmap_core::MmapMut;
///
/// let mut map = MmapMut::map_anon(8192)?;
/// map[5000] = 1;
/// assert_eq!(map.iter().filter(|byte| **byte == 1).count(), 1);
/// # Ok::<(), rawmap_core::Error>(())
/// ```
pub struct MmapMut {
    raw: MmapRaw,
}

/// Calls that are passed on to [`MmapRaw`].
macro_rules! forward {
    ($($what:literal $name:ident($($argument:ident: $type:ty),*))*) => {$(
        #[doc = concat!($what, " See [`MmapRaw::", stringify!($name), "`].")]
        ///
        /// # Errors
        ///
        /// - As there.
        #[inline]
        pub fn $name(&self $(, $argument: $type)*) -> Result<(), Error> {
            self.raw.$name($($argument),*)
        }
    )*};
    (unsafe $($what:literal $name:ident($this:ty $(, $argument:ident: $type:ty)*))*) => {$(
        #[doc = concat!($what, " See [`MmapRaw::", stringify!($name), "`].")]
        ///
        /// # Safety
        ///
        /// - As there.
        ///
        /// # Errors
        ///
        /// - As there.
        #[inline]
        pub unsafe fn $name(self: $this $(, $argument: $type)*) -> Result<(), Error> {
            // SAFETY: the caller's duty, passed on.
            unsafe { self.raw.$name($($argument),*) }
        }
    )*};
}

/// The calls that both kinds of map have.
macro_rules! common {
    ($map:ident) => {
        impl $map {
            forward! {
                "Tells the kernel how the map will be used." advise(advice: Advice)
                "Tells the kernel how `len` bytes at `offset` will be used."
                advise_range(advice: Advice, offset: usize, len: usize)
                "Reads the map into memory and keeps it there." lock()
                "Undoes every [`lock`](Self::lock)." unlock()
            }
            forward! { unsafe
                "Gives advice that can change what the memory holds."
                unchecked_advise(&Self, advice: UncheckedAdvice)
                "Gives advice that can change what the memory holds, for `len` bytes at `offset`."
                unchecked_advise_range(&Self, advice: UncheckedAdvice, offset: usize, len: usize)
                "Says whether a child made by fork(2) finds zeros here." wipe_on_fork(&Self, wipe: bool)
                "Changes the length of the map to `new_len` bytes."
                remap(&mut Self, new_len: usize, options: RemapOptions)
            }

            /// Acknowledges a loss, and makes all of a contained map the file's again. See [`MmapRaw::recover`].
            ///
            /// # Safety
            ///
            /// - The file is the one that is mapped.
            ///
            /// # Errors
            ///
            /// - [`Error::NoFile`] and [`Error::Sys`]: see [`MmapRaw::recover`].
            #[cfg(feature = "fault")]
            pub unsafe fn recover<F: AsFd>(&mut self, file: F) -> Result<(), Error> {
                self.raw.recover(file)
            }

            /// Returns the map without its slices, for the calls that only [`MmapRaw`] has. Only by
            /// reference: an owner of the `MmapRaw` could protect or move the bytes.
            #[must_use]
            #[inline]
            pub const fn as_raw(&self) -> &MmapRaw {
                &self.raw
            }

            /// # Safety
            ///
            /// - No other code changes the mapped bytes while a slice of them lives.
            /// - The protection is what the type's slices need.
            #[inline]
            pub(crate) const unsafe fn from_raw(raw: MmapRaw) -> Self {
                Self {
                    raw: raw.lend(true),
                }
            }
        }

        impl Deref for $map {
            type Target = [u8];

            #[inline]
            fn deref(&self) -> &[u8] {
                // SAFETY: mapped and initialised by the invariant of `MmapRaw`, at most isize::MAX
                // bytes; changed by nobody else by the duty of the map's maker.
                unsafe { slice::from_raw_parts(self.raw.as_ptr(), self.raw.len()) }
            }
        }

        impl AsRef<[u8]> for $map {
            #[inline]
            fn as_ref(&self) -> &[u8] {
                self
            }
        }

        impl From<$map> for MmapRaw {
            #[inline]
            fn from(map: $map) -> Self {
                map.raw.lend(false)
            }
        }

        impl fmt::Debug for $map {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($map))
                    .field("ptr", &self.raw.as_ptr())
                    .field("len", &self.raw.len())
                    .finish()
            }
        }
    };
}

common!(Mmap);
common!(MmapMut);

/// Another protection, and so another type.
macro_rules! make {
    ($($what:literal $name:ident($protection:ident) -> $map:ident)*) => {$(
        #[doc = $what]
        ///
        /// # Errors
        ///
        /// - [`Error::Sys`]: see [`MmapRaw::protect`]. [`Refused`] gives the map back.
        #[inline]
        pub fn $name(mut self) -> Result<$map, Refused<Self>> {
            match self.raw.protect(Protection::$protection) {
                Ok(()) => Ok($map { raw: self.raw }),
                Err(error) => Err(Refused { error, map: self }),
            }
        }
    )*};
}

impl Mmap {
    make! {
        "`mprotect` -- makes the map writable. The file must have been opened for writing, unless the map is a private copy."
        make_mut(ReadWrite) -> MmapMut
    }
}

impl MmapMut {
    forward! {
        "Writes every changed byte to stable storage and waits." flush()
        "Starts nothing on Linux; [`MmapRaw::start_writeback`] does." flush_async()
        "Writes `len` bytes at `offset` to stable storage and waits." flush_range(offset: usize, len: usize)
        "Starts nothing on Linux; [`MmapRaw::start_writeback`] does."
        flush_async_range(offset: usize, len: usize)
    }

    /// Extends the file and the map together. See [`MmapRaw::grow`].
    ///
    /// # Safety
    ///
    /// - The file is the one that is mapped. No other map lends bytes of it from the old end on.
    ///
    /// # Errors
    ///
    /// - As for [`MmapRaw::grow`].
    #[inline]
    pub unsafe fn grow<F: AsFd>(&mut self, file: F, new_len: usize) -> Result<(), Error> {
        self.raw.grow(file, new_len)
    }

    make! {
        "`mprotect` -- makes the map read-only." make_read_only(ReadOnly) -> Mmap
        "`mprotect` -- makes the map readable and executable, and no longer writable.\n\nOn ARM and RISC-V, instructions
        that were written are seen only after the instruction cache was told; that is the caller's part
        (`__builtin___clear_cache` in C, `fence.i` or `riscv_flush_icache(2)` on RISC-V)."
        make_exec(ReadExec) -> Mmap
    }
}

impl DerefMut for MmapMut {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; writable by construction, and `&mut self` makes it the only slice.
        unsafe { slice::from_raw_parts_mut(self.raw.as_mut_ptr(), self.raw.len()) }
    }
}

impl AsMut<[u8]> for MmapMut {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}
