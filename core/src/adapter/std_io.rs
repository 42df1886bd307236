//! The traits of `std::io` for [`Cursor`].

use std::io::{BufRead, Read, Result, Seek, SeekFrom, Write};

use crate::adapter::{Backing, Cursor};

impl<M: AsRef<[u8]>> Read for Cursor<M> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        Ok(self.take(bytes))
    }
}

impl<M: AsRef<[u8]>> BufRead for Cursor<M> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        Ok(self.rest())
    }

    fn consume(&mut self, len: usize) {
        self.skip(len);
    }
}

impl<B: Backing> Write for Cursor<B> {
    /// Returns 0 where there is room for no byte.
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        Ok(self.put(bytes)?)
    }

    /// Waits until all that was written is on stable storage.
    fn flush(&mut self) -> Result<()> {
        Ok(self.commit()?)
    }
}

impl<M: AsRef<[u8]>> Seek for Cursor<M> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        Ok(match to {
            SeekFrom::Start(position) => self.go(position, 0),
            SeekFrom::End(by) => self.go(self.end(), by),
            SeekFrom::Current(by) => self.go(self.position(), by),
        }?)
    }
}
