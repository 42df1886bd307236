//! [`Store`]: the owner of a map with parts. It alone knows what of them is not on stable storage yet.

mod log;
mod slots;

use core::fmt;

pub use self::log::Log;
pub use self::slots::Slots;
pub(super) use self::slots::load;
use super::layout::{Kind, Layout, NAME, Part, Table, is_zero, table_copies};
use super::log::Place;
use super::slots::{Copies, HEAD, MAGIC, SlotCopy, write};
use super::sum::wide;
use crate::backing::{Backing, lend};
use crate::error::{Error, RecordProblem as Problem, Refused};
use crate::span::Span;

/// What is known of a part beside its bytes.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing: the file was opened, or a commit failed.
    Unknown,
    /// Of a value: the newest copy is not committed yet.
    Staged,
    /// Of a log.
    Log(Tail),
}

/// Where a log goes on.
#[derive(Clone, Copy, Debug)]
struct Tail {
    end: Option<Place>,
    /// Nothing more goes into that segment.
    closed: bool,
    /// Records of it are not committed yet.
    staged: bool,
}

/// A map with the parts of a [`Layout`].
///
/// What is put into them is in memory, and stays there until [`commit`](Self::commit) has it on stable storage: one flush of the
/// device for all parts. After a power cut each value is the one of the last commit, or a newer one that was put after it; each
/// log has all records that were committed, perhaps some that were appended after them, in order and in whole.
///
/// The first change after opening, or after a commit that failed, first commits what is there: a process that was killed may have
/// left it in memory alone. That is one flush of the device more. So is a record of a log that does not fit into its segment: all
/// that was put before it is committed then.
///
/// # Errors
///
/// A commit that fails leaves what was put in memory, and each change fails until [`retry`](Self::retry) is `Ok`. Do not give the
/// file up before: after a failed write the kernel takes the pages for stored, and shows them to the next process that opens it.
/// [`Part::copies`] says what that may cost of a value. Of a log it may cost what the next process appends and commits, if the page with the
/// head of the newest segment was not stored.
///
/// # Examples
///
/// ```
/// use rawmap_core::record::{Layout, Part, Store, layout};
/// use rawmap_core::{Error, MmapMut};
///
/// const LAYOUT: Layout<2> = layout!("recorder", 1, [Part::slots("boots", 8), Part::log("events", 1 << 20)]);
///
/// fn boot(map: MmapMut) -> Result<u64, Error> {
///     let mut store = Store::open(map, LAYOUT)?;
///     let last = store.slots("boots")?.load()?.map_or(0, |value| {
///         u64::from_le_bytes(*value.bytes.first_chunk().unwrap_or(&[0; 8]))
///     });
///     store.slots("boots")?.put(1, &(last + 1).to_le_bytes())?;
///     store.log("events")?.append(b"started")?;
///     store.commit()?; // Both are on stable storage, by one flush of the device.
///     Ok(last + 1)
/// }
/// assert_eq!(boot(MmapMut::map_anon(LAYOUT.len())?)?, 1);
/// # Ok::<(), Error>(())
/// ```
pub struct Store<B, const N: usize> {
    map: B,
    layout: Layout<N>,
    states: [State; N],
    /// What was put and is not committed.
    staged: Option<(usize, usize)>,
    /// What is there and not among that is on stable storage.
    settled: bool,
}

impl<B: Backing, const N: usize> Store<B, N> {
    /// Takes a map of a file with these parts, or of a new one, which is full of zeros: that one gets its table, with two flushes
    /// of the device.
    ///
    /// # Errors
    ///
    /// Each gives the map back, and leaves the file as it is.
    ///
    /// - [`Problem::Length`]: the map is not as long as the layout.
    /// - [`Problem::Foreign`], [`Problem::Version`], [`Problem::OtherParts`]: the file holds something else. Where a power cut
    ///   spoils more than what was written, one in the middle of the very first write leaves such a file: remove it.
    /// - [`Problem::Damaged`]: both copies of the table are damaged.
    /// - What the device says, of a new file.
    pub fn open(map: B, layout: Layout<N>) -> Result<Self, Refused<B>> {
        let mut store = Self::without_table(map, layout)?;
        match store.check_table() {
            Ok(()) => Ok(store),
            Err(error) => Err(Refused {
                error,
                map: store.map,
            }),
        }
    }

    /// Takes a map as [`open`](Self::open) does, also of a file of an older version: that is upgraded, and `upgrade` is told its
    /// version.
    ///
    /// Each part of the layout has to be one that the file has, at the same place, or be where the file has none. So the older parts
    /// stay as they are until the table of the new ones replaces theirs, with two flushes of the device: a power cut leaves a file of
    /// one version or the other. New parts are empty, and `upgrade` fills them; [`Reader`](super::Reader) reads the older ones from
    /// the map. What it changes in parts that stay, an older program may see.
    ///
    /// # Errors
    ///
    /// - As for [`open`](Self::open).
    /// - [`Problem::OtherParts`]: a part does not stay and is not new, or the unit is another.
    /// - What `upgrade` says: the file stays of its version.
    ///
    /// # Examples
    ///
    /// ```
    /// # use rawmap_core::record::{Layout, Part, Problem, Reader, Store};
    /// # use rawmap_core::{Error, MmapMut};
    /// # const fn layout<const N: usize>(version: u32, parts: [Part<'static>; N]) -> Layout<N> {
    /// #     match Layout::new("clock", version, parts) {
    /// #         Ok(layout) => layout,
    /// #         Err(_) => panic!("the layout"),
    /// #     }
    /// # }
    /// const OLD: Layout<1> = layout(1, [Part::slots("seconds", 4)]);
    /// const NEW: Layout<2> = layout(2, [Part::slots("seconds", 4), Part::slots("nanos", 8)]);
    ///
    /// fn open(map: MmapMut) -> Result<Store<MmapMut, 2>, Error> {
    ///     Ok(Store::upgrade(map, NEW, |store, _from| {
    ///         let seconds = Reader::new(store.get_ref())?.load("seconds")?;
    ///         let seconds = seconds.and_then(|value| value.bytes.first_chunk().copied());
    ///         let nanos = u64::from(u32::from_le_bytes(seconds.unwrap_or_default())) * 1_000_000_000;
    ///         store.slots("nanos")?.put(1, &nanos.to_le_bytes())
    ///     })?)
    /// }
    /// # let mut map = MmapMut::map_anon(OLD.len())?;
    /// # let mut store = Store::open(map, OLD)?;
    /// # store.slots("seconds")?.store(1, &7_u32.to_le_bytes())?;
    /// # let mut map = MmapMut::map_anon(NEW.len())?;
    /// # map[..OLD.len()].copy_from_slice(store.get_ref());
    /// # let refused = Store::open(map, NEW).unwrap_err();
    /// # assert_eq!(refused.error, Error::Record(Problem::Version { found: 1, want: 2 }));
    /// # let mut store = open(refused.map)?;
    /// # assert_eq!(store.slots("nanos")?.load()?.unwrap().bytes, 7_000_000_000_u64.to_le_bytes());
    /// # Store::open(store.into_inner(), NEW)?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn upgrade(
        map: B,
        layout: Layout<N>,
        upgrade: impl FnOnce(&mut Self, u32) -> Result<(), Error>,
    ) -> Result<Self, Refused<B>> {
        let mut store = Self::without_table(map, layout)?;
        let upgraded = match store.check_table() {
            Err(Error::Record(Problem::Version { found, want })) if found < want => {
                store.replace_table(found, upgrade)
            }
            checked => checked,
        };
        match upgraded {
            Ok(()) => Ok(store),
            Err(error) => Err(Refused {
                error,
                map: store.map,
            }),
        }
    }

    fn replace_table(
        &mut self,
        found: u32,
        upgrade: impl FnOnce(&mut Self, u32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let newest = table_copies(self.layout.unit).newest(self.map.as_ref());
        let table = newest.ok().flatten().map(|newest| Table::of(newest.value));
        let is_new = table.and_then(|table| self.layout.follows(table));
        let is_new = is_new.ok_or(Error::Record(Problem::OtherParts))?;
        self.settle()?;
        for (number, is_new) in is_new.into_iter().enumerate() {
            let part = self.layout.parts.get(number).filter(|_| is_new);
            // What an upgrade left that was not finished.
            if let Some(part) = part.filter(|part| !is_zero(part.of(self.map.as_ref()))) {
                let (offset, len) = (part.offset, part.len);
                self.stage(offset, len)?.fill(0);
            }
        }
        upgrade(self, found)?;
        self.commit()?;
        self.write_table(false)
    }

    /// Takes a map whose table is not looked at: for a program that has no room for that, and knows its file.
    ///
    /// # Errors
    ///
    /// - [`Problem::Length`]: the map is not as long as the layout. This gives the map back.
    pub fn without_table(map: B, layout: Layout<N>) -> Result<Self, Refused<B>> {
        let (found, want) = (wide(map.as_ref().len()), wide(layout.len()));
        if found != want {
            let error = Error::Record(Problem::Length { found, want });
            return Err(Refused { error, map });
        }
        Ok(Self {
            map,
            layout,
            states: [State::Unknown; N],
            staged: None,
            settled: false,
        })
    }

    fn check_table(&mut self) -> Result<(), Error> {
        let map = self.map.as_ref();
        let newest = match table_copies(self.layout.unit).newest(map) {
            Ok(Some(newest)) => newest,
            _ if self.layout.was_begun(map) => return self.write_table(false),
            // What is there has no table.
            _ if !map.starts_with(&MAGIC) => return Err(Error::Record(Problem::Foreign)),
            _ => return Err(Error::Record(Problem::Damaged { offset: 0 })),
        };
        let (bytes, len) = self.layout.table();
        if newest.value.bytes.get(..NAME) != bytes.get(..NAME) {
            return Err(Error::Record(Problem::Foreign));
        }
        let (found, want) = (newest.value.version, self.layout.version);
        if found != want {
            return Err(Error::Record(Problem::Version { found, want }));
        }
        if bytes.get(..len) != Some(newest.value.bytes) {
            return Err(Error::Record(Problem::OtherParts));
        }
        // The second is written when the first is on stable storage. Without it the first may be in memory alone: a flush of it
        // failed, and the process gave the file up.
        let copies = table_copies(self.layout.unit);
        let mut all = (0..copies.number).map(|index| copies.read(map, index));
        let is_kept = |copy| matches!(copy, SlotCopy::Whole { value, .. } if value == newest.value);
        match all.all(is_kept) {
            true => Ok(()),
            false => self.write_table(true),
        }
    }

    /// Writes the table, as a value of its own: both copies, one after the other. With one alone, damage to it would be the end of a new
    /// file, and would make an upgraded one look like an older. The newest is the first, where it is of this table.
    fn write_table(&mut self, mut is_there: bool) -> Result<(), Error> {
        let (bytes, len) = self.layout.table();
        let table = bytes.get(..len).unwrap_or_default();
        let copies = table_copies(self.layout.unit);
        for _ in 0..copies.number {
            self.put_copy(0, copies, is_there, self.layout.version, table)?;
            self.commit_staged()?;
            is_there = false;
        }
        Ok(())
    }

    /// Returns the part of a value.
    ///
    /// # Errors
    ///
    /// - [`Problem::NoPart`]: there is none of this name.
    pub fn slots(&mut self, name: &str) -> Result<Slots<'_, B, N>, Error> {
        let (index, part) = self.part(name)?;
        let copies = part.as_slots().ok_or(Error::Record(Problem::NoPart))?;
        Ok(Slots {
            store: self,
            index,
            offset: part.offset,
            copies,
        })
    }

    /// Returns the part of a log.
    ///
    /// # Errors
    ///
    /// - [`Problem::NoPart`]: there is none of this name.
    pub fn log(&mut self, name: &str) -> Result<Log<'_, B, N>, Error> {
        let (index, part) = self.part(name)?;
        let ring = part.as_log();
        let ring = ring.ok_or(Error::Record(Problem::NoPart))?;
        Ok(Log {
            store: self,
            index,
            part,
            ring,
        })
    }

    /// Returns the plain bytes of a part.
    ///
    /// # Errors
    ///
    /// - [`Problem::NoPart`]: there is none of this name.
    pub fn bytes(&self, name: &str) -> Result<&[u8], Error> {
        let (_, part) = self.plain(name)?;
        Ok(part.of(self.map.as_ref()))
    }

    /// Lends plain bytes of a part to be changed. All of them count as changed; [`commit`](Self::commit) stores them.
    ///
    /// # Errors
    ///
    /// - [`Problem::NoPart`]: there is none of this name.
    /// - [`Error::OutOfRange`]: the range ends past the part.
    /// - What the device says of what was there before, or said of an earlier commit; nothing was changed.
    pub fn edit(&mut self, name: &str, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        let (_, part) = self.plain(name)?;
        let span = Span::new(offset, len, part.len)?;
        self.settle()?;
        self.map.check()?;
        self.stage(part.offset.saturating_add(span.offset()), span.len())
    }

    /// Waits until all that was put and appended is on stable storage: with one flush of the device. The first time also what
    /// was found, which a process may have left that was killed.
    ///
    /// # Errors
    ///
    /// - What the device says; see [`Backing::commit`].
    pub fn commit(&mut self) -> Result<(), Error> {
        self.settle()?;
        self.commit_staged()
    }

    fn commit_staged(&mut self) -> Result<(), Error> {
        let Some((from, to)) = self.staged else {
            return self.map.check();
        };
        let stored = self.map.commit(from, to.saturating_sub(from));
        if stored.is_err() {
            self.forget();
            return stored;
        }
        self.staged = None;
        for state in &mut self.states {
            match state {
                State::Log(tail) => tail.staged = false,
                state => *state = State::Unknown,
            }
        }
        stored
    }

    /// What looks newest may be in memory alone, or be other bytes than before.
    fn forget(&mut self) {
        self.settled = false;
        self.states = [State::Unknown; N];
    }

    /// Stores all of the map once more after a commit failed; see [`Backing::retry`].
    ///
    /// # Errors
    ///
    /// - What the device says; all stays as it is.
    pub fn retry(&mut self) -> Result<(), Error> {
        self.map.retry()
    }

    /// Returns the map.
    #[must_use]
    pub const fn get_ref(&self) -> &B {
        &self.map
    }

    /// Returns the map, to be changed: to recover what a contained one lost, say. Then all parts are as after opening.
    #[must_use]
    pub fn get_mut(&mut self) -> &mut B {
        self.forget();
        &mut self.map
    }

    /// Returns the map back. What was not committed is not committed by this.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.map
    }

    /// Returns the layout.
    #[must_use]
    pub const fn layout(&self) -> &Layout<N> {
        &self.layout
    }

    fn set(&mut self, index: usize, new: State) {
        if let Some(state) = self.states.get_mut(index) {
            *state = new;
        }
    }

    fn part(&self, name: &str) -> Result<(usize, Part<'static>), Error> {
        let mut parts = self.layout.parts.iter().enumerate();
        let found = parts.find(|(_, part)| part.name() == name);
        let (index, part) = found.ok_or(Error::Record(Problem::NoPart))?;
        Ok((index, *part))
    }

    fn plain(&self, name: &str) -> Result<(usize, Part<'static>), Error> {
        let found = self.part(name)?;
        match found.1.kind {
            Kind::Bytes => Ok(found),
            _ => Err(Error::Record(Problem::NoPart)),
        }
    }

    /// Lends bytes, which are to be committed.
    fn stage(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        stage(&mut self.map, &mut self.staged, offset, len)
    }

    /// Makes sure that all that is there is on stable storage, but for what this has put there. Then the oldest may be
    /// overwritten. Nothing is written that is stored already: a cut in the middle of that could spoil what has been there for
    /// long.
    fn settle(&mut self) -> Result<(), Error> {
        if self.settled {
            return Ok(());
        }
        self.stage(0, self.layout.len())?;
        self.commit_staged()?;
        self.settled = true;
        Ok(())
    }

    /// Writes a value over its oldest copy, or over one that is not committed.
    fn put_copy(
        &mut self,
        offset: usize,
        copies: Copies,
        is_staged: bool,
        version: u32,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let part = self.map.as_ref().get(offset..).unwrap_or_default();
        let (index, counter) = match copies.newest(part).unwrap_or(None) {
            None => (0, 1),
            Some(newest) if is_staged => (newest.index, newest.counter),
            Some(newest) => {
                let next = newest.index.wrapping_add(1);
                let index = if next < copies.number { next } else { 0 };
                (index, newest.counter.wrapping_add(1))
            }
        };
        let target = copies.read(part, index);
        // What was read may be of a page that was lost meanwhile.
        self.map.check()?;
        let at = offset.saturating_add(copies.start(index));
        if matches!(target, SlotCopy::Damaged) {
            // A cut left the head of a value that was never committed, and not the rest. Written over it, an equal rest would make
            // that value whole if the power is cut again.
            self.stage(at, HEAD)?.fill(0);
            self.commit_staged()?;
        }
        let place = self.stage(at, HEAD.saturating_add(bytes.len()))?;
        write(place, counter, version, bytes);
        Ok(())
    }
}

/// Lends bytes, and notes that they are to be committed.
fn stage<'m, B: Backing>(
    map: &'m mut B,
    staged: &mut Option<(usize, usize)>,
    offset: usize,
    len: usize,
) -> Result<&'m mut [u8], Error> {
    let end = offset.saturating_add(len);
    *staged = Some(match *staged {
        Some((from, to)) => (from.min(offset), to.max(end)),
        None => (offset, end),
    });
    lend(map, offset, len)
}

impl<B: fmt::Debug, const N: usize> fmt::Debug for Store<B, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("map", &self.map)
            .field("layout", &self.layout.name)
            .field("staged", &self.staged)
            .finish_non_exhaustive()
    }
}
