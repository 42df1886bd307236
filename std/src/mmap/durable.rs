//! What maps that can be written have beyond memmap2: failed flushes, write-back, room and growth.

use std::io;

use rawmap_core::Error;
use rawmap_core::adapter::Backing;

use super::{MmapMut, MmapRaw};
use crate::MmapAsRawDesc;

macro_rules! durable {
    ($map:ident) => {
        impl $map {
            /// Flushes once more after a flush failed, and what the kernel then took for stored; see
            /// [`rawmap_core::MmapRaw::retry_flush`].
            ///
            /// # Errors
            ///
            /// - Write-back failed again, or a page cannot be made dirty again.
            pub fn retry_flush(&self) -> io::Result<()> {
                Ok(self.raw().retry_flush()?)
            }

            /// Like [`retry_flush`](Self::retry_flush), for `len` bytes at `offset`: the caller knows that
            /// nothing else was changed since the last flush that was `Ok`.
            ///
            /// # Errors
            ///
            /// - `InvalidInput`: the range ends past the map; nothing was done.
            /// - As for [`retry_flush`](Self::retry_flush).
            pub fn retry_flush_range(&self, offset: usize, len: usize) -> io::Result<()> {
                Ok(self.raw().retry_flush_range(offset, len)?)
            }

            /// Gives the error of the flush that failed, until a [`retry_flush`](Self::retry_flush)
            /// succeeds.
            #[must_use]
            pub fn failed(&self) -> Option<io::Error> {
                let errno = self.raw().failed()?;
                Some(io::Error::from_raw_os_error(errno.raw_os_error()))
            }

            /// Writes the bytes and all that is known of the file, its length and times too, to the
            /// medium. `file` is the one that is mapped. See [`rawmap_core::MmapRaw::flush_all`].
            ///
            /// # Errors
            ///
            /// - Write-back failed, now or in a flush before.
            pub fn flush_all<T: MmapAsRawDesc>(&self, file: T) -> io::Result<()> {
                Ok(self.raw().flush_all(file.as_raw_desc().borrow()?)?)
            }

            /// Starts to write `len` bytes at `offset` to the medium, and does not wait. `file` is the one
            /// that is mapped. See [`rawmap_core::MmapRaw::start_writeback`].
            ///
            /// # Errors
            ///
            /// - `InvalidInput`: the range ends past the map, or the map is of memory; nothing was started.
            /// - What the kernel refuses.
            pub fn start_writeback<T: MmapAsRawDesc>(
                &self,
                file: T,
                offset: usize,
                len: usize,
            ) -> io::Result<()> {
                let file = file.as_raw_desc();
                Ok(self.raw().start_writeback(file.borrow()?, offset, len)?)
            }

            /// Brings `len` bytes at `offset` into memory for writing, and finds out whether they can be
            /// written without a signal: on a full disk this is an error, and not a SIGBUS at the store.
            /// The pages become dirty. See [`rawmap_core::MmapRaw::prefault_write`].
            ///
            /// # Errors
            ///
            /// - `InvalidInput`: the range ends past the map; nothing was touched.
            /// - `Other`, with [`rawmap_core::Error::Unreachable`] inside: it cannot be written from there on.
            /// - What the kernel refuses: no memory, or the map is read-only.
            pub fn prefault_write(&self, offset: usize, len: usize) -> io::Result<()> {
                Ok(self.raw().prefault_write(offset, len)?)
            }

            /// Extends the file and the map together, so that the map has `new_len` bytes, or leaves both
            /// as they were. `file` is the one that is mapped. See [`rawmap_core::MmapRaw::grow`].
            ///
            /// # Errors
            ///
            /// - `StorageFull` or `QuotaExceeded`: there is no room.
            /// - `InvalidInput`: the map is of memory. `InvalidData`: `new_len` does not fit in an `isize`.
            /// - What the kernel refuses, as for [`rawmap_core::MmapRaw::grow`].
            pub fn grow<T: MmapAsRawDesc>(&mut self, file: T, new_len: usize) -> io::Result<()> {
                let file = file.as_raw_desc();
                Ok(self.0.grow(file.borrow()?, new_len)?)
            }
        }
    };
}

durable!(MmapMut);
durable!(MmapRaw);

impl Backing for MmapMut {
    #[inline]
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        Backing::edit(&mut self.0, offset, len)
    }

    #[inline]
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        Backing::commit(&mut self.0, offset, len)
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.0.commit_all()
    }
}
