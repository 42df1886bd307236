//! Asked beforehand: prefault, reserve, grow. A question never raises a signal.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use rawmap_core::{
    Advice, Errno, Error, MmapMut, MmapOptions, MmapRaw, RemapOptions, page_size, reserve,
};
use rawmap_tests::disk::{FailingDisk, On, SmallDisk};
use rawmap_tests::{is_slow, rounds, skip};

use crate::IsRange as _;
use crate::{file_of, file_with, pattern, store};

#[test]
fn prefault_tells_where_a_shorter_file_ends() {
    let page = page_size().unwrap().get();
    for in_page in [0, 1, page - 1] {
        let file = file_of((8 * page) as u64);
        let map = MmapOptions::new()
            .offset(in_page as u64)
            .map_raw(&file)
            .unwrap();
        map.prefault_read(0, map.len()).unwrap();
        map.prefault_write(0, map.len()).unwrap();
        // The last page that the file still has a byte of is whole, and those behind it are gone.
        file.set_len((3 * page + 1) as u64).unwrap();
        let end = 4 * page - in_page;
        let gone = |offset: usize| {
            let offset = offset as u64;
            Err(Error::Unreachable { offset })
        };
        for touch in [MmapRaw::prefault_read, MmapRaw::prefault_write] {
            assert_eq!(touch(&map, 0, map.len()), gone(end), "{in_page}");
            assert_eq!(touch(&map, 0, end), Ok(()));
            assert_eq!(touch(&map, end - 1, 1), Ok(()));
            assert_eq!(touch(&map, end - 1, 2), gone(end));
            assert_eq!(touch(&map, end + 5, 1), gone(end + 5));
            assert_eq!(touch(&map, map.len(), 0), Ok(()));
            assert!(touch(&map, 1, map.len()).unwrap_err().is_range());
            assert!(touch(&map, usize::MAX, 1).unwrap_err().is_range());
        }
    }
}

#[test]
fn prefault_changes_no_byte() {
    let bytes = pattern(50_000);
    let file = file_with(&bytes);
    let map = MmapOptions::new().offset(7).map_raw(&file).unwrap();
    map.prefault_read(0, map.len()).unwrap();
    map.prefault_write(1000, 40_000).unwrap();
    assert_eq!(crate::bytes_of(&map), bytes[7..]);
    map.flush().unwrap();
    // A map that cannot be written says so.
    let read_only = MmapOptions::new().map_raw_read_only(&file).unwrap();
    read_only.prefault_read(0, read_only.len()).unwrap();
    assert!(read_only.prefault_write(0, 1).is_err());
    // Memory can be reached.
    let memory = MmapRaw::from(MmapMut::map_anon(100_000).unwrap());
    memory.prefault_write(50_000, 50_000).unwrap();
}

#[test]
fn a_full_disk_is_an_error_beforehand() {
    let disk = match SmallDisk::of(1 << 20) {
        Ok(disk) => disk,
        Err(reason) => return skip("reach::a_full_disk_is_an_error_beforehand", &reason),
    };
    let create = |name| {
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        options.open(disk.path().join(name)).unwrap()
    };
    let file = create("file");
    file.set_len(200_000).unwrap();
    let map = MmapRaw::map_raw(&file).unwrap();
    store(&map, 0, b"first");
    disk.fill();

    // The first page is there, and the store to the next would be a SIGBUS.
    map.prefault_write(0, 4096).unwrap();
    let page = page_size().unwrap().get() as u64;
    let full = Err(Error::Unreachable { offset: page });
    assert_eq!(map.prefault_write(0, 200_000), full);
    let none = reserve(&file, 0, 200_000).unwrap_err();
    let (offset, len, errno) = (0, 200_000, Errno::NOSPC);
    assert_eq!(none, Error::NoSpace { offset, len, errno });
    let none = std::io::Error::from(none);
    assert_eq!(none.kind(), std::io::ErrorKind::StorageFull);

    // To grow fails, and leaves file and map as they were.
    let mut map = map;
    let refused = map.grow(&file, 500_000).unwrap_err();
    assert!(
        matches!(refused, Error::NoSpace { len: 300_000, .. }),
        "{refused}"
    );
    assert_eq!(
        (file.metadata().unwrap().len(), map.len()),
        (200_000, 200_000)
    );

    disk.make_room();
    // What does not fit as a whole leaves nothing behind: another file has room.
    assert!(matches!(
        reserve(&file, 0, 64 << 20),
        Err(Error::NoSpace { .. })
    ));
    assert!(matches!(
        map.grow(&file, 64 << 20),
        Err(Error::NoSpace { .. })
    ));
    assert_eq!(
        (file.metadata().unwrap().len(), map.len()),
        (200_000, 200_000)
    );
    std::fs::write(disk.path().join("other"), vec![1; 300_000]).unwrap();
    std::fs::remove_file(disk.path().join("other")).unwrap();

    reserve(&file, 0, 200_000).unwrap();
    map.grow(&file, 300_000).unwrap();
    disk.fill();
    // Every byte has its place.
    store(&map, 199_999, &[7; 100_001]);
    assert_eq!(&crate::bytes_of(&map)[..6], b"first\0");
    assert_eq!(file.metadata().unwrap().len(), 300_000);
}

/// ext4 keeps what it has reserved when the disk gets full.
#[test]
fn what_cannot_be_reserved_leaves_no_blocks_behind() {
    const NAME: &str = "reach::what_cannot_be_reserved_leaves_no_blocks_behind";
    let disk = match FailingDisk::new(On::Ext4) {
        Ok(disk) => disk,
        Err(reason) => return skip(NAME, &reason),
    };
    let extent = || {
        let data = disk.file.metadata().unwrap();
        (data.len(), data.blocks())
    };
    let before = extent();
    // The table of the file's blocks may have grown by one cluster.
    let as_before = || {
        let (len, blocks) = extent();
        assert!(
            len == before.0 && blocks <= before.1 + 128,
            "{before:?} {blocks}"
        );
    };
    assert!(matches!(
        reserve(&disk.file, 0, 1 << 28),
        Err(Error::NoSpace { .. })
    ));
    as_before();
    let mut map = MmapRaw::map_raw(&disk.file).unwrap();
    assert!(matches!(
        map.grow(&disk.file, 1 << 28),
        Err(Error::NoSpace { .. })
    ));
    as_before();
    assert_eq!(map.len(), FailingDisk::FILE_LEN);
    // And there is room for what fits.
    map.grow(&disk.file, FailingDisk::FILE_LEN + (4 << 20))
        .unwrap();
}

#[test]
fn reserve_keeps_bytes_and_gives_length() {
    let bytes = pattern(10_000);
    let file = file_with(&bytes);
    match reserve(&file, 5_000, 2_000) {
        Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => {
            return skip(
                "reach::reserve_keeps_bytes_and_gives_length",
                "this file system reserves nothing",
            );
        }
        other => other.unwrap(),
    }
    assert_eq!(file.metadata().unwrap().len(), 10_000);
    reserve(&file, 9_999, 20_001).unwrap();
    reserve(&file, 70_000, 0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 30_000);
    let map = MmapRaw::map_raw(&file).unwrap();
    let (old, new) = (crate::bytes_of(&map), bytes.len());
    assert!(old[..new] == bytes && old[new..].iter().all(|byte| *byte == 0));
    // Past the largest length, and a file that is not open for writing.
    for (offset, len) in [(u64::MAX, 10), (u64::MAX - 5, 3), (5, i64::MAX as u64 - 4)] {
        let limit = i64::MAX as u64;
        let past = Error::OutOfRange { offset, len, limit };
        assert_eq!(reserve(&file, offset, len), Err(past));
    }
    assert_eq!(file.metadata().unwrap().len(), 30_000);
    let read_only = File::open("/proc/self/exe").unwrap();
    assert_eq!(
        reserve(&read_only, 0, 1).unwrap_err().errno(),
        Some(Errno::BADF)
    );
}

#[test]
fn a_map_grows_with_its_file() {
    let bytes = pattern(10_000);
    for offset in [0, 5, 4096, 9_999] {
        let file = file_with(&bytes);
        // SAFETY: nobody else uses the file.
        let mut map = unsafe { MmapOptions::new().offset(offset).map_mut(&file) }.unwrap();
        let old = map.to_vec();
        for len in [10_001, 10_001, 9_000, 70_000, 3_000_000] {
            // SAFETY: as above.
            unsafe { map.grow(&file, len) }.unwrap();
            let want = map.len() as u64 + offset;
            assert_eq!(
                file.metadata().unwrap().len(),
                want.max(10_000),
                "{offset} {len}"
            );
            assert!(map[..old.len()] == old && map[old.len()..].iter().all(|byte| *byte == 0));
        }
        assert_eq!(map.len(), 3_000_000);
        map[2_999_999] = 1;
        map.flush_range(2_999_999, 1).unwrap();
        // Inside the file: the map grows alone.
        let mut part = MmapOptions::new()
            .offset(offset)
            .len(10)
            .map_raw(&file)
            .unwrap();
        part.grow(&file, 2_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3_000_000 + offset);
        assert_eq!(part.len(), 2_000);
        part.flush().unwrap();
    }
}

#[test]
fn what_cannot_grow_stays_as_it_was() {
    let file = file_of(20_000);
    let unchanged = |map: &MmapRaw| {
        assert_eq!(
            (file.metadata().unwrap().len(), map.len()),
            (20_000, 20_000)
        );
        map.flush().unwrap();
    };
    // Too long for the address space, or for a file.
    let mut map = MmapRaw::map_raw(&file).unwrap();
    for len in [usize::MAX, usize::MAX / 2 + 1] {
        assert!(matches!(map.grow(&file, len), Err(Error::TooLong { .. })));
        unchanged(&map);
    }
    // More than any disk has. (Half of a 32-bit address space a disk may have, and a process too.)
    if usize::BITS == 64 {
        assert!(map.grow(&file, isize::MAX as usize - 70_000).is_err());
        unchanged(&map);
    }
    // More than one VMA: mremap takes only one.
    let mut split = MmapRaw::map_raw(&file).unwrap();
    split.advise_range(Advice::Random, 0, 4096).unwrap();
    // QEMU's user mode does it all the same, and then it has grown.
    if split.grow(&file, 100_000).is_err() {
        unchanged(&split);
    } else {
        assert_eq!(split.len(), 100_000);
        file.set_len(20_000).unwrap();
    }
    // Another file, that this map is not of: that one has grown, and nothing here makes a file shorter.
    let other = file_of(10);
    assert_eq!(
        map.grow(&other, 100_000),
        Err(Error::Unreachable { offset: 99_999 })
    );
    unchanged(&map);
    // A private copy has no length in the file.
    // SAFETY: nobody else uses the file.
    let mut private = unsafe { MmapOptions::new().map_copy(&file) }.unwrap();
    // SAFETY: as above.
    let refused = unsafe { private.grow(&file, 50_000) };
    assert_eq!(refused, Err(Error::NoFile));
    // A descriptor that cannot extend the file.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let read_only = File::open(path).unwrap();
    assert!(map.grow(&read_only, 50_000).is_err());
    unchanged(&map);
    // Memory has no file.
    let mut memory = MmapOptions::new().len(20_000).map_anon_shared().unwrap();
    assert_eq!(memory.grow(&file, 50_000), Err(Error::NoFile));
    assert_eq!(memory.start_writeback(&file, 0, 10), Err(Error::NoFile));
    assert_eq!(memory.file_offset(), Err(Error::NoFile));
    unchanged(&memory);
    // A remap, and then to grow from there.
    // SAFETY: no pointer into the map is kept.
    unsafe { map.remap(10_000, RemapOptions::new()) }.unwrap();
    map.grow(&file, 15_000).unwrap();
    assert_eq!(
        (file.metadata().unwrap().len(), map.len()),
        (20_000, 15_000)
    );
}

/// Two handles of one log, each reserving room for its own part. What one has stored there stays.
#[test]
fn two_reserves_at_once_take_nothing_from_each_other() {
    let times = rounds(500);
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = folder.path().join("log");
    let options = || {
        let mut options = File::options();
        options.read(true).write(true).create(true);
        options
    };
    let probe = options().open(&path).unwrap();
    if matches!(reserve(&probe, 0, 1), Err(error) if error.errno() == Some(Errno::OPNOTSUPP)) {
        return skip(
            "reach::two_reserves_at_once_take_nothing_from_each_other",
            "this file system reserves nothing",
        );
    }
    for round in 0..times {
        let file = options().open(&path).unwrap();
        file.set_len(0).unwrap();
        file.set_len(4096).unwrap();
        let (one, other) = (
            options().open(&path).unwrap(),
            options().open(&path).unwrap(),
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                reserve(&one, 0, 65_536).unwrap();
                let map = MmapOptions::new().len(65_536).map_raw(&one).unwrap();
                map.prefault_write(60_000, 6).unwrap();
                store(&map, 60_000, b"record");
                map.flush_range(60_000, 6).unwrap();
            });
            scope.spawn(|| reserve(&other, 0, 8192).unwrap());
        });
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(
            bytes.get(60_000..60_006),
            Some(&b"record"[..]),
            "round {round}"
        );
        assert_eq!(bytes.len(), 65_536, "round {round}");
    }
}

/// A peer that makes the file longer while a map grows: the file is as long as the longest asked for.
#[test]
fn to_grow_beside_a_peer_shortens_nothing() {
    let times = rounds(300);
    // Where nothing can be reserved, zeros are appended, behind what the peer has written, too.
    let appends = rawmap::reserve(file_of(0), 0, 4096).is_err();
    for round in 0..times {
        let file = file_of(4096);
        let mut map = MmapRaw::map_raw(&file).unwrap();
        let peer = file.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // As write(2) past the end does.
                std::os::unix::fs::FileExt::write_all_at(&peer, b"peer", 99_996).unwrap();
            });
            map.grow(&file, 20_000).unwrap();
        });
        let len = file.metadata().unwrap().len();
        assert!(
            len == 100_000 || appends && len > 100_000,
            "round {round}: {len}"
        );
        let mut tail = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut tail, 99_996).unwrap();
        assert_eq!(&tail, b"peer");
    }
}

/// A signal every millisecond interrupts fallocate(2). Each try gets further, or is the last.
#[test]
fn a_reserve_beside_a_timer_ends() {
    const NAME: &str = "reach::a_reserve_beside_a_timer_ends";
    const CHILD: &str = "RAWMAP_TEST_TIMER";
    extern "C" fn tick(_: libc::c_int) {}
    const LEN: u64 = 192 << 20;
    if std::env::var_os(CHILD).is_some() {
        let file = File::from(
            rawmap_core::memfd::MemfdOptions::new()
                .create(c"timer")
                .unwrap(),
        );
        // SAFETY: all zeros is an action; the handler does nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = tick as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            assert_eq!(
                libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()),
                0
            );
        }
        let every = libc::timeval {
            tv_sec: 0,
            tv_usec: 1000,
        };
        let timer = libc::itimerval {
            it_interval: every,
            it_value: every,
        };
        // SAFETY: reads the timer.
        assert_eq!(
            unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) },
            0
        );
        reserve(&file, 0, LEN).unwrap();
        assert_eq!(file.metadata().unwrap().len(), LEN);
        return;
    }
    let program = std::env::current_exe().unwrap();
    let mut child = rawmap_tests::command(program.to_str().unwrap())
        .args(["--exact", NAME])
        .env(CHILD, "1")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let patience = std::time::Duration::from_secs(if is_slow() { 300 } else { 60 });
    let status = crate::wait_for(&mut child, patience);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

/// The file has the length and the bytes that it had.
#[test]
fn what_cannot_be_reserved_leaves_the_length() {
    let disk = match SmallDisk::of(2 << 20) {
        Ok(disk) => disk,
        Err(reason) => return skip("reach::what_cannot_be_reserved_leaves_the_length", &reason),
    };
    let path = disk.path().join("file");
    std::fs::write(&path, pattern(5_000)).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let (offset, len, errno) = (1000, 64 << 20, Errno::NOSPC);
    assert_eq!(
        reserve(&file, offset, len),
        Err(Error::NoSpace { offset, len, errno })
    );
    assert!(std::fs::read(&path).unwrap() == pattern(5_000));
    // Filled to the last block, so that only the kernel can tell.
    disk.fill();
    let refused = reserve(&file, 4_000, 500_000).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::NoSpace {
                offset: 4_000,
                len: 500_000,
                ..
            }
        ),
        "{refused}"
    );
    assert!(std::fs::read(&path).unwrap() == pattern(5_000));
}

/// A block device has its length: a map grows inside it, and no further.
#[test]
fn a_map_of_a_block_device_grows_inside_it() {
    let disk = match FailingDisk::new(On::Device) {
        Ok(disk) => disk,
        Err(reason) => return skip("reach::a_map_of_a_block_device_grows_inside_it", &reason),
    };
    let mut map = MmapOptions::new()
        .offset(5000)
        .len(100)
        .map_raw(&disk.file)
        .unwrap();
    store(&map, 0, b"before");
    map.grow(&disk.file, 1_000_000).unwrap();
    store(&map, 999_995, b"grown");
    map.flush().unwrap();
    assert_eq!(disk.medium(5000, 6), b"before");
    assert_eq!(disk.medium(5000 + 999_995, 5), b"grown");
    let (offset, limit) = (5000, FailingDisk::FILE_LEN as u64);
    let whole = FailingDisk::FILE_LEN - 5000;
    let len = whole as u64 + 1;
    let past = Error::OutOfRange { offset, len, limit };
    assert_eq!(map.grow(&disk.file, whole + 1), Err(past));
    assert_eq!(map.len(), 1_000_000);
    map.grow(&disk.file, whole).unwrap();
    assert_eq!(map.len(), whole);
}
