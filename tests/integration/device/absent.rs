//! What needs no device: addresses, devices that are not there, and texts.

use rawmap::Error;
use rawmap::device::Problem;
use rawmap::device::pci::{Address, Function};
use rawmap::device::uio::Uio;
use rawmap_core::{Call, Errno};

#[test]
fn addresses_of_pci_functions_are_read_and_shown() {
    for (text, want, shown) in [
        ("0000:00:02.0", (0, 0, 2, 0), "0000:00:02.0"),
        ("00:1f.7", (0, 0, 31, 7), "0000:00:1f.7"),
        ("1a2b3:fF:00.3", (0x1a2b3, 255, 0, 3), "1a2b3:ff:00.3"),
    ] {
        let at: Address = text.parse().unwrap();
        assert_eq!((at.domain, at.bus, at.device, at.function), want);
        assert_eq!(at.to_string(), shown);
    }
    for text in [
        "",
        ":",
        "0",
        "00:02",
        "00:20.0",
        "00:02.8",
        "00:02.0.0",
        "0:0000:00:02.0",
        "00:02.0 ",
        "100000000:00:02.0",
        "000:00:0x2.0",
        "0x00:00:02.0",
        "0000:000:02.0",
        "0000:00:02.",
        "0000::02.0",
        "+0:02.0",
    ] {
        let wrong = Err(Error::Device(Problem::Address));
        assert_eq!(text.parse::<Address>(), wrong, "{text:?}");
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let (call, errno) = (Call::Open, Errno::NOENT);
    let open = Uio::open(u32::MAX).map(drop);
    assert_eq!(
        open,
        Err(Error::Sys {
            call,
            errno,
            offset: 0,
            len: 0
        })
    );
    let absent = |result: Result<(), Error>| {
        // A machine may have none of its kind at all.
        let (found, sysfs) = (Problem::NotFound, Problem::NoSysfs);
        result == Err(Error::Device(found)) || result == Err(Error::Device(sysfs))
    };
    assert!(absent(Uio::find("rawmap has no such device").map(drop)));
    // Longer than any name: not the device whose name begins so.
    let long = Uio::find(&"long".repeat(40)).map(drop);
    assert_eq!(long, Err(Error::Device(Problem::Text { file: "name" })));
    let nowhere = Function::new("ffffffff:ff:1f.7".parse().unwrap());
    assert!(absent(nowhere.id().map(drop)));
    assert!(absent(nowhere.bar(0).map(drop)));
    assert!(absent(nowhere.enable()));
    assert!(absent(nowhere.set_interrupt(true)));
    assert!(absent(Function::find(0xffff, 0xfffe).map(drop)));
}

#[test]
fn problems_say_what_is_wrong() {
    let physical = |errno| Problem::Physical {
        address: 0x900_0000,
        len: 4,
        errno,
    };
    let (first, second) = (0, 2);
    for (problem, text) in [
        (
            physical(Errno::PERM),
            "the kernel keeps 4 bytes of physical memory at 0x9000000 from programs: a driver has them, or they are \
             RAM (STRICT_DEVMEM)",
        ),
        (
            physical(Errno::INVAL),
            "no 4 bytes of physical memory at 0x9000000 can be mapped: ",
        ),
        (
            Problem::PortBar { bar: 1 },
            "BAR 1 is of I/O ports, which cannot be mapped",
        ),
        (
            Problem::Unmappable { bar: 6 },
            "the kernel does not map BAR 6 for programs: it is the ROM, or a driver has it",
        ),
        (
            Problem::SameName { first, second },
            "uio0 and uio2 both have this name",
        ),
        (
            Problem::Text { file: "resource" },
            "resource in sysfs does not say what it should",
        ),
        (
            Problem::Disabled,
            "the function is enabled, but its memory addresses are off",
        ),
    ] {
        let shown = Error::Device(problem).to_string();
        assert!(shown.starts_with(text), "{shown}");
    }
}
