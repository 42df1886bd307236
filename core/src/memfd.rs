//! Files in memory that processes share, what seals forbid for ever, and files that cannot change: sealed
//! memfds, and fs-verity.

use core::ffi::CStr;
use core::fmt;
use core::ops::BitOr;

use crate::error::{Call, Error, MayChange};
use crate::page::PageSize;
use crate::sys::{self, AsFd, BorrowedFd, Errno, MemfdFlags, OwnedFd, SealFlags};

/// How to make a file in memory.
///
/// # Examples
///
/// Memory to share with a process that is not trusted. It may write what it likes, and it cannot take pages away:
///
/// ```
/// # #[cfg(feature = "std")] {
/// use rawmap_core::MmapOptions;
/// use rawmap_core::memfd::{MemfdOptions, Seals, add_seals, seals};
///
/// let file = std::fs::File::from(MemfdOptions::new().create(c"mailbox")?);
/// file.set_len(65_536).unwrap();
/// let map = MmapOptions::new().map_raw_sealed(&file)?;
/// assert!(seals(&file)?.contains(Seals::SHRINK));
/// assert!(file.set_len(0).is_err());
/// map.shared().store(0, 7u32)?;
/// # }
/// # Ok::<(), rawmap_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MemfdOptions {
    huge: Option<u8>,
}

impl MemfdOptions {
    /// Starts with the defaults: pages of the usual size.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self { huge: None }
    }

    /// `MFD_HUGETLB` (Linux 4.14): use huge pages from the pool that was set aside.
    ///
    /// `page_bits` is the binary logarithm of the huge page size, 21 for 2 MiB; `None` or 0 is the kernel's default
    /// size. A map of it is given that size by [`MmapOptions::page_size`](crate::MmapOptions::page_size). The length of
    /// the file must be a multiple of it, and a map of it neither grows nor changes its length by `remap`.
    #[doc(alias = "MFD_HUGETLB")]
    #[inline]
    pub const fn huge(&mut self, page_bits: Option<u8>) -> &mut Self {
        self.huge = match page_bits {
            Some(bits) => Some(bits),
            None => Some(0),
        };
        self
    }

    /// `memfd_create` -- makes a file in memory, of length 0, that is closed on exec(2) and takes seals.
    ///
    /// The name is for people, in `/proc/self/fd`; it needs not be the only one. The file cannot be executed, where the
    /// kernel knows how to say that (`MFD_NOEXEC_SEAL`, Linux 6.3). Set its length by ftruncate(2), then map it.
    ///
    /// # Errors
    ///
    /// - [`Error::HugePage`]: a huge page of this size does not fit in the address space.
    /// - [`Error::Sys`]: the name has more than 249 bytes, or there are no huge pages of this size (`EINVAL`,
    ///   `ENODEV`), the process has too many descriptors (`EMFILE`), or the kernel is older than 3.17 (`ENOSYS`).
    ///
    /// # References
    ///
    /// - [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html), Linux 3.17
    pub fn create(&self, name: &CStr) -> Result<OwnedFd, Error> {
        let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        if let Some(bits) = self.huge {
            // Else bits would be cut off, and it would be another size.
            PageSize::from_bits(bits)?;
            flags |= MemfdFlags::HUGETLB;
            flags |= MemfdFlags::from_bits_retain(u32::from(bits).wrapping_shl(26));
        }
        let made = match sys::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
            // Before 6.3; or for another reason, and then it is the same again.
            Err(Errno::INVAL) => sys::memfd_create(name, flags),
            made => made,
        };
        let call = Call::MemfdCreate;
        made.map_err(|errno| Error::sys(call, errno))
    }
}

/// What is forbidden for ever with a file in memory, to every process.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Seals(u32);

impl Seals {
    /// `F_SEAL_SEAL`: more seals.
    pub const SEAL: Self = Self(SealFlags::SEAL.bits());
    /// `F_SEAL_SHRINK`: a shorter length. A map inside the file then gets no SIGBUS for want of a page of the file.
    pub const SHRINK: Self = Self(SealFlags::SHRINK.bits());
    /// `F_SEAL_GROW`: a larger length.
    pub const GROW: Self = Self(SealFlags::GROW.bits());
    /// `F_SEAL_WRITE`: any change of the bytes. Not while there is a writable shared map (`EBUSY`).
    pub const WRITE: Self = Self(SealFlags::WRITE.bits());
    /// `F_SEAL_FUTURE_WRITE` (Linux 5.1): changes, but through maps that are there.
    pub const FUTURE_WRITE: Self = Self(SealFlags::FUTURE_WRITE.bits());

    /// No seal.
    #[must_use]
    #[inline]
    pub const fn none() -> Self {
        Self(0)
    }

    /// Returns whether all of `other` are among these.
    #[must_use]
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the sum of the numbers of fcntl(2). A newer kernel may have more than those with a name here.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for Seals {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["SEAL", "SHRINK", "GROW", "WRITE", "FUTURE_WRITE", "EXEC"];
        f.write_str("Seals(")?;
        let mut separator = "";
        for bit in 0..u32::BITS {
            let seal = 1u32.wrapping_shl(bit);
            if self.0 & seal != 0 {
                f.write_str(separator)?;
                match usize::try_from(bit).ok().and_then(|bit| names.get(bit)) {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "{seal:#x}")?,
                }
                separator = " | ";
            }
        }
        f.write_str(")")
    }
}

/// `fcntl(.., F_GET_SEALS)` -- gives the seals of a file in memory.
///
/// # Errors
///
/// - [`Error::Sys`]: the file cannot have seals (`EINVAL`).
///
/// # References
///
/// - [F_GET_SEALS](https://man7.org/linux/man-pages/man2/F_GET_SEALS.2const.html), Linux 3.17
pub fn seals<F: AsFd>(file: F) -> Result<Seals, Error> {
    Ok(Seals(sys::get_seals(file.as_fd())?.bits()))
}

/// `fcntl(.., F_ADD_SEALS)` -- adds seals to a file in memory. They are never taken away again.
///
/// # Errors
///
/// - [`Error::Sys`]: the file cannot have seals (`EINVAL`), or no more ([`Seals::SEAL`]), or is not open for
///   writing (`EPERM`); or [`Seals::WRITE`], while it is mapped for writing (`EBUSY`).
///
/// # References
///
/// - [F_ADD_SEALS](https://man7.org/linux/man-pages/man2/F_GET_SEALS.2const.html), Linux 3.17
pub fn add_seals<F: AsFd>(file: F, seals: Seals) -> Result<(), Error> {
    sys::add_seals(file.as_fd(), SealFlags::from_bits_retain(seals.0))
}

/// Checks that no process can shorten a file any more.
pub(crate) fn check_shrink(file: BorrowedFd<'_>) -> Result<(), Error> {
    match sys::seals(file) {
        Some(seals) if seals.contains(SealFlags::SHRINK) => Ok(()),
        Some(_) => Err(Error::MayChange(MayChange::NoShrinkSeal)),
        None => Err(Error::MayChange(MayChange::NotSealable)),
    }
}

/// Makes sure that no process can shorten a file any more.
pub(crate) fn seal_shrink(file: BorrowedFd<'_>) -> Result<(), Error> {
    match check_shrink(file) {
        Err(Error::MayChange(MayChange::NoShrinkSeal))
            if sys::add_seals(file, SealFlags::SHRINK).is_ok() =>
        {
            Ok(())
        }
        checked => checked,
    }
}

/// Checks that no process can change a file any more, this one and root included.
///
/// That is so for a memfd with the seals `F_SEAL_WRITE` and `F_SEAL_SHRINK`, and for a file under
/// fs-verity. Seals cannot be taken back, and neither can fs-verity, so the answer stays true.
///
/// # Errors
///
/// - [`Error::MayChange`]: the file may change, with the reason.
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
            Err(Error::MayChange(MayChange::NoVerity))
        };
    };
    let missing = match (
        seals.contains(SealFlags::SHRINK),
        seals.contains(SealFlags::WRITE),
    ) {
        (true, true) => return Ok(()),
        (true, false) => MayChange::NoWriteSeal,
        (false, true) => MayChange::NoShrinkSeal,
        (false, false) => MayChange::NoSeals,
    };
    Err(Error::MayChange(missing))
}

/// Returns whether no process can change a file any more; see [`check_immutable`].
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
