//! The kinds of errors, in one table for `std::io` and embedded-io.

use super::Errno;
use super::Error;

/// Names a kind as `std::io::ErrorKind` does, or hands on the kernel's number, which has one.
#[cfg_attr(
    not(feature = "device"),
    allow(dead_code, reason = "some kinds are of devices only")
)]
enum Kind {
    Of(Errno),
    AlreadyExists,
    InvalidData,
    InvalidInput,
    NotFound,
    Other,
    PermissionDenied,
    QuotaExceeded,
    ResourceBusy,
    StorageFull,
    Unsupported,
    WriteZero,
}

/// A range outside a map is `InvalidInput`, a length or an offset that does not fit the file `InvalidData`, as in memmap2.
fn kind(error: Error) -> Kind {
    match error {
        Error::Sys { errno, .. } | Error::NoSpace { errno, .. } => Kind::Of(errno),
        Error::PastEnd { .. } | Error::TooLong { .. } => Kind::InvalidData,
        Error::OutOfRange { .. }
        | Error::NoLength
        | Error::NoFile
        | Error::Option { .. }
        | Error::Unaligned { .. }
        | Error::PageSize { .. }
        | Error::HugePage { .. }
        | Error::NotInUnits { .. }
        | Error::Seek { .. }
        | Error::MayChange(_) => Kind::InvalidInput,
        Error::AtEnd { .. } => Kind::WriteZero,
        Error::Protected => Kind::PermissionDenied,
        Error::Unwritable { .. } => Kind::StorageFull,
        Error::Unreachable { .. } | Error::Lost { .. } | Error::Backing { .. } => Kind::Other,
        Error::TooManyMaps { .. } => Kind::QuotaExceeded,
        Error::Busy => Kind::ResourceBusy,
        #[cfg(feature = "device")]
        Error::Device(problem) => of_problem(problem),
        #[cfg(feature = "record")]
        Error::Record(problem) => of_record(problem),
    }
}

#[cfg(feature = "record")]
fn of_record(problem: super::RecordProblem) -> Kind {
    use super::RecordProblem as Problem;
    match problem {
        Problem::Layout { .. } | Problem::NoPart | Problem::TooLong { .. } => Kind::InvalidInput,
        Problem::Full => Kind::StorageFull,
        Problem::Damaged { .. }
        | Problem::Foreign
        | Problem::Version { .. }
        | Problem::OtherParts
        | Problem::Length { .. } => Kind::InvalidData,
    }
}

#[cfg(feature = "device")]
fn of_problem(problem: super::device::Problem) -> Kind {
    use super::device::Problem;
    match problem {
        Problem::Physical {
            errno: Errno::PERM, ..
        } => Kind::PermissionDenied,
        Problem::Physical { .. } | Problem::Address => Kind::InvalidInput,
        Problem::PortBar { .. } | Problem::Unmappable { .. } => Kind::Unsupported,
        Problem::NoBar { .. } | Problem::NoMap { .. } | Problem::NotFound | Problem::NoSysfs => {
            Kind::NotFound
        }
        Problem::SameName { .. } => Kind::AlreadyExists,
        Problem::Text { .. } => Kind::InvalidData,
        Problem::Disabled => Kind::Other,
    }
}

#[cfg(feature = "std")]
mod io {
    //! Here and not in the std crate, because both types are foreign there.

    use super::{Error, Kind, kind};
    extern crate alloc;

    use alloc::vec::Vec;
    use core::hint::black_box;
    use std::io;

    /// More than an `io::Error` allocates for one of these.
    const ROOM: usize = 256;

    /// Keeps the error inside: its text is that of the `io::Error`, and [`Error::from_io`] gives it back. Where the memory of the
    /// process is used up, only its kind is kept.
    impl From<Error> for io::Error {
        #[cold]
        fn from(error: Error) -> Self {
            let mut room = Vec::<u8>::new();
            // Else `new` would end the process where a map was refused for want of memory.
            let is_full = black_box(&mut room).try_reserve_exact(ROOM).is_err();
            drop(room);
            let kind = match kind(error) {
                Kind::Of(errno) => Self::from_raw_os_error(errno.raw_os_error()).kind(),
                Kind::AlreadyExists => io::ErrorKind::AlreadyExists,
                Kind::InvalidData => io::ErrorKind::InvalidData,
                Kind::InvalidInput => io::ErrorKind::InvalidInput,
                Kind::NotFound => io::ErrorKind::NotFound,
                Kind::Other => io::ErrorKind::Other,
                Kind::PermissionDenied => io::ErrorKind::PermissionDenied,
                Kind::QuotaExceeded => io::ErrorKind::QuotaExceeded,
                Kind::ResourceBusy => io::ErrorKind::ResourceBusy,
                Kind::StorageFull => io::ErrorKind::StorageFull,
                Kind::Unsupported => io::ErrorKind::Unsupported,
                Kind::WriteZero => io::ErrorKind::WriteZero,
            };
            if is_full {
                return kind.into();
            }
            Self::new(kind, error)
        }
    }

    impl Error {
        /// Returns the error that an `io::Error` was made of, with its numbers; `None` if it was not one of these.
        #[must_use]
        pub fn from_io(error: &io::Error) -> Option<Self> {
            error.get_ref()?.downcast_ref().copied()
        }
    }
}

#[cfg(feature = "embedded-io-v0.7")]
impl embedded_io::Error for Error {
    fn kind(&self) -> embedded_io::ErrorKind {
        use embedded_io::ErrorKind;
        match kind(*self) {
            Kind::Of(errno) => match errno {
                Errno::NOENT => ErrorKind::NotFound,
                Errno::EXIST => ErrorKind::AlreadyExists,
                Errno::TIMEDOUT => ErrorKind::TimedOut,
                Errno::ACCESS | Errno::PERM => ErrorKind::PermissionDenied,
                Errno::NOMEM => ErrorKind::OutOfMemory,
                Errno::INTR => ErrorKind::Interrupted,
                Errno::INVAL => ErrorKind::InvalidInput,
                Errno::NOSYS | Errno::OPNOTSUPP => ErrorKind::Unsupported,
                _ => ErrorKind::Other,
            },
            Kind::AlreadyExists => ErrorKind::AlreadyExists,
            Kind::InvalidData => ErrorKind::InvalidData,
            Kind::InvalidInput => ErrorKind::InvalidInput,
            Kind::NotFound => ErrorKind::NotFound,
            Kind::PermissionDenied => ErrorKind::PermissionDenied,
            Kind::Unsupported => ErrorKind::Unsupported,
            Kind::WriteZero => ErrorKind::WriteZero,
            Kind::Other | Kind::QuotaExceeded | Kind::ResourceBusy | Kind::StorageFull => {
                ErrorKind::Other
            }
        }
    }
}
