//! The kernel's page size.

use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{self, MprotectFlags};

use super::Errno;
use crate::error::{Call, Error};
use crate::page::PageSize;

/// The page size, as [`PageSize::to_word`] gives it, 0 until it was found.
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(0);

/// Returns the kernel's page size. The first call asks the kernel; later ones load one word.
///
/// It works without `/proc`, without libc and on every kernel: mprotect(2) of 0 bytes changes
/// nothing, and refuses an address that is not a multiple of the page size. A refusal counts when it
/// is said twice. On a kernel with 4 KiB pages this is one system call, with 64 KiB pages it is nine.
///
/// # Errors
///
/// - [`Error::Sys`] with [`Call::Mprotect`]: the kernel, or a filter in front of it, gave an answer
///   that says nothing about the page size. Nothing is guessed: supply the size with
///   [`MmapOptions::page_size`](crate::MmapOptions::page_size).
///
/// # Examples
///
/// ```
/// let page = rawmap_core::page_size()?;
/// assert!(page.get() >= 4096);
/// # Ok::<(), rawmap_core::Error>(())
/// ```
///
/// # References
///
/// - [mprotect(2)](https://man7.org/linux/man-pages/man2/mprotect.2.html)
#[inline]
pub fn page_size() -> Result<PageSize, Error> {
    // Relaxed: the word depends on no other memory, and every thread finds the same value.
    match PageSize::from_word(PAGE_SIZE.load(Ordering::Relaxed)) {
        Some(page) => Ok(page),
        None => ask_page_size(),
    }
}

#[cold]
#[inline(never)]
fn ask_page_size() -> Result<PageSize, Error> {
    /// Linux has pages of 4 KiB (arm, riscv, x86) to 1 MiB (hexagon).
    const LARGEST: usize = 1 << 20;
    let (mut page, mut again) = (PageSize::KIB_4, false);
    // Its mprotect(2) takes no such protection.
    if cfg!(miri) {
        return Ok(page);
    }
    loop {
        let address = ptr::without_provenance_mut(page.get());
        // SAFETY: a length of 0 names no page.
        match unsafe { mm::mprotect(address, 0, MprotectFlags::empty()) } {
            Err(Errno::INVAL) if !again => again = true,
            // Not a multiple of the page size: the page is larger.
            Err(Errno::INVAL) if page.get() < LARGEST => (page, again) = (page.doubled(), false),
            // ENOMEM: the address was accepted and nothing is mapped there (QEMU's user mode).
            Ok(()) | Err(Errno::NOMEM) => {
                PAGE_SIZE.store(page.to_word(), Ordering::Relaxed);
                return Ok(page);
            }
            Err(errno) => return Err(Error::sys(Call::Mprotect, errno)),
        }
    }
}
