//! Files of records, opened so that they are really there; with the feature `record`.
//!
//! [`Options::open`] makes the file or opens it, locks it, refuses what is something else and leaves it as it is, reserves its
//! room, maps it, and flushes the file and its directory. A power cut at any moment leaves no file, or one that the next call goes
//! on with.
//!
//! ```
//! use rawmap::durable::Options;
//! use rawmap::record::{Layout, Part, layout};
//!
//! const LAYOUT: Layout<1> = layout!("counter", 1, [Part::slots("boots", 8)]);
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("state");
//! // SAFETY: only programs that call this use the file, and it locks it.
//! let mut file = unsafe { Options::new().scattered().open(path, LAYOUT) }?;
//! let mut boots = file.slots("boots")?;
//! let last = boots.load()?.and_then(|value| value.bytes.first_chunk().copied());
//! let next = u64::from_le_bytes(last.unwrap_or_default()) + 1;
//! boots.store(1, &next.to_le_bytes())?; // On stable storage when it returns.
//! # assert_eq!(next, 1);
//! # Ok::<(), std::io::Error>(())
//! ```
#![allow(unsafe_code, reason = "passes the duty on")]

use std::fmt;
use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rawmap_core::record::{
    Layout, Reader, Store, Table, prepare, prepare_to_read, prepare_to_upgrade,
};

use crate::map::{Mmap, MmapMut};
use crate::options::MmapOptions;

/// Says how to open a file of records.
#[derive(Clone, Debug, Default)]
pub struct Options {
    map: MmapOptions,
}

impl Options {
    /// Starts with the defaults: no option.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            map: MmapOptions::new(),
        }
    }

    /// Writes the pages that were changed, and few around them; see [`MmapOptions::scattered`].
    pub fn scattered(&mut self) -> &mut Self {
        self.map.scattered();
        self
    }

    /// Keeps the file with the map, so that `flush_async` of it starts to write; see [`MmapOptions::keep_file`].
    pub fn keep_file(&mut self) -> &mut Self {
        self.map.keep_file();
        self
    }

    /// Makes an error of a SIGBUS: of a file that gets shorter, or a disk that fails; see [`MmapOptions::contained`].
    #[cfg(feature = "fault")]
    pub fn contained(&mut self) -> &mut Self {
        self.map.contained();
        self
    }

    /// Opens a file to read and write, and makes it where there is none.
    ///
    /// # Safety
    ///
    /// - Nothing changes or truncates the file while it is open, but the [`Store`] that this returns: not [`File::file`] either.
    ///   Programs that open it with this lock it; others must not.
    ///
    /// # Errors
    ///
    /// Each names the path and the step, and leaves a file that holds something else as it is.
    ///
    /// - Another program, or this one, has it open (`WouldBlock`). So has a child that another thread forked while it was open,
    ///   until its execve(2): a program that starts programs, and opens a file again that it has closed, tries once more.
    /// - [`record::Problem`](rawmap_core::record::Problem), by [`Error::record`]: it is no file of this layout.
    /// - What the file system says.
    pub unsafe fn open<const N: usize>(
        &self,
        path: impl AsRef<Path>,
        layout: Layout<N>,
    ) -> Result<File<N>, Error> {
        let at = At(path.as_ref());
        let file = at.locked(|file| prepare(file, &layout))?;
        // SAFETY: the caller's duty, passed on.
        let map = unsafe { self.map_mut(at, &file, layout.len()) }?;
        at.step("open", Store::open(map, layout).map_err(Into::into))
            .map(|store| File { store, file })
    }

    /// Opens a file as [`open`](Self::open) does, and upgrades one of an older version; see [`Store::upgrade`]. Until the upgrade is
    /// done the older program opens the file, too, which may be longer by then; after it, it refuses the file.
    ///
    /// # Safety
    ///
    /// - As for [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// - As for [`open`](Self::open) and [`Store::upgrade`].
    pub unsafe fn upgrade<const N: usize>(
        &self,
        path: impl AsRef<Path>,
        layout: Layout<N>,
        upgrade: impl FnOnce(&mut Store<MmapMut, N>, u32) -> Result<(), rawmap_core::Error>,
    ) -> Result<File<N>, Error> {
        let at = At(path.as_ref());
        let file = at.locked(|file| prepare_to_upgrade(file, &layout))?;
        // SAFETY: the caller's duty, passed on.
        let map = unsafe { self.map_mut(at, &file, layout.len()) }?;
        let upgraded = Store::upgrade(map, layout, upgrade);
        at.step("upgrade", upgraded.map_err(Into::into))
            .map(|store| File { store, file })
    }

    /// Opens a file to read, whatever its layout is. No program has it open to write meanwhile.
    ///
    /// # Safety
    ///
    /// - As for [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// - A program has it open to write (`WouldBlock`), or there is none (`NotFound`).
    /// - It is no file of records; see [`Table::read`].
    pub unsafe fn open_to_read(&self, path: impl AsRef<Path>) -> Result<ReadFile, Error> {
        let at = At(path.as_ref());
        at.refuse_fifo()?;
        let file = at.io("open", fs::File::open(at.0))?;
        at.step("prepare", prepare_to_read(&file))?;
        // SAFETY: the caller's duty, passed on.
        let map = at.io("map", unsafe { self.map.map(&file) })?;
        at.step("read", Table::read(&map).map(|_| ()))?;
        Ok(ReadFile { map, _file: file })
    }

    /// Maps the file; its name is on stable storage when it has a table.
    ///
    /// # Safety
    ///
    /// - As for [`open`](Self::open).
    unsafe fn map_mut(&self, at: At<'_>, file: &fs::File, len: usize) -> Result<MmapMut, Error> {
        let mut options = self.map.clone();
        // SAFETY: the caller's duty, passed on.
        let map = at.io("map", unsafe { options.len(len).map_mut(file) })?;
        if Table::read(&map).is_err() {
            // That of the file, where the path is a symbolic link.
            let path = at.io("look for its directory", fs::canonicalize(at.0))?;
            let folder = fs::File::open(path.parent().unwrap_or(Path::new("/")));
            let synced = folder.and_then(|folder| folder.sync_all());
            at.io("fsync of its directory", synced)?;
        }
        Ok(map)
    }
}

/// So often a file may be replaced while it is opened.
const TRIES: u32 = 8;

/// A path, for errors.
#[derive(Clone, Copy)]
struct At<'p>(&'p Path);

impl At<'_> {
    /// To open one to read would wait for a writer.
    fn refuse_fifo(self) -> Result<(), Error> {
        let is_fifo = fs::metadata(self.0).is_ok_and(|file| file.file_type().is_fifo());
        let refused = io::Error::new(io::ErrorKind::InvalidInput, "it is a FIFO");
        self.io("open", if is_fifo { Err(refused) } else { Ok(()) })
    }

    fn create(self) -> Result<fs::File, Error> {
        let mut options = fs::File::options();
        options.read(true).write(true).create(true).truncate(false);
        self.io("open", options.open(self.0))
    }

    /// The file, when it has the lock: it may have been replaced or removed before.
    fn locked(
        self,
        prepare: impl Fn(&fs::File) -> Result<(), rawmap_core::Error>,
    ) -> Result<fs::File, Error> {
        for _ in 0..TRIES {
            let file = self.create()?;
            self.step("prepare", prepare(&file))?;
            let ours = self.io("look at it", file.metadata())?;
            // Old overlay file systems say of a path other numbers than of a file that is open.
            match fs::File::open(self.0).and_then(|named| named.metadata()) {
                Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(file);
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return self.io("look at its path", Err(error));
                }
                _ => {}
            }
        }
        let again = io::Error::other("it is replaced or removed each time it is locked");
        self.io("lock", Err(again))
    }

    fn step<T>(self, step: &'static str, done: Result<T, rawmap_core::Error>) -> Result<T, Error> {
        self.io(step, done.map_err(io::Error::from))
    }

    fn io<T>(self, step: &'static str, done: io::Result<T>) -> Result<T, Error> {
        done.map_err(|cause| Error {
            path: self.0.to_owned(),
            step,
            cause,
        })
    }
}

/// A file of records that is open and locked. It is a [`Store`].
#[derive(Debug)]
pub struct File<const N: usize> {
    store: Store<MmapMut, N>,
    /// Holds the lock.
    file: fs::File,
}

impl<const N: usize> File<N> {
    /// Returns the file: to start its write-back, say, or to recover a contained map. It is not written or truncated by this, nor is a
    /// duplicate of it: the store lends its bytes.
    #[must_use]
    pub const fn file(&self) -> &fs::File {
        &self.file
    }
}

impl<const N: usize> Deref for File<N> {
    type Target = Store<MmapMut, N>;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

impl<const N: usize> DerefMut for File<N> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.store
    }
}

/// A file of records that is open to read, and locked for readers.
#[derive(Debug)]
pub struct ReadFile {
    map: Mmap,
    /// Holds the lock.
    _file: fs::File,
}

impl ReadFile {
    /// Returns what reads it.
    ///
    /// # Errors
    ///
    /// - None, unless the file was changed since it was opened.
    pub fn reader(&self) -> Result<Reader<'_>, rawmap_core::Error> {
        Reader::new(&self.map)
    }
}

/// Tells why a file was not opened: its path, the step, and the cause with its numbers.
#[derive(Debug)]
pub struct Error {
    path: PathBuf,
    step: &'static str,
    cause: io::Error,
}

impl Error {
    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what is wrong with the file or its layout, where that is the cause.
    #[must_use]
    pub fn record(&self) -> Option<rawmap_core::record::Problem> {
        match rawmap_core::Error::from_io(&self.cause)? {
            rawmap_core::Error::Record(problem) => Some(problem),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, cause) = (self.path.display(), &self.cause);
        let is_locked = cause.kind() == io::ErrorKind::WouldBlock;
        let step = if is_locked {
            "another program has it open"
        } else {
            self.step
        };
        write!(f, "{path}: {step}: {cause}")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Of the kind of the cause.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.cause.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another program replaces it between open(2) and flock(2): the lock would be one of a file without a name.
    #[test]
    fn what_is_locked_is_what_the_path_names() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("state"), folder.path().join("new"));
        let tries = std::cell::Cell::new(0);
        for (replaced, removed) in [(1, 0), (0, 1), (2, 1), (0, 0)] {
            tries.set(0);
            let file = At(&path).locked(|_| {
                tries.set(tries.get() + 1);
                if tries.get() <= replaced {
                    fs::write(&new, b"new").unwrap();
                    fs::rename(&new, &path).unwrap();
                } else if tries.get() <= replaced + removed {
                    fs::remove_file(&path).unwrap();
                }
                Ok(())
            });
            assert_eq!(tries.get(), replaced + removed + 1);
            let (ours, named) = (file.unwrap().metadata(), fs::metadata(&path));
            assert_eq!(ours.unwrap().ino(), named.unwrap().ino());
        }
        let told = At(&path).locked(|_| {
            fs::remove_file(&path).unwrap();
            Ok(())
        });
        assert!(told.unwrap_err().to_string().contains("each time"));
    }
}
