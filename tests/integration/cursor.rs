//! `Cursor`: the traits of std and those of embedded-io, by random operations against std's own cursor over a
//! vector.

use std::fs::File;
use std::io::{BufRead, Cursor as Model, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;

use embedded_io::{Error as _, ErrorKind};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rawmap::adapter::{Backing, Cursor};
use rawmap::{Error, Mmap, MmapMut, MmapOptions, Tracked};
use rawmap_tests::disk::{FailingDisk, On};
use rawmap_tests::{skip, test_dir};

const LEN: usize = 5000;

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    ReadExact(usize),
    Write(Vec<u8>),
    WriteAll(Vec<u8>),
    FillAndConsume(usize),
    Start(u64),
    End(i64),
    Current(i64),
    SetPosition(u64),
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let near = || prop_oneof![0..40usize, 0..2 * LEN];
    let bytes = move || (near(), any::<u8>()).prop_map(|(len, byte)| vec![byte; len]);
    let by = || prop_oneof![-50..50i64, -6000..6000i64, Just(i64::MIN), Just(i64::MAX)];
    let to = || {
        prop_oneof![
            0..2 * LEN as u64,
            Just(u64::MAX),
            Just(u64::MAX - 3),
            Just(1 << 32)
        ]
    };
    let step = prop_oneof![
        4 => near().prop_map(Step::Read),
        2 => near().prop_map(Step::ReadExact),
        4 => bytes().prop_map(Step::Write),
        2 => bytes().prop_map(Step::WriteAll),
        2 => near().prop_map(Step::FillAndConsume),
        4 => to().prop_map(Step::Start),
        4 => by().prop_map(Step::End),
        4 => by().prop_map(Step::Current),
        1 => to().prop_map(Step::SetPosition),
        1 => Just(Step::Flush),
    ];
    prop::collection::vec(step, 1..50)
}

/// The same on all three: what each gave, and where it is then.
fn run<B: Backing>(cursor: &mut Cursor<B>, bytes: &mut [u8], steps: &[Step], embedded: bool) {
    let mut model = Model::new(bytes);
    for step in steps {
        match step {
            Step::Read(len) => {
                let (mut got, mut want) = (vec![0x77; *len], vec![0x77; *len]);
                let count = model.read(&mut want).unwrap();
                let read = if embedded {
                    embedded_io::Read::read(cursor, &mut got).unwrap()
                } else {
                    cursor.read(&mut got).unwrap()
                };
                assert_eq!((read, got), (count, want));
            }
            Step::ReadExact(len) => {
                let (mut got, mut want) = (vec![0; *len], vec![0; *len]);
                let fits = model.read_exact(&mut want).is_ok();
                let read = if embedded {
                    embedded_io::Read::read_exact(cursor, &mut got).is_ok()
                } else {
                    cursor.read_exact(&mut got).is_ok()
                };
                assert_eq!(read, fits);
                if fits {
                    assert_eq!(got, want);
                } else {
                    // Where a failed read ends is open.
                    cursor.set_position(model.position());
                }
            }
            Step::Write(bytes) => {
                let count = model.write(bytes).unwrap();
                if !embedded {
                    assert_eq!(cursor.write(bytes).unwrap(), count);
                } else if count == 0 && !bytes.is_empty() {
                    let error = embedded_io::Write::write(cursor, bytes).unwrap_err();
                    assert_eq!(error, Error::AtEnd { len: LEN as u64 });
                    assert_eq!(error.kind(), ErrorKind::WriteZero);
                } else {
                    assert_eq!(embedded_io::Write::write(cursor, bytes), Ok(count));
                }
            }
            Step::WriteAll(bytes) => {
                let fits = model.write_all(bytes).is_ok();
                let wrote = if embedded {
                    embedded_io::Write::write_all(cursor, bytes).is_ok()
                } else {
                    cursor.write_all(bytes).is_ok()
                };
                assert_eq!(wrote, fits);
            }
            Step::FillAndConsume(len) => {
                let want = model.fill_buf().unwrap().to_vec();
                let count = want.len().min(*len);
                if embedded {
                    assert_eq!(embedded_io::BufRead::fill_buf(cursor).unwrap(), want);
                    embedded_io::BufRead::consume(cursor, count);
                } else {
                    assert_eq!(cursor.fill_buf().unwrap(), want);
                    cursor.consume(count);
                }
                model.consume(count);
            }
            Step::Start(to) => seek(cursor, &mut model, SeekFrom::Start(*to), embedded),
            Step::End(by) => seek(cursor, &mut model, SeekFrom::End(*by), embedded),
            Step::Current(by) => seek(cursor, &mut model, SeekFrom::Current(*by), embedded),
            Step::SetPosition(to) => {
                cursor.set_position(*to);
                model.set_position(*to);
            }
            Step::Flush if embedded => embedded_io::Write::flush(cursor).unwrap(),
            Step::Flush => cursor.flush().unwrap(),
        }
        assert_eq!(cursor.position(), model.position(), "after {step:?}");
        let map: &[u8] = cursor.get_ref().as_ref();
        assert!(map == *model.get_ref(), "after {step:?}");
    }
}

fn seek<B: Backing>(
    cursor: &mut Cursor<B>,
    model: &mut Model<&mut [u8]>,
    to: SeekFrom,
    embedded: bool,
) {
    let want = model.seek(to);
    if !embedded {
        let got = cursor.seek(to);
        assert_eq!(got.as_ref().ok(), want.as_ref().ok(), "{to:?}");
        if let (Err(got), Err(want)) = (got, want) {
            assert_eq!(got.kind(), want.kind());
        }
        return;
    }
    let to = embedded_io::SeekFrom::from_std(to);
    let got = embedded_io::Seek::seek(cursor, to);
    assert_eq!(got.ok(), want.ok(), "{to:?}");
    if let Err(error) = got {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

/// embedded-io has this with its feature `std`, which is not on here.
trait FromStd {
    fn from_std(to: SeekFrom) -> Self;
}

impl FromStd for embedded_io::SeekFrom {
    fn from_std(to: SeekFrom) -> Self {
        match to {
            SeekFrom::Start(position) => Self::Start(position),
            SeekFrom::End(by) => Self::End(by),
            SeekFrom::Current(by) => Self::Current(by),
        }
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

fn conforms(embedded: bool) {
    let mut config = Config::with_cases(rawmap_tests::rounds(400));
    config.failure_persistence = None;
    for kind in 0..4 {
        let file = file();
        TestRunner::new(config.clone())
            .run(&steps(), |steps| {
                let mut bytes = vec![0; LEN];
                file.read_exact_at(&mut bytes, 0).unwrap();
                let map = map(&file);
                let model = &mut bytes;
                match kind {
                    0 => run(&mut Cursor::new(map), model, &steps, embedded),
                    1 => run(
                        &mut Cursor::new(Tracked::<3>::new(map)),
                        model,
                        &steps,
                        embedded,
                    ),
                    2 => {
                        let map = rawmap_core::MmapMut::from(map);
                        run(&mut Cursor::new(map), model, &steps, embedded);
                    }
                    // Borrowed.
                    _ => {
                        let mut map = rawmap_core::Tracked::<3>::new(map);
                        run(&mut Cursor::new(&mut map), model, &steps, embedded);
                    }
                }
                let mut all = vec![0; LEN];
                file.read_exact_at(&mut all, 0).unwrap();
                prop_assert!(all == bytes);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn the_traits_of_std_do_what_stds_cursor_does() {
    conforms(false);
}

#[test]
fn the_traits_of_embedded_io_do_the_same() {
    conforms(true);
}

#[test]
fn flush_commits_and_reading_takes_any_map() {
    let file = file();
    let mut log = Cursor::new(Tracked::<4>::new(map(&file)));
    write!(log, "boot {}", 7).unwrap();
    assert!(log.get_ref().is_dirty());
    log.flush().unwrap();
    assert!(!log.get_ref().is_dirty());
    assert_eq!(log.stream_position().unwrap(), 6);
    drop(log);
    // SAFETY: nobody else uses the file.
    let map = unsafe { Mmap::map(&file) }.unwrap();
    let mut lines = Cursor::new(&map).split(0).map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), b"boot 7");
    assert_eq!(Cursor::new(map).into_inner().len(), LEN);
}

/// Below the page cache: the first bytes and the last.
#[test]
fn a_flush_is_of_all_the_map() {
    let disk = match FailingDisk::new(On::Device) {
        Ok(disk) => disk,
        Err(reason) => return skip("cursor::a_flush_is_of_all_the_map", &reason),
    };
    fn check<B: Backing>(disk: &FailingDisk, map: B, bytes: &[u8]) {
        let last = FailingDisk::FILE_LEN - bytes.len();
        let mut cursor = Cursor::new(map);
        for position in [0, last] {
            cursor.set_position(position as u64);
            cursor.write_all(bytes).unwrap();
            assert_ne!(disk.medium(position, bytes.len()), bytes);
        }
        cursor.flush().unwrap();
        for position in [0, last] {
            assert_eq!(disk.medium(position, bytes.len()), bytes);
        }
    }
    let map = || -> MmapMut {
        let mut options = MmapOptions::new();
        // SAFETY: nobody else uses the disk.
        unsafe { options.len(FailingDisk::FILE_LEN).map_mut(&disk.file) }.unwrap()
    };
    check(&disk, map(), b"rawmap::MmapMut");
    check(&disk, Tracked::<1>::new(map()), b"rawmap::Tracked");
    let core = rawmap_core::MmapMut::from;
    check(&disk, core(map()), b"core::MmapMut");
    let tracked = rawmap_core::Tracked::<1>::new(core(map()));
    check(&disk, tracked, b"core::Tracked");
}

/// Lends and shows fewer bytes than it is asked for.
struct Liar(Vec<u8>);

impl AsRef<[u8]> for Liar {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Backing for Liar {
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        Ok(&mut self.0[offset..offset + len / 2])
    }

    fn commit(&mut self, _: usize, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    fn retry(&mut self) -> Result<(), Error> {
        self.commit_all()
    }
}

#[test]
fn a_backing_that_lends_too_little_is_an_error() {
    let mut cursor = Cursor::new(Liar(vec![0; 64]));
    cursor.set_position(3);
    let (offset, len, got) = (3, 8, 4);
    let want = Error::Backing { offset, len, got };
    let told = embedded_io::Write::write(&mut cursor, &[9; 8]);
    assert_eq!(told, Err(want));
    let told = cursor.write(&[9; 8]).unwrap_err();
    assert_eq!(told.to_string(), want.to_string());
    assert_eq!(told.kind(), std::io::ErrorKind::Other);
    assert_eq!(cursor.position(), 3);
    assert_eq!(cursor.get_ref().0, [0; 64]);
}
