//! `durable`: files that are made, refused, locked and upgraded.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use rawmap::durable::{Error, File, Options};
use rawmap::record::{Layout, Part, Problem, Reader, layout};

const OLD: Layout<2> = layout!(
    4096,
    "durable",
    1,
    [
        Part::slots("value", 8),
        Part::log("log", 16 * 4096).segment(8192)
    ]
);
const NEW: Layout<3> = layout!(
    4096,
    "durable",
    2,
    [
        Part::slots("value", 8),
        Part::log("log", 16 * 4096).segment(8192),
        Part::slots("wide", 64),
    ]
);

fn open(path: &Path) -> Result<File<2>, Error> {
    // SAFETY: no other program has the file.
    free(|| unsafe { Options::new().scattered().open(path, OLD) })
}

/// A child that another test forks has the file, too, until its execve(2).
fn free<T>(mut open: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 0..100 {
        match open() {
            Err(told) if told.to_string().contains("another program has it open") => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
    open()
}

fn upgrade(path: &Path, give_up: bool) -> Result<File<3>, Error> {
    let to = |store: &mut rawmap::record::Store<rawmap::MmapMut, 3>, from: u32| {
        assert_eq!(from, 1);
        let old = Reader::new(store.get_ref())?.load("value")?;
        let old = old.map_or(Vec::new(), |value| value.bytes.to_vec());
        let mut wide = [0xEE; 64];
        wide[..old.len()].copy_from_slice(&old);
        store.slots("wide")?.put(2, &wide)?;
        match give_up {
            true => Err(rawmap::Error::Busy),
            false => Ok(()),
        }
    };
    // SAFETY: no other program has the file.
    free(|| unsafe { Options::new().upgrade(path, NEW, to) })
}

#[test]
fn a_file_is_made_locked_and_found_again() {
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = folder.path().join("state");
    let mut file = open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), OLD.len() as u64);
    file.slots("value").unwrap().put(1, b"one").unwrap();
    file.log("log").unwrap().append(b"first").unwrap();
    file.commit().unwrap();
    let told = open(&path).unwrap_err();
    assert!(
        told.to_string()
            .contains("another program has it open: flock: EAGAIN (11)"),
        "{told}"
    );
    assert_eq!((told.path(), told.record()), (&*path, None));
    assert_eq!(io::Error::from(told).kind(), ErrorKind::WouldBlock);
    // SAFETY: it is refused.
    let told = unsafe { Options::new().open_to_read(&path) }.unwrap_err();
    assert_eq!(io::Error::from(told).kind(), ErrorKind::WouldBlock);
    drop(file);
    // SAFETY: no other program has the file; two may read.
    let readers = [0, 1].map(|_| free(|| unsafe { Options::new().open_to_read(&path) }).unwrap());
    let reader = readers[0].reader().unwrap();
    assert_eq!(reader.load("value").unwrap().unwrap().bytes, b"one");
    let log: Vec<_> = reader.records("log").unwrap().map(Result::unwrap).collect();
    assert_eq!(log, [b"first"]);
    assert!(open(&path).is_err());
    drop(readers);
    assert!(
        open(&path)
            .unwrap()
            .slots("value")
            .unwrap()
            .load()
            .unwrap()
            .is_some()
    );
}

#[test]
fn what_is_something_else_is_left_as_it_is() {
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = folder.path().join("state");
    let len = OLD.len();
    let (want, mut text) = (len as u64, vec![0; len]);
    text[..5].copy_from_slice(b"notes");
    let length = |found| Problem::Length { found, want };
    let cases = [
        (text.clone(), Problem::Foreign),
        (b"notes".to_vec(), length(5)),
        ([text.clone(), vec![0]].concat(), length(want + 1)),
        (text[..len - 1].to_vec(), length(want - 1)),
        (vec![0; len + 1], length(want + 1)),
    ];
    for (bytes, problem) in cases {
        fs::write(&path, &bytes).unwrap();
        let told = open(&path).unwrap_err();
        assert_eq!(told.record(), Some(problem));
        assert!(
            told.to_string().starts_with(&path.display().to_string()),
            "{told}"
        );
        assert_eq!(io::Error::from(told).kind(), ErrorKind::InvalidData);
        assert!(fs::read(&path).unwrap() == bytes);
        // Zeros are a file that was begun, of this version or another.
        if bytes.iter().any(|byte| *byte != 0) {
            let told = upgrade(&path, false).unwrap_err();
            assert!(told.record().is_some());
            assert!(fs::read(&path).unwrap() == bytes);
        }
    }
    fs::remove_file(&path).unwrap();
    let told = open(&folder.path().join("none/state")).unwrap_err();
    assert_eq!(io::Error::from(told).kind(), ErrorKind::NotFound);
    // SAFETY: there is none.
    let told = unsafe { Options::new().open_to_read(&path) }.unwrap_err();
    assert_eq!(io::Error::from(told).kind(), ErrorKind::NotFound);
}

#[test]
fn an_upgrade_keeps_the_old_file_until_the_new_one_is_there() {
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = folder.path().join("state");
    let mut file = open(&path).unwrap();
    file.slots("value").unwrap().store(1, b"one").unwrap();
    file.log("log").unwrap().append(b"first").unwrap();
    file.commit().unwrap();
    drop(file);
    // SAFETY: no other program has the file.
    let told = free(|| unsafe { Options::new().open(&path, NEW) }).unwrap_err();
    assert_eq!(told.record(), Some(Problem::Version { found: 1, want: 2 }));
    assert_eq!(fs::metadata(&path).unwrap().len(), OLD.len() as u64);

    let told = upgrade(&path, true).unwrap_err();
    assert_eq!(told.record(), None);
    // It is longer, and of its version. The next upgrade goes on with that.
    // SAFETY: no other program has the file.
    let file = free(|| unsafe { Options::new().open_to_read(&path) }).unwrap();
    assert_eq!(file.reader().unwrap().table().version, 1);
    drop(file);
    for _ in 0..2 {
        let mut file = upgrade(&path, false).unwrap();
        let wide = file.slots("wide").unwrap();
        assert!(wide.load().unwrap().unwrap().bytes.starts_with(b"one\xEE"));
        assert_eq!(file.log("log").unwrap().records().count(), 1);
    }
    let told = open(&path).unwrap_err();
    assert_eq!(told.record(), Some(Problem::Version { found: 2, want: 1 }));
}

/// An upgrade that gives up, or whose power is cut, leaves a file that the older program goes on with.
#[test]
fn an_older_program_goes_on_after_an_upgrade_that_was_not_finished() {
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = folder.path().join("state");
    let mut file = open(&path).unwrap();
    file.slots("value").unwrap().store(1, b"one").unwrap();
    drop(file);
    upgrade(&path, true).unwrap_err();
    assert_eq!(fs::metadata(&path).unwrap().len(), NEW.len() as u64);
    let mut file = open(&path).unwrap();
    assert_eq!(
        file.slots("value").unwrap().load().unwrap().unwrap().bytes,
        b"one"
    );
    file.slots("value").unwrap().store(1, b"two").unwrap();
    drop(file);
    let mut file = upgrade(&path, false).unwrap();
    let wide = file
        .slots("wide")
        .unwrap()
        .load()
        .unwrap()
        .unwrap()
        .bytes
        .to_vec();
    assert_eq!(wide[..4], *b"two\xEE");
    drop(file);
    let refused = open(&path).unwrap_err();
    assert_eq!(
        refused.record(),
        Some(Problem::Version { found: 2, want: 1 })
    );
}

/// Parts that do not stay are told before the file is changed.
#[test]
fn an_upgrade_that_cannot_be_leaves_the_file_as_it_is() {
    const OTHER: Layout<2> = layout!(
        4096,
        "durable",
        2,
        [Part::slots("value", 9000), Part::slots("more", 100_000)]
    );
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = folder.path().join("state");
    drop(open(&path).unwrap());
    let before = fs::read(&path).unwrap();
    // SAFETY: no other program has the file.
    let other = || unsafe { Options::new().upgrade(&path, OTHER, |_, _| Ok(())) };
    let refused = free(other).unwrap_err();
    assert_eq!(refused.record(), Some(Problem::OtherParts));
    assert!(fs::read(&path).unwrap() == before);
    open(&path).unwrap();
}

/// A copy of the file that has holes gets its room, too.
#[test]
fn a_file_with_holes_gets_its_room() {
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).unwrap());
    let whole = folder.path().join("whole");
    drop(open(&whole).unwrap());
    for name in ["zeros", "copy"] {
        let path = folder.path().join(name);
        let file = fs::File::create(&path).unwrap();
        if name == "copy" {
            let table = &fs::read(&whole).unwrap()[..2 * 4096];
            std::os::unix::fs::FileExt::write_all_at(&file, table, 0).unwrap();
        }
        file.set_len(OLD.len() as u64).unwrap();
        drop(open(&path).unwrap());
        assert!(blocks(&path) >= blocks(&whole), "{name}");
    }
}

#[test]
fn a_link_to_nothing_makes_the_file_that_it_names() {
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    fs::create_dir(folder.path().join("far")).unwrap();
    let path = folder.path().join("link");
    if let Err(error) = std::os::unix::fs::symlink("far/state", &path) {
        // vfat has none.
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        return;
    }
    drop(open(&path).unwrap());
    assert!(folder.path().join("far/state").exists());
    open(&path).unwrap();
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let path = folder.path().join("fifo");
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: reads the path.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    // SAFETY: it is no file that could change.
    let refused = unsafe { Options::new().open_to_read(&path) }.unwrap_err();
    assert!(refused.to_string().contains("FIFO"), "{refused}");
    open(&path).unwrap_err();
}

#[test]
fn a_file_that_was_cut_is_not_upgraded() {
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = folder.path().join("state");
    let mut file = open(&path).unwrap();
    file.log("log").unwrap().append(b"first").unwrap();
    file.commit().unwrap();
    drop(file);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 4096]).unwrap();
    let refused = upgrade(&path, false).map(drop).unwrap_err();
    let (found, want) = (whole.len() as u64 - 4096, NEW.len() as u64);
    assert_eq!(refused.record(), Some(Problem::Length { found, want }));
    assert_eq!(fs::metadata(&path).unwrap().len(), found);
}

/// What an upgrade to a longer version left that was not finished is no obstacle for one to a shorter.
#[test]
fn an_upgrade_that_was_not_finished_keeps_out_no_shorter_version() {
    const LONG: Layout<3> = layout!(
        4096,
        "durable",
        2,
        [
            Part::slots("value", 8),
            Part::log("log", 16 * 4096).segment(8192),
            Part::bytes("long", 40 * 4096),
        ]
    );
    const SHORT: Layout<3> = layout!(
        4096,
        "durable",
        3,
        [
            Part::slots("value", 8),
            Part::log("log", 16 * 4096).segment(8192),
            Part::slots("wide", 64),
        ]
    );
    let folder = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = folder.path().join("state");
    let mut file = open(&path).unwrap();
    file.slots("value").unwrap().put(1, b"one").unwrap();
    file.commit().unwrap();
    drop(file);
    // SAFETY: no other program has the file.
    let give_up =
        || unsafe { Options::new().upgrade(&path, LONG, |_, _| Err(rawmap::Error::Busy)) };
    let given_up = free(give_up);
    given_up.map(drop).unwrap_err();
    // SAFETY: as above.
    let file = free(|| unsafe { Options::new().upgrade(&path, SHORT, |_, _| Ok(())) });
    let mut file = file.unwrap();
    let value = file.slots("value").unwrap();
    assert_eq!(value.load().unwrap().unwrap().bytes, b"one");
}
