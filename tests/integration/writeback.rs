//! Write-back that starts, maps that keep their file, small updates, and whole flushes of split maps.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rawmap::{Call, Errno, Error, MmapMut, MmapOptions, MmapRaw, SharedTracked, Tracked};
use rawmap_tests::{emulator, is_slow, skip};

use crate::Told as _;
use crate::flush::{cannot_count, dirty_pages};
use crate::{file_of, file_with, test_dir};

const LEN: usize = 4 << 20;

/// Longer than any disk that other tests keep busy needs for a few megabytes.
const BUSY_DISK: Duration = Duration::from_secs(20);

fn dirty_map(keep: bool) -> (File, MmapRaw) {
    let file = file_with(&vec![0; 2 * LEN]);
    file.sync_all().unwrap();
    let mut options = MmapOptions::new();
    options.offset(4097).len(LEN);
    if keep {
        options.keep_file();
    }
    let map = options.map_raw(&file).unwrap();
    for page in 0..LEN / 4096 {
        // SAFETY: inside the map, and nobody else uses it.
        unsafe { map.as_mut_ptr().add(page * 4096).write_volatile(1) };
    }
    (file, map)
}

/// Dirty pages of the map, when all that was started is over, or patience is.
fn left(file: &File, patience: Duration) -> u64 {
    let start = Instant::now();
    loop {
        let left = dirty_pages(file, 0, 2 * LEN as u64).unwrap();
        if left == 0 || start.elapsed() > patience {
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Dirty pages that are left by what starts write-back. It is asked again: F2FS starts nothing while another file of the disk is synced.
fn left_by(file: &File, mut start: impl FnMut()) -> u64 {
    let begin = Instant::now();
    loop {
        start();
        let left = left(file, Duration::from_millis(200));
        if left == 0 || begin.elapsed() > BUSY_DISK {
            return left;
        }
    }
}

#[test]
fn write_back_starts() {
    if let Some(reason) = cannot_count() {
        return skip("writeback::write_back_starts", reason);
    }
    // The control: nothing starts. Unless the kernel's own time has just come, which is seldom, and less so on
    // a slow machine: it gets three chances.
    let nothing_started = (0..3).any(|_| {
        let (file, map) = dirty_map(false);
        map.flush_async().unwrap();
        left(&file, Duration::from_millis(500)) > 0
    });
    let (file, map) = dirty_map(true);
    assert_eq!(
        left_by(&file, || map.flush_async().unwrap()),
        0,
        "flush_async of a map that keeps its file"
    );
    let (file, map) = dirty_map(false);
    let start = || map.start_writeback(&file, 0, LEN).unwrap();
    assert_eq!(left_by(&file, start), 0, "start_writeback");
    // Where other programs sync the disk all the time, pages are stored without any call.
    let busy = || left(&dirty_map(false).0, Duration::from_millis(500)) == 0;
    assert!(
        nothing_started || busy(),
        "msync(MS_ASYNC) starts write-back here: change the docs"
    );
    // A part: the rest stays, and offsets are those of the map.
    let stays = (0..3).any(|_| {
        let (file, map) = dirty_map(true);
        let page = rawmap::page_size().unwrap().get();
        let started = LEN / 2;
        let start = Instant::now();
        while dirty_pages(&file, 4097, started as u64) != Some(0) {
            map.flush_async_range(0, started).unwrap();
            assert!(start.elapsed() < BUSY_DISK);
        }
        dirty_pages(&file, (4097 + started + page) as u64, LEN as u64).unwrap() > 0
    });
    assert!(stays, "the rest was started, too");
    // Another part, in the middle. What comes before it stays; or the kernel's own time has come, as above.
    let stays = (0..3).any(|_| {
        let (file, map) = dirty_map(false);
        let start = Instant::now();
        while dirty_pages(&file, 4097 + LEN as u64 / 2, LEN as u64 / 4) != Some(0) {
            map.start_writeback(&file, LEN / 2, LEN / 4).unwrap();
            assert!(start.elapsed() < BUSY_DISK);
        }
        dirty_pages(&file, 4097, LEN as u64 / 4).unwrap() > 0
    });
    assert!(stays, "what comes before was started, too");
}

#[test]
fn starting_write_back_checks_its_range() {
    let (file, map) = dirty_map(true);
    for (offset, len) in [(LEN, 1), (0, LEN + 1), (usize::MAX, 2)] {
        assert!(map.start_writeback(&file, offset, len).is_err());
        assert!(map.flush_async_range(offset, len).is_err());
    }
    map.start_writeback(&file, LEN, 0).unwrap();
    map.flush_async_range(LEN, 0).unwrap();
    // A pipe has no pages.
    let (pipe, _other) = std::io::pipe().unwrap();
    let refused = map.start_writeback(&pipe, 0, 1).unwrap_err();
    assert_eq!(refused.number(), Some(libc::ESPIPE));
    map.flush_all(&file).unwrap();
}

#[test]
fn a_kept_file_is_closed_with_the_map_and_on_exec() {
    let file = file_of(10_000);
    let descriptors = || {
        let of_file = |fd: &i32| {
            // SAFETY: all zeros is a `stat`.
            let (mut one, mut two): (libc::stat, libc::stat) = unsafe { std::mem::zeroed() };
            // SAFETY: writes to the `stat`s.
            let known = unsafe { libc::fstat(*fd, &mut one) == 0 };
            // SAFETY: as above.
            let known = known && unsafe { libc::fstat(file.as_raw_fd(), &mut two) == 0 };
            known && (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)
        };
        (0..1000).filter(of_file).collect::<Vec<i32>>()
    };
    assert_eq!(descriptors().len(), 1);
    let map = MmapOptions::new().keep_file().map_raw(&file).unwrap();
    let plain = MmapRaw::map_raw(&file).unwrap();
    let both = descriptors();
    assert_eq!(both.len(), 2, "one for the map that keeps it");
    for fd in &both {
        // SAFETY: only reads a flag.
        let flags = unsafe { libc::fcntl(*fd, libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
    }
    drop((map, plain));
    assert_eq!(descriptors().len(), 1);
    // SAFETY: nobody else uses the file.
    let map = unsafe { MmapOptions::new().keep_file().map_mut(&file) }.unwrap();
    let map = MmapRaw::from(map);
    assert_eq!(descriptors().len(), 2);
    // Core's map keeps none.
    let map = rawmap_core::MmapRaw::from(map);
    assert_eq!(descriptors().len(), 1);
    drop(map);
}

/// One store of 64 bytes in a file that is cached in large folios.
#[test]
fn scattered_updates_dirty_one_page() {
    if let Some(reason) = cannot_count() {
        return skip("writeback::scattered_updates_dirty_one_page", reason);
    }
    let page = rawmap::page_size().unwrap().get();
    let dirtied = |scattered: bool, synced: bool| {
        let mut file = file_of(0);
        file.write_all(&vec![7; LEN]).unwrap();
        if synced {
            file.sync_all().unwrap();
        }
        let mut options = MmapOptions::new();
        if scattered {
            options.scattered();
        }
        // SAFETY: nobody else uses the file.
        let mut map = unsafe { options.map_mut(&file) }.unwrap();
        let before = dirty_pages(&file, 0, LEN as u64).unwrap();
        map[LEN / 2 + 100..][..64].fill(8);
        let dirty = dirty_pages(&file, 0, LEN as u64).unwrap() - before;
        map.flush_range(LEN / 2 + 100, 64).unwrap();
        assert_eq!((map[LEN / 2 + 99], map[LEN / 2 + 100]), (7, 8));
        dirty
    };
    // A part of the file: folios reach over its edges.
    let mut file = file_of(0);
    file.write_all(&vec![7; LEN]).unwrap();
    file.sync_all().unwrap();
    let mut options = MmapOptions::new();
    options.offset(5000).len(LEN / 4).scattered();
    // SAFETY: nobody else uses the file.
    let mut map = unsafe { options.map_mut(&file) }.unwrap();
    map[0] = 1;
    assert_eq!(dirty_pages(&file, 0, LEN as u64), Some(1));
    // And pages that come later come one by one, too.
    let address = format!("{:x}-", map.as_ptr().addr() - 5000 % page);
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let own = smaps.split_once(&address).unwrap().1;
    let flags = own
        .lines()
        .find(|line| line.starts_with("VmFlags:"))
        .unwrap();
    assert!(flags.contains(" rr"), "no MADV_RANDOM: {flags}");

    assert_eq!(dirtied(true, true), 1, "pages of {page} bytes");
    assert_eq!(
        dirtied(true, false),
        1,
        "and where the file was not stored yet"
    );
    // The control, on a file system with large folios: it may be one page here, never less.
    assert!(dirtied(false, true) >= 1);
}

/// The calls of a child of this test, one per line.
fn traced(name: &str, calls: &str, inject: Option<&str>) -> Result<String, String> {
    if emulator().is_some() {
        return Err("strace and the emulator do not mix".to_owned());
    }
    let log = tempfile::NamedTempFile::new_in(test_dir()).unwrap();
    let done = Command::new("strace")
        .args(["-f", "-e", &format!("trace={calls}")])
        .args(inject.map(|what| format!("--inject={what}")))
        .arg("-o")
        .arg(log.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env("RAWMAP_TEST_CHILD", "1")
        .output()
        .map_err(|error| format!("strace: {error}"))?;
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stdout)
    );
    Ok(std::fs::read_to_string(log.path()).unwrap())
}

fn is_child() -> bool {
    std::env::var_os("RAWMAP_TEST_CHILD").is_some()
}

#[test]
fn a_commit_is_one_call_and_an_empty_one_none() {
    const NAME: &str = "writeback::a_commit_is_one_call_and_an_empty_one_none";
    if is_child() {
        // SAFETY: nobody else uses the file.
        let map = unsafe { MmapMut::map_mut(&file_of(1_000_000)) }.unwrap();
        let mut tracked = Tracked::<8>::new(map);
        tracked.commit().unwrap();
        for i in 0..200 {
            tracked.write(i * 5_000, &[1]).unwrap();
        }
        tracked.commit().unwrap();
        tracked.commit().unwrap();
        // Three groups: two calls more than one.
        for offset in [0, 10, 500_000, 500_400, 999_000] {
            tracked.write(offset, &[2]).unwrap();
        }
        tracked.commit_with(1_000).unwrap();
        tracked.retry().unwrap();
        return;
    }
    match traced(NAME, "msync", None) {
        // And the retry's two.
        Ok(log) => assert_eq!(log.matches("msync(").count(), 1 + 3 + 2, "{log}"),
        Err(reason) => skip(NAME, &reason),
    }
}

/// msync(2) is held up before it begins. A write that comes meanwhile does not wait, and is pending
/// afterwards; a second commit waits for the first.
#[test]
fn writes_go_on_while_a_commit_waits() {
    const NAME: &str = "writeback::writes_go_on_while_a_commit_waits";
    if is_child() {
        crate::with_watchdog(NAME, write_while_a_commit_waits);
        return;
    }
    // Microseconds; much more than the writes take. On a busy machine they may take as long: then once more.
    let delay = if is_slow() { 20_000_000 } else { 3_000_000 };
    let held_up = |delay: u32| traced(NAME, "msync", Some(&format!("msync:delay_enter={delay}")));
    let done = std::panic::catch_unwind(|| held_up(delay)).unwrap_or_else(|_| held_up(4 * delay));
    match done {
        Ok(log) => assert_eq!(log.matches("msync(").count(), 2, "{log}"),
        Err(reason) => skip(NAME, &reason),
    }
}

fn write_while_a_commit_waits() {
    // SAFETY: nobody else uses the file.
    let map = unsafe { MmapMut::map_mut(&file_of(100_000)) }.unwrap();
    let tracked = SharedTracked::<4>::new(map);
    tracked.write(10, b"first").unwrap();
    let committed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            tracked.commit().unwrap();
            committed.store(true, Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(500));
        assert!(tracked.is_dirty(), "it is not stored yet");
        for _ in 0..100 {
            tracked.write(50_000, &[2; 1000]).unwrap();
        }
        assert!(
            !committed.load(Ordering::SeqCst),
            "the write waited for the commit"
        );
        // Waits for its turn, and then for its own.
        assert_eq!(
            tracked.commit().unwrap().ranges,
            1,
            "the write was in neither"
        );
        assert!(!tracked.is_dirty());
    });
}

#[test]
fn trackers_start_write_back() {
    if let Some(reason) = cannot_count() {
        return skip("writeback::trackers_start_write_back", reason);
    }
    let map = |file: &File| {
        // SAFETY: nobody else uses the file.
        unsafe { MmapOptions::new().offset(4097).len(LEN).map_mut(file) }.unwrap()
    };
    let file = || {
        let file = file_with(&vec![0; 2 * LEN]);
        file.sync_all().unwrap();
        file
    };
    let one = file();
    let mut tracked = Tracked::<4>::new(map(&one));
    for offset in [10, LEN / 2, LEN - 5] {
        tracked.write(offset, b"five!").unwrap();
    }
    assert!(dirty_pages(&one, 0, 2 * LEN as u64) >= Some(3));
    let start = || tracked.start_writeback(&one).unwrap();
    assert_eq!(left_by(&one, start), 0, "Tracked::start_writeback");
    // Nothing is promised by that.
    assert_eq!(tracked.pending_bytes(), 15);
    let two = file();
    let shared = SharedTracked::<4>::new(map(&two));
    for offset in [10, LEN / 2, LEN - 5] {
        shared.write(offset, b"five!").unwrap();
    }
    assert!(dirty_pages(&two, 0, 2 * LEN as u64) >= Some(3));
    let start = || shared.start_writeback(&two).unwrap();
    assert_eq!(left_by(&two, start), 0, "SharedTracked::start_writeback");
    assert_eq!(shared.pending_bytes(), Ok(15));
}

/// Without a look at pages, which a busy disk stores by itself: that the kernel is asked, and its answer told.
#[test]
fn a_pipe_is_not_what_is_mapped() {
    let (pipe, _end) = std::io::pipe().unwrap();
    let told = |result: Result<(), Error>| {
        assert!(
            matches!(
                result,
                Err(Error::Sys {
                    call: Call::SyncFileRange,
                    errno: Errno::SPIPE,
                    offset: 10,
                    len: 5,
                })
            ),
            "{result:?}"
        );
    };
    // SAFETY: nobody else uses the files.
    let map = || unsafe { MmapMut::map_mut(&file_of(100_000)) }.unwrap();
    told(map().as_raw().start_writeback(&pipe, 10, 5));
    let mut tracked = Tracked::<4>::new(map());
    // Nothing is pending: nothing is asked.
    tracked.start_writeback(&pipe).unwrap();
    tracked.write(10, b"five!").unwrap();
    told(tracked.start_writeback(&pipe));
    let shared = SharedTracked::<4>::new(map());
    shared.start_writeback(&pipe).unwrap();
    shared.write(10, b"five!").unwrap();
    told(shared.start_writeback(&pipe));
    // It was the descriptor: the maps are sound.
    tracked.commit().unwrap();
    shared.commit().unwrap();
}

#[test]
fn a_scattered_map_fills_no_hole() {
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;
    let mut file = file_of(0);
    file.set_len(8 << 20).unwrap();
    let before = file.metadata().unwrap().blocks();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let mut options = MmapOptions::new();
    options.offset(5000).len(100).scattered();
    options.map_raw(&file).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), before);
}
