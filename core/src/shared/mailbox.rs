//! [`Mailbox`]: the newest value of one writer, for many readers.

use core::fmt;

use super::Shared;
use super::sequence::{self, Number, Seen};
use crate::error::Error;

/// How often a reader looks.
const TRIES: usize = 1000;

/// The newest value that one writer gives to many readers, through memory that they share.
///
/// The writer never waits. A reader gets a whole value with its number, or hears after 1,000 tries why there is none. There is no lock
/// that a process could die with.
///
/// Any number of threads and processes read; one writes. Two that write at once mix their values. A writer that dies in the middle
/// leaves [`Mail::Unfinished`], until the next one writes.
///
/// # Trust
///
/// A peer that can write to the memory can give any bytes under any number, and keep a reader from getting one. That is all, if it cannot
/// shorten the file: take sealed memory, or a contained map. No loop is endless. Check the copy before you use it. What a contained
/// map lost reads as zeros, the number or the value: ask `lost` after reading.
///
/// # In memory
///
/// A word of 32 bits in the machine's byte order, 4 bytes that are not used, and the value. The word is 0 in new memory,
/// odd while the value is written, and twice the value's number when it is there. To sleep until the next value,
/// [`wait`](Shared::wait) while the word is that; the writer calls [`wake`](Shared::wake).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use rawmap_core::{Error, Mail, Mailbox, MmapOptions, Waited};
///
/// let map = MmapOptions::new().len(4096).map_anon_shared()?;
/// let view = map.shared();
///
/// // One process:
/// let mut speed = Mailbox::new(view, 0, 8)?;
/// let number = speed.write(&12.5_f64.to_le_bytes())?;
/// view.wake(0, u32::MAX)?; // Who waits below.
///
/// // Another:
/// let speed = Mailbox::new(view, 0, 8)?;
/// let mut bytes = [0; 8];
/// assert_eq!(speed.read(&mut bytes)?, Mail::Value(number));
/// assert_eq!(f64::from_le_bytes(bytes), 12.5);
/// // The next value, or a look at whether the writer is still there.
/// let waited = view.wait(0, 2 * number, Some(Duration::from_millis(1)))?;
/// assert_eq!(waited, Waited::TimedOut);
/// # Ok::<(), Error>(())
/// ```
pub struct Mailbox<'map> {
    /// The word, and the value.
    view: Shared<'map>,
}

/// What a [`Mailbox`] has for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Mail {
    /// A whole value, and its number: the first is 1, the next is one more, and 1 follows 2^31 - 1.
    Value(u32),
    /// No value was written yet.
    Empty,
    /// The writer is in the middle of a value, or has died there. Look whether it is still there: by its pidfd, or by the socket that
    /// you share.
    Unfinished,
    /// The number changed between the tries, and at none the value was whole: the writer writes all the time, or has died meanwhile.
    Changing,
}

impl<'map> Mailbox<'map> {
    /// Bytes in front of the value. A mailbox takes `HEAD` + `len` bytes.
    pub const HEAD: usize = 8;

    /// Returns the mailbox at `offset` of a view, for values of `len` bytes. The memory is left as it is.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: it ends past the view.
    /// - [`Error::Unaligned`]: its address is not a multiple of 4.
    /// - [`Error::Protected`]: the map is not readable.
    pub fn new(view: Shared<'map>, offset: usize, len: usize) -> Result<Self, Error> {
        view.load::<u32>(offset)?;
        let view = view.range(offset, len.saturating_add(Self::HEAD))?;
        Ok(Self { view })
    }

    /// Returns the length of a value in bytes.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.view.len.saturating_sub(Self::HEAD)
    }

    /// Returns whether a value has no bytes: only its number tells anything.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes a value, and returns its number. Where `bytes` are fewer than [`len`](Self::len), the rest of the value stays.
    ///
    /// A reader that was stopped in the middle while exactly 2^31 - 1 values were written, or a multiple of that, takes parts of two for one.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: `bytes` are more than `len`. Nothing was written.
    /// - [`Error::Protected`]: the map is not writable.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> Result<u32, Error> {
        let value = self.view.range(Self::HEAD, bytes.len())?;
        let word = sequence::write(&self.view, || value.write(0, bytes))?;
        Ok(word >> 1)
    }

    /// Copies the newest value out, as many of its bytes as `bytes` takes. Tries 1,000 times.
    ///
    /// Where the answer is not [`Mail::Value`], `bytes` hold anything.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: `bytes` are more than [`len`](Self::len).
    #[inline]
    pub fn read(&self, bytes: &mut [u8]) -> Result<Mail, Error> {
        let value = self.view.range(Self::HEAD, bytes.len())?;
        let seen = sequence::read(&self.view, TRIES, || value.read(0, bytes))?;
        Ok(match seen {
            Seen::Whole(0) => Mail::Empty,
            Seen::Whole(word) => Mail::Value(word >> 1),
            Seen::Odd => Mail::Unfinished,
            Seen::Changing => Mail::Changing,
        })
    }
}

/// The word at the start of a view.
impl Number for Shared<'_> {
    type Error = Error;

    #[inline]
    fn load(&self) -> Result<u32, Error> {
        Shared::load(*self, 0)
    }

    #[inline]
    fn load_acquire(&self) -> Result<u32, Error> {
        Shared::load_acquire(*self, 0)
    }

    #[inline]
    fn store(&self, number: u32) -> Result<(), Error> {
        Shared::store(*self, 0, number)
    }

    #[inline]
    fn store_release(&self, number: u32) -> Result<(), Error> {
        Shared::store_release(*self, 0, number)
    }
}

impl fmt::Debug for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("len", &self.len()).finish()
    }
}
