//! The bytes of the files: those of a file that was made once, and any at all.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng};
use rawmap_core::record::{Layout, Part, Problem, Reader, SlotCopy, Store, Table, layout};
use rawmap_core::{Error, MmapMut};
use rawmap_tests::{few_steps, rounds};

use super::LAYOUT;
use super::medium::{Medium, Torn};

/// Made by this test, on x86_64.
const GOLDEN: &[u8] = include_bytes!("golden.bin");

fn medium(bytes: Vec<u8>) -> Medium {
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    Medium::new(bytes.clone(), bytes, (Torn::Not, 512), random)
}

fn made() -> Vec<u8> {
    let mut store = Store::open(medium(vec![0; LAYOUT.len()]), LAYOUT).unwrap();
    for number in 0..7_u32 {
        store
            .slots("two")
            .unwrap()
            .store(number, &[number as u8; 600])
            .unwrap();
        store.slots("three").unwrap().put(number, b"three").unwrap();
        for name in ["log", "apart"] {
            store
                .log(name)
                .unwrap()
                .append(&[number as u8; 300])
                .unwrap();
            store.log(name).unwrap().append(b"").unwrap();
        }
        store.commit().unwrap();
    }
    store.into_inner().live
}

fn problem<T: std::fmt::Debug>(result: Result<T, Error>) -> Problem {
    match result {
        Err(Error::Record(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

/// On every target: the order of bytes is that of the file.
#[test]
fn a_file_is_made_of_the_bytes_that_it_always_was() {
    let made = made();
    if let Ok(path) = std::env::var("RAWMAP_WRITE_GOLDEN") {
        std::fs::write(path, &made).unwrap();
    }
    assert!(made == GOLDEN, "the format has changed");
    let reader = Reader::new(GOLDEN).unwrap();
    let table = reader.table();
    assert_eq!(
        (table.name(), table.version, table.unit()),
        ("test", 7, 512)
    );
    assert_eq!(table.len(), LAYOUT.len() as u64);
    let places = |parts: &mut dyn Iterator<Item = Part<'_>>| -> Vec<(String, usize, usize)> {
        parts
            .map(|part| (part.name().to_owned(), part.offset(), part.len()))
            .collect()
    };
    assert_eq!(
        places(&mut table.parts()),
        places(&mut LAYOUT.parts().iter().copied())
    );
    let value = reader.load("two").unwrap().unwrap();
    assert_eq!((value.version, value.bytes), (6, &[6; 600][..]));
    let log: Vec<_> = reader.records("log").unwrap().map(Result::unwrap).collect();
    assert_eq!(log.last(), Some(&&b""[..]));
    assert!(log.len() >= 8 && log[log.len() - 2] == [6; 300]);
}

#[test]
fn a_file_of_something_else_is_refused_and_left_as_it_is() {
    let open = |bytes: &[u8], layout: Layout<4>| {
        let refused = Store::open(medium(bytes.to_vec()), layout)
            .map(|_| ())
            .unwrap_err();
        assert!(refused.map.live == bytes);
        problem(Err::<(), _>(refused.error))
    };
    let other = |name, version, parts| Layout::with_unit(512, name, version, parts).unwrap();
    let parts = *LAYOUT.parts().first_chunk().unwrap();
    assert_eq!(open(GOLDEN, other("other", 7, parts)), Problem::Foreign);
    let versions = Problem::Version { found: 7, want: 8 };
    assert_eq!(open(GOLDEN, other("test", 8, parts)), versions);
    let mut changed = parts;
    changed[1] = Part::log("log", 2 * 2048)
        .segment(2048)
        .at(parts[1].offset());
    assert_eq!(open(GOLDEN, other("test", 7, changed)), Problem::OtherParts);
    let (found, want) = (LAYOUT.len() as u64 - 1, LAYOUT.len() as u64);
    assert_eq!(
        open(&GOLDEN[..GOLDEN.len() - 1], LAYOUT),
        Problem::Length { found, want }
    );
    // A byte anywhere, in a file that was not begun.
    for at in [0, 100, 600, 1024, 9000] {
        let mut bytes = vec![0; LAYOUT.len()];
        bytes[at] = 1;
        assert_eq!(open(&bytes, LAYOUT), Problem::Foreign, "{at}");
    }
    // Both copies of the table.
    let mut bytes = GOLDEN.to_vec();
    bytes[30] ^= 1;
    bytes[1024 + 30] ^= 1;
    assert_eq!(open(&bytes, LAYOUT), Problem::Damaged { offset: 0 });
}

#[test]
fn layouts_that_cannot_be_say_which_part_and_why() {
    let why = |parts| match Layout::<2>::new("test", 1, parts) {
        Err(Problem::Layout { part, why }) => (part, why),
        other => panic!("{other:?}"),
    };
    let fine = Part::slots("fine", 8);
    assert!(Layout::new("test", 1, [fine, Part::bytes("more", 1)]).is_ok());
    assert_eq!(why([fine, Part::slots("one", 8).copies(1)]).0, 1);
    assert_eq!(why([fine, Part::slots("", 8)]).0, 1);
    assert_eq!(why([fine, Part::bytes("seventeen bytes..", 8)]).0, 1);
    assert_eq!(why([fine, Part::bytes("empty", 0)]).0, 1);
    assert_eq!(why([fine, Part::log("log", 65_536)]).0, 1);
    assert_eq!(why([fine, Part::log("log", 3 << 16).segment(100)]).0, 1);
    assert_eq!(why([fine, Part::bytes("odd", 8).at(65_537)]).0, 1);
    assert_eq!(why([fine, Part::bytes("in the table", 8).at(65_536)]).0, 1);
    assert!(why([fine, fine]).1.contains("same name"));
    let overlaps = Part::bytes("over", 8).at(LAYOUT_OF_FINE.parts()[0].offset());
    assert!(why([fine, overlaps]).1.contains("overlaps"));
    assert_eq!(why([fine, Part::bytes("long", usize::MAX)]).0, 1);
    assert_eq!(why([fine, Part::slots("long", usize::MAX)]).0, 1);
    for unit in [0, 256, 1000] {
        assert!(Layout::with_unit(unit, "test", 1, [fine]).is_err());
    }
    assert!(Layout::new("", 1, [fine]).is_err());
}

const LAYOUT_OF_FINE: Layout<1> = layout!("test", 1, [Part::slots("fine", 8)]);

#[test]
fn what_is_too_long_or_has_no_part_changes_nothing() {
    let mut store = Store::open(medium(GOLDEN.to_vec()), LAYOUT).unwrap();
    let (len, limit) = (41, 40);
    let told = store.slots("three").unwrap().put(1, &[0; 41]);
    assert_eq!(problem(told), Problem::TooLong { len, limit });
    let limit = store.log("log").unwrap().limit();
    assert_eq!(limit, 1024 - 48);
    let told = store.log("log").unwrap().append(&vec![0; limit + 1]);
    let len = limit as u64 + 1;
    let limit = limit as u64;
    assert_eq!(problem(told), Problem::TooLong { len, limit });
    assert_eq!(problem(store.slots("log").map(|_| ())), Problem::NoPart);
    assert_eq!(problem(store.log("two").map(|_| ())), Problem::NoPart);
    assert_eq!(problem(store.slots("none").map(|_| ())), Problem::NoPart);
    assert_eq!(problem(store.bytes("two").map(|_| ())), Problem::NoPart);
    assert!(store.into_inner().live == GOLDEN);
}

#[test]
fn a_log_holds_all_segments_but_one_and_may_keep_its_oldest() {
    let part = |keep: bool| {
        let part = Part::log("log", 8 * 512).segment(512);
        if keep { part.keep_oldest() } else { part }
    };
    for keep in [false, true] {
        let layout = Layout::with_unit(512, "ring", 1, [part(keep)]).unwrap();
        let mut store = Store::open(medium(vec![0; layout.len()]), layout).unwrap();
        // Six of these fill a segment.
        let record = |number: u32| [number; 16].map(|word| word as u8);
        let mut held = 0..0;
        for number in 0..500 {
            let told = store.log("log").unwrap().append(&record(number));
            if told.is_err() {
                assert!(keep);
                assert_eq!(problem(told), Problem::Full);
                assert!(held.len() == 8 * 15, "{held:?}");
                assert!(store.log("log").unwrap().drop_oldest().unwrap());
                held.start += 15;
                store.log("log").unwrap().append(&record(number)).unwrap();
            }
            held.end = number + 1;
            if number % 3 == 0 {
                store.commit().unwrap();
            }
            let log = store.log("log").unwrap();
            let found: Vec<_> = log.records().map(Result::unwrap).collect();
            if !keep {
                held.start = held.end - found.len() as u32;
                assert!(held.start == 0 || held.len() > 7 * 15, "{held:?}");
            }
            let want: Vec<_> = held.clone().map(record).collect();
            assert_eq!(found, want, "{keep} {number}");
        }
    }
}

/// Also where a batch that begins behind it could be taken for the next.
#[test]
fn a_record_that_is_gone_in_front_of_a_batch_is_told() {
    const APART: Layout<1> = layout!(
        512,
        "apart",
        1,
        [Part::log("log", 4096).segment(2048).apart()]
    );
    let mut store = Store::open(medium(vec![0; APART.len()]), APART).unwrap();
    for batch in [&[b"one", b"two"][..], &[b"six"]] {
        let mut log = store.log("log").unwrap();
        batch.iter().for_each(|record| log.append(*record).unwrap());
        log.commit().unwrap();
    }
    let mut bytes = store.into_inner().live;
    let at = APART.parts()[0].offset() + 32 + 32;
    bytes[at..at + 32].fill(0xA5);
    let reader = Reader::new(&bytes).unwrap();
    let found: Vec<_> = reader.records("log").unwrap().collect();
    let offset = at as u64;
    let damaged = Err(Error::Record(Problem::Damaged { offset }));
    assert_eq!(found, [Ok(&b"one"[..]), damaged, Ok(b"six")]);
}

/// The first value may be torn by a cut. Two damaged copies are more than a cut leaves.
#[test]
fn values_that_are_all_damaged_are_told_beside_an_empty_copy() {
    const ONE: Layout<1> = layout!(512, "one", 1, [Part::slots("value", 40)]);
    let mut store = Store::open(medium(vec![0; ONE.len()]), ONE).unwrap();
    for number in 0..2 {
        store
            .slots("value")
            .unwrap()
            .store(1, &[number; 40])
            .unwrap();
    }
    let part = ONE.parts()[0].offset();
    let mut bytes = store.into_inner().live;
    for (copy, problem) in [
        (0, None),
        (
            1,
            Some(Problem::Damaged {
                offset: part as u64,
            }),
        ),
    ] {
        bytes[part + copy * 512 + 30] ^= 1;
        let reader = Reader::new(&bytes).unwrap();
        assert_eq!(reader.load("value").err(), problem.map(Error::Record));
    }
}

/// A table that another program made, with a right checksum, does not lead out of the file, nor around in it for ever.
#[test]
fn a_table_that_says_too_much_is_not_believed() {
    let (mut file, table) = (made(), 2 * 512);
    // The row of the log, in a table that is in the first copy: its length and its segment.
    let value = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (head, len) = (24, value(&file, 16) as usize);
    assert!(len < table);
    for (at, word) in [
        (head + 32 + 48 + 40, 1_u64 << 60),
        (head + 24, 1 << 50),
        (head + 32 + 20, 0xFFFF_FFFF),
    ] {
        let kept = file.clone();
        file[at..at + 8].copy_from_slice(&word.to_le_bytes());
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
        let mut digest = sum.digest();
        digest.update(&file[..20]);
        digest.update(&file[head..head + len]);
        let sum = digest.finalize();
        file[20..24].copy_from_slice(&sum.to_le_bytes());
        read_all(&file);
        file = kept;
    }
}

#[test]
fn each_byte_of_a_copy_counts() {
    let part = LAYOUT.parts()[0];
    let reader = Reader::new(GOLDEN).unwrap();
    let mut copies = reader.copies("two").unwrap();
    let whole = |(_, copy): &(usize, SlotCopy<'_>)| matches!(copy, SlotCopy::Whole { .. });
    let (start, _) = copies.find(whole).unwrap();
    for at in start..start + 24 + 600 {
        let mut bytes = GOLDEN.to_vec();
        bytes[at] ^= 0x80;
        let reader = Reader::new(&bytes).unwrap();
        let mut copies = reader.copies(part.name()).unwrap();
        let copy = copies.find(|(at, _)| *at == start).unwrap().1;
        assert_eq!(copy, SlotCopy::Damaged, "{}", at - start);
    }
}

/// Else a cut could leave a part of a head, and the next record complete it.
#[test]
fn a_head_lies_in_one_sector() {
    let mut store = Store::open(medium(vec![0; LAYOUT.len()]), LAYOUT).unwrap();
    for len in 0..200 {
        store.log("log").unwrap().append(&[7; 200][..len]).unwrap();
        let base = store.get_ref().live.as_ptr().addr();
        let log = store.log("log").unwrap();
        let last = log.records().last().unwrap().unwrap();
        let at = last.as_ptr().addr() - base - 16;
        assert!(at % 512 <= 512 - 16, "{len}: at {at}");
    }
}

/// Bytes that change in what was committed: the rest is there, and the place is named.
#[test]
fn what_is_damaged_is_named_and_the_rest_is_there() {
    let mut store = Store::open(medium(vec![0; LAYOUT.len()]), LAYOUT).unwrap();
    for number in 0..20_u8 {
        store.log("log").unwrap().append(&[number; 30]).unwrap();
        store.slots("two").unwrap().store(1, &[number; 30]).unwrap();
    }
    let whole = store.into_inner().live;
    let log = LAYOUT.parts()[1].offset();
    // With few rounds, some of each head and record.
    for at in (log..log + 2048).step_by(if few_steps() { 13 } else { 1 }) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let reader = Reader::new(&bytes).unwrap();
        let mut damaged = Vec::new();
        let mut found = Vec::new();
        for record in reader.records("log").unwrap() {
            match record {
                Ok(record) => found.push(record[0]),
                Err(error) => match problem(Err::<(), _>(error)) {
                    Problem::Damaged { offset } => damaged.push(offset as usize),
                    other => panic!("{other:?}"),
                },
            }
        }
        assert!(found.is_sorted() && damaged.len() <= 1, "{at}: {damaged:?}");
        if let [damaged] = damaged[..] {
            assert!(damaged.abs_diff(at) < 1024, "{at}: {damaged}");
        }
        // The head of a segment costs all of it; that of the newest is missed in silence, with its last batch.
        let lost = 20 - found.len();
        assert!(
            lost <= 1 || at % 1024 < 32 || lost < 12 && at < log + 32,
            "{at}: {found:?}"
        );
        // A store goes on behind all that is there.
        let mut store = Store::open(medium(bytes), LAYOUT).unwrap();
        store.log("log").unwrap().append(b"more").unwrap();
        store.commit().unwrap();
        let log = store.log("log").unwrap();
        let records: Vec<_> = log.records().filter_map(Result::ok).collect();
        assert_eq!(records.last(), Some(&&b"more"[..]));
        assert_eq!(records.len(), found.len() + 1, "{at}");
    }
    let two = LAYOUT.parts()[0].offset();
    let mut bytes = whole.clone();
    bytes[two + 40] ^= 1;
    let reader = Reader::new(&bytes).unwrap();
    let states: Vec<_> = reader
        .copies("two")
        .unwrap()
        .map(|(_, copy)| copy)
        .collect();
    assert!(states.contains(&SlotCopy::Damaged), "{states:?}");
    assert!(reader.load("two").unwrap().is_some());
    bytes[two + 1024 + 40] ^= 1;
    let reader = Reader::new(&bytes).unwrap();
    let offset = two as u64;
    assert_eq!(problem(reader.load("two")), Problem::Damaged { offset });
    assert_eq!(reader.load("three").unwrap(), None);
}

/// All that can be asked of a file.
fn read_all(bytes: &[u8]) {
    let Ok(reader) = Reader::new(bytes) else {
        return;
    };
    for part in reader.table().parts() {
        let _ = reader.load(part.name());
        let _ = reader.bytes(part.name());
        if let Ok(copies) = reader.copies(part.name()) {
            // What a table says may be many.
            copies.take(1000).for_each(drop);
        }
        if let Ok(records) = reader.records(part.name()) {
            let most = bytes.len() / 16 + 2;
            assert!(records.take(most + 1).count() <= most);
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: rounds(3000), failure_persistence: None, ..Config::default() })]

    /// Any change of a file, also of its table: nothing panics, and nothing goes on for ever.
    #[test]
    fn any_bytes_can_be_read_and_written_over(
        changes in prop::collection::vec((0..GOLDEN.len(), any::<[u8; 4]>(), 0..3_u8), 1..12),
        from in prop::option::of(0..GOLDEN.len()),
    ) {
        let mut bytes = GOLDEN.to_vec();
        for (at, word, how) in changes {
            let end = bytes.len().min(at + 4);
            match how {
                0 => bytes[at..end].copy_from_slice(&word[..end - at]),
                1 => bytes[at] ^= 1 << (word[0] % 8),
                // A piece of it elsewhere.
                _ => {
                    let other = usize::from(u16::from_le_bytes([word[0], word[1]])) % GOLDEN.len();
                    let len = usize::from(word[2]).min(GOLDEN.len() - other).min(GOLDEN.len() - at);
                    bytes.copy_within(other..other + len, at);
                }
            }
        }
        if let Some(from) = from {
            bytes.copy_within(from.., 0);
        }
        read_all(&bytes);
        let before = bytes.clone();
        match Store::without_table(medium(bytes), LAYOUT) {
            Ok(mut store) => {
                let mut value = store.slots("two").unwrap();
                value.put(3, b"value").unwrap();
                prop_assert_eq!(value.load().unwrap().unwrap().bytes, b"value");
                let mut log = store.log("log").unwrap();
                log.append(b"record").unwrap();
                prop_assert_eq!(log.records().last().unwrap().unwrap(), b"record");
                store.commit().unwrap();
                let reader = store.into_inner().live;
                // Only its parts were changed.
                let three = LAYOUT.parts()[2].offset();
                prop_assert!(reader[three..] == before[three..]);
            }
            Err(refused) => prop_assert_eq!(problem(Err::<(), _>(refused.error)), Problem::NoPart),
        }
    }

    #[test]
    fn any_table_can_be_read(rows in prop::collection::vec(any::<u32>(), 0..200), unit in 0..20_u32) {
        // A table with a right checksum, and anything in it.
        let layout = Layout::with_unit(512, "any", 1, [Part::bytes("part", 1)]).unwrap();
        let mut store = Store::open(medium(vec![0; layout.len()]), layout).unwrap();
        let mut bytes = std::mem::take(&mut store.get_mut().live);
        let words: Vec<u8> = rows.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut table = bytes[24..24 + 32].to_vec();
        table[16..20].copy_from_slice(&(1_u32 << unit).to_le_bytes());
        table.extend(words);
        bytes.resize(70_000, 0);
        bytes[..4].copy_from_slice(b"RMS1");
        bytes[16..20].copy_from_slice(&(table.len() as u32).to_le_bytes());
        bytes[24..24 + table.len()].copy_from_slice(&table);
        let algorithm = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
        let mut digest = algorithm.digest();
        digest.update(&bytes[..20]);
        digest.update(&bytes[24..24 + table.len()]);
        let sum = digest.finalize();
        bytes[20..24].copy_from_slice(&sum.to_le_bytes());
        let _ = Table::read(&bytes);
        read_all(&bytes);
    }
}

/// The same on a map.
#[test]
fn a_store_works_on_every_backing() {
    let map = MmapMut::map_anon(LAYOUT.len()).unwrap();
    let mut store = Store::open(rawmap_core::Tracked::<4>::new(map), LAYOUT).unwrap();
    store.slots("two").unwrap().store(1, b"tracked").unwrap();
    let map = store.into_inner().into_inner();
    let mut store = Store::open(map, LAYOUT).unwrap();
    let value = store
        .slots("two")
        .unwrap()
        .load()
        .unwrap()
        .unwrap()
        .bytes
        .to_vec();
    assert_eq!(value, b"tracked");
    store.log("log").unwrap().append(b"mut").unwrap();
    store.log("log").unwrap().commit().unwrap();
}
