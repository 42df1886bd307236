//! [`Problem`]: what is wrong with a device, or with what was asked of it.

use core::fmt;

use super::Errno;
use super::name::Name;

/// Says why a device gives no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Problem {
    /// The kernel does not map these physical addresses for programs.
    Physical {
        /// The first address.
        address: u64,
        /// Length in bytes.
        len: u64,
        /// `EPERM`: a driver has them, or they are RAM, and the kernel is built with `STRICT_DEVMEM` or
        /// `IO_STRICT_DEVMEM`. `EINVAL`: the machine has no such addresses, or they are mapped with another kind of
        /// cache.
        #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
        errno: Errno,
    },
    /// The BAR is of I/O ports, which have no addresses in memory.
    PortBar {
        /// Its number.
        bar: u8,
    },
    /// The kernel does not map the BAR for programs: it is the ROM, or a driver has it and the kernel is built with
    /// `IO_STRICT_DEVMEM`, or it maps no BARs at all here.
    Unmappable {
        /// Its number.
        bar: u8,
    },
    /// The function has no such BAR, or it was given no address.
    NoBar {
        /// Its number.
        bar: u8,
    },
    /// The UIO device has no such map.
    NoMap {
        /// Its number.
        map: u8,
    },
    /// The PCI function was enabled, and answers at none of its memory addresses nevertheless.
    Disabled,
    /// No device has this name, this address or these numbers.
    NotFound,
    /// sysfs is not mounted on `/sys`, or the kernel has no such class of devices.
    NoSysfs,
    /// Two UIO devices have this name.
    SameName {
        /// Number of one.
        first: u32,
        /// Number of the other.
        second: u32,
    },
    /// A file of sysfs does not say what it should, or is too long to be that.
    Text {
        /// Its name.
        file: &'static str,
    },
    /// Not the address of a PCI function.
    Address,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Physical {
                address,
                len,
                errno: Errno::PERM,
            } => write!(
                f,
                "the kernel keeps {len} bytes of physical memory at {address:#x} from programs: a driver has \
                 them, or they are RAM (STRICT_DEVMEM)"
            ),
            Self::Physical {
                address,
                len,
                errno,
            } => write!(
                f,
                "no {len} bytes of physical memory at {address:#x} can be mapped: {}",
                Name(errno)
            ),
            Self::PortBar { bar } => {
                write!(f, "BAR {bar} is of I/O ports, which cannot be mapped")
            }
            Self::Unmappable { bar } => write!(
                f,
                "the kernel does not map BAR {bar} for programs: it is the ROM, or a driver has it"
            ),
            Self::NoBar { bar } => write!(f, "there is no BAR {bar}, or it has no address"),
            Self::NoMap { map } => write!(f, "the UIO device has no map {map}"),
            Self::Disabled => {
                f.write_str("the function is enabled, but its memory addresses are off")
            }
            Self::NotFound => f.write_str("there is no such device"),
            Self::NoSysfs => {
                f.write_str("there are no such devices in /sys: is sysfs mounted there?")
            }
            Self::SameName { first, second } => {
                write!(f, "uio{first} and uio{second} both have this name")
            }
            Self::Text { file } => write!(f, "{file} in sysfs does not say what it should"),
            Self::Address => {
                f.write_str("a PCI address is DOMAIN:BUS:DEVICE.FUNCTION, such as 0000:00:02.0")
            }
        }
    }
}
