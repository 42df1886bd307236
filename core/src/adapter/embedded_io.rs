//! The traits of embedded-io for [`Cursor`].

use embedded_io::{BufRead, ErrorType, Read, ReadReady, Seek, SeekFrom, Write, WriteReady};

use crate::adapter::{Backing, Cursor};
use crate::error::Error;

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

    /// Waits until all that was written is on stable storage.
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
