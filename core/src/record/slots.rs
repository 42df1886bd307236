//! Copies of one value: where they are, which is the newest, and what a new one looks like.
//!
//! core/FORMAT.md has the bytes.

use super::sum::{is_after, length, long, put, short, sum, wide, word};
use crate::error::{Error, RecordProblem as Problem};

pub(super) const MAGIC: [u8; 4] = *b"RMS1";
/// Length of what is before the value in bytes.
pub(super) const HEAD: usize = 24;

/// A value as it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// The number that the program gave with it: how its bytes are to be read, say.
    pub version: u32,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What one copy of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotCopy<'a> {
    /// Never written.
    Empty,
    /// Written in part, or changed since.
    Damaged,
    /// As it was stored.
    Whole {
        /// Larger by one with each value that is stored. It wraps.
        counter: u64,
        /// The value.
        value: Value<'a>,
    },
}

/// Where the copies of a value are, in the bytes of its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copies {
    pub(super) number: usize,
    /// From one to the next, in bytes.
    pub(super) stride: usize,
    pub(super) capacity: usize,
}

/// The newest copy that is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newest<'a> {
    pub(super) index: usize,
    pub(super) counter: u64,
    pub(super) value: Value<'a>,
}

impl Copies {
    /// Copies that have no places yet.
    pub(super) const fn new(number: usize, capacity: usize) -> Self {
        Self {
            number,
            stride: 0,
            capacity,
        }
    }

    /// Where a copy begins.
    pub(super) const fn start(self, index: usize) -> usize {
        index.wrapping_mul(self.stride)
    }

    pub(super) fn read(self, part: &[u8], index: usize) -> SlotCopy<'_> {
        let bytes = part.get(self.start(index)..).unwrap_or_default();
        match bytes.first_chunk::<HEAD>() {
            Some(head) if *head == [0; HEAD] => SlotCopy::Empty,
            Some(head) => self.whole(head, bytes).unwrap_or(SlotCopy::Damaged),
            None => SlotCopy::Damaged,
        }
    }

    fn whole<'a>(self, head: &[u8; HEAD], bytes: &'a [u8]) -> Option<SlotCopy<'a>> {
        let len = length(word(head, 16)?);
        if !head.starts_with(&MAGIC) || len > self.capacity {
            return None;
        }
        let value = bytes.get(HEAD..)?.get(..len)?;
        let (before, check) = head.split_at_checked(20)?;
        if word(check, 0)? != sum(&[before, value]) {
            return None;
        }
        let version = word(head, 4)?;
        let value = Value {
            version,
            bytes: value,
        };
        Some(SlotCopy::Whole {
            counter: long(head, 8)?,
            value,
        })
    }

    /// The newest whole copy; that there is none is an error where all are damaged, or more than the one that a cut could leave of
    /// the very first value.
    pub(super) fn newest(self, part: &[u8]) -> Result<Option<Newest<'_>>, Problem> {
        let mut newest: Option<Newest<'_>> = None;
        let (mut empty, mut damaged) = (false, 0_usize);
        for index in 0..self.number {
            match self.read(part, index) {
                SlotCopy::Whole { counter, value }
                    if newest.is_none_or(|old| is_after(counter, old.counter)) =>
                {
                    newest = Some(Newest {
                        index,
                        counter,
                        value,
                    });
                }
                SlotCopy::Empty => empty = true,
                SlotCopy::Damaged => damaged = damaged.saturating_add(1),
                SlotCopy::Whole { .. } => {}
            }
        }
        match newest {
            None if !empty || damaged > 1 => Err(Problem::Damaged { offset: 0 }),
            newest => Ok(newest),
        }
    }
}

/// The error of a value or a record that does not fit.
#[cold]
pub(super) fn too_long(len: usize, limit: usize) -> Error {
    let (len, limit) = (wide(len), wide(limit));
    Error::Record(Problem::TooLong { len, limit })
}

/// Writes a copy into its place.
pub(super) fn write(place: &mut [u8], counter: u64, version: u32, value: &[u8]) {
    let Some((head, rest)) = place.split_first_chunk_mut::<HEAD>() else {
        return;
    };
    put(head, 0, &MAGIC);
    put(head, 4, &version.to_le_bytes());
    put(head, 8, &counter.to_le_bytes());
    put(head, 16, &short(value.len()).to_le_bytes());
    let (before, check) = head.split_at_mut(20);
    put(check, 0, &sum(&[before, value]).to_le_bytes());
    put(rest, 0, value);
}
