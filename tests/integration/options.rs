//! Offsets, lengths, and what a wrong one gives.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rawmap_core::{Errno, Error, MmapOptions, MmapRaw};
use rawmap_tests::emulator;

use crate::IsRange as _;
use crate::{bytes_of, file_of, file_with, pattern, store};

#[test]
fn every_byte_of_a_page_can_be_an_offset() {
    let whole = pattern(3 * 4096 + 17);
    let file = file_with(&whole);
    for offset in (0..whole.len())
        .step_by(61)
        .chain([4095, 4096, 4097, whole.len()])
    {
        for len in [0, 1, 4096, 5000] {
            let len = len.min(whole.len() - offset);
            let map = MmapOptions::new()
                .offset(offset as u64)
                .len(len)
                .map_raw(&file)
                .unwrap();
            assert_eq!(
                bytes_of(&map),
                whole[offset..offset + len],
                "{offset} {len}"
            );
            assert_eq!(map.is_empty(), len == 0);
        }
    }
}

#[test]
fn the_default_length_is_the_rest_of_the_file() {
    let whole = pattern(10_000);
    let file = file_with(&whole);
    for offset in [0, 1, 4096, 9_999, 10_000] {
        let map = MmapOptions::new().offset(offset).map_raw(&file).unwrap();
        assert_eq!(bytes_of(&map), whole[offset as usize..]);
    }
    let refused = MmapOptions::new()
        .offset(10_001)
        .map_raw(&file)
        .unwrap_err();
    assert_eq!(
        refused,
        Error::PastEnd {
            offset: 10_001,
            file_len: 10_000
        }
    );
}

#[test]
fn an_empty_file_has_an_empty_map() {
    let mut map = MmapRaw::map_raw(file_of(0)).unwrap();
    assert!(map.is_empty());
    assert!(!map.as_ptr().is_null());
    map.flush().unwrap();
    map.flush_range(0, 0).unwrap();
    map.flush_async().unwrap();
    map.lock().unwrap();
    map.unlock().unwrap();
    map.advise(rawmap_core::Advice::Random).unwrap();
    map.protect(rawmap_core::Protection::ReadOnly).unwrap();
    assert!(map.flush_range(0, 1).unwrap_err().is_range());
    assert!(map.flush_range(1, 0).unwrap_err().is_range());
}

#[test]
fn a_map_may_reach_past_the_end_of_the_file_and_the_file_may_follow() {
    let file = file_of(100);
    let map = MmapOptions::new().len(1 << 20).map_raw(&file).unwrap();
    assert_eq!(map.len(), 1 << 20);
    file.set_len(1 << 20).unwrap();
    store(&map, (1 << 20) - 4, b"tail");
    map.flush_range((1 << 20) - 4, 4).unwrap();
    let mut tail = [0; 4];
    file.read_exact_at(&mut tail, (1 << 20) - 4).unwrap();
    assert_eq!(tail, *b"tail");
}

#[test]
fn lengths_that_no_pointer_can_span_are_errors() {
    let file = file_of(10);
    for len in [usize::MAX, usize::MAX - 4095, isize::MAX as usize + 1] {
        let refused = MmapOptions::new().len(len).map_raw(&file).unwrap_err();
        assert_eq!(refused, Error::TooLong { len: len as u64 });
        let refused = MmapOptions::new().len(len).map_anon().unwrap_err();
        assert_eq!(refused, Error::TooLong { len: len as u64 });
    }
    // The longest that may be asked for. On 64-bit no kernel has it; on 32-bit a few have 2 GiB.
    for offset in [0, 1] {
        let longest = isize::MAX as usize;
        match MmapOptions::new()
            .offset(offset)
            .len(longest)
            .map_raw(&file)
        {
            // On s390x a process may have nearly 2^64 bytes of addresses.
            Ok(map) if usize::BITS == 32 || cfg!(target_arch = "s390x") => {
                assert_eq!(map.len(), longest);
            }
            Ok(_) => panic!("{longest} bytes are mapped"),
            Err(error) => {
                let errno = error.errno().expect("the kernel's");
                assert!([Errno::NOMEM, Errno::OVERFLOW].contains(&errno), "{error}");
            }
        }
    }
}

/// A file with more bytes than a pointer can span: the default length must not be cut off.
#[cfg(target_pointer_width = "32")]
#[test]
fn a_file_longer_than_the_address_space_needs_a_length() {
    let file = file_of(5 << 30);
    let refused = MmapRaw::map_raw(&file).unwrap_err();
    assert_eq!(refused, Error::TooLong { len: 5 << 30 });
    let map = MmapOptions::new().len(4096).map_raw(&file).unwrap();
    assert_eq!(map.len(), 4096);
}

#[cfg(target_pointer_width = "64")]
#[test]
fn a_file_longer_than_the_address_space_needs_a_length() {
    // Here a pointer spans every file; the longest is mapped whole.
    let map = MmapRaw::map_raw(file_of(5 << 30)).unwrap();
    assert_eq!(map.len(), 5 << 30);
}

#[test]
fn the_map_outlives_the_file() {
    let file = file_with(b"still here");
    let map = MmapRaw::map_raw(file.as_fd()).unwrap();
    drop(file);
    assert_eq!(bytes_of(&map), b"still here");
}

#[test]
fn options_can_be_used_again() {
    let file = file_with(&pattern(9000));
    let mut options = MmapOptions::new();
    options.offset(10).len(100).populate().no_reserve_swap();
    let first = options.map_raw(&file).unwrap();
    let second = options.map_raw(&file).unwrap();
    assert_ne!(first.as_ptr(), second.as_ptr());
    assert_eq!(bytes_of(&first), bytes_of(&second));
    let text = format!("{options:?}");
    assert!(
        text.starts_with("MmapOptions { offset: 10, len: Some(100), huge: None, stack: false, populate: true, no_reserve_swap: true"),
        "{text}"
    );
}

/// MAP_STACK would take transparent huge pages from a file's map; memmap2 gives it to none.
#[test]
fn stack_is_for_anonymous_memory_only() {
    let file = file_of(8192);
    let plain = MmapOptions::new().map_raw(&file).unwrap();
    let stack = MmapOptions::new().stack().map_raw(&file).unwrap();
    let flags = |map: &MmapRaw| {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", map.as_ptr().addr());
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
        lines
            .find(|line| line.starts_with("VmFlags:"))
            .map(str::to_owned)
    };
    // The emulator's own /proc shows no flags.
    assert!(emulator().is_some() || flags(&plain).is_some());
    assert_eq!(flags(&plain), flags(&stack));
}
