//! [`MmapRaw`]: owns the pages, and never hands out a reference to them.
//!
//! From a ranged call to the kernel: [`Span::new`] checks the range, [`PageSize::cover`] rounds it
//! to pages, `MmapRaw::cover` places it in the address space, `sys` asks the kernel.
//!
//! # Safety
//!
//! Everything rests on the invariant of [`MmapRaw`], stated at its fields: a checked range of the
//! map, rounded to pages, lies inside pages that the value owns. Nobody outside this module can
//! change the fields.

#![allow(
    unsafe_code,
    reason = "pointer arithmetic inside the own map, unmapping in Drop, Send and Sync"
)]

use core::ffi::c_void;
use core::fmt;
use core::hint;

use crate::sys::{
    self, BorrowedFd, Errno, MapFlags, MprotectFlags, MremapFlags, MsyncFlags, ProtFlags,
};
use crate::{Advice, Error, PageSize, Span, UncheckedAdvice};

/// One checked request for a map: what [`MmapOptions`] and the file came to.
#[derive(Debug)]
pub(crate) struct Request<'fd> {
    /// `None` for anonymous memory.
    pub(crate) file: Option<BorrowedFd<'fd>>,
    /// Offset in the file in bytes, at any byte.
    pub(crate) offset: u64,
    /// Length in bytes, any.
    pub(crate) len: usize,
    pub(crate) prot: ProtFlags,
    pub(crate) flags: MapFlags,
    /// The unit that the kernel maps in: the page size, or the huge page size.
    pub(crate) page: PageSize,
    /// Whether the caller supplied `page`, and may be wrong.
    pub(crate) supplied: bool,
}

/// Memory that is mapped, and unmapped when the value is dropped.
///
/// It gives raw pointers and never a reference. That makes it right for memory that another
/// process, a device or the kernel may change at any time, and it is why
/// [`map_raw`](Self::map_raw) is safe: the proof that an access is sound is made where the pointer
/// is used. It does not keep the file open.
///
/// All offsets and lengths are in bytes. A ranged call rounds the start of its range down and the
/// end up to the page size, and never reaches past the map's own last page.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "std")] {
/// # use std::io::Write;
/// use rawmap_core::MmapRaw;
///
/// # let mut file = temp_file();
/// # file.write_all(b"state 1").unwrap();
/// let map = MmapRaw::map_raw(&file)?;
/// // SAFETY: the map has 7 bytes, nobody truncates the file, and the pointer is used for one
/// // store that no other thread races with.
/// unsafe { map.as_mut_ptr().add(6).write(b'2') };
/// map.flush_range(6, 1)?;
/// # }
/// # #[cfg(feature = "std")]
/// # fn temp_file() -> std::fs::File {
/// #     let name = format!("rawmap-doc-{}", std::process::id());
/// #     let path = std::env::temp_dir().join(name);
/// #     let file = std::fs::File::options().read(true).write(true).create(true).truncate(true)
/// #         .open(&path).unwrap();
/// #     std::fs::remove_file(path).unwrap();
/// #     file
/// # }
/// # Ok::<(), rawmap_core::Error>(())
/// ```
///
/// # References
///
/// - [mmap(2)](https://man7.org/linux/man-pages/man2/mmap.2.html)
pub struct MmapRaw {
    // Invariant: the pages that hold the `len` bytes at `ptr`, at least one page, came from one mmap or
    // mremap call, and only this value unmaps, moves or protects them. A page starts at each multiple
    // of `page`. `len` is at most isize::MAX, and `mapped_len` of it was seen to be `Ok`.
    ptr: *mut u8,
    len: usize,
    page: PageSize,
}

// SAFETY: the pages belong to the process, not to a thread, and the fields are plain values.
unsafe impl Send for MmapRaw {}
// SAFETY: `&self` gives raw pointers, whose use is the caller's proof, and system calls, which the
// kernel orders.
unsafe impl Sync for MmapRaw {}

/// Cuts a distance inside a page, which is less than the page size and so fits in a `usize`.
#[allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "less than a page size, and that is a usize"
)]
#[inline]
const fn narrow(head: u64) -> usize {
    head as usize
}

/// A slice, and pointer arithmetic, may not span more than `isize::MAX` bytes.
#[inline]
pub(crate) fn check_len(len: usize) -> Result<usize, Error> {
    match isize::try_from(len) {
        Ok(_) => Ok(len),
        Err(_) => Err(too_long(len)),
    }
}

#[cold]
fn too_long(len: usize) -> Error {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    Error::TooLong { len }
}

/// Bytes that a map of `len` bytes at `head` in its first page takes: whole pages, at least one
/// (mmap(2) refuses none, and an empty map is useful: an empty file has one).
#[inline]
fn mapped_len(page: PageSize, head: usize, len: usize) -> Result<usize, Error> {
    // The byte that must be mapped last; the first of the page where there is none.
    let last = head.checked_add(check_len(len)?.saturating_sub(1));
    match last.and_then(|last| page.page_end(last)) {
        Some(mapped) => Ok(mapped),
        None => Err(too_long(len)),
    }
}

impl MmapRaw {
    /// Maps what the request says: the only constructor. Inlined into its callers, where most of the
    /// request is known: else a map costs a hundred instructions instead of ten.
    #[allow(clippy::inline_always, reason = "see above; tests/benches measures it")]
    #[inline(always)]
    pub(crate) fn new(request: &Request<'_>) -> Result<Self, Error> {
        let page = request.page;
        let head = page.offset_in_page_u64(request.offset);
        // The kernel wants a multiple of the page size, and on 32-bit nobody else would check.
        let first = request.offset.wrapping_sub(head);
        let head = narrow(head);
        let mapped = mapped_len(page, head, request.len)?;
        let base = sys::mmap(request.file, mapped, request.prot, request.flags, first)?;
        let page = if request.supplied {
            fitting(page, base, mapped, head, request.len)
        } else {
            // SAFETY: mmap(2) places a map at a multiple of the page size, and the kernel itself gave
            // this size.
            unsafe { hint::assert_unchecked(page.offset_in_page(base.addr()) == 0) };
            page
        };
        Ok(Self {
            ptr: base.cast::<u8>().wrapping_add(head),
            len: request.len,
            page,
        })
    }

    /// Gives a pointer to the first byte. Valid for reads of [`len`](Self::len) bytes for as long
    /// as the map lives and is not moved, and as far as the file reaches.
    #[must_use]
    #[inline]
    pub const fn as_ptr(&self) -> *const u8 {
        self.ptr.cast_const()
    }

    /// Gives a pointer to the first byte, valid for writes too where the map is writable. A write
    /// to a read-only map raises SIGSEGV.
    #[must_use]
    #[inline]
    pub const fn as_mut_ptr(&self) -> *mut u8 {
        self.ptr
    }

    /// Gives the length in bytes, as it was asked for, not rounded to pages.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether the length is 0.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives the page size that this map rounds by: the kernel's, the one supplied, or the huge
    /// page size.
    #[must_use]
    #[inline]
    pub const fn page_size(&self) -> PageSize {
        self.page
    }

    /// `msync(.., MS_SYNC)` of the whole map -- writes every changed byte to the medium and waits.
    ///
    /// When this returns `Ok`, the bytes survive a power cut. A signal that interrupts the wait
    /// does not end it. A private map ([`map_copy`](crate::MmapOptions::map_copy) and private anonymous
    /// memory) stores nothing: it is `Ok`, and there is nothing to survive. The file's times need
    /// not be stored.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: write-back failed (`EIO`, `ENOSPC`, ...). The kernel then forgets that the
    ///   pages were changed: a second flush says `Ok` without having stored them.
    ///
    /// # References
    ///
    /// - [msync(2)](https://man7.org/linux/man-pages/man2/msync.2.html)
    #[inline]
    pub fn flush(&self) -> Result<(), Error> {
        self.sync(0, self.len, MsyncFlags::SYNC)
    }

    /// `msync(.., MS_ASYNC)` of the whole map -- on Linux this starts nothing.
    ///
    /// The kernel checks the range and returns; the bytes are written when the kernel's own timer
    /// gets to them, about 30 seconds later. Use [`flush`](Self::flush) to have them stored.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the kernel refused the range.
    #[inline]
    pub fn flush_async(&self) -> Result<(), Error> {
        self.sync(0, self.len, MsyncFlags::ASYNC)
    }

    /// Like [`flush`](Self::flush), for `len` bytes at `offset`.
    ///
    /// Whole pages are written, so bytes around the range may be stored too. 0 bytes store
    /// nothing. One call is one flush command to the device: to store many small changes, one call
    /// over all of them costs far less than a call for each.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was stored.
    /// - [`Error::Sys`]: as for [`flush`](Self::flush).
    #[inline]
    pub fn flush_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.sync(offset, len, MsyncFlags::SYNC)
    }

    /// Like [`flush_async`](Self::flush_async), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map.
    /// - [`Error::Sys`]: as for [`flush_async`](Self::flush_async).
    #[inline]
    pub fn flush_async_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.sync(offset, len, MsyncFlags::ASYNC)
    }

    /// `madvise` of the whole map -- tells the kernel how it will be used.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the kernel does not know the advice, or it does not fit this map
    ///   (`EINVAL`), or a page cannot be had (`ENOMEM`, `EFAULT`, `EIO`).
    ///
    /// # References
    ///
    /// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
    #[inline]
    pub fn advise(&self, advice: Advice) -> Result<(), Error> {
        self.madvise(Span::whole(self.len), advice.number())
    }

    /// Like [`advise`](Self::advise), for `len` bytes at `offset`.
    ///
    /// 0 bytes advise nothing. Advice that the kernel keeps for each range (`Random`,
    /// `Sequential`, `DontFork`, `HugePage`, `DontDump`, `Mergeable`) splits the map into several
    /// VMAs; every later [`flush`](Self::flush) then costs one flush of the device for each, and
    /// [`remap`](Self::remap) may be refused.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was advised.
    /// - [`Error::Sys`]: as for [`advise`](Self::advise).
    #[inline]
    pub fn advise_range(&self, advice: Advice, offset: usize, len: usize) -> Result<(), Error> {
        self.madvise(Span::new(offset, len, self.len)?, advice.number())
    }

    /// `madvise` of the whole map, with advice that can change what the memory holds.
    ///
    /// # Safety
    ///
    /// - No reference to the map's bytes lives, or the advice leaves the bytes as they are.
    /// - For [`UncheckedAdvice::Remove`]: no other map of the file, in any process, has a reference
    ///   to the bytes.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: as for [`advise`](Self::advise).
    #[inline]
    pub unsafe fn unchecked_advise(&self, advice: UncheckedAdvice) -> Result<(), Error> {
        self.madvise(Span::whole(self.len), advice.number())
    }

    /// Like [`unchecked_advise`](Self::unchecked_advise), for `len` bytes at `offset`, rounded out
    /// to whole pages: bytes around the range change too.
    ///
    /// # Safety
    ///
    /// - As for [`unchecked_advise`](Self::unchecked_advise).
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was advised.
    /// - [`Error::Sys`]: as for [`advise`](Self::advise).
    #[inline]
    pub unsafe fn unchecked_advise_range(
        &self,
        advice: UncheckedAdvice,
        offset: usize,
        len: usize,
    ) -> Result<(), Error> {
        self.madvise(Span::new(offset, len, self.len)?, advice.number())
    }

    /// `mlock` of the whole map -- reads it into memory and keeps it there.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: past the limit `RLIMIT_MEMLOCK` (`ENOMEM`, `EPERM`), or a page cannot be
    ///   read (`EAGAIN`, `ENOMEM`).
    ///
    /// # References
    ///
    /// - [mlock(2)](https://man7.org/linux/man-pages/man2/mlock.2.html)
    #[inline]
    pub fn lock(&self) -> Result<(), Error> {
        self.mlock(Span::whole(self.len), false)
    }

    /// Like [`lock`](Self::lock), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was locked.
    /// - [`Error::Sys`]: as for [`lock`](Self::lock).
    #[inline]
    pub fn lock_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.mlock(Span::new(offset, len, self.len)?, false)
    }

    /// `mlock2(.., MLOCK_ONFAULT)` of the whole map -- keeps each page in memory from its first
    /// touch on. Linux 4.4.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: as for [`lock`](Self::lock), and `ENOSYS` below Linux 4.4.
    #[inline]
    pub fn lock_on_fault(&self) -> Result<(), Error> {
        self.mlock(Span::whole(self.len), true)
    }

    /// Like [`lock_on_fault`](Self::lock_on_fault), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was locked.
    /// - [`Error::Sys`]: as for [`lock_on_fault`](Self::lock_on_fault).
    #[inline]
    pub fn lock_on_fault_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.mlock(Span::new(offset, len, self.len)?, true)
    }

    /// `munlock` of the whole map -- undoes every lock. Locks do not nest.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the kernel refused the range.
    #[inline]
    pub fn unlock(&self) -> Result<(), Error> {
        self.munlock(Span::whole(self.len))
    }

    /// Like [`unlock`](Self::unlock), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was unlocked.
    /// - [`Error::Sys`]: as for [`unlock`](Self::unlock).
    #[inline]
    pub fn unlock_range(&self, offset: usize, len: usize) -> Result<(), Error> {
        self.munlock(Span::new(offset, len, self.len)?)
    }

    /// `mprotect` of the whole map -- changes what may be done with it.
    ///
    /// An access that is not allowed raises SIGSEGV. The file must have been opened for what is
    /// asked.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: the file was opened for less, or is mounted `noexec` (`EACCES`).
    ///
    /// # References
    ///
    /// - [mprotect(2)](https://man7.org/linux/man-pages/man2/mprotect.2.html)
    #[inline]
    pub fn protect(&mut self, protection: Protection) -> Result<(), Error> {
        let prot = protection.flags();
        let (base, mapped) = self.all_pages();
        // SAFETY: all pages of this map, and `&mut self` rules out references: the types that hand them
        // out borrow the value.
        let mut result = unsafe { sys::mprotect(base, mapped, prot) };
        if refused_huge(result) {
            for len in huge_lens(mapped) {
                // SAFETY: as above; see `huge_lens`.
                result = unsafe { sys::mprotect(base, len, prot) };
                if !refused_huge(result) {
                    break;
                }
            }
        }
        result
    }

    /// Like [`protect`](Self::protect), for `len` bytes at `offset`, rounded out to whole pages.
    ///
    /// It splits the map into several VMAs; see [`advise_range`](Self::advise_range).
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map; nothing was changed.
    /// - [`Error::Sys`]: as for [`protect`](Self::protect).
    #[inline]
    pub fn protect_range(
        &mut self,
        protection: Protection,
        offset: usize,
        len: usize,
    ) -> Result<(), Error> {
        let (start, len) = self.cover(Span::new(offset, len, self.len)?);
        if len == 0 {
            // QEMU's user mode answers ENOMEM to 0 bytes, where Linux says that all is well.
            return Ok(());
        }
        // SAFETY: `cover` gives pages of this map, and `&mut self` rules out references.
        unsafe { sys::mprotect(start, len, protection.flags()) }
    }

    /// `mremap` -- changes the length of the map to `new_len` bytes, from the same file offset on.
    ///
    /// It does not change the file. On an error the map is as it was. The map must be one VMA; see
    /// [`advise_range`](Self::advise_range).
    ///
    /// # Errors
    ///
    /// - [`Error::TooLong`]: `new_len` does not fit in an `isize`, or its pages not in the address
    ///   space.
    /// - [`Error::Sys`]: there is no room at this address and the options do not allow to move
    ///   (`ENOMEM`), or the map is more than one VMA (`EFAULT`).
    ///
    /// # Safety
    ///
    /// - Pointers into the map are not used afterwards, if it may move or shrinks.
    /// - Bytes past the end of the file are not accessed: that raises SIGBUS.
    ///
    /// # References
    ///
    /// - [mremap(2)](https://man7.org/linux/man-pages/man2/mremap.2.html)
    #[inline]
    pub unsafe fn remap(&mut self, new_len: usize, options: RemapOptions) -> Result<(), Error> {
        let head = self.head();
        let new_mapped = mapped_len(self.page, head, new_len)?;
        let (base, old_mapped) = self.all_pages();
        // SAFETY: all pages of this map, and only the result is used from here on.
        let base = unsafe { sys::mremap(base, old_mapped, new_mapped, options.flags())? };
        self.ptr = base.cast::<u8>().wrapping_add(head);
        self.len = new_len;
        self.page = fitting(self.page, base, new_mapped, head, new_len);
        Ok(())
    }

    /// Distance in bytes from the start of the first page to the first byte.
    #[inline]
    fn head(&self) -> usize {
        self.page.offset_in_page(self.ptr.addr())
    }

    /// The first page and the bytes of all pages, by the invariant.
    #[inline]
    fn all_pages(&self) -> (*mut c_void, usize) {
        let head = self.head();
        // `unwrap_or` is for the compiler: the constructor and `remap` have seen `Ok`.
        let mapped = mapped_len(self.page, head, self.len).unwrap_or(self.len);
        (self.ptr.wrapping_sub(head).cast(), mapped)
    }

    /// The whole pages that hold `span`, as addresses. The one way from a checked range to the kernel.
    #[inline]
    fn cover(&self, span: Span) -> (*mut c_void, usize) {
        let first = self.ptr.wrapping_add(span.offset());
        let in_page = self.page.offset_in_page(first.addr());
        // The end needs a whole number of pages where pages are huge; the kernel rounds to its own.
        // `unwrap_or` is for the compiler: `mapped_len` was seen to hold all of the map.
        let (_, len) = self.page.cover(in_page, span.len()).unwrap_or((0, 0));
        (first.wrapping_sub(in_page).cast(), len)
    }

    /// No bytes store nothing; or there is an error to tell. Out of line, for the sake of `sync`.
    #[cold]
    #[inline(never)]
    fn sync_nothing(&self, offset: usize, len: usize) -> Result<(), Error> {
        Span::new(offset, len, self.len).map(|_| ())
    }

    #[inline]
    fn sync(&self, offset: usize, len: usize, flags: MsyncFlags) -> Result<(), Error> {
        let Some(span) = Span::not_empty(offset, len, self.len) else {
            return self.sync_nothing(offset, len);
        };
        // `cover` without its second half: msync(2) rounds the end by itself, for huge pages too.
        let first = self.ptr.wrapping_add(span.offset());
        let in_page = self.page.offset_in_page(first.addr());
        let (start, len) = (
            first.wrapping_sub(in_page),
            span.len().wrapping_add(in_page),
        );
        // SAFETY: from the start of the page that holds the span's first byte to its last byte:
        // pages of this map.
        unsafe { sys::msync(start.cast(), len, flags) }
    }

    #[inline]
    fn madvise(&self, span: Span, advice: sys::AdviceNumber) -> Result<(), Error> {
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map. Advice that changes bytes comes only from the
        // unsafe `unchecked_advise`, whose caller answers for references.
        unsafe { sys::madvise(start, len, advice) }
    }

    #[inline]
    fn mlock(&self, span: Span, on_fault: bool) -> Result<(), Error> {
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map.
        unsafe { sys::mlock(start, len, on_fault) }
    }

    #[inline]
    fn munlock(&self, span: Span) -> Result<(), Error> {
        let (start, len) = self.cover(span);
        // SAFETY: `cover` gives pages of this map.
        unsafe { sys::munlock(start, len) }
    }
}

/// The page size that the invariant holds for: that of the request, unless the map does not start at a
/// multiple of it. Then one was supplied that is larger than the kernel's.
#[inline]
fn fitting(page: PageSize, base: *mut c_void, mapped: usize, head: usize, len: usize) -> PageSize {
    if page.offset_in_page(base.addr()) == 0 {
        page
    } else {
        trim(base, mapped, head, len)
    }
}

/// Gives the page size that the address of a new map allows, and unmaps what its bytes then do not need.
#[cold]
#[inline(never)]
fn trim(base: *mut c_void, mapped: usize, head: usize, len: usize) -> PageSize {
    let bits = u8::try_from(base.addr().trailing_zeros()).unwrap_or(0);
    // Never an error: a pointer that is not null has fewer zeros than a word has bits.
    let page = PageSize::from_bits(bits).unwrap_or(PageSize::KIB_4);
    let before = page.floor(head);
    // At most `mapped`, which is a multiple of a larger page size.
    let after = page.ceil(head.wrapping_add(len.max(1))).unwrap_or(mapped);
    for (start, end) in [(0, before), (after, mapped)] {
        if start < end {
            let first = base.cast::<u8>().wrapping_add(start).cast();
            // SAFETY: pages of the new map, outside those that hold its bytes. An error leaves them
            // mapped, which harms nobody.
            let _ = unsafe { sys::munmap(first, end.wrapping_sub(start)) };
        }
    }
    page
}

/// Lengths to try where the kernel refused one because it cuts a huge page in two: a file on hugetlbfs
/// was mapped, whose page size is not known here.
///
/// They are the next powers of two's multiples. Each is at most what the huge pages of the map take, so
/// memory behind the map is never touched, and the first that the kernel accepts is exactly that.
fn huge_lens(mapped: usize) -> impl Iterator<Item = usize> {
    /// The largest huge page of any architecture has 16 GiB.
    const BITS: core::ops::RangeInclusive<u8> = 13..=34;
    BITS.filter_map(move |bits| PageSize::from_bits(bits).ok()?.ceil(mapped))
}

fn refused_huge(result: Result<(), Error>) -> bool {
    matches!(
        result,
        Err(Error::Sys {
            errno: Errno::INVAL,
            ..
        })
    )
}

impl Drop for MmapRaw {
    #[inline]
    fn drop(&mut self) {
        let (base, mapped) = self.all_pages();
        // An error has nowhere to go: Drop cannot return one and must not panic. The only one that is
        // not handled is ENOMEM, if splitting a merged VMA passes the limit on their number; the pages
        // then stay mapped and nothing else is harmed.
        // SAFETY: all pages of this map, and the value ends here. The types that hand out references
        // borrow it, so none is left.
        if unsafe { sys::munmap(base, mapped) } == Err(Errno::INVAL) {
            unmap_huge(base, mapped);
        }
    }
}

/// The part of `drop` for files on hugetlbfs.
#[cold]
#[inline(never)]
fn unmap_huge(base: *mut c_void, mapped: usize) {
    for len in huge_lens(mapped) {
        // SAFETY: as in `drop`, whose pages these are; see `huge_lens`.
        if unsafe { sys::munmap(base, len) } != Err(Errno::INVAL) {
            break;
        }
    }
}

impl fmt::Debug for MmapRaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmapRaw")
            .field("ptr", &self.as_ptr())
            .field("len", &self.len())
            .finish()
    }
}

/// What may be done with the bytes of a map; see [`MmapRaw::protect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// `PROT_NONE`: nothing. For guard pages.
    None,
    /// `PROT_READ`.
    ReadOnly,
    /// `PROT_READ | PROT_WRITE`.
    ReadWrite,
    /// `PROT_READ | PROT_EXEC`.
    ReadExec,
}

impl Protection {
    #[inline]
    const fn flags(self) -> MprotectFlags {
        match self {
            Self::None => MprotectFlags::empty(),
            Self::ReadOnly => MprotectFlags::READ,
            Self::ReadWrite => MprotectFlags::READ.union(MprotectFlags::WRITE),
            Self::ReadExec => MprotectFlags::READ.union(MprotectFlags::EXEC),
        }
    }
}

/// Options for [`MmapRaw::remap`] and its relatives.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemapOptions {
    may_move: bool,
}

impl RemapOptions {
    /// Starts with the default: the map does not move.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self { may_move: false }
    }

    /// `MREMAP_MAYMOVE`: lets the kernel move the map to another address where it cannot grow in
    /// place. Every pointer into it is then stale.
    #[must_use]
    #[inline]
    pub const fn may_move(mut self, may_move: bool) -> Self {
        self.may_move = may_move;
        self
    }

    #[inline]
    const fn flags(self) -> MremapFlags {
        if self.may_move {
            MremapFlags::MAYMOVE
        } else {
            MremapFlags::empty()
        }
    }
}
