//! PCI functions, through sysfs: their BARs as windows.
//!
//! # Examples
//!
//! ```no_run
//! use rawmap_core::Error;
//! use rawmap_core::device::pci::{Address, Function};
//!
//! # fn main() -> Result<(), Error> {
//! let function = Function::new("0000:00:02.0".parse::<Address>()?);
//! function.enable()?;
//! // SAFETY: BAR 0 of this device is its registers. None that is used here makes it access memory.
//! let mut registers = unsafe { function.map(0)? };
//! let identification: u32 = registers.read(0)?;
//! # let _ = identification;
//! # Ok(())
//! # }
//! ```
//!
//! # What the kernel does meanwhile
//!
//! - A driver that takes the function later shares its registers with the window. Where the kernel has
//!   `IO_STRICT_DEVMEM`, as Debian's, the driver revokes the window instead (Linux 5.12): each access raises SIGBUS.
//! - After `remove` and `rescan`, an old window reaches the function that has these addresses then, without an error.
//!
//! # References
//!
//! - [Accessing PCI device resources through sysfs](https://docs.kernel.org/PCI/sysfs-pci.html)

use core::fmt;
use core::str::FromStr;

use super::{Problem, Window};
use crate::device::sysfs::{Failed, Path, hex, hex_digits};
use crate::error::{Call, Errno, Error};
use crate::sys::{self, AsFd, BorrowedFd, Open};

const DEVICES: &str = "/sys/bus/pci/devices";

/// Says where a PCI function is: `DOMAIN:BUS:DEVICE.FUNCTION`, all in base 16, as in `0000:00:02.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Most machines have one, with the number 0.
    pub domain: u32,
    /// Number of the bus.
    pub bus: u8,
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl FromStr for Address {
    type Err = Error;

    /// The domain may be left out, for 0.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text.as_bytes()).ok_or(Error::Device(Problem::Address))
    }
}

fn parse(text: &[u8]) -> Option<Address> {
    fn field(text: Option<&[u8]>, digits: usize) -> Option<u64> {
        text.filter(|text| text.len() <= digits)
            .and_then(hex_digits)
    }
    let mut fields = text.rsplit(|byte| *byte == b':');
    let mut last = fields.next()?.split(|byte| *byte == b'.');
    let (device, function) = (field(last.next(), 2)?, field(last.next(), 1)?);
    let bus = field(fields.next(), 2)?;
    let domain = match fields.next() {
        None => 0,
        domain => field(domain, 8)?,
    };
    if last.next().is_some() || fields.next().is_some() || device > 31 || function > 7 {
        return None;
    }
    Some(Address {
        domain: u32::try_from(domain).ok()?,
        bus: u8::try_from(bus).ok()?,
        device: u8::try_from(device).ok()?,
        function: u8::try_from(function).ok()?,
    })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bus, device) = (self.bus, self.device);
        write!(
            f,
            "{:04x}:{bus:02x}:{device:02x}.{:x}",
            self.domain, self.function
        )
    }
}

/// Says what a BAR is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Addresses in memory: these can be mapped.
    Memory {
        /// Whether reads have no side effects, as the device says.
        prefetchable: bool,
    },
    /// I/O ports.
    Port,
}

/// Describes a BAR that has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bar {
    /// The first address, physical or a port.
    pub address: u64,
    /// Length in bytes.
    pub len: u64,
    /// What it is.
    pub kind: Kind,
}

/// Names a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    address: Address,
}

impl Function {
    /// Names the function at this address. The calls find out whether there is one.
    #[must_use]
    pub const fn new(address: Address) -> Self {
        Self { address }
    }

    /// Finds the function with these numbers; of several, the one with the lowest address.
    ///
    /// # Errors
    ///
    /// - [`Error::Device`] with [`Problem::NotFound`]: there is none. With [`Problem::NoSysfs`]: there is no
    ///   `/sys/bus/pci`.
    /// - [`Error::Device`] with [`Problem::Text`], or [`Error::Sys`]: sysfs cannot be read, also of another function.
    pub fn find(vendor: u16, device: u16) -> Result<Self, Error> {
        let folder = Path::new(DEVICES).open(Open::READ).map_err(or_no_sysfs)?;
        let mut found = Err(Error::Device(Problem::NotFound));
        sys::names_in(folder.as_fd(), |name| {
            if let Some(address) = parse(name.to_bytes()) {
                match Self::new(address).id() {
                    Ok(id) if id != (vendor, device) => {}
                    Ok(_) => found = found.map_or(Ok(address), |other| Ok(address.min(other))),
                    // It has gone meanwhile.
                    Err(Error::Device(Problem::NotFound)) => {}
                    Err(error) => {
                        found = Err(error);
                        return false;
                    }
                }
            }
            true
        })?;
        found.map(Self::new)
    }

    /// Returns the address.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Returns the numbers of vendor and device.
    ///
    /// # Errors
    ///
    /// - [`Error::Device`] with [`Problem::NotFound`] or [`Problem::NoSysfs`]: there is no function at this address, or
    ///   none at all.
    /// - [`Error::Device`] with [`Problem::Text`]: sysfs says what cannot be.
    /// - [`Error::Sys`]: sysfs cannot be read.
    pub fn id(&self) -> Result<(u16, u16), Error> {
        let number = |file| {
            let value = self.file(file).read_hex().map_err(or_not_found)?;
            let value = value.and_then(|value| u16::try_from(value).ok());
            value.ok_or(Error::Device(Problem::Text { file }))
        };
        Ok((number("vendor")?, number("device")?))
    }

    /// Enables the function, unless the bit *Memory Space* in its command register says that it answers already.
    ///
    /// The kernel leaves a function that no driver has as it found it. The function stays enabled when the program
    /// ends. DMA is not turned on.
    ///
    /// # Errors
    ///
    /// - As for [`id`](Self::id).
    /// - [`Error::Device`] with [`Problem::Disabled`]: the bit stays off. The function has no BAR in memory, or the kernel
    ///   counts it as enabled, and then changes nothing: write 0 to its file `enable` until that holds 0.
    /// - [`Error::Sys`]: no permission (`EACCES`, `EPERM`), a driver has it and did not enable it (`EBUSY`), or a
    ///   BAR has no address.
    pub fn enable(&self) -> Result<(), Error> {
        let mut is_asked = false;
        while !self.answers()? {
            if is_asked {
                return Err(Error::Device(Problem::Disabled));
            }
            let file = self.file("enable").open(Open::WRITE)?;
            if let Err(errno) = sys::write(file.as_fd(), b"1") {
                return Err(Failed(Call::Write, errno).into());
            }
            is_asked = true;
        }
        Ok(())
    }

    /// *Memory Space*, in the command register. A virtual function, whose vendor reads as all ones, has no such bit.
    fn answers(&self) -> Result<bool, Error> {
        let mut buffer = [0; 5];
        let config = self.file("config").read(&mut buffer);
        Ok(match *config.map_err(or_not_found)? {
            [0xff, 0xff, ..] => true,
            [_, _, _, _, command] => command & 2 != 0,
            _ => false,
        })
    }

    /// Tells where a BAR is, how long, and of which kind. BARs have the numbers 0 to 5; the second half of one
    /// with 64 bits has none. 6 is the ROM.
    ///
    /// # Errors
    ///
    /// - [`Error::Device`] with [`Problem::NoBar`]: there is no such BAR, or it was given no address.
    /// - As for [`id`](Self::id).
    pub fn bar(&self, bar: u8) -> Result<Bar, Error> {
        // Lines of three numbers, 57 bytes each. The first seven are those of the BARs and the ROM.
        let mut buffer = [0; 399];
        let text = self.file("resource").read(&mut buffer);
        bar_of(text.map_err(or_not_found)?, bar)
    }

    /// Maps a BAR for reading and writing, without a cache and, unless it is mapped by
    /// [`map_write_combined`](Self::map_write_combined) at the same time, without combining. Where no driver has the function, call
    /// [`enable`](Self::enable) before the first access.
    ///
    /// # Errors
    ///
    /// - As for [`bar`](Self::bar).
    /// - [`Error::Device`] with [`Problem::PortBar`]: it is of I/O ports. With [`Problem::Unmappable`]: the kernel has
    ///   no file for it, as for the ROM, or keeps it for its driver (`IO_STRICT_DEVMEM`).
    /// - [`Error::Sys`]: no permission (`EACCES`, `EPERM` in lockdown), or no room in the address space (`ENOMEM`).
    /// - [`Error::TooLong`]: the BAR does not fit in the address space.
    ///
    /// # Safety
    ///
    /// - What is read and written through the window does not make the device access memory that this program
    ///   uses. Nothing else uses a BAR that is memory, in a way that the program relies on.
    /// - No other window or driver uses the registers at the same time, unless the device allows that.
    pub unsafe fn map(&self, bar: u8) -> Result<Window, Error> {
        self.window(bar, "", Open::READ_WRITE)
    }

    /// Like [`map`](Self::map), for reading only: a write is [`Error::Protected`].
    ///
    /// # Errors
    ///
    /// - As for [`map`](Self::map).
    ///
    /// # Safety
    ///
    /// - As for [`map`](Self::map).
    pub unsafe fn map_read_only(&self, bar: u8) -> Result<Window, Error> {
        self.window(bar, "", Open::READ)
    }

    /// Like [`map`](Self::map), with stores that the machine may combine and hold back: for frame buffers and other memory of a
    /// prefetchable BAR, which is written several times as fast so. Never for registers.
    ///
    /// Stores reach the device later, together and in any order, until [`Window::barrier`]. The file `resourceN_wc` is there on aarch64
    /// (Linux 5.10), x86 with PAT, and powerpc.
    ///
    /// One kind at a time: on x86 what is mapped first decides for all maps of these pages, also those of another process and of a driver, and
    /// no error tells; on aarch64 nothing orders accesses of both kinds.
    ///
    /// # Errors
    ///
    /// - As for [`map`](Self::map). [`Problem::Unmappable`], too, where the BAR is not prefetchable, or the architecture has no such maps.
    ///
    /// # Safety
    ///
    /// - As for [`map`](Self::map). What accesses registers of the BAR through another map does not rely on their order.
    pub unsafe fn map_write_combined(&self, bar: u8) -> Result<Window, Error> {
        self.window(bar, "_wc", Open::READ_WRITE)
    }

    fn window(&self, bar: u8, kind_of_map: &'static str, how: Open) -> Result<Window, Error> {
        let Bar { address, len, kind } = self.bar(bar)?;
        if kind == Kind::Port {
            return Err(Error::Device(Problem::PortBar { bar }));
        }
        let len = usize::try_from(len).map_err(|_| Error::TooLong { len })?;
        let mut path = self.file("resource");
        let file = match path.decimal(bar.into()).text(kind_of_map).open(how) {
            // The function is there, by the lines that were read, and this is not.
            Err(Failed(_, Errno::NOENT)) => {
                return Err(Error::Device(Problem::Unmappable { bar }));
            }
            file => file?,
        };
        // The kernel maps whole pages of the machine: one that is longer than the BAR begins before it.
        let head = sys::page_size()?.offset_in_page_u64(address);
        Window::new(&file, head, len, how == Open::READ_WRITE).map_err(|error| match error {
            Error::Sys {
                call: Call::Mmap,
                errno: Errno::INVAL,
                ..
            } => Error::Device(Problem::Unmappable { bar }),
            other => other,
        })
    }

    /// Turns the function's interrupt pin on or off, by the bit *Interrupt Disable* in its command register.
    ///
    /// # Errors
    ///
    /// - As for [`id`](Self::id).
    /// - [`Error::Sys`]: no permission (`EACCES`, `EPERM` in lockdown), or the register cannot be accessed.
    pub fn set_interrupt(&self, on: bool) -> Result<(), Error> {
        let config = self.file("config").open(Open::READ_WRITE);
        let config = config.map_err(or_not_found)?;
        Ok(set_interrupt_disable(config.as_fd(), !on)?)
    }

    fn file(&self, name: &'static str) -> Path {
        let at = self.address;
        let mut path = Path::new(DEVICES);
        path.text("/").hex(at.domain, 4).text(":");
        path.hex(at.bus.into(), 2).text(":");
        path.hex(at.device.into(), 2).text(".");
        path.hex(at.function.into(), 1).text("/").text(name);
        path
    }
}

/// All files that are asked for are there if the function is. An open one of a function that goes is `ENODEV`.
#[cold]
#[inline(never)]
fn or_not_found(failed: Failed) -> Error {
    match failed {
        Failed(_, Errno::NOENT | Errno::NODEV) => match Path::new(DEVICES).open(Open::READ) {
            Ok(_) => Error::Device(Problem::NotFound),
            Err(failed) => or_no_sysfs(failed),
        },
        _ => failed.into(),
    }
}

fn or_no_sysfs(failed: Failed) -> Error {
    match failed {
        Failed(_, Errno::NOENT) => Error::Device(Problem::NoSysfs),
        _ => failed.into(),
    }
}

/// Sets or clears *Interrupt Disable*, bit 10 of the command register, in the function's configuration space.
pub(super) fn set_interrupt_disable(config: BorrowedFd<'_>, disable: bool) -> Result<(), Failed> {
    /// The upper half of the command register, which is at 4.
    const COMMAND: u64 = 5;
    const DISABLE: u8 = 4;
    let mut command = [0];
    let failed = |call, errno| Err(Failed(call, errno));
    match sys::pread(config, &mut command, COMMAND) {
        Ok(1) => {}
        Ok(_) => return failed(Call::Read, Errno::IO),
        Err(errno) => return failed(Call::Read, errno),
    }
    let bit = if disable { DISABLE } else { 0 };
    let wanted = command.map(|bits| bits & !DISABLE | bit);
    if wanted == command {
        return Ok(());
    }
    match sys::pwrite(config, &wanted, COMMAND) {
        Ok(1) => Ok(()),
        Ok(_) => failed(Call::Write, Errno::IO),
        Err(errno) => failed(Call::Write, errno),
    }
}

/// From the lines of the file `resource`.
pub(super) fn bar_of(text: &[u8], bar: u8) -> Result<Bar, Error> {
    const PORT: u64 = 0x100;
    const MEMORY: u64 = 0x200;
    const PREFETCHABLE: u64 = 0x2000;
    const UNSET: u64 = 0x2000_0000;
    let wrong = || Error::Device(Problem::Text { file: "resource" });
    let [address, last, flags] = match bar {
        0..=6 => line_of(text, bar).ok_or_else(wrong)?,
        _ => [0; 3],
    };
    if flags & (PORT | MEMORY) == 0 || flags & UNSET != 0 {
        return Err(Error::Device(Problem::NoBar { bar }));
    }
    let len = last.checked_sub(address).and_then(|len| len.checked_add(1));
    Ok(Bar {
        address,
        len: len.ok_or_else(wrong)?,
        kind: if flags & PORT != 0 {
            Kind::Port
        } else {
            Kind::Memory {
                prefetchable: flags & PREFETCHABLE != 0,
            }
        },
    })
}

/// The first address, the last address, and what the kernel knows of it.
fn line_of(text: &[u8], bar: u8) -> Option<[u64; 3]> {
    // Whole lines only: no number is cut.
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.nth(bar.into())?;
    lines.next()?;
    let mut words = line.split(|byte| *byte == b' ');
    let mut numbers = [0; 3];
    for number in &mut numbers {
        *number = hex(words.next()?)?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"0x0000000010100000 0x0000000010100fff 0x0000000000040200\n\
        0x0000000000001000 0x00000000000010ff 0x0000000000040101\n\
        0x0000008000000000 0x00000083ffffffff 0x000000000014220c\n\
        0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
        0x0000000000000000 0x0000000000000fff 0x0000000020040200\n\
        0x0000000000000010 0x000000000000000f 0x0000000000040200\n\
        0x0000000000000000 0x00000000zz";

    #[test]
    fn lines_of_resource_are_bars() {
        let plain = Kind::Memory {
            prefetchable: false,
        };
        let large = Kind::Memory { prefetchable: true };
        for (bar, address, len, kind) in [
            (0, 0x1010_0000, 4096, plain),
            (1, 0x1000, 256, Kind::Port),
            (2, 0x80_0000_0000, 0x4_0000_0000, large),
        ] {
            assert_eq!(bar_of(TEXT, bar), Ok(Bar { address, len, kind }));
        }
        for bar in [3, 4, 7, 255] {
            let missing = Error::Device(Problem::NoBar { bar });
            assert_eq!(bar_of(TEXT, bar), Err(missing), "{bar}");
        }
        let wrong = Err(Error::Device(Problem::Text { file: "resource" }));
        // Ends before it begins; and what may have been cut.
        let cut = b"0x1000 0x1fff 0x200";
        for (text, bar) in [(TEXT, 5), (TEXT, 6), (b"", 0), (b"0x0 0x0\n", 0), (cut, 0)] {
            assert_eq!(bar_of(text, bar), wrong);
        }
    }
}
