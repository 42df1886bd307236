//! The main job, killed at random points: every event that it reported is there the next time.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rawmap_tests::command;

const RECORDER: &str = env!("CARGO_BIN_EXE_event-recorder");

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
    const RING: u64 = 700;
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
    for kill_after in [0, 1, 0, 2, 3, 37, 11, 1, 0, 23, 4, 60, 2, 45] {
        check(
            kill_after,
            &["--events", "1000000", "--pause", "0", "--list"],
        );
    }
    let reported = check(usize::MAX, &["--events", "0", "--list"]);
    assert!(reported > 150, "reported {reported}");
}

#[test]
fn a_record_that_was_cut_is_seen_and_dropped() {
    let dir = tempfile::tempdir_in(crate::test_dir()).unwrap();
    let path = dir.path().join("events.bin");
    run(&path, &["--events", "3", "--pause", "0"], usize::MAX);
    let mut bytes = std::fs::read(&path).unwrap();
    // One byte of event 3, which stands in the fourth slot.
    bytes[3 * 64 + 20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let lines = run(&path, &["--events", "0", "--list"], usize::MAX);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("1 records were cut")),
        "{lines:?}"
    );
    assert_eq!(events(&lines, "found"), BTreeSet::from([1, 2, 4]));
}
