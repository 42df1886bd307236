//! A driver in user space: factorials, computed by the device `edu` of QEMU, which says by an interrupt when it is done.
//!
//! ```text
//! RAWMAP_MACHINE=aarch64 cargo run --target aarch64-unknown-linux-gnu --package rawmap --features device \
//!     --example uio_driver
//! ```
//!
//! boots a machine that has the device, and runs this there (once, before:
//! `targets/setup --system aarch64-unknown-linux-gnu`). On a board with another PCI device, change the numbers, the
//! registers and the map; on a platform bus, open the device by `Uio::find`.

#![allow(
    clippy::std_instead_of_core,
    clippy::arithmetic_side_effects,
    reason = "a program, not the library: constants and small numbers"
)]

use std::fs;
use std::io;
use std::time::Duration;

use rawmap::device::Window;
use rawmap::device::pci::Function;
use rawmap::device::uio::Uio;

/// Vendor and device.
const EDU: (u16, u16) = (0x1234, 0x11e8);

// Offsets of its registers, of 32 bits each.
const IDENTIFICATION: usize = 0x00;
const FACTORIAL: usize = 0x08;
const STATUS: usize = 0x20;
const INTERRUPT_CAUSE: usize = 0x24;
const INTERRUPT_ACKNOWLEDGE: usize = 0x64;

/// In STATUS: raise the interrupt when the factorial is there.
const INTERRUPT_WHEN_DONE: u32 = 0x80;

/// The device, with its interrupts.
struct Edu {
    device: Uio,
    registers: Window,
}

impl Edu {
    fn open() -> io::Result<Self> {
        let function = Function::find(EDU.0, EDU.1)?;
        let bar = function.bar(0)?;
        println!(
            "edu is at {}, its registers at {:#x}",
            function.address(),
            bar.address
        );
        let device = Uio::open(bind_to_uio(function)?)?;
        // SAFETY: the only map of this device is its registers. Those that are used here access no memory, and
        // nothing else uses them.
        let mut registers = unsafe { device.map(0)? };
        let identification: u32 = registers.read(IDENTIFICATION)?;
        if identification & 0xFF != 0xED {
            return Err(io::Error::other(format!("not edu: {identification:#x}")));
        }
        Ok(Self { device, registers })
    }

    /// `None` if the device does not answer in ten seconds, or the result has more than 32 bits.
    fn factorial(&mut self, number: u32) -> io::Result<Option<u32>> {
        if number > 12 {
            return Ok(None);
        }
        self.registers.write(STATUS, INTERRUPT_WHEN_DONE)?;
        // Before it can come.
        self.device.enable_interrupts()?;
        self.registers.write(FACTORIAL, number)?;
        if self.device.wait(Some(Duration::from_secs(10)))?.is_none() {
            return Ok(None);
        }
        let cause: u32 = self.registers.read(INTERRUPT_CAUSE)?;
        self.registers.write(INTERRUPT_ACKNOWLEDGE, cause)?;
        Ok(Some(self.registers.read(FACTORIAL)?))
    }
}

/// Has the kernel's generic driver take the device, as `driverctl` or a udev rule does on a board. Gives the number
/// of its UIO device.
fn bind_to_uio(function: Function) -> io::Result<u32> {
    let address = function.address();
    let folder = format!("/sys/bus/pci/devices/{address}/uio");
    let driver = "/sys/bus/pci/drivers/uio_pci_generic";
    if !fs::exists(&folder)? {
        let numbers = format!("{:x} {:x}", EDU.0, EDU.1);
        match fs::write(format!("{driver}/new_id"), numbers) {
            // It knows them already.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::write(format!("{driver}/bind"), address.to_string())?;
            }
            Err(error) => {
                let what = format!("{driver}: {error}: is the module loaded?");
                return Err(io::Error::new(error.kind(), what));
            }
            Ok(()) => {}
        }
    }
    let other = || io::Error::other(format!("no {folder}: another driver has the device"));
    let mut entries = fs::read_dir(&folder).map_err(|_| other())?;
    let name = entries.next().ok_or_else(other)??.file_name();
    let number = name.to_str().and_then(|name| name.strip_prefix("uio"));
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(other)
}

fn main() -> io::Result<()> {
    let mut edu = Edu::open()?;
    for number in [0, 5, 10, 12, 13] {
        match edu.factorial(number)? {
            Some(factorial) => println!("{number}! = {factorial}"),
            None => println!("{number}! is too much for it"),
        }
    }
    Ok(())
}
