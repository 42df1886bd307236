//! A chip against bytes that can only lose bits until their block is erased.
#![no_main]

use arbitrary::Arbitrary;
use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};
use libfuzzer_sys::fuzz_target;
use rawmap::adapter::{Flash, Nor};
use rawmap::{MmapMut, Tracked};

const LEN: usize = 1024;

#[derive(Arbitrary, Debug)]
enum Call {
    Read(u16, u8),
    Write(u16, Vec<u8>),
    Erase(u16, u16),
    Commit,
    Peek(u16),
}

fuzz_target!(|calls: Vec<Call>| {
    let map = Tracked::<4>::new(MmapMut::map_anon(LEN).unwrap());
    let mut chip = Flash::<_, Nor, 1, 4, 256>::new(map).unwrap();
    let mut model = vec![0; LEN];
    for call in calls {
        match call {
            Call::Read(offset, len) => {
                let mut bytes = vec![0; usize::from(len)];
                let at = usize::from(offset);
                let read = chip.read(offset.into(), &mut bytes);
                assert_eq!(read.is_ok(), at + bytes.len() <= LEN);
                if read.is_ok() {
                    assert_eq!(bytes, model[at..][..bytes.len()]);
                }
            }
            Call::Write(offset, bytes) => {
                let at = usize::from(offset);
                let is_right = at % 4 == 0 && bytes.len() % 4 == 0 && at + bytes.len() <= LEN;
                assert_eq!(chip.write(offset.into(), &bytes).is_ok(), is_right);
                if is_right {
                    model[at..]
                        .iter_mut()
                        .zip(&bytes)
                        .for_each(|(old, new)| *old &= new);
                }
            }
            Call::Erase(from, to) => {
                let (start, end) = (usize::from(from), usize::from(to));
                let is_right = start % 256 == 0 && end % 256 == 0 && start <= end && end <= LEN;
                assert_eq!(chip.erase(from.into(), to.into()).is_ok(), is_right);
                if is_right {
                    model[start..end].fill(0xFF);
                }
            }
            Call::Commit => chip.commit().unwrap(),
            Call::Peek(at) => {
                let at = usize::from(at) % LEN;
                assert_eq!(chip.get_ref()[at], model[at]);
            }
        }
    }
    assert_eq!(chip.into_inner()[..], model);
});
