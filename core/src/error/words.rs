//! Each error: its words, and its kind for std and embedded-io.

#![allow(
    clippy::std_instead_of_alloc,
    reason = "a test of what std has of them"
)]

use std::io::ErrorKind as Std;
use std::string::ToString as _;

use embedded_io::ErrorKind as Io;

use super::*;

fn sys(errno: Errno) -> Error {
    Error::sys(Call::Mmap, errno)
}

#[test]
fn each_error_has_its_words_and_its_kind() {
    let (offset, len, limit) = (5, 10, 7);
    let range = Error::of_range(Call::Msync, Errno::IO, 4096, 8192);
    let rows = [
        (
            range,
            "msync of 8192 bytes at offset 4096: ",
            std::io::Error::from_raw_os_error(5).kind(),
            Io::Other,
        ),
        (sys(Errno::NOENT), "mmap: ", Std::NotFound, Io::NotFound),
        (
            sys(Errno::EXIST),
            "mmap: ",
            Std::AlreadyExists,
            Io::AlreadyExists,
        ),
        (sys(Errno::TIMEDOUT), "mmap: ", Std::TimedOut, Io::TimedOut),
        (
            sys(Errno::ACCESS),
            "mmap: ",
            Std::PermissionDenied,
            Io::PermissionDenied,
        ),
        (
            sys(Errno::PERM),
            "mmap: ",
            Std::PermissionDenied,
            Io::PermissionDenied,
        ),
        (
            sys(Errno::NOMEM),
            "mmap: ",
            Std::OutOfMemory,
            Io::OutOfMemory,
        ),
        (
            sys(Errno::INTR),
            "mmap: ",
            Std::Interrupted,
            Io::Interrupted,
        ),
        (
            sys(Errno::INVAL),
            "mmap: ",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            sys(Errno::NOSYS),
            "mmap: ",
            Std::Unsupported,
            Io::Unsupported,
        ),
        (
            sys(Errno::OPNOTSUPP),
            "mmap: ",
            Std::Unsupported,
            Io::Unsupported,
        ),
        (
            Error::OutOfRange { offset, len, limit },
            "range of 10 bytes at offset 5 ends past the limit of 7 bytes",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Error::PastEnd {
                offset,
                file_len: 3,
            },
            "offset 5 lies past the end of the file, which has 3 bytes",
            Std::InvalidData,
            Io::InvalidData,
        ),
        (
            Error::TooLong { len },
            "length of 10 bytes is too long for this address space",
            Std::InvalidData,
            Io::InvalidData,
        ),
        (
            Error::NoLength,
            "the file has no length of its own: give one with len()",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Error::Busy,
            "the calling thread is inside already, in an interrupted call",
            Std::ResourceBusy,
            Io::Other,
        ),
        (
            Error::NoFile,
            "the map stores to no file: it is anonymous memory or a private copy",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Error::Option { option: "stack" },
            "the option stack means nothing for this constructor",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Error::NoSpace {
                offset,
                len,
                errno: Errno::NOSPC,
            },
            "no room on the medium for 10 bytes at offset 5 of the file: ",
            Std::StorageFull,
            Io::Other,
        ),
        (
            Error::Unreachable { offset },
            "the map cannot be reached from offset 5 on: an access would raise SIGBUS",
            Std::Other,
            Io::Other,
        ),
        (
            Error::Unwritable { offset },
            "the map cannot be written from offset 5 on: the disk is full, or the file system failed",
            Std::StorageFull,
            Io::Other,
        ),
        (
            Error::Lost { offset },
            "bytes of the map from offset 5 on are lost",
            Std::Other,
            Io::Other,
        ),
        (
            Error::TooManyMaps { capacity: 128 },
            "all 128 places for contained maps are taken",
            Std::QuotaExceeded,
            Io::Other,
        ),
        (
            Error::Unaligned { offset, align: 4 },
            "the word at offset 5 has an address that is no multiple of 4",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Error::Protected,
            "the protection of the map, or of the view, does not allow this access",
            Std::PermissionDenied,
            Io::PermissionDenied,
        ),
        (
            Error::NotInUnits {
                offset,
                len,
                unit: 4,
            },
            "range of 10 bytes at offset 5 is not made of units of 4 bytes",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Error::Backing {
                offset,
                len,
                got: 9,
            },
            "a Backing lent 9 bytes where 10 were asked for at offset 5",
            Std::Other,
            Io::Other,
        ),
        (
            Error::AtEnd { len },
            "the end of the map, of 10 bytes, is reached",
            Std::WriteZero,
            Io::WriteZero,
        ),
        (
            Error::Seek { from: 5, by: -6 },
            "cannot seek by -6 bytes from position 5",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Error::PageSize { value: 12 },
            "12 bytes is not a usable page size",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Error::HugePage { bits: 99 },
            "a page of 2^99 bytes is not usable",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
    ];
    judge(&rows);
    let changes = [
        (MayChange::NoShrinkSeal, "missing seals F_SEAL_SHRINK"),
        (MayChange::NoWriteSeal, "missing seals F_SEAL_WRITE"),
        (
            MayChange::NoSeals,
            "missing seals F_SEAL_SHRINK and F_SEAL_WRITE",
        ),
        (
            MayChange::NoVerity,
            "it is not a memfd and it has no fs-verity",
        ),
        (
            MayChange::NotSealable,
            "it is not a memfd, and takes no seals",
        ),
    ];
    for (why, words) in changes {
        let text = std::format!("fd is not safe to map: {words}");
        judge(&[(
            Error::MayChange(why),
            &*text,
            Std::InvalidInput,
            Io::InvalidInput,
        )]);
    }
}

fn judge(rows: &[(Error, &str, Std, Io)]) {
    for (error, words, std, io) in rows {
        let text = error.to_string();
        // The kernel's words for a number come last.
        let is_right = text == *words || words.ends_with(": ") && text.len() > words.len();
        assert!(is_right && text.starts_with(words), "{text:?}");
        assert_eq!(embedded_io::Error::kind(error), *io, "{text}");
        let of_std = std::io::Error::from(*error);
        assert_eq!((of_std.kind(), of_std.to_string()), (*std, text));
        assert_eq!(Error::from_io(&of_std), Some(*error));
    }
}

#[test]
fn only_what_the_kernel_said_has_a_number() {
    let space = Error::NoSpace {
        offset: 0,
        len: 1,
        errno: Errno::DQUOT,
    };
    assert_eq!(space.errno(), Some(Errno::DQUOT));
    assert_eq!(sys(Errno::IO).errno(), Some(Errno::IO));
    assert_eq!(Error::Busy.errno(), None);
    assert_eq!(Error::from_io(&std::io::Error::from(Std::NotFound)), None);
}

#[cfg(feature = "device")]
#[test]
fn each_problem_of_a_device_has_its_words_and_its_kind() {
    use device::Problem;
    let physical = |errno| Problem::Physical {
        address: 0x1000,
        len: 4,
        errno,
    };
    let rows = [
        (
            physical(Errno::PERM),
            "the kernel keeps 4 bytes of physical memory at 0x1000 from programs: a driver has them, or they are RAM (STRICT_DEVMEM)",
            Std::PermissionDenied,
            Io::PermissionDenied,
        ),
        (
            physical(Errno::INVAL),
            "no 4 bytes of physical memory at 0x1000 can be mapped: ",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Problem::PortBar { bar: 1 },
            "BAR 1 is of I/O ports, which cannot be mapped",
            Std::Unsupported,
            Io::Unsupported,
        ),
        (
            Problem::Unmappable { bar: 6 },
            "the kernel does not map BAR 6 for programs: it is the ROM, or a driver has it",
            Std::Unsupported,
            Io::Unsupported,
        ),
        (
            Problem::NoBar { bar: 2 },
            "there is no BAR 2, or it has no address",
            Std::NotFound,
            Io::NotFound,
        ),
        (
            Problem::NoMap { map: 3 },
            "the UIO device has no map 3",
            Std::NotFound,
            Io::NotFound,
        ),
        (
            Problem::Disabled,
            "the function is enabled, but its memory addresses are off",
            Std::Other,
            Io::Other,
        ),
        (
            Problem::NotFound,
            "there is no such device",
            Std::NotFound,
            Io::NotFound,
        ),
        (
            Problem::NoSysfs,
            "there are no such devices in /sys: is sysfs mounted there?",
            Std::NotFound,
            Io::NotFound,
        ),
        (
            Problem::SameName {
                first: 1,
                second: 2,
            },
            "uio1 and uio2 both have this name",
            Std::AlreadyExists,
            Io::AlreadyExists,
        ),
        (
            Problem::Text { file: "resource" },
            "resource in sysfs does not say what it should",
            Std::InvalidData,
            Io::InvalidData,
        ),
        (
            Problem::Address,
            "a PCI address is DOMAIN:BUS:DEVICE.FUNCTION, such as 0000:00:02.0",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
    ];
    for (problem, words, std, io) in rows {
        judge(&[(Error::Device(problem), words, std, io)]);
    }
    assert_eq!(
        Error::Device(physical(Errno::PERM)).errno(),
        Some(Errno::PERM)
    );
}

#[cfg(feature = "record")]
#[test]
fn each_problem_of_records_has_its_words_and_its_kind() {
    use RecordProblem as Problem;
    let rows = [
        (
            Problem::Layout {
                part: 2,
                why: "no name",
            },
            "part 2 of the layout: no name",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Problem::NoPart,
            "the layout has no part of this name and kind",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Problem::TooLong { len: 9, limit: 8 },
            "9 bytes are too long for a part that takes 8 bytes",
            Std::InvalidInput,
            Io::InvalidInput,
        ),
        (
            Problem::Full,
            "the log is full, and keeps its oldest records",
            Std::StorageFull,
            Io::Other,
        ),
        (
            Problem::Damaged { offset: 64 },
            "damaged at offset 64",
            Std::InvalidData,
            Io::InvalidData,
        ),
        (
            Problem::Foreign,
            "the file holds something else",
            Std::InvalidData,
            Io::InvalidData,
        ),
        (
            Problem::Version { found: 2, want: 1 },
            "the file is of version 2, and the program of version 1",
            Std::InvalidData,
            Io::InvalidData,
        ),
        (
            Problem::OtherParts,
            "the file is of this name, and has other parts than the layout",
            Std::InvalidData,
            Io::InvalidData,
        ),
        (
            Problem::Length { found: 5, want: 6 },
            "5 bytes are there, and 6 are wanted",
            Std::InvalidData,
            Io::InvalidData,
        ),
    ];
    for (problem, words, std, io) in rows {
        judge(&[(Error::Record(problem), words, std, io)]);
    }
}
