//! [`prepare`]: a file that is locked, as long as it should be, and has its room.

use super::layout::{Layout, NAME, TABLE_COPY, Table, is_zero, table_copies};
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
/// - [`Problem::Version`]: the file is of another version, and of another length.
/// - [`Problem::Length`]: the file is shorter than the layout, and not a new one: it has other bytes than zeros. Or it is longer, and
///   not by what an upgrade left that was not finished. It is left as it is.
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
/// one. The older program still opens it, until the upgrade is done.
///
/// # Errors
///
/// - As for [`prepare`].
/// - [`Problem::OtherParts`]: the older parts do not stay; see [`Store::upgrade`](super::Store::upgrade). The file is left as it is.
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
    let length = Error::Record(Problem::Length { found, want });
    let mut block = [0; 2 * TABLE_COPY];
    let is_ours = match read_table(file, layout, &mut block)? {
        Some(table) if table.version < layout.version && upgrade => {
            // Before anything is changed.
            layout
                .follows(table)
                .ok_or(Error::Record(Problem::OtherParts))?;
            // Shorter than it was: what is missing would be zeros, and look like records that were never there.
            if found < table.len() {
                return Err(length);
            }
            true
        }
        // Longer is what an upgrade left that was not finished, or that an older program takes back: nothing uses its end.
        Some(table) => {
            let is_whole = found == want || found > want && table.len() == want;
            let (found, want) = (table.version, layout.version);
            match is_whole {
                true => true,
                false if found != want => {
                    return Err(Error::Record(Problem::Version { found, want }));
                }
                false => return Err(length),
            }
        }
        None if found == want => is_zero_file(file, found)?,
        None if found < want && is_zero_file(file, found)? => true,
        None => return Err(length),
    };
    if is_ours {
        // Also of a copy that was made with holes.
        match reserve(file, 0, want) {
            // A file system without fallocate(2) gives the length, and no promise of room.
            Err(Error::Sys {
                errno: Errno::OPNOTSUPP | Errno::NOSYS,
                ..
            }) if found < want => sys::ftruncate(file, want)
                .map_err(|errno| Error::of_range(Call::Ftruncate, errno, 0, want))?,
            Err(Error::Sys {
                errno: Errno::OPNOTSUPP | Errno::NOSYS,
                ..
            }) => {}
            reserved => reserved?,
        }
    }
    // Also what a process left that was killed.
    sys::fsync(file).map_err(|errno| Error::sys(Call::Fsync, errno))
}

/// The table that a file begins with, if it is of this name.
fn read_table<'b, const N: usize>(
    file: BorrowedFd<'_>,
    layout: &Layout<N>,
    block: &'b mut [u8; 2 * TABLE_COPY],
) -> Result<Option<Table<'b>>, Error> {
    let mut copies = table_copies(layout.unit);
    let (first, second) = block.split_at_mut(TABLE_COPY);
    read(file, first, 0)?;
    read(file, second, wide(copies.stride))?;
    copies.stride = TABLE_COPY;
    let newest = copies.newest(block).unwrap_or(None);
    let (own, _) = layout.table();
    let of_name = newest.filter(|newest| newest.value.bytes.get(..NAME) == own.get(..NAME));
    Ok(of_name.map(|newest| Table::of(newest.value)))
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
