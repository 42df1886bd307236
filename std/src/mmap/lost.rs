//! What a contained map lost.

use std::io;

use super::{Mmap, MmapMut, MmapRaw};
use crate::MmapAsRawDesc;

macro_rules! lost {
    ($map:ident) => {
        impl $map {
            /// Tells whether the map is [contained](crate::MmapOptions::contained).
            #[must_use]
            pub fn is_contained(&self) -> bool {
                self.raw().is_contained()
            }

            /// Gives the offset of the first byte that a contained map lost to SIGBUS, until it is
            /// [acknowledged](Self::acknowledge_lost) or [recovered](Self::recover). See
            /// [`rawmap_core::MmapRaw::lost`].
            #[must_use]
            pub fn lost(&self) -> Option<usize> {
                self.raw().lost()
            }

            /// Gives what [`lost`](Self::lost) does, and forgets it: flushes of ranges that lost nothing go on. See
            /// [`rawmap_core::MmapRaw::acknowledge_lost`].
            pub fn acknowledge_lost(&self) -> Option<usize> {
                self.raw().acknowledge_lost()
            }

            /// Runs a closure on a contained map, and tells whether the map lost anything while it ran. See
            /// [`rawmap_core::MmapRaw::try_with`].
            ///
            /// # Errors
            ///
            /// - `Other`, with [`rawmap_core::Error::Lost`] inside: the first byte that was lost.
            pub fn try_with<R>(&self, body: impl FnOnce(&Self) -> R) -> io::Result<R> {
                Ok(self.raw().try_with(|_| body(self))?)
            }
        }
    };
}

lost!(Mmap);
lost!(MmapMut);
lost!(MmapRaw);

macro_rules! recover {
    ($map:ident) => {
        impl $map {
            /// Acknowledges a loss, and makes all of the map the file's again. See
            /// [`rawmap_core::MmapRaw::recover`].
            ///
            /// # Safety
            ///
            /// - The file is the one that is mapped.
            ///
            /// # Errors
            ///
            /// - `InvalidInput`: the map is of memory, or private.
            /// - What the kernel refuses.
            #[allow(unsafe_code, reason = "passes the duty on")]
            pub unsafe fn recover<T: MmapAsRawDesc>(&mut self, file: T) -> io::Result<()> {
                let file = file.as_raw_desc();
                // SAFETY: the caller's duty, passed on.
                unsafe { self.0.recover(file.borrow()?)? };
                Ok(())
            }
        }
    };
}

recover!(Mmap);
recover!(MmapMut);

impl MmapRaw {
    /// Acknowledges a loss, and makes all of the map the file's again. `file` is the one that is mapped. See
    /// [`rawmap_core::MmapRaw::recover`].
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the map is of memory, or private.
    /// - What the kernel refuses.
    pub fn recover<T: MmapAsRawDesc>(&mut self, file: T) -> io::Result<()> {
        let file = file.as_raw_desc();
        Ok(self.0.recover(file.borrow()?)?)
    }
}
