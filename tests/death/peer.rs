//! The example of two processes that do not trust each other, run as a program.

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
