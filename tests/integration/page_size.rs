//! The page size, found and supplied.

use std::fs::File;

use rawmap_core::{
    Error, MmapMut, MmapOptions, MmapRaw, PageSize, Protection, RemapOptions, page_size,
};

use crate::{bytes_of, file_with, libc_page_size, pattern, store};

#[test]
fn the_kernel_and_libc_agree() {
    let found = page_size().expect("the kernel answers");
    assert_eq!(found.get(), libc_page_size());
    // The second time it is a load.
    assert_eq!(page_size(), Ok(found));
}

/// A map with a supplied page size, or `None` where its address shows that the size is not the right one.
fn map_if_it_fits(options: &MmapOptions, page: PageSize, file: &File) -> Option<MmapRaw> {
    match options.map_raw(file) {
        Ok(map) => {
            assert_eq!(map.page_size(), page);
            Some(map)
        }
        Err(Error::PageSize { value }) => {
            assert_eq!(value, page.get() as u64);
            assert!(page > page_size().unwrap(), "the kernel's own was refused");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// Every page size that is a multiple of the kernel's gives the same bytes, through every call, or is refused.
#[test]
fn a_larger_page_size_gives_the_same_bytes_or_is_refused() {
    let kernel = page_size().unwrap();
    let whole = pattern(600_000);
    for bits in kernel.bits()..=18 {
        let page = PageSize::from_bits(bits).unwrap();
        for offset in [0, 1, 4095, 4096, 70_001, 262_144] {
            let file = file_with(&whole);
            let options = MmapOptions::new()
                .page_size(page)
                .offset(offset)
                .len(200_000)
                .clone();
            let Some(mut map) = map_if_it_fits(&options, page, &file) else {
                continue;
            };
            let start = usize::try_from(offset).unwrap();
            assert_eq!(bytes_of(&map), whole[start..start + 200_000]);

            store(&map, 99_999, b"stored");
            map.flush_range(99_999, 6).unwrap();
            map.flush().unwrap();
            map.advise_range(rawmap_core::Advice::Random, 50_000, 1)
                .unwrap();
            map.advise(rawmap_core::Advice::Normal).unwrap();
            map.protect(Protection::ReadOnly).unwrap();
            map.protect(Protection::ReadWrite).unwrap();
            // SAFETY: nothing points into the map, and 300,000 bytes are inside the file.
            unsafe {
                map.remap(300_000, RemapOptions::new().may_move(true))
                    .unwrap()
            };
            assert_eq!(bytes_of(&map)[99_999..100_005], *b"stored");
            assert_eq!(map.len(), 300_000);
        }
    }
}

/// On 32-bit rustix would cut the offset down to a multiple of 4096, and other bytes would be mapped.
#[test]
fn a_page_size_that_no_kernel_has_is_an_error() {
    let file = file_with(&pattern(10_000));
    for bytes in [1, 512, 2048] {
        let mut options = MmapOptions::new();
        options.page_size(PageSize::new(bytes).unwrap());
        let value = bytes as u64;
        for offset in [0, 512, 4096, 6144] {
            let refused = options.offset(offset).map_raw(&file).unwrap_err();
            assert_eq!(refused, rawmap_core::Error::PageSize { value });
        }
        let refused = options.len(10).map_anon().unwrap_err();
        assert_eq!(refused, rawmap_core::Error::PageSize { value });
    }
    assert_eq!(
        bytes_of(&MmapOptions::new().map_raw(&file).unwrap()),
        pattern(10_000)
    );
}

/// A supplied page that is larger than the kernel's must not make calls reach past the file's end.
#[test]
fn a_larger_page_size_does_not_reach_past_the_end_of_the_file() {
    use rawmap_core::Advice;
    let kernel = page_size().unwrap();
    let mut fitted = 0;
    for bits in kernel.bits() + 1..=20 {
        let page = PageSize::from_bits(bits).unwrap();
        // Often enough that the address of some map is a multiple of the page, and of some is not.
        let maps: Vec<_> = (0..20)
            .filter_map(|_| {
                let file = file_with(&pattern(100));
                map_if_it_fits(MmapOptions::new().page_size(page), page, &file)
            })
            .collect();
        fitted += maps.len();
        for map in maps {
            map.lock().unwrap();
            map.lock_range(10, 10).unwrap();
            map.unlock().unwrap();
            for advice in [Advice::PopulateRead, Advice::PopulateWrite] {
                if advice.is_supported() {
                    map.advise(advice).unwrap();
                    map.advise_range(advice, 99, 1).unwrap();
                } else {
                    // Linux before 5.14.
                    map.advise(advice).unwrap_err();
                }
            }
            map.flush().unwrap();
        }
    }
    assert!(fitted > 0, "no map was at a multiple of its page");
}

/// Where a map would not start at a multiple of a supplied page, it is refused, leaves nothing mapped, and
/// touches nothing around it.
#[test]
fn a_map_at_an_odd_address_is_refused_and_leaves_nothing() {
    let page = PageSize::from_bits(20).unwrap();
    let dir = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = dir.path().join("rawmap-odd-address-test");
    let whole = pattern(600_000);
    std::fs::write(&path, &whole).unwrap();
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mapped_bytes = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let ours = maps
            .lines()
            .filter(|line| line.contains("rawmap-odd-address-test"));
        let len = |line: &str| {
            let (start, end) = line.split_once(' ')?.0.split_once('-')?;
            let hex = |text| usize::from_str_radix(text, 16).ok();
            hex(end)?.checked_sub(hex(start)?)
        };
        ours.filter_map(len).sum::<usize>()
    };
    let (mut around, mut maps) = (Vec::new(), Vec::new());
    let mut refused = 0;
    for turn in 0..40_u8 {
        // Too large for the holes between other maps, and of a size that moves the next to an odd place.
        let mut neighbour =
            MmapMut::map_anon(page.get() + libc_page_size() * usize::from(turn % 5 + 1)).unwrap();
        neighbour.fill(turn);
        around.push(neighbour);
        let mut options = MmapOptions::new();
        options.page_size(page).offset(70_001).len(9_000);
        let before = mapped_bytes();
        let Some(mut map) = map_if_it_fits(&options, page, &file) else {
            refused += 1;
            assert_eq!(mapped_bytes(), before);
            continue;
        };
        assert_eq!(bytes_of(&map), whole[70_001..79_001]);
        map.flush_range(8_000, 10).unwrap();
        map.protect_range(Protection::ReadOnly, 0, 1).unwrap();
        map.protect(Protection::ReadWrite).unwrap();
        // SAFETY: nothing points into the map, and 300,000 bytes are inside the file.
        unsafe {
            map.remap(300_000, RemapOptions::new().may_move(true))
                .unwrap()
        };
        assert_eq!(bytes_of(&map), whole[70_001..370_001]);
        map.flush().unwrap();
        // Kept for a while, so that the next one is not placed where this one was.
        maps.push(map);
    }
    drop(maps);
    assert_eq!(mapped_bytes(), 0);
    assert!(refused > 0, "every map was at a multiple of 1 MiB");
    for (turn, neighbour) in around.iter().enumerate() {
        assert!(
            neighbour.iter().all(|byte| usize::from(*byte) == turn),
            "{turn}"
        );
    }
}

#[test]
fn a_page_size_as_large_as_the_address_space_is_no_trap() {
    let largest = PageSize::from_bits(u8::try_from(usize::BITS - 1).unwrap()).unwrap();
    let file = file_with(&pattern(10));
    let mut options = MmapOptions::new();
    options.page_size(largest);
    match options.map_raw(&file) {
        // On 32-bit a few kernels have 2 GiB in one piece.
        Ok(map) => assert_eq!((usize::BITS, bytes_of(&map)), (32, pattern(10))),
        // And then it hardly begins at a multiple of that.
        Err(Error::PageSize { value }) => assert_eq!((usize::BITS, value), (32, 1 << 31)),
        Err(error) => assert_eq!(error.errno(), Some(rawmap_core::Errno::NOMEM)),
    }
    // Two such pages pass the end of the address space.
    let past = options
        .offset(largest.get() as u64 - 5)
        .len(10)
        .map_raw(&file);
    let refused = past.unwrap_err();
    assert_eq!(refused, rawmap_core::Error::TooLong { len: 10 });
}
