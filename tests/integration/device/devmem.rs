//! Physical addresses, through `/dev/mem`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rawmap::Error;
use rawmap::device::{Problem, devmem};
use rawmap_core::Errno;
use rawmap_tests::machine;

use super::{EDU, IVSHMEM, check_edu, function, turn, window};

/// A range of `/proc/iomem` whose name starts so.
fn iomem(start: &str) -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/iomem").unwrap();
    text.lines().find_map(|line| {
        let (range, name) = line.split_once(" : ")?;
        let (first, last) = range.trim().split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        name.starts_with(start)
            .then(|| (number(first), number(last) - number(first) + 1))
    })
}

/// Tells whether this kernel was built with `STRICT_DEVMEM`, as Debian's are and those of `qemu/kernel/` are not.
fn is_strict() -> bool {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../qemu/machines.toml");
    let rows: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    let machines = rows["machine"].as_array().unwrap();
    let name = machine().unwrap();
    let row = machines
        .iter()
        .find(|row| row["name"].as_str() == Some(&name));
    row.unwrap()["kernel"].as_str() == Some("debian")
}

#[test]
fn maps_any_physical_address() {
    let Some(_turn) = turn("device::devmem::maps_any_physical_address") else {
        return;
    };
    let edu = function(EDU).bar(0).unwrap();
    // SAFETY: registers of a device that is there for tests; none that is used here makes it access memory.
    check_edu(&mut unsafe { devmem::map(edu.address, 1 << 20) }.unwrap());
    // From an odd byte on: the first register of the window is the device's second.
    // SAFETY: as above.
    let mut odd = unsafe { devmem::map(edu.address + 3, 21) }.unwrap();
    odd.write(1, 7u32).unwrap();
    assert_eq!(odd.read::<u32>(1), Ok(!7));
    assert!(odd.read::<u32>(0).is_err());
    assert!(odd.read::<u32>(21).is_err());
    // Memory of a device, above 4 GiB where the board has such addresses, also on 32 bit.
    let function = function(IVSHMEM);
    let memory = function.bar(2).unwrap();
    eprintln!("memory of a device at {:#x}", memory.address);
    let board_has = machine().unwrap() != "armv7";
    assert!(!board_has || memory.address >> 32 != 0);
    window(&function, 2).write(4096, 0x600d_f00du32).unwrap();
    // SAFETY: memory that nobody else uses.
    let high = unsafe { devmem::map_read_only(memory.address + 4096, 4) }.unwrap();
    assert_eq!(high.read_pure::<u32>(0), Ok(0x600d_f00d));
}

#[test]
fn says_why_not() {
    let Some(_turn) = turn("device::devmem::says_why_not") else {
        return;
    };
    let refused = |address, len| {
        // SAFETY: it is not accessed.
        unsafe { devmem::map_read_only(address, len) }.map(drop)
    };
    // No machine has so many address bits.
    for address in [1 << 56, i64::MAX as u64 - 4095, u64::MAX - 4095] {
        let error = refused(address, 4096).expect_err(&format!("{address:#x}"));
        assert!(
            matches!(
                error,
                Error::Device(Problem::Physical { address: told, len: 4096, errno })
                    if told == address && errno != Errno::PERM
            ),
            "{error:?}"
        );
    }
    // Nor is there anything at the end of them.
    assert!(refused(1 << 56, 0).is_err());
    let long = refused(0, usize::MAX);
    assert!(matches!(long, Err(Error::TooLong { .. })), "{long:?}");
    if is_strict() {
        let (address, len) = (iomem("System RAM").unwrap().0 + (64 << 20), 4096);
        let errno = Errno::PERM;
        let kept = Error::Device(Problem::Physical {
            address,
            len,
            errno,
        });
        assert_eq!(refused(address, 4096), Err(kept));
        let told = std::io::Error::from(kept);
        assert_eq!(told.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(told.to_string().contains("STRICT_DEVMEM"), "{told}");
    }
}

/// The board's clock: where its registers are, its driver, and what the driver calls the device.
fn clock() -> (u64, &'static Path, &'static str) {
    if cfg!(target_arch = "riscv64") {
        let driver = Path::new("/sys/bus/platform/drivers/goldfish_rtc");
        (0x10_1000, driver, "101000.rtc")
    } else {
        let driver = Path::new("/sys/bus/amba/drivers/rtc-pl031");
        (0x0901_0000, driver, "9010000.pl031")
    }
}

#[test]
fn reads_the_clock_when_its_driver_lets_go() {
    let Some(_turn) = turn("device::devmem::reads_the_clock_when_its_driver_lets_go") else {
        return;
    };
    let (address, driver, name) = clock();
    // SAFETY: a clock, that is read.
    let map = || unsafe { devmem::map_read_only(address, 0x20) };
    let bound = driver.join(name).exists();
    if bound && is_strict() {
        let (len, errno) = (0x20, Errno::PERM);
        let kept = Error::Device(Problem::Physical {
            address,
            len,
            errno,
        });
        assert_eq!(map().map(drop), Err(kept));
    }
    if bound {
        fs::write(driver.join("unbind"), name).unwrap();
    }
    let mut registers = map().unwrap();
    let mut now = || registers.read::<u32>(0).unwrap();
    let (start, first) = (Instant::now(), now());
    while now() == first {
        assert!(start.elapsed() < Duration::from_secs(60), "it stands still");
    }
    if !cfg!(target_arch = "riscv64") {
        // What it is called, at the end of its page.
        // SAFETY: as above.
        let end = unsafe { devmem::map_read_only(address + 0xfe0, 0x20) }.unwrap();
        let id = [0x00, 0x04, 0x10, 0x14].map(|at| end.read_pure::<u32>(at).unwrap());
        assert_eq!(id, [0x31, 0x10, 0x0d, 0xf0]);
    }
    if bound {
        fs::write(driver.join("bind"), name).unwrap();
    }
}
