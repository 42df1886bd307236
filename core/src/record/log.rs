//! Records one behind another in segments of a ring: how they are found, and where the next one goes. All of it is read from
//! the bytes: there is no index that could disagree with them.
//!
//! Four rules make it hold after any cut, and core/FORMAT.md gives the reasons:
//!
//! - A segment is begun when all that was appended before it is on stable storage. So each stands for itself: only the newest can
//!   have records that were never committed, and only the one behind it in the ring can be overwritten in part.
//! - A place of a segment is written at most once under one number of the segment, so that nothing stale can follow what is new.
//! - A batch is what one commit stores. Its first record says that it is the first, and is not written before the commit
//!   of the batch before it was `Ok`: what is missing before such a record is damaged, and what is missing after the last of
//!   them was never committed.
//! - A segment says where the one before it ended.

mod records;

pub use self::records::Records;
use core::sync::atomic::{Ordering, fence};

use super::sum::{is_after, length, long, put, short, sum, word};

const MAGIC: [u8; 4] = *b"RLS1";
/// Length of what is before the first record of a segment, in bytes.
pub(super) const SEGMENT_HEAD: usize = 32;
/// Length of what is before the bytes of a record.
pub(super) const RECORD_HEAD: usize = 16;
/// Records begin at multiples of it, so that a head is in one sector: a cut leaves all of it or nothing.
const WORD: usize = 16;
/// Of the first word of a record: it is the first of a batch.
const FIRST: u32 = 1 << 31;

/// How a log's part is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// Length of a segment in bytes.
    pub(super) segment: usize,
    pub(super) segments: usize,
    /// Each batch begins at a multiple of it.
    pub(super) unit: usize,
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u64,
    /// The number of the segment before. 0 is none.
    previous: u64,
    /// Where the records of the one before end.
    previous_end: usize,
    /// Its records are not wanted any more.
    is_dropped: bool,
}

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the segment.
    pub(super) index: usize,
    pub(super) number: u64,
    /// In the segment.
    pub(super) at: usize,
}

/// A record whose head is right.
#[derive(Clone, Copy)]
struct Item<'a> {
    is_first: bool,
    /// Where the one before it ended.
    before: usize,
    /// Where the next one may begin.
    next: usize,
    /// None where they are not as they were written.
    bytes: Option<&'a [u8]>,
}

/// How many bytes of wrong records may still be summed up in a segment. They lie behind each other: as many as it has are of an
/// accident, and more are made to take time.
#[derive(Clone, Copy, Debug)]
struct Patience(usize);

impl Patience {
    const fn of(segment: &[u8]) -> Self {
        Self(segment.len())
    }

    fn spend(&mut self, at: usize, item: &Item<'_>) {
        self.0 = self.0.saturating_sub(item.next.saturating_sub(at));
    }
}

const fn round_up(at: usize, unit: usize) -> usize {
    // A power of two.
    let mask = unit.wrapping_sub(1);
    match at.checked_add(mask) {
        Some(at) => at & !mask,
        None => usize::MAX,
    }
}

/// The record at an offset of a segment.
fn item(segment: &[u8], number: u64, at: usize) -> Option<Item<'_>> {
    let (head, rest) = segment.get(at..)?.split_first_chunk::<RECORD_HEAD>()?;
    let first = word(head, 0)?;
    let len = length((first & !FIRST).checked_sub(1)?);
    let bytes = rest.get(..len)?;
    let before = word(head, 12)?;
    let check = check(number, at, first, before);
    if word(head, 4)? != check {
        return None;
    }
    let is_right = word(head, 8)? == check_bytes(check.to_le_bytes(), bytes);
    Some(Item {
        is_first: first & FIRST != 0,
        before: length(before),
        next: round_up(at.saturating_add(RECORD_HEAD).saturating_add(len), WORD),
        bytes: is_right.then_some(bytes),
    })
}

/// The checksum of a head: it is right at one offset of one segment.
fn check(number: u64, at: usize, first: u32, before: u32) -> u32 {
    sum(&[
        &number.to_le_bytes(),
        &short(at).to_le_bytes(),
        &first.to_le_bytes(),
        &before.to_le_bytes(),
    ])
}

/// The checksum of a record's bytes, and of where it is.
fn check_bytes(check: [u8; 4], bytes: &[u8]) -> u32 {
    sum(&[&check, bytes])
}

/// Writes a record into the bytes of its place; the one before it ended at `before`.
pub(super) fn write(to: &mut [u8], place: Place, before: usize, is_first: bool, bytes: &[u8]) {
    let first = short(bytes.len()).wrapping_add(1) | if is_first { FIRST } else { 0 };
    let before = short(before);
    let check = check(place.number, place.at, first, before).to_le_bytes();
    let sum = check_bytes(check, bytes).to_le_bytes();
    // First the sum: whatever was right there before is not any more, however much of the rest a cut or the end of the process
    // leaves. A stale record whose sum stood would be completed by a head that is equal to its own.
    put(to, 8, &sum);
    fence(Ordering::Release);
    put(to, 0, [first.to_le_bytes(), check].as_flattened());
    put(to, 12, &before.to_le_bytes());
    put(to, RECORD_HEAD, bytes);
}

/// Writes the head of a segment.
pub(super) fn write_head(place: &mut [u8], number: u64, previous: Option<Place>) {
    let (before, end) = previous.map_or((0, 0), |place| (place.number, place.at));
    put(
        place,
        8,
        [number.to_le_bytes(), before.to_le_bytes()].as_flattened(),
    );
    put(place, 24, &short(end).to_le_bytes());
    put(place, 0, &MAGIC);
    seal_head(place, false);
}

/// Says in the head of a segment whether it is dropped.
pub(super) fn seal_head(place: &mut [u8], is_dropped: bool) {
    put(place, 28, &u32::from(is_dropped).to_le_bytes());
    let sum = sum(&[place.get(8..SEGMENT_HEAD).unwrap_or_default()]);
    put(place, 4, &sum.to_le_bytes());
}

impl Ring {
    /// A ring without a length yet.
    pub(super) const fn new(segment: usize) -> Self {
        Self {
            segment,
            segments: 0,
            unit: WORD,
        }
    }

    /// The longest record.
    pub(super) const fn limit(self) -> usize {
        self.segment
            .saturating_sub(SEGMENT_HEAD.wrapping_add(RECORD_HEAD))
    }

    const fn next(self, index: usize) -> usize {
        let next = index.wrapping_add(1);
        if next < self.segments { next } else { 0 }
    }

    const fn previous(self, index: usize) -> usize {
        match index {
            0 => self.segments.saturating_sub(1),
            index => index.wrapping_sub(1),
        }
    }

    /// Where a segment begins in the part.
    pub(super) const fn start(self, index: usize) -> usize {
        index.wrapping_mul(self.segment)
    }

    pub(super) fn bytes(self, part: &[u8], index: usize) -> &[u8] {
        let rest = part.get(self.start(index)..).unwrap_or_default();
        rest.get(..self.segment).unwrap_or_default()
    }

    pub(super) fn head(self, part: &[u8], index: usize) -> Option<Head> {
        let head = self.bytes(part, index).first_chunk::<SEGMENT_HEAD>()?;
        let number = long(head, 8)?;
        let is_right = head.starts_with(&MAGIC) && word(head, 4)? == sum(&[head.get(8..)?]);
        (is_right && number != 0).then_some(Head {
            number,
            previous: long(head, 16)?,
            previous_end: length(word(head, 24)?).clamp(SEGMENT_HEAD, self.segment),
            is_dropped: word(head, 28)? != 0,
        })
    }

    /// Of all segments, the youngest.
    fn youngest(self, part: &[u8]) -> Option<(usize, Head)> {
        let mut found: Option<(usize, Head)> = None;
        for index in 0..self.segments {
            let head = self.head(part, index);
            let is_younger =
                |head: &Head| found.is_none_or(|(_, old)| is_after(head.number, old.number));
            if let Some(head) = head.filter(is_younger) {
                found = Some((index, head));
            }
        }
        found
    }

    /// The oldest segment that counts. Between it and the newest may be some whose heads are damaged.
    pub(super) fn oldest(self, part: &[u8], end: Place) -> usize {
        let (mut oldest, mut index) = (end.index, end.index);
        let Some(mut head) = self.head(part, index) else {
            return oldest;
        };
        let mut is_missing = false;
        loop {
            index = self.previous(index);
            if index == end.index || head.previous == 0 {
                return oldest;
            }
            let Some(before) = self.head(part, index) else {
                is_missing = true;
                continue;
            };
            let follows = before.number == head.previous
                || is_missing && is_after(head.previous, before.number);
            // What was dropped ends there. What does not follow is of an older round.
            if !follows || before.is_dropped {
                return oldest;
            }
            (oldest, head, is_missing) = (index, before, false);
        }
    }

    /// The record behind one that ended at `at`: there, or where a batch may begin behind it. Each says where the one before it
    /// ended, so that none is passed over that is not there any more.
    fn item_from(self, segment: &[u8], number: u64, at: usize) -> Option<Item<'_>> {
        let found = item(segment, number, at).or_else(|| {
            let aligned = round_up(at, self.unit);
            (aligned != at).then(|| item(segment, number, aligned))?
        });
        found.filter(|item| item.before == at)
    }

    /// The record behind one that ended at `at`, if it is whole.
    fn whole_from<'a>(
        self,
        segment: &'a [u8],
        number: u64,
        at: usize,
        patience: &mut Patience,
    ) -> Option<Item<'a>> {
        let item = self.item_from(segment, number, at)?;
        if item.bytes.is_none() {
            patience.spend(at, &item);
        }
        item.bytes.map(|_| item)
    }

    /// Behind what is missing: the offset from `from` on where the record before the next whole one ended, which begins before
    /// `limit`.
    fn find(
        self,
        segment: &[u8],
        number: u64,
        from: usize,
        limit: usize,
        patience: &mut Patience,
    ) -> Option<usize> {
        let from = round_up(from, WORD);
        for at in (from..limit).step_by(WORD) {
            if patience.0 == 0 {
                break;
            }
            let Some(item) = item(segment, number, at) else {
                continue;
            };
            // It begins where the one before it ended, or where a batch may behind that.
            let follows = at == item.before || at == round_up(item.before, self.unit);
            if follows && item.before >= from && item.bytes.is_some() {
                return Some(item.before);
            }
            patience.spend(at, &item);
        }
        None
    }

    /// One past the last record of a segment that counts.
    fn extent(self, segment: &[u8], number: u64) -> usize {
        let mut end = SEGMENT_HEAD;
        // Whether something is missing that may belong to a batch that was never committed.
        let mut is_open = false;
        let mut at = SEGMENT_HEAD;
        let mut patience = Patience::of(segment);
        while at < segment.len() {
            let Some(item) = self.whole_from(segment, number, at, &mut patience) else {
                is_open = true;
                let from = at.saturating_add(WORD);
                match self.find(segment, number, from, segment.len(), &mut patience) {
                    Some(next) => at = next,
                    None => break,
                }
                continue;
            };
            // What was missing before the first of a batch was committed once: it is damaged.
            is_open &= !item.is_first;
            if !is_open {
                end = item.next;
            }
            at = item.next;
        }
        end
    }

    /// The end of what counts, in the newest segment: all before it is on stable storage.
    pub(super) fn end(self, part: &[u8]) -> Option<Place> {
        let newest = self.youngest(part).filter(|(_, head)| !head.is_dropped);
        newest.map(|(index, head)| Place {
            index,
            number: head.number,
            at: self.extent(self.bytes(part, index), head.number),
        })
    }

    /// Returns whether the segment has a head of a record from an offset on: one that is stale, and must not be followed.
    fn is_stale(self, part: &[u8], index: usize, number: u64, from: usize) -> bool {
        let segment = self.bytes(part, index);
        let mut places = (from..self.segment).step_by(WORD);
        places.any(|at| item(segment, number, at).is_some())
    }

    /// Returns whether records may follow an end: nothing stale is behind it.
    pub(super) fn may_go_on(self, part: &[u8], end: Place) -> bool {
        !self.is_stale(part, end.index, end.number, end.at)
    }

    /// The segment to begin behind an end, the place that it says the one before it ended at, and whether there are records in it
    /// that count. One without any is begun anew: it takes no place of others.
    pub(super) fn fresh(self, part: &[u8], end: Option<Place>) -> (Place, Option<Place>, bool) {
        let empty = end.filter(|end| end.at == SEGMENT_HEAD);
        let empty = empty.and_then(|end| Some((end.index, self.head(part, end.index)?)));
        let (index, before) = match empty {
            Some((index, head)) => {
                let (number, at) = (head.previous, head.previous_end);
                let before = (number != 0).then_some(Place { index, number, at });
                (index, before)
            }
            None => (end.map_or(0, |end| self.next(end.index)), end),
        };
        let youngest = self.youngest(part);
        // A contained map may have lost the newest head since.
        let own = end.map_or(0, |end| end.number);
        let mut number = youngest.map_or(own, |(_, head)| match is_after(own, head.number) {
            true => own,
            false => head.number,
        });
        loop {
            number = number.wrapping_add(1).max(1);
            // Each round has a record fewer to find: a head is right under one number.
            if !self.is_stale(part, index, number, SEGMENT_HEAD) {
                break;
            }
        }
        let counts = end.is_some_and(|end| end.index != index && self.oldest(part, end) == index);
        let at = SEGMENT_HEAD;
        (Place { index, number, at }, before, counts)
    }

    /// Where the next record of a length goes in the segment, or that it does not fit there.
    pub(super) fn room(self, end: Place, is_first: bool, len: usize) -> Option<Place> {
        let at = match end.at {
            // The head of the segment is of the same commit.
            at @ SEGMENT_HEAD => at,
            at if is_first => round_up(at, self.unit),
            at => at,
        };
        let needed = at.checked_add(RECORD_HEAD)?.checked_add(len)?;
        (needed <= self.segment).then_some(Place { at, ..end })
    }

    /// The end of a record.
    pub(super) fn behind(place: Place, len: usize) -> Place {
        let at = place.at.saturating_add(RECORD_HEAD).saturating_add(len);
        let at = round_up(at, WORD);
        Place { at, ..place }
    }
}
