//! [`Cursor`]: a position in a map. The traits that make a stream of it are in `embedded_io` and `std_io`.

use crate::backing::Backing;
use crate::backing::lend;
use crate::error::Error;

/// Reads and writes a map from a position on, as a stream.
///
/// It has the length of the map, and never grows. Reading at the end gives 0 bytes. A write that reaches the
/// end writes what fits; at the end it writes nothing: with embedded-io that is [`Error::AtEnd`], with std 0 bytes. A
/// position past the end is allowed, and reads and writes nothing.
///
/// What was written through it is on stable storage when `flush` says `Ok`; what an earlier process left, and did not
/// flush, need not be: see [`Backing::commit_all`]. Dropping the cursor flushes nothing.
///
/// `Read`, `BufRead` and `Seek` want a map that is `AsRef<[u8]>`, `Write` a [`Backing`].
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "embedded-io-v0.7")] {
/// use embedded_io::{Read, Seek, SeekFrom, Write};
/// use rawmap_core::adapter::Cursor;
/// use rawmap_core::{MmapMut, Tracked};
///
/// let map = Tracked::<4>::new(MmapMut::map_anon(4096)?);
/// let mut log = Cursor::new(map);
/// write!(log, "boot {}\n", 7).unwrap();
/// log.flush()?;
/// log.seek(SeekFrom::Start(0))?;
/// let mut word = [0; 4];
/// log.read_exact(&mut word).unwrap();
/// assert_eq!(&word, b"boot");
/// # }
/// # Ok::<(), rawmap_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor<M> {
    map: M,
    position: u64,
}

impl<M> Cursor<M> {
    /// Starts at the first byte.
    #[must_use]
    #[inline]
    pub const fn new(map: M) -> Self {
        Self { map, position: 0 }
    }

    /// Returns the position in bytes.
    #[must_use]
    #[inline]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Sets the position in bytes; any.
    #[inline]
    pub const fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// Returns the map.
    #[must_use]
    #[inline]
    pub const fn get_ref(&self) -> &M {
        &self.map
    }

    /// Returns the map, to be changed: after a failed flush, say, for a retry.
    #[must_use]
    #[inline]
    pub const fn get_mut(&mut self) -> &mut M {
        &mut self.map
    }

    /// Returns the map back. What was not flushed is not flushed by this.
    #[must_use]
    #[inline]
    pub fn into_inner(self) -> M {
        self.map
    }

    /// Goes to `by` bytes from `from`.
    pub(super) fn go(&mut self, from: u64, by: i64) -> Result<u64, Error> {
        let position = from
            .checked_add_signed(by)
            .ok_or(Error::Seek { from, by })?;
        self.position = position;
        Ok(position)
    }

    pub(super) fn skip(&mut self, len: usize) {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.position = self.position.saturating_add(len);
    }
}

impl<M: AsRef<[u8]>> Cursor<M> {
    pub(super) fn len(&self) -> usize {
        self.map.as_ref().len()
    }

    pub(super) fn end(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    /// What is ahead.
    pub(super) fn rest(&self) -> &[u8] {
        let offset = usize::try_from(self.position).unwrap_or(usize::MAX);
        self.map.as_ref().get(offset..).unwrap_or(&[])
    }

    /// Copies as much as there is, and goes past it.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> usize {
        let count = copy(bytes, self.rest());
        self.skip(count);
        count
    }
}

impl<B: Backing> Cursor<B> {
    /// Copies as much as fits, and goes past it.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let count = bytes.len().min(self.rest().len());
        if count == 0 {
            return Ok(0);
        }
        // No further than what is ahead.
        let offset = usize::try_from(self.position).unwrap_or(usize::MAX);
        copy(lend(&mut self.map, offset, count)?, bytes);
        self.skip(count);
        Ok(count)
    }

    /// Waits until all that was written is on stable storage.
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        let len = self.len();
        self.map.commit(0, len)
    }
}

/// As many as both have.
fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let count = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}
