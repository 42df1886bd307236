//! [`prepare`]: a file that is locked, as long as it should be, and has its room.

use super::layout::{Layout, NAME, TABLE_COPY, is_zero, table_copies};
use super::sum::wide;
use crate::error::{Call, Error, RecordProblem as Problem};
use crate::reserve::reserve;
use crate::sys::{self, AsFd, BorrowedFd, Errno};

/// Locks a file for this process, gives a new one the length of the layout and its room, and stores that.
///
/// Then map all of it, for reading and writing, and hand the map to [`Store::open`](super::Store::open). The lock is that of
/// flock(2): it holds until the last descriptor of this open file is closed, so keep one open. A program that made the file anew has
/// to fsync(2) the directory, too: only it knows the path.
///
/// A power cut at any moment leaves a file that this goes on with, or none.
///
/// # Errors
///
/// - [`Error::Sys`]: another process has the lock (flock(2), `EWOULDBLOCK`), or what the file system says.
/// - [`Error::NoSpace`]: the disk is full.
/// - [`Problem::Length`]: the file is longer than the layout; or shorter, and not a new one: it has other bytes than zeros. It is
///   left as it is.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "std")] {
/// use rawmap_core::record::{Layout, Part, Store, layout, prepare};
/// use rawmap_core::{Error, MmapMut, MmapOptions};
///
/// # const LAYOUT: Layout<1> = layout!("counter", 1, [Part::slots("boots", 8)]);
/// fn open(file: &std::fs::File) -> Result<Store<MmapMut, 1>, Error> {
///     prepare(file, &LAYOUT)?;
///     let mut options = MmapOptions::new();
///     // SAFETY: this process has the lock, and nothing else writes the file.
///     let map = unsafe { options.len(LAYOUT.len()).scattered().map_mut(file) }?;
///     Ok(Store::open(map, LAYOUT)?)
/// }
/// # let path = std::env::temp_dir().join(format!("rawmap-doc-prepare-{}", std::process::id()));
/// # let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
/// # std::fs::remove_file(path).unwrap();
/// open(&file).unwrap().slots("boots").unwrap().store(1, &[7]).unwrap();
/// # }
/// ```
///
/// # References
///
/// - [flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html)
pub fn prepare<F: AsFd, const N: usize>(file: F, layout: &Layout<N>) -> Result<(), Error> {
    prepare_for(file.as_fd(), layout, false)
}

/// The same for [`Store::upgrade`](super::Store::upgrade): a file of an older version, which may be shorter, gets the length of this
/// one. A program that is older refuses it from then on.
///
/// # Errors
///
/// - As for [`prepare`].
pub fn prepare_to_upgrade<F: AsFd, const N: usize>(
    file: F,
    layout: &Layout<N>,
) -> Result<(), Error> {
    prepare_for(file.as_fd(), layout, true)
}

/// Locks a file for readers: no program that has called [`prepare`] is writing to it.
///
/// # Errors
///
/// - [`Error::Sys`]: a process has it open to write (flock(2), `EWOULDBLOCK`).
pub fn prepare_to_read<F: AsFd>(file: F) -> Result<(), Error> {
    lock(file.as_fd(), false)
}

fn lock(file: BorrowedFd<'_>, alone: bool) -> Result<(), Error> {
    sys::lock_file(file, alone).map_err(|errno| Error::sys(Call::Flock, errno))
}

fn prepare_for<const N: usize>(
    file: BorrowedFd<'_>,
    layout: &Layout<N>,
    upgrade: bool,
) -> Result<(), Error> {
    lock(file, true)?;
    let (_, found) = sys::file_type_and_len(file)?;
    let want = wide(layout.len());
    if found != want {
        let may_grow =
            found < want && (is_zero_file(file, found)? || upgrade && is_older(file, layout)?);
        if !may_grow {
            return Err(Error::Record(Problem::Length { found, want }));
        }
        match reserve(file, 0, want) {
            // A file system without fallocate(2) gives the length, and no promise of room.
            Err(Error::Sys {
                errno: Errno::OPNOTSUPP | Errno::NOSYS,
                ..
            }) => sys::ftruncate(file, want)
                .map_err(|errno| Error::of_range(Call::Ftruncate, errno, 0, want))?,
            reserved => reserved?,
        }
    }
    // Also what a process left that was killed.
    sys::fsync(file).map_err(|errno| Error::sys(Call::Fsync, errno))
}

/// Returns whether a file begins with the table of an older version.
fn is_older<const N: usize>(file: BorrowedFd<'_>, layout: &Layout<N>) -> Result<bool, Error> {
    let mut copies = table_copies(layout.unit);
    let mut block = [0; 2 * TABLE_COPY];
    let (first, second) = block.split_at_mut(TABLE_COPY);
    read(file, first, 0)?;
    read(file, second, wide(copies.stride))?;
    copies.stride = TABLE_COPY;
    let newest = copies.newest(&block).unwrap_or(None);
    let (table, _) = layout.table();
    Ok(newest.is_some_and(|newest| {
        newest.value.bytes.get(..NAME) == table.get(..NAME) && newest.value.version < layout.version
    }))
}

/// Reads as many bytes as there are, and returns how many.
fn read(file: BorrowedFd<'_>, bytes: &mut [u8], at: u64) -> Result<usize, Error> {
    let len = wide(bytes.len());
    sys::pread(file, bytes, at).map_err(|errno| Error::of_range(Call::Read, errno, at, len))
}

/// Returns whether a file has zeros only.
fn is_zero_file(file: BorrowedFd<'_>, len: u64) -> Result<bool, Error> {
    let mut block = [0; 4096];
    let mut at = 0;
    while at < len {
        let read = read(file, &mut block, at)?;
        if !is_zero(block.get(..read).unwrap_or_default()) {
            return Ok(false);
        }
        if read == 0 {
            break;
        }
        at = at.saturating_add(wide(read));
    }
    Ok(true)
}
