//! Files in memory: sizes of huge pages that do not fit, and how seals look.

use rawmap_core::memfd::{MemfdOptions, Seals, add_seals, seals};
use rawmap_core::{Errno, Error};

#[test]
fn a_huge_page_that_does_not_fit_is_an_error_and_not_another_size() {
    for bits in [64, 65, 128, 200, 255] {
        // Six bits of 64 and of 128 are 0: the default size; those of 85 are 21: 2 MiB.
        let refused = MemfdOptions::new().huge(Some(bits)).create(c"huge");
        assert!(
            matches!(refused, Err(Error::HugePage { bits: told }) if told == bits),
            "{bits}: {refused:?}"
        );
        let refused = rawmap::memfd::MemfdOptions::new()
            .huge(Some(bits))
            .create("huge");
        assert!(refused.is_err(), "{bits}");
        let refused = rawmap_core::MmapOptions::new()
            .len(1)
            .huge(Some(bits))
            .map_anon();
        assert!(
            matches!(refused, Err(Error::HugePage { bits: told }) if told == bits),
            "{bits}: {refused:?}"
        );
    }
    let refused = MemfdOptions::new().huge(Some(85)).create(c"huge");
    assert!(
        matches!(refused, Err(Error::HugePage { bits: 85 })),
        "{refused:?}"
    );
    // And one that no kernel has is the kernel's to refuse.
    let refused = MemfdOptions::new()
        .huge(Some(13))
        .create(c"huge")
        .unwrap_err();
    let errnos = [Errno::INVAL, Errno::NODEV, Errno::NOSYS].map(Some);
    assert!(errnos.contains(&refused.errno()), "{refused}");
}

#[test]
fn seals_have_names() {
    let text = |seals: Seals| format!("{seals:?}");
    assert_eq!(text(Seals::none()), "Seals()");
    assert_eq!(text(Seals::SHRINK), "Seals(SHRINK)");
    assert_eq!(text(Seals::WRITE | Seals::SEAL), "Seals(SEAL | WRITE)");
    let file = MemfdOptions::new().create(c"sealed").unwrap();
    add_seals(&file, Seals::GROW | Seals::SHRINK).unwrap();
    let has = text(seals(&file).unwrap());
    assert!(has.contains("SHRINK | GROW"), "{has}");
    // F_SEAL_EXEC of new kernels comes with the file, and has no name here: its number is shown, in its own place.
    assert!(!has.contains("( |") && !has.contains("|  |"), "{has}");
}

#[test]
fn a_huge_file_has_huge_pages() {
    use std::os::unix::fs::MetadataExt as _;
    for bits in [None, Some(21)] {
        // A kernel without them refuses; one that has them sets none aside for a file of no length.
        let Ok(file) = MemfdOptions::new().huge(bits).create(c"huge") else {
            continue;
        };
        let size = std::fs::File::from(file).metadata().unwrap().blksize();
        let wanted = bits.map_or(
            size > 4 * rawmap::page_size().unwrap().get() as u64,
            |bits| size == 1 << bits,
        );
        assert!(wanted, "{bits:?}: {size}");
    }
}
