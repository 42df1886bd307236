//! Offsets over 4 GiB, on 32-bit too.

use std::os::unix::fs::FileExt as _;

use rawmap_core::{MmapOptions, MmapRaw};
use rawmap_tests::{TARGET, emulator, skip};

use crate::{bytes_of, file_of, store};

#[test]
fn past_4_gib() {
    if TARGET.starts_with("armv7") && emulator().is_some_and(|version| version < (8, 0)) {
        return skip("large::past_4_gib", "this QEMU wraps offsets at 4 GiB");
    }
    let file = file_of(9 << 30);
    for offset in [
        (4 << 30) - 1,
        4 << 30,
        (4 << 30) + 4095,
        (4 << 30) + 4097,
        (8u64 << 30) + 123,
    ] {
        let map = MmapOptions::new()
            .offset(offset)
            .len(9000)
            .map_raw(&file)
            .unwrap();
        store(&map, 5000, &offset.to_le_bytes());
        map.flush_range(5000, 8).unwrap();
        let mut there = [0; 8];
        file.read_exact_at(&mut there, offset + 5000).unwrap();
        assert_eq!(u64::from_le_bytes(there), offset);
        // And not at the place that 32 bits would make of it.
        let mut wrapped = [0; 8];
        file.read_exact_at(&mut wrapped, (offset + 5000) & 0xFFFF_FFFF)
            .unwrap();
        if offset + 5000 > u64::from(u32::MAX) {
            assert_eq!(wrapped, [0; 8]);
        }

        file.write_all_at(b"other way", offset + 100).unwrap();
        assert_eq!(bytes_of(&map)[100..109], *b"other way");
    }
}

#[test]
fn the_end_of_the_largest_file_is_an_error_not_a_wrap() {
    let file = file_of(100);
    for offset in [1 << 44, 1 << 62, u64::MAX - 5000, u64::MAX] {
        let mut options = MmapOptions::new();
        let map: Result<MmapRaw, _> = options.offset(offset).len(10).map_raw(&file);
        // A 64-bit kernel maps past the end of a file; 16 TiB do not fit in 32-bit page numbers.
        match map {
            Ok(map) => assert!(usize::BITS == 64 && map.len() == 10 && offset <= 1 << 62),
            Err(error) => assert!(error.errno().is_some(), "{error}"),
        }
    }
}
