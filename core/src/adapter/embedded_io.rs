//! The traits of embedded-io for [`Cursor`], and its error kinds for [`Error`].

use embedded_io::{
    BufRead, ErrorKind, ErrorType, Read, ReadReady, Seek, SeekFrom, Write, WriteReady,
};

use crate::adapter::{Backing, Cursor};
use crate::error::{Errno, Error};

/// As the conversion to `std::io::Error` has them, as far as there is such a kind here.
impl embedded_io::Error for Error {
    fn kind(&self) -> ErrorKind {
        match *self {
            Self::AtEnd { .. } => ErrorKind::WriteZero,
            Self::Protected => ErrorKind::PermissionDenied,
            Self::PastEnd { .. } | Self::TooLong { .. } => ErrorKind::InvalidData,
            Self::OutOfRange { .. }
            | Self::NoLength
            | Self::NoFile
            | Self::Unaligned { .. }
            | Self::NotInUnits { .. }
            | Self::Seek { .. }
            | Self::PageSize { .. }
            | Self::Mutable(_) => ErrorKind::InvalidInput,
            #[cfg(feature = "device")]
            Self::Device(problem) => of_problem(problem),
            Self::Sys { errno, .. } | Self::NoSpace { errno, .. } => match errno {
                Errno::NOENT => ErrorKind::NotFound,
                Errno::ACCESS | Errno::PERM => ErrorKind::PermissionDenied,
                Errno::NOMEM => ErrorKind::OutOfMemory,
                Errno::INTR => ErrorKind::Interrupted,
                Errno::INVAL => ErrorKind::InvalidInput,
                Errno::NOSYS | Errno::OPNOTSUPP => ErrorKind::Unsupported,
                _ => ErrorKind::Other,
            },
            _ => ErrorKind::Other,
        }
    }
}

#[cfg(feature = "device")]
const fn of_problem(problem: crate::device::Problem) -> ErrorKind {
    use crate::device::Problem;
    match problem {
        Problem::Physical {
            errno: Errno::PERM, ..
        } => ErrorKind::PermissionDenied,
        Problem::Physical { .. } | Problem::Address => ErrorKind::InvalidInput,
        Problem::PortBar { .. } | Problem::Unmappable { .. } => ErrorKind::Unsupported,
        Problem::NoBar { .. } | Problem::NoMap { .. } | Problem::NotFound | Problem::NoSysfs => {
            ErrorKind::NotFound
        }
        Problem::SameName { .. } => ErrorKind::AlreadyExists,
        Problem::Text { .. } => ErrorKind::InvalidData,
        _ => ErrorKind::Other,
    }
}

impl<M> ErrorType for Cursor<M> {
    type Error = Error;
}

impl<M: AsRef<[u8]>> Read for Cursor<M> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Error> {
        Ok(self.take(bytes))
    }
}

impl<M: AsRef<[u8]>> BufRead for Cursor<M> {
    fn fill_buf(&mut self) -> Result<&[u8], Error> {
        Ok(self.rest())
    }

    fn consume(&mut self, len: usize) {
        self.skip(len);
    }
}

impl<M: AsRef<[u8]>> ReadReady for Cursor<M> {
    fn read_ready(&mut self) -> Result<bool, Error> {
        Ok(true)
    }
}

impl<B: Backing> Write for Cursor<B> {
    /// # Errors
    ///
    /// - [`Error::AtEnd`], of the kind `WriteZero`: there is room for no byte.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        match self.put(bytes)? {
            0 if !bytes.is_empty() => Err(Error::AtEnd { len: self.end() }),
            count => Ok(count),
        }
    }

    /// Waits until all that was written is on the medium.
    fn flush(&mut self) -> Result<(), Error> {
        self.commit()
    }
}

impl<B: Backing> WriteReady for Cursor<B> {
    fn write_ready(&mut self) -> Result<bool, Error> {
        Ok(true)
    }
}

impl<M: AsRef<[u8]>> Seek for Cursor<M> {
    /// # Errors
    ///
    /// - [`Error::Seek`]: before the first byte, or past what 64 bits can say; the position stays.
    fn seek(&mut self, to: SeekFrom) -> Result<u64, Error> {
        match to {
            SeekFrom::Start(position) => self.go(position, 0),
            SeekFrom::End(by) => self.go(self.end(), by),
            SeekFrom::Current(by) => self.go(self.position(), by),
        }
    }
}
