//! [`MmapOptions`]: the only constructor of maps.

mod request;
mod short;

use core::fmt;

use crate::error::Error;
use crate::map::{Mmap, MmapMut};
use crate::memfd;
use crate::page::PageSize;
use crate::protection::Access;
use crate::raw::MmapRaw;
use crate::sys::{self, AsFd, MapFlags};

use self::request::huge_flags;

/// Says how to map: offset, length and flags. Make one, set what differs from the default, call a
/// `map*` function; it can be used again.
///
/// What an option means for which constructor; *refused* is [`Error::Option`], and nothing was mapped:
///
/// | option | files, shared and writable: `map_mut`, `map_raw`, `map_raw_sealed` | other files: `map`, `map_exec`, `map_raw_read_only`, `map_raw_sealed_read_only`, `map_copy`, `map_copy_read_only` | `map_if_safe` | `map_anon` | `map_anon_shared` |
/// |---|---|---|---|---|---|
/// | `offset` | yes | yes | yes | no meaning | no meaning |
/// | `len` | yes | yes | yes | yes | yes |
/// | `page_size` | yes | yes | yes | yes | yes |
/// | `populate`, `no_reserve_swap` | yes | yes | yes | yes | yes |
/// | `stack` | no meaning | no meaning | no meaning | yes | yes |
/// | `huge` | no meaning | no meaning | no meaning | yes | no meaning |
/// | `scattered` | yes | refused | refused | refused | refused |
/// | `contained` | yes | yes | refused | refused | refused |
///
/// *No meaning* is memmap2's way with these options: they change nothing. With `huge`, `page_size` has none, either.
///
/// # Examples
///
/// ```
/// use rawmap_core::MmapOptions;
///
/// let shared_with_children = MmapOptions::new().len(4096).map_anon_shared()?;
/// assert_eq!(shared_with_children.len(), 4096);
/// # Ok::<(), rawmap_core::Error>(())
/// ```
#[derive(Clone, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an independent flag of mmap(2)"
)]
pub struct MmapOptions {
    offset: u64,
    len: Option<usize>,
    huge: Option<u8>,
    stack: bool,
    populate: bool,
    no_reserve_swap: bool,
    scattered: bool,
    #[cfg(feature = "fault")]
    contained: bool,
    page_size: Option<PageSize>,
}

/// What a map of a file is for: shared or a private copy, and the protection.
type Kind = (MapFlags, Access);

const READ: Access = Access::READ;
const READ_WRITE: Access = Access::READ_WRITE;
const READ_EXEC: Access = Access::READ.with(Access::EXEC);

/// The constructors whose maps hand out slices of a file.
macro_rules! constructors {
    ($($what:literal $name:ident($flags:expr, $access:expr) -> $map:ident;)*) => {$(
        #[doc = $what]
        ///
        /// # Safety
        ///
        /// - The file is not changed while a slice of the map lives, by any process and through any
        ///   other map or handle. No other slice of the bytes lives beside a mutable one.
        /// - The file is not truncated while the map is in use; bytes past its end are not accessed.
        ///
        /// # Errors
        ///
        /// - [`Error::Sys`]: the kernel refused: the file was not opened for reading (`EACCES`), cannot
        ///   be mapped (`ENODEV`), or memory is short (`ENOMEM`).
        /// - [`Error::PastEnd`]: no length was given, and the offset lies past the end of the file.
        /// - [`Error::TooLong`]: the length does not fit in an `isize`.
        /// - [`Error::NoLength`]: no length was given for a file that has none of its own: a character device, an event.
        /// - [`Error::PageSize`]: the supplied page size is not the kernel's, nor that of the file's huge pages.
        /// - [`Error::Option`]: an option means nothing here; see the table above.
        #[inline]
        #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
        pub unsafe fn $name<F: AsFd>(&self, file: F) -> Result<$map, Error> {
            let raw = self.map_file(file.as_fd(), ($flags, $access))?;
            // SAFETY: of the access that the type's slices need; the caller answers for changes by others.
            Ok(unsafe { $map::from_raw(raw) })
        }
    )*};
}

impl MmapOptions {
    /// Starts with the defaults: offset 0, the whole file, no flag.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self {
            offset: 0,
            len: None,
            huge: None,
            page_size: None,
            stack: false,
            populate: false,
            no_reserve_swap: false,
            scattered: false,
            #[cfg(feature = "fault")]
            contained: false,
        }
    }

    #[doc(hidden)] // memmap2's names, for the std crate to add its own.
    pub fn debug_fields<'a, 'f, 'd>(
        &self,
        debug: &'a mut fmt::DebugStruct<'f, 'd>,
    ) -> &'a mut fmt::DebugStruct<'f, 'd> {
        debug
            .field("offset", &self.offset)
            .field("len", &self.len)
            .field("huge", &self.huge)
            .field("stack", &self.stack)
            .field("populate", &self.populate)
            .field("no_reserve_swap", &self.no_reserve_swap)
            .field("scattered", &self.scattered)
            .field("page_size", &self.page_size);
        #[cfg(feature = "fault")]
        debug.field("contained", &self.contained);
        debug
    }

    /// Starts the map at this byte of the file; default 0. Any byte, also inside a page and, on
    /// 32-bit, past 4 GiB. Anonymous maps ignore it.
    #[inline]
    pub const fn offset(&mut self, offset: u64) -> &mut Self {
        self.offset = offset;
        self
    }

    /// Sets the length of the map in bytes; default: from the offset to the end of the file, and 0 for anonymous maps.
    ///
    /// It is not checked against the file: a map may reach past its end, which programs use that map ahead
    /// and then grow the file. An access past the page of the file's last byte raises SIGBUS.
    #[inline]
    pub const fn len(&mut self, len: usize) -> &mut Self {
        self.len = Some(len);
        self
    }

    /// Supplies the page size, so that the kernel is not asked for it.
    ///
    /// For files on hugetlbfs, whose pages are huge, and for programs under a filter of system calls that keeps the kernel
    /// from telling its own. It is the kernel's size, or that of the file's huge pages; any other is [`Error::PageSize`].
    #[inline]
    pub const fn page_size(&mut self, page: PageSize) -> &mut Self {
        self.page_size = Some(page);
        self
    }

    /// `MAP_STACK`, for anonymous maps: memory fit for a thread's stack. From Linux 6.7 on it gets no
    /// transparent huge pages; before, this does nothing. Maps of files ignore it.
    #[doc(alias = "MAP_STACK")]
    #[inline]
    pub const fn stack(&mut self) -> &mut Self {
        self.stack = true;
        self
    }

    /// `MAP_HUGETLB`, for private anonymous maps: use huge pages from the pool that was set aside.
    ///
    /// `page_bits` is the binary logarithm of the huge page size, 21 for 2 MiB; `None` or 0 is the
    /// kernel's default size, and so is any size before Linux 3.8. Pages round up to whole huge ones;
    /// the length stays as given. Maps of files ignore this.
    #[doc(alias = "MAP_HUGETLB")]
    #[inline]
    pub const fn huge(&mut self, page_bits: Option<u8>) -> &mut Self {
        self.huge = match page_bits {
            Some(bits) => Some(bits),
            None => Some(0),
        };
        self
    }

    /// `MAP_POPULATE`: fault all pages in now. Errors are not reported. Where it never ends: [`lock`](MmapRaw::lock).
    #[doc(alias = "MAP_POPULATE")]
    #[inline]
    pub const fn populate(&mut self) -> &mut Self {
        self.populate = true;
        self
    }

    /// `MAP_NORESERVE`: reserve no swap. A later store may then find no memory, and the kernel kills a process.
    #[doc(alias = "MAP_NORESERVE")]
    #[inline]
    pub const fn no_reserve_swap(&mut self) -> &mut Self {
        self.no_reserve_swap = true;
        self
    }

    /// For small updates in scattered places: a flush then writes pages, and not a megabyte around each
    /// changed byte. For shared writable maps of files; others refuse it.
    ///
    /// Linux caches files in large folios, and a file system such as ext4 takes all of a folio for changed when one
    /// byte is stored to. With this option the cached pages of the file are dropped before it is mapped, and the map
    /// gets `MADV_RANDOM` before its first touch, so that they come back one by one. The price: no read-ahead, so the
    /// first touch of each page waits for the device. What is dirty there is stored first; where that fails, or has
    /// failed before and was not told, so does this, and no page is dropped. Pages that another map or lock holds stay
    /// as they are. It is of no use together with [`populate`](Self::populate).
    ///
    /// # Examples
    ///
    /// ```
    /// # use rawmap_core::{AsFd, Error, MmapOptions, MmapRaw};
    /// /// A ring of records, of which each is flushed.
    /// fn ring(file: impl AsFd) -> Result<MmapRaw, Error> {
    ///     MmapOptions::new().scattered().map_raw(file)
    /// }
    /// ```
    #[doc(alias = "MADV_RANDOM")]
    #[inline]
    pub const fn scattered(&mut self) -> &mut Self {
        self.scattered = true;
        self
    }

    /// Contains SIGBUS: where an access to the map would raise it, because the file got shorter, the disk is
    /// full or the page cannot be read, the page is replaced by zeros, and the map is lost from there on.
    ///
    /// The map gets one of [`fault::CAPACITY`](crate::fault::CAPACITY) places in a table; without a free one it is
    /// [`Error::TooManyMaps`], and nothing is mapped. The program has a handler for SIGBUS that calls
    /// [`fault::contain`](crate::fault::contain): core installs none.
    ///
    /// Only for maps of files. [`map_if_safe`](Self::map_if_safe) refuses it, too: its slices may not change. The caller
    /// of another constructor with slices answers for them: no page is lost while a slice of it lives.
    ///
    /// [`lost`](MmapRaw::lost) tells of a loss, and flushes fail with [`Error::Lost`]; each flush makes two more
    /// system calls. An access costs nothing. A process that forks while another thread makes or drops a contained map
    /// may find the critical section taken for ever in the child, as with any lock.
    #[cfg(feature = "fault")]
    #[inline]
    pub const fn contained(&mut self) -> &mut Self {
        self.contained = true;
        self
    }

    /// Returns whether [`contained`](Self::contained) was called.
    #[cfg(feature = "fault")]
    #[must_use]
    #[inline]
    pub const fn is_contained(&self) -> bool {
        self.contained
    }

    constructors! {
        "Maps a file shared, for reading." map(MapFlags::SHARED, READ) -> Mmap;
        "Maps a file shared, for reading and executing. `EPERM` where the file system is mounted `noexec`."
        map_exec(MapFlags::SHARED, READ_EXEC) -> Mmap;
        "Maps a file shared, for reading and writing: stores reach the file. It must be open for both (`EACCES`). A file
        system may have no writable shared maps (`EINVAL` on JFFS2)."
        map_mut(MapFlags::SHARED, READ_WRITE) -> MmapMut;
        "Maps a private copy of a file, for reading and writing: stores stay in this process. Flushing it is `Ok` and stores
        nothing. Pages that were not yet written still show the file."
        map_copy(MapFlags::PRIVATE, READ_WRITE) -> MmapMut;
        "Maps a private copy of a file, read-only for now; [`Mmap::make_mut`] makes it writable although the file may be open
        for reading only."
        map_copy_read_only(MapFlags::PRIVATE, READ) -> Mmap;
    }

    /// Maps a file shared, for reading, if it can be proved that it never changes: a memfd sealed against
    /// writing and shrinking (Linux 3.17), or a file under fs-verity (5.5); see [`memfd::check_immutable`].
    ///
    /// # Errors
    ///
    /// - [`Error::MayChange`]: the file may change.
    /// - [`Error::OutOfRange`]: the map would end past the end of the file.
    /// - As for [`map`](Self::map).
    #[inline]
    #[allow(unsafe_code, reason = "the proof for the slices is made here")]
    pub fn map_if_safe<F: AsFd>(&self, file: F) -> Result<Mmap, Error> {
        let file = file.as_fd();
        let len = self.len_for(file)?;
        memfd::check_immutable(file)?;
        memfd::check_within(file, self.offset, len)?;
        self.refuse_contained()?;
        let raw = self.map_request(Some(file), len, MapFlags::SHARED, READ)?;
        // SAFETY: readable; the checks above rule out a change and an access past the end.
        Ok(unsafe { Mmap::from_raw(raw) })
    }

    /// Maps a file shared, for reading and writing, without slices. Safe, because an access goes
    /// through a raw pointer and is the caller's proof.
    ///
    /// # Errors
    ///
    /// As for [`map_mut`](Self::map_mut).
    #[inline(always)]
    pub fn map_raw<F: AsFd>(&self, file: F) -> Result<MmapRaw, Error> {
        self.map_file(file.as_fd(), (MapFlags::SHARED, READ_WRITE))
    }

    /// Maps a file shared, for reading, without slices. A write through its pointer raises SIGSEGV.
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map).
    #[inline(always)]
    pub fn map_raw_read_only<F: AsFd>(&self, file: F) -> Result<MmapRaw, Error> {
        self.map_file(file.as_fd(), (MapFlags::SHARED, READ))
    }

    /// Maps a file in memory shared, for reading and writing, that no process can shorten: without slices, for memory
    /// that is shared with processes that are not trusted.
    ///
    /// The file is a memfd with the seal `F_SEAL_SHRINK`, or gets it here. Others may write to the bytes at any
    /// moment, also by punching holes, but an access never raises SIGBUS for want of a page of the file. (Huge pages
    /// can still run out, unless the file's were reserved.) See [`memfd::MemfdOptions`] and [`MmapRaw::shared`].
    ///
    /// # Errors
    ///
    /// - [`Error::MayChange`]: the seal is not there and cannot be added: not a memfd, or sealed against seals.
    /// - [`Error::OutOfRange`]: the map would end past the end of the file; of what has no length, such as a pipe, too.
    /// - As for [`map_raw`](Self::map_raw).
    ///
    /// On an error the file is not sealed, unless another process shortened it during the call.
    ///
    /// # References
    ///
    /// - [F_ADD_SEALS](https://man7.org/linux/man-pages/man2/F_GET_SEALS.2const.html), Linux 3.17
    pub fn map_raw_sealed<F: AsFd>(&self, file: F) -> Result<MmapRaw, Error> {
        let file = file.as_fd();
        let len = self.len_for(file)?;
        memfd::check_within(file, self.offset, len)?;
        let map = self.map_request(Some(file), len, MapFlags::SHARED, READ_WRITE)?;
        // Last: the seal is for ever. And looked at again: the file may have become shorter before it.
        memfd::seal_shrink(file)?;
        memfd::check_within(file, self.offset, len)?;
        Ok(map)
    }

    /// Maps a file in memory shared, for reading, that no process can shorten any more: a memfd that its maker has sealed. A
    /// descriptor that is open for reading only is enough, and no seal is added.
    ///
    /// The file has the seal `F_SEAL_SHRINK`, and from its maker perhaps `F_SEAL_GROW`, `F_SEAL_FUTURE_WRITE` and
    /// `F_SEAL_SEAL`, which make the length final and leave the writing to maps that were there before. The maker may write to the
    /// bytes at any moment, but an access never raises SIGBUS for want of a page of the file. (Huge pages can run out, see
    /// [`map_raw_sealed`](Self::map_raw_sealed).) Read by [`MmapRaw::shared`]. A write through its pointer raises SIGSEGV.
    ///
    /// # Errors
    ///
    /// - [`Error::MayChange`]: the seal is not there, which the error names, or the file takes no seals.
    /// - [`Error::OutOfRange`]: the map would end past the end of the file.
    /// - As for [`map_raw_read_only`](Self::map_raw_read_only).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use rawmap_core::MmapOptions;
    /// use rawmap_core::memfd::{MemfdOptions, Seals, add_seals};
    ///
    /// let frames = std::fs::File::from(MemfdOptions::new().create(c"frames")?);
    /// frames.set_len(4096)?;
    /// // Without the seal its maker could shorten it.
    /// assert!(MmapOptions::new().map_raw_sealed_read_only(&frames).is_err());
    /// add_seals(&frames, Seals::SHRINK | Seals::GROW | Seals::SEAL)?;
    /// let map = MmapOptions::new().map_raw_sealed_read_only(&frames)?;
    /// assert_eq!(map.shared().load::<u8>(0)?, 0);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # References
    ///
    /// - [F_GET_SEALS](https://man7.org/linux/man-pages/man2/F_GET_SEALS.2const.html), Linux 3.17; `F_SEAL_FUTURE_WRITE`, Linux 5.1
    pub fn map_raw_sealed_read_only<F: AsFd>(&self, file: F) -> Result<MmapRaw, Error> {
        let file = file.as_fd();
        // First: from then on the file becomes no shorter.
        memfd::check_shrink(file)?;
        let len = self.len_for(file)?;
        memfd::check_within(file, self.offset, len)?;
        self.map_request(Some(file), len, MapFlags::SHARED, READ)
    }

    /// Maps memory that belongs to no file, all zero, private to this process: a child made by
    /// fork(2) gets a copy. For a version without slices, use `MmapRaw::from`.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: memory is short, or there are no huge pages (`ENOMEM`); the kernel has no
    ///   huge pages of this size (`EINVAL`).
    /// - [`Error::TooLong`]: the length does not fit in an `isize`.
    /// - [`Error::HugePage`]: a huge page of this size does not fit in the address space.
    #[inline]
    pub fn map_anon(&self) -> Result<MmapMut, Error> {
        let Some(bits) = self.huge else {
            return self.map_memory(MapFlags::PRIVATE, self.page()?);
        };
        let huge = match bits {
            // A kernel that cannot tell has small pages, or is older than 4.14: the map then finds
            // its huge pages when it is unmapped.
            0 => sys::default_huge_page().or_else(|_| self.page())?,
            bits => PageSize::from_bits(bits)?,
        };
        self.map_memory(MapFlags::PRIVATE.union(huge_flags(bits)), huge)
    }

    /// Maps memory that belongs to no file, all zero, shared with the children that fork(2) makes from now on.
    ///
    /// Without slices, because parent and child are not bound by each other's borrows. To share with
    /// other processes too, map a memfd.
    ///
    /// # Errors
    ///
    /// As for [`map_anon`](Self::map_anon).
    #[inline]
    pub fn map_anon_shared(&self) -> Result<MmapRaw, Error> {
        let flags = MapFlags::SHARED.union(self.stack_flag());
        self.refuse_contained()?;
        self.map_request(None, self.len.unwrap_or(0), flags, READ_WRITE)
    }
}

impl fmt::Debug for MmapOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug_fields(&mut f.debug_struct("MmapOptions"))
            .finish()
    }
}
