//! [`MmapOptions`]: the constructors, and [`MapIfSafeError`].

use std::error;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rawmap_core::{self as core, AsFd, Call, Errno, Error, MayChange, PageSize, memfd};

use crate::desc::{MmapAsRawDesc, MmapRawDescriptor, is_owned};
use crate::map::{Mmap, MmapMut, MmapRaw};

/// Says how to map: offset, length and flags. Make one, set what differs from the default, call a
/// `map*` function; it can be used again.
///
/// What an option means for which constructor is in the table of [`rawmap_core::MmapOptions`]; and
/// [`keep_file`](Self::keep_file) is for `map_mut`, `map_raw`, `map_raw_read_only` and `map_raw_sealed`, and refused by others.
///
/// # Examples
///
/// ```
/// use rawmap::MmapOptions;
///
/// # let file = tempfile::tempfile()?;
/// # file.set_len(10_000)?;
/// // 100 bytes of an open file, from byte 5000 on.
/// let map = MmapOptions::new().offset(5000).len(100).map_raw(&file)?;
/// assert_eq!(map.len(), 100);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct MmapOptions {
    core: core::MmapOptions,
    keep_file: bool,
    no_probe_handle: bool,
}

/// Core's options.
macro_rules! setters {
    ($($what:literal $name:ident($($argument:ident: $type:ty)?))*) => {$(
        #[doc = concat!($what, " See [`rawmap_core::MmapOptions::", stringify!($name), "`].")]
        #[inline]
        pub fn $name(&mut self $(, $argument: $type)?) -> &mut Self {
            self.core.$name($($argument)?);
            self
        }
    )*};
}

/// Core's constructors of maps that have no use for their file.
macro_rules! constructors {
    ($($what:literal $name:ident -> $map:ident;)*) => {$(
        #[doc = concat!($what, " See [`rawmap_core::MmapOptions::", stringify!($name), "`].")]
        ///
        /// # Safety
        ///
        /// - As there: the file is neither changed nor truncated while the map is in use.
        ///
        /// # Errors
        ///
        /// - As there, as an `io::Error` of memmap2's kind: [`Error::from_io`] gives the numbers.
        #[inline]
        #[allow(unsafe_code, reason = "memmap2's signature; passes the duty on")]
        pub unsafe fn $name<T: MmapAsRawDesc>(&self, file: T) -> io::Result<$map> {
            // SAFETY: the caller's duty, passed on.
            let map = unsafe { self.ready_without_file()?.$name(file.as_raw_desc().borrow())? };
            Ok(map.into())
        }
    )*};
}

impl MmapOptions {
    /// Starts with the defaults: offset 0, the whole file, no flag.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self {
            core: core::MmapOptions::new(),
            keep_file: false,
            no_probe_handle: false,
        }
    }

    setters! {
        "Starts the map at this byte of the file; default 0." offset(offset: u64)
        "Sets the length of the map in bytes; default: from the offset to the end of the file." len(len: usize)
        "Supplies the page size, so that the kernel is not asked for it." page_size(page: PageSize)
        "`MAP_STACK`, for anonymous maps: memory fit for a thread's stack." stack()
        "`MAP_HUGETLB`, for private anonymous maps: uses huge pages." huge(page_bits: Option<u8>)
        "`MAP_POPULATE`: faults all pages in now." populate()
        "`MAP_NORESERVE`: reserves no swap." no_reserve_swap()
        "For small updates in scattered places: a flush writes pages, and not a megabyte around each byte." scattered()
    }

    /// Keeps a duplicate of the file's descriptor in the map, so that `flush_async` really starts write-back.
    ///
    /// It is a choice, because POSIX has it that closing *any* descriptor of a file drops all
    /// fcntl(2) record locks that the process holds on it: with this option, dropping the map does.
    /// flock(2) and open file description locks stay. `make_read_only` and `make_exec` close it, too. For [`map_mut`](Self::map_mut), [`map_raw`](Self::map_raw),
    /// [`map_raw_read_only`](Self::map_raw_read_only) and [`map_raw_sealed`](Self::map_raw_sealed); others refuse it.
    ///
    /// # Examples
    ///
    /// ```
    /// # let file = tempfile::tempfile()?;
    /// # file.set_len(1 << 20)?;
    /// // SAFETY: nothing else uses this file.
    /// let mut map = unsafe { rawmap::MmapOptions::new().keep_file().map_mut(&file)? };
    /// map.fill(7);
    /// map.flush_async()?; // Write-back starts.
    /// // Other work. Then, with less to wait for:
    /// map.flush()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn keep_file(&mut self) -> &mut Self {
        self.keep_file = true;
        self
    }

    /// Contains SIGBUS: where an access to the map would raise it, the page is replaced by zeros and the map is lost from
    /// there on. See [`rawmap_core::MmapOptions::contained`].
    ///
    /// The constructor installs the handler, if [`fault::install`](crate::fault::install) has not been called. Without one of
    /// the [`fault::CAPACITY`](crate::fault::CAPACITY) places it is `QuotaExceeded`, and nothing is mapped.
    #[cfg(feature = "fault")]
    #[inline]
    pub fn contained(&mut self) -> &mut Self {
        self.core.contained();
        self
    }

    /// The options, with the handler in place that a contained map needs.
    #[allow(
        clippy::inline_always,
        reason = "else the options are not known where a map is made"
    )]
    #[inline(always)]
    fn ready(&self) -> io::Result<&core::MmapOptions> {
        #[cfg(feature = "fault")]
        if self.core.is_contained() {
            crate::fault::install()?;
        }
        Ok(&self.core)
    }

    /// Like `ready`, for a map that has no use for its file.
    #[allow(clippy::inline_always, reason = "as for `ready`")]
    #[inline(always)]
    fn ready_without_file(&self) -> io::Result<&core::MmapOptions> {
        if self.keep_file {
            let option = "keep_file";
            return Err(Error::Option { option }.into());
        }
        self.ready()
    }

    /// Last: if anything else fails, no descriptor is closed, and with it no lock dropped.
    #[allow(clippy::inline_always, reason = "as for `ready`")]
    #[inline(always)]
    fn raw<T>(&self, map: core::MmapRaw, file: &MmapRawDescriptor) -> io::Result<MmapRaw> {
        let map = if is_owned::<T>() {
            map
        } else {
            map.with_views_that_read()
        };
        let map = MmapRaw::from(map);
        if self.keep_file {
            return Ok(map.keep(duplicate(file.borrow())?));
        }
        Ok(map)
    }

    /// Does nothing on Linux; in memmap2 it saves a step on Windows.
    #[inline]
    pub const fn no_probe_handle(&mut self) -> &mut Self {
        self.no_probe_handle = true;
        self
    }

    constructors! {
        "Maps a file shared, for reading." map -> Mmap;
        "Maps a file shared, for reading and executing." map_exec -> Mmap;
        "Maps a private copy of a file, for reading and writing." map_copy -> MmapMut;
        "Maps a private copy of a file, read-only for now." map_copy_read_only -> Mmap;
    }

    /// Maps a file shared, for reading and writing: stores reach the file. See [`rawmap_core::MmapOptions::map_mut`].
    ///
    /// # Safety
    ///
    /// - As there.
    ///
    /// # Errors
    ///
    /// - As there, as an `io::Error`.
    #[inline]
    #[allow(unsafe_code, reason = "memmap2's signature; passes the duty on")]
    pub unsafe fn map_mut<T: MmapAsRawDesc>(&self, file: T) -> io::Result<MmapMut> {
        let desc = file.as_raw_desc();
        // SAFETY: the caller's duty, passed on.
        let map = MmapMut::from(unsafe { self.ready()?.map_mut(desc.borrow())? });
        if self.keep_file {
            return Ok(map.keep(duplicate(desc.borrow())?));
        }
        Ok(map)
    }

    /// Maps a file shared, for reading, if it can be proved that it never changes: a memfd sealed
    /// against writing and shrinking (Linux 3.17), or a file under fs-verity (5.5). Given by a bare number, it is opened and
    /// closed once more, and a close drops the process's record locks (fcntl(2)) on the file.
    ///
    /// # Errors
    ///
    /// - [`not_safe`](MapIfSafeError::not_safe): the file may change, or the map would end past the end of the file.
    /// - [`map_failed`](MapIfSafeError::map_failed): as for [`map`](Self::map).
    ///
    /// # Examples
    ///
    /// ```
    /// use rawmap::MmapOptions;
    ///
    /// # let file = tempfile::tempfile()?;
    /// // An ordinary file can be written by others at any time.
    /// let error = MmapOptions::new().map_if_safe(&file).unwrap_err();
    /// assert!(error.not_safe());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn map_if_safe<T: MmapAsRawDesc>(&self, file: T) -> Result<Mmap, MapIfSafeError> {
        let desc = file.as_raw_desc();
        let failed = |error| MapIfSafeError(Why::MapFailed(error));
        let file = desc.borrow();
        if !memfd::is_immutable(file) {
            // Only to learn the reason, in the order in which memmap2 looks for one. A map that is made
            // all the same, because the number means another file by now, is dropped.
            return match self.core.map_if_safe(file) {
                Err(error) => Err(MapIfSafeError::new(error)),
                // It was another file a moment ago.
                Ok(_) => Err(MapIfSafeError::new(Error::MayChange(MayChange::NoSeals))),
            };
        }
        let map = |file| match self.ready_without_file().map_err(failed)?.map_if_safe(file) {
            Ok(map) => Ok(map.into()),
            Err(error) => Err(MapIfSafeError::new(error)),
        };
        if is_owned::<T>() {
            return map(file);
        }
        // A bare number may mean another file when it is used again. A descriptor of our own does not.
        map(duplicate(file).map_err(failed)?.as_fd())
    }

    /// Maps a file shared, for reading and writing, without slices. Safe, because an access goes
    /// through a raw pointer and is the caller's proof.
    ///
    /// # Errors
    ///
    /// As for [`map_mut`](Self::map_mut).
    #[inline(always)]
    pub fn map_raw<T: MmapAsRawDesc>(&self, file: T) -> io::Result<MmapRaw> {
        let desc = file.as_raw_desc();
        self.raw::<T>(self.ready()?.map_raw(desc.borrow())?, &desc)
    }

    /// Maps a file shared, for reading, without slices. A write through its pointer raises SIGSEGV.
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map).
    #[inline(always)]
    pub fn map_raw_read_only<T: MmapAsRawDesc>(&self, file: T) -> io::Result<MmapRaw> {
        let desc = file.as_raw_desc();
        self.raw::<T>(self.ready()?.map_raw_read_only(desc.borrow())?, &desc)
    }

    /// Maps a file in memory shared, for reading and writing, that no process can shorten: the seal `F_SEAL_SHRINK` is there
    /// or is added. See [`rawmap_core::MmapOptions::map_raw_sealed`].
    ///
    /// # Errors
    ///
    /// - `InvalidInput`, with [`rawmap_core::Error::MayChange`] or [`rawmap_core::Error::OutOfRange`] inside: the seal cannot
    ///   be added, or the map would end past the end of the file.
    /// - As for [`map_raw`](Self::map_raw).
    pub fn map_raw_sealed<F: AsFd>(&self, file: F) -> io::Result<MmapRaw> {
        let file = file.as_fd();
        // First: the seal is for ever.
        let kept = self.keep_file.then(|| duplicate(file)).transpose()?;
        let map = MmapRaw::from(self.ready()?.map_raw_sealed(file)?);
        Ok(match kept {
            Some(kept) => map.keep(kept),
            None => map,
        })
    }

    /// Maps a file in memory shared, for reading, that its maker has sealed with `F_SEAL_SHRINK`. A descriptor that is open for
    /// reading only is enough, and no seal is added. See [`rawmap_core::MmapOptions::map_raw_sealed_read_only`].
    ///
    /// # Errors
    ///
    /// - `InvalidInput`, with [`rawmap_core::Error::MayChange`] or [`rawmap_core::Error::OutOfRange`] inside: the seal is not
    ///   there, or the map would end past the end of the file.
    /// - As for [`map_raw_read_only`](Self::map_raw_read_only).
    pub fn map_raw_sealed_read_only<F: AsFd>(&self, file: F) -> io::Result<MmapRaw> {
        let map = self.ready_without_file()?.map_raw_sealed_read_only(file)?;
        Ok(MmapRaw::from(map))
    }

    /// Maps memory that belongs to no file, all zero, private to this process.
    ///
    /// # Errors
    ///
    /// - What the kernel refuses: memory is short, or there are no huge pages (`ENOMEM`); the
    ///   kernel has no huge pages of this size (`EINVAL`).
    /// - `InvalidData`: the length does not fit in an `isize`.
    ///
    /// # Examples
    ///
    /// ```
    /// use rawmap::MmapOptions;
    ///
    /// let mut map = MmapOptions::new().len(100).map_anon()?;
    /// map.copy_from_slice(&[7; 100]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[inline]
    pub fn map_anon(&self) -> io::Result<MmapMut> {
        let map = self.ready_without_file()?.map_anon()?;
        Ok(map.into())
    }

    /// Maps memory that belongs to no file, all zero, shared with the children that fork(2) makes
    /// from now on; see [`rawmap_core::MmapOptions::map_anon_shared`].
    ///
    /// # Errors
    ///
    /// As for [`map_anon`](Self::map_anon).
    #[inline]
    pub fn map_anon_shared(&self) -> io::Result<MmapRaw> {
        let map = self.ready_without_file()?.map_anon_shared()?;
        Ok(map.into())
    }
}

impl fmt::Debug for MmapOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core
            .debug_fields(&mut f.debug_struct("MmapOptions"))
            .field("keep_file", &self.keep_file)
            .field("no_probe_handle", &self.no_probe_handle)
            .finish()
    }
}

fn duplicate(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let error = |error: io::Error| Error::Sys {
        call: Call::Fcntl,
        errno: Errno::from_io_error(&error).unwrap_or(Errno::BADF),
        offset: 0,
        len: 0,
    };
    Ok(file.try_clone_to_owned().map_err(error)?)
}

/// Tells why [`MmapOptions::map_if_safe`] gave no map.
pub struct MapIfSafeError(Why);

#[derive(Debug)]
enum Why {
    NotSafe(io::Error),
    MapFailed(io::Error),
}

impl MapIfSafeError {
    #[cold]
    fn new(error: Error) -> Self {
        Self(match error {
            // As in memmap2, where the sum wraps.
            Error::OutOfRange { offset, len, .. } if offset.checked_add(len).is_none() => {
                Why::MapFailed(error.into())
            }
            // What has no length of its own has no proof either.
            Error::MayChange(_) | Error::OutOfRange { .. } | Error::NoLength => {
                Why::NotSafe(error.into())
            }
            other => Why::MapFailed(other.into()),
        })
    }

    /// Returns whether this system cannot prove that a file is immutable. Never so on Linux.
    #[must_use]
    pub const fn not_supported(&self) -> bool {
        false
    }

    /// Returns whether the file may change, or is shorter than the map would be.
    #[must_use]
    pub const fn not_safe(&self) -> bool {
        matches!(self.0, Why::NotSafe(_))
    }

    /// Returns whether the map itself failed.
    #[must_use]
    pub const fn map_failed(&self) -> bool {
        matches!(self.0, Why::MapFailed(_))
    }
}

impl error::Error for MapIfSafeError {}

impl fmt::Display for MapIfSafeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::NotSafe(error) | Why::MapFailed(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl fmt::Debug for MapIfSafeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<MapIfSafeError> for io::Error {
    fn from(error: MapIfSafeError) -> Self {
        match error.0 {
            Why::NotSafe(error) | Why::MapFailed(error) => error,
        }
    }
}
