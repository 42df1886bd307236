//! What a retry stores: whichever type, map or descriptor the failure was told to.

use std::os::fd::AsRawFd as _;

use rawmap::{MmapOptions, MmapRaw, RemapOptions, SharedTracked, Tracked};
use rawmap_tests::disk::{FailingDisk, NoBitmaps};
use rawmap_tests::skip;

use crate::failing::{failed, forget_pages, map, on_failing_disks, raw, retried};

/// What is found in a map is covered by a retry, whichever type does it.
#[test]
fn bytes_that_were_found_are_stored_by_a_retry() {
    use std::os::unix::fs::FileExt as _;
    const NAME: &str = "retry::bytes_that_were_found_are_stored_by_a_retry";
    on_failing_disks(NAME, |disk, on| {
        // Found by the map: written before it was made.
        let find = |offset: u64| disk.file.write_all_at(b"found", offset).unwrap();
        disk.fail();
        find(100_000);
        let plain = raw(disk);
        crate::store(&plain, 5000, b"own");
        failed(plain.flush().unwrap_err());
        disk.recover();
        retried(|| plain.retry_flush());
        assert_eq!(disk.medium(100_000, 5), b"found", "{on:?}");
        drop(plain);

        disk.make_holes().unwrap();
        disk.fail();
        find(500_000);
        let mut tracked = Tracked::<4>::new(map(disk));
        tracked.write(400_000, b"own").unwrap();
        failed(tracked.as_map().flush().unwrap_err());
        disk.recover();
        retried(|| tracked.retry());
        assert_eq!(disk.medium(500_000, 5), b"found", "{on:?}");
        drop(tracked);

        disk.make_holes().unwrap();
        disk.fail();
        find(1_500_000);
        let shared = SharedTracked::<4>::new(map(disk));
        shared.write(1_400_000, b"own").unwrap();
        // The news may go to the commit of the table's bytes alone.
        failed(shared.commit().unwrap_err());
        disk.recover();
        // A write that comes before the retry is part of it.
        shared.write(1_200_000, &[7; 700]).unwrap();
        assert!(shared.pending_bytes().unwrap() >= 703);
        retried(|| shared.retry());
        assert_eq!(disk.medium(1_500_000, 5), b"found", "{on:?}");
        assert_eq!(disk.medium(1_400_000, 3), b"own", "{on:?}");
        assert_eq!(disk.medium(1_200_000, 700), [7; 700], "{on:?}");
        assert!(!shared.is_dirty());
    });
}

/// Another descriptor's fsync(2) has taken the news of a failure: `flush_all` tells of it all the same.
#[test]
fn flush_all_tells_of_a_failure_that_another_descriptor_was_told() {
    const NAME: &str = "retry::flush_all_tells_of_a_failure_that_another_descriptor_was_told";
    on_failing_disks(NAME, |disk, on| {
        let map = raw(disk);
        let path = format!("/proc/self/fd/{}", disk.file.as_raw_fd());
        let open = || std::fs::File::options().read(true).write(true).open(&path);
        let other = open().unwrap();
        disk.fail();
        crate::store(&map, 36_864, b"precious");
        assert!(other.sync_all().is_err());
        // Opened after the news was told.
        let again = open().unwrap();
        failed(map.flush_all(&again).unwrap_err());
        assert!(map.failed().is_some(), "{on:?}");
        disk.recover();
        failed(map.flush_all(&again).unwrap_err());
        retried(|| map.retry_flush());
        assert_eq!(disk.medium(36_864, 8), b"precious", "{on:?}");
        map.flush_all(&again).unwrap();
    });
}

/// The failure was of bytes beside the map, and of no flush of it: a retry of the sound map tells it.
#[test]
fn a_retry_tells_an_error_that_none_was_told_of() {
    use std::os::unix::fs::FileExt as _;
    const NAME: &str = "retry::a_retry_tells_an_error_that_none_was_told_of";
    on_failing_disks(NAME, |disk, on| {
        let map = MmapOptions::new().len(4096).map_raw(&disk.file).unwrap();
        let path = format!("/proc/self/fd/{}", disk.file.as_raw_fd());
        let other = std::fs::File::options().read(true).write(true).open(path);
        let other = other.unwrap();
        disk.fail();
        other.write_all_at(b"beside", 800_000).unwrap();
        assert!(other.sync_all().is_err(), "{on:?}");
        disk.recover();
        assert!(map.failed().is_none());
        failed(map.retry_flush().unwrap_err());
        retried(|| map.retry_flush());
    });
}

/// Of bytes beside the map msync(2) says nothing, and fsync(2) does: that is remembered, too.
#[test]
fn a_failure_that_only_fsync_tells_stays() {
    use std::os::unix::fs::FileExt as _;
    const NAME: &str = "retry::a_failure_that_only_fsync_tells_stays";
    on_failing_disks(NAME, |disk, on| {
        let map = MmapOptions::new().len(4096).map_raw(&disk.file).unwrap();
        disk.fail();
        disk.file.write_all_at(b"beside", 800_000).unwrap();
        failed(map.flush_all(&disk.file).unwrap_err());
        assert!(map.failed().is_some(), "{on:?}");
        failed(map.flush_range(0, 1).unwrap_err());
        disk.recover();
        failed(map.flush().unwrap_err());
        retried(|| map.retry_flush());
        map.flush().unwrap();
    });
}

/// What failed may lie in the end that would go.
#[test]
fn a_map_that_failed_does_not_become_shorter() {
    const NAME: &str = "retry::a_map_that_failed_does_not_become_shorter";
    on_failing_disks(NAME, |disk, on| {
        let mut map = raw(disk);
        let len = map.len();
        // SAFETY: no pointer is kept.
        let shorten =
            |map: &mut rawmap_core::MmapRaw| unsafe { map.remap(4096, RemapOptions::new()) };
        disk.fail();
        crate::store(&map, 100_000, b"end");
        failed(map.flush().unwrap_err());
        failed(shorten(&mut map).unwrap_err());
        assert_eq!(map.len(), len);
        disk.recover();
        retried(|| map.retry_flush());
        assert_eq!(disk.medium(100_000, 3), b"end", "{on:?}");
        shorten(&mut map).unwrap();
        assert_eq!(map.len(), 4096);
    });
}

/// Two maps of one open file: the kernel tells one of them. A retry of each leaves nothing unsaid and all stored.
#[test]
fn two_maps_of_one_file_are_stored_by_their_retries() {
    const NAME: &str = "retry::two_maps_of_one_file_are_stored_by_their_retries";
    on_failing_disks(NAME, |disk, on| {
        let (one, two) = (raw(disk), raw(disk));
        disk.fail();
        crate::store(&one, 9000, b"one");
        crate::store(&two, 900_000, b"two");
        let first = one.flush_range(9000, 3);
        let second = two.flush_range(900_000, 3);
        assert!(first.is_err() || second.is_err());
        disk.recover();
        // Of its own, each keeps it.
        for (map, told) in [(&one, &first), (&two, &second)] {
            assert_eq!(map.flush().is_err(), told.is_err(), "{on:?}");
        }
        retried(|| one.retry_flush());
        retried(|| two.retry_flush());
        assert_eq!(disk.medium(9000, 3), b"one", "{on:?}");
        assert_eq!(disk.medium(900_000, 3), b"two", "{on:?}");
        one.flush().unwrap();
        two.flush().unwrap();
    });
}

/// Longer than what is copied in one critical section.
#[test]
fn a_long_shared_write_is_committed_whole() {
    const NAME: &str = "retry::a_long_shared_write_is_committed_whole";
    on_failing_disks(NAME, |disk, on| {
        let shared = SharedTracked::<4>::new(map(disk));
        let bytes = crate::pattern(70_000);
        shared.write(4_000, &bytes).unwrap();
        assert_eq!(shared.pending_bytes(), Ok(70_000));
        shared.commit().unwrap();
        assert!(disk.medium(4_000, 70_000) == bytes, "{on:?}");
    });
}

/// As `two_maps_of_one_file_are_stored_by_their_retries`, where one commit takes the news of the other's bytes.
#[test]
fn two_trackers_of_one_file_are_stored_by_their_retries() {
    const NAME: &str = "retry::two_trackers_of_one_file_are_stored_by_their_retries";
    on_failing_disks(NAME, |disk, on| {
        let half = FailingDisk::FILE_LEN / 2;
        let part = |offset: usize| {
            let mut options = MmapOptions::new();
            options.offset(offset as u64).len(half);
            // SAFETY: nobody else uses the disk.
            Tracked::<4>::new(unsafe { options.map_mut(&disk.file) }.unwrap())
        };
        let (mut one, mut two) = (part(0), part(half));
        disk.fail();
        one.write(9000, b"one").unwrap();
        two.write(900_000, b"two").unwrap();
        // As the kernel's own write-back does.
        // SAFETY: changes no memory of this process.
        unsafe { libc::posix_fadvise(disk.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        std::thread::sleep(std::time::Duration::from_millis(300));
        let first = one.commit();
        let second = two.commit();
        assert!(first.is_err() || second.is_err(), "{on:?}");
        disk.recover();
        // The error of one is an error of all: retry each.
        for tracked in [&mut one, &mut two] {
            retried(|| tracked.retry());
        }
        assert_eq!(disk.medium(9000, 3), b"one", "{on:?}");
        assert_eq!(
            disk.medium(half + 900_000, 3),
            b"two",
            "{on:?}: {first:?} {second:?}"
        );
    });
}

/// The option drops pages, and before that the kernel says whether they are stored: once for each open file.
#[test]
fn a_scattered_map_tells_what_failed_before() {
    use std::os::unix::fs::FileExt as _;
    const NAME: &str = "retry::a_scattered_map_tells_what_failed_before";
    on_failing_disks(NAME, |disk, on| {
        let mut options = rawmap_core::MmapOptions::new();
        options.offset(1 << 20).len(4096).scattered();
        disk.fail();
        disk.file.write_all_at(b"bytes", 9000).unwrap();
        let path = format!("/proc/self/fd/{}", disk.file.as_raw_fd());
        let other = std::fs::File::options().write(true).open(path).unwrap();
        other.sync_all().unwrap_err();
        for _ in 0..2 {
            let error = options.map_raw(&disk.file).unwrap_err();
            assert!(
                error.to_string().contains("4096 bytes at offset 1048576"),
                "{error}"
            );
            failed(error);
        }
        disk.recover();
        let map = retried(|| options.map_raw(&disk.file));
        assert_eq!(disk.medium(9000, 5), b"bytes", "{on:?}");
        map.flush().unwrap();
    });
}

/// A commit failed and was mended by the map's own retry. Then a flush of the map fails, about bytes that no table knows.
#[test]
fn a_retry_stores_what_no_table_knows() {
    use std::os::unix::fs::FileExt as _;
    const NAME: &str = "retry::a_retry_stores_what_no_table_knows";
    on_failing_disks(NAME, |disk, on| {
        let mut tracked = Tracked::<4>::new(map(disk));
        disk.fail();
        tracked.write(0, b"one").unwrap();
        failed(tracked.commit().unwrap_err());
        disk.recover();
        retried(|| tracked.as_map().as_raw().retry_flush());
        tracked.commit().unwrap();
        // By write(2), as of another process.
        disk.make_holes().unwrap();
        disk.fail();
        disk.file.write_all_at(b"precious", 900_000).unwrap();
        tracked.write(160_000, b"two").unwrap();
        failed(tracked.as_map().flush().unwrap_err());
        disk.recover();
        retried(|| tracked.retry());
        assert_eq!(disk.medium(160_000, 3), b"two", "{on:?}");
        assert_eq!(disk.medium(900_000, 8), b"precious", "{on:?}");
        assert!(tracked.failed().is_none());
    });
}

/// Another descriptor's user was told, and the kernel dropped the page: it had taken it for stored.
#[test]
fn pending_bytes_that_are_gone_are_told_though_another_was_told_of_the_failure() {
    const NAME: &str =
        "retry::pending_bytes_that_are_gone_are_told_though_another_was_told_of_the_failure";
    on_failing_disks(NAME, |disk, on| {
        let mut tracked = Tracked::<4>::new(map(disk));
        disk.fail();
        tracked.write(20_000, b"gone").unwrap();
        assert!(disk.file.sync_all().is_err(), "{on:?}");
        forget_pages(disk, tracked.as_map());
        disk.recover();
        let lost = |error| matches!(error, rawmap_core::Error::Lost { offset: 20_000 });
        assert!(tracked.retry().is_err_and(lost), "{on:?}");
        // What memory has there by now is not what was written.
        failed(tracked.commit().unwrap_err());
        tracked.write(20_000, b"gone").unwrap();
        tracked.retry().unwrap();
        assert_eq!(disk.medium(20_000, 4), b"gone", "{on:?}");
    });
}

/// ext4 gives the bytes up, and no later msync(2) would tell.
#[test]
fn bytes_that_get_no_place_when_write_back_starts_are_not_forgotten() {
    const NAME: &str = "retry::bytes_that_get_no_place_when_write_back_starts_are_not_forgotten";
    let disk = match NoBitmaps::new() {
        Ok(disk) => disk,
        Err(reason) => return skip(NAME, &reason),
    };
    disk.file.set_len(4 << 20).unwrap();
    let map = MmapRaw::map_raw(&disk.file).unwrap();
    for at in (0..map.len()).step_by(4096) {
        crate::store(&map, at, b"x");
    }
    // ENOSPC; or EUCLEAN, where a loop device reads zeros behind the end of its file (seen on Linux 6.1).
    map.start_writeback(&disk.file, 0, map.len()).unwrap_err();
    assert!(map.failed().is_some());
    for _ in 0..2 {
        assert!(map.flush().is_err());
        assert!(map.flush_range(0, 1).is_err());
    }
}
