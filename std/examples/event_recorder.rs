//! A boot counter and event recorder, as a board keeps one beside its application.
//!
//! ```text
//! cargo run --example event_recorder -- [FILE] [--events N] [--pause MS] [--show N]
//! ```
//!
//! It maps FILE, shows what earlier runs left (the newest N events, or all), counts this boot and records N events. Each event is
//! flushed before it is reported: a line that says `stored` is a promise. Stop it at any moment, by
//! control-C, kill -9 or the power switch, and run it again: every event that it had reported is there.
//!
//! FILE is a ring of 4096 records of 64 bytes: the newest events overwrite the oldest. A record has a number, the boot, a text, and a checksum
//! over all of these, so a record that was cut in the middle is seen as one, and nothing else need be
//! written in step with it: no header, no index, no length.

#![allow(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a program, not the library: constants and small numbers"
)]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use rawmap::{MmapOptions, Tracked};
use rustix::fs::{FlockOperation, flock};

const RECORDS: usize = 4096;
const RECORD: usize = 64;
const TEXT: usize = 40;
const FILE_LEN: usize = RECORDS * RECORD;

struct Event {
    number: u64,
    boot: u64,
    text: String,
}

impl Event {
    /// Number, boot, text filled up with zeros, and the checksum: 8 + 8 + 40 + 4 bytes, and 4 unused.
    fn to_bytes(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.boot.to_le_bytes());
        let text = self.text.as_bytes();
        let len = text.len().min(TEXT);
        bytes[16..16 + len].copy_from_slice(&text[..len]);
        let sum = crc32fast::hash(&bytes[..16 + TEXT]);
        bytes[56..60].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` for a record that was never written, or only in part.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let sum = u32::from_le_bytes(bytes.get(56..60)?.try_into().ok()?);
        let (number, boot) = (word(0)?, word(8)?);
        if number == 0 || sum != crc32fast::hash(bytes.get(..16 + TEXT)?) {
            return None;
        }
        let text = String::from_utf8_lossy(bytes.get(16..16 + TEXT)?);
        let text = text.trim_end_matches('\0').to_owned();
        Some(Self { number, boot, text })
    }

    /// Where in the file the event has its place.
    fn offset(&self) -> usize {
        let slot = self.number % RECORDS as u64;
        slot as usize * RECORD
    }
}

/// The records of a whole file.
fn slots(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..RECORDS).map(|slot| &bytes[slot * RECORD..][..RECORD])
}

fn refused(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Opens the file for this process alone, and gives it all its bytes on the medium: a store to a file
/// with holes could find the disk full, and that is a SIGBUS. If this is cut short, the next run goes
/// on with it.
fn open(path: &Path) -> io::Result<File> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        io::Error::new(io::ErrorKind::WouldBlock, "another recorder uses this file")
    })?;
    let len = file.metadata()?.len();
    if len > FILE_LEN as u64 {
        return Err(refused("not an event file, and left as it is: too long"));
    }
    let mut there = Vec::new();
    file.read_to_end(&mut there)?;
    let whole = there.len() == FILE_LEN;
    // Zeros are a file that was being made; and its very first record, 1, may have been cut.
    let blank = there.iter().all(|byte| *byte == 0);
    let first_cut =
        |(slot, bytes): (usize, &[u8])| slot == 1 || bytes.iter().all(|byte| *byte == 0);
    let ours = blank
        || (whole && slots(&there).any(|slot| Event::from_bytes(slot).is_some()))
        || (whole && slots(&there).enumerate().all(first_cut));
    if !ours {
        return Err(refused(
            "not an event file, and left as it is: no event in it",
        ));
    }
    if !whole {
        let missing = FILE_LEN - there.len();
        writeln!(io::stdout(), "making room: {missing} bytes")?;
        // At the end of the file, where reading has stopped.
        file.write_all(&vec![0; missing])?;
        file.sync_all()?;
        // The file's name is in its folder, and stored with that.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(file)
}

struct Recorder {
    /// One record is changed between two commits.
    map: Tracked<1>,
    /// Holds the lock.
    _file: File,
    last: u64,
    boot: u64,
}

impl Recorder {
    /// Maps the file and gives what it holds, oldest first, and how many records are damaged.
    fn open(path: &Path) -> io::Result<(Self, Vec<Event>, usize)> {
        let file = open(path)?;
        // Records are small: without `scattered`, a commit of 64 bytes may write a megabyte to the flash.
        // SAFETY: the lock keeps other recorders out, and no other program has a reason to write here.
        let map = unsafe {
            MmapOptions::new()
                .len(FILE_LEN)
                .scattered()
                .map_mut(&file)?
        };
        let map = Tracked::new(map);

        let damaged =
            |slot: &&[u8]| Event::from_bytes(slot).is_none() && slot.iter().any(|b| *b != 0);
        let damaged = slots(&map).filter(damaged).count();
        let mut events: Vec<_> = slots(&map).filter_map(Event::from_bytes).collect();
        events.sort_by_key(|event| event.number);
        let (last, boot) = events
            .last()
            .map_or((0, 0), |event| (event.number, event.boot));
        let recorder = Self {
            map,
            _file: file,
            last,
            boot: boot + 1,
        };
        Ok((recorder, events, damaged))
    }

    /// Stores an event: it is on the medium when this returns `Ok`.
    fn record(&mut self, text: String) -> io::Result<Event> {
        let event = Event {
            number: self.last + 1,
            boot: self.boot,
            text,
        };
        let offset = event.offset();
        self.map.write(offset, &event.to_bytes())?;
        // A device may fail once. What was not stored is still known, and a retry stores it.
        self.map.commit().or_else(|_| self.map.retry())?;
        self.last = event.number;
        Ok(event)
    }
}

struct Arguments {
    path: PathBuf,
    events: u64,
    pause: Duration,
    show: usize,
}

fn arguments() -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::*;
    let mut arguments = Arguments {
        path: PathBuf::from("rawmap-events.bin"),
        events: 5,
        pause: Duration::from_millis(200),
        show: RECORDS,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("events") => arguments.events = parser.value()?.parse()?,
            Long("pause") => arguments.pause = Duration::from_millis(parser.value()?.parse()?),
            Long("show") => arguments.show = parser.value()?.parse()?,
            Value(path) => arguments.path = path.into(),
            other => return Err(other.unexpected()),
        }
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let mut out = io::stdout();
    let (mut recorder, events, damaged) = Recorder::open(&arguments.path)?;
    writeln!(
        out,
        "{}: {} events from earlier runs",
        arguments.path.display(),
        events.len()
    )?;
    if damaged > 0 {
        writeln!(
            out,
            "{damaged} records were cut in the middle, or are damaged"
        )?;
    }
    let overwritten = events.first().map_or(0, |event| event.number - 1);
    if overwritten > 0 {
        writeln!(
            out,
            "{overwritten} older ones were overwritten: the ring has {RECORDS}"
        )?;
    }
    for event in events
        .iter()
        .skip(events.len().saturating_sub(arguments.show))
    {
        let Event { number, boot, text } = event;
        writeln!(out, "found  event {number} of boot {boot}: {text}")?;
    }

    let boot = recorder.boot;
    for number in 0..=arguments.events {
        let text = if number == 0 {
            format!("boot {boot}")
        } else {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            format!(
                "reading {number} at {} s",
                since.map_or(0, |time| time.as_secs())
            )
        };
        let event = recorder.record(text)?;
        writeln!(
            out,
            "stored event {} of boot {boot}: {}",
            event.number, event.text
        )?;
        if number < arguments.events {
            sleep(arguments.pause);
        }
    }
    writeln!(
        out,
        "run it again, or kill it while it runs: every stored event will be found"
    )?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("event_recorder: {error}");
            eprintln!("usage: event_recorder [FILE] [--events N] [--pause MS] [--show N]");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing was reported that is not stored, so the next run starts from what there is.
            eprintln!("event_recorder: {}: {error}", arguments.path.display());
            ExitCode::FAILURE
        }
    }
}
