//! Windows to the registers of devices that QEMU emulates, on the kernels of `cargo qemu`:
//!
//! - `edu`: takes 32 bits below 0x80 and 32 or 64 above, and nothing else, so that an access that works had that width;
//! - `pci-testdev`: counts writes. A write of one byte to its "wildcard" address rings a bell and is not
//!   counted, a wider one that reaches that address is;
//! - `ivshmem-plain`: a BAR of 256 bytes, less than any page, and one of memory, above 4 GiB where the board can;
//! - `lsi53c895a`: two BARs that the generic UIO driver gives as maps;
//! - the board's clock.

mod absent;
mod devmem;
mod dmabuf;
mod memory;

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rawmap::device::pci::{Bar, Function, Kind};
use rawmap::device::uio::Uio;
use rawmap::device::{Problem, Window};
use rawmap::{Error, page_size};
use rawmap_core::{Call, Errno};
use rawmap_tests::{command, machine, skip};
use safe_mmio::fields::{ReadPure, ReadPureWrite};

const EDU: (u16, u16) = (0x1234, 0x11e8);
const TESTDEV: (u16, u16) = (0x1b36, 0x0005);
const IVSHMEM: (u16, u16) = (0x1af4, 0x1110);
const LSI: (u16, u16) = (0x1000, 0x0012);

/// The devices are one, the tests are many.
static TURN: Mutex<()> = Mutex::new(());

/// The turn of a test, where there are devices.
fn turn(test: &str) -> Option<MutexGuard<'static, ()>> {
    if machine().is_none() {
        skip(test, "needs QEMU's devices: a guest of `cargo qemu`");
        return None;
    }
    if rawmap_tests::no_registers() {
        skip(
            test,
            "this machine has none of QEMU's devices with registers",
        );
        return None;
    }
    Some(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

fn function((vendor, device): (u16, u16)) -> Function {
    let function = Function::find(vendor, device).unwrap();
    assert_eq!(function.id(), Ok((vendor, device)));
    function.enable().unwrap();
    function
}

fn window(function: &Function, bar: u8) -> Window {
    // SAFETY: registers of a device that is there for tests; none that is used here makes it access memory.
    unsafe { function.map(bar) }.unwrap()
}

/// Has the generic driver take a device, and gives the number that it has from then on.
fn bind(id: (u16, u16)) -> u32 {
    let function = function(id);
    let driver = Path::new("/sys/bus/pci/drivers/uio_pci_generic");
    let device = Path::new("/sys/bus/pci/devices").join(function.address().to_string());
    if !device.join("driver").exists() {
        let numbers = format!("{:x} {:x}", id.0, id.1);
        // The kernel has the numbers already where a test took the driver off.
        let _ = fs::write(driver.join("new_id"), numbers);
        let _ = fs::write(driver.join("bind"), function.address().to_string());
    }
    let entry = fs::read_dir(device.join("uio")).unwrap().next().unwrap();
    let name = entry.unwrap().file_name();
    let number = name.to_str().unwrap().strip_prefix("uio").unwrap();
    number.parse().unwrap()
}

fn unbind(id: (u16, u16)) {
    let driver = Path::new("/sys/bus/pci/drivers/uio_pci_generic");
    let address = function(id).address().to_string();
    if driver.join(&address).exists() {
        fs::write(driver.join("unbind"), address).unwrap();
    }
}

/// What the device is known by, whatever the window.
fn check_edu(registers: &mut Window) {
    assert_eq!(registers.len(), 1 << 20);
    assert_eq!(registers.read::<u32>(0), Ok(0x0100_00ed));
    for value in [0, 0x1234_5678, u32::MAX] {
        registers.write(4, value).unwrap();
        assert_eq!(registers.read_pure::<u32>(4), Ok(!value));
    }
    registers.write(8, 10u32).unwrap();
    let start = Instant::now();
    while registers.read::<u32>(0x20).unwrap() & 1 != 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "10!");
    }
    assert_eq!(registers.read::<u32>(8), Ok(3_628_800));
    let limit = 1 << 20;
    let (offset, len) = (limit - 2, 4);
    let outside = Error::OutOfRange { offset, len, limit };
    assert_eq!(registers.read::<u32>(limit as usize - 2), Err(outside));
    assert!(matches!(
        registers.write(6, 1u32),
        Err(Error::Unaligned {
            offset: 6,
            align: 4
        })
    ));
}

#[test]
fn pci_gives_the_registers_of_edu() {
    let Some(_turn) = turn("device::pci_gives_the_registers_of_edu") else {
        return;
    };
    let function = function(EDU);
    let bar = function.bar(0).unwrap();
    let prefetchable = false;
    assert_eq!(bar.kind, Kind::Memory { prefetchable });
    assert_eq!(bar.len, 1 << 20);
    check_edu(&mut window(&function, 0));
    // SAFETY: as in `window`.
    let mut reader = unsafe { function.map_read_only(0) }.unwrap();
    assert_eq!(reader.read::<u32>(0), Ok(0x0100_00ed));
    assert_eq!(reader.write(4, 1u32), Err(Error::Protected));
}

#[test]
fn an_access_of_32_or_64_bits_is_one() {
    let Some(_turn) = turn("device::an_access_of_32_or_64_bits_is_one") else {
        return;
    };
    let mut registers = window(&function(EDU), 0);
    // A write of 32 bits to the lower half replaces the whole register; the upper half is no register.
    registers.write(0x80, 0x89ab_cdefu32).unwrap();
    assert_eq!(registers.read::<u32>(0x80), Ok(0x89ab_cdef));
    #[cfg(target_pointer_width = "64")]
    {
        // In one piece, or its upper half would be lost.
        registers.write(0x80, 0x0123_4567_89ab_cdefu64).unwrap();
        assert_eq!(registers.read::<u64>(0x80), Ok(0x0123_4567_89ab_cdef));
        // Control: in two pieces it is.
        registers.write(0x80, 0x89ab_cdefu32).unwrap();
        registers.write(0x84, 0x0123_4567u32).unwrap();
        assert_eq!(registers.read::<u64>(0x80), Ok(0x89ab_cdef));
        // Below 0x80 the device gives all ones to 64 bits; in two pieces these would be two registers.
        assert_eq!(registers.read::<u64>(0), Ok(u64::MAX));
    }
}

/// The boards' two banks of NOR flash, as a device on a platform bus with two maps.
#[test]
fn a_platform_device_has_its_maps() {
    const NAME: &str = "device::a_platform_device_has_its_maps";
    let Some(_turn) = turn(NAME) else { return };
    let driver = Path::new("/sys/bus/platform/drivers/uio_pdrv_genirq");
    if !driver.exists() {
        return skip(NAME, "this kernel has no uio_pdrv_genirq");
    }
    if std::env::var("RAWMAP_FS").as_deref() == Ok("ubifs") {
        return skip(NAME, "the flash is the disk");
    }
    let riscv = cfg!(target_arch = "riscv64");
    let flash = if riscv { "20000000.flash" } else { "0.flash" };
    let device = Path::new("/sys/bus/platform/devices").join(flash);
    let old_driver = fs::canonicalize(device.join("driver")).ok();
    if let Some(old) = &old_driver {
        fs::write(old.join("unbind"), flash).unwrap();
    }
    fs::write(device.join("driver_override"), "uio_pdrv_genirq").unwrap();
    fs::write(driver.join("bind"), flash).unwrap();
    let entry = fs::read_dir(device.join("uio")).unwrap().next().unwrap();
    let name = fs::read_to_string(entry.unwrap().path().join("name")).unwrap();
    eprintln!("{flash} is called {}", name.trim());
    let uio = Uio::find(name.trim()).unwrap();
    for number in [0, 1] {
        let map = uio.map_info(number).unwrap();
        eprintln!("{map:x?}");
        assert_eq!(map.offset, 0);
        // SAFETY: flash that nobody uses.
        let mut bank = unsafe { uio.map(number) }.unwrap();
        // Two chips of 16 bits side by side: what each is, asked by CFI, and back.
        bank.write(4 * 0x55, 0x0098_0098u32).unwrap();
        let said = [0x10, 0x11, 0x12].map(|word| bank.read::<u32>(4 * word).unwrap());
        bank.write(0, 0x00ff_00ffu32).unwrap();
        let qry = [b'Q', b'R', b'Y'].map(|letter| u32::from(letter) * 0x0001_0001);
        assert_eq!(said, qry, "bank {number}");
    }
    assert_eq!(
        uio.map_info(2),
        Err(Error::Device(Problem::NoMap { map: 2 }))
    );
    drop(uio);
    fs::write(driver.join("unbind"), flash).unwrap();
    fs::write(device.join("driver_override"), "\n").unwrap();
    if let Some(old) = old_driver {
        fs::write(old.join("bind"), flash).unwrap();
    }
}

#[test]
fn a_driver_as_a_program() {
    let Some(_turn) = turn("device::a_driver_as_a_program") else {
        return;
    };
    // As it was found.
    unbind(EDU);
    let output = command(env!("CARGO_BIN_EXE_uio-driver")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    for line in [
        "0! = 1\n",
        "5! = 120\n",
        "12! = 479001600\n",
        "13! is too much for it\n",
    ] {
        assert!(said.contains(line), "{line}");
    }
}

#[test]
fn safe_mmio_has_typed_registers() {
    /// The first of edu's.
    #[repr(C)]
    struct Registers {
        identification: ReadPure<u32>,
        liveness: ReadPureWrite<u32>,
        factorial: ReadPureWrite<u32>,
    }
    let Some(_turn) = turn("device::safe_mmio_has_typed_registers") else {
        return;
    };
    let mut window = window(&function(EDU), 0);
    let mut registers = window.registers::<Registers>(0).unwrap();
    let identification = safe_mmio::field_shared!(registers, identification).read();
    assert_eq!(identification, 0x0100_00ed);
    safe_mmio::field!(registers, liveness).write(5);
    assert_eq!(safe_mmio::field_shared!(registers, liveness).read(), !5);
    safe_mmio::field_shared!(registers, factorial).read();
    assert!(window.registers::<[u64; 1 << 18]>(0).is_err());
}

/// The test device's numbers of tests.
const PLAIN: u8 = 0;
const WILDCARD: u8 = 1;
const DATAMATCH: u8 = 2;

/// How many writes the device counts, of those to the address of one of its tests.
fn counted(registers: &mut Window, test: u8, writes: impl FnOnce(&mut Window)) -> u32 {
    registers.write(0, test).unwrap();
    // Where the three of them are, and what a match is.
    assert_eq!(registers.read::<u8>(1), Ok(1), "width");
    assert_eq!(registers.read::<u32>(4), Ok(2048 + u32::from(test)));
    let data = if test == WILDCARD { 0xce } else { 0xfa };
    assert_eq!(registers.read::<u8>(8), Ok(data));
    assert_eq!(registers.read::<u32>(12), Ok(0), "count");
    writes(registers);
    registers.read(12).unwrap()
}

#[test]
fn a_write_is_one_write_of_its_width() {
    let Some(_turn) = turn("device::a_write_is_one_write_of_its_width") else {
        return;
    };
    let function = function(TESTDEV);
    let registers = &mut window(&function, 0);
    let write8 = |at, value: u8| move |w: &mut Window| w.write(at, value).unwrap();
    let write16 = |at, value: u16| move |w: &mut Window| w.write(at, value).unwrap();
    let write32 = |at, value: u32| move |w: &mut Window| w.write(at, value).unwrap();

    // One is one, and not none or two.
    assert_eq!(counted(registers, PLAIN, write8(2048, 0xfa)), 1);
    assert_eq!(counted(registers, PLAIN, write16(2048, 0xfa)), 1);
    assert_eq!(counted(registers, PLAIN, write32(2048, 0xfa)), 1);
    let three = |w: &mut Window| (0..3).for_each(|_| w.write(2048, 0xfau8).unwrap());
    assert_eq!(counted(registers, PLAIN, three), 3);
    assert_eq!(counted(registers, PLAIN, write8(2049, 0xfa)), 0);

    // 8 bits ring the bell of the wildcard, wider ones are counted.
    assert_eq!(counted(registers, WILDCARD, write8(2049, 0xfa)), 0);
    assert_eq!(counted(registers, WILDCARD, write16(2048, 0xfafa)), 1);
    assert_eq!(counted(registers, WILDCARD, write32(2048, 0)), 1);
    // Control: 32 bits as four times 8 are seen to be that.
    let bytes = |w: &mut Window| (2048..2052).for_each(|at| w.write(at, 0u8).unwrap());
    assert_eq!(counted(registers, WILDCARD, bytes), 0);

    // 16 bits end before 2050, 32 bits reach it, and not as 8 bits: those would ring.
    assert_eq!(counted(registers, DATAMATCH, write16(2048, 0xfafa)), 0);
    assert_eq!(counted(registers, DATAMATCH, write32(2048, 0x00fa_0000)), 1);
    assert_eq!(counted(registers, DATAMATCH, write8(2050, 0xfa)), 0);

    // Reads of each width, of the same bytes.
    counted(registers, PLAIN, |_| ());
    let bytes = [4, 5, 6, 7].map(|at| registers.read::<u8>(at).unwrap());
    assert_eq!(registers.read::<u32>(4), Ok(u32::from_le_bytes(bytes)));
    let halves = [4, 6].map(|at| registers.read::<u16>(at).unwrap());
    assert_eq!(u32::from(halves[0]) | u32::from(halves[1]) << 16, 2048);
    registers.modify(2048, |_: u8| 0xfa).unwrap();
    assert_eq!(registers.read::<u32>(12), Ok(1));
}

#[test]
fn bars_that_cannot_be_mapped_are_errors() {
    let Some(_turn) = turn("device::bars_that_cannot_be_mapped_are_errors") else {
        return;
    };
    let function = function(TESTDEV);
    let refused = |bar| {
        // SAFETY: as in `window`.
        unsafe { function.map(bar) }.map(drop)
    };
    assert_eq!(function.bar(1).unwrap().kind, Kind::Port);
    let port = Error::Device(Problem::PortBar { bar: 1 });
    assert_eq!(refused(1), Err(port));
    let text = std::io::Error::from(port).to_string();
    assert_eq!(text, "BAR 1 is of I/O ports, which cannot be mapped");
    for bar in [3, 5, 7] {
        assert_eq!(refused(bar), Err(Error::Device(Problem::NoBar { bar })));
    }
}

/// The kernel counts how often a function was enabled, and the function itself knows whether it answers.
#[test]
fn enabling_reads_what_the_device_says() {
    let Some(_turn) = turn("device::enabling_reads_what_the_device_says") else {
        return;
    };
    let function = function(TESTDEV);
    let folder = Path::new("/sys/bus/pci/devices").join(function.address().to_string());
    let mut options = fs::File::options();
    options.read(true).write(true);
    let config = options.open(folder.join("config")).unwrap();
    let command = || {
        let mut command = [0];
        config.read_exact_at(&mut command, 4).unwrap();
        command[0]
    };
    assert_ne!(command() & 2, 0);
    // Now it does not answer, though it may have been enabled; then it has been, for sure.
    config.write_all_at(&[command() & !2], 4).unwrap();
    let first = function.enable();
    let disabled = Err(Error::Device(Problem::Disabled));
    assert!(first == disabled || first == Ok(()), "{first:?}");
    config.write_all_at(&[command() & !2], 4).unwrap();
    assert_eq!(function.enable(), disabled);
    // As the documentation says.
    let enabled = folder.join("enable");
    while fs::read_to_string(&enabled).unwrap().trim() != "0" {
        fs::write(&enabled, "0").unwrap();
    }
    function.enable().unwrap();
    assert_ne!(command() & 2, 0);
    window(&function, 0).read::<u32>(4).unwrap();
}

#[test]
fn a_bar_that_is_smaller_than_a_page_is_found_in_it() {
    let Some(_turn) = turn("device::a_bar_that_is_smaller_than_a_page_is_found_in_it") else {
        return;
    };
    let page = page_size().unwrap().get() as u64;
    for (id, len) in [(IVSHMEM, 256), (TESTDEV, 4096)] {
        let function = function(id);
        let Bar {
            address,
            len: found,
            ..
        } = function.bar(0).unwrap();
        eprintln!("{id:x?}: {found} bytes at {address:#x}, in pages of {page} bytes");
        assert_eq!(found, len);
        assert_eq!(window(&function, 0).len() as u64, len);
    }
    // Its registers, wherever it is in the page: two to be written, which nobody looks at without interrupts.
    let mut registers = window(&function(IVSHMEM), 0);
    registers.write(0, 0xffff_ffffu32).unwrap();
    assert_eq!(registers.read::<u32>(0), Ok(0xffff_ffff));
    // No such register, but inside.
    registers.read::<u32>(252).unwrap();
    assert!(registers.read::<u32>(256).is_err());
}

#[test]
fn uio_gives_registers_and_interrupts() {
    let Some(_turn) = turn("device::uio_gives_registers_and_interrupts") else {
        return;
    };
    unbind(LSI);
    let number = bind(EDU);
    let device = Uio::find("uio_pci_generic").unwrap();
    assert_eq!(device.number(), number);
    // What tokio asks for.
    assert_eq!(device.as_raw_fd(), device.as_fd().as_raw_fd());
    let map = device.map_info(0).unwrap();
    assert_eq!((map.offset, map.len), (0, 1 << 20));
    assert_eq!(map.address, function(EDU).bar(0).unwrap().address);
    // SAFETY: registers of a device that is there for tests; none that is used here makes it access memory.
    let mut registers = unsafe { device.map(0) }.unwrap();
    check_edu(&mut registers);
    for map in [1, 4, 255] {
        assert_eq!(
            device.map_info(map),
            Err(Error::Device(Problem::NoMap { map }))
        );
    }

    let short = Some(Duration::from_millis(20));
    let long = Some(Duration::from_secs(60));
    assert_eq!(device.wait(short), Ok(None));
    device.enable_interrupts().unwrap();
    let mut before = None;
    for cause in [1u32, 0x8000_0001] {
        registers.write(0x60, cause).unwrap();
        let count = device.wait(long).unwrap().expect("an interrupt");
        assert_eq!(registers.read::<u32>(0x24), Ok(cause));
        if let Some(before) = before.replace(count) {
            assert_eq!(count, before + 1);
        }
        // The driver has turned it off: another one is not told of.
        registers.write(0x60, 2u32).unwrap();
        assert_eq!(device.wait(short), Ok(None));
        registers.write(0x64, u32::MAX).unwrap();
        assert_eq!(registers.read::<u32>(0x24), Ok(0));
        device.enable_interrupts().unwrap();
        assert_eq!(device.wait(short), Ok(None));
    }
    // Turned off by order, it stays pending, and comes when it is turned on.
    device.disable_interrupts().unwrap();
    registers.write(0x60, 4u32).unwrap();
    assert_eq!(device.wait(short), Ok(None));
    device.enable_interrupts().unwrap();
    // Without a timeout, too.
    assert_eq!(device.wait(None).unwrap(), before.map(|count| count + 1));
    registers.write(0x64, u32::MAX).unwrap();
}

#[test]
fn each_map_of_a_uio_device_is_at_its_page() {
    let Some(_turn) = turn("device::each_map_of_a_uio_device_is_at_its_page") else {
        return;
    };
    bind(EDU);
    let number = bind(LSI);
    // Now there are two of that name.
    assert!(matches!(
        Uio::find("uio_pci_generic"),
        Err(Error::Device(Problem::SameName { .. }))
    ));
    let device = Uio::open(number).unwrap();
    let function = function(LSI);
    let page = page_size().unwrap().get();
    // BAR 0 is of ports, 1 of registers, 2 of memory: maps 0 and 1. The driver gives whole pages, and says where
    // in the first one the BAR begins.
    for (map, bar) in [(0, 1), (1, 2)] {
        let (map, bar) = (device.map_info(map).unwrap(), function.bar(bar).unwrap());
        eprintln!("{map:x?} of {bar:x?}, in pages of {page} bytes");
        assert_eq!(map.address % page as u64, 0);
        assert_eq!(map.address + map.offset as u64, bar.address);
        assert_eq!((map.offset + map.len) % page, 0);
        assert!(map.len as u64 >= bar.len && map.len as u64 - bar.len < page as u64);
    }
    // SAFETY: as in `window`.
    let mut registers = unsafe { device.map(0) }.unwrap();
    // SAFETY: as in `window`.
    let mut memory = unsafe { device.map(1) }.unwrap();
    // What is written through the device's map shows through the BAR, and the other way round.
    const SCRATCH: usize = 0x34;
    for (map, bar, offsets) in [
        (&mut registers, 1, [SCRATCH, SCRATCH]),
        (&mut memory, 2, [0, 8188]),
    ] {
        let mut same = window(&function, bar);
        for offset in offsets {
            for value in [0xdead_beefu32, 0x0123_4567] {
                map.write(offset, value).unwrap();
                assert_eq!(same.read::<u32>(offset), Ok(value));
                same.write(offset, !value).unwrap();
                assert_eq!(map.read::<u32>(offset), Ok(!value));
            }
        }
    }
    unbind(LSI);
    assert_eq!(
        Uio::open(number).map(drop),
        Err(Error::Sys {
            call: Call::Open,
            errno: Errno::NOENT,
            offset: 0,
            len: 0
        })
    );
}
