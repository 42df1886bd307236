//! [`Reader`]: what a file of parts holds, also one of another program.

use super::layout::{Part, Table, table_copies};
use super::log::Records;
use super::slots::{Copies, SlotCopy, Value};
use super::store::load;
use crate::error::{Error, RecordProblem as Problem};

/// The bytes of a file of parts, to be read. It changes nothing, and takes no lock.
///
/// # Examples
///
/// ```
/// use rawmap_core::record::{Layout, Part, Reader, Store, layout};
/// use rawmap_core::MmapMut;
///
/// # const LAYOUT: Layout<1> = layout!("counter", 1, [Part::slots("boots", 8)]);
/// let mut store = Store::open(MmapMut::map_anon(LAYOUT.len())?, LAYOUT)?;
/// store.slots("boots")?.store(1, b"seven")?;
/// let map = store.into_inner();
///
/// let reader = Reader::new(&map)?;
/// assert_eq!(reader.table().name(), "counter");
/// assert_eq!(reader.load("boots")?.map(|value| value.bytes), Some(&b"seven"[..]));
/// # Ok::<(), rawmap_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    map: &'a [u8],
    table: Table<'a>,
}

impl<'a> Reader<'a> {
    /// Reads the table that the file begins with.
    ///
    /// # Errors
    ///
    /// - As for [`Table::read`].
    pub fn new(map: &'a [u8]) -> Result<Self, Error> {
        let table = Table::read(map)?;
        Ok(Self { map, table })
    }

    /// Returns the table.
    #[must_use]
    pub const fn table(&self) -> Table<'a> {
        self.table
    }

    /// Returns each copy of the table, with its offset in the file.
    pub fn table_copies(&self) -> impl Iterator<Item = (usize, SlotCopy<'a>)> + use<'a> {
        each(table_copies(self.table.unit()), self.map, 0)
    }

    /// Returns the newest value of a part.
    ///
    /// # Errors
    ///
    /// - [`Problem::NoPart`]: there is no value of this name.
    /// - [`Problem::Damaged`]: all copies are damaged, or none is whole and more are than a cut leaves.
    pub fn load(&self, name: &str) -> Result<Option<Value<'a>>, Error> {
        let part = self.part(name)?;
        let copies = part.as_slots().ok_or(Error::Record(Problem::NoPart))?;
        load(copies, part.of(self.map), part.offset())
    }

    /// Returns each copy of a value, with its offset in the file.
    ///
    /// # Errors
    ///
    /// - [`Problem::NoPart`]: there is no value of this name.
    pub fn copies(
        &self,
        name: &str,
    ) -> Result<impl Iterator<Item = (usize, SlotCopy<'a>)> + use<'a>, Error> {
        let part = self.part(name)?;
        let copies = part.as_slots().ok_or(Error::Record(Problem::NoPart))?;
        Ok(each(copies, part.of(self.map), part.offset()))
    }

    /// Returns the records of a log, from the oldest to the newest.
    ///
    /// # Errors
    ///
    /// - [`Problem::NoPart`]: there is no log of this name.
    pub fn records(&self, name: &str) -> Result<Records<'a>, Error> {
        let part = self.part(name)?;
        let ring = part.as_log();
        let ring = ring.ok_or(Error::Record(Problem::NoPart))?;
        Ok(Records::new(ring, part.of(self.map), part.offset()))
    }

    /// Returns plain bytes.
    ///
    /// # Errors
    ///
    /// - [`Problem::NoPart`]: there are none of this name.
    pub fn bytes(&self, name: &str) -> Result<&'a [u8], Error> {
        let part = self.part(name)?;
        match part.is_plain() {
            true => Ok(part.of(self.map)),
            false => Err(Error::Record(Problem::NoPart)),
        }
    }

    fn part(&self, name: &str) -> Result<Part<'a>, Error> {
        let found = self.table.parts().find(|part| part.name() == name);
        found.ok_or(Error::Record(Problem::NoPart))
    }
}

/// The copies in the bytes of a part, with their offsets in the file.
fn each(
    copies: Copies,
    bytes: &[u8],
    offset: usize,
) -> impl Iterator<Item = (usize, SlotCopy<'_>)> + use<'_> {
    (0..copies.number).map(move |index| {
        let at = offset.wrapping_add(copies.start(index));
        (at, copies.read(bytes, index))
    })
}
