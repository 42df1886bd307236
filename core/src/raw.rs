//! [`MmapRaw`]: owns the pages, and never hands out a reference to them.
//!
//! # Safety
//!
//! Everything rests on the invariant of [`MmapRaw`], stated at its fields: a checked range of the map,
//! rounded to pages, lies inside pages that the value owns. No other module can change the fields.

#![allow(
    unsafe_code,
    reason = "pointer arithmetic inside the own map, unmapping in Drop, Send and Sync"
)]

mod advise;
mod flush;
mod grow;
mod lost;
mod pages;
mod prefault;

use core::ffi::c_void;
use core::fmt;
use core::hint;

use crate::error::{Call, Error};
#[cfg(feature = "fault")]
use crate::fault::Place;
use crate::page::PageSize;
use crate::protection::{Access, Protection};
use crate::span::Span;
use crate::sys::{self, BorrowedFd, Errno, MapFlags};

use self::flush::Health;
pub(crate) use self::grow::{allocate, extend_to};
pub(crate) use self::pages::{check_len, to_u64};
use self::pages::{huge, mapped_len, narrow, unmap};

/// The file offset of a map that is of no file. No byte of a file is there: a file has at most `i64::MAX`.
const NO_FILE: u64 = u64::MAX;

/// One checked request for a map: what [`MmapOptions`] and the file came to.
#[derive(Debug)]
pub(crate) struct Request<'fd> {
    /// `None` for anonymous memory.
    pub(crate) file: Option<BorrowedFd<'fd>>,
    /// Offset in the file in bytes, at any byte.
    pub(crate) offset: u64,
    /// Length in bytes, any.
    pub(crate) len: usize,
    pub(crate) access: Access,
    pub(crate) flags: MapFlags,
    /// The unit that the kernel maps in: the page size, or the huge page size.
    pub(crate) page: PageSize,
    /// Whether the caller supplied `page`, and may be wrong.
    pub(crate) supplied: bool,
}

/// Memory that is mapped, and unmapped when the value is dropped.
///
/// It gives raw pointers and never a reference. That makes it right for memory that another process, a device
/// or the kernel may change at any time, and it is why [`map_raw`](Self::map_raw) is safe: the proof that an
/// access is sound is made where the pointer is used. It does not keep the file open.
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
/// // SAFETY: the map has 7 bytes, no process truncates the file, and the pointer is used for one
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
    // Not NonNull: its niche would change how results are laid out, and cost each map instructions.
    ptr: *mut u8,
    len: usize,
    page: PageSize,
    // Where in the file stores go; `NO_FILE` for anonymous memory.
    file_offset: u64,
    health: Health,
    // The most that any page allows.
    access: Access,
    #[cfg(feature = "fault")]
    place: Place,
}

const _: () = assert!(size_of::<MmapRaw>() <= 40);

// SAFETY: the pages belong to the process, not to a thread, and the fields are plain values.
unsafe impl Send for MmapRaw {}
// SAFETY: `&self` gives raw pointers, whose use is the caller's proof, and system calls, which the
// kernel orders.
unsafe impl Sync for MmapRaw {}

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
        let base = match sys::mmap(request.file, mapped, request.access, request.flags, first) {
            Ok(base) => base,
            Err(errno) => return Err(refused(errno, request.offset, request.len)),
        };
        if !request.supplied {
            // SAFETY: mmap(2) places a map at a multiple of the page size, and the kernel itself gave
            // this size.
            unsafe { hint::assert_unchecked(page.offset_in_page(base.addr()) == 0) };
        } else if page.offset_in_page(base.addr()) != 0 {
            // SAFETY: the new map, which nothing uses.
            unsafe { unmap(base, mapped) };
            return Err(page.unusable());
        }
        Ok(Self {
            ptr: base.cast::<u8>().wrapping_add(head),
            len: request.len,
            page,
            file_offset: if request.file.is_some() {
                request.offset
            } else {
                NO_FILE
            },
            health: Health::new(),
            access: if request.flags.contains(MapFlags::PRIVATE) {
                request.access.with(Access::PRIVATE)
            } else {
                request.access
            },
            #[cfg(feature = "fault")]
            place: Place::NONE,
        })
    }

    /// Returns a pointer to the first byte. Valid for reads of [`len`](Self::len) bytes for as long
    /// as the map lives and is not moved, and as far as the file reaches.
    #[must_use]
    #[inline]
    pub const fn as_ptr(&self) -> *const u8 {
        self.ptr.cast_const()
    }

    /// Returns a pointer to the first byte, valid for writes too where the map is writable. A write
    /// to a read-only map raises SIGSEGV.
    #[must_use]
    #[inline]
    pub const fn as_mut_ptr(&self) -> *mut u8 {
        self.ptr
    }

    /// Returns the length in bytes, as it was asked for, not rounded to pages.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the length is 0.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the page size that this map rounds by: the kernel's, the one supplied, or the huge page size.
    #[must_use]
    #[inline]
    pub const fn page_size(&self) -> PageSize {
        self.page
    }

    /// `mprotect` of the whole map -- changes what may be done with it.
    ///
    /// An access that is not allowed raises SIGSEGV. The file must have been opened for what is asked.
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
        let access = protection.access();
        let (base, mapped) = self.all_pages();
        // SAFETY: all pages of this map, and `&mut self` rules out references: the types that hand them
        // out borrow the value. See `huge` for lengths that are more.
        let result = huge(base, mapped, |len| unsafe {
            sys::mprotect(base, len, access)
        });
        self.ranged(Call::Mprotect, Span::whole(self.len), result)?;
        self.set_access(access.like(self.access));
        Ok(())
    }

    /// In the table of contained maps too.
    fn set_access(&mut self, access: Access) {
        self.access = access;
        #[cfg(feature = "fault")]
        self.tell_place();
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
        let access = protection.access();
        let span = Span::new(offset, len, self.len)?;
        let (start, len) = self.cover(span);
        if len == 0 {
            // QEMU's user mode answers ENOMEM to 0 bytes, where Linux says that all is well.
            return Ok(());
        }
        // SAFETY: `cover` gives pages of this map, and `&mut self` rules out references.
        let mut result = unsafe { sys::mprotect(start, len, access) };
        if let (Err(Errno::INVAL), Some(whole)) = (result, self.page.ceil(len)) {
            // SAFETY: as above: `start` is at a multiple of the map's page size, so this ends with
            // one of its pages.
            result = unsafe { sys::mprotect(start, whole, access) };
        }
        self.ranged(Call::Mprotect, span, result)?;
        // The most that any page allows: a page that takes the place of a lost one must take the access.
        self.set_access(self.access.with(access));
        Ok(())
    }

    /// `mremap` -- changes the length of the map to `new_len` bytes, from the same file offset on.
    ///
    /// It does not change the file. On an error the map is as it was. A map that becomes longer must be one VMA; see
    /// [`advise_range`](Self::advise_range). One that becomes shorter stays where it is: munmap(2) takes its end away, and
    /// where that is refused the addresses stay taken, and nothing more. A map of huge pages becomes no longer: `EINVAL`.
    ///
    /// # Errors
    ///
    /// - [`Error::TooLong`]: `new_len` does not fit in an `isize`, or its pages not in the address space.
    /// - [`Error::Sys`]: there is no room at this address and the options do not allow to move
    ///   (`ENOMEM`), or the map is more than one VMA (`EFAULT`), or of huge pages (`EINVAL`).
    /// - [`Error::Sys`] of a flush that failed, where the map would become shorter: retry first.
    /// - [`Error::Lost`]: a contained map lost pages, and has not recovered them.
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
        if let (true, Some(errno)) = (new_len < self.len, self.failed()) {
            // A retry stores what is in the map.
            return self.ranged(Call::Msync, Span::whole(self.len), Err(errno));
        }
        self.resize(new_len, options)
    }

    #[inline]
    fn resize(&mut self, new_len: usize, options: RemapOptions) -> Result<(), Error> {
        let head = self.head();
        let new_mapped = mapped_len(self.page, head, new_len)?;
        #[cfg(feature = "fault")]
        if self.is_contained() {
            return self.remap_contained(new_len, new_mapped, options);
        }
        self.mremap(new_len, new_mapped, options.may_move)
    }

    fn mremap(&mut self, new_len: usize, new_mapped: usize, may_move: bool) -> Result<(), Error> {
        let (base, old_mapped) = self.all_pages();
        let (call, moved) = if new_mapped < old_mapped {
            // As the kernel does it, but for QEMU's user mode of 32 bit: there mremap(2) takes pages behind the map away.
            let end = base.wrapping_byte_add(new_mapped);
            // SAFETY: pages of this map, which is shorter from here on.
            match unsafe { cut(end, old_mapped.wrapping_sub(new_mapped)) } {
                // Of huge pages that only the file is known to have: mremap(2) rounds by them (Linux 5.16).
                // SAFETY: as below.
                Err(Errno::INVAL) => (Call::Mremap, unsafe {
                    sys::mremap(base, old_mapped, new_mapped, false)
                }),
                cut => (Call::Munmap, cut.map(|()| base)),
            }
        } else {
            // SAFETY: all pages of this map, and only the result is used from here on.
            let moved = unsafe { sys::mremap(base, old_mapped, new_mapped, may_move) };
            (Call::Mremap, moved)
        };
        let base = self.ranged(call, Span::whole(new_len), moved)?;
        self.ptr = base.cast::<u8>().wrapping_add(self.head());
        self.len = new_len;
        // A supplied size that is larger than the kernel's may not hold at the new place.
        self.page = self.page.at_most_alignment_of(base.addr());
        Ok(())
    }

    /// Adds to the error of a call the range that the caller gave.
    #[inline]
    fn ranged<T>(&self, call: Call, span: Span, result: Result<T, Errno>) -> Result<T, Error> {
        let (offset, len) = (to_u64(span.offset()), to_u64(span.len()));
        result.map_err(|errno| Error::of_range(call, errno, offset, len))
    }

    /// The error of a loss, also where a flush failed before it.
    #[inline]
    #[allow(dead_code, reason = "for features")]
    pub(crate) fn check_lost(&self, span: Span) -> Result<(), Error> {
        self.check_not_lost(span)
    }

    #[inline]
    fn is_private(&self) -> bool {
        self.access.allows(Access::PRIVATE)
    }

    /// What a view may do.
    #[inline]
    pub(crate) const fn access(&self) -> Access {
        if self.access.allows(Access::LENT) {
            self.access.without(Access::WRITE)
        } else {
            self.access
        }
    }

    /// For the types that hand out slices: as long as one may live, views only read.
    #[inline]
    pub(crate) const fn lend(mut self, lent: bool) -> Self {
        self.access = if lent {
            self.access.with(Access::LENT)
        } else {
            self.access.without(Access::LENT)
        };
        self
    }

    #[doc(hidden)] // For the std crate, where memmap2's names take a bare number for a file.
    #[must_use]
    pub const fn with_views_that_read(mut self) -> Self {
        self.access = self.access.with(Access::LENT).with(Access::NUMBER);
        self
    }

    /// Distance in bytes from the start of the first page to the first byte.
    #[inline]
    pub(crate) fn head(&self) -> usize {
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
}

impl MmapRaw {
    /// Where the page of the byte at `offset` begins, and how far the byte is from there. The one way
    /// from an offset to an address.
    #[inline]
    fn locate(&self, offset: usize) -> (*mut c_void, usize) {
        let byte = self.as_mut_ptr().wrapping_add(offset);
        let in_page = self.page.offset_in_page(byte.addr());
        (byte.wrapping_sub(in_page).cast(), in_page)
    }

    /// Where the pages of a span begin, and the bytes from there to its end; no bytes for none.
    ///
    /// The end is not rounded up: the kernel does that, to its own page size, and where a supplied size
    /// is larger than that the next page may lie past the end of the file.
    #[inline]
    fn cover(&self, span: Span) -> (*mut c_void, usize) {
        let (start, in_page) = self.locate(span.offset());
        let len = if span.is_empty() {
            0
        } else {
            span.len().wrapping_add(in_page)
        };
        (start, len)
    }
}

/// munmap(2) of the end of a map. One that is refused for want of room for another VMA, or by a filter of system calls, is none
/// of the map's any more all the same: the bytes go, the addresses stay, and nothing else is harmed. `EINVAL`, of huge pages,
/// changes nothing.
///
/// # Safety
///
/// - Whole pages of the caller's map, which nothing uses afterwards.
unsafe fn cut(end: *mut c_void, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller's duty, passed on.
    match unsafe { sys::munmap(end, len) } {
        Ok(()) => {}
        Err(Errno::INVAL) => return Err(Errno::INVAL),
        // SAFETY: as above.
        Err(_) => unsafe { sys::drop_pages(end, len) },
    }
    Ok(())
}

/// Out of line: else the fields of the map that there is not are carried about for it.
#[cold]
#[inline(never)]
fn refused(errno: Errno, offset: u64, len: usize) -> Error {
    Error::of_range(Call::Mmap, errno, offset, to_u64(len))
}

impl Drop for MmapRaw {
    #[inline]
    fn drop(&mut self) {
        let (base, mapped) = self.all_pages();
        // First: an address of these pages may be another map's as soon as they are unmapped.
        #[cfg(feature = "fault")]
        if self.place != Place::NONE {
            // By value: the address of a map that is passed on costs every map that it is in memory.
            self.place.give();
        }
        // SAFETY: all pages of this map, and the value ends here. The types that hand out references
        // borrow it, so none is left.
        unsafe { unmap(base, mapped) };
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
}
