//! Shows a file of records: its parts, the newest values, the records, and what is damaged.
//!
//! ```text
//! cargo run --example inspect -- FILE [--records N]
//! ```
//!
//! Of each log it shows the newest N records (10). It changes nothing. Ends with 0 if nothing is damaged, with 1 if something is or
//! the file is none of these, and with 2 where it was not told what to show.

#![allow(
    clippy::std_instead_of_core,
    clippy::arithmetic_side_effects,
    reason = "a program: small numbers"
)]

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use rawmap::durable::Options;
use rawmap::record::{Part, Reader, SlotCopy};

/// Bytes for a person: as text where they are, else in hexadecimal; at most the first 64.
fn shown(bytes: &[u8]) -> String {
    let start = bytes.get(..64).unwrap_or(bytes);
    let is_text = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let mut text = match start.iter().all(is_text) && !start.is_empty() {
        true => format!("\"{}\"", start.escape_ascii()),
        false => start.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    };
    if start.len() < bytes.len() {
        text.push_str("...");
    }
    text
}

/// Returns how many places are damaged.
fn show(reader: &Reader<'_>, part: &Part<'_>, newest: usize) -> io::Result<usize> {
    let mut out = io::stdout();
    let (name, offset, len) = (part.name(), part.offset(), part.len());
    let mut damaged = 0;
    if let Ok(copies) = reader.copies(name) {
        writeln!(out, "{name}: a value, {len} bytes at offset {offset}")?;
        let last = reader.load(name).ok().flatten();
        for (at, copy) in copies {
            match copy {
                SlotCopy::Empty => writeln!(out, "  copy at {at}: never written")?,
                SlotCopy::Whole { counter, value } => {
                    let mark = if Some(value) == last { ", newest" } else { "" };
                    let (version, len) = (value.version, value.bytes.len());
                    let text = shown(value.bytes);
                    writeln!(
                        out,
                        "  copy at {at}: number {counter}{mark}, version {version}, {len} bytes: {text}"
                    )?;
                }
                _ => {
                    damaged += 1;
                    writeln!(out, "  copy at {at}: DAMAGED, or cut in the middle")?;
                }
            }
        }
        if reader.load(name).is_err() {
            writeln!(out, "  NO COPY IS WHOLE")?;
        }
    } else if let Ok(records) = reader.records(name) {
        let all: Vec<_> = records.collect();
        damaged = all.iter().filter(|record| record.is_err()).count();
        let whole = all.len() - damaged;
        writeln!(
            out,
            "{name}: a log, {len} bytes at offset {offset}: {whole} records, {damaged} damaged places"
        )?;
        for error in all.iter().filter_map(|record| record.err()) {
            writeln!(out, "  DAMAGED: {error}")?;
        }
        for (number, record) in all
            .iter()
            .enumerate()
            .skip(all.len().saturating_sub(newest))
        {
            if let Ok(bytes) = record {
                let (number, len) = (number + 1, bytes.len());
                writeln!(out, "  {number}: {len} bytes: {}", shown(bytes))?;
            }
        }
    } else if let Ok(bytes) = reader.bytes(name) {
        let text = shown(bytes);
        writeln!(out, "{name}: plain bytes, {len} at offset {offset}: {text}")?;
    }
    Ok(damaged)
}

fn run(path: &PathBuf, newest: usize) -> io::Result<usize> {
    // SAFETY: the lock keeps programs out that write such files.
    let file = unsafe { Options::new().open_to_read(path) }?;
    let reader = file.reader()?;
    let table = reader.table();
    let (name, version, unit, len) = (table.name(), table.version, table.unit(), table.len());
    let path = path.display();
    writeln!(
        io::stdout(),
        "{path}: \"{name}\", version {version}, {len} bytes in units of {unit}"
    )?;
    let mut damaged = 0;
    for (at, copy) in reader.table_copies() {
        if matches!(copy, SlotCopy::Damaged) {
            damaged += 1;
            writeln!(
                io::stdout(),
                "  table at {at}: DAMAGED; who opens the file writes it again"
            )?;
        }
    }
    for part in table.parts() {
        damaged += show(&reader, &part, newest)?;
    }
    Ok(damaged)
}

fn arguments() -> Result<(PathBuf, usize), lexopt::Error> {
    use lexopt::prelude::*;
    let (mut path, mut newest) = (None, 10);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("records") => newest = parser.value()?.parse()?,
            Value(value) if path.is_none() => path = Some(value.into()),
            other => return Err(other.unexpected()),
        }
    }
    Ok((path.ok_or("no file is named")?, newest))
}

fn main() -> ExitCode {
    let (path, newest) = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("inspect: {error}\nusage: inspect FILE [--records N]");
            return ExitCode::from(2);
        }
    };
    match run(&path, newest) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("inspect: {error}");
            ExitCode::FAILURE
        }
    }
}
