//! [`Error`]: what can go wrong, with the numbers.

mod call;
#[cfg(feature = "device")]
pub(crate) mod device;
#[cfg(any(feature = "std", feature = "embedded-io-v0.7"))]
mod kind;
mod name;
#[cfg(feature = "record")]
mod record;
mod refused;
#[cfg(all(test, feature = "std", feature = "embedded-io-v0.7"))]
mod words;

use core::fmt;

pub use self::call::Call;
use self::name::Name;
#[cfg(feature = "record")]
pub use self::record::Problem as RecordProblem;
pub use self::refused::Refused;

/// The kernel's error number; rustix's type.
pub use rustix::io::Errno;

/// Tells why a call failed. `Copy`, at most 32 bytes, and complete without an allocator: the numbers are inside.
///
/// With the feature `std` it converts to `std::io::Error`, of memmap2's kind. The text of that error shows the numbers,
/// and `Error::from_io` gives this value back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a system call.
    Sys {
        /// The system call.
        call: Call,
        /// Its error number.
        #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
        errno: Errno,
        /// First byte of the range that the caller gave, in the map or in the file.
        offset: u64,
        /// Length of the range in bytes. 0, at offset 0, where the call has no range.
        len: u64,
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
    /// A length in bytes does not fit in an `isize`, or its pages do not fit in the address space.
    TooLong {
        /// The length in bytes.
        len: u64,
    },
    /// No length was given for a file that has none of its own: a character device, say.
    NoLength,
    /// The map stores to no file: it is anonymous memory, or a private copy.
    NoFile,
    /// The option means nothing for the constructor that was called; nothing was mapped.
    Option {
        /// The option's name.
        option: &'static str,
    },
    /// The disk is full, or the quota is reached.
    NoSpace {
        /// First byte of the range in the file.
        offset: u64,
        /// Length of the range in bytes.
        len: u64,
        /// `ENOSPC` or `EDQUOT`.
        #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
        errno: Errno,
    },
    /// An access from this offset in the map on would raise SIGBUS: the file is shorter, or the page cannot be read, or,
    /// on tmpfs, the disk is full.
    Unreachable {
        /// First byte that cannot be reached.
        offset: u64,
    },
    /// A store from this offset in the map on would raise SIGBUS, and a load would not: the disk is full, or the file
    /// system failed.
    Unwritable {
        /// First byte that cannot be written.
        offset: u64,
    },
    /// Bytes of the map from this offset on are lost. The kernel dropped a page that it could not write; or a contained map
    /// lost a page to SIGBUS; or the file no longer reaches as far.
    Lost {
        /// First byte of the page that was lost, or of the range that was changed in it.
        offset: u64,
    },
    /// The table of contained maps is full: nothing was mapped.
    TooManyMaps {
        /// How many places it has.
        capacity: usize,
    },
    /// The address of a word is not a multiple of its width.
    Unaligned {
        /// Its offset in the view, in bytes.
        offset: u64,
        /// The width in bytes.
        align: u32,
    },
    /// The protection of the map does not allow this access, or the view only reads.
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
    /// A cursor cannot go there: before the first byte, or past the largest position.
    Seek {
        /// Position to start from, in bytes.
        from: u64,
        /// Distance in bytes.
        by: i64,
    },
    /// Not a usable page size: not a power of two, too large, below 4096 or not a multiple of the kernel's.
    PageSize {
        /// The size in bytes.
        value: u64,
    },
    /// A huge page of this size does not fit in the address space.
    HugePage {
        /// The binary logarithm of the size.
        bits: u8,
    },
    /// A critical section or a lock was entered by the thread that is inside: by a signal handler, say.
    Busy,
    /// The file may still change, so that references to its bytes are not safe.
    MayChange(MayChange),
    /// A device gives no window to its registers.
    #[cfg(feature = "device")]
    Device(device::Problem),
    /// A store of records does not do what was asked.
    #[cfg(feature = "record")]
    Record(RecordProblem),
}

// A Result that a register pair or a small stack slot can carry.
const _: () = assert!(size_of::<Error>() <= 32);

/// Tells why a file does not count as immutable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MayChange {
    /// A memfd without `F_SEAL_SHRINK`: it can be truncated.
    NoShrinkSeal,
    /// A memfd without `F_SEAL_WRITE`: it can be written.
    NoWriteSeal,
    /// A memfd, or another file on tmpfs, with neither seal.
    NoSeals,
    /// Neither a memfd nor protected by fs-verity.
    NoVerity,
    /// Not a memfd: the file takes no seals.
    NotSealable,
}

impl Error {
    /// Returns the error of a system call that has no range.
    #[cold]
    pub(crate) const fn sys(call: Call, errno: Errno) -> Self {
        Self::of_range(call, errno, 0, 0)
    }

    /// Returns the error of a system call on `len` bytes at `offset`.
    #[cold]
    pub(crate) const fn of_range(call: Call, errno: Errno, offset: u64, len: u64) -> Self {
        Self::Sys {
            call,
            errno,
            offset,
            len,
        }
    }

    /// Returns the kernel's error number, where the kernel gave one.
    #[must_use]
    pub const fn errno(self) -> Option<Errno> {
        match self {
            Self::Sys { errno, .. } | Self::NoSpace { errno, .. } => Some(errno),
            #[cfg(feature = "device")]
            Self::Device(device::Problem::Physical { errno, .. }) => Some(errno),
            _ => None,
        }
    }
}

impl fmt::Display for MayChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fd is not safe to map: ")?;
        f.write_str(match self {
            Self::NoShrinkSeal => "missing seals F_SEAL_SHRINK",
            Self::NoWriteSeal => "missing seals F_SEAL_WRITE",
            Self::NoSeals => "missing seals F_SEAL_SHRINK and F_SEAL_WRITE",
            Self::NoVerity => "it is not a memfd and it has no fs-verity",
            Self::NotSealable => "it is not a memfd, and takes no seals",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Sys {
                call,
                errno,
                offset,
                len,
            } => {
                f.write_str(call.name())?;
                if (offset, len) != (0, 0) {
                    write!(f, " of {len} bytes at offset {offset}")?;
                }
                write!(f, ": {}", Name(errno))
            }
            Self::OutOfRange { offset, len, limit } => write!(
                f,
                "range of {len} bytes at offset {offset} ends past the limit of {limit} bytes"
            ),
            Self::PastEnd { offset, file_len } => write!(
                f,
                "offset {offset} lies past the end of the file, which has {file_len} bytes"
            ),
            Self::TooLong { len } => write!(
                f,
                "length of {len} bytes is too long for this address space"
            ),
            Self::NoLength => f.write_str("the file has no length of its own: give one with len()"),
            Self::Busy => {
                f.write_str("the calling thread is inside already, in an interrupted call")
            }
            Self::NoFile => {
                f.write_str("the map stores to no file: it is anonymous memory or a private copy")
            }
            Self::Option { option } => {
                write!(f, "the option {option} means nothing for this constructor")
            }
            Self::NoSpace { offset, len, errno } => write!(
                f,
                "no room on the medium for {len} bytes at offset {offset} of the file: {}",
                Name(errno)
            ),
            Self::Unreachable { offset } => write!(
                f,
                "the map cannot be reached from offset {offset} on: an access would raise SIGBUS"
            ),
            Self::Unwritable { offset } => write!(
                f,
                "the map cannot be written from offset {offset} on: the disk is full, or the file system failed"
            ),
            Self::Lost { offset } => write!(f, "bytes of the map from offset {offset} on are lost"),
            Self::TooManyMaps { capacity } => {
                write!(f, "all {capacity} places for contained maps are taken")
            }
            Self::Unaligned { offset, align } => write!(
                f,
                "the word at offset {offset} has an address that is no multiple of {align}"
            ),
            Self::Protected => {
                f.write_str("the protection of the map, or of the view, does not allow this access")
            }
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
            Self::HugePage { bits } => write!(f, "a page of 2^{bits} bytes is not usable"),
            Self::MayChange(why) => fmt::Display::fmt(&why, f),
            #[cfg(feature = "device")]
            Self::Device(problem) => fmt::Display::fmt(&problem, f),
            #[cfg(feature = "record")]
            Self::Record(problem) => fmt::Display::fmt(&problem, f),
        }
    }
}

impl core::error::Error for Error {}

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
                Error::of_range(Call::Msync, Errno::IO, 8192, 100),
                "msync of 100 bytes at offset 8192: EIO (5)",
            ),
            (Error::sys(Call::Open, Errno::ACCESS), "open: EACCES (13)"),
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
