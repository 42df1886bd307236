//! Any options, on a file of any kind, against the rule of what must come of it.
#![no_main]

use std::fs::File;
use std::os::fd::AsFd as _;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rawmap_core::{Error, MmapOptions, MmapRaw, PageSize};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, open};

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Kind {
    Memory(u16),
    Sealed(u16),
    ForReading(u16),
    Zero,
    Null,
    Folder,
    Pipe,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum How {
    Raw,
    ReadOnly,
    Sealed,
    SealedReadOnly,
    Map,
    MapMut,
    Copy,
    CopyReadOnly,
    Exec,
    IfSafe,
    Anon,
    AnonShared,
}

#[derive(Arbitrary, Debug)]
struct Input {
    kind: Kind,
    how: How,
    offset: u64,
    /// Small ones are more interesting.
    small: bool,
    len: Option<u64>,
    page: Option<u8>,
    stack: bool,
    populate: bool,
    no_reserve: bool,
    scattered: bool,
}

fn file(kind: Kind) -> File {
    let memory = |len: u16, flags| {
        let file = File::from(memfd_create("fuzz", flags).unwrap());
        file.set_len(len.into()).unwrap();
        file
    };
    let opened =
        |path: &str, flags| File::from(open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap());
    match kind {
        Kind::Memory(len) => memory(len, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING),
        Kind::Sealed(len) => {
            let file = memory(len, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
            fcntl_add_seals(
                &file,
                SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
            )
            .unwrap();
            file
        }
        Kind::ForReading(len) => {
            use std::os::fd::AsRawFd as _;
            let file = memory(len, MemfdFlags::CLOEXEC);
            opened(
                &format!("/proc/self/fd/{}", file.as_raw_fd()),
                OFlags::RDONLY,
            )
        }
        Kind::Zero => opened("/dev/zero", OFlags::RDWR),
        Kind::Null => opened("/dev/null", OFlags::RDWR),
        Kind::Folder => opened("/", OFlags::RDONLY | OFlags::DIRECTORY),
        Kind::Pipe => {
            let (read, _write) = rustix::pipe::pipe().unwrap();
            File::from(read)
        }
    }
}

/// The length of a map that was made; its first and last byte are read, and for a file of this length all is in it.
fn look(map: &MmapRaw, file_len: Option<u64>, offset: u64) -> usize {
    if let Some(end) = file_len {
        // Nothing past the last page of the file is touched here.
        let there = end.saturating_sub(offset).min(map.len() as u64);
        if there > 0 {
            for at in [0, there - 1] {
                // SAFETY: inside of the map and the file.
                let _ = unsafe { map.as_ptr().add(at as usize).read_volatile() };
            }
        }
    }
    map.flush().unwrap();
    let _ = map.flush_range(0, map.len());
    assert!(map.flush_range(map.len(), 1).is_err());
    map.len()
}

fuzz_target!(|input: Input| {
    let Input { kind, how, .. } = input;
    let file = file(kind);
    let limit = if input.small { 70_000 } else { u64::MAX };
    let offset = input.offset % limit;
    let len = input.len.map(|len| (len % limit) as usize);
    // No gigabytes that are brought in.
    if input.populate && len.is_some_and(|len| len > 1 << 20) {
        return;
    }
    let mut options = MmapOptions::new();
    options.offset(offset);
    if let Some(len) = len {
        options.len(len);
    }
    let page = input
        .page
        .map(|bits| PageSize::from_bits(bits % 24).unwrap());
    if let Some(page) = page {
        options.page_size(page);
    }
    if input.stack {
        options.stack();
    }
    if input.populate {
        options.populate();
    }
    if input.no_reserve {
        options.no_reserve_swap();
    }
    if input.scattered {
        options.scattered();
    }
    let of = file.as_fd();
    let file_len = match kind {
        Kind::Memory(len) | Kind::Sealed(len) | Kind::ForReading(len) => Some(u64::from(len)),
        _ => None,
    };
    let raw = |map: Result<MmapRaw, Error>| map.map(|map| look(&map, file_len, offset));
    // SAFETY: of these: nothing else uses the file, and no byte past its end is touched.
    let made = match how {
        How::Raw => raw(options.map_raw(of)),
        How::ReadOnly => raw(options.map_raw_read_only(of)),
        How::Sealed => raw(options.map_raw_sealed(of)),
        How::SealedReadOnly => raw(options.map_raw_sealed_read_only(of)),
        How::Map => unsafe { options.map(of) }.map(|map| map.len()),
        How::MapMut => unsafe { options.map_mut(of) }.map(|map| map.len()),
        How::Copy => unsafe { options.map_copy(of) }.map(|map| map.len()),
        How::CopyReadOnly => unsafe { options.map_copy_read_only(of) }.map(|map| map.len()),
        How::Exec => unsafe { options.map_exec(of) }.map(|map| map.len()),
        How::IfSafe => options.map_if_safe(of).map(|map| map.len()),
        How::Anon => options.map_anon().map(|map| map.len()),
        How::AnonShared => options.map_anon_shared().map(|map| map.len()),
    };
    let is_anon = matches!(how, How::Anon | How::AnonShared);
    // A page size that is not the kernel's is refused, by everything.
    let kernel = rawmap_core::page_size().unwrap();
    if page.is_some_and(|page| page != kernel) {
        assert!(made.is_err(), "{input:?}");
        return;
    }
    match made {
        Ok(found) => {
            // The length that was given, else what the file has from the offset on; anonymous memory has none.
            let rest = file_len.unwrap_or(0).checked_sub(offset);
            let want = match len {
                Some(len) => Some(len as u64),
                None if is_anon => Some(0),
                None => rest,
            };
            assert_eq!(Some(found as u64), want, "{input:?}");
            assert!(
                !input.scattered || matches!(how, How::Raw | How::MapMut | How::Sealed),
                "{input:?}"
            );
            assert!(
                !matches!(kind, Kind::Folder | Kind::Pipe | Kind::Null) || is_anon,
                "{input:?}"
            );
            assert!(
                how != How::SealedReadOnly || matches!(kind, Kind::Sealed(_)),
                "{input:?}"
            );
            let writes = matches!(how, How::Raw | How::MapMut | How::Sealed);
            assert!(
                !(writes && matches!(kind, Kind::Sealed(_) | Kind::ForReading(_))),
                "{input:?}"
            );
        }
        Err(error) => {
            // It carries its call and numbers: there is something to print.
            assert!(!error.to_string().is_empty());
            // The plain cases are none of an error.
            let plain = matches!(kind, Kind::Memory(_))
                && matches!(
                    how,
                    How::Raw | How::ReadOnly | How::Map | How::MapMut | How::Copy
                )
                && file_len.is_some_and(|end| offset <= end)
                && len.is_none_or(|len| len <= 1 << 20)
                && !input.scattered
                && !input.stack;
            assert!(!plain, "{input:?}: {error}");
        }
    }
});
