//! [`reserve`]: room for a file on the device. It needs no map.

use crate::error::Error;
use crate::raw::{allocate, extend_to};
use crate::sys::AsFd;

/// `fallocate` -- gives `len` bytes of a file at `offset` their place on the device.
///
/// A full disk is then an error now, and not a SIGBUS at a store to a map. Bytes that are there stay, holes become
/// zeros, and a file that is shorter grows to the end of the
/// range. On file systems that write each change to a new place (btrfs, and f2fs at times) a later store
/// may find the disk full all the same. A file that another process makes longer at the same time stays as long.
///
/// On an error the file has the length that it had. Blocks that were reserved before the error stay with the file: giving
/// them back would shorten it beside a process that is making it longer. ftruncate(2) to its own length frees those past its end.
///
/// A memory cgroup counts what is reserved on tmpfs and in a memfd: past its limit the kernel kills a process (SIGKILL).
///
/// # Errors
///
/// - [`Error::NoSpace`]: the disk is full, or the quota reached.
/// - [`Error::OutOfRange`]: the end is past the largest length that a file can have.
/// - [`Error::Sys`]: the file system cannot reserve (`EOPNOTSUPP`: UBIFS, JFFS2, NFS before 4.2), the file is
///   not open for writing (`EBADF`), or the end is past the largest length of a file there (`EFBIG`). Past
///   `RLIMIT_FSIZE` there is the signal SIGXFSZ, too. With `EINTR`, a thousand signals in a row interrupted the call.
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
    let file = file.as_fd();
    allocate(file, offset, len)?;
    if len == 0 {
        return Ok(());
    }
    extend_to(file, offset.saturating_add(len))
}
