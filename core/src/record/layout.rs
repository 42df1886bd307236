//! [`Layout`]: which parts a file has, and where; and the table of them that the file begins with.

mod table;

pub use self::table::Table;
use super::log::Ring;
use super::slots::{Copies, HEAD};
use super::sum::{put, short, wide};
use crate::error::RecordProblem as Problem;

/// The most parts that a table holds.
const MOST: usize = 16;
/// Length of a name in the table.
pub(super) const NAME: usize = 16;
const TABLE_HEAD: usize = 32;
const ROW: usize = 48;
/// The longest table in bytes.
const TABLE: usize = TABLE_HEAD + MOST * ROW;
/// What a copy of the table takes at least.
pub(super) const TABLE_COPY: usize = HEAD + TABLE;
/// What a device writes in whole or not at all.
const SECTOR: usize = 512;

/// What a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Slots(Copies),
    Log {
        ring: Ring,
        /// Its oldest records are not overwritten.
        keep: bool,
    },
    Bytes,
}

/// A part of a file: a value, a log, or plain bytes.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    name: &'a str,
    pub(super) kind: Kind,
    /// In the file; `UNPLACED` until the layout says where.
    pub(super) offset: usize,
    pub(super) len: usize,
}

const UNPLACED: usize = usize::MAX;

impl<'a> Part<'a> {
    /// A value of at most `capacity` bytes, in three copies. `name` has 1 to 16 bytes.
    #[must_use]
    pub const fn slots(name: &'a str, capacity: usize) -> Self {
        Self::new(name, Kind::Slots(Copies::new(3, capacity)), 0)
    }

    /// A log in `len` bytes: a ring of segments of 64 KiB, or of a unit of the layout where that is larger.
    #[must_use]
    pub const fn log(name: &'a str, len: usize) -> Self {
        let ring = Ring::new(0);
        let keep = false;
        Self::new(name, Kind::Log { ring, keep }, len)
    }

    /// Plain bytes: zeros, until the program changes them. A power cut in the middle of a commit leaves some of the change.
    #[must_use]
    pub const fn bytes(name: &'a str, len: usize) -> Self {
        Self::new(name, Kind::Bytes, len)
    }

    const fn new(name: &'a str, kind: Kind, len: usize) -> Self {
        Self {
            name,
            kind,
            offset: UNPLACED,
            len,
        }
    }

    /// Sets the number of copies of a value: at least 2, which are enough where the device works. The third is for a process that ends
    /// after a commit failed: it may leave a copy that looks stored, and is not.
    #[must_use]
    pub const fn copies(mut self, number: usize) -> Self {
        if let Kind::Slots(copies) = &mut self.kind {
            copies.number = number;
        }
        self
    }

    /// Sets the length of a log's segments in bytes: a multiple of the layout's unit. A record is shorter than a segment by at
    /// least 48 bytes, and the oldest records go by whole segments.
    #[must_use]
    pub const fn segment(mut self, len: usize) -> Self {
        if let Kind::Log { ring, .. } = &mut self.kind {
            ring.segment = len;
        }
        self
    }

    /// Lets each commit of a log begin in a unit of its own: a write that the power cut tears spoils nothing of an earlier commit,
    /// although the device writes more than a sector at a time. A commit then takes a whole unit of the log.
    #[must_use]
    pub const fn apart(mut self) -> Self {
        if let Kind::Log { ring, .. } = &mut self.kind {
            ring.unit = UNPLACED;
        }
        self
    }

    /// Lets a log keep its oldest records: [`append`](super::Log::append) is an error where it would overwrite them.
    #[must_use]
    pub const fn keep_oldest(mut self) -> Self {
        if let Kind::Log { keep, .. } = &mut self.kind {
            *keep = true;
        }
        self
    }

    /// Places the part at an offset in bytes, in place of behind the part before it.
    #[must_use]
    pub const fn at(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Returns the offset in the file, in bytes.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no part is empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// The bytes of the part.
    pub(super) fn of<'m>(&self, map: &'m [u8]) -> &'m [u8] {
        let rest = map.get(self.offset..).unwrap_or_default();
        rest.get(..self.len).unwrap_or_default()
    }

    pub(super) const fn is_plain(&self) -> bool {
        matches!(self.kind, Kind::Bytes)
    }

    pub(super) const fn as_slots(&self) -> Option<Copies> {
        match self.kind {
            Kind::Slots(copies) => Some(copies),
            _ => None,
        }
    }

    pub(super) const fn as_log(&self) -> Option<Ring> {
        match self.kind {
            Kind::Log { ring, .. } => Some(ring),
            _ => None,
        }
    }

    /// Whether it is where another one is.
    pub(super) const fn overlaps(&self, other: &Part<'_>) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }

    /// Whether it is the very same, in another layout.
    pub(super) fn is(&self, other: &Part<'_>) -> bool {
        let kind = match (self.kind, other.kind) {
            (Kind::Log { ring, .. }, Kind::Log { ring: other, .. }) => ring == other,
            (own, other) => own == other,
        };
        kind && (self.name, self.offset, self.len) == (other.name, other.offset, other.len)
    }

    /// The end in the file. Not past `usize::MAX`, by the layout's constructor.
    const fn end(&self) -> usize {
        self.offset.saturating_add(self.len)
    }

    /// What is wrong with it, before it has a place; completes what was left to the layout.
    const fn complete(&mut self, unit: usize) -> Option<&'static str> {
        if !is_name(self.name) {
            return Some("a name has 1 to 16 bytes, and none is 0");
        }
        match &mut self.kind {
            Kind::Slots(copies) => {
                if copies.capacity > LONGEST || copies.number > LONGEST {
                    return Some("a value has at most 1 GiB");
                }
                let Some(stride) = rounded(copies.capacity.saturating_add(HEAD), unit) else {
                    return Some("the value is too long");
                };
                let Some(len) = stride.checked_mul(copies.number) else {
                    return Some("the value is too long");
                };
                copies.stride = stride;
                self.len = len;
                if copies.number < 2 {
                    return Some("a value has at least 2 copies");
                }
            }
            Kind::Log { ring, .. } => {
                if ring.segment == 0 {
                    ring.segment = if unit > SEGMENT { unit } else { SEGMENT };
                }
                if ring.unit == UNPLACED {
                    ring.unit = unit;
                }
                let segment = ring.segment;
                if !segment.is_multiple_of(unit) || segment > LONGEST {
                    return Some("a segment is a multiple of the unit, and at most 1 GiB");
                }
                if !self.len.is_multiple_of(segment) || self.len < segment.saturating_mul(2) {
                    return Some("a log has at least 2 segments, and no part of one");
                }
                // It has two at least.
                ring.segments = match self.len.checked_div(segment) {
                    Some(segments) => segments,
                    None => 0,
                };
            }
            Kind::Bytes if self.len == 0 => return Some("no bytes"),
            Kind::Bytes => {}
        }
        None
    }
}

/// Of a log, where the program chooses none.
const SEGMENT: usize = 64 << 10;
/// Of a value, a segment and a unit: the files have 32 bits for them.
const LONGEST: usize = 1 << 30;

/// Returns whether the table has room for it, and gives it back.
const fn is_name(name: &str) -> bool {
    let mut bytes = name.as_bytes();
    while let [byte, rest @ ..] = bytes {
        if *byte == 0 {
            return false;
        }
        bytes = rest;
    }
    !name.is_empty() && name.len() <= NAME
}

const fn rounded(len: usize, unit: usize) -> Option<usize> {
    len.checked_next_multiple_of(unit)
}

/// The parts of a file, and what the file is for. Where they are is known when the program is compiled.
///
/// The file begins with a table of them, in two copies: so another program knows it, and so does a newer version of this one.
///
/// # Examples
///
/// ```
/// use rawmap_core::record::{Layout, Part, layout};
///
/// // Where parts overlap, say, this does not compile.
/// const LAYOUT: Layout<2> =
///     layout!("recorder", 1, [Part::slots("boots", 8), Part::log("events", 1 << 20)]);
/// assert_eq!(LAYOUT.len(), (2 + 3) * 65_536 + (1 << 20));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Layout<const N: usize> {
    pub(super) name: &'static str,
    pub(super) version: u32,
    pub(super) unit: usize,
    len: usize,
    pub(super) parts: [Part<'static>; N],
}

impl<const N: usize> Layout<N> {
    /// A layout in units of 64 KiB: no page of these kernels is larger, so that a file may go from board to board, and no page
    /// of a common SD card or eMMC.
    ///
    /// `name`, of 1 to 16 bytes, says what the file is for; `version`, which parts it has. Parts are placed behind each other, each
    /// at a unit of its own, but those that say where.
    ///
    /// # Errors
    ///
    /// - [`Problem::Layout`]: parts overlap, or one is not possible. [`layout!`](crate::record::layout) makes a constant of it, which
    ///   then does not compile.
    pub const fn new(
        name: &'static str,
        version: u32,
        parts: [Part<'static>; N],
    ) -> Result<Self, Problem> {
        Self::with_unit(64 << 10, name, version, parts)
    }

    /// A layout in units of another length, a power of two from 512 on.
    ///
    /// While the device writes a unit, a power cut may spoil all of it; what is in another is safe. A disk writes sectors of 512
    /// bytes or 4 KiB. An SD card or an eMMC writes pages of 4 to 32 KiB, and does not say so. The kernel writes pages of 4, 16
    /// or 64 KiB. A unit that is too short may cost a value that was stored long before, together with the new one.
    ///
    /// # Errors
    ///
    /// - As for [`new`](Self::new).
    pub const fn with_unit(
        unit: usize,
        name: &'static str,
        version: u32,
        parts: [Part<'static>; N],
    ) -> Result<Self, Problem> {
        let mut layout = Self {
            name,
            version,
            unit,
            len: 0,
            parts,
        };
        if !unit.is_power_of_two() || unit < SECTOR || unit > LONGEST {
            return wrong(
                0,
                "a unit is a power of two, at least 512 and at most 1 GiB",
            );
        }
        if !is_name(name) {
            return wrong(0, "the name of a layout has 1 to 16 bytes, and none is 0");
        }
        if N == 0 || N > MOST {
            return wrong(0, "a layout has 1 to 16 parts");
        }
        let Some(copy) = rounded(TABLE_COPY, unit) else {
            return wrong(0, "the unit is too long");
        };
        let table = copy.saturating_mul(2);
        let mut at = table;
        let mut number = 0_u8;
        let mut rest: &mut [Part<'static>] = &mut layout.parts;
        while let Some((part, more)) = rest.split_first_mut() {
            if let Some(why) = part.complete(unit) {
                return wrong(number, why);
            }
            if part.offset == UNPLACED {
                part.offset = at;
            }
            let end = match part.offset.checked_add(part.len) {
                Some(end) if end <= usize::MAX >> 1 => end,
                _ => return wrong(number, "it ends past the address space"),
            };
            let Some(end) = rounded(end, unit) else {
                return wrong(number, "it ends past the address space");
            };
            if !part.offset.is_multiple_of(unit) || part.offset < table {
                return wrong(
                    number,
                    "its offset is no multiple of the unit, or in the table",
                );
            }
            at = end;
            if end > layout.len {
                layout.len = end;
            }
            number = number.saturating_add(1);
            rest = more;
        }
        let mut rest: &[Part<'static>] = &layout.parts;
        let mut number = 0_u8;
        while let [part, more @ ..] = rest {
            let mut others = more;
            while let [other, further @ ..] = others {
                if part.overlaps(other) {
                    return wrong(number, "it overlaps with a later one");
                }
                if is_same(part.name.as_bytes(), other.name.as_bytes()) {
                    return wrong(number, "a later one has the same name");
                }
                others = further;
            }
            number = number.saturating_add(1);
            rest = more;
        }
        Ok(layout)
    }

    /// Returns the length of the file in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no layout is empty")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns the parts, with their places.
    #[must_use]
    pub const fn parts(&self) -> &[Part<'static>] {
        &self.parts
    }

    /// Returns the version.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Returns what the file is for.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The table, and its length.
    pub(super) fn table(&self) -> ([u8; TABLE], usize) {
        let mut table = [0; TABLE];
        put(&mut table, 0, self.name.as_bytes());
        put(&mut table, 16, &short(self.unit).to_le_bytes());
        put(&mut table, 20, &short(N).to_le_bytes());
        put(&mut table, 24, &wide(self.len).to_le_bytes());
        let (_, rows) = table.split_at_mut(TABLE_HEAD);
        for (row, part) in rows.chunks_exact_mut(ROW).zip(&self.parts) {
            put(row, 0, part.name.as_bytes());
            let [kind, first, second] = match part.kind {
                Kind::Slots(copies) => [1, short(copies.number), short(copies.capacity)],
                Kind::Log { ring, .. } => [2, short(ring.segment), short(ring.unit)],
                Kind::Bytes => [3, 0, 0],
            };
            put(row, 16, &kind.to_le_bytes());
            put(row, 20, &first.to_le_bytes());
            put(row, 24, &second.to_le_bytes());
            put(row, 32, &wide(part.offset).to_le_bytes());
            put(row, 40, &wide(part.len).to_le_bytes());
        }
        (table, N.saturating_mul(ROW).saturating_add(TABLE_HEAD))
    }
}

/// Makes a [`Layout`] for a constant: one that cannot be does not compile. The arguments are those of [`Layout::new`], or of
/// [`Layout::with_unit`].
#[macro_export]
#[doc(hidden)]
macro_rules! __rawmap_layout {
    ($name:expr, $version:expr, $parts:expr $(,)?) => {
        $crate::record::layout!(65_536, $name, $version, $parts)
    };
    ($unit:expr, $name:expr, $version:expr, $parts:expr $(,)?) => {
        const {
            match $crate::record::Layout::with_unit($unit, $name, $version, $parts) {
                Ok(layout) => layout,
                Err($crate::record::Problem::Layout { why, .. }) => panic!("{}", why),
                Err(_) => panic!("the layout"),
            }
        }
    };
}

const fn wrong<T>(part: u8, why: &'static str) -> Result<T, Problem> {
    Err(Problem::Layout { part, why })
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (mut one, mut other) = (one, other);
    loop {
        match (one, other) {
            ([], []) => return true,
            ([a, rest_of_one @ ..], [b, rest_of_other @ ..]) if *a == *b => {
                (one, other) = (rest_of_one, rest_of_other);
            }
            _ => return false,
        }
    }
}

/// Word by word: it may be long.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// The copies of the table, at the begin of the file.
pub(super) fn table_copies(unit: usize) -> Copies {
    let mut copies = Copies::new(2, TABLE);
    copies.stride = rounded(TABLE_COPY, unit).unwrap_or(TABLE);
    copies
}
