//! For scripts: `skip TRIPLE NAME REASON` prints a skip, or fails where tests/skips.toml does not allow it here. The
//! environment tells of an emulator and of a machine, as it does to tests.

use std::process::ExitCode;

use rawmap_tests::is_allowed;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [triple, name, reason] = &words[..] else {
        eprintln!("usage: skip TRIPLE NAME REASON");
        return ExitCode::from(2);
    };
    if is_allowed(name, triple) {
        println!("skip: {name}: {reason}");
        ExitCode::SUCCESS
    } else {
        println!("unexpected skip of {name} on {triple}: {reason}");
        ExitCode::FAILURE
    }
}
