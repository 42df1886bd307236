//! What a program can tell the kernel about its use of a map: [`Advice`] and [`UncheckedAdvice`].
//!
//! The numbers are those of `<linux/mman.h>` on every architecture that this crate supports.

/// Advice that cannot change what the memory holds.
///
/// For [`MmapRaw::advise`](crate::MmapRaw::advise) and its relatives. `MADV_WIPEONFORK` is
/// [`MmapRaw::wipe_on_fork`](crate::MmapRaw::wipe_on_fork).
///
/// # References
///
/// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum Advice {
    /// `MADV_NORMAL`: no special use; this undoes `Random` and `Sequential`.
    #[doc(alias = "MADV_NORMAL")]
    Normal = 0,
    /// `MADV_RANDOM`: pages are touched in no order, so read-ahead is of no use.
    ///
    /// Set before the first touch of a file that is not cached, it also keeps small stores to ext4 from
    /// being written back in units of a megabyte. [`MmapOptions::scattered`](crate::MmapOptions::scattered)
    /// does that for files that are.
    #[doc(alias = "MADV_RANDOM")]
    Random = 1,
    /// `MADV_SEQUENTIAL`: pages are touched in order, once: read ahead, and free what was passed.
    #[doc(alias = "MADV_SEQUENTIAL")]
    Sequential = 2,
    /// `MADV_WILLNEED`: the range is needed soon, so start to read it now.
    #[doc(alias = "MADV_WILLNEED")]
    WillNeed = 3,
    /// `MADV_DONTFORK`: a child made by fork(2) does not get the range, and must neither use nor drop the map: its
    /// addresses may be another's there. A contained map refuses it (`EINVAL`).
    #[doc(alias = "MADV_DONTFORK")]
    DontFork = 10,
    /// `MADV_DOFORK`: undoes `DontFork`.
    #[doc(alias = "MADV_DOFORK")]
    DoFork = 11,
    /// `MADV_MERGEABLE`: identical pages may be merged (KSM). For private anonymous memory.
    #[doc(alias = "MADV_MERGEABLE")]
    Mergeable = 12,
    /// `MADV_UNMERGEABLE`: undoes `Mergeable`.
    #[doc(alias = "MADV_UNMERGEABLE")]
    Unmergeable = 13,
    /// `MADV_HUGEPAGE`: use transparent huge pages here.
    #[doc(alias = "MADV_HUGEPAGE")]
    HugePage = 14,
    /// `MADV_NOHUGEPAGE`: use no transparent huge pages here.
    #[doc(alias = "MADV_NOHUGEPAGE")]
    NoHugePage = 15,
    /// `MADV_DONTDUMP` (Linux 3.4): leave the range out of core dumps.
    #[doc(alias = "MADV_DONTDUMP")]
    DontDump = 16,
    /// `MADV_DODUMP` (Linux 3.4): undoes `DontDump`.
    #[doc(alias = "MADV_DODUMP")]
    DoDump = 17,
    /// `MADV_HWPOISON`: treat the pages as broken memory, for tests of error handling.
    ///
    /// Here for the sake of memmap2's names: every call refuses it with `EPERM`, as the kernel does without
    /// `CAP_SYS_ADMIN`. Bytes under a slice of a contained map could become zero.
    #[doc(alias = "MADV_HWPOISON")]
    HwPoison = 100,
    /// `MADV_POPULATE_READ` (Linux 5.14): fault the pages in for reading now, and give an error
    /// where a read would raise a signal.
    #[doc(alias = "MADV_POPULATE_READ")]
    PopulateRead = 22,
    /// `MADV_POPULATE_WRITE` (Linux 5.14): fault the pages in for writing now, and give an error
    /// where a write would raise a signal. The pages become dirty.
    #[doc(alias = "MADV_POPULATE_WRITE")]
    PopulateWrite = 23,
}

/// Advice that can change what the memory holds.
///
/// For [`MmapRaw::unchecked_advise`](crate::MmapRaw::unchecked_advise) and its relatives, which
/// are `unsafe`: bytes that the compiler believes unchanged may become zero.
///
/// # References
///
/// - [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html)
#[repr(i32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum UncheckedAdvice {
    /// `MADV_DONTNEED`: drop the pages. Private memory reads as zero or as the file afterwards;
    /// shared file pages are read again from the page cache.
    #[doc(alias = "MADV_DONTNEED")]
    DontNeed = 4,
    /// `MADV_FREE` (Linux 4.5): the pages may be dropped when memory is short, until they are
    /// written again. For private anonymous memory.
    #[doc(alias = "MADV_FREE")]
    Free = 8,
    /// `MADV_REMOVE`: drop the pages and punch a hole into the file behind them, as fallocate(2) does.
    #[doc(alias = "MADV_REMOVE")]
    Remove = 9,
}
