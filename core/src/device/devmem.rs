//! Physical addresses, through `/dev/mem`.
//!
//! For bring-up and debugging: nothing keeps a driver and this window from each other's registers. Prefer
//! [`uio`](super::uio) or [`pci`](super::pci) where the kernel knows the device.

use super::{Problem, Window};
use crate::Error;
use crate::device::sysfs::Path;
use crate::error::Call;
use crate::raw::check_len;
use crate::sys::{Errno, Open};

/// Address bits that the architecture's page tables can hold. The kernel does not look on riscv64, and on aarch64
/// its check wraps.
const ADDRESS_BITS: u32 = if cfg!(target_arch = "riscv64") {
    56
} else if cfg!(target_arch = "arm") {
    40
} else {
    52
};

/// Maps `len` bytes from a physical address on, for reading and writing, without a cache.
///
/// Any byte address, on 32 bit also one above 4 GiB (LPAE). The map is rounded out to whole pages, the window is not.
///
/// # Errors
///
/// - [`Error::Sys`] with [`Call::Open`]: no permission for `/dev/mem` (`EACCES`, and `EPERM`
///   without `CAP_SYS_RAWIO` or in lockdown), or the kernel has none (`ENOENT`).
/// - [`Error::Device`] with [`Problem::Physical`]: the kernel does not map this range: it is RAM or a driver has it
///   (`EPERM`, by `STRICT_DEVMEM`; the kernel's argument `iomem=relaxed` allows the latter), or the machine has no
///   such address, or it is mapped with another kind of cache (`EINVAL`).
/// - [`Error::Sys`] with [`Call::Mmap`]: there is no room in the address space (`ENOMEM`), say.
/// - [`Error::TooLong`]: the length does not fit in an `isize`.
///
/// # Safety
///
/// - The range is registers of devices, or memory that nobody takes for their own: not the program's, not
///   the kernel's.
/// - What is read and written through the window does not make a device access memory that this program uses.
/// - No other window or driver uses the registers at the same time, unless the device allows that.
///
/// # References
///
/// - [mem(4)](https://man7.org/linux/man-pages/man4/mem.4.html)
pub unsafe fn map(address: u64, len: usize) -> Result<Window, Error> {
    window(address, len, true)
}

/// Like [`map`], for reading only: a write is [`Error::Protected`].
///
/// # Errors
///
/// - As for [`map`].
///
/// # Safety
///
/// - As for [`map`].
pub unsafe fn map_read_only(address: u64, len: usize) -> Result<Window, Error> {
    window(address, len, false)
}

fn window(address: u64, len: usize, writable: bool) -> Result<Window, Error> {
    check_len(len)?;
    let refused = |errno| {
        Error::Device(Problem::Physical {
            address,
            len: u64::try_from(len).unwrap_or(u64::MAX),
            errno,
        })
    };
    let end = u64::try_from(len)
        .ok()
        .and_then(|len| address.checked_add(len));
    if end.is_none_or(|end| end > 1 << ADDRESS_BITS) {
        return Err(refused(Errno::INVAL));
    }
    let how = if writable {
        Open::READ_WRITE
    } else {
        Open::READ
    };
    let memory = Path::new("/dev/mem").open(how.uncached())?;
    Window::new(&memory, address, len, writable).map_err(|error| match error {
        Error::Sys {
            call: Call::Mmap,
            errno: errno @ (Errno::PERM | Errno::INVAL),
        } => refused(errno),
        other => other,
    })
}
