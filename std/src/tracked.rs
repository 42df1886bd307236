//! [`Tracked`] and `SharedTracked` with `io::Result`, and [`reserve`].

use std::io;
use std::ops::Deref;

use rawmap_core::adapter::Backing;
use rawmap_core::{self as core, Commit, DirtyRanges, Error};

use crate::{MmapAsRawDesc, MmapMut};

/// A map that remembers which bytes were written, and commits them with one flush of the device.
///
/// See [`rawmap_core::Tracked`].
///
/// # Examples
///
/// ```
/// use rawmap::{MmapMut, Tracked};
///
/// # let file = tempfile::tempfile()?;
/// rawmap::reserve(&file, 0, 65_536)?;
/// // SAFETY: nobody else uses this file.
/// let map = unsafe { MmapMut::map_mut(&file)? };
/// let mut state = Tracked::<8>::new(map);
/// state.write(100, b"first")?;
/// state.edit(40_000, 6)?.copy_from_slice(b"second");
/// assert_eq!(state.commit()?.calls, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Tracked<const N: usize>(core::Tracked<N>);

impl<const N: usize> Tracked<N> {
    /// Takes a map of which nothing is pending.
    #[must_use]
    pub fn new(map: MmapMut) -> Self {
        Self(core::Tracked::new(map.into()))
    }

    /// Copies bytes into the map, and remembers where.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the bytes would end past the map; none was written.
    #[inline]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        Ok(self.0.write(offset, bytes)?)
    }

    /// Lends `len` bytes at `offset` to be changed in place. All of them count as written.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the range ends past the map.
    #[inline]
    pub fn edit(&mut self, offset: usize, len: usize) -> io::Result<&mut [u8]> {
        Ok(self.0.edit(offset, len)?)
    }

    /// Gives the offset of the first byte that a contained map lost to SIGBUS, until it is acknowledged or
    /// [recovered](Self::recover). See [`rawmap_core::MmapRaw::lost`].
    #[cfg(feature = "fault")]
    #[must_use]
    pub fn lost(&self) -> Option<usize> {
        self.0.as_map().as_raw().lost()
    }

    /// Gives what [`lost`](Self::lost) does, and forgets it. See [`rawmap_core::MmapRaw::acknowledge_lost`].
    #[cfg(feature = "fault")]
    pub fn acknowledge_lost(&self) -> Option<usize> {
        self.0.as_map().as_raw().acknowledge_lost()
    }

    /// Acknowledges a loss of a contained map, and makes all of it the file's again. What is pending stays pending.
    /// See [`rawmap_core::Tracked::recover`].
    ///
    /// # Safety
    ///
    /// - The file is the one that is mapped.
    ///
    /// # Errors
    ///
    /// - As for [`MmapMut::recover`].
    #[cfg(feature = "fault")]
    #[allow(unsafe_code, reason = "passes the duty on")]
    pub unsafe fn recover<T: MmapAsRawDesc>(&mut self, file: T) -> io::Result<()> {
        let file = file.as_raw_desc();
        // SAFETY: the caller's duty, passed on.
        unsafe { self.0.recover(file.borrow()?)? };
        Ok(())
    }

    /// Writes all pending bytes to the medium, and waits: one msync(2) over the smallest range that
    /// holds them. See [`rawmap_core::Tracked::commit`].
    ///
    /// # Errors
    ///
    /// - Write-back failed, now or in an earlier commit. All ranges stay pending, and every commit fails
    ///   until [`retry`](Self::retry) succeeds. Give each map a file that was opened for it: the kernel tells
    ///   a failure once for each open file.
    #[inline]
    pub fn commit(&mut self) -> io::Result<Commit> {
        Ok(self.0.commit()?)
    }

    /// Like [`commit`](Self::commit), but where more than `gap` bytes of whole pages lie between two ranges,
    /// they are committed apart.
    /// See [`rawmap_core::Tracked::commit_with`].
    ///
    /// # Errors
    ///
    /// - As for [`commit`](Self::commit).
    pub fn commit_with(&mut self, gap: usize) -> io::Result<Commit> {
        Ok(self.0.commit_with(gap)?)
    }

    /// Commits once more after a commit failed, and what the kernel then took for stored. See
    /// [`rawmap_core::Tracked::retry`].
    ///
    /// # Errors
    ///
    /// - `Other`, with [`rawmap_core::Error::Lost`] inside: the kernel has dropped a page; write its bytes
    ///   again, then retry.
    /// - Write-back failed again, or a page cannot be made dirty. All ranges stay pending.
    pub fn retry(&mut self) -> io::Result<Commit> {
        Ok(self.0.retry()?)
    }

    /// Starts to write what is pending to the medium, and does not wait: a later commit then has less to
    /// wait for. `file` is the one that is mapped. See [`rawmap_core::Tracked::start_writeback`].
    ///
    /// # Errors
    ///
    /// - As for [`MmapMut::start_writeback`].
    pub fn start_writeback<T: MmapAsRawDesc>(&self, file: T) -> io::Result<()> {
        Ok(self.0.start_writeback(file.as_raw_desc().borrow()?)?)
    }

    /// Brings a range into memory for writing, and finds out whether there is room; see
    /// [`MmapMut::prefault_write`].
    ///
    /// # Errors
    ///
    /// - As for [`MmapMut::prefault_write`].
    pub fn prefault_write(&self, offset: usize, len: usize) -> io::Result<()> {
        Ok(self.0.as_map().as_raw().prefault_write(offset, len)?)
    }

    /// Gives the error of the commit that failed, until a [`retry`](Self::retry) succeeds.
    #[must_use]
    pub fn failed(&self) -> Option<io::Error> {
        let errno = self.0.failed()?;
        Some(io::Error::from_raw_os_error(errno.raw_os_error()))
    }

    /// Tells whether there is anything to commit.
    #[must_use]
    #[inline]
    pub fn is_dirty(&self) -> bool {
        self.0.is_dirty()
    }

    /// Gives the ranges that are not committed yet.
    #[must_use]
    pub const fn pending(&self) -> &DirtyRanges<N> {
        self.0.pending()
    }

    /// Gives the number of bytes in the pending ranges.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.0.pending_bytes()
    }

    /// Gives the number of pages, of the map's page size, that hold the pending ranges.
    #[must_use]
    pub fn pending_pages(&self) -> usize {
        self.0.pending_pages()
    }

    /// Extends the file and the map together, or leaves both as they were; see [`MmapMut::grow`].
    ///
    /// # Errors
    ///
    /// - As for [`MmapMut::grow`].
    pub fn grow<T: MmapAsRawDesc>(&mut self, file: T, new_len: usize) -> io::Result<()> {
        let file = file.as_raw_desc();
        Ok(self.0.grow(file.borrow()?, new_len)?)
    }

    /// Gives the map back. What is pending is no longer known: commit first, or flush the map.
    #[must_use]
    pub fn into_inner(self) -> MmapMut {
        self.0.into_inner().into()
    }
}

impl<const N: usize> Deref for Tracked<N> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> AsRef<[u8]> for Tracked<N> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> Backing for Tracked<N> {
    #[inline]
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        self.0.edit(offset, len)
    }

    #[inline]
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        Backing::commit(&mut self.0, offset, len)
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.0.commit_all()
    }
}

impl<const N: usize> From<core::Tracked<N>> for Tracked<N> {
    fn from(tracked: core::Tracked<N>) -> Self {
        Self(tracked)
    }
}

impl<const N: usize> From<Tracked<N>> for core::Tracked<N> {
    fn from(tracked: Tracked<N>) -> Self {
        tracked.0
    }
}

/// [`Tracked`] through `&self`, for several threads. See [`rawmap_core::SharedTracked`].
///
/// The program chooses the critical section; where threads are all there is, by the feature `std` of the
/// crate critical-section.
#[cfg(feature = "critical-section")]
#[derive(Debug)]
pub struct SharedTracked<const N: usize>(core::SharedTracked<N>);

#[cfg(feature = "critical-section")]
impl<const N: usize> SharedTracked<N> {
    /// Takes a map of which nothing is pending.
    #[must_use]
    pub fn new(map: MmapMut) -> Self {
        Self(core::SharedTracked::new(map.into()))
    }

    /// Copies bytes into the map, and remembers where; longer ones in pieces of 256.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the bytes would end past the map; none was written.
    /// - `ResourceBusy`: see [`rawmap_core::SharedTracked::write`].
    pub fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        Ok(self.0.write(offset, bytes)?)
    }

    /// Copies bytes out of the map, in pieces as [`write`](Self::write) copies them in.
    ///
    /// # Errors
    ///
    /// - As for [`write`](Self::write).
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> io::Result<()> {
        Ok(self.0.read(offset, bytes)?)
    }

    /// Writes all bytes that are pending when it begins to the medium, and waits, also for its turn.
    ///
    /// # Errors
    ///
    /// - As for [`Tracked::commit`].
    pub fn commit(&self) -> io::Result<Commit> {
        Ok(self.0.commit()?)
    }

    /// Like [`commit`](Self::commit), but where more than `gap` bytes of whole pages lie between two ranges,
    /// they are committed apart.
    ///
    /// # Errors
    ///
    /// - As for [`Tracked::commit`].
    pub fn commit_with(&self, gap: usize) -> io::Result<Commit> {
        Ok(self.0.commit_with(gap)?)
    }

    /// Commits once more after a commit failed; see [`Tracked::retry`].
    ///
    /// # Errors
    ///
    /// - As for [`Tracked::retry`].
    pub fn retry(&self) -> io::Result<Commit> {
        Ok(self.0.retry()?)
    }

    /// Starts to write what is pending to the medium, and does not wait: a later commit then has less to
    /// wait for. `file` is the one that is mapped. See [`rawmap_core::Tracked::start_writeback`].
    ///
    /// # Errors
    ///
    /// - As for [`MmapMut::start_writeback`].
    pub fn start_writeback<T: MmapAsRawDesc>(&self, file: T) -> io::Result<()> {
        Ok(self.0.start_writeback(file.as_raw_desc().borrow()?)?)
    }

    /// Brings a range into memory for writing, and finds out whether there is room; see
    /// [`MmapMut::prefault_write`].
    ///
    /// # Errors
    ///
    /// - As for [`MmapMut::prefault_write`].
    pub fn prefault_write(&self, offset: usize, len: usize) -> io::Result<()> {
        Ok(self.0.prefault_write(offset, len)?)
    }

    /// Gives the error of the commit that failed, until a [`retry`](Self::retry) succeeds.
    #[must_use]
    pub fn failed(&self) -> Option<io::Error> {
        let errno = self.0.failed()?;
        Some(io::Error::from_raw_os_error(errno.raw_os_error()))
    }

    /// Tells whether bytes were written that no commit has stored yet.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.0.is_dirty()
    }

    /// Gives the length of the map in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether the length is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the number of bytes that no commit has stored yet.
    ///
    /// # Errors
    ///
    /// - `ResourceBusy`: see [`rawmap_core::SharedTracked::write`].
    pub fn pending_bytes(&self) -> io::Result<usize> {
        Ok(self.0.pending_bytes()?)
    }

    /// Extends the file and the map together, or leaves both as they were; see [`MmapMut::grow`].
    ///
    /// # Errors
    ///
    /// - As for [`MmapMut::grow`].
    pub fn grow<T: MmapAsRawDesc>(&mut self, file: T, new_len: usize) -> io::Result<()> {
        let file = file.as_raw_desc();
        Ok(self.0.grow(file.borrow()?, new_len)?)
    }

    /// Gives the map back. What is pending is no longer known: commit first, or flush the map.
    #[must_use]
    pub fn into_inner(self) -> MmapMut {
        self.0.into_inner().into()
    }
}

#[cfg(feature = "critical-section")]
impl<const N: usize> From<core::SharedTracked<N>> for SharedTracked<N> {
    fn from(tracked: core::SharedTracked<N>) -> Self {
        Self(tracked)
    }
}

#[cfg(feature = "critical-section")]
impl<const N: usize> From<SharedTracked<N>> for core::SharedTracked<N> {
    fn from(tracked: SharedTracked<N>) -> Self {
        tracked.0
    }
}

/// Gives `len` bytes of a file at `offset` their place on the medium.
///
/// A full disk is then an error now, and not a SIGBUS at a store to a map. The file grows to the end of the range if it is shorter. See
/// [`rawmap_core::reserve`].
///
/// # Errors
///
/// - `StorageFull` or `QuotaExceeded`: there is no room.
/// - What the kernel refuses: the file system cannot reserve (`EOPNOTSUPP`), the file is not open for
///   writing (`EBADF`), or the end is past the largest length of a file (`EFBIG`).
pub fn reserve<T: MmapAsRawDesc>(file: T, offset: u64, len: u64) -> io::Result<()> {
    Ok(core::reserve(file.as_raw_desc().borrow()?, offset, len)?)
}
