//! What is on the medium when `Flash` says so, read below the page cache. The maps are not `.scattered()`: that would store
//! what is found in a map before the chip does.

use embedded_storage::nor_flash::NorFlash as _;
use rawmap::adapter::{Backing, Flash, Overwrite};
use rawmap::{MmapMut, MmapOptions, Tracked};
use rawmap_tests::disk::{FailingDisk, On};
use rawmap_tests::skip;
use std::os::unix::fs::FileExt as _;

const LEN: usize = FailingDisk::FILE_LEN;

type Chip<B> = Flash<B, Overwrite, 1, 1, 4096>;

fn disk(test: &str) -> Option<FailingDisk> {
    match FailingDisk::new(On::Device) {
        Ok(disk) => Some(disk),
        Err(reason) => {
            skip(test, &reason);
            None
        }
    }
}

fn part(disk: &FailingDisk, offset: usize, len: usize) -> MmapMut {
    let mut options = MmapOptions::new();
    // SAFETY: nobody else uses the disk.
    unsafe { options.offset(offset as u64).len(len).map_mut(&disk.file) }.unwrap()
}

fn map(disk: &FailingDisk) -> MmapMut {
    part(disk, 0, LEN)
}

/// What a process that was killed has written, and not waited for.
fn leave(disk: &FailingDisk, offset: usize, bytes: &[u8]) {
    disk.file.write_all_at(bytes, offset as u64).unwrap();
    assert_ne!(disk.medium(offset, bytes.len()), bytes);
}

/// Does it on each kind of map; the bytes are other ones for each.
macro_rules! on_each_map {
    ($disk:expr, $check:ident) => {{
        let disk = $disk;
        let core = || rawmap_core::MmapMut::from(map(disk));
        let tracked = || rawmap_core::Tracked::<2>::new(core());
        $check(disk, || map(disk), b"rawmap::MmapMut");
        $check(disk, || Tracked::<2>::new(map(disk)), b"rawmap::Tracked");
        $check(disk, core, b"core::MmapMut");
        $check(disk, tracked, b"core::Tracked");
    }};
}

#[test]
fn what_a_chip_finds_is_stored_first() {
    let Some(disk) = disk("flash::medium::what_a_chip_finds_is_stored_first") else {
        return;
    };
    fn check<B: Backing>(disk: &FailingDisk, map: impl Fn() -> B, bytes: &[u8]) {
        let places = [5000, LEN / 2 + 5000, LEN - 5000];
        let are_there = |places: [usize; 3]| {
            for place in places {
                assert_eq!(disk.medium(place, bytes.len()), bytes, "{place}");
            }
        };
        let _ = places.map(|place| leave(disk, place, bytes));
        Chip::new(map()).unwrap();
        are_there(places);
        // By the first commit, also when something else was written.
        let places = places.map(|place| place + 100);
        let _ = places.map(|place| leave(disk, place, bytes));
        let mut chip = Chip::buffered(map()).unwrap();
        chip.write(20_000, bytes).unwrap();
        chip.commit().unwrap();
        are_there(places);
        assert_eq!(disk.medium(20_000, bytes.len()), bytes);
    }
    on_each_map!(&disk, check);
}

#[test]
fn what_is_written_is_on_the_medium_when_it_says_so() {
    let Some(disk) = disk("flash::medium::what_is_written_is_on_the_medium_when_it_says_so") else {
        return;
    };
    fn check<B: Backing>(disk: &FailingDisk, map: impl Fn() -> B, bytes: &[u8]) {
        let mut chip = Chip::new(map()).unwrap();
        for at in [8192, LEN - 4096] {
            chip.write(at as u32, bytes).unwrap();
            assert_eq!(disk.medium(at, bytes.len()), bytes);
            chip.erase(at as u32, at as u32 + 4096).unwrap();
            assert_eq!(disk.medium(at, 4096), [0xFF; 4096]);
        }
        let mut chip = Chip::buffered(map()).unwrap();
        // The second commit is not of what was found.
        for round in [0, 100] {
            for at in [12_288 + round, LEN - 2048 + round] {
                chip.write(at as u32, bytes).unwrap();
                assert_ne!(disk.medium(at, bytes.len()), bytes);
            }
            chip.commit().unwrap();
            for at in [12_288 + round, LEN - 2048 + round] {
                assert_eq!(disk.medium(at, bytes.len()), bytes);
            }
        }
    }
    on_each_map!(&disk, check);
}

#[test]
fn a_map_in_the_place_of_another_is_stored() {
    let Some(disk) = disk("flash::medium::a_map_in_the_place_of_another_is_stored") else {
        return;
    };
    let half = LEN / 2;
    let mut chip = Chip::new(part(&disk, 0, half)).unwrap();
    leave(&disk, half + 70_000, b"found");
    *chip.get_mut() = part(&disk, half, half);
    chip.write(0, b"written").unwrap();
    assert_eq!(disk.medium(half, 7), b"written");
    assert_eq!(disk.medium(half + 70_000, 5), b"found");
    // And what is written to it.
    chip.get_mut()[80_000..80_006].copy_from_slice(b"beside");
    chip.erase(0, 4096).unwrap();
    assert_eq!(disk.medium(half + 80_000, 6), b"beside");
    let mut chip = Chip::buffered(part(&disk, 0, half)).unwrap();
    chip.commit().unwrap();
    leave(&disk, half + 90_000, b"found");
    *chip.get_mut() = part(&disk, half, half);
    chip.commit().unwrap();
    assert_eq!(disk.medium(half + 90_000, 5), b"found");
}

#[test]
fn a_chip_that_fails_gives_its_map_back() {
    let Some(disk) = disk("flash::medium::a_chip_that_fails_gives_its_map_back") else {
        return;
    };
    leave(&disk, 36_864, b"precious");
    disk.fail();
    let refused = Chip::new(Tracked::<4>::new(map(&disk))).unwrap_err();
    assert_eq!(refused.error.errno(), Some(rawmap_core::Errno::IO));
    assert_eq!(refused.to_string(), refused.error.to_string());
    let io = std::io::Error::from(rawmap_core::Refused {
        error: refused.error,
        map: (),
    });
    assert_eq!(rawmap::Error::from_io(&io), Some(refused.error));
    disk.recover();
    // It stays refused, for as long as nothing was stored again.
    let mut map = Chip::new(refused.map).unwrap_err().map;
    let tries = (0..5).map(|_| map.retry());
    tries.into_iter().find(Result::is_ok).unwrap().unwrap();
    Chip::new(map).unwrap();
    assert_eq!(disk.medium(36_864, 8), b"precious");
}
