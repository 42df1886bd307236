//! [`Backing`]: what an adapter writes through.

use crate::{Error, MmapMut, Span, Tracked};

/// Bytes in memory that are read as a slice, changed in place, and stored on a medium.
///
/// `Tracked` stores the pages from the first to the last byte that was written through it, `MmapMut` all dirty pages of
/// the range that it is asked for. A private or anonymous map stores nothing, and says `Ok`.
pub trait Backing: AsRef<[u8]> {
    /// Lends `len` bytes at `offset` to be changed.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the last byte.
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error>;

    /// Waits until `len` bytes at `offset`, and perhaps others, are on the medium.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the last byte.
    /// - What the medium says: see [`MmapMut::flush_range`] and [`Tracked::commit`].
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error>;

    /// Waits until all of it is on the medium, also what was written before, and by others: a process that was killed
    /// before it committed leaves bytes that everybody reads and nobody has stored.
    ///
    /// # Errors
    ///
    /// - What the medium says: see [`MmapMut::flush`].
    fn commit_all(&mut self) -> Result<(), Error>;
}

impl Backing for MmapMut {
    #[inline]
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        let span = Span::new(offset, len, self.len())?;
        // Never empty by mistake: the span was checked.
        Ok(self.get_mut(span.offset()..span.end()).unwrap_or(&mut []))
    }

    #[inline]
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        self.flush_range(offset, len)
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.flush()
    }
}

impl<const N: usize> Backing for Tracked<N> {
    #[inline]
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        Self::edit(self, offset, len)
    }

    /// All that is pending.
    #[inline]
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        Span::new(offset, len, self.len())?;
        Self::commit(self).map(|_| ())
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        Self::commit(self)?;
        self.as_map().flush()
    }
}

impl<B: Backing + ?Sized> Backing for &mut B {
    #[inline]
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        (**self).edit(offset, len)
    }

    #[inline]
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        (**self).commit(offset, len)
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        (**self).commit_all()
    }
}
