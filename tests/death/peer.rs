//! The examples of processes that do not trust each other, run as programs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rawmap_tests::command;

#[test]
fn a_peer_truncates_scribbles_and_dies() {
    if !rawmap_tests::faults_have_addresses() {
        const NAME: &str = "peer::a_peer_truncates_scribbles_and_dies";
        return rawmap_tests::skip(NAME, "no addresses of faults");
    }
    let output = command(env!("CARGO_BIN_EXE_untrusted-peer"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
    for line in [
        "1. The peer wrote: hello from the peer",
        "Reading it is an error, not the end: bytes of the map from offset 0 on are lost",
        "(the peer: Operation not permitted (os error 1))",
        "the length is 65536",
        "A record in it: 1, written by owner",
        "signal: 9 (SIGKILL)",
        "none: Unfinished",
        "0xdbdbdbdb",
        "5. 2, owner goes on ok",
    ] {
        assert!(said.contains(line), "{line}");
    }
}

fn frames(folder: &Path, words: &[&str]) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_frames"));
    // A socket's whole path would be too long.
    command.args(words).current_dir(folder);
    command.stdout(Stdio::piped());
    command
}

/// A producer of so many frames, whose socket is there.
fn producer(folder: &Path, frames_of: &str) -> Child {
    let mut producer = frames(folder, &["produce", "socket", frames_of])
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !folder.join("socket").exists() {
        assert_eq!(producer.try_wait().unwrap(), None);
        assert!(begin.elapsed() < Duration::from_secs(300), "no socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    producer
}

fn said(consumer: Child) -> String {
    let output = consumer.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    said
}

#[test]
fn consumers_have_whole_frames_until_the_producer_ends() {
    let folder = tempfile::tempdir_in(rawmap_tests::test_dir()).unwrap();
    let folder = folder.path();
    // So many that the second has come before the last.
    let mut ends = producer(folder, "3000");
    let consumers = [(); 2].map(|()| frames(folder, &["consume", "socket"]).spawn().unwrap());
    let said = consumers.map(said);
    assert!(ends.wait().unwrap().success());
    for said in said {
        assert!(
            said.contains("the last is 3000; the producer has ended"),
            "{said}"
        );
    }
}

#[test]
fn a_consumer_hears_of_a_producer_that_is_killed() {
    let folder = tempfile::tempdir_in(rawmap_tests::test_dir()).unwrap();
    let folder = folder.path();
    let mut killed = producer(folder, "1000000000");
    let mut consumer = frames(folder, &["consume", "socket"]).spawn().unwrap();
    let mut lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("the first is"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let last = lines.next().unwrap().unwrap();
    assert!(last.contains("the producer has ended"), "{last}");
    assert!(consumer.wait().unwrap().success());
}
