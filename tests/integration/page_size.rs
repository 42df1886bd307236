//! The page size, found and supplied.

use rawmap_core::{MmapOptions, PageSize, Protection, RemapOptions, page_size};

use crate::{bytes_of, file_with, libc_page_size, pattern, store};

#[test]
fn the_kernel_and_libc_agree() {
    let found = page_size().expect("the kernel answers");
    assert_eq!(found.get(), libc_page_size());
    // The second time it is a load.
    assert_eq!(page_size(), Ok(found));
}

/// Every page size that is a multiple of the kernel's gives the same bytes, through every call.
#[test]
fn a_larger_page_size_may_be_supplied() {
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
            let mut map = options.map_raw(&file).unwrap();
            // Or as much of it as the address of the map allows.
            assert!(map.page_size() <= page && map.page_size() >= kernel);
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

/// One that is too small is refused by the kernel where it matters, and breaks nothing.
#[test]
fn a_page_size_that_is_too_small_is_an_error() {
    let file = file_with(&pattern(10_000));
    let mut options = MmapOptions::new();
    options.page_size(PageSize::new(512).unwrap());
    // At offset 0 the map is right; inside a page the kernel has no such address.
    let map = options.map_raw(&file).unwrap();
    assert_eq!(map.flush_range(0, 10), Ok(()));
    let refused = map.flush_range(600, 10).unwrap_err();
    assert_eq!(refused.errno(), Some(rawmap_core::Errno::INVAL));
    if usize::BITS == 64 {
        let refused = options.offset(512).map_raw(&file).unwrap_err();
        assert_eq!(refused.errno(), Some(rawmap_core::Errno::INVAL));
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
