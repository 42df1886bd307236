//! Numbers in a database of SQLite, each in a transaction of its own, and promised when it is committed.
//!
//! sqlite work FILE JOURNAL_MODE SYNCHRONOUS: such as `wal full`, or `delete off`, which loses.
//! sqlite check FILE: judges what a power cut left, by the lines on its standard input.

use std::error::Error;
use std::io::{Write as _, read_to_string, stdin, stdout};
use std::process::ExitCode;

use rusqlite::Connection;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["work", file, journal, synchronous] => work(file, journal, synchronous),
        ["check", file] => check(file),
        _ => Err("usage: sqlite work FILE JOURNAL_MODE SYNCHRONOUS | check FILE".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Goes on until the power is cut.
fn work(file: &str, journal: &str, synchronous: &str) -> Result<(), Box<dyn Error>> {
    let database = Connection::open(file)?;
    database.pragma_update_and_check(None, "journal_mode", journal, |row| {
        let mode: String = row.get(0)?;
        assert!(mode.eq_ignore_ascii_case(journal), "{mode}");
        Ok(())
    })?;
    database.pragma_update(None, "synchronous", synchronous)?;
    database.execute_batch("CREATE TABLE IF NOT EXISTS numbers(number INTEGER PRIMARY KEY)")?;
    for number in 1_i64.. {
        let mut insert = database.prepare_cached("INSERT INTO numbers VALUES(?1)")?;
        insert.execute([number])?;
        println!("{number}");
        stdout().flush()?;
    }
    Ok(())
}

/// All that was promised has to be there, and nothing may be missing before the last.
fn check(file: &str) -> Result<(), Box<dyn Error>> {
    let lines = read_to_string(stdin())?;
    let promised: i64 = lines.lines().last().map_or(Ok(0), str::parse)?;
    if promised == 0 {
        return Ok(());
    }
    let database = Connection::open(file)?;
    let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let query = "SELECT count(*), coalesce(max(number), 0) FROM numbers";
    let (count, last): (i64, i64) =
        database.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if sound == "ok" && count == last && last >= promised {
        return Ok(());
    }
    Err(format!("{sound}: {count} numbers up to {last}, and {promised} was promised").into())
}
