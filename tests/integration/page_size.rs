//! The page size, found and supplied.

use rawmap_core::{Error, MmapOptions, PageSize, Protection, RemapOptions, page_size};

use crate::{bytes_of, file_with, libc_page_size, pattern, store};

#[test]
fn the_kernel_and_libc_agree() {
    let found = page_size().expect("the kernel answers");
    assert_eq!(found.get(), libc_page_size());
    // The second time it is a load.
    assert_eq!(page_size(), Ok(found));
}

/// The kernel's own size may be supplied, and every call works.
#[test]
fn the_kernels_page_size_can_be_supplied() {
    let page = page_size().unwrap();
    let whole = pattern(600_000);
    for offset in [0, 1, 4095, 4096, 70_001, 262_144] {
        let file = file_with(&whole);
        let mut options = MmapOptions::new();
        options.page_size(page).offset(offset).len(200_000);
        let mut map = options.map_raw(&file).unwrap();
        assert_eq!(map.page_size(), page);
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

/// Whatever the address of a map would be, and whether it would lie in the file.
#[test]
fn another_page_size_is_refused() {
    let kernel = page_size().unwrap();
    let file = file_with(&pattern(600_000));
    for bits in (0..=20).filter(|bits| *bits != kernel.bits()) {
        let page = PageSize::from_bits(bits).unwrap();
        let value = page.get() as u64;
        let mut options = MmapOptions::new();
        options.page_size(page).offset(70_001).len(9_000);
        for _ in 0..10 {
            let refused = options.map_raw(&file).unwrap_err();
            assert_eq!(refused, Error::PageSize { value });
        }
        assert_eq!(options.map_anon().unwrap_err(), Error::PageSize { value });
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

#[test]
fn a_page_size_as_large_as_the_address_space_is_no_trap() {
    let largest = PageSize::from_bits(u8::try_from(usize::BITS - 1).unwrap()).unwrap();
    let file = file_with(&pattern(10));
    let value = largest.get() as u64;
    for offset in [0, value - 5] {
        let mut options = MmapOptions::new();
        let refused = options
            .page_size(largest)
            .offset(offset)
            .len(10)
            .map_raw(&file);
        assert_eq!(refused.unwrap_err(), Error::PageSize { value });
    }
}
