//! [`Slots`]: the part of a value.

use core::fmt;

use super::{State, Store};
use crate::backing::Backing;
use crate::error::{Error, RecordProblem as Problem};
use crate::record::slots::{Copies, Value, too_long};
use crate::record::sum::wide;

/// One value of a store, in several copies: a power cut leaves the old one or the new one.
pub struct Slots<'s, B, const N: usize> {
    pub(super) store: &'s mut Store<B, N>,
    pub(super) index: usize,
    pub(super) offset: usize,
    pub(super) copies: Copies,
}

impl<B: Backing, const N: usize> Slots<'_, B, N> {
    /// Returns the newest value, or that none was ever stored. It may be one that is not committed yet.
    ///
    /// # Errors
    ///
    /// - [`Problem::Damaged`]: all copies are damaged, or none is whole and more are than a cut leaves. A value that is put
    ///   nevertheless takes their place.
    /// - [`Error::Lost`]: a contained map lost bytes, which read as zeros; see [`Store::get_mut`].
    pub fn load(&self) -> Result<Option<Value<'_>>, Error> {
        let part = self.store.map.as_ref().get(self.offset..);
        let value = load(self.copies, part.unwrap_or_default(), self.offset)?;
        match self.store.map.check() {
            Err(lost @ Error::Lost { .. }) => Err(lost),
            // After a commit that failed, what is in memory can be read.
            _ => Ok(value),
        }
    }

    /// Puts a value into memory, which [`Store::commit`] stores. `version` comes back with it.
    ///
    /// # Errors
    ///
    /// - [`Problem::TooLong`]: it is longer than the part says; nothing was changed.
    /// - What the device says of what was there before, or said of an earlier commit; nothing was changed.
    pub fn put(&mut self, version: u32, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > self.copies.capacity {
            return Err(too_long(bytes.len(), self.copies.capacity));
        }
        self.store.settle()?;
        let state = self.store.states.get(self.index);
        let is_staged = matches!(state, Some(State::Staged));
        self.store
            .put_copy(self.offset, self.copies, is_staged, version, bytes)?;
        self.store.set(self.index, State::Staged);
        Ok(())
    }

    /// Puts a value, and waits until it is on stable storage: one flush of the device. All else that was put into the store is
    /// committed with it.
    ///
    /// # Errors
    ///
    /// - As for [`put`](Self::put) and [`Store::commit`].
    pub fn store(&mut self, version: u32, bytes: &[u8]) -> Result<(), Error> {
        self.put(version, bytes)?;
        self.store.commit()
    }
}

#[cfg(feature = "zerocopy")]
impl<B: Backing, const N: usize> Slots<'_, B, N> {
    /// Returns the newest value as one of a type, with its version; see [`load`](Self::load). Its numbers are of the machine's
    /// byte order unless the type says otherwise, as those of `zerocopy::little_endian` do.
    ///
    /// # Errors
    ///
    /// - [`Problem::Length`]: it is not as long as the type.
    /// - As for [`load`](Self::load).
    pub fn load_value<T: zerocopy::FromBytes>(&self) -> Result<Option<(u32, T)>, Error> {
        let Some(value) = self.load()? else {
            return Ok(None);
        };
        let read = T::read_from_bytes(value.bytes).map_err(|_| {
            let (found, want) = (wide(value.bytes.len()), wide(size_of::<T>()));
            Error::Record(Problem::Length { found, want })
        });
        read.map(|read| Some((value.version, read)))
    }

    /// Puts a value of a type, and waits until it is on stable storage; see [`store`](Self::store).
    ///
    /// # Errors
    ///
    /// - As for [`store`](Self::store).
    ///
    /// # Examples
    ///
    /// ```
    /// use rawmap_core::record::{Layout, Part, Store, layout};
    /// use zerocopy::little_endian::U64;
    ///
    /// // A serial number and how often the board has started; or a structure that derives zerocopy's traits.
    /// type Settings = [U64; 2];
    ///
    /// const LAYOUT: Layout<1> = layout!("board", 1, [Part::slots("settings", size_of::<Settings>())]);
    /// # let map = rawmap_core::MmapMut::map_anon(LAYOUT.len())?;
    /// let mut store = Store::open(map, LAYOUT)?;
    /// let settings: Settings = [4711.into(), 1.into()];
    /// store.slots("settings")?.store_value(1, &settings)?;
    /// assert_eq!(store.slots("settings")?.load_value()?, Some((1, settings)));
    /// # Ok::<(), rawmap_core::Error>(())
    /// ```
    pub fn store_value<T>(&mut self, version: u32, value: &T) -> Result<(), Error>
    where
        T: zerocopy::IntoBytes + zerocopy::Immutable,
    {
        self.store(version, value.as_bytes())
    }
}

/// What is newest, with the offset of the part in errors.
pub(in crate::record) fn load(
    copies: Copies,
    part: &[u8],
    offset: usize,
) -> Result<Option<Value<'_>>, Error> {
    let newest = copies.newest(part).map_err(|_| {
        let offset = wide(offset);
        Error::Record(Problem::Damaged { offset })
    })?;
    Ok(newest.map(|newest| newest.value))
}

impl<B, const N: usize> fmt::Debug for Slots<'_, B, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("offset", &self.offset)
            .field("copies", &self.copies)
            .finish_non_exhaustive()
    }
}
