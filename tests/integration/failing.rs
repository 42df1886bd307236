//! A device that fails: what flush and commit say, and what is on the medium in the end.

use std::os::fd::AsRawFd as _;

use rawmap::{MmapMut, MmapOptions, SharedTracked, Tracked};
use rawmap_core::{Error, MmapRaw, UncheckedAdvice};
use rawmap_tests::disk::{FailingDisk, MapperDisk, On};
use rawmap_tests::skip;

use crate::Told;

/// Runs the test on the device itself and on ext4.
pub fn on_failing_disks(name: &str, test: impl Fn(&FailingDisk, On)) {
    for on in [On::Device, On::Ext4] {
        match FailingDisk::new(on) {
            Ok(disk) => {
                eprintln!("on {on:?}");
                test(&disk, on);
            }
            Err(reason) => return skip(name, &reason),
        }
    }
}

pub fn map(disk: &FailingDisk) -> MmapMut {
    // SAFETY: nobody else uses the disk.
    unsafe {
        MmapOptions::new()
            .len(FailingDisk::FILE_LEN)
            .map_mut(&disk.file)
    }
    .unwrap()
}

pub fn raw(disk: &FailingDisk) -> MmapRaw {
    let mut options = rawmap_core::MmapOptions::new();
    options
        .len(FailingDisk::FILE_LEN)
        .map_raw(&disk.file)
        .unwrap()
}

/// What the kernel itself had under way may fail once more on a slow machine: that stays failed, too.
pub fn retried<T>(mut retry: impl FnMut() -> Result<T, Error>) -> T {
    let mut last = None;
    for _ in 0..20 {
        match retry() {
            Ok(value) => return value,
            Err(error) => last = Some(error),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("no retry succeeds: {last:?}")
}

pub fn failed(error: impl Told + std::fmt::Debug) {
    // tmpfs says ENOSPC to the loop device. That hands it on; before Linux 6.7 it made EIO of it.
    let failures = [libc::EIO, libc::ENOSPC].map(Some);
    assert!(failures.contains(&error.number()), "{error:?}");
}

#[test]
fn a_failed_flush_stays_failed_until_the_bytes_are_on_the_medium() {
    const NAME: &str = "failing::a_failed_flush_stays_failed_until_the_bytes_are_on_the_medium";
    on_failing_disks(NAME, |disk, on| {
        let mut map = map(disk);
        disk.fail();
        map[9000..9005].copy_from_slice(b"bytes");
        // More pages away than are looked at in one go.
        map[1_900_000..1_900_004].copy_from_slice(b"more");
        failed(map.flush_range(9000, 5).unwrap_err());
        for _ in 0..3 {
            failed(map.flush_range(9000, 5).unwrap_err());
            failed(map.flush().unwrap_err());
            // Also where nothing was changed.
            failed(map.flush_range(500_000, 1).unwrap_err());
            failed(map.as_raw().flush_all(&disk.file).unwrap_err());
        }
        failed(map.failed().unwrap());
        // A retry on a device that still fails changes nothing.
        failed(map.retry_flush().unwrap_err());
        failed(map.flush().unwrap_err());
        // Ranges are still checked.
        assert!(map.flush_range(usize::MAX, 2).is_err());
        // No bytes are a question, too: is all well?
        failed(map.flush_range(7, 0).unwrap_err());
        // Write-back that starts could drop what failed.
        failed(map.as_raw().start_writeback(&disk.file, 0, 5).unwrap_err());
        failed(map.flush().unwrap_err());

        disk.recover();
        failed(map.flush().unwrap_err());
        assert_eq!(disk.medium(9000, 5), [0; 5], "{on:?}");
        retried(|| map.retry_flush());
        assert_eq!(disk.medium(9000, 5), b"bytes", "{on:?}");
        assert_eq!(disk.medium(1_900_000, 4), b"more", "{on:?}");
        assert!(map.failed().is_none());
        map.flush().unwrap();
        assert_eq!(&map[9000..9005], b"bytes");
    });
}

/// fsync(2) takes the news of a failure from the kernel, so the map has to keep it.
#[test]
fn a_failed_fsync_is_remembered() {
    const NAME: &str = "failing::a_failed_fsync_is_remembered";
    on_failing_disks(NAME, |disk, on| {
        let mut map = map(disk);
        disk.fail();
        map[9000..9005].copy_from_slice(b"bytes");
        failed(map.as_raw().flush_all(&disk.file).unwrap_err());
        disk.recover();
        failed(map.flush().unwrap_err());
        // Pages that are not in memory are not missed.
        map.retry_flush().unwrap();
        assert_eq!(disk.medium(9000, 5), b"bytes", "{on:?}");
        map.as_raw().flush_all(&disk.file).unwrap();
    });
}

/// A retry that fails keeps the failure, and one that can stores pages that are read-only by now, too.
#[test]
fn a_retry_stores_pages_whatever_their_protection() {
    const NAME: &str = "failing::a_retry_stores_pages_whatever_their_protection";
    if rawmap_tests::emulator().is_some() {
        return skip(NAME, "mremap of 0 bytes aborts in qemu-user");
    }
    on_failing_disks(NAME, |disk, on| {
        let mut map = raw(disk);
        disk.fail();
        crate::store(&map, 100, b"read");
        crate::store(&map, 900_000, b"only");
        let page = rawmap::page_size().unwrap().get();
        map.protect_range(rawmap::Protection::ReadOnly, 0, page)
            .unwrap();
        failed(map.retry_flush().unwrap_err());
        assert!(map.failed().is_some(), "{on:?}");
        disk.recover();
        failed(map.flush().unwrap_err());
        retried(|| map.retry_flush());
        assert_eq!(
            (disk.medium(100, 4), disk.medium(900_000, 4)),
            (b"read".into(), b"only".into())
        );
        map.flush().unwrap();
    });
}

/// The kernel tries again by itself, and keeps that error for the next who asks.
#[test]
fn a_retry_does_not_fail_for_older_errors() {
    const NAME: &str = "failing::a_retry_does_not_fail_for_older_errors";
    on_failing_disks(NAME, |disk, on| {
        let mut tracked = Tracked::<4>::new(map(disk));
        disk.fail();
        tracked.write(9000, b"one").unwrap();
        failed(tracked.commit().unwrap_err());
        tracked.write(9000, b"two").unwrap();
        // As the kernel's own write-back.
        // SAFETY: changes no memory of this process.
        unsafe { libc::posix_fadvise(disk.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        std::thread::sleep(std::time::Duration::from_millis(100));
        disk.recover();
        tracked.retry().unwrap();
        assert_eq!(disk.medium(9000, 3), b"two", "{on:?}");
    });
}

/// A failure that the map brought along is about bytes that `Tracked` does not know.
#[test]
fn a_failure_from_before_is_retried_over_all_of_the_map() {
    const NAME: &str = "failing::a_failure_from_before_is_retried_over_all_of_the_map";
    on_failing_disks(NAME, |disk, on| {
        let mut map = map(disk);
        disk.fail();
        map[9000..9003].copy_from_slice(b"old");
        failed(map.flush().unwrap_err());
        let mut tracked = Tracked::<4>::new(map);
        // Nothing is pending, and yet there is something to tell.
        failed(tracked.commit().unwrap_err());
        tracked.write(900_000, b"new").unwrap();
        failed(tracked.commit().unwrap_err());
        disk.recover();
        tracked.retry().unwrap();
        assert_eq!(
            (disk.medium(9000, 3), disk.medium(900_000, 3)),
            (b"old".into(), b"new".into()),
            "{on:?}"
        );
    });
}

/// The control: plain msync, asked again, says that all is well.
#[test]
fn plain_msync_loses_the_bytes() {
    const NAME: &str = "failing::plain_msync_loses_the_bytes";
    on_failing_disks(NAME, |disk, on| {
        // SAFETY: nobody else uses the disk.
        let mut map = unsafe {
            memmap2::MmapOptions::new()
                .len(FailingDisk::FILE_LEN)
                .map_mut(&disk.file)
        }
        .unwrap();
        disk.fail();
        map[9000..9005].copy_from_slice(b"bytes");
        failed(map.flush_range(9000, 5).unwrap_err());
        // Still failing, and yet:
        map.flush().unwrap();
        disk.recover();
        map.flush().unwrap();
        assert_eq!(
            disk.medium(9000, 5),
            [0; 5],
            "not lost on {on:?}: no control"
        );
    });
}

#[test]
fn a_commit_keeps_its_ranges_until_they_are_on_the_medium() {
    const NAME: &str = "failing::a_commit_keeps_its_ranges_until_they_are_on_the_medium";
    on_failing_disks(NAME, |disk, on| {
        let mut tracked = Tracked::<4>::new(map(disk));
        disk.fail();
        tracked.write(20_000, b"one").unwrap();
        tracked.edit(600_000, 3).unwrap().copy_from_slice(b"two");
        failed(tracked.commit().unwrap_err());
        failed(tracked.commit().unwrap_err());
        failed(tracked.commit_with(0).unwrap_err());
        // What is written now waits, too.
        tracked.write(30_000, b"three").unwrap();
        failed(tracked.retry().unwrap_err());
        assert_eq!((tracked.pending().len(), tracked.pending_bytes()), (3, 11));

        disk.recover();
        failed(tracked.commit().unwrap_err());
        let done = tracked.retry().unwrap();
        // The first call collects errors that are older.
        let page = rawmap::page_size().unwrap().get();
        let mut pages = [20_000, 30_000, 600_000].map(|at| at / page).to_vec();
        pages.dedup();
        assert_eq!((done.ranges, done.pages, done.calls), (3, pages.len(), 2));
        for (offset, bytes) in [(20_000, &b"one"[..]), (600_000, b"two"), (30_000, b"three")] {
            assert_eq!(disk.medium(offset, bytes.len()), bytes, "{on:?}");
        }
        assert!(!tracked.is_dirty() && tracked.failed().is_none());
        assert_eq!(tracked.commit().unwrap().calls, 0);
    });
}

/// What memory pressure does: clean pages leave the map, and then the page cache. All of them here: a folio
/// that is in use somewhere stays.
pub fn forget_pages(disk: &FailingDisk, map: &rawmap_core::MmapMut) {
    // SAFETY: the callers hold no slice.
    unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) }.unwrap();
    let fd = disk.file.as_raw_fd();
    // SAFETY: changes no memory of this process.
    let dropped = unsafe { libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(dropped, 0);
}

/// The kernel may drop a page that it takes for clean. A retry must not call that stored.
#[test]
fn bytes_that_the_kernel_dropped_are_reported() {
    const NAME: &str = "failing::bytes_that_the_kernel_dropped_are_reported";
    on_failing_disks(NAME, |disk, on| {
        let mut tracked = Tracked::<4>::new(map(disk));
        disk.fail();
        tracked.write(20_000, b"gone").unwrap();
        tracked.write(600_000, b"here").unwrap();
        failed(tracked.commit().unwrap_err());
        let core = tracked;
        forget_pages(disk, core.as_map());
        disk.recover();
        let mut core = core;
        assert_eq!(core.retry(), Err(Error::Lost { offset: 20_000 }), "{on:?}");
        assert_eq!(core.pending().len(), 2);
        core.write(20_000, b"back").unwrap();
        core.write(600_000, b"here").unwrap();
        assert_eq!(core.retry().unwrap().ranges, 2);
        assert_eq!(disk.medium(20_000, 4), b"back");
        assert_eq!(disk.medium(600_000, 4), b"here");
    });
    // With one place for two ranges: the ends of what was joined are known.
    on_failing_disks(NAME, |disk, on| {
        let mut core = Tracked::<1>::new(map(disk));
        disk.fail();
        core.write(20_000, b"gone").unwrap();
        core.write(600_000, b"gone").unwrap();
        assert!(core.commit().is_err() && !core.pending().is_exact());
        forget_pages(disk, core.as_map());
        disk.recover();
        assert_eq!(core.retry(), Err(Error::Lost { offset: 20_000 }), "{on:?}");
        // A map that does not know what was changed takes what is there.
        core.as_map().as_raw().retry_flush().unwrap();
    });
}

#[test]
fn a_shared_commit_keeps_its_ranges_too() {
    const NAME: &str = "failing::a_shared_commit_keeps_its_ranges_too";
    on_failing_disks(NAME, |disk, on| {
        let tracked = SharedTracked::<2>::new(map(disk));
        disk.fail();
        tracked.write(20_000, b"one").unwrap();
        failed(tracked.commit().unwrap_err());
        tracked.write(600_000, b"two").unwrap();
        tracked.write(300_000, b"three").unwrap();
        failed(tracked.commit().unwrap_err());
        failed(tracked.retry().unwrap_err());
        disk.recover();
        failed(tracked.commit().unwrap_err());
        assert!(tracked.is_dirty());
        tracked.retry().unwrap();
        for (offset, bytes) in [
            (20_000, &b"one"[..]),
            (600_000, b"two"),
            (300_000, b"three"),
        ] {
            assert_eq!(disk.medium(offset, bytes.len()), bytes, "{on:?}");
        }
        assert!(!tracked.is_dirty() && tracked.failed().is_none());
        assert_eq!(tracked.commit().unwrap().calls, 0);
    });
}

/// A map that keeps its file starts write-back by itself: a failure of that counts as much.
#[test]
fn a_failure_of_write_back_that_was_started_is_remembered() {
    const NAME: &str = "failing::a_failure_of_write_back_that_was_started_is_remembered";
    on_failing_disks(NAME, |disk, on| {
        let map = MmapOptions::new()
            .len(FailingDisk::FILE_LEN)
            .keep_file()
            .map_raw(&disk.file)
            .unwrap();
        // Several VMAs.
        map.advise_range(rawmap::Advice::Random, 0, 8192).unwrap();
        disk.fail();
        crate::store(&map, 9000, b"bytes");
        map.flush_async().unwrap();
        for _ in 0..2 {
            failed(map.flush().unwrap_err());
            failed(map.flush_async().unwrap_err());
        }
        disk.recover();
        map.retry_flush().unwrap();
        assert_eq!(disk.medium(9000, 5), b"bytes", "{on:?}");
        map.flush().unwrap();
    });
}

/// The read-modify-write of a retry loses no store that another thread makes.
#[test]
fn a_retry_changes_no_byte_beside_other_writers() {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    let pages = 16;
    let map = MmapOptions::new()
        .map_raw(&crate::file_of(pages * 4096))
        .unwrap();
    let stop = AtomicBool::new(false);
    let started = AtomicBool::new(false);
    let word = |page: u64| {
        // The word that the retry uses: the first of each page.
        let address = map.as_mut_ptr().wrapping_add(page as usize * 4096).cast();
        // SAFETY: aligned, in the map, and all use it atomically.
        unsafe { AtomicU32::from_ptr(address) }
    };
    let beside_a_writer = || {
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut added = 0;
                while !stop.load(Ordering::Relaxed) {
                    for page in 0..pages {
                        word(page).fetch_add(1, Ordering::Relaxed);
                    }
                    added += 1;
                    started.store(true, Ordering::Relaxed);
                }
                added
            });
            // On a busy machine its turn may come late.
            while !started.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            for _ in 0..50 {
                map.retry_flush().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap()
        })
    };
    const NAME: &str = "failing::a_retry_changes_no_byte_beside_other_writers";
    let added = crate::with_watchdog(NAME, beside_a_writer);
    assert!(added > 0);
    for page in 0..pages {
        assert_eq!(word(page).load(Ordering::Relaxed), added);
    }
}

/// A device that fails as a whole, as one does that is pulled out and put back.
#[test]
fn a_device_that_comes_back_has_what_a_retry_stores() {
    const NAME: &str = "failing::a_device_that_comes_back_has_what_a_retry_stores";
    let disk = match MapperDisk::new("rawmap-comes-back") {
        Ok(disk) => disk,
        Err(reason) => return skip(NAME, &reason),
    };
    let map = MmapOptions::new().map_raw(&disk.open().unwrap()).unwrap();
    assert_eq!(map.len() as u64, MapperDisk::LEN);
    let map = rawmap_core::MmapRaw::from(map);
    crate::store(&map, 70_000, b"before");
    map.flush_range(70_000, 6).unwrap();
    assert_eq!(disk.medium(70_000, 6), b"before");
    disk.fail(true);
    crate::store(&map, 70_000, b"behind");
    failed(map.flush_range(70_000, 6).unwrap_err());
    failed(map.flush().unwrap_err());
    failed(map.retry_flush().unwrap_err());
    disk.fail(false);
    failed(map.flush().unwrap_err());
    assert_eq!(disk.medium(70_000, 6), b"before");
    map.retry_flush().unwrap();
    assert_eq!(disk.medium(70_000, 6), b"behind");
    map.flush().unwrap();
}

/// All calls that tell of a failure, on one map.
fn told_by_all(map: &MmapRaw, disk: &FailingDisk) {
    failed(map.flush().unwrap_err());
    failed(map.flush_range(1_000_000, 1).unwrap_err());
    failed(map.flush_range(3, 0).unwrap_err());
    failed(map.flush_async().unwrap_err());
    failed(map.flush_async_range(1_000_000, 1).unwrap_err());
    failed(map.flush_all(&disk.file).unwrap_err());
    failed(map.start_writeback(&disk.file, 0, 4096).unwrap_err());
    failed(map.failed().unwrap());
}

#[test]
fn every_call_tells_of_a_failure_until_a_retry() {
    const NAME: &str = "failing::every_call_tells_of_a_failure_until_a_retry";
    on_failing_disks(NAME, |disk, on| {
        let map = raw(disk);
        disk.fail();
        crate::store(&map, 9000, b"bytes");
        failed(map.flush_range(9000, 5).unwrap_err());
        told_by_all(&map, disk);
        let mut tracked = Tracked::<4>::new(self::map(disk));
        tracked.write(300_000, b"tracked").unwrap();
        failed(tracked.commit().unwrap_err());
        let shared = SharedTracked::<4>::new(self::map(disk));
        shared.write(600_000, b"shared").unwrap();
        failed(shared.commit().unwrap_err());
        disk.recover();
        // The device works again, and still all tell.
        told_by_all(&map, disk);
        told_by_all(tracked.as_map().as_raw(), disk);
        failed(tracked.commit_with(0).unwrap_err());
        failed(tracked.start_writeback(&disk.file).unwrap_err());
        failed(tracked.failed().unwrap());
        failed(shared.commit_with(0).unwrap_err());
        failed(shared.start_writeback(&disk.file).unwrap_err());
        failed(shared.failed().unwrap());

        retried(|| map.retry_flush());
        retried(|| tracked.retry());
        retried(|| shared.retry());
        for (offset, bytes) in [
            (9000, &b"bytes"[..]),
            (300_000, b"tracked"),
            (600_000, b"shared"),
        ] {
            assert_eq!(disk.medium(offset, bytes.len()), bytes, "{on:?}");
        }
        map.flush_all(&disk.file).unwrap();
        map.start_writeback(&disk.file, 0, 4096).unwrap();
        assert_eq!(tracked.commit().unwrap().calls, 0);
        assert_eq!(shared.commit().unwrap().calls, 0);
    });
}
