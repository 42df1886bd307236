//! Faults in contained maps: each is survived, reported, and ends when it is acknowledged.

use rawmap::{Error, Mmap, MmapOptions, Protection, Tracked};
use rawmap_tests::disk::{FailingDisk, MapperDisk, On, SmallDisk};
use rawmap_tests::{emulator, is_slow, machine, skip};

use crate::{
    contained, cut, in_child, in_file, load, lost_at, page, pages, signal, store, survives,
};

#[test]
fn truncate_under_read() {
    survives("contained::truncate_under_read", || {
        let (file, page) = (pages(4), page());
        let mut map = contained(&file);
        assert!(map.is_contained() && map.lost().is_none());
        assert_eq!(load(&map, 2 * page), 3);
        cut(&file, 1);
        // The whole page is lost, from its first byte on.
        assert_eq!(load(&map, 2 * page + 77), 0);
        assert_eq!(map.lost(), Some(2 * page));
        // One page only: the others are as they were.
        assert_eq!(load(&map, 0), 1);
        // Every flush fails, also of what is there.
        let at = Some(2 * page as u64);
        assert_eq!(lost_at(map.flush()), at);
        assert_eq!(lost_at(map.flush_range(0, 1)), at);
        assert_eq!(lost_at(map.flush_async()), at);
        assert_eq!(lost_at(map.flush_all(&file)), at);
        assert_eq!(lost_at(map.retry_flush()), at);
        assert_eq!(lost_at(map.start_writeback(&file, 0, 1)), at);
        // Nothing to store is the loss, too, and a bad range is what it was.
        assert_eq!(lost_at(map.flush_range(5, 0)), at);
        assert!(map.flush_range(usize::MAX, 2).is_err());
        // Acknowledged: what is there is flushed, and what is not stays an error.
        assert_eq!(map.acknowledge_lost(), Some(2 * page));
        assert_eq!(map.lost(), None);
        store(&map, 9, 99);
        map.flush_range(0, page).unwrap();
        assert_eq!(in_file(&file, 9), 99);
        assert_eq!(lost_at(map.flush_range(2 * page + 5, 1)), at);
        assert_eq!(lost_at(map.flush_range(page, 1)), Some(page as u64));
        // Recovered, and the file is long again.
        cut(&file, 4);
        map.recover(&file).unwrap();
        assert_eq!(load(&map, 2 * page + 77), 0);
        store(&map, 2 * page + 77, 5);
        map.flush().unwrap();
        assert_eq!(in_file(&file, 2 * page + 77), 5);
        assert_eq!((map.lost(), load(&map, 9)), (None, 99));
    });
}

#[test]
fn a_loss_after_a_retry_is_told() {
    survives("contained::a_loss_after_a_retry_is_told", || {
        let (file, page) = (pages(3), page());
        let map = contained(&file);
        store(&map, 2 * page, 7);
        map.retry_flush().unwrap();
        cut(&file, 1);
        // Nothing was accessed there: the flush looks.
        assert_eq!(lost_at(map.flush()), Some(page as u64));
        assert_eq!(load(&map, page + 5), 0);
        assert_eq!(lost_at(map.flush_range(0, 1)), Some(page as u64));
    });
}

#[test]
fn what_lies_behind_a_lost_page_is_flushed() {
    survives("contained::what_lies_behind_a_lost_page_is_flushed", || {
        let (file, page) = (pages(3), page());
        let map = contained(&file);
        cut(&file, 1);
        assert_eq!(load(&map, page), 0);
        assert_eq!(map.acknowledge_lost(), Some(page));
        cut(&file, 3);
        store(&map, 0, 7);
        store(&map, 2 * page, 8);
        map.flush_range(0, page).unwrap();
        map.flush_range(2 * page, page).unwrap();
        assert_eq!(lost_at(map.flush_range(page, 1)), Some(page as u64));
        assert_eq!(lost_at(map.flush_range(page - 1, 2)), Some(page as u64));
        assert_eq!(in_file(&file, 2 * page), 8);
    });
}

#[test]
fn truncate_under_write() {
    survives("contained::truncate_under_write", || {
        let (file, page) = (pages(3), page());
        let map = contained(&file);
        store(&map, page, 7);
        cut(&file, 0);
        store(&map, 2 * page + 1, 8);
        assert_eq!(map.lost(), Some(2 * page));
        // The store completed, in memory.
        assert_eq!(load(&map, 2 * page + 1), 8);
        store(&map, page + 1, 9);
        assert_eq!(load(&map, page), 0);
        assert_eq!(map.lost(), Some(page));
        assert_eq!(lost_at(map.flush()), Some(page as u64));
        assert_eq!(file.metadata().unwrap().len(), 0);
    });
}

#[test]
fn truncate_under_flush() {
    survives("contained::truncate_under_flush", || {
        let (file, page) = (pages(5), page());
        let map = contained(&file);
        for number in 0..5 {
            store(&map, number * page, 50);
        }
        cut(&file, 2);
        // Nobody touched what is gone. A plain msync(2) says that all is well.
        assert_eq!(map.lost(), None);
        let first = Some(2 * page as u64);
        assert_eq!(lost_at(map.flush()), first);
        assert_eq!(lost_at(map.flush_range(page, 4 * page)), first);
        assert_eq!(
            lost_at(map.flush_range(3 * page + 1, 9)),
            Some(3 * page as u64 + 1)
        );
        assert_eq!(lost_at(map.flush_all(&file)), first);
        map.flush_range(0, 2 * page).unwrap();
        assert_eq!(in_file(&file, page), 50);
        // Long again: what was stored before is gone, and what is stored now is not.
        cut(&file, 5);
        store(&map, 4 * page, 51);
        map.flush().unwrap();
        assert_eq!(
            (in_file(&file, 4 * page), in_file(&file, 3 * page)),
            (51, 0)
        );
    });
}

#[test]
fn commit_tells_a_loss() {
    survives("contained::commit_tells_a_loss", || {
        let (file, page) = (pages(4), page());
        // SAFETY: the slices are not used across a truncation.
        let map = unsafe { MmapOptions::new().contained().map_mut(&file) }.unwrap();
        let mut state = Tracked::<4>::new(map);
        state.write(3 * page, b"new").unwrap();
        cut(&file, 1);
        assert_eq!(lost_at(state.commit()), Some(3 * page as u64));
        assert!(state.is_dirty());
        // A fault, and nothing pending.
        assert_eq!(std::hint::black_box(&state)[2 * page], 0);
        assert_eq!(state.lost(), Some(2 * page));
        assert_eq!(lost_at(state.commit()), Some(2 * page as u64));
        assert!(lost_at(state.retry()).is_some());
        cut(&file, 4);
        // SAFETY: the file that is mapped.
        unsafe { state.recover(&file) }.unwrap();
        state.write(3 * page, b"new").unwrap();
        state.commit().unwrap();
        assert_eq!(in_file(&file, 3 * page), b'n');
    });
}

#[test]
fn a_map_that_keeps_its_file() {
    survives("contained::a_map_that_keeps_its_file", || {
        let (file, page) = (pages(4), page());
        let mut options = MmapOptions::new();
        let map = options.contained().keep_file().map_raw(&file).unwrap();
        map.advise_range(rawmap::Advice::Random, page, page)
            .unwrap();
        store(&map, 0, 9);
        map.flush().unwrap();
        assert_eq!(in_file(&file, 0), 9);
        cut(&file, 2);
        assert_eq!(lost_at(map.flush()), Some(2 * page as u64));
        assert_eq!(load(&map, 3 * page), 0);
        assert_eq!(lost_at(map.flush_async()), Some(3 * page as u64));
    });
}

#[test]
fn try_with_tells_what_was_lost_meanwhile() {
    survives("contained::try_with_tells_what_was_lost_meanwhile", || {
        let (file, page) = (pages(3), page());
        let mut map = contained(&file);
        assert_eq!(map.try_with(|map| load(map, page)).unwrap(), 2);
        cut(&file, 1);
        let lost = map.try_with(|map| load(map, page)).map(|_| ());
        assert_eq!(lost_at(lost), Some(page as u64));
        // Not acknowledged: it does not run.
        let lost = map.try_with(|_| panic!("ran"));
        assert_eq!(lost_at(lost), Some(page as u64));
        map.acknowledge_lost();
        assert_eq!(map.try_with(|map| load(map, 0)).unwrap(), 1);
        // Acknowledged inside, as by another thread.
        let lost = map.try_with(|map| {
            load(map, 2 * page);
            map.acknowledge_lost();
        });
        assert!(lost_at(lost).is_some());
        map.recover(&file).unwrap();
        map.try_with(|map| load(map, 0)).unwrap();
    });
}

#[test]
fn private_copies_lose_bytes_too() {
    survives("contained::private_copies_lose_bytes_too", || {
        let (file, page) = (pages(3), page());
        let mut options = MmapOptions::new();
        // SAFETY: no slice lives across a truncation.
        let mut map = unsafe { options.contained().map_copy(&file) }.unwrap();
        map[page] = 77;
        cut(&file, 0);
        assert_eq!(std::hint::black_box(&map)[page], 0);
        assert_eq!(map.as_raw().lost(), Some(page));
        assert_eq!(lost_at(map.flush()), Some(page as u64));
        // What it had is nowhere: there is nothing to map again.
        // SAFETY: the file that is mapped.
        assert!(unsafe { map.recover(&file) }.is_err());
        assert_eq!(map.as_raw().acknowledge_lost(), Some(page));
    });
}

#[test]
fn a_private_copy_gets_rid_of_what_it_lost() {
    survives("contained::a_private_copy_gets_rid_of_what_it_lost", || {
        let (file, page) = (pages(3), page());
        let mut options = MmapOptions::new();
        // SAFETY: no slice lives across a truncation or a remap.
        let mut map = unsafe { options.contained().map_copy(&file) }.unwrap();
        cut(&file, 1);
        assert_eq!(std::hint::black_box(&map)[2 * page], 0);
        let shorter = |map: &mut rawmap::MmapMut| {
            // SAFETY: as above.
            unsafe { map.remap(2 * page, rawmap::RemapOptions::new()) }
        };
        assert!(lost_at(shorter(&mut map)).is_some());
        assert_eq!(map.as_raw().acknowledge_lost(), Some(2 * page));
        shorter(&mut map).unwrap();
        assert_eq!(map.len(), 2 * page);
        // It is still contained.
        assert_eq!(std::hint::black_box(&map)[page], 0);
        assert_eq!(map.as_raw().lost(), Some(page));
    });
}

#[test]
fn pages_of_empty_and_short_maps() {
    survives("contained::pages_of_empty_and_short_maps", || {
        let file = pages(0);
        let map = contained(&file);
        assert!(map.is_empty());
        // SAFETY: the page of an empty map is mapped, and the fault is contained.
        assert_eq!(unsafe { map.as_ptr().read_volatile() }, 0);
        assert_eq!(map.lost(), Some(0));
        let file = pages(2);
        let at = page() as u64 + 9;
        let mut options = MmapOptions::new();
        let map = options
            .offset(at)
            .len(1)
            .contained()
            .map_raw(&file)
            .unwrap();
        assert_eq!(load(&map, 0), 2);
        cut(&file, 1);
        assert_eq!(load(&map, 0), 0);
        assert_eq!(map.lost(), Some(0));
        // The last byte of its page, too.
        let last = page() - 9 - 1;
        // SAFETY: the map's own page, which was replaced.
        assert_eq!(
            unsafe { map.as_ptr().wrapping_add(last).read_volatile() },
            0
        );
    });
}

#[test]
fn offsets_inside_a_page() {
    survives("contained::offsets_inside_a_page", || {
        let (file, page) = (pages(4), page());
        let mut options = MmapOptions::new();
        let mut map = options.offset(100).contained().map_raw(&file).unwrap();
        cut(&file, 1);
        // Byte 2 * page of the file.
        assert_eq!(load(&map, 2 * page - 100 + 5), 0);
        assert_eq!(map.lost(), Some(2 * page - 100));
        cut(&file, 4);
        map.recover(&file).unwrap();
        store(&map, 2 * page - 100 + 5, 6);
        map.flush().unwrap();
        assert_eq!(in_file(&file, 2 * page + 5), 6);
        // The first page is lost from the map's first byte on.
        cut(&file, 0);
        assert_eq!(load(&map, 50), 0);
        assert_eq!(map.lost(), Some(0));
    });
}

#[test]
fn read_only_maps() {
    survives("contained::read_only_maps", || {
        let (file, page) = (pages(2), page());
        let mut map = MmapOptions::new()
            .contained()
            .map_raw_read_only(&file)
            .unwrap();
        cut(&file, 1);
        assert_eq!(load(&map, page), 0);
        assert_eq!(map.lost(), Some(page));
        // The page that took its place allows no more than the map does.
        assert!(map.shared().store(page, 1u8).is_err());
        map.recover(&file).unwrap();
        cut(&file, 2);
        assert_eq!(map.shared().load::<u8>(page).unwrap(), 0);
        // SAFETY: the slices are not used across a truncation.
        let map = unsafe { MmapOptions::new().contained().map(&file) }.unwrap();
        let map: Mmap = map;
        cut(&file, 1);
        assert_eq!(std::hint::black_box(&map)[page], 0);
        assert_eq!(map.as_raw().lost(), Some(page));
    });
}

#[test]
fn protection_may_change() {
    survives("contained::protection_may_change", || {
        let (file, page) = (pages(4), page());
        let mut map = MmapOptions::new()
            .contained()
            .map_raw_read_only(&file)
            .unwrap();
        map.protect(Protection::ReadWrite).unwrap();
        cut(&file, 1);
        store(&map, page, 1);
        assert_eq!(map.lost(), Some(page));
        map.protect(Protection::ReadOnly).unwrap();
        assert_eq!(load(&map, 2 * page), 0);
        // One page more than the others: a store there must not fault for ever.
        map.protect_range(Protection::ReadWrite, 3 * page, page)
            .unwrap();
        store(&map, 3 * page, 4);
        assert_eq!(load(&map, 3 * page), 4);
    });
}

#[test]
fn full_disk_under_write() {
    const NAME: &str = "contained::full_disk_under_write";
    let disk = match SmallDisk::of(1 << 20) {
        Ok(disk) => disk,
        Err(reason) => return skip(NAME, &reason),
    };
    drop(disk);
    survives(NAME, || {
        let disk = SmallDisk::of(1 << 20).unwrap();
        let page = page();
        let file = tempfile::tempfile_in(disk.path()).unwrap();
        cut(&file, 4);
        let mut map = contained(&file);
        store(&map, 0, 1);
        disk.fill();
        // A hole, and no block for it.
        store(&map, 2 * page, 2);
        assert_eq!(map.lost(), Some(2 * page));
        assert_eq!(lost_at(map.flush()), Some(2 * page as u64));
        disk.make_room();
        map.recover(&file).unwrap();
        store(&map, 2 * page, 3);
        map.flush().unwrap();
        assert_eq!((in_file(&file, 0), in_file(&file, 2 * page)), (1, 3));
    });
}

#[test]
fn full_disk_kills_where_a_map_is_not_contained() {
    const NAME: &str = "contained::full_disk_kills_where_a_map_is_not_contained";
    if let Err(reason) = SmallDisk::of(1 << 20) {
        return skip(NAME, &reason);
    }
    let status = in_child(NAME, || {
        let disk = SmallDisk::of(1 << 20).unwrap();
        let file = tempfile::tempfile_in(disk.path()).unwrap();
        cut(&file, 4);
        let map = MmapOptions::new().map_raw(&file).unwrap();
        disk.fill();
        drop(disk);
        store(&map, 2 * page(), 2);
    });
    assert_eq!(signal(status), Some(libc::SIGBUS), "{status}");
}

#[test]
fn io_error_under_flush() {
    const NAME: &str = "contained::io_error_under_flush";
    for with in [true, false] {
        let disk = match FailingDisk::new(On::Device) {
            Ok(disk) => disk,
            Err(reason) => return skip(NAME, &reason),
        };
        let at = 9 * page();
        let mut options = MmapOptions::new();
        if with {
            options.contained();
        }
        let map = options.len(1 << 20).map_raw(&disk.file).unwrap();
        disk.fail();
        store(&map, at, 7);
        // Not a loss: the bytes are still in memory, and the flush stays failed.
        for _ in 0..2 {
            assert!(
                Error::from_io(&map.flush().unwrap_err())
                    .unwrap()
                    .errno()
                    .is_some()
            );
        }
        assert_eq!((map.lost(), load(&map, at)), (None, 7));
        disk.recover();
        let tries = (0..5).map(|_| map.retry_flush());
        tries.into_iter().find(Result::is_ok).unwrap().unwrap();
        map.flush().unwrap();
        assert_eq!(disk.medium(at, 1), [7]);
    }
}

#[test]
fn io_error_under_read() {
    const NAME: &str = "contained::io_error_under_read";
    if let Err(reason) = MapperDisk::new("rawmap-death-probe") {
        return skip(NAME, &reason);
    }
    survives(NAME, || {
        let disk = MapperDisk::new("rawmap-death").unwrap();
        let file = disk.open().unwrap();
        let mut options = MmapOptions::new();
        let mut map = options.len(1 << 20).contained().map_raw(&file).unwrap();
        assert_eq!(load(&map, 0), 0);
        disk.fail(true);
        // Far from what was read ahead.
        let at = 900_000;
        assert_eq!(load(&map, at), 0);
        let first = at & !(page() - 1);
        assert_eq!(map.lost(), Some(first));
        assert_eq!(lost_at(map.flush()), Some(first as u64));
        disk.fail(false);
        map.recover(&file).unwrap();
        store(&map, at, 7);
        map.flush().unwrap();
        drop(map);
        assert_eq!(disk.medium(at, 1), [7]);
    });
}

#[test]
fn more_lost_pages_than_the_kernel_has_vmas_for() {
    const NAME: &str = "contained::more_lost_pages_than_the_kernel_has_vmas_for";
    if is_slow() || emulator().is_some() || machine().is_some() {
        return skip(NAME, "an hour of faults");
    }
    survives(NAME, || {
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        if limit > 100_000 {
            eprintln!("a kernel with room for {limit} maps has room enough");
            return;
        }
        let page = page();
        let file = pages(0);
        let count = limit + 1000;
        cut(&file, 2 * count);
        let map = contained(&file);
        cut(&file, 1);
        // Every second page, from the end: none of them is beside another.
        for number in (1..count).rev() {
            assert_eq!(load(&map, 2 * number * page), 0);
        }
        assert_eq!(map.lost(), Some(2 * page));
        assert_eq!(lost_at(map.flush()), Some(2 * page as u64));
    });
}
