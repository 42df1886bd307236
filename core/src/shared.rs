//! [`Shared`]: checked access to memory that others may change at any moment.
//!
//! # Safety
//!
//! A view borrows its map, so the bytes stay mapped; its range was checked against the map, and every access is
//! checked against the range, for alignment and for what the map's protection allows. No reference to bytes
//! is made that lives longer than one atomic instruction.

#![allow(
    unsafe_code,
    reason = "atomic instructions and copies by pointer, inside the own map"
)]

mod copy;
mod mailbox;
mod sequence;
mod wait;
mod word;

use core::fmt;
use core::sync::atomic;

pub use self::mailbox::{Mail, Mailbox};
pub use self::wait::Waited;
pub use self::word::Word;
use crate::error::Error;
use crate::protection::Access;
use crate::raw::MmapRaw;
use crate::span::Span;

/// A view of a map's bytes that other processes or threads may write at the same time.
///
/// It makes no references to them: single words are read and written atomically, many bytes are copied in and
/// out. A copy while another thread or process writes gives some of the old bytes and some of the new ones, and that is
/// all: nothing is undefined. A [`Mailbox`] copies whole values. Words are in the machine's byte order. Offsets are from the start of the view, in bytes;
/// an atomic access needs an *address* that is a multiple of its width.
///
/// Loads and stores are relaxed where the name does not say otherwise: they order nothing. Changes that
/// read and write at once (`swap`, `fetch_add`, ...) acquire and release.
///
/// What a peer wrote may be anything. Copy first, then check the copy.
///
/// Where parts of a map were protected by [`protect_range`](MmapRaw::protect_range), an access there that
/// is not allowed raises SIGSEGV, as through a pointer. Threads of one program that access the same byte with different
/// widths at the same time get what the hardware gives: each access whole, in some order. Rust's own rules for atomics
/// leave that open.
///
/// A view of a map that is lent as slices, by `as_raw` of `Mmap` or `MmapMut`, only reads: [`Error::Protected`].
///
/// # Examples
///
/// ```
/// use rawmap_core::{Error, MmapOptions};
///
/// let map = MmapOptions::new().len(4096).map_anon_shared()?;
/// let view = map.shared();
/// view.write(8, b"frame 1")?;
/// view.store_release(0, 1_u32)?;
///
/// let mut bytes = [0; 7];
/// if view.load_acquire::<u32>(0)? == 1 {
///     view.read(8, &mut bytes)?;
/// }
/// assert_eq!(&bytes, b"frame 1");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Shared<'map> {
    // Invariant: `len` bytes from here on are mapped for as long as `'map` lasts.
    start: *mut u8,
    len: usize,
    access: Access,
    map: &'map MmapRaw,
}

// SAFETY: the pages belong to the process, and every access is one that others may make at the same time.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl MmapRaw {
    /// Returns a view of the whole map for access while others write to it.
    #[must_use]
    #[inline]
    pub const fn shared(&self) -> Shared<'_> {
        Shared {
            start: self.as_mut_ptr(),
            len: self.len(),
            access: self.access(),
            map: self,
        }
    }
}

/// The changes that read and write at once. All acquire and release.
macro_rules! fetch {
    ($($name:ident: $what:literal)*) => {$(
        #[doc = concat!($what, " the word at `offset`, and gives what was there.")]
        ///
        /// # Errors
        ///
        /// - [`Error::OutOfRange`]: the word ends past the view.
        /// - [`Error::Unaligned`]: its address is not a multiple of its width.
        /// - [`Error::Protected`]: the map is not readable and writable.
        #[inline]
        pub fn $name<W: Word>(self, offset: usize, value: W) -> Result<W, Error> {
            let word = self.word::<W>(offset, Access::READ_WRITE)?;
            // SAFETY: `word` has checked it.
            Ok(unsafe { W::$name(word, value) })
        }
    )*};
}

impl Shared<'_> {
    /// Returns the length in bytes.
    #[must_use]
    #[inline]
    pub const fn len(self) -> usize {
        self.len
    }

    /// Returns whether the length is 0.
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Returns a view of `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the view.
    #[inline]
    pub fn range(self, offset: usize, len: usize) -> Result<Self, Error> {
        let span = Span::new(offset, len, self.len)?;
        Ok(Self {
            start: self.start.wrapping_add(span.offset()),
            len: span.len(),
            ..self
        })
    }

    /// The same bytes, for less than the map allows.
    #[cfg(feature = "device")]
    pub(crate) fn only(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Reads the word at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the word ends past the view.
    /// - [`Error::Unaligned`]: its address is not a multiple of its width.
    /// - [`Error::Protected`]: the map is not readable; or, for 8 bytes on a 32-bit machine, not writable, which
    ///   some of these need for an atomic load.
    #[inline]
    pub fn load<W: Word>(self, offset: usize) -> Result<W, Error> {
        let word = self.word::<W>(offset, W::LOAD_NEEDS)?;
        // SAFETY: `word` has checked it.
        Ok(unsafe { W::load(word) })
    }

    /// Reads the word at `offset`, and what its writer stored before it by [`store_release`](Self::store_release)
    /// can be read after this.
    ///
    /// # Errors
    ///
    /// - As for [`load`](Self::load).
    #[inline]
    pub fn load_acquire<W: Word>(self, offset: usize) -> Result<W, Error> {
        let word = self.word::<W>(offset, W::LOAD_NEEDS)?;
        // SAFETY: `word` has checked it.
        Ok(unsafe { W::load_acquire(word) })
    }

    /// Writes the word at `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the word ends past the view.
    /// - [`Error::Unaligned`]: its address is not a multiple of its width.
    /// - [`Error::Protected`]: the map is not writable.
    #[inline]
    pub fn store<W: Word>(self, offset: usize, value: W) -> Result<(), Error> {
        let word = self.word::<W>(offset, Access::WRITE)?;
        // SAFETY: `word` has checked it.
        unsafe { W::store(word, value) };
        Ok(())
    }

    /// Writes the word at `offset`; a reader that uses [`load_acquire`](Self::load_acquire) can read what was
    /// stored before this.
    ///
    /// # Errors
    ///
    /// - As for [`store`](Self::store).
    #[inline]
    pub fn store_release<W: Word>(self, offset: usize, value: W) -> Result<(), Error> {
        let word = self.word::<W>(offset, Access::WRITE)?;
        // SAFETY: `word` has checked it.
        unsafe { W::store_release(word, value) };
        Ok(())
    }

    fetch! {
        swap: "Writes"
        fetch_add: "Adds to (wrapping)"
        fetch_sub: "Subtracts from (wrapping)"
        fetch_and: "ANDs to"
        fetch_or: "ORs to"
        fetch_xor: "XORs to"
    }

    /// Writes the word at `offset` if it is `current`, and gives what was there: `Ok` if that was so.
    ///
    /// # Errors
    ///
    /// - As for [`swap`](Self::swap).
    #[inline]
    pub fn compare_exchange<W: Word>(
        self,
        offset: usize,
        current: W,
        new: W,
    ) -> Result<Result<W, W>, Error> {
        let word = self.word::<W>(offset, Access::READ_WRITE)?;
        // SAFETY: `word` has checked it.
        Ok(unsafe { W::compare_exchange(word, current, new) })
    }

    /// Copies the bytes at `offset` out, as many as `bytes` takes.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the view; nothing was copied.
    /// - [`Error::Protected`]: the map is not readable.
    #[inline]
    pub fn read(self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let start = self.bytes(offset, bytes.len(), Access::READ)?;
        // SAFETY: mapped and readable, as checked.
        unsafe { copy::read(start, bytes) };
        Ok(())
    }

    /// Copies bytes in, to `offset`.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the view; nothing was copied.
    /// - [`Error::Protected`]: the map is not writable.
    #[inline]
    pub fn write(self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let start = self.bytes(offset, bytes.len(), Access::WRITE)?;
        // SAFETY: mapped and writable, as checked.
        unsafe { copy::write(start, bytes) };
        Ok(())
    }

    /// Stores a byte `len` times, from `offset` on.
    ///
    /// # Errors
    ///
    /// - As for [`write`](Self::write).
    pub fn fill(self, offset: usize, len: usize, byte: u8) -> Result<(), Error> {
        let start = self.bytes(offset, len, Access::WRITE)?;
        // SAFETY: mapped and writable, as checked.
        unsafe { copy::fill(start, byte, len) };
        Ok(())
    }

    /// Copies a value out, from any address. It may be torn: see the type.
    ///
    /// # Errors
    ///
    /// - As for [`read`](Self::read).
    #[cfg(feature = "zerocopy")]
    #[inline]
    pub fn read_value<T: zerocopy::FromBytes + zerocopy::IntoBytes>(
        self,
        offset: usize,
    ) -> Result<T, Error> {
        let mut value = T::new_zeroed();
        self.read(offset, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies a value in, to any address.
    ///
    /// # Errors
    ///
    /// - As for [`write`](Self::write).
    #[cfg(feature = "zerocopy")]
    #[inline]
    pub fn write_value<T: zerocopy::IntoBytes + zerocopy::Immutable>(
        self,
        offset: usize,
        value: &T,
    ) -> Result<(), Error> {
        self.write(offset, value.as_bytes())
    }

    /// The one check of a range: inside, and allowed.
    #[inline]
    fn bytes(self, offset: usize, len: usize, access: Access) -> Result<*mut u8, Error> {
        let span = Span::new(offset, len, self.len)?;
        if !self.access.allows(access) {
            return Err(Error::Protected);
        }
        Ok(self.start.wrapping_add(span.offset()))
    }

    /// The check of a word: that of a range, and aligned.
    #[inline]
    fn word<W: Word>(self, offset: usize, access: Access) -> Result<*mut W, Error> {
        let word = self
            .bytes(offset, size_of::<W>(), access)?
            .cast::<W::Atomic>();
        if !word.is_aligned() {
            return Err(unaligned::<W>(offset));
        }
        Ok(word.cast())
    }
}

#[cold]
#[inline(never)]
fn unaligned<W: Word>(offset: usize) -> Error {
    Error::Unaligned {
        offset: u64::try_from(offset).unwrap_or(u64::MAX),
        align: u32::try_from(align_of::<W::Atomic>()).unwrap_or(0),
    }
}

impl fmt::Debug for Shared<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("start", &self.start)
            .field("len", &self.len)
            .finish()
    }
}
