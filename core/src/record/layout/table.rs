//! [`Table`]: what a file says of its parts, and what a layout has to do with it.

use super::{Kind, Layout, NAME, Part, ROW, SECTOR, TABLE_HEAD, is_zero, table_copies};
use crate::error::{Error, RecordProblem as Problem};
use crate::record::log::Ring;
use crate::record::slots::{Copies, HEAD, MAGIC, Value};
use crate::record::sum::{length, long, wide, word};

/// The table that a file begins with, made by any program.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// The version of the layout.
    pub version: u32,
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    /// Reads the table of a file.
    ///
    /// # Errors
    ///
    /// - [`Problem::Foreign`]: the file does not begin with one.
    /// - [`Problem::Damaged`]: both copies are damaged.
    /// - [`Problem::Length`]: the file is shorter than it says.
    pub fn read(map: &'a [u8]) -> Result<Self, Error> {
        let unit = |bytes: &[u8]| word(bytes, HEAD.wrapping_add(16)).map_or(0, length);
        let is_unit =
            |unit: &usize| unit.is_power_of_two() && *unit >= SECTOR && *unit <= map.len();
        // The first copy says where the second is. Where it is damaged, that is tried.
        let known = Some(unit(map)).filter(is_unit);
        let units = (9..31).map(|bits| 1_usize.wrapping_shl(bits));
        let mut is_damaged = map.starts_with(&MAGIC);
        for unit in known.into_iter().chain(units.filter(is_unit)) {
            let copies = table_copies(unit);
            if let Ok(Some(newest)) = copies.newest(map) {
                let table = Self::of(newest.value);
                if length(table.word(16)) == unit && table.bytes.len() >= TABLE_HEAD {
                    let (found, want) = (wide(map.len()), table.len());
                    return match found < want {
                        true => Err(Error::Record(Problem::Length { found, want })),
                        false => Ok(table),
                    };
                }
            }
            let second = map.get(copies.start(1)..).unwrap_or_default();
            is_damaged |= second.starts_with(&MAGIC);
        }
        let problem = match is_damaged {
            true => Problem::Damaged { offset: 0 },
            false => Problem::Foreign,
        };
        Err(Error::Record(problem))
    }

    pub(in crate::record) const fn of(value: Value<'a>) -> Self {
        Self {
            version: value.version,
            bytes: value.bytes,
        }
    }

    fn word(&self, at: usize) -> u32 {
        word(self.bytes, at).unwrap_or(0)
    }

    /// Returns what the file is for.
    #[must_use]
    pub fn name(&self) -> &'a str {
        name(self.bytes)
    }

    /// Returns the unit of the layout in bytes.
    #[must_use]
    pub fn unit(&self) -> usize {
        length(self.word(16))
    }

    /// Returns the length of the file in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        long(self.bytes, 24).unwrap_or(0)
    }

    /// Returns whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the parts. One that is not possible, in a file that another program made, is left out: none ends past the file.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let (unit, limit) = (self.unit(), self.len());
        let rows = self.bytes.get(TABLE_HEAD..).unwrap_or_default();
        rows.chunks_exact(ROW).filter_map(move |row| {
            let number = |at| word(row, at).map_or(0, length);
            let place = |at| usize::try_from(long(row, at)?).ok();
            let kind = match word(row, 16)? {
                1 => Kind::Slots(Copies::new(number(20), number(24))),
                2 => {
                    let mut ring = Ring::new(number(20));
                    ring.unit = number(24);
                    let keep = false;
                    let is_known = ring.unit == unit || ring.unit == Ring::new(0).unit;
                    is_known.then_some(Kind::Log { ring, keep })?
                }
                3 => Kind::Bytes,
                _ => return None,
            };
            let mut part = Part::new(name(row), kind, place(40)?);
            let len = part.len;
            part.offset = place(32)?;
            let fits = part.complete(unit).is_none() && part.len == len;
            let end = part.offset.checked_add(len);
            (fits && end.is_some_and(|end| wide(end) <= limit)).then_some(part)
        })
    }
}

impl<const N: usize> Layout<N> {
    /// Returns which parts are new, beside those of an older table; `None` where one of these is another, or what is new is not
    /// behind them or between.
    pub(in crate::record) fn follows(&self, older: Table<'_>) -> Option<[bool; N]> {
        let mut is_new = [false; N];
        if older.unit() != self.unit || older.len() > wide(self.len()) {
            return None;
        }
        for (part, is_new) in self.parts.iter().zip(&mut is_new) {
            *is_new = !older.parts().any(|old| part.is(&old));
            if *is_new && older.parts().any(|old| part.overlaps(&old)) {
                return None;
            }
        }
        Some(is_new)
    }

    /// Returns whether a file without a table is one that was begun and not finished: zeros, but for what a cut left of the
    /// first copy of the table.
    pub(in crate::record) fn was_begun(&self, map: &[u8]) -> bool {
        let (table, len) = self.table();
        let copy = table_copies(self.unit).stride;
        let (first, rest) = map.split_at(copy.min(map.len()));
        let mut sectors = first.chunks(SECTOR).enumerate();
        let is_known = |(number, sector): (usize, &[u8])| {
            let at = number.saturating_mul(SECTOR);
            let written = table
                .get(..len)
                .unwrap_or_default()
                .iter()
                .skip(at.saturating_sub(HEAD));
            // Behind the head the name, or what was written of the table before the process was killed.
            let named = |sector: &[u8]| {
                let name = sector.get(HEAD..).unwrap_or_default();
                let same = name.iter().zip(&table).take_while(|(is, of)| is == of);
                let same = same.count();
                let is_rest_zero = || name.get(same..).is_some_and(is_zero);
                sector.starts_with(&MAGIC) && (same >= NAME || is_rest_zero())
            };
            is_zero(sector)
                || number == 0 && named(sector)
                || number > 0
                    && sector
                        .iter()
                        .eq(written.chain(core::iter::repeat(&0)).take(sector.len()))
        };
        sectors.all(is_known) && is_zero(rest)
    }
}

/// The name at the begin of some bytes.
fn name(bytes: &[u8]) -> &str {
    let name = bytes.get(..NAME).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    core::str::from_utf8(name).unwrap_or("?")
}
