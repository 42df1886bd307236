//! Pages that never fault.
//!
//! # Safety
//!
//! What is touched are the pages of a range that was checked against the map.

#![allow(unsafe_code, reason = "touches pages of the own map")]

use crate::error::{Call, Error};
use crate::raw::MmapRaw;
use crate::span::Span;
use crate::sys::{self, Errno, Touch};

impl MmapRaw {
    /// `mlock`, after `madvise(.., MADV_POPULATE_WRITE)` -- brings `len` bytes at `offset` into memory for writing, and keeps them there.
    /// From then on no load and no store in these pages faults, until [`unlock_range`](Self::unlock_range).
    ///
    /// For the loop of a motor or a radio, with memory that no disk stores: anonymous, a [`memfd`](crate::memfd), a file on tmpfs. A page
    /// of a file on a disk is written back, by a flush or by the kernel, and the next store to it faults.
    /// [`lock_range`](Self::lock_range) alone says neither which page cannot be had, nor that a page can be written; and many processors
    /// have the kernel note the first store to a page, by a fault: this call makes that store, from inside the kernel and without a change.
    ///
    /// The pages become dirty. Locks do not nest. After fork(2), a store to a private map copies the page: call it again.
    ///
    /// # What may still fault
    ///
    /// The kernel moves locked pages; a thread that accesses one meanwhile waits for it. Keep it from that:
    ///
    /// - Compaction: set `vm.compact_unevictable_allowed` to 0, which a kernel with `PREEMPT_RT` has by default.
    /// - `CMA`, and memory that is taken offline, by hand or for its errors: reserve what the drivers need.
    /// - Balancing of NUMA nodes: set `kernel.numa_balancing` to 0, or bind the memory by mbind(2). Another process can move it, by
    ///   `move_pages(2)` or another set of nodes for this one.
    /// - Huge pages that are made of small ones later, and KSM: `Advice::NoHugePage`, no `Advice::Mergeable`, no
    ///   `PR_SET_MEMORY_MERGE`.
    /// - `DAMON`, `page_idle` and `/proc/PID/clear_refs` make pages look unused; the next access notes it by a fault, on some processors.
    ///
    /// Another process that has the memory takes pages away: it shortens the file or punches holes, which seals forbid, or makes huge pages of
    /// it for itself (`MADV_COLLAPSE`), which none forbids. And under a filter of system calls that refuses futex(2) the store of
    /// this call is left out.
    ///
    /// # Errors
    ///
    /// After an error nothing of the range is locked, also where it was before. More than the limit is told before a page is taken, from
    /// Linux 4.4 on.
    ///
    /// - [`Error::Unwritable`], [`Error::Unreachable`]: from its offset on, a page cannot be had: the disk is full, the file is shorter, the
    ///   device fails.
    /// - [`Error::Sys`] with [`Call::Mlock`](crate::Call::Mlock): more than `RLIMIT_MEMLOCK`, more pieces than a process may have, or memory of
    ///   `memfd_secret(2)`, which is locked without being asked (`ENOMEM`); no memory (`EAGAIN`); no permission (`EPERM`).
    /// - [`Error::OutOfRange`], [`Error::Protected`], [`Error::Sys`]: as for [`prefault_write`](Self::prefault_write).
    ///
    /// # Examples
    ///
    /// ```
    /// use rawmap_core::MmapOptions;
    ///
    /// let live = MmapOptions::new().len(16_384).map_anon_shared()?;
    /// live.lock_writable(0, 16_384)?; // Needs RLIMIT_MEMLOCK, or CAP_IPC_LOCK.
    /// live.shared().store(128, 7_u32)?; // No fault.
    /// live.unlock_range(0, 16_384)?;
    /// # Ok::<(), rawmap_core::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// - [mlock(2)](https://man7.org/linux/man-pages/man2/mlock.2.html), [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html);
    ///   before Linux 5.14 as `prefault_write`
    /// - [vm.compact_unevictable_allowed](https://docs.kernel.org/admin-guide/sysctl/vm.html#compact-unevictable-allowed)
    pub fn lock_writable(&self, offset: usize, len: usize) -> Result<(), Error> {
        // Says that it is more than the limit before it takes memory.
        let locked = match self.lock_on_fault_range(offset, len) {
            // Unknown: also QEMU's user mode on powerpc.
            Err(Error::Sys {
                errno: Errno::NOSYS | Errno::INVAL,
                ..
            }) => Ok(()),
            limited => limited,
        };
        // Says where and why. And mlock(2) does not return while a page cannot be read.
        let locked = locked.and_then(|()| self.prefault_write(offset, len));
        let locked = locked.and_then(|()| self.lock_range(offset, len));
        // A page may have been written back meanwhile, or moved out and read in again. And where it was mapped for a load,
        // populating it for writing leaves its first store to fault: arm, aarch64 without hardware's dirty bit, MIPS and others.
        let locked = locked.and_then(|()| self.store_nothing(offset, len));
        locked.inspect_err(|_| {
            // mlock(2) that fails for want of memory may have locked a part. The error is what counts.
            let _ = self.unlock_range(offset, len);
        })
    }

    /// A store to each page, which changes no byte.
    fn store_nothing(&self, offset: usize, len: usize) -> Result<(), Error> {
        let span = Span::new(offset, len, self.len())?;
        let page = sys::page_size()?;
        let first = self.as_mut_ptr().wrapping_add(span.offset());
        let end = first.wrapping_add(span.len());
        let mut start = first.wrapping_sub(page.offset_in_page(first.addr()));
        while !span.is_empty() && start.addr() < end.addr() {
            // SAFETY: a page of this map: a map begins at one.
            let touched = unsafe { sys::touch(start.cast(), page.get(), Touch::Write) };
            if let Err(errno) = touched {
                // It has gone since.
                self.prefault_write(offset, len)?;
                return Err(Error::sys(Call::Futex, errno));
            }
            start = start.wrapping_add(page.get());
        }
        Ok(())
    }
}
