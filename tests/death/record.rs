//! A file of records that another process takes away: what is lost is told, and nothing is written over what is there.

use rawmap::durable::Options;
use rawmap::record::{Layout, Part, layout};
use rawmap::{Error, fault};
use rawmap_tests::calls::refuse;

use crate::survives;

const LAYOUT: Layout<2> = layout!(
    "taken",
    1,
    [Part::slots("value", 8), Part::log("log", 2 << 16)]
);

#[test]
fn what_a_contained_file_lost_is_told_and_comes_back() {
    survives(
        "record::what_a_contained_file_lost_is_told_and_comes_back",
        || {
            fault::install().unwrap();
            let folder = tempfile::tempdir_in(rawmap_tests::test_dir()).unwrap();
            let path = folder.path().join("state");
            // SAFETY: what this test takes away is contained.
            let mut file = unsafe { Options::new().contained().open(&path, LAYOUT) }.unwrap();
            for value in [b"one", b"two"] {
                file.slots("value").unwrap().store(1, value).unwrap();
                file.log("log").unwrap().append(value).unwrap();
                file.commit().unwrap();
            }
            let other = std::fs::File::options().write(true).open(&path).unwrap();
            let kept = LAYOUT.parts()[0].offset() as u64 + 65_536;
            other.set_len(kept).unwrap();
            // The older copy is there, and must not be taken for the newest.
            let lost = |told: Result<(), Error>| matches!(told, Err(Error::Lost { .. }));
            assert!(lost(file.slots("value").unwrap().load().map(|_| ())));
            assert!(lost(file.slots("value").unwrap().put(1, b"three")));
            assert!(lost(file.log("log").unwrap().append(b"three")));
            assert!(lost(file.commit()));
            // What was taken away is zeros now, and the older copy is as it was.
            other.set_len(LAYOUT.len() as u64).unwrap();
            let own = file.file().try_clone().unwrap();
            // SAFETY: it is the file that is mapped, and no slice lives.
            unsafe { file.get_mut().recover(&own) }.unwrap();
            assert_eq!(
                file.slots("value").unwrap().load().unwrap().unwrap().bytes,
                b"one"
            );
            assert_eq!(file.log("log").unwrap().records().count(), 0);
            file.log("log").unwrap().append(b"three").unwrap();
            file.slots("value").unwrap().store(1, b"three").unwrap();
            drop((file, own));
            // SAFETY: nothing takes it away any more.
            let file = unsafe { Options::new().open_to_read(&path) }.unwrap();
            let reader = file.reader().unwrap();
            assert_eq!(reader.load("value").unwrap().unwrap().bytes, b"three");
            assert_eq!(reader.records("log").unwrap().count(), 1);
        },
    );
}

/// The older copy is not taken for the newest, also where a commit failed before the page was lost.
#[test]
fn a_loss_is_told_after_a_commit_that_failed() {
    const NAME: &str = "record::a_loss_is_told_after_a_commit_that_failed";
    if rawmap_tests::emulator().is_some() || rawmap_tests::no_filters() {
        return rawmap_tests::skip(NAME, "no filters of system calls");
    }
    survives(NAME, || {
        fault::install().unwrap();
        let folder = tempfile::tempdir_in(rawmap_tests::test_dir()).unwrap();
        let path = folder.path().join("state");
        // SAFETY: what this test takes away is contained.
        let mut file = unsafe { Options::new().contained().open(&path, LAYOUT) }.unwrap();
        for value in [b"one", b"two"] {
            file.slots("value").unwrap().store(1, value).unwrap();
        }
        assert!(refuse(&[(libc::SYS_msync, None)]));
        file.slots("value").unwrap().put(1, b"six").unwrap();
        file.commit().unwrap_err();
        // What is in memory can be read.
        let value = |slots: rawmap::record::Slots<'_, _, 2>| {
            slots.load().map(|value| value.unwrap().bytes.to_vec())
        };
        assert_eq!(value(file.slots("value").unwrap()), Ok(b"six".to_vec()));
        let other = std::fs::File::options().write(true).open(&path).unwrap();
        other
            .set_len(LAYOUT.parts()[0].offset() as u64 + 65_536)
            .unwrap();
        let told = value(file.slots("value").unwrap());
        assert!(matches!(told, Err(Error::Lost { .. })), "{told:?}");
    });
}
