//! [`Tracked`]: writes that are remembered, and commits that are few.
//!
//! From a write to stable storage: [`Span::new`] checks the range, [`DirtyRanges::mark`] remembers it, the bytes
//! are copied; a commit asks `raw` for one flush over the hull, and forgets the ranges when that is `Ok`.

#[cfg(feature = "critical-section")]
mod shared;

use core::fmt;
use core::ops::Deref;

#[cfg(feature = "critical-section")]
pub use self::shared::SharedTracked;
use crate::dirty::DirtyRanges;
use crate::error::Error;
use crate::map::MmapMut;
use crate::raw::MmapRaw;
use crate::span::Span;
use crate::sys::{AsFd, Errno};

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Commit {
    /// Ranges of bytes that were pending.
    pub ranges: usize,
    /// Pages that hold them, of the map's page size. The kernel wrote these, and any other dirty page between them.
    pub pages: usize,
    /// Calls that wait for the device. Each costs one flush of the device, or one for each VMA where the map
    /// is split; see [`MmapRaw::advise_range`].
    pub calls: usize,
}

/// A map that remembers which bytes were written, and commits them with one flush of the device.
///
/// Reads are those of a slice. All writes go through [`write`](Self::write) and [`edit`](Self::edit), which
/// remember their range in a table of `N` places; see [`DirtyRanges`]. [`commit`](Self::commit) stores them.
/// For logs and other writes in rising order `N` of 4 is plenty; for scattered writes a larger table lets
/// [`commit_with`](Self::commit_with) leave out what is between them.
///
/// What was written to the map before it was handed over is not known here: flush it first. Dropping the
/// value commits nothing; what is pending then reaches the file in the kernel's own time.
///
/// # Examples
///
/// ```
/// use rawmap_core::{MmapMut, Tracked};
///
/// let mut state = Tracked::<8>::new(MmapMut::map_anon(65_536)?);
/// state.write(100, b"first")?;
/// state.edit(40_000, 6)?.copy_from_slice(b"second");
/// assert_eq!(&state[100..105], b"first");
/// let done = state.commit()?;
/// assert_eq!((done.ranges, done.calls), (2, 1));
/// // Nothing was written since: no system call.
/// assert_eq!(state.commit()?.calls, 0);
/// # Ok::<(), rawmap_core::Error>(())
/// ```
pub struct Tracked<const N: usize> {
    map: MmapMut,
    dirty: DirtyRanges<N>,
}

impl<const N: usize> Tracked<N> {
    /// Takes a map of which nothing is pending.
    #[must_use]
    #[inline]
    pub fn new(map: impl Into<MmapMut>) -> Self {
        Self {
            map: map.into(),
            dirty: DirtyRanges::new(),
        }
    }

    /// Copies bytes into the map, and remembers where.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the bytes would end past the map; none was written.
    #[inline]
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        self.edit(offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Lends `len` bytes at `offset` to be changed in place. All of them count as written.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the range ends past the map.
    #[inline]
    pub fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        let span = Span::new(offset, len, self.map.len())?;
        // First: whatever happens to the borrow, a byte that may change is remembered.
        self.dirty.mark(span);
        let bytes = self.map.get_mut(span.offset()..span.end());
        // Never empty by mistake: the span was checked.
        Ok(bytes.unwrap_or(&mut []))
    }

    /// Writes all pending bytes to stable storage, and waits: one msync(2) over the smallest range that holds them.
    ///
    /// When this returns `Ok`, they survive a power cut; those of a private map are stored nowhere. If nothing is
    /// pending, it is `Ok` without a system call. Other dirty pages between the ranges are written too; with much of that see
    /// [`commit_with`](Self::commit_with).
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: write-back failed, now or in an earlier commit. All ranges stay pending, and every
    ///   commit fails until [`retry`](Self::retry) succeeds.
    /// - [`Error::Lost`]: a contained map lost bytes; see [`MmapRaw::flush`]. All ranges stay pending.
    ///
    /// The kernel tells a failure once for each open file. Give each map a file that was opened for it: of two
    /// maps of one open file, one may get the error that is about the other, and that one `Ok`.
    #[inline]
    pub fn commit(&mut self) -> Result<Commit, Error> {
        self.commit_with(usize::MAX)
    }

    /// Like [`commit`](Self::commit), but where more than `gap` bytes of whole pages lie between two
    /// ranges, they are committed apart, with a flush of the device for each group.
    ///
    /// That pays where other pages of the file, in the gaps, are dirty for other reasons, and many: about
    /// as many bytes as the device writes in the time of a flush. Clean pages in a gap cost nothing. A
    /// flush takes 0.1 to 5 ms, so a `gap` below a megabyte is seldom right.
    ///
    /// # Errors
    ///
    /// - As for [`commit`](Self::commit). The ranges of all groups then stay pending.
    ///
    /// # Examples
    ///
    /// ```
    /// # use rawmap_core::{MmapMut, Tracked};
    /// let mut map = Tracked::<4>::new(MmapMut::map_anon(1 << 20)?);
    /// map.write(0, &[1])?;
    /// map.write(1 << 19, &[2])?;
    /// // Two calls, as the gap is too wide: two flushes of the device, and no page between is looked at.
    /// assert_eq!(map.commit_with(4096)?.calls, 2);
    /// # Ok::<(), rawmap_core::Error>(())
    /// ```
    #[inline]
    pub fn commit_with(&mut self, gap: usize) -> Result<Commit, Error> {
        self.map.as_raw().check_sound(Span::whole(0))?;
        if self.dirty.is_empty() {
            return Ok(Commit::default());
        }
        let done = commit(self.map.as_raw(), &self.dirty, gap)?;
        self.dirty.clear();
        Ok(done)
    }

    /// Commits once more after a commit failed, and stores all of the map that is in memory.
    ///
    /// After a failed write-back the kernel marks the pages clean: asked again, it says `Ok` without
    /// having stored them. It does not tell which they were. So this is [`MmapRaw::retry_flush`]: bytes that were
    /// found in the map, or were written by other means, are stored with the pending ones.
    ///
    /// Do not wait long: a page that the kernel takes for clean can be dropped. If
    /// such a page of the pending ranges is missing, this says so. It cannot know of pages between ranges that were joined
    /// for want of a place in the table, of pages that were read again meanwhile, and of any if the process may
    /// no longer write the file (it has given up root, say): the kernel does not tell it then.
    ///
    /// # Errors
    ///
    /// - [`Error::Lost`]: a page of the pending ranges was dropped: write its bytes again, then retry. Or a contained map
    ///   lost pages: `recover` them first.
    /// - [`Error::Unwritable`], [`Error::Unreachable`]: a page cannot be made dirty: the file system has become read-only,
    ///   say.
    /// - [`Error::Sys`]: the write-back failed again.
    ///
    /// In each case all ranges stay pending.
    pub fn retry(&mut self) -> Result<Commit, Error> {
        let done = retry(self.map.as_raw(), &self.dirty)?;
        self.dirty.clear();
        Ok(done)
    }

    /// Starts to write what is pending to stable storage, and does not wait: a later commit then has less to
    /// wait for. It is still pending. `file` is the one that is mapped; see [`MmapRaw::start_writeback`].
    ///
    /// # Errors
    ///
    /// - As for [`MmapRaw::start_writeback`].
    pub fn start_writeback<F: AsFd>(&self, file: F) -> Result<(), Error> {
        start_writeback(self.map.as_raw(), self.dirty.hull(), file)
    }

    /// Returns whether there is anything to commit.
    #[must_use]
    #[inline]
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Returns the ranges that are not committed yet.
    #[must_use]
    #[inline]
    pub const fn pending(&self) -> &DirtyRanges<N> {
        &self.dirty
    }

    /// Returns the number of bytes in the pending ranges.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.dirty.bytes()
    }

    /// Returns the number of pages, of the map's page size, that hold the pending ranges.
    #[must_use]
    pub fn pending_pages(&self) -> usize {
        pages(self.map.as_raw(), &self.dirty)
    }

    /// Returns the map, for the calls that only [`MmapRaw`] has, and for reading.
    #[must_use]
    #[inline]
    pub const fn as_map(&self) -> &MmapMut {
        &self.map
    }
}

/// What both types ask of their map.
macro_rules! of_map {
    ($tracked:ident) => {
        #[allow(unsafe_code, reason = "passes the duty on")]
        impl<const N: usize> $tracked<N> {
            /// Returns the error number of the commit that failed, until a [`retry`](Self::retry) succeeds.
            #[must_use]
            pub fn failed(&self) -> Option<Errno> {
                self.map.as_raw().failed()
            }

            /// Extends the file and the map together; see [`MmapRaw::grow`]. What is pending stays pending.
            ///
            /// # Safety
            ///
            /// - As for [`MmapMut::grow`].
            ///
            /// # Errors
            ///
            /// - As for [`MmapRaw::grow`].
            pub unsafe fn grow<F: AsFd>(&mut self, file: F, new_len: usize) -> Result<(), Error> {
                // SAFETY: the caller's duty, passed on.
                unsafe { self.map.grow(file, new_len) }
            }

            /// Brings a range into memory for writing, so that a [`write`](Self::write) waits for nothing there, and
            /// finds out whether there is room; see [`MmapRaw::prefault_write`].
            ///
            /// # Errors
            ///
            /// - As for [`MmapRaw::prefault_write`].
            pub fn prefault_write(&self, offset: usize, len: usize) -> Result<(), Error> {
                self.map.as_raw().prefault_write(offset, len)
            }

            /// Returns the offset of the first byte that a contained map lost; see [`MmapRaw::lost`].
            #[cfg(feature = "fault")]
            #[must_use]
            pub fn lost(&self) -> Option<usize> {
                self.map.as_raw().lost()
            }

            /// Returns what [`lost`](Self::lost) does, and forgets it; see [`MmapRaw::acknowledge_lost`].
            #[cfg(feature = "fault")]
            pub fn acknowledge_lost(&self) -> Option<usize> {
                self.map.as_raw().acknowledge_lost()
            }

            /// Acknowledges a loss of a contained map, and makes all of it the file's again; see
            /// [`MmapRaw::recover`]. What is pending stays pending: write the bytes that were lost again.
            ///
            /// # Safety
            ///
            /// - The file is the one that is mapped.
            ///
            /// # Errors
            ///
            /// - As for [`MmapRaw::recover`].
            #[cfg(feature = "fault")]
            pub unsafe fn recover<F: AsFd>(&mut self, file: F) -> Result<(), Error> {
                // SAFETY: the caller's duty, passed on.
                unsafe { self.map.recover(file) }
            }

            /// Returns the map itself. What is pending is no longer known: commit first, or flush the map.
            #[must_use]
            #[inline]
            pub fn into_inner(self) -> MmapMut {
                self.map
            }
        }
    };
}

of_map!(Tracked);
#[cfg(feature = "critical-section")]
of_map!(SharedTracked);

/// Flushes the ranges in groups; none is not a flush. The one place where it is decided how many calls that takes.
fn commit<const N: usize>(
    map: &MmapRaw,
    ranges: &DirtyRanges<N>,
    gap: usize,
) -> Result<Commit, Error> {
    let mut done = Commit {
        ranges: ranges.len(),
        pages: pages(map, ranges),
        calls: 0,
    };
    // Between the groups are whole pages: none is written twice.
    let (page, head) = (map.page_size(), map.head());
    let apart = |left: Span, right: Span| {
        let pages = |span: Span| span.shifted(head).out_to_pages(page);
        pages(right).offset().saturating_sub(pages(left).end()) > gap
    };
    let mut rest = ranges.iter().peekable();
    while let Some(mut group) = rest.next() {
        while let Some(next) = rest.next_if(|next| !apart(group, *next)) {
            group = group.up_to(next);
        }
        map.flush_span(group)?;
        done.calls = done.calls.saturating_add(1);
    }
    Ok(done)
}

/// Stores all of the map that is in memory. Also where nothing is pending and no flush of this map failed: another map of
/// the open file may have been told what was about this one.
fn retry<const N: usize>(map: &MmapRaw, ranges: &DirtyRanges<N>) -> Result<Commit, Error> {
    let pending = ranges.hull();
    map.retry(pending.unwrap_or(Span::whole(0)), || {
        // Before any is touched: that may read others in again.
        for range in ranges.iter() {
            // What lies between the ends of ranges that were joined may never have been touched.
            for end in range.ends() {
                map.find_lost(end)?;
            }
            if ranges.is_exact() {
                map.find_lost(range)?;
            }
        }
        Ok(())
    })?;
    Ok(Commit {
        ranges: ranges.len(),
        pages: pages(map, ranges),
        // To collect old errors, and to store.
        calls: 2,
    })
}

fn start_writeback<F: AsFd>(map: &MmapRaw, hull: Option<Span>, file: F) -> Result<(), Error> {
    match hull {
        Some(hull) => map.start_writeback(file, hull.offset(), hull.len()),
        None => map.check_sound(Span::whole(0)),
    }
}

fn pages<const N: usize>(map: &MmapRaw, ranges: &DirtyRanges<N>) -> usize {
    let page = map.page_size();
    let runs = ranges.pages_from(page, map.head());
    runs.fold(0, |sum, run: Span| {
        // Whole pages: the shift leaves nothing out.
        sum.saturating_add(run.len().wrapping_shr(u32::from(page.bits())))
    })
}

impl<const N: usize> Deref for Tracked<N> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl<const N: usize> AsRef<[u8]> for Tracked<N> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl<const N: usize> fmt::Debug for Tracked<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked")
            .field("map", &self.map)
            .field("pending", &self.dirty)
            .finish()
    }
}
