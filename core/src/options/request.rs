//! From the options and a file to one [`Request`].

use super::{Kind, MmapOptions, READ_WRITE};
use crate::error::Call;
use crate::raw::{Request, check_len};
use crate::sys::{self, BorrowedFd, Errno, FileType, MapFlags, ProtFlags};
use crate::{Advice, Error, MmapMut, MmapRaw, PageSize};

impl MmapOptions {
    #[allow(unsafe_code, reason = "the proof for the slices is made here")]
    #[inline(always)]
    pub(super) fn map_memory(&self, flags: MapFlags, page: PageSize) -> Result<MmapMut, Error> {
        #[cfg_attr(not(feature = "fault"), allow(unused_mut, reason = "contained"))]
        let mut raw = MmapRaw::new(&Request {
            file: None,
            offset: 0,
            len: self.len.unwrap_or(0),
            prot: READ_WRITE,
            flags: flags.union(self.common_flags()).union(self.stack_flag()),
            page,
            supplied: true,
        })?;
        #[cfg(feature = "fault")]
        if self.contained {
            raw.contain()?;
        }
        // SAFETY: writable, and private memory is seen by nobody else.
        Ok(unsafe { MmapMut::from_raw(raw) })
    }

    /// Memory that belongs to no file, with a guard page at both ends.
    #[cold]
    pub(super) fn map_guarded(&self, flags: MapFlags) -> Result<MmapRaw, Error> {
        let flags = flags.union(self.common_flags());
        #[cfg_attr(not(feature = "fault"), allow(unused_mut, reason = "contained"))]
        let mut raw = MmapRaw::new_guarded(self.len.unwrap_or(0), flags, self.page()?)?;
        #[cfg(feature = "fault")]
        if self.contained {
            raw.contain()?;
        }
        Ok(raw)
    }

    #[allow(unsafe_code, reason = "the proof for the slices is made here")]
    #[cold]
    pub(super) fn map_guarded_memory(&self) -> Result<MmapMut, Error> {
        let raw = self.map_guarded(MapFlags::PRIVATE.union(self.stack_flag()))?;
        // SAFETY: writable, and private memory is seen by nobody else.
        Ok(unsafe { MmapMut::from_raw(raw) })
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
        prot: ProtFlags,
    ) -> Result<MmapRaw, Error> {
        #[cfg(feature = "fault")]
        if self.contained {
            return self.map_contained(file, len, flags, prot);
        }
        let shared_write = flags.contains(MapFlags::SHARED) && prot.contains(ProtFlags::WRITE);
        let scattered = self.scattered && shared_write;
        if let (Some(file), true) = (file, scattered) {
            drop_cached(file)?;
        }
        let mut raw = MmapRaw::new(&Request {
            offset: if file.is_some() { self.offset } else { 0 },
            file,
            len,
            prot,
            flags: flags.union(self.common_flags()),
            page: self.page()?,
            supplied: self.page_size.is_some(),
        })?;
        if scattered {
            raw.advise(Advice::Random)?;
        }
        // Last: if anything else fails, no descriptor is closed, and with it no lock dropped.
        if let (Some(file), true) = (file, self.keep_file) {
            raw.keep(file)?;
        }
        Ok(raw)
    }

    /// Out of line: other maps pay one check for it.
    #[cfg(feature = "fault")]
    #[cold]
    #[inline(never)]
    fn map_contained(
        &self,
        file: Option<BorrowedFd<'_>>,
        len: usize,
        flags: MapFlags,
        prot: ProtFlags,
    ) -> Result<MmapRaw, Error> {
        let mut plain = self.clone();
        plain.contained = false;
        plain.keep_file = false;
        // Where a page may have to be replaced, its size has to be the right one.
        plain.page_size = self.page_size.or(file.and_then(sys::huge_page_of));
        let mut raw = plain.map_request(file, len, flags, prot)?;
        raw.contain()?;
        // Last, as above.
        if let (Some(file), true) = (file, self.keep_file) {
            raw.keep(file)?;
        }
        Ok(raw)
    }

    #[inline(always)]
    pub(super) fn page(&self) -> Result<PageSize, Error> {
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
        Err(errno) => {
            return Err(Error::Sys {
                call: Call::Fdatasync,
                errno,
            });
        }
    }
    sys::drop_clean_pages(file, 0, None)
}

/// `MAP_HUGETLB` and the size, which mmap(2) takes in the upper six bits of its flags.
#[inline]
pub(super) fn huge_flags(bits: u8) -> MapFlags {
    const MAP_HUGE_SHIFT: u32 = 26;
    let size = u32::from(bits).wrapping_shl(MAP_HUGE_SHIFT);
    MapFlags::HUGETLB.union(MapFlags::from_bits_retain(size))
}
