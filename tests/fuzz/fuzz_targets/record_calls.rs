//! Calls of a store, which is opened anew now and then, against what was put.
#![no_main]

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rawmap::MmapMut;
use rawmap::record::{Layout, Part, Store, layout};

const LAYOUT: Layout<4> = layout!(
    512,
    "fuzz",
    1,
    [
        Part::slots("value", 100),
        Part::log("log", 2048).segment(512),
        Part::log("kept", 1536).segment(512).keep_oldest().apart(),
        Part::bytes("plain", 100)
    ]
);

#[derive(Arbitrary, Debug)]
enum Call {
    Put(u32, Vec<u8>),
    Append(Vec<u8>),
    Keep(Vec<u8>),
    Drop,
    Edit(u8, u8, u8),
    Commit,
    Open,
}

fuzz_target!(|calls: Vec<Call>| {
    let mut store = Store::open(MmapMut::map_anon(LAYOUT.len()).unwrap(), LAYOUT).unwrap();
    let mut value = None;
    let (mut log, mut kept) = (VecDeque::<Vec<u8>>::new(), VecDeque::<Vec<u8>>::new());
    let mut plain = [0; 100];
    for call in calls {
        match call {
            Call::Put(version, bytes) => {
                assert_eq!(
                    store.slots("value").unwrap().put(version, &bytes).is_ok(),
                    bytes.len() <= 100
                );
                if bytes.len() <= 100 {
                    value = Some((version, bytes));
                }
            }
            Call::Append(bytes) => {
                let mut part = store.log("log").unwrap();
                assert_eq!(part.append(&bytes).is_ok(), bytes.len() <= part.limit());
                if bytes.len() <= part.limit() {
                    log.push_back(bytes);
                }
                // The oldest are overwritten.
                let left = part.records().count();
                assert!(left <= log.len() && (left == log.len() || left > 0));
                log.drain(..log.len() - left);
            }
            Call::Keep(bytes) => {
                if store.log("kept").unwrap().append(&bytes).is_ok() {
                    kept.push_back(bytes);
                }
            }
            Call::Drop => {
                let mut part = store.log("kept").unwrap();
                if part.drop_oldest().unwrap() {
                    let left = part.records().count();
                    assert!(left <= kept.len());
                    kept.drain(..kept.len() - left);
                }
            }
            Call::Edit(at, len, byte) => {
                let (at, len) = (usize::from(at), usize::from(len));
                let place = store.edit("plain", at, len);
                assert_eq!(place.is_ok(), at + len <= plain.len());
                if let Ok(place) = place {
                    place.fill(byte);
                    plain[at..][..len].fill(byte);
                }
            }
            Call::Commit => store.commit().unwrap(),
            Call::Open => store = Store::open(store.into_inner(), LAYOUT).unwrap(),
        }
        let slots = store.slots("value").unwrap();
        let found = slots
            .load()
            .unwrap()
            .map(|found| (found.version, found.bytes.to_vec()));
        assert_eq!(found, value);
        for (name, want) in [("log", &log), ("kept", &kept)] {
            let part = store.log(name).unwrap();
            let found: VecDeque<_> = part
                .records()
                .map(|record| record.unwrap().to_vec())
                .collect();
            assert_eq!(found, *want, "{name}");
        }
        assert_eq!(store.bytes("plain").unwrap(), plain);
    }
});
