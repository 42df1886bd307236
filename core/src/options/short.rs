//! The short forms of the constructors, here so that `raw` and `map` need not know of the options.

use super::MmapOptions;
use crate::error::Error;
use crate::map::{Mmap, MmapMut};
use crate::raw::MmapRaw;
use crate::sys::AsFd;

impl Mmap {
    /// Maps a file shared, for reading: `MmapOptions::new().map(file)`.
    ///
    /// # Safety
    ///
    /// - As for [`MmapOptions::map`].
    ///
    /// # Errors
    ///
    /// - As there.
    #[inline]
    #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
    pub unsafe fn map<F: AsFd>(file: F) -> Result<Self, Error> {
        // SAFETY: the caller's duty, passed on.
        unsafe { MmapOptions::new().map(file) }
    }

    /// Maps a file that cannot change: `MmapOptions::new().map_if_safe(file)`.
    ///
    /// # Errors
    ///
    /// See [`MmapOptions::map_if_safe`].
    #[inline]
    pub fn map_if_safe<F: AsFd>(file: F) -> Result<Self, Error> {
        MmapOptions::new().map_if_safe(file)
    }
}

impl MmapMut {
    /// Maps a file shared, for reading and writing: `MmapOptions::new().map_mut(file)`.
    ///
    /// # Safety
    ///
    /// - As for [`MmapOptions::map_mut`].
    ///
    /// # Errors
    ///
    /// See [`MmapOptions::map_mut`].
    #[inline]
    #[allow(unsafe_code, reason = "declares: the caller answers for the file")]
    pub unsafe fn map_mut<F: AsFd>(file: F) -> Result<Self, Error> {
        // SAFETY: the caller's duty, passed on.
        unsafe { MmapOptions::new().map_mut(file) }
    }

    /// Maps `len` bytes of private memory that belongs to no file, all zero.
    ///
    /// # Errors
    ///
    /// See [`MmapOptions::map_anon`].
    #[inline]
    pub fn map_anon(len: usize) -> Result<Self, Error> {
        MmapOptions::new().len(len).map_anon()
    }
}

impl MmapRaw {
    /// Maps a file shared, for reading and writing: `MmapOptions::new().map_raw(file)`.
    ///
    /// # Errors
    ///
    /// See [`MmapOptions::map_raw`].
    #[inline]
    pub fn map_raw<F: AsFd>(file: F) -> Result<Self, Error> {
        MmapOptions::new().map_raw(file)
    }
}
