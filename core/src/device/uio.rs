//! Devices with a UIO driver: their registers, and their interrupts.
//!
//! # Examples
//!
//! ```no_run
//! use core::time::Duration;
//! use rawmap_core::Error;
//! use rawmap_core::device::uio::Uio;
//!
//! # fn main() -> Result<(), Error> {
//! let device = Uio::find("motor")?;
//! // SAFETY: map 0 of this device is its registers, which access no memory. Nothing else uses them.
//! let mut registers = unsafe { device.map(0)? };
//! registers.write(0x10, 1u32)?;
//! device.enable_interrupts()?;
//! while let Some(_count) = device.wait(Some(Duration::from_secs(1)))? {
//!     let _acknowledged: u32 = registers.read(0x14)?;
//!     device.enable_interrupts()?; // For the next one: the driver turned it off.
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A window stays when the device is unbound or removed, and reaches what has its addresses then, without an error.
//!
//! # References
//!
//! - [The Userspace I/O HOWTO](https://docs.kernel.org/driver-api/uio-howto.html)

use core::time::Duration;

use super::{Problem, Window, pci};
use crate::device::sysfs::{Failed, Path, decimal};
use crate::error::{Call, Errno, Error};
use crate::page::PageSize;
use crate::sys::{self, AsFd, AsRawFd, BorrowedFd, Open, OwnedFd, RawFd};

const CLASS: &str = "/sys/class/uio";
/// More than any driver's name has.
const NAME_LEN: usize = 126;

/// Holds a UIO device open.
#[derive(Debug)]
pub struct Uio {
    file: OwnedFd,
    number: u32,
}

/// Describes one of a device's maps, as sysfs tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Map {
    /// Physical address of the page that the map begins with.
    pub address: u64,
    /// Bytes from there to the first register: 0 where that is at the start of the page.
    pub offset: usize,
    /// Bytes from the first register to the end. Most drivers round that up to whole pages, so that not every byte
    /// of it is a register.
    pub len: usize,
}

impl Map {
    /// From what sysfs says. Drivers that give whole pages count their size from the start of the first one. A
    /// size that is no whole pages, or one with an address inside a page, as old kernels have it, is that of
    /// the registers themselves.
    fn new(address: u64, size: u64, offset: u64, page: PageSize) -> Option<Self> {
        let bytes = u64::try_from(page.get()).ok()?;
        let head = page.offset_in_page_u64(address);
        // What the kernel maps, from the start of the first page on.
        let end = head.checked_add(size)?;
        let over = page.offset_in_page_u64(end);
        let mapped = if over == 0 {
            end
        } else {
            end.checked_add(bytes.wrapping_sub(over))?
        };
        let after = mapped.checked_sub(offset)?;
        let is_rounded = head == 0 && page.offset_in_page_u64(size) == 0;
        let len = if is_rounded { after } else { size.min(after) };
        if offset >= bytes {
            return None;
        }
        Some(Self {
            address: address.wrapping_sub(head),
            offset: usize::try_from(offset).ok()?,
            len: usize::try_from(len).ok()?,
        })
    }
}

impl Uio {
    /// Opens `/dev/uioN`.
    ///
    /// The descriptor is in non-blocking mode, for programs that poll it themselves; [`wait`](Self::wait) waits.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: there is no such device (`ENOENT`, `ENODEV`), or no permission (`EACCES`).
    pub fn open(number: u32) -> Result<Self, Error> {
        let mut path = Path::new("/dev/uio");
        let file = path.decimal(number).open(Open::READ_WRITE.nonblocking())?;
        Ok(Self { file, number })
    }

    /// Opens the device with this name, as `/sys/class/uio/uioN/name` has it: numbers are given in the order in
    /// which devices are found, names are the drivers'.
    ///
    /// `uio_pci_generic` gives its own name to all its devices. `uio_pdrv_genirq` takes the property `linux,uio-name` of
    /// the device tree, else the node's name, on newer kernels with the address: `motor@10000000`.
    ///
    /// # Errors
    ///
    /// - [`Error::Device`] with [`Problem::NotFound`]: there is none. With [`Problem::NoSysfs`]: there is no
    ///   `/sys/class/uio`.
    /// - [`Error::Device`] with [`Problem::SameName`]: there are several, as where a generic driver has them; use
    ///   [`open`](Self::open).
    /// - [`Error::Device`] with [`Problem::Text`]: the name has more than 126 bytes.
    /// - [`Error::Sys`]: sysfs cannot be read; or as for [`open`](Self::open).
    pub fn find(name: &str) -> Result<Self, Error> {
        if name.len() > NAME_LEN {
            return Err(Error::Device(Problem::Text { file: "name" }));
        }
        let folder = match Path::new(CLASS).open(Open::READ) {
            // Not mounted, or no UIO at all.
            Err(Failed(_, Errno::NOENT)) => return Err(Error::Device(Problem::NoSysfs)),
            folder => folder?,
        };
        let (mut found, mut problem) = (None, None);
        sys::names_in(folder.as_fd(), |entry| {
            let digits = entry.to_bytes().strip_prefix(b"uio");
            let Some(number) = digits.and_then(decimal) else {
                return true;
            };
            match (Self::has_name(number, name), found) {
                // The latter has gone meanwhile.
                (Ok(false) | Err(Failed(_, Errno::NOENT | Errno::NODEV)), _) => {}
                (Ok(true), None) => found = Some(number),
                (Ok(true), Some(first)) => {
                    let second = number;
                    problem = Some(Error::Device(Problem::SameName { first, second }));
                }
                (Err(failed), _) => problem = Some(failed.into()),
            }
            problem.is_none()
        })?;
        match (problem, found) {
            (Some(error), _) => Err(error),
            (None, None) => Err(Error::Device(Problem::NotFound)),
            (None, Some(number)) => Self::open(number),
        }
    }

    fn has_name(number: u32, name: &str) -> Result<bool, Failed> {
        let mut buffer = [0; NAME_LEN + 2];
        let text = Self::attribute(number).text("name").read(&mut buffer)?;
        // A line that was cut has no end.
        Ok(matches!(text, [text @ .., b'\n'] if text == name.as_bytes()))
    }

    /// `/sys/class/uio/uioN/`.
    fn attribute(number: u32) -> Path {
        let mut path = Path::new(CLASS);
        path.text("/uio").decimal(number).text("/");
        path
    }

    /// Returns the number N of `/dev/uioN`.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Tells where a map is, and how long.
    ///
    /// # Errors
    ///
    /// - [`Error::Device`] with [`Problem::NoMap`]: the device has no such map.
    /// - [`Error::Device`] with [`Problem::Text`]: sysfs says what cannot be, or a length that is too long for this
    ///   address space.
    /// - [`Error::Sys`]: the device was taken away or sysfs is not mounted on `/sys` (`ENOENT`), or cannot be read.
    pub fn map_info(&self, map: u8) -> Result<Map, Error> {
        let mut numbers = [0; 3];
        for (file, number) in ["addr", "size", "offset"].into_iter().zip(&mut numbers) {
            let mut path = Self::attribute(self.number);
            path.text("maps/map").decimal(map.into()).text("/");
            *number = match path.text(file).read_hex() {
                Ok(Some(number)) => number,
                Ok(None) => return Err(Error::Device(Problem::Text { file })),
                Err(failed) => return Err(self.or_no_map(failed, map)),
            };
        }
        let [address, size, offset] = numbers;
        let page = sys::page_size()?;
        Map::new(address, size, offset, page).ok_or(Error::Device(Problem::Text { file: "offset" }))
    }

    /// A missing file is a missing map, where the device itself is there.
    fn or_no_map(&self, failed: Failed, map: u8) -> Error {
        if failed.1 != Errno::NOENT {
            return failed.into();
        }
        match Self::attribute(self.number).open(Open::READ) {
            Ok(_) => Error::Device(Problem::NoMap { map }),
            Err(failed) => failed.into(),
        }
    }

    /// Maps the registers of map `map`, from the first one to the end of the map.
    ///
    /// Its number is not that of a BAR, and its end may be past the last register; see [`Map::len`]. `uio_pci_generic`
    /// gives the memory BARs in order, without those of 64 bits and the prefetchable ones: for these there is [`pci`].
    ///
    /// # Errors
    ///
    /// - As for [`map_info`](Self::map_info).
    /// - [`Error::TooLong`]: the length does not fit in an `isize`.
    /// - [`Error::Sys`] with [`Call::Mmap`]: the kernel refused.
    ///
    /// # Safety
    ///
    /// - What is read and written through the window does not make the device access memory that this program
    ///   uses. Nothing else uses a map that is memory, in a way that the program relies on.
    /// - No other window or driver uses the registers at the same time, unless the device allows that.
    pub unsafe fn map(&self, map: u8) -> Result<Window, Error> {
        let Map { offset, len, .. } = self.map_info(map)?;
        // Map N is at the Nth page of the file, however long it is.
        let page = sys::page_size()?;
        let first = u64::from(map).wrapping_shl(page.bits().into());
        // Below the next page, by `map_info`.
        let offset = u64::try_from(offset).unwrap_or(u64::MAX);
        Window::new(&self.file, first.saturating_add(offset), len, true)
    }

    /// Waits for an interrupt, and gives the number of all that there were since the driver was loaded (it wraps);
    /// `None` when the time is over, or another thread that waits for the same device has taken the interrupt.
    /// Without a timeout, for as long as it takes.
    ///
    /// Interrupts that came since the last call end it at once. Most drivers turn the interrupt off in their handler,
    /// so that it does not come again before [`enable_interrupts`](Self::enable_interrupts).
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`]: a signal handler ran meanwhile (`EINTR`, not with a timeout of 0): call it again; the device has no interrupt,
    ///   or was taken away (`EIO`).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<u32>, Error> {
        loop {
            match sys::wait_readable(self.file.as_fd(), timeout) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                // It was not to wait: a signal is no answer.
                Err(Error::Sys {
                    errno: Errno::INTR, ..
                }) if timeout == Some(Duration::ZERO) => continue,
                Err(error) => return Err(error),
            }
            let mut count = [0; 4];
            match sys::read(self.file.as_fd(), &mut count) {
                Ok(4) => return Ok(Some(u32::from_ne_bytes(count))),
                // Another thread was told of it.
                Err(Errno::AGAIN) if timeout.is_none() => {}
                Err(Errno::AGAIN) => return Ok(None),
                Ok(_) => return Err(Failed(Call::Read, Errno::IO).into()),
                Err(errno) => return Err(Failed(Call::Read, errno).into()),
            }
        }
    }

    /// Lets the interrupt come (again).
    ///
    /// Writes 1 to the device. Where its driver takes no such order and it is a PCI function without MSI, as with
    /// `uio_pci_generic`, it clears the bit *Interrupt Disable* in the function's command register instead.
    ///
    /// # Errors
    ///
    /// - [`Error::Sys`] with [`Call::Write`]: the driver takes no such order (`ENOSYS`), or the device has no interrupt
    ///   or was taken away (`EIO`).
    /// - [`Error::Sys`]: the command register cannot be accessed. With [`Call::Open`]: only root may (`EACCES`).
    pub fn enable_interrupts(&self) -> Result<(), Error> {
        self.set_interrupts(true)
    }

    /// Keeps the interrupt from coming; see [`enable_interrupts`](Self::enable_interrupts).
    ///
    /// # Errors
    ///
    /// - As for [`enable_interrupts`](Self::enable_interrupts).
    pub fn disable_interrupts(&self) -> Result<(), Error> {
        self.set_interrupts(false)
    }

    fn set_interrupts(&self, on: bool) -> Result<(), Error> {
        let order = u32::from(on).to_ne_bytes();
        let failed = match sys::write(self.file.as_fd(), &order) {
            Ok(4) => return Ok(()),
            Ok(_) => Errno::IO,
            Err(errno) => errno,
        };
        // With MSI that bit does nothing; and then there are such interrupts.
        if failed == Errno::NOSYS && self.part("device/msi_irqs", Open::READ)?.is_none() {
            if let Some(config) = self.part("device/config", Open::READ_WRITE)? {
                return Ok(pci::set_interrupt_disable(config.as_fd(), !on)?);
            }
        }
        Err(Failed(Call::Write, failed).into())
    }

    /// Opens a file of the device's; `None` where it has no such file.
    fn part(&self, name: &'static str, how: Open) -> Result<Option<OwnedFd>, Failed> {
        match Self::attribute(self.number).text(name).open(how) {
            Err(Failed(_, Errno::NOENT)) => Ok(None),
            file => file.map(Some),
        }
    }
}

/// Lends the descriptor to poll(2) and epoll(7): readable when there was an interrupt, until [`wait`](Uio::wait) has
/// told of it, with [`Duration::ZERO`] if it is not to wait.
impl AsFd for Uio {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// For what takes numbers, as tokio, mio and async-io do.
impl AsRawFd for Uio {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_where_drivers_say() {
        for (address, size, offset, bits, want) in [
            // Whole pages, as uio_pci_generic and uio_pdrv_genirq say.
            (0x1000_0000, 0x10_0000, 0, 12, Some((0, 0x10_0000))),
            (0x1010_7000, 0x1000, 0x400, 12, Some((0x400, 0xc00))),
            (0x1010_0000, 0x1_0000, 0x7400, 16, Some((0x7400, 0x8c00))),
            // The registers' own length, from a driver that rounds nothing.
            (0x1000_0000, 0x100, 0, 12, Some((0, 0x100))),
            (0x1000_0000, 0x100, 0x400, 12, Some((0x400, 0x100))),
            (0x1000_0000, 0x1100, 0xf80, 12, Some((0xf80, 0x1080))),
            // An address inside a page, as old kernels had it.
            (0x1000_0400, 0x100, 0x400, 12, Some((0x400, 0x100))),
            (0x1000_0f80, 0x1000, 0xf80, 12, Some((0xf80, 0x1000))),
            // What cannot be.
            (0x1000_0000, 0x2000, 0x1000, 12, None),
            (0x1000_0000, 0, 0x400, 12, None),
            (0x1000_0000, u64::MAX, 0, 12, None),
            // No registers, and no page.
            (0x1000_0000, 0, 0, 12, Some((0, 0))),
        ] {
            let page = PageSize::from_bits(bits).unwrap();
            let map = Map::new(address, size, offset, page);
            assert_eq!(map.map(|map| (map.offset, map.len)), want, "{address:#x}");
            let start = page.floor_u64(address);
            assert!(map.is_none_or(|map| map.address == start));
        }
    }
}
