//! What safe calls refuse, because it would change bytes under a slice.

use rawmap::{
    Advice, Errno, Error, Guarded, Mmap, MmapMut, MmapOptions,
    memfd::{MemfdOptions, Seals, add_seals},
};
use rawmap_tests::emulator;

use crate::{contained, cut, load, page, pages, store, survives};

fn errno(result: std::io::Result<()>) -> Option<Errno> {
    Error::from_io(&result.unwrap_err()).unwrap().errno()
}

/// A machine check under a slice, asked for by root.
#[test]
fn no_safe_advice_poisons_a_page() {
    survives("doors::no_safe_advice_poisons_a_page", || {
        let (file, page) = (pages(2), page());
        let (eperm, poison) = (Some(Errno::PERM), Advice::HwPoison);
        let raw = contained(&file);
        let plain = MmapOptions::new().map_raw(&file).unwrap();
        let read_only = MmapOptions::new().map_raw_read_only(&file).unwrap();
        for map in [&raw, &plain, &read_only] {
            assert_eq!(errno(map.advise(poison)), eperm);
            assert_eq!(errno(map.advise_range(poison, page, 1)), eperm);
        }
        // SAFETY: nothing else uses the file.
        let maps: [MmapMut; 3] = unsafe {
            [
                MmapMut::map_mut(&file).unwrap(),
                MmapOptions::new().map_copy(&file).unwrap(),
                MmapMut::map_anon(2 * page).unwrap(),
            ]
        };
        for map in &maps {
            assert_eq!(errno(map.advise(poison)), eperm);
            assert_eq!(errno(map.advise_range(poison, page, 1)), eperm);
        }
        // SAFETY: as above.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        assert_eq!(errno(map.advise(poison)), eperm);
        assert_eq!(errno(map.advise_range(poison, 0, 0)), eperm);
        let guarded = Guarded::new(page).unwrap();
        assert_eq!(guarded.advise(poison).unwrap_err().errno(), eperm);
        let core = maps[2].as_raw();
        assert_eq!(core.advise(poison).unwrap_err().errno(), eperm);
        // All is there.
        assert_eq!((raw.lost(), load(&raw, page), map[page]), (None, 2, 2));
    });
}

/// In a child, the table would hold an address where nothing is, or another map.
#[test]
fn a_contained_map_is_not_kept_from_children() {
    survives("doors::a_contained_map_is_not_kept_from_children", || {
        let (file, page) = (pages(2), page());
        let map = contained(&file);
        assert_eq!(errno(map.advise(Advice::DontFork)), Some(Errno::INVAL));
        let part = map.advise_range(Advice::DontFork, page, 1);
        assert_eq!(errno(part), Some(Errno::INVAL));
        let plain = MmapOptions::new().map_raw(&file).unwrap();
        plain.advise(Advice::DontFork).unwrap();
        // Still contained.
        cut(&file, 1);
        store(&map, page, 1);
        assert_eq!(map.lost(), Some(page));
    });
}

fn mapped_bytes() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = maps.split(' ').next().unwrap();
    // An emulator has more of them than its program could.
    pages.parse::<u64>().unwrap() * page() as u64
}

/// Slices of such memory are in the hands of safe code.
#[test]
fn memory_that_safe_code_has_slices_of_is_not_contained() {
    survives(
        "doors::memory_that_safe_code_has_slices_of_is_not_contained",
        || {
            let len = 1 << 26;
            let sealed = MemfdOptions::new().create("sealed").unwrap();
            sealed.set_len(len).unwrap();
            add_seals(&sealed, Seals::SHRINK | Seals::WRITE).unwrap();
            let before = mapped_bytes();
            let mut options = MmapOptions::new();
            options.len(usize::try_from(len).unwrap()).contained();
            let option = Error::Option {
                option: "contained",
            };
            let refused = |error: std::io::Error| {
                assert_eq!(Error::from_io(&error), Some(option), "{error}");
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            };
            for _ in 0..5 {
                refused(options.map_anon().unwrap_err());
                refused(options.map_anon_shared().map(|_| ()).unwrap_err());
                let error = options.map_if_safe(&sealed).map(|_| ()).unwrap_err();
                assert!(error.to_string().contains("contained"), "{error}");
            }
            if emulator().is_none() {
                let after = mapped_bytes();
                assert!(after < before + (1 << 25), "{before} {after}");
            }
            // No place is taken, either.
            let file = pages(1);
            let maps: Vec<_> = (0..rawmap::fault::CAPACITY)
                .map(|_| contained(&file))
                .collect();
            assert!(maps.iter().all(|map| map.is_contained()));
        },
    );
}
