//! [`Flash`]: the traits of embedded-storage over a map.

use core::fmt::Debug;
use core::marker::PhantomData;
use core::sync::atomic::{Ordering, compiler_fence};

use embedded_storage::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use embedded_storage::{ReadStorage, Storage};

use crate::backing::{Backing, lend, view};
use crate::error::{Error, Refused};
use crate::span::Span;

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::OutOfRange { .. } => NorFlashErrorKind::OutOfBounds,
            Self::NotInUnits { .. } => NorFlashErrorKind::NotAligned,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// Says what a write does to bytes that are not erased: [`Nor`] or [`Overwrite`].
pub trait Behaviour: Debug + sealed::Sealed {}

/// Only clears bits, as NOR flash does: a write gives the AND of what was there and what is written.
/// Allows `MultiwriteNorFlash`.
#[derive(Clone, Copy, Debug)]
pub struct Nor;

/// Replaces what was there, as a file, an EEPROM or FRAM does. Allows `Storage`.
#[derive(Clone, Copy, Debug)]
pub struct Overwrite;

impl Behaviour for Nor {}
impl Behaviour for Overwrite {}

mod sealed {
    #[allow(
        unreachable_pub,
        unnameable_types,
        reason = "no other module can name it"
    )]
    pub trait Sealed {
        const CLEARS: bool;
    }

    impl Sealed for super::Nor {
        const CLEARS: bool = true;
    }

    impl Sealed for super::Overwrite {
        const CLEARS: bool = false;
    }
}

/// Puts a mapped file in the place of a flash chip, for crates that are made for one.
///
/// `K` is [`Nor`] or [`Overwrite`]. `READ`, `WRITE` and `ERASE` are the units of the chip in bytes; a write is made
/// of whole read units, and a block that is erased of whole write units, else it does not compile. Erased bytes are
/// 0xFF: a new file, full of zeros, is erased once before its first use.
///
/// For sequential-storage take a `WRITE` of at least 4 bytes, better 8. Several power cuts in a row can
/// lose what was acknowledged, more often with smaller words. The README has the numbers.
///
/// # When is it on stable storage?
///
/// | made by | after `write` and `erase` are `Ok` | after `commit` is `Ok` |
/// |---|---|---|
/// | [`new`](Self::new) | on stable storage: a write costs a flush of the device, an erase three | the same |
/// | [`buffered`](Self::buffered) | in the file, for all processes; not on stable storage | on stable storage |
///
/// With `new` a power cut leaves what the traits allow, and what storage crates are built for. All that was done before
/// is there. Of the write or the erase that was under way, each byte that it changes is old or new. All others are
/// untouched. What `new` finds in the map is stored first: a process that was killed may have left it.
///
/// Of a chip they often hope for more: that an erase goes from the front to the back. So it is here. The first word
/// (`WRITE` bytes) of each block is erased first, the last one last, and for `new` that is the order on the
/// medium; the kernel writes the pages around them each time. A block whose first word is not erased is as it was; one
/// whose last word was not erased before, and is now, is so in whole. What is erased already is not written.
///
/// With `buffered` the kernel may store pages in any order before a commit: a power cut then can leave a later
/// write without an earlier one, which storage crates are *not* built for. It is for files that only have to
/// outlive the process: when that is killed, at any moment, nothing that was `Ok` is lost.
///
/// An error of the device stays: every commit then fails, and with `new` every write and erase, until a retry of the
/// map, by [`get_mut`](Self::get_mut). The bytes in memory are changed nevertheless, those of an erase in whole. The
/// retry stores all of the map, also what was found in it.
///
/// # Examples
///
/// ```
/// use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
/// use rawmap_core::adapter::{Flash, Nor};
/// use rawmap_core::{MmapMut, Tracked};
///
/// let map = Tracked::<4>::new(MmapMut::map_anon(65_536)?);
/// // Words of 4 bytes, and blocks of 4 KiB.
/// let mut chip = Flash::<_, Nor, 1, 4, 4096>::new(map)?;
/// chip.erase(0, 65_536)?;
/// chip.write(8, &[0x0F, 0xFF, 0xFF, 0xFF])?;
/// chip.write(8, &[0xF3, 0xFF, 0xFF, 0xFF])?;
/// let mut byte = [0];
/// chip.read(8, &mut byte)?;
/// assert_eq!(byte, [0x03]);
/// assert!(chip.write(9, &[0; 4]).is_err());
/// # Ok::<(), rawmap_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Flash<B, K, const READ: usize, const WRITE: usize, const ERASE: usize> {
    backing: B,
    durable: bool,
    /// Whether all of this map that was not written through the chip is on stable storage.
    stored: bool,
    behaviour: PhantomData<K>,
}

impl<B: Backing, K: Behaviour, const READ: usize, const WRITE: usize, const ERASE: usize>
    Flash<B, K, READ, WRITE, ERASE>
{
    /// Units that fit into each other, and into the traits' 32 bits.
    const UNITS: () = {
        assert!(READ > 0 && WRITE > 0 && ERASE > 0, "a unit of no byte");
        assert!(WRITE.is_multiple_of(READ), "WRITE is no multiple of READ");
        assert!(ERASE.is_multiple_of(WRITE), "ERASE is no multiple of WRITE");
    };

    /// Takes a map: each write and each erase waits until it is on stable storage.
    ///
    /// # Errors
    ///
    /// Each gives the map back.
    ///
    /// - [`Error::OutOfRange`]: the map is longer than 4,294,967,295 bytes, which is as far as the traits' offsets
    ///   reach. Map a part of the file.
    /// - [`Error::NotInUnits`]: its length is not a multiple of `ERASE`.
    /// - What the device says, as all of the map is stored first; see [`Backing::commit_all`]. Retry that very map:
    ///   the kernel tells such an error once, and another map of the file may then say `Ok`.
    pub fn new(backing: B) -> Result<Self, Refused<B>> {
        let mut chip = Self::buffered(backing)?;
        chip.durable = true;
        if let Err(error) = chip.commit() {
            let map = chip.backing;
            return Err(Refused { error, map });
        }
        Ok(chip)
    }

    /// Takes a map: what is written and erased waits for [`commit`](Self::commit).
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`] and [`Error::NotInUnits`]: as for [`new`](Self::new).
    pub fn buffered(backing: B) -> Result<Self, Refused<B>> {
        let () = Self::UNITS;
        let all = Span::whole(backing.as_ref().len());
        let (offset, limit) = (0, u64::from(u32::MAX));
        let fits = match u64::try_from(all.len()).unwrap_or(u64::MAX) {
            len if len > limit => Err(Error::OutOfRange { offset, len, limit }),
            _ => in_units(all, ERASE),
        };
        if let Err(error) = fits {
            let map = backing;
            return Err(Refused { error, map });
        }
        Ok(Self {
            backing,
            durable: false,
            stored: false,
            behaviour: PhantomData,
        })
    }

    /// Waits until all that was written and erased is on stable storage.
    ///
    /// The first time, and the first time after [`get_mut`](Self::get_mut), it stores all of the map: also what was
    /// found in it.
    ///
    /// # Errors
    ///
    /// - What the device says; see [`Backing::commit`].
    pub fn commit(&mut self) -> Result<(), Error> {
        let all = Span::whole(self.backing.as_ref().len());
        self.store(all)
    }

    fn store(&mut self, span: Span) -> Result<(), Error> {
        if self.stored {
            return self.backing.commit(span.offset(), span.len());
        }
        self.backing.commit_all()?;
        self.stored = true;
        Ok(())
    }

    /// Returns the map.
    #[must_use]
    pub const fn get_ref(&self) -> &B {
        &self.backing
    }

    /// Returns the map, to be changed: after an error of the device, for a retry.
    ///
    /// The map may be written to, or another one put in its place: the next commit, or with [`new`](Self::new) the next
    /// write or erase, stores all of it.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut B {
        self.stored = false;
        &mut self.backing
    }

    /// Returns the map back. What was not committed is not committed by this.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.backing
    }

    /// The one check: inside, and in units.
    fn span(&self, offset: u32, len: usize, unit: usize) -> Result<Span, Error> {
        let limit = self.backing.as_ref().len();
        // An offset that does not fit is past the end, too.
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let span = Span::new(offset, len, limit)?;
        in_units(span, unit)?;
        Ok(span)
    }

    fn get(&self, span: Span, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.copy_from_slice(view(&self.backing, span.offset(), span.len())?);
        Ok(())
    }

    fn change(&mut self, span: Span, bytes: &[u8]) -> Result<(), Error> {
        if span.is_empty() {
            return Ok(());
        }
        let to = lend(&mut self.backing, span.offset(), span.len())?;
        for (to, from) in to.iter_mut().zip(bytes) {
            *to = if K::CLEARS { *to & *from } else { *from };
        }
        self.done(span)
    }

    /// What was changed stays before what will be: for a kill always, on stable storage if that was asked for.
    fn done(&mut self, span: Span) -> Result<(), Error> {
        compiler_fence(Ordering::SeqCst);
        if self.durable {
            self.store(span)?;
        }
        Ok(())
    }

    /// Erases the bytes `start..end` of each block, those that are not erased; tells whether there were any.
    fn erase_part(&mut self, blocks: Span, start: usize, end: usize) -> Result<bool, Error> {
        let mut any = false;
        for block in (blocks.offset()..blocks.end()).step_by(ERASE) {
            // Inside the span: nothing wraps.
            let (offset, len) = (block.wrapping_add(start), end.wrapping_sub(start));
            let bytes = view(&self.backing, offset, len)?;
            if bytes.iter().any(|byte| *byte != 0xFF) {
                lend(&mut self.backing, offset, len)?.fill(0xFF);
                any = true;
            }
        }
        Ok(any)
    }
}

fn in_units(span: Span, unit: usize) -> Result<(), Error> {
    if span.offset().is_multiple_of(unit) && span.len().is_multiple_of(unit) {
        return Ok(());
    }
    Err(Error::NotInUnits {
        offset: u64::try_from(span.offset()).unwrap_or(u64::MAX),
        len: u64::try_from(span.len()).unwrap_or(u64::MAX),
        unit: u64::try_from(unit).unwrap_or(u64::MAX),
    })
}

impl<B, K, const READ: usize, const WRITE: usize, const ERASE: usize> ErrorType
    for Flash<B, K, READ, WRITE, ERASE>
{
    type Error = Error;
}

impl<B: Backing, K: Behaviour, const READ: usize, const WRITE: usize, const ERASE: usize>
    ReadNorFlash for Flash<B, K, READ, WRITE, ERASE>
{
    const READ_SIZE: usize = READ;

    /// # Errors
    ///
    /// - [`Error::OutOfRange`] and [`Error::NotInUnits`]: nothing was read.
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        let span = self.span(offset, bytes.len(), READ)?;
        self.get(span, bytes)
    }

    fn capacity(&self) -> usize {
        self.backing.as_ref().len()
    }
}

impl<B: Backing, K: Behaviour, const READ: usize, const WRITE: usize, const ERASE: usize> NorFlash
    for Flash<B, K, READ, WRITE, ERASE>
{
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    /// # Errors
    ///
    /// - [`Error::OutOfRange`], also where `to` is before `from`, and [`Error::NotInUnits`]: nothing was erased.
    /// - What the device says: all was erased in memory.
    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        let Some(len) = to.checked_sub(from) else {
            let (offset, limit) = (from.into(), to.into());
            return Err(Error::OutOfRange {
                offset,
                len: 0,
                limit,
            });
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let span = self.span(from, len, ERASE)?;
        // Of each block: its first word, what is between, its last word.
        let parts = if ERASE < WRITE.saturating_mul(2) {
            [(0, ERASE), (0, 0), (0, 0)]
        } else {
            let last = ERASE.saturating_sub(WRITE);
            [(0, WRITE), (WRITE, last), (last, ERASE)]
        };
        if span.is_empty() {
            return Ok(());
        }
        let (mut stored, mut any) = (Ok(()), false);
        for (start, end) in parts {
            if self.erase_part(span, start, end)? {
                any = true;
                // What fails is erased in memory to its end.
                stored = stored.and(self.done(span));
            }
        }
        if !any {
            // A failure that is not mended is told of here, too.
            return self.done(span);
        }
        stored
    }

    /// # Errors
    ///
    /// - [`Error::OutOfRange`] and [`Error::NotInUnits`]: nothing was written.
    /// - What the device says: all was written in memory.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let span = self.span(offset, bytes.len(), WRITE)?;
        self.change(span, bytes)
    }
}

impl<B: Backing, const READ: usize, const WRITE: usize, const ERASE: usize> MultiwriteNorFlash
    for Flash<B, Nor, READ, WRITE, ERASE>
{
}

impl<B: Backing, K: Behaviour, const READ: usize, const WRITE: usize, const ERASE: usize>
    ReadStorage for Flash<B, K, READ, WRITE, ERASE>
{
    type Error = Error;

    /// From any byte on.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: nothing was read.
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        let span = self.span(offset, bytes.len(), 1)?;
        self.get(span, bytes)
    }

    fn capacity(&self) -> usize {
        self.backing.as_ref().len()
    }
}

impl<B: Backing, const READ: usize, const WRITE: usize, const ERASE: usize> Storage
    for Flash<B, Overwrite, READ, WRITE, ERASE>
{
    /// From any byte on, and without an erase.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: nothing was written.
    /// - What the device says: all was written in memory.
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        let span = self.span(offset, bytes.len(), 1)?;
        self.change(span, bytes)
    }
}
