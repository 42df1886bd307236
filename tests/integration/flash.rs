//! `Flash`: every trait of embedded-storage, by random operations against a model in memory, over every kind of map.

mod contract;
mod medium;

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use embedded_storage::nor_flash::{
    MultiwriteNorFlash, NorFlash, NorFlashError as _, NorFlashErrorKind, ReadNorFlash, check_erase,
    check_read, check_write,
};
use embedded_storage::{ReadStorage, Storage};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rawmap::adapter::{Backing, Behaviour, Flash, Nor, Overwrite};
use rawmap::{Error, MmapMut, MmapOptions, Tracked};
use rawmap_tests::disk::{FailingDisk, On};
use rawmap_tests::{rounds, skip, test_dir};

const LEN: usize = 8192;

#[derive(Clone, Debug)]
enum Step {
    Read {
        at: u32,
        len: usize,
    },
    Write {
        at: u32,
        bytes: Vec<u8>,
    },
    Erase {
        from: u32,
        to: u32,
    },
    /// Without units, by the other trait.
    ReadBytes {
        at: u32,
        len: usize,
    },
    WriteBytes {
        at: u32,
        bytes: Vec<u8>,
    },
    Commit,
}

/// Offsets and lengths that are in units more often than not, at the end and past it too.
fn steps(unit: u32) -> impl Strategy<Value = Vec<Step>> {
    let len = LEN as u32;
    let at = move || {
        prop_oneof![
            8 => (0..=len / unit).prop_map(move |number| number * unit),
            4 => (0..=len / 256).prop_map(|number| number * 256),
            2 => 0..len + 8,
            1 => len - 8..len + 300,
            1 => Just(u32::MAX - 3),
            1 => Just(u32::MAX),
        ]
    };
    let count = move || {
        prop_oneof![
            8 => (0..6 * unit).prop_map(move |number| number * unit),
            2 => 0..40u32,
            1 => Just(len),
            1 => Just(len + unit),
        ]
        .prop_map(|count| count as usize)
    };
    // Few bits set, so that ANDs are seen.
    let byte = || prop_oneof![Just(0xFFu8), Just(0), Just(0x5A), any::<u8>()];
    let bytes = move || {
        (count(), byte(), byte()).prop_map(|(count, even, odd)| -> Vec<u8> {
            (0..count)
                .map(|i| if i % 2 == 0 { even } else { odd })
                .collect()
        })
    };
    let step = prop_oneof![
        3 => (at(), count()).prop_map(|(at, len)| Step::Read { at, len }),
        8 => (at(), bytes()).prop_map(|(at, bytes)| Step::Write { at, bytes }),
        2 => (at(), at()).prop_map(|(from, to)| Step::Erase { from, to }),
        1 => (at(), count()).prop_map(|(at, len)| Step::ReadBytes { at, len }),
        2 => (at(), bytes()).prop_map(|(at, bytes)| Step::WriteBytes { at, bytes }),
        1 => Just(Step::Commit),
    ];
    prop::collection::vec(step, 1..40)
}

/// What the traits say of a range, by their own helpers.
fn kind(result: Result<(), Error>) -> Result<(), NorFlashErrorKind> {
    result.map_err(|error| error.kind())
}

/// What a chip does beside the traits that both have.
trait Chip: NorFlash<Error = Error> + ReadStorage<Error = Error> {
    const CLEARS_ONLY: bool;
    /// `None`: this one has no such trait.
    fn write_bytes(&mut self, at: u32, bytes: &[u8]) -> Option<Result<(), Error>>;
    fn commit(&mut self) -> Result<(), Error>;
}

impl<B: Backing, const R: usize, const W: usize, const E: usize> Chip for Flash<B, Nor, R, W, E> {
    const CLEARS_ONLY: bool = true;

    fn write_bytes(&mut self, _: u32, _: &[u8]) -> Option<Result<(), Error>> {
        fn twice<F: MultiwriteNorFlash>(_: &F) {}
        twice(self);
        None
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.commit()
    }
}

impl<B: Backing, const R: usize, const W: usize, const E: usize> Chip
    for Flash<B, Overwrite, R, W, E>
{
    const CLEARS_ONLY: bool = false;

    fn write_bytes(&mut self, at: u32, bytes: &[u8]) -> Option<Result<(), Error>> {
        Some(Storage::write(self, at, bytes))
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.commit()
    }
}

fn range(at: u32, len: usize) -> std::ops::Range<usize> {
    at as usize..at as usize + len
}

fn run<C: Chip>(chip: &mut C, model: &mut Vec<u8>, steps: &[Step]) {
    assert_eq!(ReadNorFlash::capacity(chip), LEN);
    assert_eq!(ReadStorage::capacity(chip), LEN);
    for step in steps {
        match step {
            Step::Read { at, len } => {
                let mut bytes = vec![0x33; *len];
                let want = check_read(chip, *at, *len);
                assert_eq!(kind(ReadNorFlash::read(chip, *at, &mut bytes)), want);
                match want {
                    Ok(()) => assert_eq!(bytes, model[range(*at, *len)]),
                    Err(_) => assert_eq!(bytes, vec![0x33; *len], "touched"),
                }
            }
            Step::Write { at, bytes } => {
                let want = check_write(chip, *at, bytes.len());
                assert_eq!(kind(NorFlash::write(chip, *at, bytes)), want);
                if want.is_ok() {
                    for (to, from) in model[range(*at, bytes.len())].iter_mut().zip(bytes) {
                        *to = if C::CLEARS_ONLY { *to & from } else { *from };
                    }
                }
            }
            Step::Erase { from, to } => {
                let want = check_erase(chip, *from, *to);
                assert_eq!(kind(chip.erase(*from, *to)), want, "{from} {to}");
                if want.is_ok() {
                    model[*from as usize..*to as usize].fill(0xFF);
                }
            }
            Step::ReadBytes { at, len } => {
                let mut bytes = vec![0x33; *len];
                let fits = u64::from(*at) + *len as u64 <= LEN as u64;
                assert_eq!(ReadStorage::read(chip, *at, &mut bytes).is_ok(), fits);
                if fits {
                    assert_eq!(bytes, model[range(*at, *len)]);
                }
            }
            Step::WriteBytes { at, bytes } => {
                let fits = u64::from(*at) + bytes.len() as u64 <= LEN as u64;
                if let Some(result) = chip.write_bytes(*at, bytes) {
                    assert_eq!(result.is_ok(), fits);
                    if fits {
                        model[range(*at, bytes.len())].copy_from_slice(bytes);
                    }
                }
            }
            Step::Commit => chip.commit().unwrap(),
        }
        let mut all = vec![0; LEN];
        ReadStorage::read(chip, 0, &mut all).unwrap();
        assert!(all == *model, "after {step:?}");
    }
}

fn file() -> File {
    let file = tempfile::tempfile_in(test_dir()).unwrap();
    file.set_len(LEN as u64).unwrap();
    file
}

fn map(file: &File) -> MmapMut {
    // SAFETY: nobody else uses the file.
    unsafe { MmapMut::map_mut(file) }.unwrap()
}

/// Random steps on a chip over each kind of map, made in both ways.
fn conforms<K: Behaviour, const R: usize, const W: usize, const E: usize>()
where
    Flash<MmapMut, K, R, W, E>: Chip,
    Flash<Tracked<3>, K, R, W, E>: Chip,
    Flash<rawmap_core::MmapMut, K, R, W, E>: Chip,
    Flash<rawmap_core::Tracked<1>, K, R, W, E>: Chip,
{
    let mut config = Config::with_cases(rounds(64));
    config.failure_persistence = None;
    let mut runner = TestRunner::new(config);
    let durable = [true, false].into_iter();
    for (durable, kind) in durable.flat_map(|durable| (0..4).map(move |kind| (durable, kind))) {
        let file = file();
        runner
            .run(&steps(W as u32), |steps| {
                // What the last case left.
                let mut model = vec![0; LEN];
                file.read_exact_at(&mut model, 0).unwrap();
                macro_rules! on {
                    ($backing:expr) => {{
                        let backing = $backing;
                        let mut chip = if durable {
                            Flash::<_, K, R, W, E>::new(backing).unwrap()
                        } else {
                            Flash::<_, K, R, W, E>::buffered(backing).unwrap()
                        };
                        run(&mut chip, &mut model, &steps);
                    }};
                }
                match kind {
                    0 => on!(map(&file)),
                    1 => on!(Tracked::<3>::new(map(&file))),
                    2 => on!(rawmap_core::MmapMut::from(map(&file))),
                    _ => on!(rawmap_core::Tracked::<1>::new(map(&file))),
                }
                // And it is in the file, not in the map alone.
                let mut all = vec![0; LEN];
                file.read_exact_at(&mut all, 0).unwrap();
                prop_assert!(all == model);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn bytes_and_pages() {
    conforms::<Nor, 1, 1, 4096>();
    conforms::<Overwrite, 1, 1, 4096>();
}

#[test]
fn words_and_small_blocks() {
    conforms::<Nor, 1, 4, 256>();
    conforms::<Overwrite, 4, 8, 64>();
}

#[test]
fn units_that_are_no_powers_of_two() {
    conforms::<Nor, 1, 1, 1>();
    conforms::<Overwrite, 2, 16, 8192>();
}

#[test]
fn a_map_that_does_not_fit_the_traits_is_an_error() {
    let file = file();
    let part = |len| {
        // SAFETY: nobody else uses the file.
        unsafe { MmapOptions::new().len(len).map_mut(&file) }.unwrap()
    };
    let refused = Flash::<_, Nor, 1, 1, 4096>::new(part(5000)).unwrap_err();
    // With its map.
    assert_eq!(refused.map.len(), 5000);
    let error = refused.error;
    let want = Error::NotInUnits {
        offset: 0,
        len: 5000,
        unit: 4096,
    };
    assert_eq!(error, want);
    let io = std::io::Error::from(error);
    assert_eq!(io.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(
        io.to_string(),
        "range of 5000 bytes at offset 0 is not made of units of 4096 bytes"
    );
    assert_eq!(
        ReadStorage::capacity(&Flash::<_, Nor, 1, 1, 4096>::new(part(0)).unwrap()),
        0
    );
    #[cfg(target_pointer_width = "64")]
    for (len, fits) in [((4 << 30) - 4096, true), (4 << 30, false), (5 << 30, false)] {
        file.set_len(len).unwrap();
        let chip = Flash::<_, Nor, 1, 1, 4096>::new(part(len as usize));
        let Ok(mut chip) = chip else {
            let (offset, limit) = (0, u64::from(u32::MAX));
            let want = Error::OutOfRange { offset, len, limit };
            assert_eq!(chip.unwrap_err().error, want);
            assert!(!fits);
            continue;
        };
        assert!(fits);
        let last = len as u32 - 4096;
        chip.erase(last, len as u32).unwrap();
        chip.write(last + 4095, &[7]).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, len - 1).unwrap();
        assert_eq!(byte, [7]);
        assert!(chip.erase(last, u32::MAX).is_err());
    }
}

/// What is durable when, seen by what is pending; and as often as the table says.
#[test]
fn durable_when_it_says_so() {
    let file = file();
    let tracked = || Tracked::<4>::new(map(&file));
    let mut chip = Flash::<_, Nor, 1, 4, 4096>::new(tracked()).unwrap();
    chip.erase(0, 8192).unwrap();
    assert!(!chip.get_ref().is_dirty());
    chip.write(16, &[0; 8]).unwrap();
    assert!(!chip.get_ref().is_dirty());
    let mut chip = Flash::<_, Nor, 1, 4, 4096>::buffered(tracked()).unwrap();
    chip.write(32, &[0; 8]).unwrap();
    assert_eq!(chip.get_ref().pending_bytes(), 8);
    // What is erased already is not written again.
    chip.erase(4096, 8192).unwrap();
    assert_eq!(chip.get_ref().pending_bytes(), 8);
    chip.write(5000, &[0; 4]).unwrap();
    chip.erase(4096, 8192).unwrap();
    assert_eq!(chip.get_ref().pending_bytes(), 8 + 4088);
    // Neither refused nor empty ones count.
    chip.write(33, &[0; 8]).unwrap_err();
    chip.write(64, &[]).unwrap();
    assert_eq!(chip.get_ref().pending_bytes(), 8 + 4088);
    chip.commit().unwrap();
    assert!(!chip.get_ref().is_dirty());
}

/// Memory whose commits fail from a given one on.
struct Failing {
    bytes: Vec<u8>,
    good: usize,
}

impl AsRef<[u8]> for Failing {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Backing for Failing {
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        Ok(&mut self.bytes[offset..offset + len])
    }

    fn commit(&mut self, _: usize, _: usize) -> Result<(), Error> {
        let left = self.good.checked_sub(1);
        self.good = left.ok_or(Error::Lost { offset: 7 })?;
        Ok(())
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.commit(0, 0)
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    fn retry(&mut self) -> Result<(), Error> {
        self.commit_all()
    }
}

#[test]
fn an_erase_that_fails_is_done_in_memory() {
    let lost = Err(Error::Lost { offset: 7 });
    let failing = |good| Failing {
        bytes: vec![0; 128],
        good,
    };
    type Chip = Flash<Failing, Nor, 1, 4, 64>;
    assert!(Chip::new(failing(0)).is_err());
    for good in 0..3 {
        let mut chip = Chip::new(failing(1 + good)).unwrap();
        assert_eq!(chip.erase(0, 128), lost, "commit {good} fails");
        assert_eq!(chip.get_ref().bytes, [0xFF; 128]);
        // Also where there is nothing left to erase.
        assert_eq!(chip.erase(0, 128), lost);
        assert_eq!(chip.write(0, &[0; 4]), lost);
    }
    // Three commits and no more; then one, to hear of failures.
    let mut chip = Chip::new(failing(1 + 3 + 1)).unwrap();
    chip.erase(0, 128).unwrap();
    chip.erase(0, 128).unwrap();
    assert_eq!(chip.get_ref().good, 0);
    chip.erase(64, 64).unwrap();
    let mut chip = Chip::buffered(failing(0)).unwrap();
    chip.erase(0, 128).unwrap();
    assert_eq!(chip.commit(), lost);
}

#[test]
fn a_medium_that_fails_is_told_of_until_a_retry() {
    const NAME: &str = "flash::a_medium_that_fails_is_told_of_until_a_retry";
    let disk = match FailingDisk::new(On::Ext4) {
        Ok(disk) => disk,
        Err(reason) => return skip(NAME, &reason),
    };
    // What is in memory is stored at first, and the device can store that again: so nothing is.
    disk.file.sync_all().unwrap();
    // SAFETY: the kernel drops what it has a copy of.
    unsafe { libc::posix_fadvise(disk.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    // A process that was killed has written, and not waited.
    disk.file.write_all_at(b"earlier", 100_000).unwrap();
    assert_ne!(disk.medium(100_000, 7), b"earlier");
    let mut options = MmapOptions::new();
    // SAFETY: nobody else uses the disk.
    let map = unsafe {
        options
            .scattered()
            .len(FailingDisk::FILE_LEN)
            .map_mut(&disk.file)
    }
    .unwrap();
    let mut chip = Flash::<_, Overwrite, 1, 1, 4096>::new(Tracked::<4>::new(map)).unwrap();
    assert_eq!(disk.medium(100_000, 7), b"earlier");
    NorFlash::write(&mut chip, 8192, b"first").unwrap();
    assert_eq!(disk.medium(8192, 5), b"first");
    disk.fail();
    for _ in 0..2 {
        let error = NorFlash::write(&mut chip, 1_400_832, b"later").unwrap_err();
        assert_eq!(error.kind(), NorFlashErrorKind::Other, "{error}");
    }
    disk.recover();
    // It stays: a write that is `Ok` would promise too much.
    NorFlash::write(&mut chip, 1_900_544, b"more").unwrap_err();
    assert_ne!(disk.medium(1_400_832, 5), b"later");
    crate::failing::retried(|| chip.get_mut().retry());
    assert_eq!(disk.medium(1_400_832, 5), b"later");
    assert_eq!(disk.medium(1_900_544, 4), b"more");
    NorFlash::write(&mut chip, 8192, b"again").unwrap();
    assert_eq!(disk.medium(8192, 5), b"again");
}
