//! Asked beforehand: can these bytes be touched, and growing a map with its file.
//!
//! # Safety
//!
//! A checked range of a map, rounded to the kernel's pages, lies inside the pages that the map owns.

#![allow(unsafe_code, reason = "touches pages of the own map, and remaps it")]

use super::durable::to_u64;
use super::pages::mapped_len;
use super::{MmapRaw, RemapOptions};
use crate::error::Call;
use crate::sys::{
    self, AsFd, BorrowedFd, Errno, FileExtent, FileType, RESIDENT_PAGES, Touch, page_size,
};
use crate::{Error, PageSize, Span};

impl MmapRaw {
    /// `madvise(.., MADV_POPULATE_READ)` -- brings `len` bytes at `offset` into memory, and finds out
    /// whether they can be read without a signal.
    ///
    /// Where a load would raise SIGBUS (past the end of a file that got shorter, or a device that fails) this is
    /// an error that tells where. It holds for the moment: another process may truncate the file
    /// right after.
    ///
    /// Before Linux 5.14 the kernel reads a word of each page for this call, by futex(2): as
    /// reliable, and slower. Nothing is changed, in memory or in the file.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was touched.
    /// - [`Error::Unreachable`]: from its offset on, bytes cannot be read.
    /// - [`Error::Sys`]: memory is short (`ENOMEM`), or the memory is broken (`EHWPOISON`).
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
    pub fn prefault_read(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.prefault(Span::new(offset, len, self.len)?, Touch::Read)
    }

    /// `madvise(.., MADV_POPULATE_WRITE)` -- brings `len` bytes at `offset` into memory for writing, and
    /// finds out whether they can be written without a signal.
    ///
    /// Like [`prefault_read`](Self::prefault_read), and the file system finds a place on the medium for
    /// each page: on a full disk this is an error, and not a SIGBUS at the store. The
    /// pages become dirty, so a later flush writes all of them; to have room without that, use
    /// [`reserve`](crate::reserve). A private map gets its own copy of each page.
    ///
    /// Before Linux 5.14 the kernel writes a word of each page for this call, atomically and without a
    /// change, by futex(2).
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was touched.
    /// - [`Error::Unreachable`]: from its offset on, bytes cannot be written.
    /// - [`Error::Sys`]: as for [`prefault_read`](Self::prefault_read); the map is read-only (`EINVAL`).
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
    pub fn prefault_write(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.prefault(Span::new(offset, len, self.len)?, Touch::Write)
    }

    /// `mincore` -- gives how many pages of the kernel's, among those that hold `len` bytes at `offset`, are in
    /// memory.
    ///
    /// For a map of a file that is the page cache: pages that another process brought in count. The answer is of the past
    /// as soon as it is there. If the process may not write the file (and does not own it), Linux 5.2 and later say
    /// that all are.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map.
    /// - [`Error::Sys`]: the page size is not known, or there is no mincore(2) here (`ENOSYS`).
    ///
    /// # References
    ///
    /// - [mincore(2)](https://man7.org/linux/man-pages/man2/mincore.2.html)
    pub fn resident_pages(&self, offset: usize, len: usize) -> Result<usize, Error> {
        let span = Span::new(offset, len, self.len)?;
        let step = page_size()?.get();
        let (mut start, end, _) = self.kernel_pages(span);
        let mut sum = 0usize;
        while !span.is_empty() && start.addr() < end.addr() {
            let left = end.addr().wrapping_sub(start.addr());
            let len = left.min(step.saturating_mul(RESIDENT_PAGES));
            // SAFETY: pages of this map.
            let pages = unsafe { sys::mincore(start.cast(), len)? };
            let pages = pages.iter().take(len.div_ceil(step));
            sum = sum.saturating_add(pages.filter(|page| *page & 1 != 0).count());
            start = start.wrapping_add(len);
        }
        Ok(sum)
    }

    /// Extends the file and the map together, so that the map has `new_len` bytes, all of which can be
    /// stored to; or leaves both as they were. A `new_len` that is not larger changes nothing.
    ///
    /// `file` is the one that is mapped, open for writing; nobody else changes its length meanwhile. On an
    /// error, blocks that were reserved past its end go, those of an earlier fallocate(2) too.
    /// Its space is reserved as [`reserve`](crate::reserve) does, so that a full disk is an error here
    /// and not a SIGBUS later; a file system that cannot reserve (UBIFS, NFS before 4.2) is asked for the length
    /// only. The map may move: pointers into it are then stale. The new length is on the medium after the
    /// next [`flush`](Self::flush) of the new bytes, or [`flush_all`](Self::flush_all).
    ///
    /// # Errors
    ///
    /// - [`Error::NoSpace`]: the disk is full, or the quota reached.
    /// - [`Error::NoFile`]: the map is of memory, not of a file, or is private.
    /// - [`Error::OutOfRange`]: a block device is not as long.
    /// - [`Error::TooLong`]: the length does not fit in an `isize`, or its end not in a file.
    /// - [`Error::Sys`]: the address space has no room (`ENOMEM`), the map is more than one VMA (`EFAULT`; see
    ///   [`advise_range`](Self::advise_range)), the file is not open for writing (`EBADF`, `EINVAL`), is sealed
    ///   (`EPERM`) or would pass the largest length (`EFBIG`). Past `RLIMIT_FSIZE` there is the signal
    ///   SIGXFSZ, too.
    /// - [`Error::Unreachable`]: `file` is not the one that is mapped.
    pub fn grow<F: AsFd>(&mut self, file: F, new_len: usize) -> Result<(), Error> {
        let old_len = self.len;
        if new_len <= old_len {
            return Ok(());
        }
        let file = file.as_fd();
        let offset = self.file_offset()?;
        // What remap checks, before anything is changed.
        mapped_len(self.page, self.head(), new_len)?;
        let len = to_u64(new_len);
        let end = offset.checked_add(len).ok_or(Error::TooLong { len })?;
        let before = sys::file_extent(file)?;
        if self.is_private() {
            // Its bytes never reach the file, and neither does its length.
            return Err(Error::NoFile);
        }
        if before.kind == FileType::BlockDevice {
            return self.grow_on_device(file, new_len, end);
        }
        // SAFETY: the doc says that pointers are stale. The bytes past the end of the file are in it before
        // this returns, or out of the map again.
        unsafe { self.remap(new_len, RemapOptions::new().may_move(true))? };
        let grown = self.extend(file, before, offset, end, old_len);
        if grown.is_err() {
            // Shrinking in place takes nothing that could be short.
            // SAFETY: the map has its old length again, and the file reaches as far as before.
            let _ = unsafe { self.remap(old_len, RemapOptions::new()) };
            give_back(file, before, end);
        }
        grown
    }

    /// A device has the length that it has.
    fn grow_on_device(
        &mut self,
        device: BorrowedFd<'_>,
        new_len: usize,
        end: u64,
    ) -> Result<(), Error> {
        let limit = sys::block_device_len(device)?;
        if end > limit {
            let (offset, len) = (self.file_offset()?, to_u64(new_len));
            return Err(Error::OutOfRange { offset, len, limit });
        }
        // SAFETY: the doc of `grow` says that pointers are stale; the device reaches as far.
        unsafe { self.remap(new_len, RemapOptions::new().may_move(true)) }
    }

    /// Gives the file the bytes that the map now has.
    fn extend(
        &self,
        file: BorrowedFd<'_>,
        before: FileExtent,
        offset: u64,
        end: u64,
        old_len: usize,
    ) -> Result<(), Error> {
        // In range: they lie between the map's first byte and `end`.
        let first = offset
            .wrapping_add(to_u64(old_len))
            .min(before.len)
            .max(offset);
        match allocate(file, first, end.wrapping_sub(first)) {
            Err(Error::Sys { errno, .. }) if cannot_reserve(errno) => {}
            result => result?,
        }
        extend_to(file, before, end)?;
        // If another file was given by mistake, this one is as short as it was.
        let new = Span::new(old_len, self.len.wrapping_sub(old_len), self.len)?;
        let [_, last] = new.ends();
        self.prefault(last, Touch::Read)
    }

    fn prefault(&self, span: Span, touch: Touch) -> Result<(), Error> {
        if span.is_empty() {
            return Ok(());
        }
        let (mut start, end, page) = self.kernel_pages(span);
        let len = end.addr().wrapping_sub(start.addr());
        // SAFETY: pages of this map.
        match unsafe { sys::populate(start.cast(), len, touch) } {
            Some(Ok(())) => return Ok(()),
            // Which page is it? Or nobody was asked.
            Some(Err(Errno::FAULT)) | None => {}
            Some(Err(errno)) => {
                return Err(Error::Sys {
                    call: Call::Madvise,
                    errno,
                });
            }
        }
        while start.addr() < end.addr() {
            self.touch(start, touch, span)?;
            start = start.wrapping_add(page.get());
        }
        Ok(())
    }

    /// The kernel's pages that hold a span: where the first begins, where the last byte ends, and their
    /// size. The map's own `page` may be larger, or be supplied as smaller.
    pub(super) fn kernel_pages(&self, span: Span) -> (*mut u8, *mut u8, PageSize) {
        // A map begins at one of them. Where nobody says how large they are, each is looked at several
        // times.
        let page = page_size().unwrap_or(PageSize::KIB_4);
        let first = self.as_mut_ptr().wrapping_add(span.offset());
        let start = first.wrapping_sub(page.offset_in_page(first.addr()));
        (start, first.wrapping_add(span.len()), page)
    }

    /// Touches the page at `start`, one of the span's.
    pub(super) fn touch(&self, start: *mut u8, touch: Touch, span: Span) -> Result<(), Error> {
        // SAFETY: the start of a page of this map.
        match unsafe { sys::touch(start.cast(), touch) } {
            Ok(()) => Ok(()),
            Err(Errno::FAULT) => Err(Error::Unreachable {
                offset: to_u64(self.offset_of(start, span)),
            }),
            Err(errno) => Err(Error::Sys {
                call: Call::Futex,
                errno,
            }),
        }
    }

    /// The first byte of a span that is in the page at `start`, or after it.
    pub(super) fn offset_of(&self, start: *mut u8, span: Span) -> usize {
        let from_map = start.addr().saturating_sub(self.as_ptr().addr());
        from_map.max(span.offset())
    }
}

/// `fallocate` -- gives `len` bytes of a file at `offset` their place on the medium, so that a full disk
/// is an error now, and not a SIGBUS at a store to a map.
///
/// Bytes that are there stay, holes become zeros, and a file that is shorter grows to the end of the
/// range. On file systems that write each change to a new place (btrfs, and f2fs at times) a later store
/// may find the disk full all the same. Nobody else changes the file's length meanwhile. On an error the file
/// has the length that it had, and blocks past its end are given back, those of an earlier fallocate(2)
/// too; holes inside it may have been filled.
///
/// # Errors
///
/// - [`Error::NoSpace`]: the disk is full, or the quota reached.
/// - [`Error::TooLong`]: the end does not fit in a `u64`.
/// - [`Error::Sys`]: the file system cannot reserve (`EOPNOTSUPP`: UBIFS, JFFS2, NFS before 4.2), the file is
///   not open for writing (`EBADF`), or the end is past the largest length of a file (`EFBIG`). Past
///   `RLIMIT_FSIZE` there is the signal SIGXFSZ, too.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "std")] {
/// # let path = std::env::temp_dir().join(format!("rawmap-doc-reserve-{}", std::process::id()));
/// # let file = std::fs::File::create_new(&path).unwrap();
/// # std::fs::remove_file(path).unwrap();
/// match rawmap_core::reserve(&file, 0, 100_000) {
///     Ok(()) => assert_eq!(file.metadata().unwrap().len(), 100_000),
///     Err(rawmap_core::Error::NoSpace { .. }) => { /* before anything was stored */ }
///     Err(error) => assert!(error.errno().is_some()),
/// }
/// # }
/// ```
///
/// # References
///
/// - [fallocate(2)](https://man7.org/linux/man-pages/man2/fallocate.2.html)
pub fn reserve<F: AsFd>(file: F, offset: u64, len: u64) -> Result<(), Error> {
    let (file, Some(end)) = (file.as_fd(), offset.checked_add(len)) else {
        return Err(Error::TooLong { len });
    };
    if len == 0 {
        return Ok(());
    }
    let before = sys::file_extent(file)?;
    let reserved = allocate(file, offset, len).and_then(|()| extend_to(file, before, end));
    if reserved.is_err() {
        give_back(file, before, end);
    }
    reserved
}

fn extend_to(file: BorrowedFd<'_>, before: FileExtent, end: u64) -> Result<(), Error> {
    if before.len < end {
        sys::ftruncate(file, end)
    } else {
        Ok(())
    }
}

/// Reserves, and leaves the length as it is.
fn allocate(file: BorrowedFd<'_>, offset: u64, len: u64) -> Result<(), Error> {
    match sys::fallocate(file, offset, len) {
        Ok(()) => Ok(()),
        Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => Err(Error::NoSpace { offset, len, errno }),
        Err(errno) => Err(Error::Sys {
            call: Call::Fallocate,
            errno,
        }),
    }
}

fn cannot_reserve(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NOSYS)
}

/// Gives the file the length that it had, and frees what was reserved past its end: setting a length does
/// that, also if it is the same. A length that is neither that nor `end` is somebody else's, and stays.
fn give_back(file: BorrowedFd<'_>, before: FileExtent, end: u64) {
    if sys::file_extent(file)
        .is_ok_and(|now| now != before && (now.len == before.len || now.len == end))
    {
        // An error has nothing to add to the one that is on its way.
        let _ = sys::ftruncate(file, before.len);
    }
}
