//! Views of memory that others write: checked, defined, and equal to what a slice would give.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use rawmap::{Error, MmapMut, MmapOptions, MmapRaw, Protection, Word};
use rawmap_tests::{few_steps, rounds};

use crate::{page, pages};

fn memory(len: usize) -> MmapRaw {
    MmapOptions::new().len(len).map_anon_shared().unwrap()
}

fn is_range<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::OutOfRange { .. }))
}

/// Loads, stores and changes of one width, at the edges of a view.
fn width<W>(numbers: [W; 4])
where
    W: Word
        + PartialEq
        + std::fmt::Debug
        + std::ops::BitAnd<Output = W>
        + std::ops::BitOr<Output = W>,
{
    let [one, two, three, six] = numbers;
    let map = memory(64);
    let (view, size) = (map.shared(), size_of::<W>());
    for offset in [0, size, 64 - size] {
        view.store(offset, one).unwrap();
        assert_eq!(view.load::<W>(offset).unwrap(), one);
        assert_eq!(view.swap(offset, two).unwrap(), one);
        assert_eq!(view.compare_exchange(offset, one, six).unwrap(), Err(two));
        assert_eq!(view.compare_exchange(offset, two, one).unwrap(), Ok(two));
        assert_eq!(view.fetch_add(offset, two).unwrap(), one);
        assert_eq!(view.fetch_sub(offset, two).unwrap(), three);
        assert_eq!(view.fetch_or(offset, two).unwrap(), one);
        assert_eq!(view.fetch_and(offset, six).unwrap(), one | two);
        assert_eq!(view.fetch_xor(offset, one).unwrap(), three & six);
        view.store_release(offset, six).unwrap();
        assert_eq!(view.load_acquire::<W>(offset).unwrap(), six);
    }
    let past = Error::OutOfRange {
        offset: 65 - size as u64,
        len: size as u64,
        limit: 64,
    };
    assert_eq!(view.load::<W>(65 - size), Err(past));
    assert_eq!(view.store(65 - size, one), Err(past));
    assert_eq!(view.swap(65 - size, one), Err(past));
    for offset in [64, usize::MAX, usize::MAX - size + 1] {
        assert!(is_range(view.load::<W>(offset)));
    }
    if size > 1 {
        let align = u32::try_from(size).unwrap();
        let unaligned = Error::Unaligned { offset: 1, align };
        assert_eq!(view.load::<W>(1), Err(unaligned));
        assert_eq!(view.store(1, one), Err(unaligned));
        assert_eq!(view.fetch_add(1, one), Err(unaligned));
    }
}

#[test]
fn words_of_every_width() {
    width([1u8, 2, 3, 6]);
    width([1u16, 2, 3, 6]);
    width([1u32, 2, 3, 6]);
    #[cfg(target_has_atomic = "64")]
    width([1u64, 2, 3, 6]);
    width([1usize, 2, 3, 6]);
    width([1i8, 2, 3, 6]);
    width([1i16, 2, 3, 6]);
    width([1i32, 2, 3, 6]);
    #[cfg(target_has_atomic = "64")]
    width([1i64, 2, 3, 6]);
    width([1isize, 2, 3, 6]);
}

#[test]
fn alignment_is_of_the_address() {
    let file = pages(1);
    let map = MmapOptions::new().offset(2).map_raw(&file).unwrap();
    assert!(map.shared().load::<u32>(0).is_err());
    assert_eq!(map.shared().load::<u32>(2).unwrap(), 0x0101_0101);
    let part = map.shared().range(2, 100).unwrap();
    assert_eq!(part.load::<u32>(0).unwrap(), 0x0101_0101);
    assert_eq!((part.len(), part.is_empty()), (100, false));
    assert!(part.range(100, 1).is_err());
    assert!(part.range(50, 51).is_err());
    assert!(part.range(100, 0).unwrap().is_empty());
    assert!(part.range(usize::MAX, 2).is_err());
}

#[test]
fn what_the_protection_forbids_is_an_error() {
    let file = pages(1);
    let mut map = MmapOptions::new().map_raw_read_only(&file).unwrap();
    let denied = Err(Error::Protected);
    assert_eq!(map.shared().store(0, 1u8), denied);
    assert_eq!(map.shared().swap(0, 1u8).map(|_| ()), denied);
    assert_eq!(map.shared().write(0, b"x"), denied);
    assert_eq!(map.shared().fill(0, 1, 1), denied);
    assert_eq!(map.shared().load::<usize>(0).unwrap() & 0xff, 1);
    // A wider load may be a store in disguise.
    #[cfg(target_has_atomic = "64")]
    {
        let wide = map.shared().load::<u64>(0).is_ok();
        assert_eq!(wide, cfg!(target_pointer_width = "64"));
    }
    map.protect(Protection::None).unwrap();
    assert_eq!(map.shared().load::<u8>(0).map(|_| ()), denied);
    assert_eq!(map.shared().read(0, &mut [0]), denied);
    map.protect(Protection::ReadWrite).unwrap();
    map.shared().store(0, 2u8).unwrap();
    let map: MmapRaw = MmapMut::map_anon(10)
        .unwrap()
        .make_read_only()
        .unwrap()
        .into();
    assert_eq!(map.shared().store(0, 1u8), denied);
}

#[test]
fn copies_of_every_length_and_alignment() {
    let map = memory(6 * 4096);
    let view = map.shared();
    let source: Vec<u8> = (0..3000u32).map(|i| (i * 7 % 251) as u8).collect();
    let longest = if few_steps() { 150 } else { 700 };
    for shared in 0..17 {
        for local in 0..17 {
            // All short ones, and of the others some.
            let some =
                (0..longest).filter(|len| *len < 80 || len % 13 == 0 || (500..530).contains(len));
            for len in some.chain([1023, 2049]) {
                view.fill(0, len + 100, 0xee).unwrap();
                let bytes = &source[local..local + len];
                view.write(32 + shared, bytes).unwrap();
                let mut back = vec![0xdd; len + 34];
                let start = local;
                view.read(32 + shared, &mut back[start..start + len])
                    .unwrap();
                assert_eq!(&back[start..start + len], bytes, "{shared} {local} {len}");
                // Nothing around them.
                assert!(back[..start].iter().all(|byte| *byte == 0xdd));
                assert!(back[start + len..].iter().all(|byte| *byte == 0xdd));
                let edges = [31 + shared, 32 + shared + len];
                assert!(edges.iter().all(|at| view.load::<u8>(*at).unwrap() == 0xee));
            }
        }
    }
}

#[test]
fn copies_past_the_end_copy_nothing() {
    let map = memory(100);
    let view = map.shared();
    view.fill(0, 100, 5).unwrap();
    let mut bytes = [9; 11];
    assert!(is_range(view.read(90, &mut bytes)));
    assert_eq!(bytes, [9; 11]);
    assert!(is_range(view.write(90, &bytes)));
    assert!(is_range(view.fill(1, 100, 9)));
    assert!(is_range(view.read(usize::MAX, &mut bytes)));
    view.read(90, &mut bytes[..10]).unwrap();
    assert_eq!(bytes[..10], [5; 10]);
    // 0 bytes at the end.
    view.read(100, &mut []).unwrap();
    view.write(100, &[]).unwrap();
    assert!(view.write(101, &[]).is_err());
}

#[test]
fn values_of_any_layout() {
    let map = memory(100);
    let view = map.shared();
    view.write_value(3, &[1u32, 2, 3]).unwrap();
    assert_eq!(view.read_value::<[u32; 3]>(3).unwrap(), [1, 2, 3]);
    assert_eq!(view.read_value::<u8>(3).unwrap(), 1u32.to_ne_bytes()[0]);
    assert!(view.read_value::<[u32; 3]>(89).is_err());
    assert!(view.write_value(89, &[0u32; 3]).is_err());
}

/// While another thread writes, every byte that is copied is one that was stored.
#[test]
fn a_copy_beside_a_writer_gives_old_bytes_and_new_ones() {
    let len = 10_000;
    let map = memory(len);
    let done = AtomicBool::new(false);
    let times = rounds(2000);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = 0u8;
            while !done.load(Ordering::Relaxed) {
                byte = byte % 200 + 1;
                map.shared().fill(0, len, byte).unwrap();
            }
        });
        let mut copy = vec![0; len];
        for _ in 0..times {
            map.shared().read(0, &mut copy).unwrap();
            assert!(copy.iter().all(|byte| *byte <= 200));
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Words are whole, and what came before a release is seen after the acquire.
#[test]
fn a_mailbox_between_threads() {
    let map = memory(page());
    let times = rounds(20_000);
    thread::scope(|scope| {
        scope.spawn(|| {
            let view = map.shared();
            for number in 1..=times {
                while view.load_acquire::<u32>(0).unwrap() != 0 {
                    thread::yield_now();
                }
                view.write(64, &[number.to_le_bytes(); 25].concat())
                    .unwrap();
                view.store_release(0, number).unwrap();
            }
        });
        let view = map.shared();
        let mut letter = [0; 100];
        for number in 1..=times {
            while view.load_acquire::<u32>(0).unwrap() != number {
                thread::yield_now();
            }
            view.read(64, &mut letter).unwrap();
            assert!(letter.chunks(4).all(|word| word == number.to_le_bytes()));
            view.store_release(0, 0u32).unwrap();
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: rounds(200),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// What a view does is what a slice would have had.
    #[test]
    fn views_against_a_slice(steps in prop::collection::vec((0..4u8, 0..5000usize, 0..1500usize, any::<u8>()), 1..40)) {
        let map = memory(4500);
        let (view, mut model) = (map.shared(), vec![0u8; 4500]);
        for (what, offset, len, byte) in steps {
            let inside = offset + len <= model.len();
            match what {
                0 => {
                    prop_assert_eq!(view.fill(offset, len, byte).is_ok(), inside);
                    if inside {
                        model[offset..offset + len].fill(byte);
                    }
                }
                1 => {
                    let bytes: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(byte)).collect();
                    prop_assert_eq!(view.write(offset, &bytes).is_ok(), inside);
                    if inside {
                        model[offset..offset + len].copy_from_slice(&bytes);
                    }
                }
                2 => {
                    let mut bytes = vec![1; len];
                    prop_assert_eq!(view.read(offset, &mut bytes).is_ok(), inside);
                    if inside {
                        prop_assert_eq!(&bytes, &model[offset..offset + len]);
                    }
                }
                _ => {
                    let fits = offset + 2 <= model.len() && offset % 2 == 0;
                    let word = view.swap(offset, u16::from_ne_bytes([byte, byte]));
                    prop_assert_eq!(word.is_ok(), fits);
                    if let Ok(word) = word {
                        prop_assert_eq!(&word.to_ne_bytes()[..], &model[offset..offset + 2]);
                        model[offset..offset + 2].fill(byte);
                    }
                }
            }
        }
        let mut all = vec![0; 4500];
        view.read(0, &mut all).unwrap();
        prop_assert_eq!(all, model);
    }
}

/// Under a slice nothing may change, however it is asked for.
#[test]
fn a_map_that_is_lent_as_slices_is_not_written() {
    let map = rawmap_core::MmapMut::map_anon(100).unwrap();
    let view = map.as_raw().shared();
    assert_eq!(view.store(0, 1u8), Err(Error::Protected));
    assert_eq!(view.fetch_add(0, 1u8).map(|_| ()), Err(Error::Protected));
    assert_eq!(view.load::<u8>(0), Ok(0));
    let map = map.make_read_only().unwrap().make_mut().unwrap();
    assert_eq!(map.as_raw().shared().write(0, b"x"), Err(Error::Protected));
    // Given up, it is its owner's.
    let map = rawmap_core::MmapRaw::from(map);
    assert_eq!(map.shared().write(0, b"x"), Ok(()));
}
