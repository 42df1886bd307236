//! What all tests share: which target and emulator this is, and skips that cannot go unnoticed.

use std::env;
use std::io::Write as _;
use std::process::Command;

/// The target triple that the tests were built for.
pub const TARGET: &str = env!("RAWMAP_TARGET");

/// Where cargo keeps the source of memmap2 0.9.12.
pub const MEMMAP2_SOURCE: &str = env!("MEMMAP2_SOURCE");

/// Version of QEMU's user mode as (major, minor), if the tests run in it; `qemu/run` tells.
pub fn emulator() -> Option<(u32, u32)> {
    let version = env::var("RAWMAP_EMULATOR").ok()?;
    let mut numbers = version.strip_prefix("qemu-user ")?.split('.');
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

/// A command that runs a program of this target, through the emulator where there is one.
pub fn command(program: &str) -> Command {
    match env::var("RAWMAP_RUNNER") {
        Ok(runner) => {
            let mut words = runner.split(' ');
            let mut command = Command::new(words.next().unwrap_or_default());
            command.args(words).arg(program);
            command
        }
        Err(_) => Command::new(program),
    }
}

/// Prints `skip: test: reason` past libtest's capture. A skip that `skips.toml` does not list for
/// this target, or lists under a condition that does not hold here, fails the test.
///
/// # Panics
///
/// Where the skip is not allowed.
pub fn skip(test: &str, reason: &str) {
    let list: toml::Table = include_str!("../skips.toml")
        .parse()
        .expect("skips.toml is TOML");
    let rows = list["skip"]
        .as_array()
        .expect("skips.toml has [[skip]] rows");
    let text = |row: &toml::Value, key: &str| row[key].as_str().map(str::to_owned);
    let allowed = rows.iter().any(|row| {
        let targets = row["targets"].as_array().expect("targets is a list");
        let here = targets
            .iter()
            .any(|target| target.as_str() == Some("*") || target.as_str() == Some(TARGET));
        let holds = match text(row, "when").as_deref() {
            Some("qemu-user") => emulator().is_some(),
            Some("qemu-user before 8") => emulator().is_some_and(|version| version < (8, 0)),
            Some("always") => true,
            other => panic!("skips.toml: unknown condition {other:?}"),
        };
        text(row, "test").as_deref() == Some(test) && here && holds
    });
    assert!(allowed, "unexpected skip of {test} on {TARGET}: {reason}");
    // print! would be captured.
    let _ = writeln!(std::io::stderr(), "skip: {test}: {reason}");
}
