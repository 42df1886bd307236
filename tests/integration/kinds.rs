//! Shared, private, anonymous, read-only and executable maps, and what each does to the file.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::fs::FileExt as _;

use rawmap_core::{Error, MayChange, Mmap, MmapMut, MmapOptions, MmapRaw, memfd};

use crate::IsRange as _;
use crate::{bytes_of, file_of, file_with, pattern, store};

fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn a_shared_map_changes_the_file() {
    let file = file_with(&pattern(9000));
    // SAFETY: nobody else has this file.
    let mut map = unsafe { MmapMut::map_mut(&file) }.unwrap();
    map[5000..5004].copy_from_slice(b"new!");
    assert_eq!(contents(&file)[5000..5004], *b"new!");
    map.flush_range(5000, 4).unwrap();
    map.flush().unwrap();
}

#[test]
fn a_private_copy_does_not() {
    let whole = pattern(9000);
    let file = file_with(&whole);
    // SAFETY: nobody else has this file.
    let mut map = unsafe { MmapOptions::new().offset(100).map_copy(&file) }.unwrap();
    map.fill(1);
    // There is nothing to store, and that is no error.
    map.flush().unwrap();
    map.flush_range(0, 8900).unwrap();
    assert_eq!(contents(&file), whole);

    // SAFETY: as above.
    let map = unsafe { MmapOptions::new().map_copy_read_only(&file) }.unwrap();
    assert_eq!(map[..], whole);
    let mut map = map.make_mut().unwrap();
    map[0] ^= 1;
    assert_eq!(contents(&file), whole);
}

#[test]
fn a_file_that_is_open_for_reading_can_be_mapped_for_reading() {
    let mut named = tempfile::NamedTempFile::new_in(crate::test_dir()).unwrap();
    std::io::Write::write_all(&mut named, b"read only").unwrap();
    let file = File::open(named.path()).unwrap();
    let access = Some(rawmap_core::Errno::ACCESS);
    assert_eq!(MmapRaw::map_raw(&file).unwrap_err().errno(), access);
    let mut map = MmapOptions::new().map_raw_read_only(&file).unwrap();
    assert_eq!(bytes_of(&map), b"read only");
    map.flush().unwrap();
    let refused = map.protect(rawmap_core::Protection::ReadWrite).unwrap_err();
    assert_eq!(refused.errno(), access);
    // SAFETY: nobody writes this file.
    let map = unsafe { Mmap::map(&file) }.unwrap();
    assert_eq!(&map[..], b"read only");
    let refused = map.make_mut().unwrap_err();
    assert_eq!(refused.error.errno(), access);
    // And the map comes back.
    assert_eq!(&refused.map[..], b"read only");
}

/// Runs in a child, and gives its exit status.
fn in_child(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child only runs `body`, which uses maps and no locks, and leaves by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: takes a number. Where it hangs it ends by SIGALRM.
        unsafe { libc::alarm(300) };
        let status = body();
        // SAFETY: ends the child without running the test harness's destructors.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child; `status` is a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "the child died: status {status}");
    libc::WEXITSTATUS(status)
}

#[test]
fn anonymous_memory_is_shared_with_a_child_only_if_asked() {
    let shared = MmapOptions::new().len(10_000).map_anon_shared().unwrap();
    let private = MmapRaw::from(MmapMut::map_anon(10_000).unwrap());
    assert_eq!(bytes_of(&shared), [0; 10_000]);
    let status = in_child(|| {
        store(&shared, 9_000, b"child");
        store(&private, 9_000, b"child");
        i32::from(shared.flush().is_err())
    });
    assert_eq!(status, 0);
    assert_eq!(bytes_of(&shared)[9_000..9_005], *b"child");
    assert_eq!(bytes_of(&private)[9_000..9_005], [0; 5]);
}

#[test]
fn anonymous_maps_take_all_flags() {
    let mut map = MmapOptions::new()
        .len(4096 * 3 + 5)
        .offset(77)
        .stack()
        .populate()
        .no_reserve_swap()
        .map_anon()
        .unwrap();
    assert_eq!(map.len(), 4096 * 3 + 5);
    map.fill(0xA5);
    assert!(map.iter().all(|byte| *byte == 0xA5));
    let map = map.make_read_only().unwrap();
    assert_eq!(map[4096 * 3 + 4], 0xA5);
    assert!(MmapOptions::new().map_anon().unwrap().is_empty());
}

/// A function that returns 42, in the machine code of each architecture.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
const RETURN_42: &[u8] = &[0xB8, 42, 0, 0, 0, 0xC3];
#[cfg(target_arch = "arm")]
const RETURN_42: &[u8] = &[42, 0x00, 0xA0, 0xE3, 0x1E, 0xFF, 0x2F, 0xE1];
#[cfg(target_arch = "aarch64")]
const RETURN_42: &[u8] = &[0x40, 0x05, 0x80, 0x52, 0xC0, 0x03, 0x5F, 0xD6];
#[cfg(target_arch = "riscv64")]
const RETURN_42: &[u8] = &[0x13, 0x05, 0xA0, 0x02, 0x67, 0x80, 0x00, 0x00];
// lghi %r2,42; br %r14
#[cfg(target_arch = "s390x")]
const RETURN_42: &[u8] = &[0xA7, 0x29, 0x00, 0x2A, 0x07, 0xFE];
// li 3,42; blr
#[cfg(all(
    any(target_arch = "powerpc", target_arch = "powerpc64"),
    target_endian = "big"
))]
const RETURN_42: &[u8] = &[0x38, 0x60, 0x00, 0x2A, 0x4E, 0x80, 0x00, 0x20];
#[cfg(all(target_arch = "powerpc64", target_endian = "little"))]
const RETURN_42: &[u8] = &[0x2A, 0x00, 0x60, 0x38, 0x20, 0x00, 0x80, 0x4E];
// jr $ra; li $v0,42
#[cfg(all(target_arch = "mips", target_endian = "little"))]
const RETURN_42: &[u8] = &[0x08, 0x00, 0xE0, 0x03, 0x2A, 0x00, 0x02, 0x24];

#[test]
fn code_in_a_file_can_be_mapped_and_run() {
    let mut code = vec![0; 4096];
    code.extend_from_slice(RETURN_42);
    let file = file_with(&code);
    // SAFETY: nobody else has this file.
    let map = unsafe { MmapOptions::new().offset(4096).map_exec(&file) }.unwrap();
    // SAFETY: the bytes are such a function, and the kernel keeps the caches of file pages right.
    let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(map.as_ptr()) };
    assert_eq!(function(), 42);
}

fn sealed(bytes: &[u8], seals: libc::c_int) -> File {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: a valid name; the result is a new descriptor or -1.
    let fd = unsafe { libc::memfd_create(c"sealed".as_ptr(), flags) };
    assert!(fd >= 0);
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = unsafe { File::from_raw_fd(fd) };
    std::io::Write::write_all(&mut file, bytes).unwrap();
    // SAFETY: a plain fcntl on our own descriptor.
    assert_eq!(
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) },
        0
    );
    file
}

#[test]
fn only_files_that_cannot_change_are_mapped_safely() {
    let (shrink, write) = (libc::F_SEAL_SHRINK, libc::F_SEAL_WRITE);
    let text = b"sealed for ever";
    let file = sealed(text, shrink | write);
    assert!(memfd::is_immutable(&file));
    assert_eq!(Mmap::map_if_safe(&file).unwrap()[..], *text);
    let map = MmapOptions::new()
        .offset(7)
        .len(3)
        .map_if_safe(&file)
        .unwrap();
    assert_eq!(&map[..], b"for");
    assert!(map.make_mut().is_err());
    // Past the end there is SIGBUS, also inside the last page's neighbour.
    for (offset, len) in [(0, 16), (15, 1), (4096, 1), (u64::MAX, 1)] {
        let refused = MmapOptions::new()
            .offset(offset)
            .len(len)
            .map_if_safe(&file)
            .unwrap_err();
        assert!(refused.is_range(), "{refused}");
    }

    let why = |file: &File| {
        assert!(!memfd::is_immutable(file));
        match Mmap::map_if_safe(file) {
            Err(Error::MayChange(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(why(&sealed(text, shrink)), MayChange::NoWriteSeal);
    assert_eq!(why(&sealed(text, write)), MayChange::NoShrinkSeal);
    assert_eq!(why(&sealed(text, 0)), MayChange::NoSeals);
    assert_eq!(why(&sealed(text, libc::F_SEAL_GROW)), MayChange::NoSeals);
    assert_eq!(why(&file_with(text)), MayChange::NoVerity);
}

#[test]
fn dropping_a_map_gives_its_pages_back() {
    let dir = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = dir.path().join("rawmap-drop-test");
    std::fs::write(&path, pattern(20_000)).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mapped = || {
        let mut maps = String::new();
        File::open("/proc/self/maps")
            .and_then(|mut file| file.read_to_string(&mut maps))
            .unwrap();
        maps.matches("rawmap-drop-test").count()
    };
    assert_eq!(mapped(), 0);
    for (offset, len) in [(0, 20_000), (4097, 10_000), (8191, 0), (0, 0), (0, 1)] {
        let map = MmapOptions::new()
            .offset(offset)
            .len(len)
            .map_raw(&file)
            .unwrap();
        assert_eq!(mapped(), 1, "{offset} {len}");
        drop(map);
        assert_eq!(mapped(), 0, "{offset} {len}");
    }
}

/// The three types of both crates, there and back.
#[test]
fn core_and_std_types_convert() {
    let file = file_of(5000);
    let core_raw: MmapRaw = rawmap::MmapRaw::map_raw(&file).unwrap().into();
    let std_raw = rawmap::MmapRaw::from(core_raw);
    assert_eq!(std_raw.len(), 5000);

    let std_mut = rawmap::MmapMut::map_anon(10).unwrap();
    let core_mut = MmapMut::from(std_mut);
    let std_mut = rawmap::MmapMut::from(core_mut);
    let core_map = Mmap::from(std_mut.make_read_only().unwrap());
    let std_map = rawmap::Mmap::from(core_map);
    assert_eq!(&std_map[..], [0; 10]);
    assert_eq!(rawmap::MmapRaw::from(std_map).len(), 10);
}
