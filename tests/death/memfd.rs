//! Files in memory, seals, and a peer that does its worst.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use rawmap::memfd::{MemfdOptions, Seals, add_seals, seals};
use rawmap::{Errno, Error, MayChange, MmapOptions};
use rawmap_core::memfd::is_immutable;
use rawmap_tests::disk::SmallDisk;
use rawmap_tests::skip;

use crate::{in_file, load, page, pages, store, survives};

fn memfd(pages: usize) -> File {
    let file = MemfdOptions::new().create("rawmap-test").unwrap();
    file.set_len((pages * page()) as u64).unwrap();
    file
}

#[test]
fn seals_are_added_and_read() {
    let file = memfd(1);
    let all = [Seals::SHRINK, Seals::GROW, Seals::WRITE, Seals::SEAL];
    let mut sum = Seals::none();
    for seal in all {
        assert!(!seals(&file).unwrap().contains(seal));
        add_seals(&file, seal).unwrap();
        sum = sum | seal;
        assert!(seals(&file).unwrap().contains(sum));
    }
    assert!(is_immutable(&file));
    let more = add_seals(&file, Seals::FUTURE_WRITE).unwrap_err();
    assert_eq!(more.errno(), Some(Errno::PERM));
    // Closed on exec.
    // SAFETY: asks for flags.
    let flags = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    // Not a file in memory.
    let error = seals(pages(1)).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::INVAL));
    // A name that is too long, and one that is none.
    assert!(MemfdOptions::new().create(&"n".repeat(250)).is_err());
    assert!(MemfdOptions::new().create("a\0b").is_err());
    assert!(MemfdOptions::new().create("").is_ok());
    // No machine has huge pages of 2^63 bytes.
    assert!(MemfdOptions::new().huge(Some(63)).create("huge").is_err());
}

#[test]
fn writing_is_sealed_when_nobody_maps_it_for_writing() {
    let file = memfd(1);
    let map = MmapOptions::new().map_raw(&file).unwrap();
    let busy = add_seals(&file, Seals::WRITE).unwrap_err();
    assert_eq!(busy.errno(), Some(Errno::BUSY));
    drop(map);
    add_seals(&file, Seals::WRITE | Seals::SHRINK).unwrap();
    let map = MmapOptions::new().map_if_safe(&file).unwrap();
    assert_eq!(map.len(), page());
    assert!(MmapOptions::new().map_raw(&file).is_err());
}

fn refused(result: std::io::Result<rawmap::MmapRaw>) -> Error {
    let error = result.unwrap_err();
    let inner = error.get_ref().expect("one of ours");
    if let Some(error) = inner.downcast_ref() {
        return *error;
    }
    *inner.source().unwrap().downcast_ref().unwrap()
}

#[test]
fn a_peer_cannot_shorten_a_sealed_map() {
    survives("memfd::a_peer_cannot_shorten_a_sealed_map", || {
        let (file, page) = (memfd(3), page());
        // The seal is added.
        let map = MmapOptions::new().map_raw_sealed(&file).unwrap();
        assert!(seals(&file).unwrap().contains(Seals::SHRINK));
        let peer = file.try_clone().unwrap();
        let error = peer.set_len(0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        // It may write, and punch holes: bytes change, and nothing else.
        store(&map, 2 * page, 9);
        assert_eq!(in_file(&peer, 2 * page), 9);
        let theirs = MmapOptions::new().map_raw(&peer).unwrap();
        // SAFETY: no references.
        unsafe { theirs.unchecked_advise(rawmap::UncheckedAdvice::Remove) }.unwrap();
        if rawmap_tests::emulator().is_none() {
            assert_eq!(load(&map, 2 * page), 0);
        }
        drop((theirs, peer));
        store(&map, 2 * page, 10);
        assert_eq!(load(&map, 2 * page), 10);
        map.flush().unwrap();
        // The seal that is there is enough, also where no more can be added.
        add_seals(&file, Seals::SEAL).unwrap();
        MmapOptions::new().map_raw_sealed(&file).unwrap();
    });
}

/// What a consumer gets from a producer that it does not trust.
#[test]
fn what_a_producer_sealed_is_read() {
    const NAME: &str = "memfd::what_a_producer_sealed_is_read";
    survives(NAME, || {
        let (file, page) = (memfd(3), page());
        let reader = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        let options = MmapOptions::new();
        let before = seals(&file).unwrap();
        // It can still be shortened, and no seal is added.
        let why = refused(options.map_raw_sealed_read_only(&reader));
        assert_eq!(why, Error::MayChange(MayChange::NoShrinkSeal));
        assert!(why.to_string().contains("F_SEAL_SHRINK"));
        refused(options.map_raw_sealed_read_only(&file));
        assert_eq!(seals(&file).unwrap(), before);
        let theirs = options.map_raw(&file).unwrap();
        store(&theirs, 2 * page, 9);
        // Linux 5.1 knows the third: only the map that is there is written through.
        let all = Seals::SHRINK | Seals::GROW;
        if add_seals(&file, all | Seals::FUTURE_WRITE).is_err() {
            add_seals(&file, all).unwrap();
        }
        add_seals(&file, Seals::SEAL).unwrap();
        for file in [&reader, &file] {
            let map = options.map_raw_sealed_read_only(file).unwrap();
            assert_eq!((map.len(), load(&map, 2 * page)), (3 * page, 9));
            store(&theirs, page, 4);
            assert_eq!(map.shared().load::<u8>(page), Ok(4));
            assert_eq!(map.shared().store(page, 5_u8), Err(Error::Protected));
            assert!(theirs.shared().store(page, 5_u8).is_ok());
            assert_eq!(load(&map, page), 5);
            map.flush().unwrap();
        }
        assert!(file.set_len(0).is_err());
        let mut part = MmapOptions::new();
        part.offset(page as u64).len(page);
        let map = part.map_raw_sealed_read_only(&reader).unwrap();
        assert_eq!((map.len(), load(&map, 0)), (page, 5));
        refused(part.len(2 * page + 1).map_raw_sealed_read_only(&reader));
        let disk = refused(options.map_raw_sealed_read_only(pages(1)));
        let known = [MayChange::NotSealable, MayChange::NoShrinkSeal];
        assert!(known.map(Error::MayChange).contains(&disk), "{disk}");
    });
}

#[test]
fn a_sealed_map_is_of_no_disk_that_could_fill_up() {
    const NAME: &str = "memfd::a_sealed_map_is_of_no_disk_that_could_fill_up";
    let disk = match SmallDisk::of(1 << 20) {
        Ok(disk) => disk,
        Err(reason) => return skip(NAME, &reason),
    };
    disk.fill();
    let file = memfd(1000);
    let map = MmapOptions::new().map_raw_sealed(&file).unwrap();
    for number in 0..1000 {
        store(&map, number * page(), 1);
    }
    map.flush().unwrap();
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let page = page();
    let file = memfd(1);
    add_seals(&file, Seals::SEAL).unwrap();
    let options = MmapOptions::new();
    assert!(matches!(
        refused(options.map_raw_sealed(&file)),
        Error::MayChange(_)
    ));
    assert!(matches!(
        refused(options.map_raw_sealed(pages(1))),
        Error::MayChange(_)
    ));
    // Past the end there is nothing that the seal could keep.
    let file = memfd(1);
    let mut options = MmapOptions::new();
    options.len(page + 1);
    let limit = page as u64;
    let error = refused(options.map_raw_sealed(&file));
    assert_eq!(
        error,
        Error::OutOfRange {
            offset: 0,
            len: limit + 1,
            limit
        }
    );
    options.len(1).offset(limit);
    assert!(options.map_raw_sealed(&file).is_err());
    options.len(page - 5).offset(5);
    assert_eq!(options.map_raw_sealed(&file).unwrap().len(), page - 5);
}

#[test]
fn a_sealed_map_that_is_refused_seals_nothing() {
    let page = page();
    let is_open = |file: &File| {
        assert!(!seals(file).unwrap().contains(Seals::SHRINK));
        file.set_len(0).unwrap();
        file.set_len(page as u64).unwrap();
    };
    let file = memfd(1);
    let mut options = MmapOptions::new();
    refused(options.len(2 * page).map_raw_sealed(&file));
    is_open(&file);
    refused(options.len(usize::MAX).map_raw_sealed(&file));
    is_open(&file);
    refused(options.len(1).offset(page as u64).map_raw_sealed(&file));
    is_open(&file);
    refused(options.offset(u64::MAX).map_raw_sealed(&file));
    is_open(&file);
    // Open for reading only: the map is refused by the kernel.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let reader = File::open(path).unwrap();
    let error = refused(MmapOptions::new().map_raw_sealed(&reader));
    assert_eq!(error.errno(), Some(Errno::ACCESS), "{error}");
    is_open(&file);
    // No place in the table.
    survives("memfd::a_sealed_map_that_is_refused_seals_nothing", || {
        let held: Vec<_> = (0..rawmap::fault::CAPACITY)
            .map(|_| crate::contained(&file))
            .collect();
        let mut options = MmapOptions::new();
        let error = refused(options.contained().map_raw_sealed(&file));
        assert!(matches!(error, Error::TooManyMaps { .. }), "{error}");
        drop(held);
        is_open(&file);
    });
    MmapOptions::new().map_raw_sealed(&file).unwrap();
    assert!(file.set_len(0).is_err());
}

#[test]
fn a_file_on_a_disk_takes_no_seals_and_the_error_says_so() {
    let error = refused(MmapOptions::new().map_raw_sealed(pages(1)));
    assert_eq!(error, Error::MayChange(rawmap_core::MayChange::NotSealable));
    let text = error.to_string();
    assert!(
        text.contains("takes no seals") && !text.contains("verity"),
        "{text}"
    );
}
