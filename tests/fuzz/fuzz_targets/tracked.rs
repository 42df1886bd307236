//! Writes, commits and growth of both trackers against a vector, and the file against it after each commit.
#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rawmap::{MmapMut, SharedTracked, Tracked};
use rustix::fs::{MemfdFlags, memfd_create};

#[derive(Arbitrary, Debug)]
enum Call {
    Write(u16, Vec<u8>),
    Edit(u16, u16, u8),
    Commit,
    CommitWith(u16),
    Retry,
    Grow(u16),
}

const LEN: usize = 5000;

fn memfd() -> File {
    let file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(LEN as u64).unwrap();
    file
}

fn is_stored(file: &File, model: &[u8]) {
    let mut bytes = vec![0; model.len()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, model);
}

fn own(calls: &[Call]) {
    let file = memfd();
    // SAFETY: nothing else uses the file.
    let mut map = Tracked::<3>::new(unsafe { MmapMut::map_mut(&file) }.unwrap());
    let mut model = vec![0; LEN];
    for call in calls {
        match call {
            Call::Write(at, bytes) => {
                let at = usize::from(*at);
                let fits = at + bytes.len() <= model.len();
                assert_eq!(map.write(at, bytes).is_ok(), fits);
                if fits {
                    model[at..][..bytes.len()].copy_from_slice(bytes);
                    assert!(bytes.is_empty() || map.is_dirty());
                }
            }
            Call::Edit(at, len, byte) => {
                let (at, len) = (usize::from(*at), usize::from(*len));
                let fits = at + len <= model.len();
                match map.edit(at, len) {
                    Ok(place) => place.fill(*byte),
                    Err(_) => assert!(!fits),
                }
                if fits {
                    model[at..][..len].fill(*byte);
                }
            }
            Call::Commit => assert!(map.commit().is_ok() && !map.is_dirty()),
            Call::CommitWith(gap) => {
                let pending = map.pending_bytes();
                let commit = map.commit_with(usize::from(*gap)).unwrap();
                assert!(commit.pages * 4096 >= pending.min(1) && !map.is_dirty());
            }
            Call::Retry => assert!(map.retry().is_ok() && !map.is_dirty()),
            Call::Grow(by) => {
                let len = model.len() + usize::from(*by % 4096);
                // SAFETY: the file that is mapped, which nothing else uses.
                let grown = unsafe { map.grow(&file, len) };
                // The kernel may have no room behind it for a map that must not move.
                if grown.is_ok() {
                    model.resize(len, 0);
                }
            }
        }
        assert_eq!(map[..], model);
        if !map.is_dirty() {
            is_stored(&file, &model);
        }
    }
}

fn shared(calls: &[Call]) {
    let file = memfd();
    // SAFETY: nothing else uses the file.
    let map = SharedTracked::<3>::new(unsafe { MmapMut::map_mut(&file) }.unwrap());
    let mut model = vec![0; LEN];
    for call in calls {
        match call {
            Call::Write(at, bytes) => {
                let at = usize::from(*at);
                let fits = at + bytes.len() <= model.len();
                assert_eq!(map.write(at, bytes).is_ok(), fits);
                if fits {
                    model[at..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            Call::Edit(at, len, _) => {
                let mut bytes = vec![0; usize::from(*len)];
                let at = usize::from(*at);
                let read = map.read(at, &mut bytes);
                assert_eq!(read.is_ok(), at + bytes.len() <= model.len());
                if read.is_ok() {
                    assert_eq!(bytes, model[at..][..bytes.len()]);
                }
            }
            Call::Commit => assert!(map.commit().is_ok()),
            Call::CommitWith(gap) => assert!(map.commit_with(usize::from(*gap)).is_ok()),
            Call::Retry => assert!(map.retry().is_ok()),
            Call::Grow(_) => {}
        }
        if !map.is_dirty() {
            is_stored(&file, &model);
        }
    }
}

fuzz_target!(|input: (bool, Vec<Call>)| {
    let (is_own, calls) = input;
    if is_own { own(&calls) } else { shared(&calls) }
});
