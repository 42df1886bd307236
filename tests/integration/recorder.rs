//! The main job, killed at many points: every event that it reported is there the next time.
//!
//! A kill leaves the page cache, so this proves the order of steps and the format of records. That each
//! event was flushed before it was reported is seen in the system calls. What a power cut leaves is not
//! tested here.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rawmap_tests::{command, emulator, skip};

const RECORDER: &str = env!("CARGO_BIN_EXE_event-recorder");
const INSPECT: &str = env!("CARGO_BIN_EXE_inspect");

/// The numbers of the events in lines that start with this word.
fn events(lines: &[String], word: &str) -> BTreeSet<u64> {
    let number = |line: &String| {
        let rest = line
            .strip_prefix(word)?
            .trim_start()
            .strip_prefix("event ")?;
        rest.split(' ').next()?.parse().ok()
    };
    lines.iter().filter_map(number).collect()
}

/// Runs the recorder, kills it when it has reported so many events, and gives its lines.
fn run(path: &std::path::Path, arguments: &[&str], kill_after: usize) -> Vec<String> {
    crate::with_watchdog("recorder", || lines_of(path, arguments, kill_after))
}

fn lines_of(path: &std::path::Path, arguments: &[&str], kill_after: usize) -> Vec<String> {
    let mut child = command(RECORDER)
        .arg(path)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = Vec::new();
    let mut stored = 0;
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        // A line without its end was not reported.
        if line.ends_with('\n') {
            stored += usize::from(line.starts_with("stored"));
            lines.push(line.trim_end().to_owned());
        }
        line.clear();
        // Also before the first event: while it makes room, or reads what there is.
        if stored >= kill_after {
            // SIGKILL: no handler, no destructor, no flush of buffers.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    lines
}

#[test]
fn every_reported_event_survives_being_killed() {
    /// Fewer than the ring has, with room for those that were stored and not read before the kill.
    const RING: u64 = 10_000;
    let dir = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = dir.path().join("events.bin");
    let mut reported = BTreeSet::new();
    let mut check = |kill_after: usize, arguments: &[&str]| {
        let lines = run(&path, arguments, kill_after);
        let stored = events(&lines, "stored");
        if !stored.is_empty() {
            // It has listed all that it found before it stored the first.
            let found = events(&lines, "found");
            let newest = reported.last().copied().unwrap_or(0);
            let missing = reported.difference(&found);
            let missing: Vec<_> = missing.filter(|number| newest - **number < RING).collect();
            assert!(missing.is_empty(), "lost: {missing:?}");
            assert!(stored.first() > found.last());
        }
        reported.extend(stored);
        reported.len()
    };
    // RAWMAP_EFFORT=7200 kills it a thousand times.
    for _ in 0..(rawmap_tests::effort() / 100).max(1) {
        for kill_after in [0, 1, 0, 2, 3, 37, 11, 1, 0, 23, 4, 60, 2, 45] {
            check(kill_after, &["--events", "1000000", "--pause", "0"]);
        }
    }
    let reported = check(usize::MAX, &["--events", "0"]);
    assert!(reported > 150, "reported {reported}");
}

#[test]
fn a_record_that_is_damaged_is_seen_and_dropped() {
    let dir = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = dir.path().join("events.bin");
    run(&path, &["--events", "3", "--pause", "0"], usize::MAX);
    let mut bytes = std::fs::read(&path).unwrap();
    // One byte of event 3.
    let text = b"reading 2";
    let at = bytes.windows(text.len()).position(|window| window == text);
    bytes[at.unwrap()] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let lines = run(&path, &["--events", "0"], usize::MAX);
    let damaged = lines
        .iter()
        .filter(|line| line.starts_with("damaged at offset"));
    assert_eq!(damaged.count(), 1, "{lines:?}");
    assert_eq!(events(&lines, "found"), BTreeSet::from([1, 2, 4]));
    assert_eq!(events(&lines, "stored"), BTreeSet::from([5]));
    let shown = command(INSPECT).arg(&path).output().unwrap();
    assert!(!shown.status.success());
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("DAMAGED: damaged at offset"), "{shown}");
    assert!(
        shown.contains("number 2, newest, version 1, 8 bytes: 0200000000000000"),
        "{shown}"
    );
    // The second copy of the table, which the recorder writes again.
    let table = 65_536 + 40;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[table] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let shown = command(INSPECT).arg(&path).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("table at 65536: DAMAGED"), "{shown}");
    run(&path, &["--events", "0"], usize::MAX);
    bytes[table] ^= 1;
    let mended = std::fs::read(&path).unwrap();
    assert!(mended[65_536 + 24..65_536 + 200] == bytes[65_536 + 24..65_536 + 200]);
}

/// Between two lines that say `stored` there is an msync that said 0.
#[test]
fn each_event_is_flushed_before_it_is_reported() {
    const NAME: &str = "recorder::each_event_is_flushed_before_it_is_reported";
    if emulator().is_some() {
        return skip(NAME, "strace and the emulator do not mix");
    }
    let dir = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let log = dir.path().join("log");
    let status = Command::new("strace")
        .args(["-f", "-e", "trace=msync,write", "-o"])
        .arg(&log)
        .arg(RECORDER)
        .arg(dir.path().join("events.bin"))
        .args(["--events", "5", "--pause", "0"])
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) => assert!(status.success()),
        Err(error) => return skip(NAME, &format!("strace: {error}")),
    }
    let log = std::fs::read_to_string(&log).unwrap();
    let (mut flushed, mut stored) = (0, 0);
    for line in log.lines() {
        flushed += usize::from(line.contains("msync(") && line.trim_end().ends_with("= 0"));
        if line.contains("\"stored event") {
            stored += 1;
            assert!(flushed >= stored, "reported before it was flushed: {log}");
        }
    }
    assert_eq!(stored, 6);
}

/// It was cut while the file was made.
#[test]
fn a_file_that_was_begun_goes_on() {
    let dir = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = dir.path().join("events.bin");
    std::fs::write(&path, vec![0; 70_000]).unwrap();
    let lines = run(&path, &["--events", "0"], usize::MAX);
    assert_eq!(events(&lines, "stored"), BTreeSet::from([1]), "{lines:?}");
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = dir.path().join("notes.txt");
    for bytes in [
        b"my notes".to_vec(),
        crate::pattern(65_536),
        crate::pattern(70_000),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let status = command(RECORDER).arg(&path).stderr(Stdio::null()).status();
        assert!(!status.unwrap().success());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn two_recorders_do_not_share_a_file() {
    let dir = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = dir.path().join("events.bin");
    let mut first = command(RECORDER)
        .arg(&path)
        .args(["--events", "1000000", "--pause", "5"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(first.stdout.take().unwrap());
    crate::with_watchdog("recorder::two_recorders_do_not_share_a_file", || {
        while !line.starts_with("stored") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0);
        }
    });
    let second = command(RECORDER).arg(&path).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another program has it open"));
    first.kill().unwrap();
    first.wait().unwrap();
}
