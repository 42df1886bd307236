//! [`Error`]: what can go wrong, with the numbers.

#[cfg(feature = "device")]
pub(crate) mod device;
mod refused;

use core::fmt;

pub use self::refused::Refused;

/// The kernel's error number; rustix's type.
pub use rustix::io::Errno;

/// Why a call failed. Small, `Copy`, and complete without an allocator: the numbers are inside.
///
/// With the feature `std` it converts to `std::io::Error`, with the kinds and the texts that
/// memmap2 gives. [`Sys`](Self::Sys) and [`NoSpace`](Self::NoSpace) become their `raw_os_error()`, without the call and
/// the numbers. Of `OutOfRange`, `PastEnd` and `TooLong` the numbers are in `source()`; the others are what `get_ref()`
/// gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a call.
    Sys {
        /// The system call.
        call: Call,
        /// Its error number.
        #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
        errno: Errno,
    },
    /// A range of bytes ends past the map, or past the file where only a whole file is safe.
    OutOfRange {
        /// First byte of the range.
        offset: u64,
        /// Length of the range in bytes.
        len: u64,
        /// Length in bytes of what it had to lie inside.
        limit: u64,
    },
    /// No length was given, and the offset lies past the end of the file.
    PastEnd {
        /// File offset in bytes.
        offset: u64,
        /// Length of the file in bytes.
        file_len: u64,
    },
    /// A length in bytes does not fit in an `isize`, or the pages around it do not fit in the
    /// address space.
    TooLong {
        /// The length in bytes.
        len: u64,
    },
    /// No length was given for a character device, which has none to ask for.
    NoLength,
    /// The map is of memory, not of a file.
    NoFile,
    /// The medium has no room for these bytes of the file, or the quota has not.
    NoSpace {
        /// First byte, in the file.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// `ENOSPC` or `EDQUOT`.
        #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
        errno: Errno,
    },
    /// A load or a store from this offset in the map on would raise SIGBUS: the file is shorter, the
    /// disk is full, or the page cannot be read.
    Unreachable {
        /// First byte that cannot be reached.
        offset: u64,
    },
    /// Bytes of the map from this offset on are lost. The kernel dropped a page that it could not write, and memory
    /// shows what the medium had before; or a contained map lost a page to SIGBUS, and shows zeros; or the file
    /// no longer reaches as far.
    Lost {
        /// First byte of the page that was lost, or of the range that was changed in it.
        offset: u64,
    },
    /// The table of contained maps has no free place: nothing was mapped.
    Full {
        /// How many places there are.
        capacity: usize,
    },
    /// The address of a word is not a multiple of its width.
    Unaligned {
        /// Its offset in the view, in bytes.
        offset: u64,
        /// What its address has to be a multiple of.
        align: u32,
    },
    /// The map's protection does not allow this access: it is read-only, say.
    Protected,
    /// A range of a flash adapter does not begin and end at multiples of the unit that is read, written or erased.
    NotInUnits {
        /// First byte of the range.
        offset: u64,
        /// Length of the range in bytes.
        len: u64,
        /// The unit in bytes.
        unit: u64,
    },
    /// An adapter's `Backing` broke its contract: it lent another number of bytes than were asked for.
    Backing {
        /// First byte that was asked for.
        offset: u64,
        /// Number of bytes that were asked for.
        len: u64,
        /// Number of bytes that it lent.
        got: u64,
    },
    /// A cursor is at the end of its map, and nothing more can be written.
    AtEnd {
        /// Length of the map in bytes.
        len: u64,
    },
    /// A cursor cannot go there: before the first byte, or past what a position can say.
    Seek {
        /// From where, in bytes.
        from: u64,
        /// By how many bytes.
        by: i64,
    },
    /// Not a page size: not a power of two, too large for this address space, or (where one is
    /// supplied) below 4096.
    PageSize {
        /// The size in bytes.
        value: u64,
    },
    /// A critical section was entered while it was running: a signal handler came in between, and the
    /// implementation does not keep signals out.
    Busy,
    /// The file may still change, so that it is not safe to hand out references to its bytes.
    Mutable(Mutable),
    /// A device gives no window to its registers.
    #[cfg(feature = "device")]
    Device(device::Problem),
}

// A Result that a register pair or a small stack slot can carry.
const _: () = assert!(size_of::<Error>() <= 32);

/// Why a file does not count as immutable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Mutable {
    /// A memfd without `F_SEAL_SHRINK`: it can be truncated.
    NoShrinkSeal,
    /// A memfd without `F_SEAL_WRITE`: it can be written.
    NoWriteSeal,
    /// A memfd, or another file on tmpfs, with neither seal.
    NoSeals,
    /// Neither a memfd nor protected by fs-verity.
    NoVerity,
}

/// The system call that an [`Error::Sys`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[repr(u8)]
pub enum Call {
    /// `posix_fadvise(2)`, to start write-back and to drop cached pages.
    Fadvise,
    /// fallocate(2).
    Fallocate,
    /// fcntl(2): `F_DUPFD_CLOEXEC` for the descriptor that a map keeps, and seals.
    Fcntl,
    /// fdatasync(2).
    Fdatasync,
    /// fsync(2).
    Fsync,
    /// ftruncate(2).
    Ftruncate,
    /// futex(2), to touch a page without a signal.
    Futex,
    /// fstat(2), for the default length and for `map_if_safe`.
    Fstat,
    /// getdents64(2), to find devices.
    Getdents64,
    /// ioctl(2): `BLKGETSIZE64`, for the default length of a block device.
    Ioctl,
    /// madvise(2).
    Madvise,
    /// `memfd_create(2)`, also for the size of the default huge page.
    MemfdCreate,
    /// mincore(2).
    Mincore,
    /// mlock(2) or mlock2(2).
    Mlock,
    /// mmap(2).
    Mmap,
    /// mprotect(2), also for the page size lookup.
    Mprotect,
    /// mremap(2).
    Mremap,
    /// msync(2).
    Msync,
    /// munlock(2).
    Munlock,
    /// open(2), of device files and of files in sysfs.
    Open,
    /// ppoll(2), to wait for an interrupt.
    Ppoll,
    /// read(2) or pread(2), of device files and of files in sysfs.
    Read,
    /// write(2) or pwrite(2), of device files and of files in sysfs.
    Write,
}

impl Call {
    /// Gives the call's name in section 2 of the manual.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fadvise => "posix_fadvise",
            Self::Fallocate => "fallocate",
            Self::Fcntl => "fcntl",
            Self::Fdatasync => "fdatasync",
            Self::Fsync => "fsync",
            Self::Ftruncate => "ftruncate",
            Self::Futex => "futex",
            Self::Fstat => "fstat",
            Self::Getdents64 => "getdents64",
            Self::Ioctl => "ioctl",
            Self::Madvise => "madvise",
            Self::MemfdCreate => "memfd_create",
            Self::Mincore => "mincore",
            Self::Mlock => "mlock",
            Self::Mmap => "mmap",
            Self::Mprotect => "mprotect",
            Self::Mremap => "mremap",
            Self::Msync => "msync",
            Self::Munlock => "munlock",
            Self::Open => "open",
            Self::Ppoll => "ppoll",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl Error {
    /// Gives the kernel's error number, where the kernel gave one.
    #[must_use]
    pub const fn errno(self) -> Option<Errno> {
        match self {
            Self::Sys { errno, .. } | Self::NoSpace { errno, .. } => Some(errno),
            #[cfg(feature = "device")]
            Self::Device(device::Problem::Physical { errno, .. }) => Some(errno),
            _ => None,
        }
    }

    /// Tells whether a range lay outside the map.
    #[must_use]
    pub const fn is_range(self) -> bool {
        matches!(self, Self::OutOfRange { .. })
    }
}

impl fmt::Display for Mutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fd is not safe to map: ")?;
        f.write_str(match self {
            Self::NoShrinkSeal => "missing seals F_SEAL_SHRINK",
            Self::NoWriteSeal => "missing seals F_SEAL_WRITE",
            Self::NoSeals => "missing seals F_SEAL_SHRINK and F_SEAL_WRITE",
            Self::NoVerity => "it is not a memfd and it has no fs-verity",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sys { call, errno } => {
                write!(f, "{}: os error {}", call.name(), errno.raw_os_error())
            }
            Self::OutOfRange { offset, len, limit } => write!(
                f,
                "range of {len} bytes at offset {offset} ends past the limit of {limit} bytes"
            ),
            Self::PastEnd { offset, file_len } => write!(
                f,
                "offset {offset} lies past the end of the file, which has {file_len} bytes"
            ),
            Self::TooLong { len } => {
                write!(
                    f,
                    "length of {len} bytes is too long for this address space"
                )
            }
            Self::NoLength => {
                f.write_str("a character device has no length of its own: give one with len()")
            }
            Self::Busy => f.write_str("interrupted a critical section that was running"),
            Self::NoFile => f.write_str("the map is of memory, not of a file"),
            Self::NoSpace { offset, len, .. } => write!(
                f,
                "no room on the medium for {len} bytes at offset {offset} of the file"
            ),
            Self::Unreachable { offset } => write!(
                f,
                "the map cannot be reached from offset {offset} on: an access would raise SIGBUS"
            ),
            Self::Lost { offset } => write!(f, "bytes of the map from offset {offset} on are lost"),
            Self::Full { capacity } => {
                write!(f, "all {capacity} places for contained maps are taken")
            }
            Self::Unaligned { offset, align } => write!(
                f,
                "the word at offset {offset} has an address that is no multiple of {align}"
            ),
            Self::Protected => f.write_str("the protection of the map does not allow this access"),
            Self::NotInUnits { offset, len, unit } => write!(
                f,
                "range of {len} bytes at offset {offset} is not made of units of {unit} bytes"
            ),
            Self::Backing { offset, len, got } => write!(
                f,
                "a Backing lent {got} bytes where {len} were asked for at offset {offset}"
            ),
            Self::AtEnd { len } => write!(f, "the end of the map, of {len} bytes, is reached"),
            Self::Seek { from, by } => write!(f, "cannot seek by {by} bytes from position {from}"),
            Self::PageSize { value } => write!(f, "{value} bytes is not a usable page size"),
            Self::Mutable(why) => fmt::Display::fmt(&why, f),
            #[cfg(feature = "device")]
            Self::Device(problem) => fmt::Display::fmt(&problem, f),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(feature = "std")]
mod io {
    //! Here and not in the std crate, because both types are foreign there.

    use super::{Error, fmt};
    use std::io;

    /// memmap2's text, with the numbers one step down, in `source()`.
    struct Described {
        text: &'static str,
        source: Error,
    }

    impl fmt::Display for Described {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.text)
        }
    }

    /// What `unwrap` shows: memmap2's text, or the numbers where memmap2 has no text of its own.
    impl fmt::Debug for Described {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if self.source.is_range() {
                fmt::Debug::fmt(&self.source, f)
            } else {
                fmt::Debug::fmt(self.text, f)
            }
        }
    }

    impl core::error::Error for Described {
        fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
            Some(&self.source)
        }
    }

    /// Keeps `raw_os_error()` of a refused call. Ranges outside a map are `InvalidInput`, a bad
    /// length or offset against the file is `InvalidData`, as in memmap2.
    impl From<Error> for io::Error {
        #[cold]
        fn from(error: Error) -> Self {
            let described = |kind, text| {
                let source = error;
                Self::new(kind, Described { text, source })
            };
            match error {
                Error::Sys { errno, .. } | Error::NoSpace { errno, .. } => {
                    Self::from_raw_os_error(errno.raw_os_error())
                }
                Error::OutOfRange { .. } => {
                    described(io::ErrorKind::InvalidInput, "invalid input parameter")
                }
                Error::PastEnd { .. } => described(
                    io::ErrorKind::InvalidData,
                    "memory map offset is larger than length",
                ),
                Error::TooLong { .. } => described(
                    io::ErrorKind::InvalidData,
                    "memory map length overflows isize",
                ),
                Error::NoLength
                | Error::NoFile
                | Error::Unaligned { .. }
                | Error::PageSize { .. }
                | Error::NotInUnits { .. }
                | Error::Seek { .. }
                | Error::Mutable(_) => Self::new(io::ErrorKind::InvalidInput, error),
                Error::AtEnd { .. } => Self::new(io::ErrorKind::WriteZero, error),
                Error::Protected => Self::new(io::ErrorKind::PermissionDenied, error),
                Error::Unreachable { .. } | Error::Lost { .. } | Error::Backing { .. } => {
                    Self::other(error)
                }
                Error::Full { .. } => Self::new(io::ErrorKind::QuotaExceeded, error),
                #[cfg(feature = "device")]
                Error::Device(problem) => Self::new(problem.kind(), error),
                Error::Busy => Self::new(io::ErrorKind::ResourceBusy, error),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use core::error::Error as _;

        #[test]
        fn io_errors_keep_the_errno_and_the_numbers() {
            let refused = Error::Sys {
                call: super::super::Call::Mmap,
                errno: rustix::io::Errno::NOMEM,
            };
            let io = io::Error::from(refused);
            assert_eq!(
                io.raw_os_error(),
                Some(rustix::io::Errno::NOMEM.raw_os_error())
            );

            let range = Error::OutOfRange {
                offset: 1,
                len: 2,
                limit: 2,
            };
            let io = io::Error::from(range);
            let plain = io::Error::from(io::ErrorKind::InvalidInput);
            assert_eq!(io.kind(), plain.kind());
            assert_eq!(std::format!("{io}"), std::format!("{plain}"));
            let source = io
                .source()
                .and_then(|source| source.downcast_ref::<Error>());
            assert_eq!(source, Some(&range));
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "small numbers, and an overflow fails the test"
)]
pub(crate) mod tests {
    use super::*;

    /// A `fmt::Write` that compares, so that the test needs no allocator.
    pub(crate) struct Expect<'a>(pub(crate) &'a str);

    impl fmt::Write for Expect<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
            Ok(())
        }
    }

    #[test]
    fn texts_carry_the_numbers() {
        let cases = [
            (
                Error::Sys {
                    call: Call::Msync,
                    errno: Errno::IO,
                },
                "msync: os error 5",
            ),
            (
                Error::OutOfRange {
                    offset: 4096,
                    len: 1,
                    limit: 4096,
                },
                "range of 1 bytes at offset 4096 ends past the limit of 4096 bytes",
            ),
            (
                Error::NotInUnits {
                    offset: 6,
                    len: 4,
                    unit: 4,
                },
                "range of 4 bytes at offset 6 is not made of units of 4 bytes",
            ),
            (
                Error::AtEnd { len: 4096 },
                "the end of the map, of 4096 bytes, is reached",
            ),
            (
                Error::Seek { from: 3, by: -4 },
                "cannot seek by -4 bytes from position 3",
            ),
            (
                Error::PageSize { value: 5000 },
                "5000 bytes is not a usable page size",
            ),
        ];
        for (error, text) in cases {
            let mut expect = Expect(text);
            assert!(
                fmt::write(&mut expect, format_args!("{error}")).is_ok(),
                "{text}"
            );
            assert_eq!(expect.0, "");
        }
    }
}
