//! Buffers that a device fills or shows by itself: cameras, displays, accelerators.
//!
//! # Examples
//!
//! ```no_run
//! use rawmap_core::Error;
//! use rawmap_core::device::dmabuf::{Access, DmaBuf};
//!
//! # fn main() -> Result<(), Error> {
//! // Or `DmaBuf::new`, of a descriptor that a driver exported: `VIDIOC_EXPBUF`, `DRM_IOCTL_PRIME_HANDLE_TO_FD`.
//! let mut frame = DmaBuf::from_heap("system", 640 * 480)?;
//! let cpu = frame.begin(Access::Write)?;
//! cpu.shared().fill(0, 640 * 480, 0x80)?;
//! cpu.end()?;
//! // The device may have it now.
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs
//!
//! [`begin`](DmaBuf::begin) and [`end`](CpuAccess::end) are one system call each, and allocate nothing. Where the device looks into the
//! caches, as most on x86 do, they do no more. Elsewhere the driver that made the buffer takes its lines out of the caches: that is up to
//! the whole buffer, whatever was accessed. Begin once for each frame, not for each line.
//!
//! Leave them out for no buffer: the kernel knows what the machine needs, and a program does not. Without them a frame shows lines of
//! the one before, now and then, on some boards.
//!
//! # References
//!
//! - [Buffer sharing and synchronization](https://docs.kernel.org/driver-api/dma-buf.html#cpu-access-to-dma-buffer-objects)

use core::fmt;
use core::mem::ManuallyDrop;

use super::Problem;
use crate::device::sysfs::{Failed, Path};
use crate::error::{Errno, Error};
use crate::options::MmapOptions;
use crate::protection;
use crate::raw::MmapRaw;
use crate::shared::Shared;
use crate::sys::{self, AsFd, BorrowedFd, MapFlags, Open, OwnedFd};

/// What the processor does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It reads what the device wrote.
    Read,
    /// It writes what the device will read.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    /// `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_WRITE`.
    const fn flags(self) -> u64 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::ReadWrite => 3,
        }
    }

    const fn of_view(self) -> protection::Access {
        match self {
            Self::Read => protection::Access::READ,
            // What was written may be read back: atomic changes are both.
            Self::Write | Self::ReadWrite => protection::Access::READ_WRITE,
        }
    }
}

/// Maps a dma-buf, and unmaps and closes it when dropped.
pub struct DmaBuf {
    file: OwnedFd,
    map: MmapRaw,
}

impl DmaBuf {
    /// Maps the dma-buf behind a descriptor: all of it, as long as the kernel says. One that is open for reading only has views that
    /// only read.
    ///
    /// Whether it is a dma-buf is told by the first [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`] with [`Call::Lseek`](crate::Call::Lseek): a descriptor without a length, as of a socket (`ESPIPE`). With
    ///   [`Call::Mmap`](crate::Call::Mmap): its driver maps none for programs (`ENODEV`, `EINVAL`), or keeps it secret (`EPERM`).
    /// - [`Error::TooLong`]: it does not fit in the address space.
    pub fn new(file: OwnedFd) -> Result<Self, Error> {
        let len = sys::len_by_seeking(file.as_fd())?;
        let len = usize::try_from(len).map_err(|_| Error::TooLong { len })?;
        let access = if sys::is_read_write(file.as_fd())? {
            protection::Access::READ_WRITE
        } else {
            protection::Access::READ
        };
        let map =
            MmapOptions::new().map_request(Some(file.as_fd()), len, MapFlags::SHARED, access)?;
        Ok(Self { file, map })
    }

    /// Allocates `len` bytes of the heap `/dev/dma_heap/NAME`, rounded up to whole pages. They are 0.
    ///
    /// `system` is memory in pieces, for devices behind an IOMMU. `reserved` (before Linux 6.16 the name of the region in the device
    /// tree, as `linux,cma`) is memory in one piece. Which one a device takes is the board's.
    ///
    /// # Errors
    ///
    /// - [`Error::Device`] with [`Problem::NotFound`]: there is no such heap.
    /// - [`Error::Sys`] with [`Call::Open`](crate::Call::Open): no permission (`EACCES`). With [`Call::Ioctl`](crate::Call::Ioctl): no
    ///   memory (`ENOMEM`), or a length of 0 (`EINVAL`).
    ///
    /// # References
    ///
    /// - [DMA-BUF heaps](https://docs.kernel.org/userspace-api/dma-buf-heaps.html), Linux 5.6
    pub fn from_heap(name: &str, len: usize) -> Result<Self, Error> {
        let mut path = Path::new("/dev/dma_heap/");
        let missing = Error::Device(Problem::NotFound);
        let heap = match path.name(name).ok_or(missing)?.open(Open::READ) {
            Err(Failed(_, Errno::NOENT | Errno::NAMETOOLONG)) => return Err(missing),
            heap => heap?,
        };
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        Self::new(sys::dma_heap_alloc(heap.as_fd(), len)?)
    }

    /// Makes a dma-buf of `len` bytes at `offset` of a memfd, by `/dev/udmabuf`: a device reads what a program wrote there, without a copy.
    ///
    /// # Errors
    ///
    /// - [`Error::Device`] with [`Problem::NotFound`]: there is no `/dev/udmabuf`.
    /// - [`Error::Sys`] with [`Call::Open`](crate::Call::Open): no permission (`EACCES`). With [`Call::Ioctl`](crate::Call::Ioctl): the
    ///   file is no memfd (`EBADFD`), it is not sealed against shrinking, or is sealed against writing, or `offset` or `len` are no whole
    ///   pages, or end past the file, or `len` is 0 or above the module's limit, 64 MiB (`EINVAL`).
    ///
    /// # References
    ///
    /// - [`drivers/dma-buf/udmabuf.c`](https://github.com/torvalds/linux/blob/master/drivers/dma-buf/udmabuf.c), Linux 4.20
    pub fn from_memfd(memfd: impl AsFd, offset: u64, len: usize) -> Result<Self, Error> {
        let device = match Path::new("/dev/udmabuf").open(Open::READ_WRITE) {
            Err(Failed(_, Errno::NOENT)) => return Err(Error::Device(Problem::NotFound)),
            device => device?,
        };
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        Self::new(sys::udmabuf_create(
            device.as_fd(),
            memfd.as_fd(),
            offset,
            len,
        )?)
    }

    /// Returns the length in bytes.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.map.len()
    }

    /// Returns whether the length is 0.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// `DMA_BUF_IOCTL_SYNC` with `DMA_BUF_SYNC_START` -- waits until the device has done what it does with the buffer, and lends it to
    /// the processor until the end of what this returns.
    ///
    /// # Errors
    ///
    /// - [`Error::Protected`]: it is to be written, and its descriptor is open for reading only.
    /// - [`Error::Sys`] with [`Call::Ioctl`](crate::Call::Ioctl): this is no dma-buf, or the kernel is older than 4.6 (`ENOTTY`); its driver
    ///   failed; or it said a thousand times that it was interrupted (`EINTR`, `EAGAIN`). The processor does not have the buffer
    ///   then, and no end is due.
    pub fn begin(&mut self, access: Access) -> Result<CpuAccess<'_>, Error> {
        if !self.map.access().allows(access.of_view()) {
            return Err(Error::Protected);
        }
        sys::dma_buf_sync(self.file.as_fd(), access.flags())?;
        Ok(CpuAccess {
            buffer: self,
            access,
        })
    }
}

/// To hand the buffer to a driver or to another process.
impl AsFd for DmaBuf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for DmaBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaBuf").field("len", &self.len()).finish()
    }
}

/// The time in which the processor has a [`DmaBuf`]. It ends when this is dropped, whatever the path.
#[derive(Debug)]
#[must_use = "it ends at once"]
pub struct CpuAccess<'b> {
    buffer: &'b DmaBuf,
    access: Access,
}

impl CpuAccess<'_> {
    /// Returns a view of the whole buffer. With [`Access::Read`] it only reads.
    ///
    /// No slice: a device that does not wait may write at any time. [`Shared::wait`] is not for it: the kernel waits at no memory of a
    /// device, and says [`Error::Unreachable`].
    #[must_use]
    pub fn shared(&self) -> Shared<'_> {
        self.buffer.map.shared().only(self.access.of_view())
    }

    /// `DMA_BUF_IOCTL_SYNC` with `DMA_BUF_SYNC_END` -- gives the buffer to the device. A drop does the same, and tells no error.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`] with [`Call::Ioctl`](crate::Call::Ioctl): the driver failed, or said a thousand times that it was interrupted. The
    ///   processor does not have the buffer any more; whether the device sees what was written is not known.
    pub fn end(self) -> Result<(), Error> {
        // Once only.
        let done = ManuallyDrop::new(self);
        give(done.buffer, done.access)
    }
}

impl Drop for CpuAccess<'_> {
    fn drop(&mut self) {
        // Nobody is there to tell.
        let _ = give(self.buffer, self.access);
    }
}

fn give(buffer: &DmaBuf, access: Access) -> Result<(), Error> {
    const DMA_BUF_SYNC_END: u64 = 4;
    sys::dma_buf_sync(buffer.file.as_fd(), access.flags() | DMA_BUF_SYNC_END)
}
