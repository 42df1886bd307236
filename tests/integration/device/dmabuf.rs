//! Buffers of devices: that each begin has its end, on every path, with a kernel that is a thread of the test; and, where the
//! kernel has some, that what is written reaches the other side.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rawmap::device::Problem;
use rawmap::device::dmabuf::{Access, DmaBuf};
use rawmap::memfd::{MemfdOptions, Seals, add_seals};
use rawmap::{Call, Errno, Error};
use rawmap_tests::calls::answer_ioctls;
use rawmap_tests::skip;
use rustix::ioctl::{Opcode, opcode};

use crate::libc_page_size;

const SYNC: Opcode = opcode::write::<u64>(b'b', 0);
const START: u64 = 0;
const END: u64 = 4;
const READ: u64 = 1;
const WRITE: u64 = 2;

fn memfd(len: usize) -> File {
    let file = MemfdOptions::new().create("buffer").unwrap();
    file.set_len(len as u64).unwrap();
    file
}

/// What a kernel is asked by `body`, which gets a file that looks like a dma-buf. `answers` are the errors of the first calls.
fn asked(
    answers: &[i32],
    body: impl FnOnce(&mut DmaBuf) + Send + std::panic::UnwindSafe,
) -> Option<Vec<u64>> {
    let mut calls = Vec::new();
    let answer = |flags: u64| {
        // SAFETY: the thread that asks waits with its own word of 64 bits.
        calls.push(unsafe { std::ptr::with_exposed_provenance::<u64>(flags as usize).read() });
        answers.get(calls.len() - 1).copied().unwrap_or(0)
    };
    let mut buffer = DmaBuf::new(OwnedFd::from(memfd(4096))).unwrap();
    answer_ioctls(SYNC, answer, || body(&mut buffer))?;
    Some(calls)
}

#[test]
fn each_begin_has_one_end() {
    const NAME: &str = "device::dmabuf::each_begin_has_one_end";
    let Some(calls) = asked(&[], |buffer| {
        let cpu = buffer.begin(Access::Write).unwrap();
        cpu.shared().write(0, b"frame").unwrap();
        cpu.end().unwrap();
    }) else {
        return skip(NAME, "the kernel cannot ask what an ioctl is to do");
    };
    assert_eq!(calls, [WRITE | START, WRITE | END]);

    // Dropped, left early, and left by a panic.
    let calls = asked(&[], |buffer| {
        fn early(buffer: &mut DmaBuf) -> Result<(), Error> {
            let cpu = buffer.begin(Access::Read)?;
            cpu.shared().read(4000, &mut [0; 100])
        }
        drop(buffer.begin(Access::ReadWrite).unwrap());
        early(buffer).unwrap_err();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            let _cpu = buffer.begin(Access::Write).unwrap();
            std::panic::resume_unwind(Box::new(7));
        }));
        assert!(panic.is_err());
    });
    let both = READ | WRITE;
    let pairs = [both, READ, WRITE].map(|flags| [flags | START, flags | END]);
    assert_eq!(calls.unwrap(), pairs.concat());

    // The control: a begin that is forgotten has none.
    let calls = asked(&[], |buffer| {
        std::mem::forget(buffer.begin(Access::Read).unwrap());
    });
    assert_eq!(calls.unwrap(), [READ | START]);
}

#[test]
fn what_fails_is_told_and_what_is_interrupted_is_repeated() {
    const NAME: &str = "device::dmabuf::what_fails_is_told_and_what_is_interrupted_is_repeated";
    let failed = |errno| Error::Sys {
        call: Call::Ioctl,
        errno,
        offset: 0,
        len: 0,
    };
    // No end is due of a begin that failed.
    let Some(calls) = asked(&[libc::EIO], |buffer| {
        let refused = buffer.begin(Access::Read).map(drop);
        assert_eq!(refused, Err(failed(Errno::IO)));
    }) else {
        return skip(NAME, "the kernel cannot ask what an ioctl is to do");
    };
    assert_eq!(calls, [READ]);
    // An end that failed is told, and not repeated.
    let calls = asked(&[0, libc::ENODEV], |buffer| {
        let refused = buffer.begin(Access::Write).unwrap().end();
        assert_eq!(refused, Err(failed(Errno::NODEV)));
    });
    assert_eq!(calls.unwrap(), [WRITE, WRITE | END]);
    let (again, interrupted) = (libc::EAGAIN, libc::EINTR);
    let calls = asked(&[interrupted, again, 0, again, interrupted, 0], |buffer| {
        buffer.begin(Access::Read).unwrap().end().unwrap();
    });
    let ends = [READ | END; 3];
    assert_eq!(calls.unwrap(), [[READ; 3], ends].concat());
    // Not for ever.
    let endless = [interrupted; 2000];
    let calls = asked(&endless, |buffer| {
        let refused = buffer.begin(Access::Read).map(drop);
        assert_eq!(refused, Err(failed(Errno::INTR)));
    });
    assert_eq!(calls.unwrap().len(), 1000);
}

#[test]
fn what_is_no_buffer_is_an_error() {
    let mut none = DmaBuf::new(OwnedFd::from(memfd(4096))).unwrap();
    assert_eq!(none.len(), 4096);
    let refused = none.begin(Access::Read).map(drop).unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::NOTTY));
    let socket = std::os::unix::net::UnixStream::pair().unwrap().0;
    let refused = DmaBuf::new(OwnedFd::from(socket)).map(drop).unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::SPIPE));
    for name in [
        "",
        ".",
        "..",
        "../null",
        "no\0such",
        "none",
        &"x".repeat(300),
    ] {
        let refused = DmaBuf::from_heap(name, 4096).map(drop);
        assert_eq!(refused, Err(Error::Device(Problem::NotFound)), "{name:?}");
    }
}

#[test]
fn a_buffer_for_reading_is_not_written() {
    const NAME: &str = "device::dmabuf::a_buffer_for_reading_is_not_written";
    let file = memfd(4096);
    file.write_at(b"frame", 0).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let reading = File::open(path).unwrap();
    let body = || {
        let mut buffer = DmaBuf::new(OwnedFd::from(reading)).unwrap();
        assert_eq!(buffer.begin(Access::Write).map(drop), Err(Error::Protected));
        let cpu = buffer.begin(Access::Read).unwrap();
        let mut bytes = [0; 5];
        cpu.shared().read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"frame");
        assert_eq!(cpu.shared().store(0, 1_u8), Err(Error::Protected));
    };
    let mut calls = 0;
    let count = |_| {
        calls += 1;
        0
    };
    match answer_ioctls(SYNC, count, body) {
        Some(()) => assert_eq!(calls, 2),
        None => skip(NAME, "the kernel cannot ask what an ioctl is to do"),
    }
}

/// The pages of a memfd as a dma-buf: what one side writes, the other reads.
#[test]
fn the_pages_of_a_memfd_are_a_buffer() {
    const NAME: &str = "device::dmabuf::the_pages_of_a_memfd_are_a_buffer";
    let page = libc_page_size();
    let file = memfd(4 * page);
    let refused = DmaBuf::from_memfd(&file, 0, page).map(drop);
    if refused == Err(Error::Device(Problem::NotFound)) {
        return skip(NAME, "this kernel has no /dev/udmabuf");
    }
    // It can still shrink.
    assert_eq!(refused.unwrap_err().errno(), Some(Errno::INVAL));
    add_seals(&file, Seals::SHRINK).unwrap();
    for (offset, len) in [(1, page), (0, page + 1), (4 * page as u64, page), (0, 0)] {
        let refused = DmaBuf::from_memfd(&file, offset, len).map(drop);
        assert_eq!(
            refused.unwrap_err().errno(),
            Some(Errno::INVAL),
            "{offset} {len}"
        );
    }
    let mut buffer = DmaBuf::from_memfd(&file, page as u64, 2 * page).unwrap();
    assert_eq!(buffer.len(), 2 * page);
    let cpu = buffer.begin(Access::Write).unwrap();
    cpu.shared().write(page - 2, b"from the program").unwrap();
    cpu.end().unwrap();
    let mut bytes = [0; 16];
    file.read_exact_at(&mut bytes, 2 * page as u64 - 2).unwrap();
    assert_eq!(&bytes, b"from the program");
    file.write_all_at(b"from the device!", page as u64).unwrap();
    let cpu = buffer.begin(Access::Read).unwrap();
    cpu.shared().read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"from the device!");
    assert!(cpu.shared().read(2 * page, &mut [0]).is_err());
    drop(cpu);
    // Another process maps the same.
    let again = rustix::io::dup(&buffer).unwrap();
    let mut theirs = DmaBuf::new(again).unwrap();
    drop(buffer);
    assert_eq!(theirs.len(), 2 * page);
    theirs
        .begin(Access::Read)
        .unwrap()
        .shared()
        .read(page - 2, &mut bytes)
        .unwrap();
    assert_eq!(&bytes, b"from the program");
}

#[test]
fn a_heap_gives_a_buffer() {
    const NAME: &str = "device::dmabuf::a_heap_gives_a_buffer";
    let mut buffer = match DmaBuf::from_heap("system", 5000) {
        Err(Error::Device(Problem::NotFound)) => return skip(NAME, "this kernel has no heap"),
        buffer => buffer.unwrap(),
    };
    assert_eq!(buffer.len(), 5000_usize.next_multiple_of(libc_page_size()));
    let cpu = buffer.begin(Access::ReadWrite).unwrap();
    assert_eq!(cpu.shared().fetch_add(4092, 5_u32), Ok(0));
    assert_eq!(cpu.shared().load::<u32>(4092), Ok(5));
    cpu.end().unwrap();
    let refused = DmaBuf::from_heap("system", 0).map(drop).unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::INVAL));
}
