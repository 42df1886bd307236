//! Copies in and out of shared memory, of any place and length, against slices.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rawmap::MmapOptions;

const LEN: usize = 500;

#[derive(Arbitrary, Debug)]
enum Call {
    Read(u16, u8, u16),
    Write(u16, u8, Vec<u8>),
    Fill(u16, u16, u8),
    Range(u16, u16),
    Word(u16, u64),
}

fuzz_target!(|calls: Vec<Call>| {
    let map = MmapOptions::new().len(LEN).map_anon_shared().unwrap();
    let shared = map.shared();
    let mut model = vec![0; LEN];
    let fits = |at: usize, len: usize| at + len <= LEN;
    for call in calls {
        match call {
            // From a place of any alignment to one.
            Call::Read(at, skip, len) => {
                let (at, skip, len) = (
                    usize::from(at),
                    usize::from(skip % 16),
                    usize::from(len % 600),
                );
                let mut bytes = vec![1; skip + len];
                let read = shared.read(at, &mut bytes[skip..]);
                assert_eq!(read.is_ok(), fits(at, len));
                if read.is_ok() {
                    assert_eq!(bytes[skip..], model[at..][..len]);
                }
                assert!(bytes[..skip].iter().all(|byte| *byte == 1));
            }
            Call::Write(at, skip, bytes) => {
                let (at, from) = (
                    usize::from(at),
                    &bytes[usize::from(skip % 16).min(bytes.len())..],
                );
                assert_eq!(shared.write(at, from).is_ok(), fits(at, from.len()));
                if fits(at, from.len()) {
                    model[at..][..from.len()].copy_from_slice(from);
                }
            }
            Call::Fill(at, len, byte) => {
                let (at, len) = (usize::from(at), usize::from(len));
                assert_eq!(shared.fill(at, len, byte).is_ok(), fits(at, len));
                if fits(at, len) {
                    model[at..][..len].fill(byte);
                }
            }
            Call::Range(at, len) => {
                let (at, len) = (usize::from(at), usize::from(len));
                let part = shared.range(at, len);
                assert_eq!(part.is_ok(), fits(at, len));
                if let Ok(part) = part {
                    let mut bytes = vec![0; len];
                    part.read(0, &mut bytes).unwrap();
                    assert_eq!((part.len(), &bytes[..]), (len, &model[at..][..len]));
                }
            }
            Call::Word(at, word) => {
                let at = usize::from(at);
                // The map is at a page.
                let is_right = fits(at, 8) && at % 8 == 0;
                assert_eq!(shared.store(at, word).is_ok(), is_right);
                if is_right {
                    model[at..][..8].copy_from_slice(&word.to_ne_bytes());
                    assert_eq!(shared.load::<u64>(at), Ok(word));
                }
            }
        }
    }
    let mut bytes = vec![0; LEN];
    shared.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, model);
});
