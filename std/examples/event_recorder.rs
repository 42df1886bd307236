//! A boot counter and event recorder, as a board keeps one beside its application.
//!
//! ```text
//! cargo run --example event_recorder -- [FILE] [--events N] [--pause MS]
//! ```
//!
//! It shows what earlier runs left in FILE, counts this boot and records N events. Each event is on
//! stable storage before it is reported: a line that says `stored` is a promise. Stop it at any moment, by control-C, kill -9 or the
//! power switch, and run it again: every event that it had reported is there.

#![allow(clippy::std_instead_of_core, reason = "a program")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use std::{error, io::Write as _, thread};

use rawmap::durable::{File, Options};
use rawmap::record::{Layout, Part, layout};

/// The number of boots, and a ring of events: the oldest are overwritten.
const LAYOUT: Layout<2> = layout!(
    "event_recorder",
    1,
    [Part::slots("boots", 8), Part::log("events", 1 << 20)]
);

/// An event in the log: its number, the boot, and a text. Numbers are little-endian, so that the file may go to another board.
fn event(bytes: &[u8]) -> Option<(u64, u64, &str)> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (boot, text) = rest.split_first_chunk()?;
    let [number, boot] = [number, boot].map(|bytes| u64::from_le_bytes(*bytes));
    Some((number, boot, str::from_utf8(text).ok()?))
}

fn record(file: &mut File<2>, number: u64, boot: u64, text: &str) -> Result<(), Failure> {
    let bytes = [&number.to_le_bytes(), &boot.to_le_bytes(), text.as_bytes()].concat();
    file.log("events")?.append(&bytes)?;
    // A device may fail once. What was not stored is still in memory, and a retry stores it.
    file.commit().or_else(|_| file.retry())?;
    say(format_args!("stored event {number} of boot {boot}: {text}"))
}

fn say(line: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn run(path: &Path, events: u64, pause: Duration) -> Result<(), Failure> {
    // `scattered`: without it, a commit of 64 bytes may write a megabyte to the flash.
    // SAFETY: only this program uses the file, and it locks it.
    let mut file = unsafe { Options::new().scattered().open(path, LAYOUT) }?;

    let log = file.log("events")?;
    let (found, damaged): (Vec<_>, Vec<_>) = log.records().partition(Result::is_ok);
    let (path, number) = (path.display(), found.len());
    say(format_args!("{path}: {number} events from earlier runs"))?;
    for damaged in damaged.into_iter().filter_map(Result::err) {
        say(format_args!("{damaged}"))?;
    }
    let earlier = || found.iter().flatten().copied().filter_map(event);
    for (number, boot, text) in earlier() {
        say(format_args!("found  event {number} of boot {boot}: {text}"))?;
    }
    let last = earlier().next_back().map_or(0, |(number, ..)| number);
    let mut numbers = last.saturating_add(1)..;

    let mut boots = file.slots("boots")?;
    let before = boots
        .load()?
        .and_then(|value| value.bytes.first_chunk().copied());
    let boot = u64::from_le_bytes(before.unwrap_or_default()).saturating_add(1);
    boots.put(1, &boot.to_le_bytes())?; // The commit of the first event stores it, too.
    record(
        &mut file,
        numbers.next().unwrap_or(0),
        boot,
        &format!("boot {boot}"),
    )?;
    for (reading, number) in (1..=events).zip(numbers) {
        thread::sleep(pause);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let text = format!("reading {reading} at {} s", since.as_secs());
        record(&mut file, number, boot, &text)?;
    }
    say(format_args!(
        "run it again, or kill it while it runs: every stored event will be found"
    ))
}

type Failure = Box<dyn error::Error>;

/// The file, how many events, and the pause between them.
fn arguments() -> Result<(PathBuf, u64, Duration), lexopt::Error> {
    use lexopt::prelude::*;
    let mut path = PathBuf::from("rawmap-events.bin");
    let (mut events, mut pause) = (5, 200);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("events") => events = parser.value()?.parse()?,
            Long("pause") => pause = parser.value()?.parse()?,
            Value(file) => path = file.into(),
            other => return Err(other.unexpected()),
        }
    }
    Ok((path, events, Duration::from_millis(pause)))
}

fn main() -> ExitCode {
    let done = arguments().map_err(Failure::from);
    // Nothing was reported that is not stored, so the next run starts from what there is.
    match done.and_then(|(path, events, pause)| run(&path, events, pause)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("event_recorder: {error}");
            ExitCode::from(if error.is::<lexopt::Error>() { 2 } else { 1 })
        }
    }
}
