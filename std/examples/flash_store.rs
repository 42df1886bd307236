//! Settings and a log in a file, kept by sequential-storage: a crate that firmware uses on NOR flash chips, unchanged.
//!
//! ```text
//! cargo run --package rawmap --features embedded-storage-v0.3 --example flash_store -- [FILE] [--steps N] [--pause MS]
//!     [--buffered]
//! ```
//!
//! It maps FILE (`flash_store.bin`) as a chip with words of 4 bytes and blocks of 4 KiB, shows what earlier runs left,
//! and does N steps (5): each saves a setting, appends to the log, and takes the oldest entry off a log that is
//! long. A line that begins with `done` is a promise. Kill it at any moment and run it again: all that was promised is
//! there. With `--buffered` nothing waits for the medium, and the promise holds for kills, not for power cuts. Several power
//! cuts in a row can lose what was promised: see the README, and take words of 8 bytes for a new chip.

#![allow(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a program, not the library: constants and small numbers"
)]

use std::fmt::{self, Debug};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use embassy_embedded_hal::adapter::BlockingAsync;
use embassy_futures::block_on;
use rawmap::adapter::{Backing, Flash, Nor};
use rawmap::{MmapMut, Tracked};
use sequential_storage::cache::Cache;
use sequential_storage::map::{MapConfig, MapStorage};
use sequential_storage::queue::{QueueConfig, QueueStorage};

/// Reads of any byte, words of 4 bytes, blocks of 4 KiB.
pub(crate) type Chip<B> = Flash<B, Nor, 1, 4, 4096>;
/// Bytes of the chip.
pub(crate) const LEN: usize = 32 << 10;
/// Where the settings and the log are.
const SETTINGS: Range<u32> = 0..16 << 10;
const LOG: Range<u32> = 16 << 10..32 << 10;
/// How many settings there are, and how long the log may get.
pub(crate) const KEYS: u32 = 10;
pub(crate) const LOG_LEN: usize = 20;

/// What the program reads and writes, on any chip.
pub(crate) struct Store<B: Backing> {
    chip: BlockingAsync<Chip<B>>,
}

/// What sequential-storage says, in words.
fn failed(error: impl Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

impl<B: Backing> Store<B> {
    pub(crate) fn new(chip: Chip<B>) -> Self {
        let chip = BlockingAsync::new(chip);
        Self { chip }
    }

    pub(crate) fn setting(&mut self, key: u8) -> io::Result<Option<u32>> {
        let config = MapConfig::new(SETTINGS);
        let mut map = MapStorage::<u8, _, _>::new(&mut self.chip, config, Cache::new_uncached());
        block_on(map.fetch_item(&mut [0; 64], &key)).map_err(failed)
    }

    fn save(&mut self, key: u8, value: u32) -> io::Result<()> {
        let config = MapConfig::new(SETTINGS);
        let mut map = MapStorage::<u8, _, _>::new(&mut self.chip, config, Cache::new_uncached());
        block_on(map.store_item(&mut [0; 64], &key, &value)).map_err(failed)
    }

    /// The numbers of the log's entries, oldest first.
    pub(crate) fn log(&mut self) -> io::Result<Vec<u32>> {
        let config = QueueConfig::new(LOG);
        let mut log = QueueStorage::new(&mut self.chip, config, Cache::new_uncached());
        block_on(async {
            let mut entries = log.iter().await.map_err(failed)?;
            let mut numbers = Vec::new();
            let mut buffer = [0; 64];
            while let Some(entry) = entries.next(&mut buffer).await.map_err(failed)? {
                numbers.push(Entry::number(&entry)?);
            }
            Ok(numbers)
        })
    }

    fn push(&mut self, number: u32) -> io::Result<()> {
        let config = QueueConfig::new(LOG);
        let mut log = QueueStorage::new(&mut self.chip, config, Cache::new_uncached());
        block_on(log.push(&Entry::bytes(number), false)).map_err(failed)
    }

    fn pop(&mut self) -> io::Result<u32> {
        let config = QueueConfig::new(LOG);
        let mut log = QueueStorage::new(&mut self.chip, config, Cache::new_uncached());
        let mut buffer = [0; 64];
        let entry = block_on(log.pop(&mut buffer)).map_err(failed)?;
        let entry = entry.ok_or_else(|| failed("the log is empty"))?;
        Entry::number(entry)
    }

    /// Does one thing, and says so before and after.
    fn act(
        &mut self,
        act: Act,
        say: &mut impl FnMut(&str, Act) -> io::Result<()>,
    ) -> io::Result<()> {
        say("try", act)?;
        match act {
            Act::Save { key, value } => self.save(key, value)?,
            Act::Push(number) => self.push(number)?,
            Act::Pop(number) => {
                let popped = self.pop()?;
                if popped != number {
                    return Err(failed(format!("popped {popped} instead of {number}")));
                }
            }
        }
        say("done", act)
    }

    /// Step number `number`: three things at most.
    pub(crate) fn step(
        &mut self,
        number: u32,
        mut say: impl FnMut(&str, Act) -> io::Result<()>,
    ) -> io::Result<()> {
        let (key, value) = ((number % KEYS) as u8, number);
        self.act(Act::Save { key, value }, &mut say)?;
        self.act(Act::Push(number), &mut say)?;
        let log = self.log()?;
        match log.first() {
            Some(oldest) if log.len() > LOG_LEN => self.act(Act::Pop(*oldest), &mut say),
            _ => Ok(()),
        }
    }

    /// The number of the newest step that there is a trace of.
    pub(crate) fn newest(&mut self) -> io::Result<u32> {
        let mut newest = self.log()?.last().copied().unwrap_or(0);
        for key in 0..KEYS {
            newest = newest.max(self.setting(key as u8)?.unwrap_or(0));
        }
        Ok(newest)
    }
}

/// One thing that is done to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Save { key: u8, value: u32 },
    Push(u32),
    Pop(u32),
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Save { key, value } => write!(f, "save {key} {value}"),
            Self::Push(number) => write!(f, "push {number}"),
            Self::Pop(number) => write!(f, "pop {number}"),
        }
    }
}

/// An entry of the log: its number, and some bytes that follow from it, of various lengths.
struct Entry;

impl Entry {
    fn bytes(number: u32) -> Vec<u8> {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.resize(4 + number as usize % 40, number as u8);
        bytes
    }

    fn number(bytes: &[u8]) -> io::Result<u32> {
        let number = bytes.first_chunk().copied().map(u32::from_le_bytes);
        let number = number.filter(|number| Self::bytes(*number) == bytes);
        number.ok_or_else(|| failed(format!("not an entry: {bytes:?}")))
    }
}

/// A file that is a chip.
fn open(path: &Path) -> io::Result<File> {
    if !path.exists() {
        create(path)?;
    }
    // The name is durable, too, also where a run before was killed when it had just given it.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    File::options().read(true).write(true).open(path)
}

/// The file gets its name when all of it is erased, so that there is none that is so in part.
fn create(path: &Path) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    let file = options.open(&new)?;
    // With all bytes written, the file has its room on the medium, also where nothing can be reserved, as on UBIFS.
    let mut erased = io::BufWriter::new(&file);
    erased.write_all(&[0xFF; LEN])?;
    erased.flush()?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let file = open(&arguments.file)?;
    // SAFETY: this program is the only one that uses the file.
    let map = Tracked::<4>::new(unsafe { MmapMut::map_mut(&file)? });
    let chip = if arguments.buffered {
        Chip::buffered(map)?
    } else {
        Chip::new(map)?
    };
    let mut store = Store::new(chip);
    let mut out = io::stdout().lock();
    for key in 0..KEYS as u8 {
        if let Some(value) = store.setting(key)? {
            writeln!(out, "found setting {key} {value}")?;
        }
    }
    for number in store.log()? {
        writeln!(out, "found entry {number}")?;
    }
    writeln!(out, "ready")?;
    out.flush()?;
    let newest = store.newest()?;
    for number in (1..)
        .take(arguments.steps)
        .map(|step| newest.wrapping_add(step))
    {
        store.step(number, |when, act| {
            writeln!(out, "{when} {act}")?;
            out.flush()
        })?;
        sleep(arguments.pause);
    }
    Ok(())
}

struct Arguments {
    file: PathBuf,
    steps: usize,
    pause: Duration,
    buffered: bool,
}

fn arguments() -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::{Long, Value, ValueExt as _};
    let mut arguments = Arguments {
        file: PathBuf::from("flash_store.bin"),
        steps: 5,
        pause: Duration::from_millis(100),
        buffered: false,
    };
    let mut words = lexopt::Parser::from_env();
    while let Some(word) = words.next()? {
        match word {
            Long("steps") => arguments.steps = words.value()?.parse()?,
            Long("pause") => arguments.pause = Duration::from_millis(words.value()?.parse()?),
            Long("buffered") => arguments.buffered = true,
            Value(file) => arguments.file = file.into(),
            other => return Err(other.unexpected()),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let result = match arguments() {
        Ok(arguments) => run(&arguments),
        Err(error) => {
            eprintln!("flash_store: {error}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flash_store: {error}");
            ExitCode::FAILURE
        }
    }
}
