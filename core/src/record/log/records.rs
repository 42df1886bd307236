//! [`Records`]: an iterator over the records of a log.

use super::{Patience, Place, Ring, SEGMENT_HEAD, WORD};
use crate::error::{Error, RecordProblem as Problem};
use crate::record::sum::wide;

/// The records of a log, from the oldest to the newest.
///
/// A damaged place gives one [`Error::Record`], with the offset of its first byte in the map, and the records behind it follow.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    ring: Ring,
    part: &'a [u8],
    /// Of the part, for errors.
    offset: usize,
    /// One past the newest record.
    end: Option<Place>,
    /// Where the next one is looked for.
    next: Option<Place>,
    /// Where the records of that segment end.
    limit: usize,
    /// In that segment.
    patience: Patience,
}

impl<'a> Records<'a> {
    pub(in crate::record) fn new(ring: Ring, part: &'a [u8], offset: usize) -> Self {
        let end = ring.end(part);
        let mut records = Self {
            ring,
            part,
            offset,
            end,
            next: None,
            limit: 0,
            patience: Patience(0),
        };
        if let Some(end) = end {
            let oldest = ring.oldest(part, end);
            records.enter(oldest);
            // The next to be written: perhaps some of it was, and its head was not.
            if oldest != end.index && oldest == ring.next(end.index) {
                if let Some(place) = records.next {
                    records.next = Some(records.behind_damage(place));
                }
                records.patience = records.fresh(oldest);
            }
        }
        records
    }

    /// Goes on in a segment. One without a head has a record that is damaged.
    fn enter(&mut self, index: usize) {
        let at = SEGMENT_HEAD;
        let head = self.ring.head(self.part, index);
        let number = head.map_or(0, |head| head.number);
        let place = Place { index, number, at };
        self.limit = match self.end {
            Some(end) if end.index == index => end.at,
            _ if head.is_none() => SEGMENT_HEAD.wrapping_add(1),
            _ => self.limit_of(place),
        };
        self.next = Some(place);
        self.patience = self.fresh(index);
    }

    fn fresh(&self, index: usize) -> Patience {
        Patience::of(self.ring.bytes(self.part, index))
    }

    /// Where the records of a segment end: the next one knows.
    fn limit_of(&self, place: Place) -> usize {
        let next = self.ring.head(self.part, self.ring.next(place.index));
        match next.filter(|next| next.previous == place.number) {
            Some(next) => next.previous_end,
            None => {
                let segment = self.ring.bytes(self.part, place.index);
                let ring = self.ring;
                ring.extent(segment, place.number)
            }
        }
    }

    /// The record at a place.
    fn whole(&mut self, place: Place) -> Option<(&'a [u8], Place)> {
        let segment = self.ring.bytes(self.part, place.index);
        let patience = &mut self.patience;
        let item = self
            .ring
            .whole_from(segment, place.number, place.at, patience)?;
        let at = item.next;
        Some((item.bytes?, Place { at, ..place }))
    }

    /// The next place of the segment where a record is whole, or its end.
    fn resume(&mut self, place: Place) -> Place {
        let segment = self.ring.bytes(self.part, place.index);
        let from = place.at.saturating_add(WORD);
        let (number, limit) = (place.number, self.limit);
        let found = self
            .ring
            .find(segment, number, from, limit, &mut self.patience);
        let at = found.unwrap_or(limit);
        Place { at, ..place }
    }

    /// Behind the last place of a segment where a record is missing.
    fn behind_damage(&mut self, place: Place) -> Place {
        let (mut from, mut place) = (place, place);
        while place.at < self.limit {
            match self.whole(place) {
                Some((_, next)) => place = next,
                None => {
                    place = self.resume(place);
                    from = place;
                }
            }
        }
        from
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // A segment each time, up to the last.
        loop {
            let place = self.next?;
            if place.at < self.limit {
                if let Some((bytes, next)) = self.whole(place) {
                    self.next = Some(next);
                    return Some(Ok(bytes));
                }
                self.next = Some(self.resume(place));
                let start = self.ring.start(place.index);
                let offset = self.offset.wrapping_add(start).wrapping_add(place.at);
                let offset = wide(offset);
                return Some(Err(Error::Record(Problem::Damaged { offset })));
            }
            if self.end.is_none_or(|end| end.index == place.index) {
                self.next = None;
                return None;
            }
            self.enter(self.ring.next(place.index));
        }
    }
}
