//! Calls on device files and on the text of sysfs.

use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, Setter, Updater, opcode};

#[cfg(target_pointer_width = "32")]
use super::bare;
use super::{AsRawFd as _, BorrowedFd, Errno, FromRawFd as _, OwnedFd, PATIENCE, named};
use crate::error::{Call, Error};

/// What a device file is opened for, beside being closed on exec(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open(OFlags);

impl Open {
    pub(crate) const READ: Self = Self(OFlags::RDONLY);
    pub(crate) const WRITE: Self = Self(OFlags::WRONLY);
    pub(crate) const READ_WRITE: Self = Self(OFlags::RDWR);

    /// `O_SYNC`: for `/dev/mem`, without a cache.
    pub(crate) const fn uncached(self) -> Self {
        Self(self.0.union(OFlags::SYNC))
    }

    /// `O_NONBLOCK`.
    pub(crate) const fn nonblocking(self) -> Self {
        Self(self.0.union(OFlags::NONBLOCK))
    }
}

/// open(2).
pub(crate) fn open(path: &CStr, how: Open) -> Result<OwnedFd, Errno> {
    let flags = how.0.union(OFlags::CLOEXEC);
    rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
}

/// read(2), once.
pub(crate) fn read(file: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *bytes))
}

/// write(2), once.
pub(crate) fn write(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::io::write(file, bytes))
}

/// pwrite(2), once.
pub(crate) fn pwrite(file: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, offset))
}

/// ppoll(2) for something to read: `false` when the time is over. A signal ends it.
pub(crate) fn wait_readable(
    file: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> Result<bool, Error> {
    #[cfg_attr(target_pointer_width = "64", expect(unused_mut, reason = "for 32 bit"))]
    let mut timeout = timeout.map(|timeout| Timespec {
        // More is not told from for ever.
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().cast_signed().into(),
    });
    let mut files = [PollFd::from_borrowed_fd(file, PollFlags::IN)];
    #[cfg(target_pointer_width = "32")]
    {
        let (file, time) = (
            &raw mut files,
            timeout.as_mut().map_or(ptr::null_mut(), ptr::from_mut),
        );
        // Without a mask of signals, which has 8 bytes.
        let arguments = [
            file.expose_provenance(),
            1,
            time.expose_provenance(),
            0,
            8,
            0,
        ];
        // SAFETY: one struct pollfd and a struct __kernel_timespec, which rustix's are, or none.
        match unsafe { bare::call(bare::PPOLL_TIME64, arguments) } {
            // Before Linux 5.1. rustix asks for the old call first, if that can say the time.
            Err(Errno::NOSYS | Errno::PERM) => {}
            ready => return named(Call::Ppoll, ready.map(|count| count > 0)),
        }
        if let Some(timeout) = &mut timeout {
            timeout.tv_sec = timeout.tv_sec.min(i32::MAX.into());
        }
    }
    let ready = rustix::event::poll(&mut files, timeout.as_ref());
    named(Call::Ppoll, ready.map(|count| count > 0))
}

/// getdents64(2): calls `each` with every name in a folder, `.` and `..` too, until it says `false`.
pub(crate) fn names_in(
    folder: BorrowedFd<'_>,
    mut each: impl FnMut(&CStr) -> bool,
) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); 1024];
    let mut names = RawDir::new(folder, &mut space);
    while let Some(entry) = names.next() {
        let entry = named(Call::Getdents64, entry)?;
        if !each(entry.file_name()) {
            break;
        }
    }
    Ok(())
}

/// Whether a file is open for reading and for writing: both.
pub(crate) fn is_read_write(file: BorrowedFd<'_>) -> Result<bool, Error> {
    let flags = named(Call::Fcntl, rustix::fs::fcntl_getfl(file))?;
    Ok(flags & OFlags::RWMODE == OFlags::RDWR)
}

/// lseek(2) to the end, which is how a dma-buf tells its length.
pub(crate) fn len_by_seeking(file: BorrowedFd<'_>) -> Result<u64, Error> {
    named(Call::Lseek, rustix::fs::seek(file, SeekFrom::End(0)))
}

/// `DMA_BUF_IOCTL_SYNC`.
pub(crate) fn dma_buf_sync(file: BorrowedFd<'_>, flags: u64) -> Result<(), Error> {
    /// The kernel's `struct dma_buf_sync` is its flags.
    const DMA_BUF_IOCTL_SYNC: Opcode = opcode::write::<u64>(b'b', 0);
    let mut refused = Errno::INTR;
    for _ in 0..PATIENCE {
        // SAFETY: a valid opcode, and u64 is what the kernel reads for it.
        let sync = unsafe { Setter::<DMA_BUF_IOCTL_SYNC, u64>::new(flags) };
        // SAFETY: it reads the flags; on a file of another type it is ENOTTY.
        match unsafe { ioctl::ioctl(file, sync) } {
            // The fence of a device was waited for.
            Err(errno @ (Errno::INTR | Errno::AGAIN)) => refused = errno,
            result => return named(Call::Ioctl, result),
        }
    }
    Err(Error::sys(Call::Ioctl, refused))
}

/// `DMA_HEAP_IOCTL_ALLOC`: a new dma-buf of a heap.
pub(crate) fn dma_heap_alloc(heap: BorrowedFd<'_>, len: u64) -> Result<OwnedFd, Error> {
    /// The kernel's `struct dma_heap_allocation_data`.
    #[repr(C)]
    struct Data {
        len: u64,
        fd: u32,
        fd_flags: u32,
        heap_flags: u64,
    }
    const DMA_HEAP_IOCTL_ALLOC: Opcode = opcode::read_write::<Data>(b'H', 0);
    let mut data = Data {
        len,
        fd: 0,
        fd_flags: (OFlags::RDWR | OFlags::CLOEXEC).bits(),
        heap_flags: 0,
    };
    // SAFETY: a valid opcode, and `Data` is what the kernel reads and writes for it.
    let alloc = unsafe { Updater::<DMA_HEAP_IOCTL_ALLOC, Data>::new(&mut data) };
    // SAFETY: it accesses the data only.
    named(Call::Ioctl, unsafe { ioctl::ioctl(heap, alloc) })?;
    // SAFETY: the kernel made it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(data.fd.cast_signed()) })
}

/// `UDMABUF_CREATE`: a dma-buf of the pages of a memfd.
pub(crate) fn udmabuf_create(
    device: BorrowedFd<'_>,
    memfd: BorrowedFd<'_>,
    offset: u64,
    len: u64,
) -> Result<OwnedFd, Error> {
    /// The kernel's `struct udmabuf_create`.
    #[repr(C)]
    struct Create {
        memfd: u32,
        flags: u32,
        offset: u64,
        size: u64,
    }
    const UDMABUF_CREATE: Opcode = opcode::write::<Create>(b'u', 0x42);
    const UDMABUF_FLAGS_CLOEXEC: u32 = 1;

    // SAFETY: the kernel reads the struct, and returns a new descriptor.
    unsafe impl Ioctl for Create {
        type Output = OwnedFd;

        const IS_MUTATING: bool = false;

        fn opcode(&self) -> Opcode {
            UDMABUF_CREATE
        }

        fn as_ptr(&mut self) -> *mut c_void {
            ptr::from_mut(self).cast()
        }

        unsafe fn output_from_ptr(
            output: IoctlOutput,
            _: *mut c_void,
        ) -> rustix::io::Result<OwnedFd> {
            // SAFETY: the kernel made it for this call.
            Ok(unsafe { OwnedFd::from_raw_fd(output) })
        }
    }

    let create = Create {
        memfd: memfd.as_raw_fd().cast_unsigned(),
        flags: UDMABUF_FLAGS_CLOEXEC,
        offset,
        size: len,
    };
    // SAFETY: it reads the struct only.
    named(Call::Ioctl, unsafe { ioctl::ioctl(device, create) })
}
