//! [`Mmap`], [`MmapMut`] and [`MmapRaw`]: memmap2's calls with `io::Result`, over the maps of `rawmap-core`.

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
/// The constructors for files are `unsafe`: a change of the file by anybody else, while a slice
/// lives, is undefined behaviour, and an access past the end of a file that got shorter raises
/// SIGBUS. [`map_if_safe`](Self::map_if_safe) takes only files that cannot change. Use [`MmapRaw`]
/// for files that others may write.
///
/// # Examples
///
/// ```
/// use rawmap::Mmap;
/// # use std::io::Write;
///
/// # let mut file = tempfile::tempfile()?;
/// # file.write_all(b"config")?;
/// // SAFETY: nobody else writes this file.
/// let map = unsafe { Mmap::map(&file)? };
/// assert!(map.starts_with(b"conf"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Mmap {
    map: core::Mmap,
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
/// use rawmap::MmapMut;
///
/// # let file = tempfile::tempfile()?;
/// # file.set_len(8192)?;
/// // SAFETY: nobody else uses this file.
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

/// The calls that every kind of map has.
macro_rules! common {
    ($map:ident) => {
        impl $map {
            /// Tells the kernel how the map will be used.
            ///
            /// # Errors
            ///
            /// - What the kernel refuses: it does not know the advice, or it does not fit this map
            ///   (`EINVAL`), or a page cannot be had (`ENOMEM`, `EFAULT`, `EIO`).
            ///
            /// # References
            ///
            /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
            #[inline]
            pub fn advise(&self, advice: Advice) -> io::Result<()> {
                Ok(self.map.advise(advice)?)
            }

            /// Tells the kernel how `len` bytes at `offset` will be used, rounded out to whole
            /// pages.
            ///
            /// Some advice splits the map into several VMAs, and each then costs a flush of the
            /// device: see [`rawmap_core::MmapRaw::advise_range`].
            ///
            /// # Errors
            ///
            /// - `InvalidInput`: the range ends past the map; nothing was advised.
            /// - What the kernel refuses, as for [`advise`](Self::advise).
            #[inline]
            pub fn advise_range(
                &self,
                advice: Advice,
                offset: usize,
                len: usize,
            ) -> io::Result<()> {
                Ok(self.map.advise_range(advice, offset, len)?)
            }

            /// Gives advice that can change what the memory holds.
            ///
            /// # Safety
            ///
            /// - No reference to the map's bytes lives, or the advice leaves the bytes as they are.
            /// - For [`UncheckedAdvice::Remove`]: no other map of the file, in any process, has a
            ///   reference to the bytes.
            ///
            /// # Errors
            ///
            /// - What the kernel refuses, as for [`advise`](Self::advise).
            #[inline]
            #[allow(unsafe_code, reason = "memmap2's signature; passes the duty on")]
            pub unsafe fn unchecked_advise(&self, advice: UncheckedAdvice) -> io::Result<()> {
                // SAFETY: the caller's duty, passed on.
                unsafe { self.map.unchecked_advise(advice)? };
                Ok(())
            }

            /// Gives advice that can change what the memory holds, for `len` bytes at `offset`,
            /// rounded out to whole pages: bytes around the range change too.
            ///
            /// # Safety
            ///
            /// - As for [`unchecked_advise`](Self::unchecked_advise).
            ///
            /// # Errors
            ///
            /// - `InvalidInput`: the range ends past the map; nothing was advised.
            /// - What the kernel refuses, as for [`advise`](Self::advise).
            #[inline]
            #[allow(unsafe_code, reason = "memmap2's signature; passes the duty on")]
            pub unsafe fn unchecked_advise_range(
                &self,
                advice: UncheckedAdvice,
                offset: usize,
                len: usize,
            ) -> io::Result<()> {
                // SAFETY: the caller's duty, passed on.
                unsafe { self.map.unchecked_advise_range(advice, offset, len)? };
                Ok(())
            }

            /// Reads the map into memory and keeps it there.
            ///
            /// # Errors
            ///
            /// - What the kernel refuses: past the limit `RLIMIT_MEMLOCK` (`ENOMEM`, `EPERM`), or a
            ///   page cannot be read (`EAGAIN`, `ENOMEM`).
            ///
            /// # References
            ///
            /// - [mlock(2)](https://man7.org/linux/man-pages/man2/mlock.2.html)
            #[inline]
            pub fn lock(&self) -> io::Result<()> {
                Ok(self.map.lock()?)
            }

            /// Undoes every [`lock`](Self::lock).
            ///
            /// # Errors
            ///
            /// - What the kernel refuses.
            #[inline]
            pub fn unlock(&self) -> io::Result<()> {
                Ok(self.map.unlock()?)
            }

            /// Changes the length of the map to `new_len` bytes. The file stays as it is, and on an
            /// error the map does too.
            ///
            /// # Safety
            ///
            /// - Bytes past the end of the file are not accessed: that raises SIGBUS.
            /// - Pointers into the map are not used afterwards, if it may move or shrinks.
            ///
            /// # Errors
            ///
            /// - `InvalidData`: `new_len` does not fit in an `isize`.
            /// - What the kernel refuses: there is no room at this address and the options do not
            ///   allow to move (`ENOMEM`), or the map is more than one VMA (`EFAULT`).
            ///
            /// # References
            ///
            /// - [mremap(2)](https://man7.org/linux/man-pages/man2/mremap.2.html)
            #[inline]
            #[allow(unsafe_code, reason = "memmap2's signature; passes the duty on")]
            pub unsafe fn remap(
                &mut self,
                new_len: usize,
                options: RemapOptions,
            ) -> io::Result<()> {
                // SAFETY: the caller's duty, passed on.
                unsafe { self.map.remap(new_len, options)? };
                Ok(())
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
            /// Writes every changed byte to the medium and waits.
            ///
            /// When this returns `Ok`, the bytes survive a power cut. A signal that interrupts the
            /// wait does not end it. A private map stores nothing: it is `Ok`, and there is nothing
            /// to survive. The file's times need not be stored.
            ///
            /// # Errors
            ///
            /// - Write-back failed (`EIO`, `ENOSPC`, ...), now or in a flush before: every flush fails
            ///   until [`retry_flush`](Self::retry_flush) succeeds. See there.
            ///
            /// # References
            ///
            /// - [msync(2)](https://man7.org/linux/man-pages/man2/msync.2.html)
            #[inline]
            pub fn flush(&self) -> io::Result<()> {
                Ok(self.map.flush()?)
            }

            /// Starts to write every changed byte to the medium, if the map keeps its file; see
            /// [`MmapOptions::keep_file`]. It does not wait, and only a later
            /// [`flush`](Self::flush) promises anything.
            ///
            /// A map that keeps none asks by `msync` with `MS_ASYNC`, and on Linux that starts nothing:
            /// the bytes are written in the kernel's own time, about 30 seconds later.
            ///
            /// # Errors
            ///
            /// - As for [`flush`](Self::flush).
            #[inline]
            pub fn flush_async(&self) -> io::Result<()> {
                self.flush_async_range(0, self.raw().len())
            }

            /// Like [`flush`](Self::flush), for `len` bytes at `offset`, rounded out to whole pages.
            /// 0 bytes store nothing.
            ///
            /// # Errors
            ///
            /// - `InvalidInput`: the range ends past the map; nothing was stored.
            /// - As for [`flush`](Self::flush).
            #[inline]
            pub fn flush_range(&self, offset: usize, len: usize) -> io::Result<()> {
                Ok(self.map.flush_range(offset, len)?)
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
                    Some(file) => self.raw().start_writeback(file, offset, len)?,
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

            /// Acknowledges a loss of a contained map, and makes all of it the file's again. See
            /// [`rawmap_core::MmapRaw::recover`].
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

    /// Tells whether the length is 0.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    const fn raw(&self) -> &core::MmapRaw {
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
    /// As for [`MmapOptions::map`].
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
    /// As for [`MmapOptions::map_if_safe`].
    #[inline]
    pub fn map_if_safe<T: MmapAsRawDesc>(file: T) -> Result<Self, MapIfSafeError> {
        MmapOptions::new().map_if_safe(file)
    }

    /// Makes the map writable. The file must have been opened for writing, unless the map is a
    /// private copy.
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
    /// On ARM and RISC-V the instruction cache must be told; see
    /// [`rawmap_core::MmapMut::make_exec`].
    ///
    /// # Errors
    ///
    /// - What the kernel refuses: the file system is mounted `noexec` (`EACCES`). The map is gone
    ///   then.
    #[inline]
    pub fn make_exec(self) -> io::Result<Mmap> {
        Ok(self.map.make_exec()?.into())
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
        &mut self.map
    }
}

impl MmapMut {
    const fn raw(&self) -> &core::MmapRaw {
        self.map.as_raw()
    }

    /// Flushes once more after a flush failed, and what the kernel then took for stored; see
    /// [`rawmap_core::MmapRaw::retry_flush`].
    ///
    /// # Errors
    ///
    /// - As for [`rawmap_core::MmapRaw::retry_flush`].
    pub fn retry_flush(&self) -> Result<(), Error> {
        self.raw().retry_flush()
    }

    /// Returns the error number of the flush that failed, until a [`retry_flush`](Self::retry_flush) succeeds.
    #[must_use]
    pub fn failed(&self) -> Option<Errno> {
        self.raw().failed()
    }

    /// Extends the file and the map together, or leaves both as they were. `file` is the one that is mapped. See
    /// [`rawmap_core::MmapRaw::grow`].
    ///
    /// # Errors
    ///
    /// - As for [`rawmap_core::MmapRaw::grow`].
    pub fn grow<F: AsFd>(&mut self, file: F, new_len: usize) -> Result<(), Error> {
        self.map.grow(file, new_len)
    }
}

impl core::adapter::Backing for MmapMut {
    #[inline]
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        self.map.edit(offset, len)
    }

    #[inline]
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        self.map.commit(offset, len)
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.map.commit_all()
    }
}
