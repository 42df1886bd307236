//! From the options and a file to one [`Request`].

use core::num::NonZeroU64;

use super::{Kind, MmapOptions, READ_WRITE};
use crate::advice::Advice;
use crate::error::{Call, Error};
use crate::map::MmapMut;
use crate::page::PageSize;
use crate::protection::Access;
use crate::raw::{MmapRaw, Request, check_len, to_u64};
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
            match file.filter(|_| shared_write) {
                Some(file) => self.drop_cached(file, len)?,
                None => self.refuse_scattered()?,
            }
        }
        // Where a page may have to be replaced, its size has to be the right one.
        #[cfg(feature = "fault")]
        let huge = file.filter(|_| self.contained).and_then(sys::huge_page_of);
        #[cfg(feature = "fault")]
        let page_size = huge.or(page_size);
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

    /// Takes the pages of a range out of the page cache. Those that were brought in by large reads and writes are
    /// large folios, and a store to one byte of one makes all of it dirty: with them in place, `MADV_RANDOM` is too late.
    #[cold]
    #[inline(never)]
    fn drop_cached(&self, file: BorrowedFd<'_>, len: usize) -> Result<(), Error> {
        let told = |call, errno| Error::of_range(call, errno, self.offset, to_u64(len));
        let around = self.map_around(file, len)?;
        match around.flush().map_err(|error| error.errno()) {
            // Or a file without a medium.
            Ok(()) | Err(Some(Errno::INVAL)) => {}
            Err(errno) => {
                // For the kernel they are stored by now. They must neither be dropped here nor the next time.
                let _ = around.dirty_again();
                return Err(told(Call::Msync, errno.unwrap_or(Errno::IO)));
            }
        }
        let (at, wide) = (around.file_offset()?, to_u64(around.len()));
        // A page that is mapped stays.
        drop(around);
        sys::drop_clean_pages(file, at, NonZeroU64::new(wide))
            .map_err(|errno| told(Call::Fadvise, errno))
    }

    /// With all of the folios that reach over an edge of the range: none is larger than what one table of pages covers.
    fn map_around(&self, file: BorrowedFd<'_>, len: usize) -> Result<MmapRaw, Error> {
        let page = to_u64(sys::page_size()?.get());
        let mask = page.saturating_mul(page >> 3).saturating_sub(1);
        let start = self.offset & !mask;
        let last = self.offset.saturating_add(to_u64(len)).saturating_sub(1) | mask;
        let wide = last.saturating_sub(start).saturating_add(1);
        let map = |offset, len| {
            let mut options = Self::new();
            (options.offset, options.len, options.page_size) = (offset, Some(len), self.page_size);
            options.map_file(file, (MapFlags::SHARED, READ_WRITE))
        };
        // Where the address space has no room for it, or the file has huge pages: the range itself.
        map(start, usize::try_from(wide).unwrap_or(usize::MAX)).or_else(|_| map(self.offset, len))
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
        let (kind, mut file_len) = sys::file_type_and_len(file)?;
        if file_len == 0 {
            file_len = len_of_device(kind, file)?;
        }
        let Some(len) = file_len.checked_sub(self.offset) else {
            let offset = self.offset;
            return Err(Error::PastEnd { offset, file_len });
        };
        let usable = usize::try_from(len).map_err(|_| Error::TooLong { len })?;
        check_len(usable)
    }
}

/// Where fstat(2) says 0, which it does for both kinds of device.
#[cold]
fn len_of_device(kind: FileType, file: BorrowedFd<'_>) -> Result<u64, Error> {
    match kind {
        FileType::BlockDevice => sys::block_device_len(file),
        FileType::RegularFile => Ok(0),
        // A virtual CPU, a ring of requests, an event are of no type. A buffer of a device (dma-buf) has a length.
        _ => Err(Error::NoLength),
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

/// `MAP_HUGETLB` and the size, which mmap(2) takes in the upper six bits of its flags.
#[inline]
pub(super) fn huge_flags(bits: u8) -> MapFlags {
    const MAP_HUGE_SHIFT: u32 = 26;
    let size = u32::from(bits).wrapping_shl(MAP_HUGE_SHIFT);
    MapFlags::HUGETLB.union(MapFlags::from_bits_retain(size))
}
