//! [`Mmap`], [`MmapMut`] and [`MmapRaw`]: memmap2's calls with `io::Result`, over the maps of `rawmap-core`.

mod backing;

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;

use rawmap_core::{self as core, Advice, AsFd, Errno, Error, RemapOptions, UncheckedAdvice};

use crate::desc::MmapAsRawDesc;
use crate::options::{MapIfSafeError, MmapOptions};

/// A read-only map that dereferences to `&[u8]`.
///
/// It stays valid after the file is closed, and is unmapped when dropped.
///
/// # Safety
///
/// The constructors for files are `unsafe`. A change of the file by any other means, while a slice lives, is
/// undefined behaviour. An access past the end of a file that got shorter raises SIGBUS. [`map_if_safe`](Self::map_if_safe)
/// takes only files that cannot change. Use [`MmapRaw`] for files that others may write.
///
/// # Examples
///
/// ```
/// use rawmap::Mmap;
/// # use std::io::Write;
///
/// # let mut file = tempfile::tempfile()?;
/// # file.write_all(b"config")?;
/// // SAFETY: nothing else writes this file.
/// let map = unsafe { Mmap::map(&file)? };
/// assert!(map.starts_with(b"conf"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Mmap {
    map: core::Mmap,
}

/// A writable map that dereferences to `&mut [u8]`.
///
/// It stays valid after the file is closed. What was not flushed when it is dropped reaches the file in the kernel's own time.
///
/// # Examples
///
/// ```
/// use rawmap::MmapMut;
///
/// # let file = tempfile::tempfile()?;
/// # file.set_len(8192)?;
/// // SAFETY: nothing else uses this file.
/// let mut map = unsafe { MmapMut::map_mut(&file)? };
/// map[5000..5005].copy_from_slice(b"state");
/// map.flush_range(5000, 5)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct MmapMut {
    map: core::MmapMut,
    // With `keep_file`.
    file: Option<OwnedFd>,
}

/// A writable map without slices: raw pointers only.
///
/// For memory that another process, a device or the kernel may change at any time. It dereferences to
/// [`rawmap_core::MmapRaw`], which has all calls beyond memmap2's.
///
/// # Examples
///
/// ```
/// use rawmap::MmapRaw;
///
/// # let file = tempfile::tempfile()?;
/// # file.set_len(4096)?;
/// let map = MmapRaw::map_raw(&file)?;
/// // SAFETY: inside the map, and one store that nothing else races with.
/// unsafe { map.as_mut_ptr().add(100).write(1) };
/// map.flush_range(100, 1)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct MmapRaw {
    map: core::MmapRaw,
    // With `keep_file`.
    file: Option<OwnedFd>,
}

/// memmap2's calls that core has, too, with `io::Result`.
macro_rules! forward {
    ($($what:literal $name:ident($($argument:ident: $type:ty),*))*) => {$(
        #[doc = concat!($what, " See [`rawmap_core::MmapRaw::", stringify!($name), "`].")]
        ///
        /// # Errors
        ///
        /// - As there, as an `io::Error`: [`Error::from_io`] gives the numbers.
        #[inline]
        pub fn $name(&self $(, $argument: $type)*) -> io::Result<()> {
            Ok(self.map.$name($($argument),*)?)
        }
    )*};
    (unsafe $($what:literal $name:ident($this:ty $(, $argument:ident: $type:ty)*))*) => {$(
        #[doc = concat!($what, " See [`rawmap_core::MmapRaw::", stringify!($name), "`].")]
        ///
        /// # Safety
        ///
        /// - As there.
        ///
        /// # Errors
        ///
        /// - As there, as an `io::Error`: [`Error::from_io`] gives the numbers.
        #[inline]
        #[allow(unsafe_code, reason = "memmap2's signature; passes the duty on")]
        pub unsafe fn $name(self: $this $(, $argument: $type)*) -> io::Result<()> {
            // SAFETY: the caller's duty, passed on.
            unsafe { self.map.$name($($argument),*)? };
            Ok(())
        }
    )*};
}

/// The calls that every kind of map has.
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
                "Changes the length of the map to `new_len` bytes."
                remap(&mut Self, new_len: usize, options: RemapOptions)
            }
        }

        impl fmt::Debug for $map {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.map, f)
            }
        }
    };
}

/// From core's map, and to it.
macro_rules! convert {
    ($map:ident $($file:ident)?) => {
        impl From<core::$map> for $map {
            #[inline]
            fn from(map: core::$map) -> Self {
                Self { map, $($file: None)? }
            }
        }

        /// A file that was kept is closed.
        impl From<$map> for core::$map {
            #[inline]
            fn from(map: $map) -> Self {
                map.map
            }
        }
    };
}

/// The calls of maps that can be written.
macro_rules! flush {
    ($map:ident) => {
        impl $map {
            forward! {
                "Writes every changed byte to stable storage and waits: it survives a power cut." flush()
                "Writes `len` bytes at `offset` to stable storage and waits, rounded out to whole pages."
                flush_range(offset: usize, len: usize)
            }

            /// Starts to write every changed byte to stable storage, if the map keeps its file; see
            /// [`MmapOptions::keep_file`]. It does not wait: only a later [`flush`](Self::flush) promises anything.
            ///
            /// A map that keeps none asks by `msync` with `MS_ASYNC`, and on Linux that starts nothing:
            /// the bytes are written in the kernel's own time, about 30 seconds later.
            ///
            /// # Errors
            ///
            /// - As for [`flush`](Self::flush).
            #[inline]
            pub fn flush_async(&self) -> io::Result<()> {
                self.flush_async_range(0, self.as_raw().len())
            }

            /// Like [`flush_async`](Self::flush_async), for `len` bytes at `offset`.
            ///
            /// # Errors
            ///
            /// - `InvalidInput`: the range ends past the map.
            /// - As for [`flush_async`](Self::flush_async).
            #[inline]
            pub fn flush_async_range(&self, offset: usize, len: usize) -> io::Result<()> {
                Ok(match &self.file {
                    Some(file) => self.as_raw().start_writeback(file, offset, len)?,
                    None => self.map.flush_async_range(offset, len)?,
                })
            }

            /// Keeps the file for [`flush_async`](Self::flush_async).
            pub(crate) fn keep(mut self, file: OwnedFd) -> Self {
                self.file = Some(file);
                self
            }
        }
    };
}

/// The traits of maps that are slices.
macro_rules! slice {
    ($map:ident) => {
        impl Deref for $map {
            type Target = [u8];

            #[inline]
            fn deref(&self) -> &[u8] {
                &self.map
            }
        }

        impl AsRef<[u8]> for $map {
            #[inline]
            fn as_ref(&self) -> &[u8] {
                &self.map
            }
        }

        impl $map {
            /// Returns the map without its slices, for the calls that memmap2 does not have: prefault, lost, retry.
            #[must_use]
            #[inline]
            pub const fn as_raw(&self) -> &core::MmapRaw {
                self.map.as_raw()
            }

            /// Acknowledges a loss of a contained map, and makes all of it the file's again; see core's `MmapRaw::recover`.
            ///
            /// # Safety
            ///
            /// - The file is the one that is mapped.
            ///
            /// # Errors
            ///
            /// - As for [`rawmap_core::MmapRaw::recover`].
            #[cfg(feature = "fault")]
            #[allow(unsafe_code, reason = "passes the duty on")]
            pub unsafe fn recover<F: AsFd>(&mut self, file: F) -> Result<(), Error> {
                // SAFETY: the caller's duty, passed on.
                unsafe { self.map.recover(file) }
            }
        }

        // SAFETY: the slice stays where it is when the map value moves. `remap` with `may_move` is
        // the exception; it is unsafe, and its caller answers for pointers into the map.
        #[cfg(feature = "stable_deref_trait")]
        #[allow(unsafe_code, reason = "the promise of memmap2's feature")]
        unsafe impl stable_deref_trait::StableDeref for $map {}
    };
}

common!(Mmap);
common!(MmapMut);
common!(MmapRaw);
convert!(Mmap);
convert!(MmapMut file);
convert!(MmapRaw file);
flush!(MmapMut);
flush!(MmapRaw);
slice!(Mmap);
slice!(MmapMut);

impl From<Mmap> for MmapRaw {
    #[inline]
    fn from(map: Mmap) -> Self {
        core::MmapRaw::from(map.map).into()
    }
}

impl From<MmapMut> for MmapRaw {
    #[inline]
    fn from(MmapMut { map, file }: MmapMut) -> Self {
        let map = map.into();
        Self { map, file }
    }
}

impl Deref for MmapRaw {
    type Target = core::MmapRaw;

    #[inline]
    fn deref(&self) -> &core::MmapRaw {
        &self.map
    }
}

impl DerefMut for MmapRaw {
    #[inline]
    fn deref_mut(&mut self) -> &mut core::MmapRaw {
        &mut self.map
    }
}

impl MmapRaw {
    /// Maps a file shared, for reading and writing: `MmapOptions::new().map_raw(file)`.
    ///
    /// # Errors
    ///
    /// As for [`MmapOptions::map_raw`].
    #[inline]
    pub fn map_raw<T: MmapAsRawDesc>(file: T) -> io::Result<Self> {
        MmapOptions::new().map_raw(file)
    }

    /// Returns a pointer to the first byte; see [`rawmap_core::MmapRaw::as_ptr`].
    #[must_use]
    #[inline]
    pub const fn as_ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }

    /// Returns a pointer to the first byte, valid for writes where the map is writable.
    #[must_use]
    #[inline]
    pub const fn as_mut_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Returns the length in bytes, as it was asked for.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.map.len()
    }

    /// Returns whether the length is 0.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    const fn as_raw(&self) -> &core::MmapRaw {
        &self.map
    }
}

impl Mmap {
    /// Maps a file shared, for reading: `MmapOptions::new().map(file)`.
    ///
    /// # Safety
    ///
    /// - As for [`MmapOptions::map`].
    ///
    /// # Errors
    ///
    /// - As there.
    #[inline]
    #[allow(unsafe_code, reason = "memmap2's signature; passes the duty on")]
    pub unsafe fn map<T: MmapAsRawDesc>(file: T) -> io::Result<Self> {
        // SAFETY: the caller's duty, passed on.
        unsafe { MmapOptions::new().map(file) }
    }

    /// Maps a file that cannot change: `MmapOptions::new().map_if_safe(file)`.
    ///
    /// # Errors
    ///
    /// - As there.
    #[inline]
    pub fn map_if_safe<T: MmapAsRawDesc>(file: T) -> Result<Self, MapIfSafeError> {
        MmapOptions::new().map_if_safe(file)
    }

    /// Makes the map writable. The file must have been opened for writing, unless the map is a private copy.
    ///
    /// # Errors
    ///
    /// - What the kernel refuses (`EACCES`). The map is gone then.
    #[inline]
    pub fn make_mut(self) -> io::Result<MmapMut> {
        Ok(self.map.make_mut()?.into())
    }
}

impl MmapMut {
    /// Maps a file shared, for reading and writing: `MmapOptions::new().map_mut(file)`.
    ///
    /// # Safety
    ///
    /// - As for [`MmapOptions::map_mut`].
    ///
    /// # Errors
    ///
    /// As for [`MmapOptions::map_mut`].
    #[inline]
    #[allow(unsafe_code, reason = "memmap2's signature; passes the duty on")]
    pub unsafe fn map_mut<T: MmapAsRawDesc>(file: T) -> io::Result<Self> {
        // SAFETY: the caller's duty, passed on.
        unsafe { MmapOptions::new().map_mut(file) }
    }

    /// Maps `length` bytes of private memory that belongs to no file, all zero.
    ///
    /// # Errors
    ///
    /// As for [`MmapOptions::map_anon`].
    #[inline]
    pub fn map_anon(length: usize) -> io::Result<Self> {
        MmapOptions::new().len(length).map_anon()
    }

    /// Makes the map read-only.
    ///
    /// # Errors
    ///
    /// - What the kernel refuses. The map is gone then.
    #[inline]
    pub fn make_read_only(self) -> io::Result<Mmap> {
        Ok(self.map.make_read_only()?.into())
    }

    /// Makes the map readable and executable, and no longer writable.
    ///
    /// On ARM and RISC-V the instruction cache must be told; see [`rawmap_core::MmapMut::make_exec`].
    ///
    /// # Errors
    ///
    /// - What the kernel refuses: the file system is mounted `noexec` (`EACCES`). The map is gone then.
    #[inline]
    pub fn make_exec(self) -> io::Result<Mmap> {
        Ok(self.map.make_exec()?.into())
    }

    /// Flushes once more after a flush failed. See [`rawmap_core::MmapRaw::retry_flush`].
    ///
    /// # Errors
    ///
    /// - As for [`rawmap_core::MmapRaw::retry_flush`].
    pub fn retry_flush(&self) -> Result<(), Error> {
        self.as_raw().retry_flush()
    }

    /// Returns the error number of the flush that failed, until a [`retry_flush`](Self::retry_flush) succeeds.
    #[must_use]
    pub fn failed(&self) -> Option<Errno> {
        self.as_raw().failed()
    }

    /// Extends the file and the map together. See [`rawmap_core::MmapRaw::grow`].
    ///
    /// # Safety
    ///
    /// - The file is the one that is mapped. No other map lends bytes of it from the old end on.
    ///
    /// # Errors
    ///
    /// - As for [`rawmap_core::MmapRaw::grow`].
    #[allow(unsafe_code, reason = "passes the duty on")]
    pub unsafe fn grow<F: AsFd>(&mut self, file: F, new_len: usize) -> Result<(), Error> {
        // SAFETY: the caller's duty, passed on.
        unsafe { self.map.grow(file, new_len) }
    }
}

impl DerefMut for MmapMut {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

impl AsMut<[u8]> for MmapMut {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}
