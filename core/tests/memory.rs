//! What is done with the bytes of a map, on anonymous memory: `tests/run miri` runs it under Miri, which sees each access that is
//! not its own, a reference that another access ends, and a race.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::std_instead_of_core,
    reason = "a test: small numbers, and what is wrong has to end it"
)]

use rawmap_core::{Mail, Mailbox, MmapMut, MmapRaw, Tracked};

const LEN: usize = 2 * 4096;

/// Private: Miri has no other anonymous memory, and threads share it, too.
fn raw() -> MmapRaw {
    anon().into()
}

fn anon() -> MmapMut {
    MmapMut::map_anon(LEN).unwrap()
}

#[test]
fn slices_of_a_map() {
    let mut map = anon();
    assert!(map.iter().all(|byte| *byte == 0));
    let (left, right) = map.split_at_mut(100);
    left.fill(1);
    right[0] = 2;
    assert_eq!(map[99..102], [1, 2, 0]);
    let last = map.last_mut().unwrap();
    *last = 9;
    assert_eq!(map.as_ref()[LEN - 1], 9);
    let raw: MmapRaw = map.into();
    // SAFETY: inside of the map.
    let last = unsafe { raw.as_mut_ptr().add(LEN - 1) };
    // SAFETY: it is this function's own.
    unsafe { last.write(10) };
    // SAFETY: as above.
    assert_eq!(unsafe { last.read() }, 10);
}

#[test]
fn copies_of_shared_memory() {
    let map = raw();
    let shared = map.shared();
    let bytes: Vec<u8> = (0..97).collect();
    for at in 0..9 {
        for len in [0, 1, 7, 8, 9, 16, 63, 97] {
            shared.fill(0, 200, 0).unwrap();
            shared.write(at, &bytes[..len]).unwrap();
            let mut read = vec![0xFF; len + at];
            // Into a place of any alignment.
            shared.read(at, &mut read[at..]).unwrap();
            assert_eq!(read[at..], bytes[..len]);
        }
    }
    assert!(shared.read(LEN - 3, &mut [0; 4]).is_err());
    shared.store(8, 0x1122_3344_u32).unwrap();
    assert_eq!(shared.load::<u32>(8), Ok(0x1122_3344));
    assert_eq!(
        shared.compare_exchange(8, 0x1122_3344_u32, 5),
        Ok(Ok(0x1122_3344))
    );
    assert_eq!(shared.load_acquire::<u32>(8), Ok(5));
    assert!(shared.load::<u32>(9).is_err());
    let part = shared.range(LEN - 8, 8).unwrap();
    // Words of 64 bits are not everywhere.
    part.store(4, 7_u32.to_be()).unwrap();
    assert_eq!(part.range(7, 1).unwrap().load::<u8>(0), Ok(7));
}

#[test]
fn threads_share_words() {
    let map = raw();
    std::thread::scope(|scope| {
        let shared = map.shared();
        scope.spawn(move || {
            shared.write(8, b"hello").unwrap();
            shared.store_release(0, 1_u32).unwrap();
        });
        while shared.load_acquire::<u32>(0) != Ok(1) {
            std::thread::yield_now();
        }
        let mut bytes = [0; 5];
        shared.read(8, &mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
    });
}

#[test]
fn threads_share_a_mailbox() {
    let map = raw();
    std::thread::scope(|scope| {
        let shared = map.shared();
        scope.spawn(move || {
            let mut mailbox = Mailbox::new(shared, 4, 11).unwrap();
            for number in 1..=8 {
                assert_eq!(mailbox.write(&[number; 11]), Ok(number.into()));
            }
        });
        let mailbox = Mailbox::new(shared, 4, 11).unwrap();
        let (mut seen, mut bytes) = (0, [0; 11]);
        while seen < 8 {
            if let Mail::Value(number) = mailbox.read(&mut bytes).unwrap() {
                assert_eq!(bytes, [number as u8; 11]);
                assert!(number >= seen);
                seen = number;
            }
            std::thread::yield_now();
        }
    });
}

#[test]
fn writes_that_are_tracked() {
    let mut map = Tracked::<2>::new(anon());
    map.write(5000, b"abc").unwrap();
    map.edit(10, 4).unwrap().fill(7);
    map.write(LEN - 1, b"z").unwrap();
    assert!(map.write(LEN, b"z").is_err());
    assert_eq!(
        (&map[5000..5003], map[13], map[LEN - 1]),
        (&b"abc"[..], 7, b'z')
    );
    assert!(map.is_dirty());
    map.commit().unwrap();
    assert!(!map.is_dirty());
    let mut map = map.into_inner();
    map[0] = 1;
    assert_eq!(map[5000], b'a');
}

#[cfg(feature = "embedded-storage-v0.3")]
#[test]
fn a_chip() {
    use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};
    use rawmap_core::adapter::{Flash, Nor};
    let mut chip = Flash::<_, Nor, 1, 4, 4096>::new(Tracked::<4>::new(anon())).unwrap();
    chip.erase(0, 4096).unwrap();
    chip.write(8, &[0x0F; 4]).unwrap();
    chip.write(8, &[0xF3; 4]).unwrap();
    let mut bytes = [0; 5];
    chip.read(8, &mut bytes).unwrap();
    assert_eq!(bytes, [3, 3, 3, 3, 0xFF]);
    assert!(chip.write(9, &[0; 4]).is_err());
    chip.commit().unwrap();
}

#[cfg(feature = "std")]
#[test]
fn a_cursor() {
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
    let mut cursor = rawmap_core::adapter::Cursor::new(anon());
    cursor.write_all(b"one two").unwrap();
    cursor.seek(SeekFrom::Start(4)).unwrap();
    let mut word = [0; 3];
    cursor.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"two");
    cursor.seek(SeekFrom::End(-1)).unwrap();
    assert_eq!(cursor.write(b"xyz").unwrap(), 1);
}

#[cfg(feature = "record")]
#[test]
fn values_and_logs() {
    use rawmap_core::record::{Layout, Part, Reader, Store, layout};
    const LAYOUT: Layout<3> = layout!(
        512,
        "miri",
        1,
        [
            Part::slots("value", 40),
            Part::log("log", 1536).segment(512),
            Part::bytes("plain", 10)
        ]
    );
    let mut store = Store::open(MmapMut::map_anon(LAYOUT.len()).unwrap(), LAYOUT).unwrap();
    for number in 0..12_u8 {
        store.slots("value").unwrap().put(1, &[number; 40]).unwrap();
        store.log("log").unwrap().append(&[number; 100]).unwrap();
        if number % 5 == 0 {
            store.edit("plain", 3, 4).unwrap().fill(number);
            store.commit().unwrap();
        }
    }
    store.commit().unwrap();
    let map = store.into_inner();
    let reader = Reader::new(&map).unwrap();
    assert_eq!(reader.load("value").unwrap().unwrap().bytes, [11; 40]);
    let records: Vec<u8> = reader
        .records("log")
        .unwrap()
        .map(|record| record.unwrap()[0])
        .collect();
    assert!(records.len() >= 4 && records.last() == Some(&11));
    assert_eq!(reader.bytes("plain").unwrap()[3], 10);
}

#[cfg(any(
    feature = "critical-section-linux",
    all(feature = "critical-section", miri)
))]
#[test]
fn threads_write_through_one_tracker() {
    let map = rawmap_core::SharedTracked::<4>::new(anon());
    std::thread::scope(|scope| {
        for number in 0..3_u8 {
            let map = &map;
            scope.spawn(move || {
                for round in 0..3 {
                    map.write(usize::from(number) * 1000 + round, &[number + 1])
                        .unwrap();
                }
                // Miri does not know how it finds out whose turn it is.
                if !cfg!(miri) {
                    map.commit().unwrap();
                }
            });
        }
    });
    assert_eq!(map.is_dirty(), cfg!(miri));
    assert_eq!(map.len(), LEN);
    let mut byte = [0];
    map.read(2002, &mut byte).unwrap();
    assert_eq!(byte, [3]);
}
