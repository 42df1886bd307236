//! madvise: ranges, and the effects that can be seen.

use rawmap_core::{Advice, Errno, MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};
use rawmap_tests::{emulator, skip};

use crate::IsRange as _;
use crate::{bytes_of, file_with, libc_page_size, pattern, store};

const ALL: [Advice; 11] = [
    Advice::Normal,
    Advice::Random,
    Advice::Sequential,
    Advice::WillNeed,
    Advice::DontFork,
    Advice::DoFork,
    Advice::DontDump,
    Advice::DoDump,
    Advice::PopulateRead,
    Advice::PopulateWrite,
    Advice::NoHugePage,
];

#[test]
fn every_range_inside_the_map_is_advised_and_no_other() {
    let file = file_with(&pattern(30_000));
    for offset in [0, 1, 4097] {
        let map = MmapOptions::new().offset(offset).map_raw(&file).unwrap();
        let len = map.len();
        let supported: Vec<_> = ALL
            .into_iter()
            .filter(|advice| advice.is_supported())
            .collect();
        assert!(supported.len() >= 8, "{supported:?}");
        for advice in supported {
            map.advise(advice).unwrap();
            map.advise_range(advice, 5000, 5000).unwrap();
            map.advise_range(advice, len, 0).unwrap();
            for (start, count) in [
                (len, len),
                (len, 1),
                (1, len),
                (0, len + 1),
                (len + 1, 0),
                (9, usize::MAX),
            ] {
                let refused = map.advise_range(advice, start, count).unwrap_err();
                assert!(refused.is_range(), "{advice:?} {start} {count}");
            }
        }
        map.advise(Advice::Normal).unwrap();
    }
}

#[test]
fn no_bytes_get_no_advice() {
    // In the middle of a page, where rounding out would give a page.
    let mut map = MmapMut::map_anon(10_000).unwrap();
    map.fill(1);
    // SAFETY: no slice lives across the call.
    unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, 5000, 0) }.unwrap();
    assert!(map.iter().all(|byte| *byte == 1));
}

#[test]
fn dont_need_and_remove_change_bytes() {
    const NAME: &str = "advise::dont_need_and_remove_change_bytes";
    if emulator().is_some() {
        return skip(NAME, "MADV_REMOVE does nothing here");
    }
    let page = libc_page_size();
    let mut map = MmapMut::map_anon(4 * page).unwrap();
    map.fill(1);
    // SAFETY: no slice lives across the call.
    unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, 2 * page - 1, 2) }.unwrap();
    let zero: Vec<_> = (0..4).map(|number| map[number * page] == 0).collect();
    assert_eq!(zero, [false, true, true, false]);

    let map = MmapRaw::map_raw(file_with(&vec![1; 4 * page])).unwrap();
    store(&map, 0, b"kept");
    // SAFETY: there is no slice of this map.
    match unsafe { map.unchecked_advise_range(UncheckedAdvice::Remove, page, page) } {
        Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => {
            return skip(NAME, "this file system has no MADV_REMOVE");
        }
        other => other.unwrap(),
    }
    let bytes = bytes_of(&map);
    assert_eq!((bytes[0], bytes[page], bytes[2 * page]), (b'k', 0, 1));
    // SAFETY: as above; shared pages are read again.
    unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) }.unwrap();
    assert_eq!(bytes_of(&map), bytes);
}

/// The numbers are the kernel's, and memmap2's.
#[test]
fn numbers() {
    use memmap2::Advice as Theirs;
    let both = [
        (
            Advice::Normal as i32,
            Theirs::Normal as i32,
            libc::MADV_NORMAL,
        ),
        (
            Advice::Random as i32,
            Theirs::Random as i32,
            libc::MADV_RANDOM,
        ),
        (
            Advice::Sequential as i32,
            Theirs::Sequential as i32,
            libc::MADV_SEQUENTIAL,
        ),
        (
            Advice::WillNeed as i32,
            Theirs::WillNeed as i32,
            libc::MADV_WILLNEED,
        ),
        (
            Advice::DontFork as i32,
            Theirs::DontFork as i32,
            libc::MADV_DONTFORK,
        ),
        (
            Advice::DoFork as i32,
            Theirs::DoFork as i32,
            libc::MADV_DOFORK,
        ),
        (
            Advice::Mergeable as i32,
            Theirs::Mergeable as i32,
            libc::MADV_MERGEABLE,
        ),
        (
            Advice::Unmergeable as i32,
            Theirs::Unmergeable as i32,
            libc::MADV_UNMERGEABLE,
        ),
        (
            Advice::HugePage as i32,
            Theirs::HugePage as i32,
            libc::MADV_HUGEPAGE,
        ),
        (
            Advice::NoHugePage as i32,
            Theirs::NoHugePage as i32,
            libc::MADV_NOHUGEPAGE,
        ),
        (
            Advice::DontDump as i32,
            Theirs::DontDump as i32,
            libc::MADV_DONTDUMP,
        ),
        (
            Advice::DoDump as i32,
            Theirs::DoDump as i32,
            libc::MADV_DODUMP,
        ),
        (
            Advice::HwPoison as i32,
            Theirs::HwPoison as i32,
            libc::MADV_HWPOISON,
        ),
        (
            Advice::PopulateRead as i32,
            Theirs::PopulateRead as i32,
            libc::MADV_POPULATE_READ,
        ),
        (
            Advice::PopulateWrite as i32,
            Theirs::PopulateWrite as i32,
            libc::MADV_POPULATE_WRITE,
        ),
        (
            UncheckedAdvice::DontNeed as i32,
            memmap2::UncheckedAdvice::DontNeed as i32,
            libc::MADV_DONTNEED,
        ),
        (
            UncheckedAdvice::Free as i32,
            memmap2::UncheckedAdvice::Free as i32,
            libc::MADV_FREE,
        ),
        (
            UncheckedAdvice::Remove as i32,
            memmap2::UncheckedAdvice::Remove as i32,
            libc::MADV_REMOVE,
        ),
    ];
    for (ours, theirs, kernel) in both {
        assert_eq!((ours, theirs), (kernel, kernel));
    }
}

/// Supported is what the kernel does not refuse.
#[test]
fn what_is_supported_is_what_the_kernel_takes() {
    // In every kernel that Rust runs on.
    for advice in [
        Advice::Normal,
        Advice::Random,
        Advice::Sequential,
        Advice::WillNeed,
        Advice::DontFork,
        Advice::DoFork,
    ] {
        assert!(advice.is_supported(), "{advice:?}");
    }
    let map = MmapRaw::map_raw(file_with(&pattern(5000))).unwrap();
    for advice in [Advice::PopulateRead, Advice::PopulateWrite] {
        // Linux 5.14; tells of itself by EINVAL.
        let taken = map.advise(advice);
        assert_eq!(advice.is_supported(), taken.is_ok(), "{advice:?} {taken:?}");
    }
}
