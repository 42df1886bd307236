//! memmap2's bugs, each with the proof that rawmap does not have it. Where it is cheap, memmap2 runs
//! beside it as the control that the test would see the bug.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::process::Command;

use rawmap::{Advice, MmapMut, MmapOptions, MmapRaw, RemapOptions};
use rawmap_tests::disk::loop_device;
use rawmap_tests::setting::Setting;
use rawmap_tests::{emulator, skip};

use crate::{Told as _, file_of, file_with, libc_page_size, pattern};

#[test]
fn advise_range_ends_at_the_end_of_the_map() {
    let file = file_of(8192);
    let theirs = memmap2::MmapRaw::map_raw(&file).unwrap();
    let ours = MmapRaw::map_raw(&file).unwrap();
    let past = (8192, 8192);
    // The control: memmap2 lets it through to whatever is mapped behind.
    let let_through = theirs.advise_range(memmap2::Advice::Normal, past.0, past.1);
    assert_ne!(
        let_through.map_err(|e| e.kind()),
        Err(ErrorKind::InvalidInput)
    );
    let refused = ours
        .advise_range(Advice::Normal, past.0, past.1)
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(ours.advise_range(Advice::Normal, 8192, 0).is_ok());
}

#[test]
fn remap_to_the_largest_length_is_an_error() {
    let whole = pattern(10_000);
    let file = file_with(&whole);
    let mut ours = MmapOptions::new().offset(5000).map_raw(&file).unwrap();
    for len in [usize::MAX, usize::MAX - 903, usize::MAX - 904] {
        let may_move = RemapOptions::new().may_move(true);
        // SAFETY: no pointer into the map is kept.
        let refused = unsafe { ours.remap(len, may_move) }.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
        let text = format!("length of {len} bytes is too long for this address space");
        assert_eq!(refused.to_string(), text);
    }
    assert_eq!(crate::bytes_of(&ours.into()), whole[5000..]);
}

#[test]
fn a_descriptor_of_minus_one_is_an_error() {
    let bad = |result: io::Result<()>| {
        let refused = result.unwrap_err();
        assert_eq!(refused.number(), Some(libc::EBADF), "{refused}");
    };
    for fd in [-1, -2, -100, i32::MIN] {
        bad(MmapRaw::map_raw(fd).map(drop));
        bad(MmapOptions::new().len(10).map_raw(fd).map(drop));
        bad(MmapOptions::new().map_raw_read_only(fd).map(drop));
        // SAFETY: there is no file.
        bad(unsafe { MmapMut::map_mut(fd) }.map(drop));
        let refused = rawmap::Mmap::map_if_safe(fd).unwrap_err();
        assert!(refused.map_failed());
        bad(Err(refused.into()));
    }
    // A number that is no open file.
    bad(MmapRaw::map_raw(1_000_000).map(drop));
}

#[test]
fn a_character_device_has_no_length_of_its_own() {
    let zero = File::options()
        .read(true)
        .write(true)
        .open("/dev/zero")
        .unwrap();
    let theirs = memmap2::MmapRaw::map_raw(&zero).unwrap();
    assert_eq!(theirs.len(), 0, "the control: memmap2 gives an empty map");
    let refused = MmapRaw::map_raw(&zero).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("len()"), "{refused}");
    // With a length it maps.
    // SAFETY: a private copy of /dev/zero is memory of this process alone.
    let mut map = unsafe { MmapOptions::new().len(5000).map_copy(&zero) }.unwrap();
    map[4999] = 1;
}

#[test]
fn a_block_device_has_the_length_of_the_device() {
    const NAME: &str = "fixes::a_block_device_has_the_length_of_the_device";
    let mut backing = tempfile::tempfile_in(crate::test_dir()).unwrap();
    io::Write::write_all(&mut backing, &pattern(1 << 20)).unwrap();
    let file = match loop_device(&backing) {
        Ok((file, _)) => file,
        Err(reason) => return skip(NAME, &reason),
    };
    let theirs = memmap2::MmapRaw::map_raw(&file).unwrap();
    assert_eq!(theirs.len(), 0, "the control: memmap2 gives an empty map");
    let ours = MmapRaw::map_raw(&file).unwrap();
    assert_eq!(ours.len(), 1 << 20);
    let rest = MmapOptions::new().offset(1000).map_raw(&file).unwrap();
    assert_eq!(rest.len(), (1 << 20) - 1000);
    assert_eq!(crate::bytes_of(&ours.into()), pattern(1 << 20));
    let past = MmapOptions::new().offset((1 << 20) + 1).map_raw(&file);
    assert_eq!(past.unwrap_err().kind(), ErrorKind::InvalidData);
    rest.flush().unwrap();
}

/// The number of free huge pages, when it is what it should be: a child that another test is just starting
/// has a copy of this process's maps for a moment.
fn free_huge_pages(should_be: usize) -> usize {
    for _ in 0..100 {
        if huge_pages().1 == should_be {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    huge_pages().1
}

/// Huge pages of the default size: (size, free).
fn huge_pages() -> (usize, usize) {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let number = |key: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(key));
        let words = line.and_then(|line| line.split_whitespace().nth(1));
        words.and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    (number("Hugepagesize:") * 1024, number("HugePages_Free:"))
}

/// Huge pages set aside, as long as it is there. One test at a time: they count.
struct Pool {
    _setting: Setting,
    _turn: std::sync::MutexGuard<'static, ()>,
}

impl Pool {
    fn of(pages: usize) -> Result<Self, String> {
        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let turn = TURN
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let setting = Setting::keep("/proc/sys/vm/nr_hugepages")?;
        setting.set(&pages.to_string())?;
        match huge_pages() {
            (_, free) if free >= pages => Ok(Self {
                _setting: setting,
                _turn: turn,
            }),
            (_, free) => Err(format!("asked for {pages} huge pages and got {free}")),
        }
    }
}

#[test]
fn huge_pages_with_an_odd_length_are_given_back() {
    const NAME: &str = "fixes::huge_pages_with_an_odd_length_are_given_back";
    if emulator().is_some() {
        return skip(NAME, "no huge pages in the emulator");
    }
    let _pool = match Pool::of(8) {
        Ok(pool) => pool,
        Err(reason) => return skip(NAME, &reason),
    };
    let (size, free) = huge_pages();
    let bits = u8::try_from(size.trailing_zeros()).unwrap();
    for page_bits in [None, Some(0), Some(bits)] {
        for len in [1, 4096, size - 1, size, size + 1, 3 * size - 5000] {
            let mut map = MmapOptions::new()
                .len(len)
                .huge(page_bits)
                .map_anon()
                .unwrap();
            map[len - 1] = 1;
            assert!(huge_pages().1 < free, "huge pages are in use");
            let map = map.make_read_only().unwrap().make_mut().unwrap();
            let mut map = map.make_exec().unwrap().make_mut().unwrap();
            map.flush().unwrap();
            map.advise(Advice::Normal).unwrap();
            assert_eq!(map[len - 1], 1);
            map[0] = 2;
            drop(map);
            assert_eq!(free_huge_pages(free), free, "{page_bits:?} {len}");
        }
    }
    let mut map = MmapOptions::new()
        .len(size + 1)
        .huge(None)
        .map_anon()
        .unwrap();
    map[size] = 7;
    // SAFETY: no pointer into the map is kept.
    match unsafe { map.remap(1, RemapOptions::new()) } {
        Ok(()) => assert_eq!(map.len(), 1),
        // A 32-bit process on a 64-bit kernel: mremap refuses huge pages, and the map stays.
        Err(error) => assert!(usize::BITS == 32 && map[size] == 7, "{error}"),
    }
    drop(map);
    assert_eq!(free_huge_pages(free), free, "after shrinking");

    // Advice that takes bytes away takes them from all of the last huge page.
    for page_bits in [None, Some(bits)] {
        let mut map = MmapOptions::new()
            .len(size + 100)
            .huge(page_bits)
            .map_anon()
            .unwrap();
        map.fill(7);
        // SAFETY: no slice lives across the call.
        let dropped = unsafe { map.unchecked_advise(rawmap::UncheckedAdvice::DontNeed) };
        // EINVAL before Linux 5.18.
        if dropped.is_ok() {
            assert_eq!((map[0], map[size + 99]), (0, 0));
        }
    }

    // A size that no kernel has, and one that no address space has.
    let refused = MmapOptions::new().len(1).huge(Some(13)).map_anon();
    assert_eq!(refused.unwrap_err().number(), Some(libc::EINVAL));
    let refused = MmapOptions::new().len(1).huge(Some(200)).map_anon();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);

    // The control: memmap2 leaks the pages, and cannot change the protection.
    let control = || {
        memmap2::MmapOptions::new()
            .len(size + 1)
            .huge(None)
            .map_anon()
    };
    let mut leaked = control().unwrap();
    leaked[size] = 1;
    let base = leaked.as_mut_ptr();
    drop(leaked);
    assert!(
        huge_pages().1 < free,
        "memmap2 has given them back: change the README"
    );
    // SAFETY: the pages that memmap2 has left behind.
    assert_eq!(unsafe { libc::munmap(base.cast(), 2 * size) }, 0);
    assert_eq!(free_huge_pages(free), free);
}

/// Nothing but the kernel knows that these pages are huge.
#[test]
fn a_hugetlbfs_file_is_given_back() {
    const NAME: &str = "fixes::a_hugetlbfs_file_is_given_back";
    if emulator().is_some() {
        return skip(NAME, "no huge pages in the emulator");
    }
    let _pool = match Pool::of(4) {
        Ok(pool) => pool,
        Err(reason) => return skip(NAME, &reason),
    };
    let (size, free) = huge_pages();
    // SAFETY: a valid name; the result is a new descriptor or -1.
    let fd = unsafe { libc::memfd_create(c"huge".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_HUGETLB) };
    assert!(fd >= 0);
    // SAFETY: a new descriptor that nobody else owns.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(2 * size as u64).unwrap();
    for len in [1, 4097, size + 5000] {
        let map = MmapOptions::new()
            .len(len)
            .map_raw(file.as_raw_fd())
            .unwrap();
        let mapped_at = map.as_ptr().addr();
        // SAFETY: inside the map.
        unsafe { map.as_mut_ptr().add(len - 1).write_volatile(1) };
        let mut map = map;
        map.protect(rawmap::Protection::ReadOnly).unwrap();
        map.flush().unwrap();
        drop(map);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(
            !maps.contains(&format!("{mapped_at:x}-")),
            "{len}: still mapped"
        );
    }
    // Within a huge page, and by some of them: as with memmap2, which leaves it to mremap(2).
    for (len, new_len) in [
        (5000, 100),
        (100, 5000),
        (2 * size, size + 100),
        (size + 5000, size),
    ] {
        let map = MmapOptions::new().len(len).map_raw(file.as_raw_fd());
        let mut map = map.unwrap();
        // SAFETY: no pointer into it is kept.
        unsafe { map.remap(new_len, rawmap::RemapOptions::new()) }
            .unwrap_or_else(|refused| panic!("{len} to {new_len}: {refused}"));
        assert_eq!(map.len(), new_len);
        // SAFETY: inside the map.
        unsafe { map.as_mut_ptr().add(new_len - 1).write_volatile(1) };
    }
    drop(file);
    assert_eq!(free_huge_pages(free), free);
}

/// strace answers the first three calls of msync with EINTR, as a file system may on a signal.
#[test]
fn an_interrupted_flush_goes_on() {
    const NAME: &str = "fixes::an_interrupted_flush_goes_on";
    const CHILD: &str = "RAWMAP_TEST_CHILD";
    let file = || file_of(10_000);
    if let Ok(library) = std::env::var(CHILD) {
        let result = match library.as_str() {
            "rawmap" => MmapRaw::map_raw(&file()).unwrap().flush_range(5000, 10),
            _ => memmap2::MmapRaw::map_raw(&file())
                .unwrap()
                .flush_range(5000, 10),
        };
        return result.unwrap();
    }
    if emulator().is_some() {
        return skip(NAME, "strace and the emulator do not mix");
    }
    let interrupted = |library: &str| {
        let log = tempfile::NamedTempFile::new_in(crate::test_dir()).unwrap();
        let status = Command::new("strace")
            .args([
                "-f",
                "-e",
                "trace=msync",
                "-e",
                "inject=msync:error=EINTR:when=1..3",
            ])
            .arg("-o")
            .arg(log.path())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(CHILD, library)
            .output()
            .map(|output| output.status.success());
        let log = std::fs::read_to_string(log.path()).unwrap();
        status.map(|success| {
            (
                success,
                log.matches("EINTR").count(),
                log.matches(" = 0").count(),
            )
        })
    };
    match interrupted("rawmap") {
        Err(error) => skip(NAME, &format!("strace: {error}")),
        Ok(seen) => {
            assert_eq!(seen, (true, 3, 1));
            // The control: memmap2 gives up at the first.
            assert_eq!(interrupted("memmap2").unwrap(), (false, 1, 0));
        }
    }
}

#[test]
fn no_bytes_are_flushed_by_a_length_of_zero() {
    // In the middle of a page memmap2 flushes that page; the bytes asked for are none.
    let map = MmapRaw::map_raw(&file_of(2 * libc_page_size() as u64)).unwrap();
    map.flush_range(100, 0).unwrap();
    map.flush_range(map.len(), 0).unwrap();
}
