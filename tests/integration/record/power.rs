//! The judge of the power cuts of records: what is not as it was promised is refused, each kind of promise by itself.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;

use rawmap_tests::{command, test_dir};

const PROGRAM: &str = env!("CARGO_BIN_EXE_record-power");

/// What the program promised until it was killed, soon after its file was upgraded.
fn work(path: &Path) -> Vec<String> {
    let mut program = command(PROGRAM)
        .args([Path::new("work"), path])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(program.stdout.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().is_some_and(|line| line == "all 43") {
            break;
        }
    }
    program.kill().unwrap();
    program.wait().unwrap();
    lines
}

/// What is wrong with a file, by these promises.
fn judge(path: &Path, lines: &[String]) -> Result<(), String> {
    let copy = path.with_extension("judged");
    fs::copy(path, &copy).unwrap();
    let mut program = command(PROGRAM)
        .args([Path::new("check"), &copy])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    // It may have ended.
    let _ = input.write_all(lines.join("\n").as_bytes());
    drop(input);
    let output = program.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn each_broken_promise_is_refused() {
    let folder = tempfile::tempdir_in(test_dir()).unwrap();
    let path = folder.path().join("state");
    let lines = work(&path);
    assert!(lines.len() > 90, "{}", lines.len());
    assert_eq!(judge(&path, &lines), Ok(()));
    for (more, why) in [
        ("value 1000000", "value 4"),
        ("event 1000000", "log: "),
        ("all 1000000", "value 4"),
        ("upgraded 3", "version 2"),
    ] {
        let mut lines = lines.clone();
        lines.push(more.to_owned());
        let refused = judge(&path, &lines).unwrap_err();
        assert!(refused.contains(why), "{more}: {refused}");
    }
    // No file where one was promised; and a file with another's bytes.
    let gone = folder.path().join("gone");
    fs::write(&gone, []).unwrap();
    assert!(judge(&gone, &lines[..1]).is_err());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[..middle].fill(0);
    fs::write(&gone, bytes).unwrap();
    assert!(judge(&gone, &lines).is_err());
}
