//! What only [`MmapRaw`] has.

use std::io;

use rawmap_core::{PageSize, Protection, Shared};

use super::MmapRaw;
use crate::{MmapAsRawDesc, MmapOptions};

impl MmapRaw {
    pub(super) const fn raw(&self) -> &rawmap_core::MmapRaw {
        &self.0
    }

    /// Maps a file shared, for reading and writing: `MmapOptions::new().map_raw(file)`.
    ///
    /// # Errors
    ///
    /// As for [`MmapOptions::map_raw`].
    #[inline]
    pub fn map_raw<T: MmapAsRawDesc>(file: T) -> io::Result<Self> {
        MmapOptions::new().map_raw(file)
    }

    /// Gives a pointer to the first byte. Valid for reads of [`len`](Self::len) bytes for as long
    /// as the map lives and is not moved, and as far as the file reaches.
    #[must_use]
    #[inline]
    pub const fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// Gives a pointer to the first byte, valid for writes too where the map is writable. A write
    /// to a read-only map raises SIGSEGV.
    #[must_use]
    #[inline]
    pub const fn as_mut_ptr(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Gives the length in bytes, as it was asked for, not rounded to pages.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether the length is 0.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the page size that this map rounds by.
    #[must_use]
    #[inline]
    pub const fn page_size(&self) -> PageSize {
        self.0.page_size()
    }

    /// Gives a view of the whole map for access while others write to it: atomic words, and copies in and out.
    /// See [`Shared`].
    ///
    /// # Examples
    ///
    /// ```
    /// use rawmap::MmapOptions;
    ///
    /// let map = MmapOptions::new().len(4096).map_anon_shared()?;
    /// let view = map.shared();
    /// view.write(100, b"hello")?;
    /// assert_eq!(view.fetch_add(0, 1u32)?, 0);
    /// let mut bytes = [0; 5];
    /// view.read(100, &mut bytes)?;
    /// assert_eq!(&bytes, b"hello");
    /// // Past the end, and misaligned.
    /// assert!(view.load::<u32>(4096).is_err());
    /// assert!(view.load::<u32>(3).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn shared(&self) -> Shared<'_> {
        self.0.shared()
    }

    /// Like [`lock`](Self::lock), for `len` bytes at `offset`, rounded out to whole pages.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the range ends past the map; nothing was locked.
    /// - As for [`lock`](Self::lock).
    #[inline]
    pub fn lock_range(&self, offset: usize, len: usize) -> io::Result<()> {
        Ok(self.0.lock_range(offset, len)?)
    }

    /// Keeps each page in memory from its first touch on. Linux 4.4.
    ///
    /// # Errors
    ///
    /// - As for [`lock`](Self::lock), and `ENOSYS` below Linux 4.4.
    #[inline]
    pub fn lock_on_fault(&self) -> io::Result<()> {
        Ok(self.0.lock_on_fault()?)
    }

    /// Like [`lock_on_fault`](Self::lock_on_fault), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the range ends past the map; nothing was locked.
    /// - As for [`lock_on_fault`](Self::lock_on_fault).
    #[inline]
    pub fn lock_on_fault_range(&self, offset: usize, len: usize) -> io::Result<()> {
        Ok(self.0.lock_on_fault_range(offset, len)?)
    }

    /// Like [`unlock`](Self::unlock), for `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the range ends past the map; nothing was unlocked.
    /// - As for [`unlock`](Self::unlock).
    #[inline]
    pub fn unlock_range(&self, offset: usize, len: usize) -> io::Result<()> {
        Ok(self.0.unlock_range(offset, len)?)
    }

    /// Changes what may be done with the map; see [`rawmap_core::MmapRaw::protect`].
    ///
    /// # Errors
    ///
    /// - What the kernel refuses: the file was opened for less (`EACCES`).
    #[inline]
    pub fn protect(&mut self, protection: Protection) -> io::Result<()> {
        Ok(self.0.protect(protection)?)
    }

    /// Like [`protect`](Self::protect), for `len` bytes at `offset`, rounded out to whole pages.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the range ends past the map; nothing was changed.
    /// - As for [`protect`](Self::protect).
    #[inline]
    pub fn protect_range(
        &mut self,
        protection: Protection,
        offset: usize,
        len: usize,
    ) -> io::Result<()> {
        Ok(self.0.protect_range(protection, offset, len)?)
    }
}
