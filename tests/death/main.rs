//! Rung 2: memory that others change or take away. What may die does so in a child: this program once more,
//! with one test to run.

mod chain;
mod contained;
mod doors;
mod foreign;
mod guards;
mod limits;
mod locks;
mod mailbox;
mod memfd;
mod peer;
mod places;
mod random;
mod reaches;
mod record;
mod recover;
mod resident;
mod shared;
mod table;
mod threads;
mod wait;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use rawmap::{Error, MmapOptions, MmapRaw};
use rawmap_tests::{command, test_dir};

/// Tells a child which test it is to run.
const CASE: &str = "RAWMAP_CASE";

/// Runs a body in a child of its own, and gives how that ended: with 0 if the body came to its end. `name` is
/// the test's, with that of its module.
fn in_child(name: &str, body: impl FnOnce()) -> ExitStatus {
    in_child_saying(name, "", body).0
}

/// Like [`in_child`], with a word for the child, which finds it by [`word`]; gives what the child said on standard
/// error, too.
fn in_child_saying(name: &str, word: &str, body: impl FnOnce()) -> (ExitStatus, String) {
    if std::env::var(CASE).is_ok_and(|case| case == name) {
        leave_no_core();
        // SAFETY: takes a number. A child that hangs ends by SIGALRM, which is no end that a test wants.
        unsafe { libc::alarm(1200) };
        body();
        std::process::exit(0);
    }
    let program = std::env::current_exe().unwrap();
    let output = command(program.to_str().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CASE, name)
        .env("RAWMAP_CASE_WORD", word)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    eprint!("{said}");
    (output.status, said)
}

/// The word for this child.
fn word() -> String {
    std::env::var("RAWMAP_CASE_WORD").unwrap_or_default()
}

/// For tests whose child has to come to its end.
fn survives(name: &str, body: impl FnOnce()) {
    // Those that need them have a row in skips.toml.
    if !rawmap_tests::faults_have_addresses()
        && rawmap_tests::is_allowed(name, rawmap_tests::TARGET)
    {
        return rawmap_tests::skip(name, "no addresses of faults");
    }
    let status = in_child(name, body);
    assert!(status.success(), "{name}: {status}");
}

fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

fn leave_no_core() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads the limit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
}

fn page() -> usize {
    rawmap::page_size().unwrap().get()
}

/// A file of some pages, each filled with its number from 1 on.
fn pages(count: usize) -> File {
    let mut file = tempfile::tempfile_in(test_dir()).unwrap();
    for number in 1..=count {
        file.write_all(&vec![u8::try_from(number).unwrap(); page()])
            .unwrap();
    }
    file
}

fn contained(file: &File) -> MmapRaw {
    MmapOptions::new().contained().map_raw(file).unwrap()
}

/// A byte, as others may change it.
fn load(map: &rawmap_core::MmapRaw, offset: usize) -> u8 {
    map.shared().load(offset).unwrap()
}

fn store(map: &rawmap_core::MmapRaw, offset: usize, byte: u8) {
    map.shared().store(offset, byte).unwrap();
}

fn cut(file: &File, pages: usize) {
    file.set_len((pages * page()) as u64).unwrap();
}

/// The offset that a `Lost` tells.
fn lost_at<T>(result: Result<T, impl Into<std::io::Error>>) -> Option<u64> {
    let error = result.err()?.into();
    match Error::from_io(&error) {
        Some(Error::Lost { offset }) => Some(offset),
        _ => panic!("{error}"),
    }
}

fn in_file(file: &File, offset: usize) -> u8 {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset as u64).unwrap();
    byte[0]
}
