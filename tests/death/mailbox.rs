//! The newest value of one writer: between processes, after a writer that died, and with any bytes in the memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rawmap::memfd::MemfdOptions;
use rawmap::{Error, Mail, Mailbox, MmapOptions, MmapRaw, Shared};
use rawmap_tests::rounds;

use crate::locks::{end_of, fork};
use crate::{page, survives};

const LEN: usize = 64;

fn memory() -> MmapRaw {
    let file = MemfdOptions::new().create("mail").unwrap();
    file.set_len(page() as u64).unwrap();
    MmapOptions::new().map_raw_sealed(&file).unwrap()
}

fn mailbox(view: Shared<'_>) -> Mailbox<'_> {
    Mailbox::new(view, 8, LEN).unwrap()
}

/// A value that shows parts of another.
fn value(number: u32) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&(number ^ at as u32).to_ne_bytes());
    }
    bytes
}

#[test]
fn another_process_reads_whole_values() {
    survives("mailbox::another_process_reads_whole_values", || {
        // The reader says what it has seen, so that it has a turn on one processor, too.
        const SEEN: usize = 0;
        const AHEAD: u32 = 64;
        let values = 100 * rounds(500);
        let map = memory();
        let child = fork(|| {
            let mut writer = mailbox(map.shared());
            for number in 1..=values {
                assert_eq!(writer.write(&value(number)), Ok(number));
                while map.shared().load::<u32>(SEEN).unwrap() + AHEAD < number {
                    std::thread::yield_now();
                }
            }
        });
        let (reader, mut bytes) = (mailbox(map.shared()), [0; LEN]);
        let (mut seen, mut different, mut none) = (0, 0, 0);
        while seen < values {
            match reader.read(&mut bytes).unwrap() {
                Mail::Value(number) => {
                    assert_eq!(bytes, value(number), "torn, number {number}");
                    assert!(number >= seen, "{number} after {seen}");
                    different += u32::from(number > seen);
                    seen = number;
                    map.shared().store(SEEN, seen).unwrap();
                }
                Mail::Empty => assert_eq!(seen, 0),
                _ => none += 1,
            }
        }
        assert!(end_of(child).unwrap().success());
        println!("{different} of {values} values seen, {none} times none");
        assert!(different >= values / AHEAD);
    });
}

#[test]
fn a_writer_that_died_is_told_until_the_next_one_writes() {
    survives(
        "mailbox::a_writer_that_died_is_told_until_the_next_one_writes",
        || {
            let map = memory();
            let (mut reader, mut bytes) = (mailbox(map.shared()), [0; LEN]);
            assert_eq!(reader.read(&mut bytes), Ok(Mail::Empty));
            let child = fork(|| {
                mailbox(map.shared()).write(&value(1)).unwrap();
                // The next one has an odd number, and half of its bytes.
                map.shared().store(8, 3_u32).unwrap();
                map.shared().write(16, &value(2)[..LEN / 2]).unwrap();
                // SAFETY: a signal to this process.
                unsafe { libc::raise(libc::SIGKILL) };
            });
            assert!(!end_of(child).unwrap().success());
            for _ in 0..3 {
                assert_eq!(reader.read(&mut bytes), Ok(Mail::Unfinished));
            }
            assert_eq!(reader.write(&value(2)), Ok(2));
            assert_eq!(reader.read(&mut bytes), Ok(Mail::Value(2)));
            assert_eq!(bytes, value(2));
        },
    );
}

#[test]
fn a_peer_that_scribbles_ends_nothing() {
    let map = memory();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 1_u32;
            while !stop.load(Ordering::Relaxed) {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                map.shared().store(8, number >> 7).unwrap();
            }
        });
        let (mut mine, mut bytes) = (mailbox(map.shared()), [0; LEN]);
        let began = Instant::now();
        let mut others = 0;
        while began.elapsed() < Duration::from_millis(200) {
            mine.write(&value(9)).unwrap();
            // Whatever it is: it comes to an end.
            others += u32::from(!matches!(mine.read(&mut bytes), Ok(Mail::Value(_))));
        }
        stop.store(true, Ordering::Relaxed);
        println!("{others} times no value");
    });
}

#[test]
fn what_is_no_mailbox_is_an_error() {
    let map = memory();
    let view = map.shared();
    let unaligned = Error::Unaligned {
        offset: 6,
        align: 4,
    };
    assert_eq!(Mailbox::new(view, 6, 8).unwrap_err(), unaligned);
    for (offset, len) in [
        (0, page() - 7),
        (page() - 8, 1),
        (page() - 4, 0),
        (usize::MAX - 3, 8),
        (8, usize::MAX),
    ] {
        let refused = Mailbox::new(view, offset, len).unwrap_err();
        assert!(
            matches!(refused, Error::OutOfRange { limit, .. } if limit == page() as u64),
            "{offset} {len}: {refused}"
        );
    }
    let mut last = Mailbox::new(view, page() - 8, 0).unwrap();
    assert!(last.is_empty());
    assert_eq!(last.write(&[]), Ok(1));
    assert_eq!(last.read(&mut []), Ok(Mail::Value(1)));

    let mut short = Mailbox::new(view, 0, 8).unwrap();
    assert_eq!((short.len(), short.is_empty()), (8, false));
    let past = Error::OutOfRange {
        offset: 8,
        len: 9,
        limit: 16,
    };
    assert_eq!(short.write(&[1; 9]), Err(past));
    assert_eq!(short.read(&mut [0; 9]), Err(past));
    assert_eq!(short.read(&mut [0; 8]), Ok(Mail::Empty));
    // A part of a value.
    assert_eq!(short.write(&[1; 8]), Ok(1));
    assert_eq!(short.write(&[2; 3]), Ok(2));
    let mut bytes = [0; 5];
    assert_eq!(short.read(&mut bytes), Ok(Mail::Value(2)));
    assert_eq!(bytes, [2, 2, 2, 1, 1]);
}

#[test]
fn a_map_that_is_only_read_has_mail_but_takes_none() {
    let file = MemfdOptions::new().create("mail").unwrap();
    file.set_len(page() as u64).unwrap();
    let map = MmapOptions::new().map_raw(&file).unwrap();
    let reads = MmapOptions::new().map_raw_read_only(&file).unwrap();
    let mut reader = mailbox(reads.shared());
    let mut bytes = [0; LEN];
    // ARMv5 compares and swaps for a load that acquires: a store, where the word is 0.
    assert_eq!(reader.read(&mut bytes), Ok(Mail::Empty));
    mailbox(map.shared()).write(&value(5)).unwrap();
    assert_eq!(reader.read(&mut bytes), Ok(Mail::Value(1)));
    assert_eq!(bytes, value(5));
    assert_eq!(reader.write(&value(6)), Err(Error::Protected));
    assert_eq!(reader.read(&mut bytes), Ok(Mail::Value(1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds(256)))]

    /// Any bytes: an answer, and the next value is there, with the next number.
    #[test]
    fn any_number_goes_on(number: u32, bytes: [u8; 12]) {
        let map = memory();
        map.shared().store(8, number).unwrap();
        map.shared().write(12, &bytes).unwrap();
        let (mut mine, mut copy) = (mailbox(map.shared()), [0; LEN]);
        let mail = mine.read(&mut copy).unwrap();
        match number {
            0 => prop_assert_eq!(mail, Mail::Empty),
            odd if odd % 2 == 1 => prop_assert_eq!(mail, Mail::Unfinished),
            even => {
                prop_assert_eq!(mail, Mail::Value(even / 2));
                prop_assert_eq!(&copy[..8], &bytes[4..]);
            }
        }
        let next = mine.write(&value(number)).unwrap();
        prop_assert_eq!(next, if number / 2 == u32::MAX / 2 { 1 } else { number / 2 + 1 });
        prop_assert_eq!(mine.read(&mut copy), Ok(Mail::Value(next)));
        prop_assert_eq!(copy, value(number));
    }
}
