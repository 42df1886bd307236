//! Calls on files: what they are, how long, and how their bytes get to stable storage.

use core::ffi::CStr;
use core::num::NonZeroU64;

#[cfg(feature = "record")]
use rustix::fs::FlockOperation;
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, MemfdFlags, SealFlags, StatxAttributes, StatxFlags,
};
use rustix::io::{IoSlice, ReadWriteFlags};
use rustix::ioctl::{self, Getter, Opcode, Updater, opcode};

use super::{AsFd, AsRawFd, BorrowedFd, Errno, OwnedFd, PATIENCE, again, named};
use crate::error::{Call, Error};
use crate::page::PageSize;

#[cfg(any(feature = "device", feature = "record"))]
/// pread(2), once.
pub(crate) fn pread(file: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *bytes, offset))
}

/// Takes the lock of flock(2), for this open file alone or with other readers, or says `EWOULDBLOCK`.
#[cfg(feature = "record")]
pub(crate) fn lock_file(file: BorrowedFd<'_>, alone: bool) -> Result<(), Errno> {
    let operation = match alone {
        true => FlockOperation::NonBlockingLockExclusive,
        false => FlockOperation::NonBlockingLockShared,
    };
    again(|| rustix::fs::flock(file, operation))
}

/// fsync(2).
pub(crate) fn fsync(file: BorrowedFd<'_>) -> Result<(), Errno> {
    again(|| rustix::fs::fsync(file))
}

/// `sync_file_range(2)` with `SYNC_FILE_RANGE_WRITE`: starts to write the range's dirty pages, and drops none.
pub(crate) fn start_to_write(file: BorrowedFd<'_>, offset: u64, len: u64) -> Result<(), Errno> {
    again(|| super::bare::sync_file_range(file.as_raw_fd(), offset, len))
}

/// `POSIX_FADV_DONTNEED`: drops pages of the range that are clean and that no mapping uses.
pub(crate) fn drop_clean_pages(
    file: BorrowedFd<'_>,
    offset: u64,
    len: Option<NonZeroU64>,
) -> Result<(), Errno> {
    rustix::fs::fadvise(file, offset, len, rustix::fs::Advice::DontNeed)
}

/// fallocate(2), once: a signal may undo its work, so the caller asks for less then.
pub(crate) fn fallocate(
    file: BorrowedFd<'_>,
    offset: u64,
    len: u64,
    keep_size: bool,
) -> Result<(), Errno> {
    let mode = if keep_size {
        FallocateFlags::KEEP_SIZE
    } else {
        FallocateFlags::empty()
    };
    rustix::fs::fallocate(file, mode, offset, len)
}

/// ftruncate(2).
pub(crate) fn ftruncate(file: BorrowedFd<'_>, len: u64) -> Result<(), Errno> {
    again(|| rustix::fs::ftruncate(file, len))
}

/// Returns whether the file system has not as many bytes for the file, root's and the file's own among them. Unknown is
/// `false`, as where it has no limit.
pub(crate) fn lacks_room(file: BorrowedFd<'_>, bytes: u64) -> bool {
    let (Ok(stat), Ok(system)) = (rustix::fs::fstat(file), rustix::fs::fstatfs(file)) else {
        return false;
    };
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        // A device lies on another file system.
        return false;
    }
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "of several widths and signs, by architecture"
    )]
    let numbers = (
        u64::try_from(stat.st_blocks).unwrap_or(u64::MAX),
        u64::try_from(system.f_blocks).unwrap_or(0),
        u64::try_from(system.f_bfree).unwrap_or(u64::MAX),
        u64::try_from(system.f_frsize).unwrap_or(u64::MAX),
    );
    let (sectors, blocks, free, size) = numbers;
    let own = sectors.saturating_mul(512);
    // On a full one nothing can be filled in vain; and some say 0 that do not count.
    blocks > 0 && free > 0 && free.saturating_mul(size).saturating_add(own) < bytes
}

/// `pwritev2(2)` with `RWF_APPEND` (Linux 4.16): makes a file that is shorter than `end` as long. It never shortens one that
/// another process made longer meanwhile, and writes over nothing.
pub(crate) fn append_zeros(file: BorrowedFd<'_>, end: u64) -> Result<(), Errno> {
    const BLOCK: &[u8] = &[0; 4096];
    let (mut longest, mut in_vain) = (0, 0u32);
    loop {
        let len = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
        in_vain = if len > longest {
            0
        } else {
            in_vain.wrapping_add(1)
        };
        longest = longest.max(len);
        if in_vain > PATIENCE {
            // Another process shortens it again and again.
            return Err(Errno::AGAIN);
        }
        let Some(missing) = end.checked_sub(len).filter(|missing| *missing > 0) else {
            return Ok(());
        };
        let part = usize::try_from(missing).unwrap_or(usize::MAX);
        let zeros = [IoSlice::new(BLOCK.get(..part).unwrap_or(BLOCK))];
        let append = ReadWriteFlags::APPEND;
        match again(|| rustix::io::pwritev2(file, &zeros, 0, append)) {
            Ok(0) => return Err(Errno::IO),
            Ok(_) => {}
            // Before Linux 4.16: where another process makes it longer at this moment, it is shortened.
            Err(Errno::NOSYS | Errno::OPNOTSUPP) => return ftruncate(file, end),
            Err(errno) => return Err(errno),
        }
    }
}

/// What fstat(2) says about a file's type and its length in bytes.
#[inline]
pub(crate) fn file_type_and_len(file: BorrowedFd<'_>) -> Result<(FileType, u64), Error> {
    let stat = named(Call::Fstat, rustix::fs::fstat(file))?;
    // The kernel never reports a negative length.
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    Ok((FileType::from_raw_mode(stat.st_mode), len))
}

/// `BLKGETSIZE64`: the length of a block device in bytes.
pub(crate) fn block_device_len(device: BorrowedFd<'_>) -> Result<u64, Error> {
    // The number encodes the size of size_t, but the kernel writes 64 bits on every architecture.
    const BLKGETSIZE64: Opcode = opcode::read::<usize>(0x12, 114);
    // SAFETY: a valid opcode, and u64 is what the kernel writes for it.
    let getter = unsafe { Getter::<BLKGETSIZE64, u64>::new() };
    // SAFETY: BLKGETSIZE64 only writes the u64; on a file of another type it is ENOTTY.
    named(Call::Ioctl, unsafe { ioctl::ioctl(device, getter) })
}

/// `memfd_create(2)`.
pub(crate) fn memfd_create(name: &CStr, flags: MemfdFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::memfd_create(name, flags)
}

/// fcntl(2) with `F_GET_SEALS`.
pub(crate) fn get_seals(file: BorrowedFd<'_>) -> Result<SealFlags, Error> {
    named(Call::Fcntl, rustix::fs::fcntl_get_seals(file))
}

/// fcntl(2) with `F_ADD_SEALS`.
pub(crate) fn add_seals(file: BorrowedFd<'_>, seals: SealFlags) -> Result<(), Error> {
    named(Call::Fcntl, rustix::fs::fcntl_add_seals(file, seals))
}

/// The page size of a file on hugetlbfs, which fstatfs(2) knows.
pub(crate) fn huge_page_of(file: BorrowedFd<'_>) -> Option<PageSize> {
    const HUGETLBFS_MAGIC: [u8; 4] = 0x9584_58f6u32.to_le_bytes();
    let stat = rustix::fs::fstatfs(file).ok()?;
    // Of several widths and signs, by architecture.
    if !stat.f_type.to_le_bytes().starts_with(&HUGETLBFS_MAGIC) {
        return None;
    }
    PageSize::new(usize::try_from(stat.f_bsize).ok()?).ok()
}

/// `F_GET_SEALS`; `None` for a file that cannot have seals.
pub(crate) fn seals(file: BorrowedFd<'_>) -> Option<SealFlags> {
    rustix::fs::fcntl_get_seals(file).ok()
}

/// Returns whether fs-verity protects the file: the file system says so in statx(2), Linux 5.5, and
/// answers `FS_IOC_MEASURE_VERITY`.
///
/// The ioctl alone proves nothing: FUSE passes it to its daemon, which may answer what it likes. The
/// attribute comes from the kernel's own file systems.
pub(crate) fn has_verity(file: BorrowedFd<'_>) -> bool {
    /// The head of the kernel's `struct fsverity_digest`: algorithm and digest size.
    type DigestHead = [u16; 2];
    const FS_IOC_MEASURE_VERITY: Opcode = opcode::read_write::<DigestHead>(b'f', 134);
    // Not asked for in the attributes' mask too: btrfs sets the one and not the other.
    let claimed = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::VERITY));
    if !claimed {
        return false;
    }
    // A digest size of 0: the kernel has no room to write the digest, and says so.
    let mut head: DigestHead = [0, 0];
    // SAFETY: a valid opcode, and `DigestHead` is what the kernel reads and writes for it.
    let updater = unsafe { Updater::<FS_IOC_MEASURE_VERITY, DigestHead>::new(&mut head) };
    // SAFETY: the kernel writes past the head only what the given digest size of 0 allows: nothing.
    let result = unsafe { ioctl::ioctl(file, updater) };
    matches!(result, Ok(()) | Err(Errno::OVERFLOW))
}

/// The size of the kernel's default huge page: hugetlbfs reports it as its block size (Linux 4.14).
pub(crate) fn default_huge_page() -> Result<PageSize, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
    let file: OwnedFd = named(
        Call::MemfdCreate,
        rustix::fs::memfd_create(c"rawmap-huge-page-size", flags),
    )?;
    let stat = named(Call::Fstat, rustix::fs::fstat(file.as_fd()))?;
    // 64 bits wide on some architectures and 32 on others.
    PageSize::new(usize::try_from(stat.st_blksize).unwrap_or(0))
}
