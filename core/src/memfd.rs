//! Files that cannot change: sealed memfds, and fs-verity.

use crate::Error;
use crate::error::Mutable;
use crate::sys::{self, AsFd, BorrowedFd, SealFlags};

/// Checks that nobody can change a file any more, this process and root included.
///
/// That is so for a memfd with the seals `F_SEAL_WRITE` and `F_SEAL_SHRINK`, and for a file under
/// fs-verity. Seals cannot be taken back, and neither can fs-verity, so the answer stays true.
///
/// # Errors
///
/// - [`Error::Mutable`]: the file may change, with the reason.
///
/// # References
///
/// - [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html), Linux 3.17
/// - [F_GET_SEALS](https://man7.org/linux/man-pages/man2/F_GET_SEALS.2const.html)
/// - fs-verity, Linux 5.5; not believed of a FUSE file system
pub fn check_immutable<F: AsFd>(file: F) -> Result<(), Error> {
    let file = file.as_fd();
    let Some(seals) = sys::seals(file) else {
        return if sys::has_verity(file) {
            Ok(())
        } else {
            Err(Error::Mutable(Mutable::NoVerity))
        };
    };
    let missing = match (
        seals.contains(SealFlags::SHRINK),
        seals.contains(SealFlags::WRITE),
    ) {
        (true, true) => return Ok(()),
        (true, false) => Mutable::NoWriteSeal,
        (false, true) => Mutable::NoShrinkSeal,
        (false, false) => Mutable::NoSeals,
    };
    Err(Error::Mutable(missing))
}

/// Tells whether nobody can change a file any more; see [`check_immutable`].
#[must_use]
pub fn is_immutable<F: AsFd>(file: F) -> bool {
    check_immutable(file).is_ok()
}

/// Checks that `len` bytes at `offset` lie inside the file: past its end there is SIGBUS.
pub(crate) fn check_within(file: BorrowedFd<'_>, offset: u64, len: usize) -> Result<(), Error> {
    let (_, limit) = sys::file_type_and_len(file)?;
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    match offset.checked_add(len) {
        Some(end) if end <= limit => Ok(()),
        _ => Err(Error::OutOfRange { offset, len, limit }),
    }
}
