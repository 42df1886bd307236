//! [`Log`]: the part of a log.

use core::fmt;

use super::{State, Store, Tail};
use crate::backing::Backing;
use crate::error::{Error, RecordProblem as Problem};
use crate::record::layout::{Kind, Part};
use crate::record::log::{self, Place, RECORD_HEAD, Records, Ring, SEGMENT_HEAD};
use crate::record::slots::too_long;

/// A log of a store: records of any length, the oldest of which are overwritten.
pub struct Log<'s, B, const N: usize> {
    pub(super) store: &'s mut Store<B, N>,
    pub(super) index: usize,
    pub(super) part: Part<'static>,
    pub(super) ring: Ring,
}

impl<B: Backing, const N: usize> Log<'_, B, N> {
    /// Appends a record in memory, which [`Store::commit`] stores. Where it does not fit into its segment, this first commits what
    /// was put into the store before, with one flush of the device, and begins the next one.
    ///
    /// # Errors
    ///
    /// - [`Problem::TooLong`]: it is longer than [`limit`](Self::limit); nothing was changed.
    /// - [`Problem::Full`]: there is no room, and the log keeps its oldest records; nothing was changed.
    /// - What the device says of what was there before, or said of an earlier commit; nothing was changed.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > self.limit() {
            return Err(too_long(bytes.len(), self.limit()));
        }
        self.store.settle()?;
        let tail = self.tail();
        let len = bytes.len();
        let mut is_first = !tail.staged;
        let open = tail.end.filter(|_| !tail.closed);
        let room = open.and_then(|end| Some((self.ring.room(end, is_first, len)?, end.at)));
        let (place, before) = match room {
            Some(room) => {
                self.store.map.check()?;
                room
            }
            None => {
                is_first = true;
                let place = self.begin_segment(tail.end)?;
                (place, place.at)
            }
        };
        let at = self.at(place);
        let record = self.store.stage(at, RECORD_HEAD.saturating_add(len))?;
        log::write(record, place, before, is_first, bytes);
        let tail = Tail {
            end: Some(Ring::behind(place, len)),
            closed: false,
            staged: true,
        };
        self.store.set(self.index, State::Log(tail));
        Ok(())
    }

    /// Where the log goes on.
    fn tail(&self) -> Tail {
        if let Some(State::Log(tail)) = self.store.states.get(self.index) {
            return *tail;
        }
        let part = self.part.of(self.store.map.as_ref());
        let end = self.ring.end(part);
        Tail {
            end,
            closed: end.is_some_and(|end| !self.ring.may_go_on(part, end)),
            staged: false,
        }
    }

    /// Writes the head of the next segment, and returns where its first record goes. What was appended before it is committed
    /// first: then the segment stands for itself, whatever a cut leaves of it, and of the one that it takes the place of.
    fn begin_segment(&mut self, end: Option<Place>) -> Result<Place, Error> {
        let part = self.part.of(self.store.map.as_ref());
        let (fresh, before, counts) = self.ring.fresh(part, end);
        let keeps = matches!(self.part.kind, Kind::Log { keep: true, .. });
        if counts && keeps {
            return Err(Error::Record(Problem::Full));
        }
        // What was read may be of a page that was lost meanwhile.
        self.store.map.check()?;
        if self.store.staged.is_some() {
            self.store.commit_staged()?;
        }
        let at = self.at(Place { at: 0, ..fresh });
        let head = self.store.stage(at, SEGMENT_HEAD)?;
        log::write_head(head, fresh.number, before);
        // A cut left the head of a record there, and not the rest. Under the old number an equal rest would make it whole.
        if end.is_some_and(|end| end.index == fresh.index) {
            self.store.commit_staged()?;
        }
        Ok(fresh)
    }

    /// Where a place is in the map.
    fn at(&self, place: Place) -> usize {
        let start = self.ring.start(place.index);
        self.part
            .offset
            .saturating_add(start)
            .saturating_add(place.at)
    }

    /// Frees the oldest segment of a log that keeps its oldest records; `false` where there is one segment only. The next
    /// commit makes it last. What was put into the store before is committed first, if this log has some of it.
    ///
    /// # Errors
    ///
    /// - As for [`append`](Self::append).
    pub fn drop_oldest(&mut self) -> Result<bool, Error> {
        self.store.settle()?;
        if self.tail().staged {
            // Else the drop could be stored without the records that it makes room for; or the segment that a batch has begun
            // could be there without a record, behind one that is dropped.
            self.store.commit_staged()?;
        }
        let end = self.tail().end;
        let part = self.part.of(self.store.map.as_ref());
        let oldest = end.map(|end| (end, self.ring.oldest(part, end)));
        // What was read may be of a page that was lost meanwhile.
        self.store.map.check()?;
        let Some((end, index)) = oldest.filter(|(end, index)| *index != end.index) else {
            return Ok(false);
        };
        let at = self.at(Place {
            index,
            at: 0,
            ..end
        });
        log::seal_head(self.store.stage(at, SEGMENT_HEAD)?, true);
        Ok(true)
    }

    /// Waits until all that was appended, and all else that was put into the store, is on stable storage: one flush of the
    /// device.
    ///
    /// # Errors
    ///
    /// - As for [`Store::commit`].
    pub fn commit(&mut self) -> Result<(), Error> {
        self.store.commit()
    }

    /// Returns the records from the oldest to the newest, also those that are not committed yet. They are not copied. What a
    /// contained map lost is missing: ask it afterwards, by [`Store::get_ref`].
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        let part = self.part.of(self.store.map.as_ref());
        Records::new(self.ring, part, self.part.offset)
    }

    /// Returns the length of the longest record in bytes.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.ring.limit()
    }
}

impl<B, const N: usize> fmt::Debug for Log<'_, B, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}
