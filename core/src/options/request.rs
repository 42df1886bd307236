//! From the options and a file to one [`Request`].

use super::{Kind, MmapOptions, READ_WRITE};
use crate::advice::Advice;
use crate::error::{Call, Error};
use crate::map::MmapMut;
use crate::page::PageSize;
use crate::protection::Access;
use crate::raw::{MmapRaw, Request, check_len};
use crate::sys::{self, BorrowedFd, Errno, FileType, MapFlags};

impl MmapOptions {
    #[allow(unsafe_code, reason = "the proof for the slices is made here")]
    #[inline(always)]
    pub(super) fn map_memory(&self, flags: MapFlags, page: PageSize) -> Result<MmapMut, Error> {
        self.refuse_contained()?;
        self.refuse_scattered()?;
        let raw = MmapRaw::new(&Request {
            file: None,
            offset: 0,
            len: self.len.unwrap_or(0),
            access: READ_WRITE,
            flags: flags.union(self.common_flags()).union(self.stack_flag()),
            page,
            supplied: true,
        })?;
        // SAFETY: writable, and private memory is seen by no other process.
        Ok(unsafe { MmapMut::from_raw(raw) })
    }

    /// Slices of such a map may not change, and safe code may have them.
    #[inline(always)]
    pub(super) fn refuse_contained(&self) -> Result<(), Error> {
        #[cfg(feature = "fault")]
        if self.contained {
            return Err(Error::Option {
                option: "contained",
            });
        }
        Ok(())
    }

    #[inline(always)]
    fn refuse_scattered(&self) -> Result<(), Error> {
        if self.scattered {
            return Err(Error::Option {
                option: "scattered",
            });
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn map_file(
        &self,
        file: BorrowedFd<'_>,
        (flags, prot): Kind,
    ) -> Result<MmapRaw, Error> {
        self.map_request(Some(file), self.len_for(file)?, flags, prot)
    }

    #[inline(always)]
    pub(crate) fn map_request(
        &self,
        file: Option<BorrowedFd<'_>>,
        len: usize,
        flags: MapFlags,
        access: Access,
    ) -> Result<MmapRaw, Error> {
        if self.has_extras() {
            return self.map_with_extras(file, len, flags, access);
        }
        self.map_plain(file, len, flags, access, self.page_size)
    }

    #[inline(always)]
    fn has_extras(&self) -> bool {
        #[cfg(feature = "fault")]
        if self.contained {
            return true;
        }
        self.scattered
    }

    #[inline(always)]
    fn map_plain(
        &self,
        file: Option<BorrowedFd<'_>>,
        len: usize,
        flags: MapFlags,
        access: Access,
        page_size: Option<PageSize>,
    ) -> Result<MmapRaw, Error> {
        MmapRaw::new(&Request {
            offset: if file.is_some() { self.offset } else { 0 },
            file,
            len,
            access,
            flags: flags.union(self.common_flags()),
            page: page_or_ask(page_size, file)?,
            supplied: page_size.is_some(),
        })
    }

    /// Out of line: other maps pay one check for it.
    #[cold]
    #[inline(never)]
    fn map_with_extras(
        &self,
        file: Option<BorrowedFd<'_>>,
        len: usize,
        flags: MapFlags,
        access: Access,
    ) -> Result<MmapRaw, Error> {
        let page_size = self.page_size;
        if self.scattered {
            let shared_write = flags.contains(MapFlags::SHARED) && access.allows(Access::WRITE);
            match file {
                Some(file) if shared_write => drop_cached(file)?,
                _ => self.refuse_scattered()?,
            }
        }
        // Where a page may have to be replaced, its size has to be the right one.
        #[cfg(feature = "fault")]
        let page_size = page_size.or(file.filter(|_| self.contained).and_then(sys::huge_page_of));
        #[cfg_attr(not(feature = "fault"), allow(unused_mut, reason = "contained"))]
        let mut raw = self.map_plain(file, len, flags, access, page_size)?;
        if self.scattered {
            raw.advise(Advice::Random)?;
        }
        #[cfg(feature = "fault")]
        if self.contained {
            raw.contain()?;
        }
        Ok(raw)
    }

    #[inline(always)]
    pub(super) fn page(&self) -> Result<PageSize, Error> {
        page_or_ask(self.page_size, None)
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
    pub(super) fn stack_flag(&self) -> MapFlags {
        if self.stack {
            MapFlags::STACK
        } else {
            MapFlags::empty()
        }
    }

    /// The length that was given, else what the file has from the offset on.
    #[inline(always)]
    pub(super) fn len_for(&self, file: BorrowedFd<'_>) -> Result<usize, Error> {
        match self.len {
            Some(len) => check_len(len),
            None => self.rest_of(file),
        }
    }

    fn rest_of(&self, file: BorrowedFd<'_>) -> Result<usize, Error> {
        let file_len = match sys::file_type_and_len(file)? {
            // fstat(2) says 0 for both kinds of device.
            (FileType::BlockDevice, _) => sys::block_device_len(file)?,
            (FileType::RegularFile, len) => len,
            // A virtual CPU, a ring of requests, an event: a length of 0 is none. A buffer of a device (dma-buf) has one.
            (_, 0) => return Err(Error::NoLength),
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

#[inline(always)]
fn page_or_ask(
    page_size: Option<PageSize>,
    file: Option<BorrowedFd<'_>>,
) -> Result<PageSize, Error> {
    match page_size {
        None => sys::page_size(),
        Some(page) => check_page(page, file),
    }
}

/// A supplied size is the kernel's, or that of the file's huge pages. Where the kernel does not tell its own, the address of
/// the map shows what it can.
#[cold]
fn check_page(page: PageSize, file: Option<BorrowedFd<'_>>) -> Result<PageSize, Error> {
    let is_kernels = sys::page_size().map_or(page >= PageSize::KIB_4, |kernel| kernel == page);
    if is_kernels || file.and_then(sys::huge_page_of) == Some(page) {
        return Ok(page);
    }
    Err(page.unusable())
}

/// Takes the pages that the file has in the page cache out of it, all of them: a folio may reach over the
/// edge of the map, and only whole folios go. Those that were brought in by large reads and writes are
/// large, and a store to one byte of such a folio makes all of it dirty: with them in place,
/// `MADV_RANDOM` is too late.
#[cold]
#[inline(never)]
fn drop_cached(file: BorrowedFd<'_>) -> Result<(), Error> {
    // Dirty pages stay. Write them first; an error here is about bytes that were written before.
    match sys::fdatasync(file) {
        // EINVAL: a file without a medium.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(Error::sys(Call::Fdatasync, errno)),
    }
    sys::drop_clean_pages(file, 0, None).map_err(|errno| Error::sys(Call::Fadvise, errno))
}

/// `MAP_HUGETLB` and the size, which mmap(2) takes in the upper six bits of its flags.
#[inline]
pub(super) fn huge_flags(bits: u8) -> MapFlags {
    const MAP_HUGE_SHIFT: u32 = 26;
    let size = u32::from(bits).wrapping_shl(MAP_HUGE_SHIFT);
    MapFlags::HUGETLB.union(MapFlags::from_bits_retain(size))
}
