//! What a slot holds: one of the library's types, and the calls that all of them have.

use std::fs::File;
use std::io::Write as _;

use embedded_storage::nor_flash::NorFlash as _;
use rawmap_core::adapter::{Cursor, Flash, Overwrite};
use rawmap_core::{Error, Mmap, MmapMut, MmapOptions, MmapRaw, SharedTracked, Tracked};

use crate::step::Kind;

/// Erased at once, and so the unit of a chip's length.
pub const BLOCK: usize = 256;

type Chip = Flash<MmapMut, Overwrite, 1, 1, BLOCK>;

pub enum Subject {
    Raw(MmapRaw),
    Kept(rawmap::MmapRaw),
    Mut(MmapMut),
    ReadOnly(Mmap),
    Tracked(Tracked<3>),
    Shared(SharedTracked<3>),
    /// And whether each write waits for the medium.
    Flash(Chip, bool),
    Cursor(Cursor<Tracked<3>>),
}

/// Of an adapter that returns std's errors.
fn told(error: std::io::Error) -> Error {
    Error::from_io(&error).unwrap_or_else(|| panic!("an error of another's: {error:?}"))
}

impl Subject {
    /// Makes one; beside an error there may be a map that its constructor gave back.
    pub fn new(
        kind: Kind,
        options: &MmapOptions,
        kept: &rawmap::MmapOptions,
        file: &File,
    ) -> (Option<Self>, Result<(), Error>) {
        // SAFETY: the walk reads and writes what lies in the file, or is contained.
        let map = || unsafe { options.map_mut(file) };
        let made = match kind {
            Kind::Raw => options.map_raw(file).map(Self::Raw),
            Kind::Kept => kept.map_raw(file).map(Self::Kept).map_err(told),
            Kind::Mut => map().map(Self::Mut),
            // SAFETY: as above.
            Kind::Only => unsafe { options.map(file) }.map(Self::ReadOnly),
            // SAFETY: as above.
            Kind::Copy => unsafe { options.map_copy(file) }.map(Self::Mut),
            Kind::Sealed => options.map_raw_sealed(file).map(Self::Raw),
            Kind::Peek => options.map_raw_sealed_read_only(file).map(Self::Raw),
            Kind::Tracked => map().map(|map| Self::Tracked(Tracked::new(map))),
            Kind::Shared => map().map(|map| Self::Shared(SharedTracked::new(map))),
            Kind::Cursor => map().map(|map| Self::Cursor(Cursor::new(Tracked::new(map)))),
            Kind::Flash | Kind::Buffered => match map() {
                Err(error) => Err(error),
                Ok(map) => {
                    let durable = kind == Kind::Flash;
                    let made = if durable {
                        Chip::new(map)
                    } else {
                        Chip::buffered(map)
                    };
                    match made {
                        Ok(chip) => Ok(Self::Flash(chip, durable)),
                        Err(refused) => return (Some(Self::Mut(refused.map)), Err(refused.error)),
                    }
                }
            },
        };
        match made {
            Ok(made) => (Some(made), Ok(())),
            Err(error) => (None, Err(error)),
        }
    }

    pub fn raw(&self) -> Option<&MmapRaw> {
        Some(match self {
            Self::Raw(map) => map,
            Self::Kept(map) => map,
            Self::Mut(map) => map.as_raw(),
            Self::ReadOnly(map) => map.as_raw(),
            Self::Tracked(map) => map.as_map().as_raw(),
            Self::Shared(_) => return None,
            Self::Flash(chip, _) => chip.get_ref().as_raw(),
            Self::Cursor(cursor) => cursor.get_ref().as_map().as_raw(),
        })
    }

    pub fn raw_mut(&mut self) -> Option<&mut MmapRaw> {
        match self {
            Self::Raw(map) => Some(map),
            Self::Kept(map) => Some(map),
            _ => None,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Shared(map) => map.len(),
            other => other.raw().map_or(0, MmapRaw::len),
        }
    }

    pub fn failed(&self) -> bool {
        match self {
            Self::Shared(map) => map.failed().is_some(),
            other => other.raw().is_some_and(|map| map.failed().is_some()),
        }
    }

    pub fn lost(&self) -> Option<usize> {
        match self {
            Self::Shared(map) => map.lost(),
            other => other.raw().and_then(MmapRaw::lost),
        }
    }

    pub fn acknowledge(&self) -> Option<usize> {
        match self {
            Self::Shared(map) => map.acknowledge_lost(),
            other => other.raw().and_then(MmapRaw::acknowledge_lost),
        }
    }

    /// Copies bytes out.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        match self {
            Self::Shared(map) => map.read(offset, bytes).unwrap(),
            other => {
                let map = other.raw().unwrap();
                assert!(offset + bytes.len() <= map.len());
                // SAFETY: in the map, by the line above; the caller looked whether it may be read.
                unsafe {
                    map.as_ptr()
                        .add(offset)
                        .copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
                }
            }
        }
    }

    /// Stores bytes, by the means of the type. The second is what a durable chip says of the medium.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Option<Result<(), Error>> {
        match self {
            Self::Raw(_) | Self::Kept(_) => {
                let map = self.raw().unwrap();
                assert!(offset + bytes.len() <= map.len());
                // SAFETY: in the map, by the line above; the caller looked whether it may be written.
                unsafe {
                    map.as_mut_ptr()
                        .add(offset)
                        .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
            }
            Self::Mut(map) => map[offset..][..bytes.len()].copy_from_slice(bytes),
            Self::ReadOnly(_) => unreachable!("the caller looked"),
            Self::Tracked(map) => map.write(offset, bytes).unwrap(),
            Self::Shared(map) => map.write(offset, bytes).unwrap(),
            Self::Flash(chip, durable) => {
                let result = chip.write(offset as u32, bytes);
                if *durable {
                    return Some(result);
                }
                result.unwrap();
            }
            Self::Cursor(cursor) => {
                cursor.set_position(offset as u64);
                cursor.write_all(bytes).unwrap();
            }
        }
        None
    }

    /// Erases a block of a chip. What a durable one says of the medium.
    pub fn erase(&mut self, offset: usize) -> Option<Result<(), Error>> {
        let Self::Flash(chip, durable) = self else {
            unreachable!("the caller looked");
        };
        let result = chip.erase(offset as u32, (offset + BLOCK) as u32);
        if *durable {
            return Some(result);
        }
        result.unwrap();
        None
    }

    /// Of the types that know what is to be stored.
    pub fn commit(&mut self, apart: bool) -> Option<Result<(), Error>> {
        let gap = if apart { 0 } else { usize::MAX };
        Some(match self {
            Self::Tracked(map) => map.commit_with(gap).map(drop),
            Self::Shared(map) => map.commit_with(gap).map(drop),
            Self::Flash(chip, _) => chip.commit(),
            Self::Cursor(cursor) => cursor.flush().map_err(told),
            Self::Raw(_) | Self::Kept(_) | Self::Mut(_) | Self::ReadOnly(_) => return None,
        })
    }

    pub fn retry(&mut self) -> Result<(), Error> {
        match self {
            Self::Tracked(map) => map.retry().map(drop),
            Self::Shared(map) => map.retry().map(drop),
            Self::Flash(chip, _) => chip.get_mut().as_raw().retry_flush(),
            Self::Cursor(cursor) => cursor.get_mut().retry().map(drop),
            other => other.raw().unwrap().retry_flush(),
        }
    }

    pub fn start_writeback(&self, file: &File) -> Result<(), Error> {
        match self {
            Self::Tracked(map) => map.start_writeback(file),
            Self::Shared(map) => map.start_writeback(file),
            other => {
                let map = other.raw().unwrap();
                map.start_writeback(file, 0, map.len())
            }
        }
    }

    pub fn grow(&mut self, file: &File, len: usize) -> Option<Result<(), Error>> {
        // SAFETY: of all maps of the file, none lends slices.
        Some(unsafe {
            match self {
                Self::Raw(map) => map.grow(file, len),
                Self::Kept(map) => map.grow(file, len),
                Self::Mut(map) => map.grow(file, len),
                Self::Tracked(map) => map.grow(file, len),
                Self::Shared(map) => map.grow(file, len),
                Self::Cursor(cursor) => cursor.get_mut().grow(file, len),
                Self::Flash(..) | Self::ReadOnly(_) => return None,
            }
        })
    }

    pub fn recover(&mut self, file: &File) -> Result<(), Error> {
        // SAFETY: the file is the one that is mapped.
        unsafe {
            match self {
                Self::Raw(map) => map.recover(file),
                Self::Kept(map) => map.recover(file),
                Self::Mut(map) => map.recover(file),
                Self::ReadOnly(map) => map.recover(file),
                Self::Tracked(map) => map.recover(file),
                Self::Shared(map) => map.recover(file),
                Self::Flash(chip, _) => chip.get_mut().recover(file),
                Self::Cursor(cursor) => cursor.get_mut().recover(file),
            }
        }
    }
}
