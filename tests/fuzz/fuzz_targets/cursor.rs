//! A cursor of a map against the one of std.
#![no_main]

use std::io::{Cursor as Theirs, Read as _, Seek as _, SeekFrom, Write as _};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rawmap::MmapMut;
use rawmap::adapter::Cursor;

const LEN: usize = 300;

#[derive(Arbitrary, Debug)]
enum Call {
    Read(u8),
    Write(Vec<u8>),
    Start(u64),
    End(i64),
    Current(i64),
    Flush,
}

fuzz_target!(|calls: Vec<Call>| {
    let mut ours = Cursor::new(MmapMut::map_anon(LEN).unwrap());
    let mut bytes = vec![0; LEN];
    let mut theirs = Theirs::new(&mut bytes[..]);
    for call in calls {
        match call {
            Call::Read(len) => {
                let (mut own, mut want) = (vec![1; len.into()], vec![1; len.into()]);
                assert_eq!(
                    ours.read(&mut own).unwrap(),
                    theirs.read(&mut want).unwrap()
                );
                assert_eq!(own, want);
            }
            Call::Write(bytes) => {
                assert_eq!(ours.write(&bytes).unwrap(), theirs.write(&bytes).unwrap());
            }
            Call::Start(at) => seek(&mut ours, &mut theirs, SeekFrom::Start(at)),
            Call::End(by) => seek(&mut ours, &mut theirs, SeekFrom::End(by)),
            Call::Current(by) => seek(&mut ours, &mut theirs, SeekFrom::Current(by)),
            Call::Flush => ours.flush().unwrap(),
        }
        assert_eq!(ours.position(), theirs.position());
    }
    assert_eq!(ours.into_inner()[..], bytes);
});

fn seek(ours: &mut Cursor<MmapMut>, theirs: &mut Theirs<&mut [u8]>, to: SeekFrom) {
    assert_eq!(ours.seek(to).ok(), theirs.seek(to).ok(), "{to:?}");
}
