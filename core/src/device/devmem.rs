//! Physical addresses, through `/dev/mem`.
//!
//! For bring-up and debugging. Prefer [`uio`](super::uio) or [`pci`](super::pci) where the kernel knows the device.
//!
//! # What the kernel does meanwhile
//!
//! - A driver that takes the range later shares its registers with the window. Where the kernel has
//!   `IO_STRICT_DEVMEM`, as Debian's, the driver revokes the window instead (Linux 5.8): each access raises SIGBUS.
//! - The kernel may map an address that the machine does not have. The access then raises SIGBUS or SIGSEGV. On
//!   aarch64, an address above the CPU's own bits is SIGKILL: the kernel hides from programs how many these are.

use super::{Problem, Window};
use crate::device::sysfs::Path;
use crate::error::{Call, Errno, Error};
use crate::raw::check_len;
use crate::sys::Open;

/// Address bits that the architecture's page tables can hold. The kernel does not look on riscv64, and on aarch64
/// its check wraps.
const ADDRESS_BITS: u32 = if cfg!(target_arch = "riscv64") {
    56
} else if cfg!(target_arch = "arm") {
    40
} else {
    52
};

/// Returns whether a range ends within so many bits of addresses, and begins before the last of them.
fn is_within(bits: u32, address: u64, len: u64) -> bool {
    let end = 1u64.wrapping_shl(bits);
    end.checked_sub(address)
        .is_some_and(|room| room != 0 && len <= room)
}

/// Maps `len` bytes from a physical address on, for reading and writing, without a cache.
///
/// Any byte address, on 32 bit also one above 4 GiB (LPAE). The map is rounded out to whole pages, the window is not.
///
/// # Errors
///
/// - [`Error::Sys`] with [`Call::Open`]: no permission for `/dev/mem` (`EACCES`, and `EPERM`
///   without `CAP_SYS_RAWIO` or in lockdown), or the kernel has none (`ENOENT`).
/// - [`Error::Device`] with [`Problem::Physical`]: the kernel does not map this range: it is RAM or a driver has it
///   (`EPERM`, by `STRICT_DEVMEM`; the kernel's argument `iomem=relaxed` allows the latter). Or the architecture has
///   no such address, or it is mapped with another kind of cache (`EINVAL`).
/// - [`Error::Sys`] with [`Call::Mmap`]: there is no room in the address space (`ENOMEM`), say.
/// - [`Error::TooLong`]: the length does not fit in an `isize`.
///
/// # Safety
///
/// - The range is registers of devices, or memory that neither the kernel nor any program uses as its own.
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

fn window(address: u64, bytes: usize, writable: bool) -> Result<Window, Error> {
    check_len(bytes)?;
    let len = u64::try_from(bytes).unwrap_or(u64::MAX);
    let refused = |errno| {
        Error::Device(Problem::Physical {
            address,
            len,
            errno,
        })
    };
    if !is_within(ADDRESS_BITS, address, len) {
        return Err(refused(Errno::INVAL));
    }
    let how = if writable {
        Open::READ_WRITE
    } else {
        Open::READ
    };
    let memory = Path::new("/dev/mem").open(how.uncached())?;
    Window::new(&memory, address, bytes, writable).map_err(|error| match error {
        Error::Sys {
            call: Call::Mmap,
            errno: errno @ (Errno::PERM | Errno::INVAL),
            ..
        } => refused(errno),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_within_the_bits_of_addresses() {
        for bits in [40, 52, 56] {
            let end = 1 << bits;
            for (address, len, fits) in [
                (0, end, true),
                (end - 1, 1, true),
                (1, end, false),
                (end, 0, false),
                (end, 4, false),
                (u64::MAX, 0, false),
                (1, u64::MAX, false),
            ] {
                assert_eq!(is_within(bits, address, len), fits, "{address:#x} {len:#x}");
            }
        }
        let (address, len, errno) = (1 << ADDRESS_BITS, 0, Errno::INVAL);
        let wrong = Err(Error::Device(Problem::Physical {
            address,
            len,
            errno,
        }));
        for writable in [false, true] {
            assert_eq!(window(address, 0, writable).map(drop), wrong);
        }
    }
}
