//! What an error says: the call, the kernel's error by its name, and the numbers that the caller gave.

use std::fs::File;
use std::process::Stdio;

use rawmap_core::{
    Advice, Errno, Error, MmapMut, MmapOptions, MmapRaw, Protection, RemapOptions, reserve,
};
use rawmap_tests::disk::{FailingDisk, On};
use rawmap_tests::{emulator, skip};

use crate::{file_of, file_with, pattern};

/// Checks the text of core's error, that `io::Error` shows the same, and that the error comes back out of it.
fn says(error: Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
    assert!(!text.contains("os error"), "{text}");
    let io = std::io::Error::from(error);
    assert_eq!(io.to_string(), text);
    assert_eq!(Error::from_io(&io), Some(error));
    // The kind is the one of the number.
    if let Some(errno) = error.errno() {
        let plain = std::io::Error::from_raw_os_error(errno.raw_os_error());
        assert_eq!(io.kind(), plain.kind(), "{text}");
    }
}

/// The same of an error of the std crate.
fn std_says(error: &std::io::Error, words: &[&str]) {
    says(Error::from_io(error).expect("of ours"), words);
}

#[test]
fn an_error_of_another_is_not_ours() {
    assert_eq!(Error::from_io(&std::io::Error::other("text")), None);
    assert_eq!(Error::from_io(&std::io::Error::from_raw_os_error(5)), None);
}

#[test]
fn refused_calls_name_the_call_and_the_range() {
    let file = file_with(&pattern(50_000));
    let read_only = File::open(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&file)
    ))
    .unwrap();
    // mmap: the file is not open for writing.
    let part = || {
        let mut options = MmapOptions::new();
        options.offset(5000).len(777);
        options
    };
    let words = ["mmap", "777", "5000", "EACCES"];
    says(part().map_raw(&read_only).unwrap_err(), &words);
    let mut options = rawmap::MmapOptions::new();
    std_says(
        &options
            .offset(5000)
            .len(777)
            .map_raw(&read_only)
            .unwrap_err(),
        &words,
    );
    // mprotect.
    let mut map = MmapOptions::new().map_raw_read_only(&read_only).unwrap();
    let words = ["mprotect", "1234", "8192", "EACCES"];
    says(
        map.protect_range(Protection::ReadWrite, 8192, 1234)
            .unwrap_err(),
        &words,
    );
    says(
        map.protect(Protection::ReadWrite).unwrap_err(),
        &["mprotect", "50000", "EACCES"],
    );
    // fallocate.
    let words = ["fallocate", "4321", "70000", "EBADF"];
    says(reserve(&read_only, 70_000, 4321).unwrap_err(), &words);
    // madvise: what no user may.
    let map = MmapRaw::map_raw(&file).unwrap();
    let words = ["madvise", "1234", "8192", "EPERM"];
    says(
        map.advise_range(Advice::HwPoison, 8192, 1234).unwrap_err(),
        &words,
    );
    let std_map = rawmap::MmapRaw::map_raw(&file).unwrap();
    std_says(
        &std_map
            .advise_range(Advice::HwPoison, 8192, 1234)
            .unwrap_err(),
        &words,
    );
    // Ranges.
    let words = ["60000", "7", "50000"];
    says(map.flush_range(60_000, 7).unwrap_err(), &words);
    std_says(&std_map.flush_range(60_000, 7).unwrap_err(), &words);
    says(
        map.advise_range(Advice::Normal, 60_000, 7).unwrap_err(),
        &words,
    );
    says(map.prefault_read(60_000, 7).unwrap_err(), &words);
    says(map.lock_range(60_000, 7).unwrap_err(), &words);
    says(map.start_writeback(&file, 60_000, 7).unwrap_err(), &words);
    // A pipe has no pages.
    let (pipe, _other) = std::io::pipe().unwrap();
    let words = ["sync_file_range", "77", "8192", "ESPIPE"];
    says(map.start_writeback(&pipe, 8192, 77).unwrap_err(), &words);
    // fsync of a pipe.
    says(
        map.flush_all(&pipe).unwrap_err(),
        &["fsync", "50000", "EINVAL"],
    );
    // Lengths.
    let long = usize::MAX.to_string();
    says(
        MmapOptions::new()
            .len(usize::MAX)
            .map_raw(&file)
            .unwrap_err(),
        &[&long],
    );
    says(
        MmapOptions::new()
            .offset(60_000)
            .map_raw(&file)
            .unwrap_err(),
        &["60000", "50000"],
    );
    let sealable = rawmap::memfd::MemfdOptions::new().create("short").unwrap();
    sealable.set_len(4096).unwrap();
    says(
        MmapOptions::new()
            .len(8192)
            .map_raw_sealed(&sealable)
            .unwrap_err(),
        &["8192", "4096"],
    );
    // What was refused was not sealed.
    sealable.set_len(0).unwrap();
}

/// In a child: its limits are its own.
#[test]
fn what_memory_refuses_names_its_length() {
    const NAME: &str = "errors::what_memory_refuses_names_its_length";
    const CHILD: &str = "RAWMAP_TEST_LIMITS";
    if emulator().is_some() {
        // It gives its own limits to nobody.
        return skip(NAME, "limits are the emulator's here");
    }
    if std::env::var_os(CHILD).is_some() {
        limited();
        return;
    }
    let program = std::env::current_exe().unwrap();
    let done = rawmap_tests::command(program.to_str().unwrap())
        .args(["--exact", NAME])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}");
}

fn limited() {
    let limit = |what, most: u64| {
        let most = libc::rlim_t::try_from(most).unwrap();
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: reads the limit.
        let set = unsafe { libc::setrlimit(what, &limit) };
        assert_eq!(set, 0);
    };
    let map = MmapRaw::from(MmapMut::map_anon(1 << 20).unwrap());
    let mut grown = MmapRaw::map_raw(file_of(10_000)).unwrap();
    limit(libc::RLIMIT_AS, 700 << 20);
    let len = 900usize << 20;
    let text = len.to_string();
    let words = ["mmap", &text, "ENOMEM"];
    says(MmapOptions::new().len(len).map_anon().unwrap_err(), &words);
    let mut options = rawmap::MmapOptions::new();
    std_says(&options.len(len).map_anon().unwrap_err(), &words);
    let file = file_of(1 << 30);
    let words = ["mmap", &text, "4096", "ENOMEM"];
    let mut part = MmapOptions::new();
    part.offset(4096).len(len);
    says(part.map_raw(&file).unwrap_err(), &words);
    // SAFETY: fails; and no pointer into the map is kept.
    let refused = unsafe { grown.remap(len, RemapOptions::new().may_move(true)) };
    says(refused.unwrap_err(), &["mremap", &text, "ENOMEM"]);

    // Root may lock as much as it likes.
    // SAFETY: changes only this child's ids.
    let other = unsafe { libc::setuid(65_534) } == 0;
    limit(libc::RLIMIT_MEMLOCK, 4096);
    if other {
        let words = ["mlock", "50000", "8192", "ENOMEM"];
        says(map.lock_range(8192, 50_000).unwrap_err(), &words);
        // No limit at all is no permission.
        limit(libc::RLIMIT_MEMLOCK, 0);
        let words = ["mlock", "50000", "8192"];
        let refused = map.lock_range(8192, 50_000).unwrap_err();
        says(refused, &words);
        assert!([Some(Errno::PERM), Some(Errno::NOMEM)].contains(&refused.errno()));
    }
}

/// On ext4 a page that is not there can be read, as zeros, and cannot be written.
#[test]
fn a_full_disk_has_its_kind() {
    let disk = match FailingDisk::new(On::Ext4) {
        Ok(disk) => disk,
        Err(reason) => return skip("errors::a_full_disk_has_its_kind", &reason),
    };
    let holes = disk.create("holes");
    holes.set_len(1 << 20).unwrap();
    let filler = disk.create("filler");
    rawmap_tests::disk::fill_with(&filler);
    // What the journal gives back is filled, too.
    for _ in 0..3 {
        // SAFETY: plain system call.
        unsafe { libc::syncfs(std::os::fd::AsRawFd::as_raw_fd(&filler)) };
        rawmap_tests::disk::fill_with(&filler);
    }
    let map = rawmap::MmapRaw::map_raw(&holes).unwrap();
    map.prefault_read(0, 1 << 20).unwrap();
    let refused = map.prefault_write(70_000, 10).unwrap_err();
    assert!(
        matches!(refused, Error::Unwritable { offset: 70_000 }),
        "{refused}"
    );
    assert!(refused.to_string().contains("70000"), "{refused}");
    let refused = std::io::Error::from(refused);
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    let refused = std::io::Error::from(rawmap::reserve(&holes, 70_000, 500_000).unwrap_err());
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    let text = refused.to_string();
    assert!(text.contains("70000") && text.contains("500000"), "{text}");
}
