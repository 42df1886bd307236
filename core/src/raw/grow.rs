//! Extends a map with its file, and gives a file its place on the device.
//!
//! Nothing here makes a file shorter: another process may have made it longer meanwhile, and have stored there.

use super::pages::mapped_len;
use super::{MmapRaw, RemapOptions, to_u64};
use crate::error::{Call, Error};
use crate::span::Span;
use crate::sys::{self, AsFd, BorrowedFd, Errno, FileType, PATIENCE, Touch};

impl MmapRaw {
    /// Extends the file and the map together, so that the map has `new_len` bytes, all of which can be stored to; or
    /// leaves the map as it was; and the length of `file`, unless a last look at the new pages fails ([`Error::Unreachable`],
    /// or [`Error::Sys`] of madvise(2) or futex(2), as without memory). A `new_len` that is not larger changes nothing.
    ///
    /// `file` is the one that is mapped, open for writing. Its space is reserved as [`reserve`](crate::reserve) does, so
    /// that a full disk is an error here and not a SIGBUS later. To a file system that cannot reserve (UBIFS, NFS before 4.2)
    /// zeros are appended: there the file may stay longer where that fails, and where two processes do it at once; on NFS no
    /// other client may write. The map may move: pointers into it are then stale. The new length is on stable storage after the
    /// next [`flush`](Self::flush) of the new bytes, or [`flush_all`](Self::flush_all). A map of huge pages does not grow.
    ///
    /// # Errors
    ///
    /// - [`Error::NoSpace`]: the disk is full, or the quota reached.
    /// - [`Error::NoFile`]: the map is of memory, not of a file, or is private.
    /// - [`Error::OutOfRange`]: a block device is not as long, or the end does not fit in a file.
    /// - [`Error::TooLong`]: the length does not fit in an `isize`.
    /// - [`Error::Sys`]: the address space has no room (`ENOMEM`), the map is more than one VMA (`EFAULT`; see
    ///   [`advise_range`](Self::advise_range)) or of huge pages (`EINVAL`), the file is not open for writing (`EBADF`,
    ///   `EINVAL`), is sealed (`EPERM`) or would pass the largest length (`EFBIG`; past `RLIMIT_FSIZE` SIGXFSZ, too).
    /// - [`Error::Unreachable`]: `file` is not the one that is mapped, or another process truncated it meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// # use rawmap_core::{MmapRaw, memfd::MemfdOptions, reserve};
    /// # let file = MemfdOptions::new().create(c"log")?;
    /// # reserve(&file, 0, 4096)?;
    /// let mut map = MmapRaw::map_raw(&file)?;
    /// map.grow(&file, 3 * map.len())?; // Pointers of before are stale.
    /// map.shared().write(8192, b"behind the old end")?;
    /// map.flush()?;
    /// # Ok::<(), rawmap_core::Error>(())
    /// ```
    pub fn grow<F: AsFd>(&mut self, file: F, new_len: usize) -> Result<(), Error> {
        let old_len = self.len;
        if new_len <= old_len {
            return Ok(());
        }
        let file = file.as_fd();
        let offset = self.file_offset()?;
        if self.is_private() {
            // Its bytes never reach the file, and neither does its length.
            return Err(Error::NoFile);
        }
        // What remap checks, before anything is changed.
        mapped_len(self.page, self.head(), new_len)?;
        let (kind, file_len) = sys::file_type_and_len(file)?;
        let (len, limit) = match kind {
            FileType::BlockDevice => (to_u64(new_len), sys::block_device_len(file)?),
            _ => (to_u64(new_len), LONGEST),
        };
        let end = end_of(offset, len, limit)?;
        self.resize(new_len, RemapOptions::new().may_move(true))?;
        if kind == FileType::BlockDevice {
            return Ok(());
        }
        // In range: they lie between the map's first byte and `end`.
        let old_end = offset.wrapping_add(to_u64(old_len));
        let first = old_end.min(file_len).max(offset);
        let grown = self.extend(file, first, end, old_len);
        if grown.is_err() {
            // Shrinking in place takes nothing that could be short.
            let _ = self.resize(old_len, RemapOptions::new());
        }
        grown
    }

    /// Extends the file to the end of the map.
    fn extend(
        &self,
        file: BorrowedFd<'_>,
        first: u64,
        end: u64,
        old_len: usize,
    ) -> Result<(), Error> {
        match allocate(file, first, end.wrapping_sub(first)) {
            Err(error) if cannot_reserve(&error) => {
                sys::append_zeros(file, end)
                    .map_err(|errno| refused(Call::Write, errno, first, end.wrapping_sub(first)))?;
            }
            result => {
                result?;
                extend_to(file, end)?;
            }
        }
        // If another file was given by mistake, this one is as short as it was.
        let new = Span::new(old_len, self.len.wrapping_sub(old_len), self.len)?;
        let [_, last] = new.ends();
        match self.prefault(last, Touch::Read) {
            Err(Error::Protected) => Ok(()),
            reached => reached,
        }
    }
}

/// A file has at most this many bytes.
const LONGEST: u64 = i64::MAX.cast_unsigned();

/// Checks that `len` bytes at `offset` end at `limit` at most, and returns where.
fn end_of(offset: u64, len: u64, limit: u64) -> Result<u64, Error> {
    offset
        .checked_add(len)
        .filter(|end| *end <= limit)
        .ok_or(Error::OutOfRange { offset, len, limit })
}

fn refused(call: Call, errno: Errno, offset: u64, len: u64) -> Error {
    match errno {
        Errno::NOSPC | Errno::DQUOT => Error::NoSpace { offset, len, errno },
        errno => Error::of_range(call, errno, offset, len),
    }
}

fn cannot_reserve(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::OPNOTSUPP | Errno::NOSYS))
}

/// Reserves, and leaves the length as it is. In smaller and smaller pieces where signals interrupt the call: a file
/// system may undo its work then, as tmpfs did before Linux 6.6.
pub(crate) fn allocate(file: BorrowedFd<'_>, offset: u64, len: u64) -> Result<(), Error> {
    /// No file system takes longer for as much than the time between two signals.
    const SMALLEST: u64 = 1 << 20;
    let end = end_of(offset, len, LONGEST)?;
    let failed = |errno| refused(Call::Fallocate, errno, offset, len);
    // A disk that lacks the room for what is past the end of the file is not filled in vain.
    let (_, file_len) = sys::file_type_and_len(file)?;
    if sys::lacks_room(file, end.saturating_sub(file_len.max(offset))) {
        // Unless the kernel has another reason, and not that it cannot reserve.
        let asked = sys::fallocate(file, end.saturating_sub(1), 1, true).map_err(failed);
        return Err(asked
            .err()
            .filter(|error| !cannot_reserve(error))
            .unwrap_or(failed(Errno::NOSPC)));
    }
    let (mut at, mut piece, mut interrupted) = (offset, len, 0u32);
    while at < end {
        let part = piece.min(end.wrapping_sub(at));
        match sys::fallocate(file, at, part, true) {
            Ok(()) => {
                at = at.wrapping_add(part);
                interrupted = 0;
            }
            Err(Errno::INTR) if interrupted < PATIENCE => {
                piece = part.wrapping_shr(1).max(SMALLEST);
                interrupted = interrupted.wrapping_add(1);
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// Makes a file longer that is shorter than `end`, by its last byte, which was reserved. Unlike ftruncate(2), this never
/// shortens one that another process made longer at the same time.
pub(crate) fn extend_to(file: BorrowedFd<'_>, end: u64) -> Result<(), Error> {
    let (_, len) = sys::file_type_and_len(file)?;
    if len >= end {
        return Ok(());
    }
    let last = end.wrapping_sub(1);
    sys::again(|| sys::fallocate(file, last, 1, false))
        .map_err(|errno| Error::of_range(Call::Fallocate, errno, last, 1))
}
