//! [`Backing`]: what an adapter writes through.

use crate::error::Error;
use crate::map::MmapMut;
use crate::span::Span;
use crate::tracked::Tracked;

/// Holds bytes in memory that are read as a slice, changed in place, and stored on a medium.
///
/// `Tracked` stores the pages from the first to the last byte that was written through it, `MmapMut` all dirty pages of
/// the range that it is asked for. A private or anonymous map stores nothing, and says `Ok`.
///
/// # Contract
///
/// Other types may implement it. The adapters rely on this:
///
/// - `as_ref` always has the same length, and shows what was changed through [`edit`](Self::edit).
/// - [`edit`](Self::edit) lends exactly the `len` bytes at `offset` of that slice.
/// - [`commit`](Self::commit) and [`commit_all`](Self::commit_all) say `Ok` only when the bytes are stored. After a
///   failure they fail until a retry has stored everything that they were asked for.
///
/// Where fewer or more bytes are lent than were asked for, the adapters say [`Error::Backing`].
pub trait Backing: AsRef<[u8]> {
    /// Lends `len` bytes at `offset` to be changed.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the last byte.
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error>;

    /// Waits until `len` bytes at `offset`, and perhaps others, are on stable storage.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the last byte.
    /// - What the device says: see [`MmapMut::flush_range`] and [`Tracked::commit`].
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error>;

    /// Waits until all of it is on stable storage, also what was written before, and by others. A process that is killed
    /// before it commits leaves such bytes: all processes read them, and they are not stored. The kernel may take them for
    /// stored although the device failed. So a map writes all of its pages that are in memory; see
    /// [`MmapRaw::retry_flush`](crate::MmapRaw::retry_flush).
    ///
    /// # Errors
    ///
    /// - What the device says: see [`MmapMut::flush`].
    fn commit_all(&mut self) -> Result<(), Error>;

    /// Returns the error that a commit of anything would return before it asks the device: bytes of a contained map were lost, or
    /// else a commit failed. What is read after a failed commit is there; after a loss it is not.
    ///
    /// # Errors
    ///
    /// - See [`MmapMut::flush_range`].
    fn check(&self) -> Result<(), Error>;

    /// Stores all of it once more after a commit failed.
    ///
    /// # Errors
    ///
    /// - See [`Tracked::retry`] and [`MmapRaw::retry_flush`](crate::MmapRaw::retry_flush).
    fn retry(&mut self) -> Result<(), Error>;
}

/// Reads `len` bytes at `offset`.
#[cfg(feature = "embedded-storage-v0.3")]
pub(crate) fn view<M: AsRef<[u8]> + ?Sized>(
    map: &M,
    offset: usize,
    len: usize,
) -> Result<&[u8], Error> {
    let rest = map.as_ref().get(offset..).unwrap_or(&[]);
    rest.get(..len)
        .ok_or_else(|| broken(offset, len, rest.len()))
}

/// Lends `len` bytes at `offset`, and no other number of bytes.
pub(crate) fn lend<B: Backing + ?Sized>(
    map: &mut B,
    offset: usize,
    len: usize,
) -> Result<&mut [u8], Error> {
    let bytes = map.edit(offset, len)?;
    if bytes.len() == len {
        return Ok(bytes);
    }
    Err(broken(offset, len, bytes.len()))
}

#[cold]
fn broken(offset: usize, len: usize, got: usize) -> Error {
    let [offset, len, got] = [offset, len, got].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
    Error::Backing { offset, len, got }
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
        self.as_raw().check_sound(Span::whole(0))?;
        self.as_raw().retry(Span::whole(self.len()), || Ok(()))
    }

    #[inline]
    fn check(&self) -> Result<(), Error> {
        self.as_raw().check_lost(Span::whole(0))?;
        self.as_raw().check_sound(Span::whole(0))
    }

    fn retry(&mut self) -> Result<(), Error> {
        self.as_raw().retry_flush()
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
        self.as_map()
            .as_raw()
            .retry(Span::whole(self.len()), || Ok(()))
    }

    #[inline]
    fn check(&self) -> Result<(), Error> {
        self.as_map().as_raw().check_lost(Span::whole(0))?;
        self.as_map().as_raw().check_sound(Span::whole(0))
    }

    fn retry(&mut self) -> Result<(), Error> {
        Self::retry(self).map(|_| ())
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

    #[inline]
    fn check(&self) -> Result<(), Error> {
        (**self).check()
    }

    fn retry(&mut self) -> Result<(), Error> {
        (**self).retry()
    }
}
