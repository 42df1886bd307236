//! Any bytes as a file of records: read, opened, changed. Nothing panics, and all comes to an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rawmap::MmapMut;
use rawmap::record::{Layout, Part, Reader, Store, layout};

const LAYOUT: Layout<4> = layout!(
    512,
    "fuzz",
    1,
    [
        Part::slots("value", 100),
        Part::log("log", 1024).segment(512),
        Part::log("kept", 1536).segment(512).keep_oldest().apart(),
        Part::bytes("plain", 100)
    ]
);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reader) = Reader::new(bytes) {
        for part in reader.table().parts() {
            let name = part.name();
            let _ = (reader.load(name), reader.bytes(name));
            let _ = reader.copies(name).map_or(0, Iterator::count);
            let _ = reader.records(name).map_or(0, Iterator::count);
        }
    }
    let mut map = MmapMut::map_anon(LAYOUT.len()).unwrap();
    // Right where the program's own table is, or as they are.
    let (is_own, bytes) = bytes
        .split_first()
        .map_or((true, bytes), |(first, rest)| (first & 1 == 1, rest));
    let start = if is_own {
        map = Store::open(map, LAYOUT).unwrap().into_inner();
        LAYOUT.parts()[0].offset()
    } else {
        0
    };
    map[start..]
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    let Ok(mut store) = Store::open(map, LAYOUT) else {
        return;
    };
    let value = store
        .slots("value")
        .unwrap()
        .load()
        .map(|value| value.map(|value| value.bytes.to_vec()));
    let _ = value;
    store.slots("value").unwrap().store(1, b"next").unwrap();
    assert_eq!(
        store.slots("value").unwrap().load().unwrap().unwrap().bytes,
        b"next"
    );
    for name in ["log", "kept"] {
        let before = store.log(name).unwrap().records().count();
        for number in 0..40_u8 {
            let mut log = store.log(name).unwrap();
            if log.append(&[number; 30]).is_ok() {
                assert_eq!(log.records().last().unwrap().unwrap(), [number; 30]);
            } else {
                // Bytes may look like a full ring of one segment.
                let _ = log.drop_oldest().unwrap();
            }
        }
        store.commit().unwrap();
        assert!(store.log(name).unwrap().records().count() <= before + 40 * 40);
    }
});
