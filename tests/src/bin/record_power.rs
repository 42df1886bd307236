//! A file of records under power cuts: `record-power work FILE` promises, and `record-power check FILE` judges what a cut left, by
//! the promises on its standard input. For `cargo qemu powercut --program`. `record-power early FILE` is the control: it promises
//! before it stores.

use std::error::Error;
use std::io::{self, BufRead as _, Write as _};
use std::path::Path;

use rawmap::MmapMut;
use rawmap::durable::{File, Options};
use rawmap::record::{Layout, Part, Reader, Store, layout};

/// Small, so that the log goes round.
const OLD: Layout<2> = layout!(
    "record-power",
    1,
    [Part::slots("value", 6000), Part::log("log", 3 << 16)]
);
const NEW: Layout<4> = layout!(
    "record-power",
    2,
    [
        Part::slots("value", 6000),
        Part::log("log", 3 << 16),
        Part::slots("copy", 8).copies(2),
        Part::log("apart", 4 << 16).apart(),
    ]
);

/// The program upgrades its file after so many rounds.
const UPGRADE: u32 = 40;

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// A value that says whether it is whole.
fn value(number: u32) -> Vec<u8> {
    let len = 4 + (number as usize * 97) % 5990;
    let bytes = (0..len).map(|at| (number as usize * 31 + at * 7) as u8);
    let mut bytes: Vec<u8> = bytes.collect();
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn number_of(bytes: &[u8]) -> Done<u32> {
    let number = bytes.first_chunk().ok_or("a value without a number")?;
    let number = u32::from_le_bytes(*number);
    match value(number) == bytes {
        true => Ok(number),
        false => Err(format!("value {number} is other bytes").into()),
    }
}

fn promise(what: &str, number: u32) -> Done {
    let mut out = io::stdout();
    writeln!(out, "{what} {number}")?;
    Ok(out.flush()?)
}

/// Stores, and then promises it; or the other way round.
fn stored(what: &str, number: u32, early: bool, store: impl FnOnce() -> Done) -> Done {
    if early {
        promise(what, number)?;
        return store();
    }
    store()?;
    promise(what, number)
}

fn upgrade(path: &Path) -> Done<File<4>> {
    let to = |store: &mut Store<MmapMut, 4>, _from: u32| {
        let value = Reader::new(store.get_ref())?.load("value")?;
        let number = value.and_then(|value| value.bytes.first_chunk().copied());
        store.slots("copy")?.put(1, &number.unwrap_or([0; 4]))
    };
    // SAFETY: only this program has the file.
    Ok(unsafe { Options::new().scattered().upgrade(path, NEW, to) }?)
}

fn work(path: &Path, early: bool) -> Done {
    // SAFETY: only this program has the file.
    let mut file = unsafe { Options::new().scattered().open(path, OLD) }?;
    promise("made", 1)?;
    let mut event = 0;
    for number in 1..=UPGRADE {
        event = round(&mut file, number, event, early)?;
    }
    drop(file);
    let mut file = upgrade(path)?;
    promise("upgraded", 2)?;
    for number in UPGRADE + 1.. {
        event = round(&mut file, number, event, early)?;
        // Several parts by one commit.
        file.slots("value")?.put(1, &value(number))?;
        file.slots("copy")?.put(1, &number.to_le_bytes())?;
        file.log("apart")?.append(&value(number)[..4])?;
        stored("all", number, early, || Ok(file.commit().map(drop)?))?;
    }
    Ok(())
}

fn round<const N: usize>(
    file: &mut File<N>,
    number: u32,
    mut event: u32,
    early: bool,
) -> Done<u32> {
    stored("value", number, early, || {
        Ok(file.slots("value")?.store(1, &value(number)).map(drop)?)
    })?;
    for _ in 0..number % 5 {
        event += 1;
        let bytes = value(event);
        file.log("log")?.append(&bytes[..bytes.len().min(400)])?;
    }
    stored("event", event, early, || Ok(file.commit().map(drop)?))?;
    Ok(event)
}

/// The largest promise of a kind.
fn promised(lines: &[String], what: &str) -> u32 {
    let number = |line: &String| line.strip_prefix(what)?.strip_prefix(' ')?.parse().ok();
    lines.iter().filter_map(number).max().unwrap_or(0)
}

/// Numbers in a row, up to one that was promised or a later one.
fn log(reader: &Reader<'_>, name: &str, promised: u32) -> Done<u32> {
    let mut last = None;
    for record in reader.records(name)? {
        let bytes = record?;
        let number = u32::from_le_bytes(*bytes.first_chunk().ok_or("a record without a number")?);
        let whole = value(number);
        if !whole.starts_with(bytes) || bytes.len() != whole.len().min(400) && bytes.len() != 4 {
            return Err(format!("{name}: record {number} is other bytes").into());
        }
        if last.is_some_and(|last| last + 1 != number) {
            return Err(format!("{name}: record {number} after {last:?}").into());
        }
        last = Some(number);
    }
    let last = last.unwrap_or(0);
    match last >= promised {
        true => Ok(last),
        false => Err(format!("{name}: {last} is the last, and {promised} was promised").into()),
    }
}

fn check(path: &Path) -> Done {
    let lines: Vec<String> = io::stdin().lock().lines().collect::<Result<_, _>>()?;
    if promised(&lines, "made") > 0 {
        // SAFETY: only this program has the file.
        let file = unsafe { Options::new().open_to_read(path) }?;
        let reader = file.reader()?;
        let version = reader.table().version;
        if version < promised(&lines, "upgraded") {
            return Err(format!("version {version} after the upgrade").into());
        }
        let least = promised(&lines, "value").max(promised(&lines, "all"));
        let found = reader.load("value")?;
        let found = found.map_or(Ok(0), |value| number_of(value.bytes))?;
        if found < least {
            return Err(format!("value {found}, and {least} was promised").into());
        }
        log(&reader, "log", promised(&lines, "event"))?;
        if version == 2 {
            let least = promised(&lines, "all");
            log(&reader, "apart", least)?;
            let copy = reader.load("copy")?.ok_or("no copy")?.bytes;
            let copy = u32::from_le_bytes(*copy.first_chunk().ok_or("a short copy")?);
            if copy < least {
                return Err(format!("copy {copy}, and {least} was promised").into());
            }
        }
    }
    // And it goes on, whatever the cut left.
    let mut file = upgrade(path)?;
    let mut event = file.log("log")?.records().count() as u32;
    event = round(&mut file, 1_000_001, event, false)?;
    let last = file
        .slots("value")?
        .load()?
        .map(|value| value.bytes.to_vec());
    match last == Some(value(1_000_001)) && event > 0 {
        true => Ok(()),
        false => Err("what was stored after the cut is not there".into()),
    }
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("record-power: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [mode, path] if mode == "work" => work(Path::new(path), false),
        [mode, path] if mode == "early" => work(Path::new(path), true),
        [mode, path] if mode == "check" => check(Path::new(path)),
        _ => Err("record-power work FILE | early FILE | check FILE".into()),
    }
}
