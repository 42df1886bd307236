//! [`MmapOptions`]: the only constructor of maps.

use core::fmt;

use crate::raw::{Request, check_len};
use crate::sys::{self, AsFd, BorrowedFd, FileType, MapFlags, ProtFlags};
use crate::{Error, Mmap, MmapMut, MmapRaw, PageSize, memfd};

/// How to map: offset, length and flags. Make one, set what differs from the default, call a
/// `map*` function; it can be used again.
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
    page_size: Option<PageSize>,
}

/// What a map of a file is for: shared or a private copy, and the protection.
type Kind = (MapFlags, ProtFlags);

const READ: ProtFlags = ProtFlags::READ;
const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
const READ_EXEC: ProtFlags = ProtFlags::READ.union(ProtFlags::EXEC);

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
            .field("page_size", &self.page_size)
    }

    /// Starts the map at this byte of the file; default 0. Any byte, also inside a page and, on
    /// 32-bit, past 4 GiB. Anonymous maps ignore it.
    #[inline]
    pub const fn offset(&mut self, offset: u64) -> &mut Self {
        self.offset = offset;
        self
    }

    /// Sets the length of the map in bytes; default: from the offset to the end of the file, and 0
    /// for anonymous maps.
    ///
    /// It is not checked against the file: a map may reach past its end, which programs use that
    /// map ahead and then grow the file. An access past the page of the file's last byte raises
    /// SIGBUS.
    #[inline]
    pub const fn len(&mut self, len: usize) -> &mut Self {
        self.len = Some(len);
        self
    }

    /// Supplies the page size, so that the kernel is not asked for it.
    ///
    /// For programs that know it, from the auxiliary vector in `_start`, and for files on
    /// hugetlbfs, whose pages are huge. It must be a multiple of the kernel's. A size below 4096 is
    /// [`Error::PageSize`]; another that is too small gets `EINVAL` from the kernel where it makes a
    /// difference. With one that is too large, starts are rounded down further than needed.
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

    /// `MAP_POPULATE`: fault all pages in now. Errors while doing so are not reported.
    #[doc(alias = "MAP_POPULATE")]
    #[inline]
    pub const fn populate(&mut self) -> &mut Self {
        self.populate = true;
        self
    }

    /// `MAP_NORESERVE`: reserve no swap. A later store may then find no memory, and the kernel
    /// kills a process.
    #[doc(alias = "MAP_NORESERVE")]
    #[inline]
    pub const fn no_reserve_swap(&mut self) -> &mut Self {
        self.no_reserve_swap = true;
        self
    }

    /// Maps a file shared, for reading.
    ///
    /// # Safety
    ///
    /// - The file is not changed while a slice of the map lives, by any process and through any
    ///   other map or handle.
    /// - The file is not truncated while the map is in use; bytes past its end are not accessed.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the kernel refused: the file was not opened for reading (`EACCES`), cannot
    ///   be mapped (`ENODEV`), or memory is short (`ENOMEM`).
    /// - [`Error::PastEnd`]: no length was given, and the offset lies past the end of the file.
    /// - [`Error::TooLong`]: the length does not fit in an `isize`.
    /// - [`Error::NoLength`]: no length was given for a character device.
    /// - [`Error::PageSize`]: the supplied page size is below 4096.
    #[inline]
    #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
    pub unsafe fn map<F: AsFd>(&self, file: F) -> Result<Mmap, Error> {
        let raw = self.map_file(file.as_fd(), (MapFlags::SHARED, READ))?;
        // SAFETY: readable; the caller answers for changes by others.
        Ok(unsafe { Mmap::from_raw(raw) })
    }

    /// Maps a file shared, for reading and executing.
    ///
    /// # Safety
    ///
    /// - As for [`map`](Self::map).
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map); `EPERM` where the file system is mounted `noexec`.
    #[inline]
    #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
    pub unsafe fn map_exec<F: AsFd>(&self, file: F) -> Result<Mmap, Error> {
        let raw = self.map_file(file.as_fd(), (MapFlags::SHARED, READ_EXEC))?;
        // SAFETY: readable; the caller answers for changes by others.
        Ok(unsafe { Mmap::from_raw(raw) })
    }

    /// Maps a file shared, for reading and writing: stores reach the file.
    ///
    /// # Safety
    ///
    /// - As for [`map`](Self::map), and nobody reads the bytes while a mutable slice of them lives.
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map); the file must be open for reading and writing (`EACCES`). A file
    /// system may have no writable shared maps (`EINVAL` on JFFS2).
    #[inline]
    #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
    pub unsafe fn map_mut<F: AsFd>(&self, file: F) -> Result<MmapMut, Error> {
        let raw = self.map_file(file.as_fd(), (MapFlags::SHARED, READ_WRITE))?;
        // SAFETY: writable; the caller answers for changes by others.
        Ok(unsafe { MmapMut::from_raw(raw) })
    }

    /// Maps a private copy of a file, for reading and writing: stores stay in this process and
    /// never reach the file. Flushing it is `Ok` and stores nothing.
    ///
    /// # Safety
    ///
    /// - As for [`map`](Self::map): pages that were not yet written still show the file.
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map).
    #[inline]
    #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
    pub unsafe fn map_copy<F: AsFd>(&self, file: F) -> Result<MmapMut, Error> {
        let raw = self.map_file(file.as_fd(), (MapFlags::PRIVATE, READ_WRITE))?;
        // SAFETY: writable; the caller answers for changes by others.
        Ok(unsafe { MmapMut::from_raw(raw) })
    }

    /// Maps a private copy of a file, read-only for now; [`Mmap::make_mut`] makes it writable
    /// although the file may be open for reading only.
    ///
    /// # Safety
    ///
    /// - As for [`map`](Self::map).
    ///
    /// # Errors
    ///
    /// As for [`map`](Self::map).
    #[inline]
    #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
    pub unsafe fn map_copy_read_only<F: AsFd>(&self, file: F) -> Result<Mmap, Error> {
        let raw = self.map_file(file.as_fd(), (MapFlags::PRIVATE, READ))?;
        // SAFETY: readable; the caller answers for changes by others.
        Ok(unsafe { Mmap::from_raw(raw) })
    }

    /// Maps a file shared, for reading, if it can be proved that it never changes: a memfd sealed
    /// against writing and shrinking (Linux 3.17), or a file under fs-verity (5.5); see
    /// [`memfd::check_immutable`].
    ///
    /// # Errors
    ///
    /// - [`Error::Mutable`]: the file may change.
    /// - [`Error::OutOfRange`]: the map would end past the end of the file.
    /// - As for [`map`](Self::map).
    #[inline]
    #[allow(unsafe_code, reason = "the proof for the slices is made here")]
    pub fn map_if_safe<F: AsFd>(&self, file: F) -> Result<Mmap, Error> {
        let file = file.as_fd();
        let len = self.len_for(file)?;
        memfd::check_immutable(file)?;
        memfd::check_within(file, self.offset, len)?;
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

    /// Maps memory that belongs to no file, all zero, private to this process: a child made by
    /// fork(2) gets a copy. For a version without slices, use `MmapRaw::from`.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: memory is short, or there are no huge pages (`ENOMEM`); the kernel has no
    ///   huge pages of this size (`EINVAL`).
    /// - [`Error::TooLong`]: the length does not fit in an `isize`.
    /// - [`Error::PageSize`]: a huge page of this size does not fit in the address space.
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

    /// Maps memory that belongs to no file, all zero, shared with the children that fork(2) makes
    /// from now on.
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
        self.map_request(None, self.len.unwrap_or(0), flags, READ_WRITE)
    }

    #[allow(unsafe_code, reason = "the proof for the slices is made here")]
    #[inline(always)]
    fn map_memory(&self, flags: MapFlags, page: PageSize) -> Result<MmapMut, Error> {
        let raw = MmapRaw::new(&Request {
            file: None,
            offset: 0,
            len: self.len.unwrap_or(0),
            prot: READ_WRITE,
            flags: flags.union(self.common_flags()).union(self.stack_flag()),
            page,
            supplied: true,
        })?;
        // SAFETY: writable, and private memory is seen by nobody else.
        Ok(unsafe { MmapMut::from_raw(raw) })
    }

    #[inline(always)]
    fn map_file(&self, file: BorrowedFd<'_>, (flags, prot): Kind) -> Result<MmapRaw, Error> {
        self.map_request(Some(file), self.len_for(file)?, flags, prot)
    }

    #[inline(always)]
    fn map_request(
        &self,
        file: Option<BorrowedFd<'_>>,
        len: usize,
        flags: MapFlags,
        prot: ProtFlags,
    ) -> Result<MmapRaw, Error> {
        MmapRaw::new(&Request {
            offset: if file.is_some() { self.offset } else { 0 },
            file,
            len,
            prot,
            flags: flags.union(self.common_flags()),
            page: self.page()?,
            supplied: self.page_size.is_some(),
        })
    }

    #[inline(always)]
    fn page(&self) -> Result<PageSize, Error> {
        match self.page_size {
            None => sys::page_size(),
            // Offsets are multiples of 4096 for mmap2(2) on 32-bit, where rustix cuts off the rest.
            Some(page) if page < PageSize::KIB_4 => Err(Error::PageSize {
                value: u64::try_from(page.get()).unwrap_or(0),
            }),
            Some(page) => Ok(page),
        }
    }

    #[inline(always)]
    fn common_flags(&self) -> MapFlags {
        let mut flags = MapFlags::empty();
        flags.set(MapFlags::POPULATE, self.populate);
        flags.set(MapFlags::NORESERVE, self.no_reserve_swap);
        flags
    }

    /// Only for anonymous memory, as in memmap2.
    #[inline]
    fn stack_flag(&self) -> MapFlags {
        if self.stack {
            MapFlags::STACK
        } else {
            MapFlags::empty()
        }
    }

    /// The length that was given, else what the file has from the offset on.
    #[inline(always)]
    fn len_for(&self, file: BorrowedFd<'_>) -> Result<usize, Error> {
        match self.len {
            Some(len) => check_len(len),
            None => self.rest_of(file),
        }
    }

    fn rest_of(&self, file: BorrowedFd<'_>) -> Result<usize, Error> {
        let file_len = match sys::file_type_and_len(file)? {
            // fstat(2) says 0 for both kinds of device.
            (FileType::BlockDevice, _) => sys::block_device_len(file)?,
            (FileType::CharacterDevice, _) => return Err(Error::NoLength),
            (_, len) => len,
        };
        let Some(len) = file_len.checked_sub(self.offset) else {
            let offset = self.offset;
            return Err(Error::PastEnd { offset, file_len });
        };
        let usable = usize::try_from(len).map_err(|_| Error::TooLong { len })?;
        check_len(usable)
    }
}

impl fmt::Debug for MmapOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug_fields(&mut f.debug_struct("MmapOptions"))
            .finish()
    }
}

// The short forms, here so that `raw` and `map` need not know of the options.

impl Mmap {
    /// Maps a file shared, for reading: `MmapOptions::new().map(file)`.
    ///
    /// # Safety
    ///
    /// - As for [`MmapOptions::map`].
    ///
    /// # Errors
    ///
    /// See [`MmapOptions::map`].
    #[inline]
    #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
    pub unsafe fn map<F: AsFd>(file: F) -> Result<Self, Error> {
        // SAFETY: the caller's duty, passed on.
        unsafe { MmapOptions::new().map(file) }
    }

    /// Maps a file that cannot change: `MmapOptions::new().map_if_safe(file)`.
    ///
    /// # Errors
    ///
    /// See [`MmapOptions::map_if_safe`].
    #[inline]
    pub fn map_if_safe<F: AsFd>(file: F) -> Result<Self, Error> {
        MmapOptions::new().map_if_safe(file)
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
    /// See [`MmapOptions::map_mut`].
    #[inline]
    #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
    pub unsafe fn map_mut<F: AsFd>(file: F) -> Result<Self, Error> {
        // SAFETY: the caller's duty, passed on.
        unsafe { MmapOptions::new().map_mut(file) }
    }

    /// Maps `len` bytes of private memory that belongs to no file, all zero.
    ///
    /// # Errors
    ///
    /// See [`MmapOptions::map_anon`].
    #[inline]
    pub fn map_anon(len: usize) -> Result<Self, Error> {
        MmapOptions::new().len(len).map_anon()
    }
}

impl MmapRaw {
    /// Maps a file shared, for reading and writing: `MmapOptions::new().map_raw(file)`.
    ///
    /// # Errors
    ///
    /// See [`MmapOptions::map_raw`].
    #[inline]
    pub fn map_raw<F: AsFd>(file: F) -> Result<Self, Error> {
        MmapOptions::new().map_raw(file)
    }
}

/// `MAP_HUGETLB` and the size, which mmap(2) takes in the upper six bits of its flags.
#[inline]
fn huge_flags(bits: u8) -> MapFlags {
    const MAP_HUGE_SHIFT: u32 = 26;
    let size = u32::from(bits).wrapping_shl(MAP_HUGE_SHIFT);
    MapFlags::HUGETLB.union(MapFlags::from_bits_retain(size))
}
