//! Calls on device files and on the text of sysfs.

use core::ffi::CStr;
use core::mem::MaybeUninit;
#[cfg(target_pointer_width = "32")]
use core::ptr;
use core::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags, RawDir};

#[cfg(target_pointer_width = "32")]
use super::bare;
use super::{BorrowedFd, Errno, OwnedFd, named};
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
