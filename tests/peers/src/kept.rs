//! Who keeps the bytes.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use atomic_write_file::AtomicWriteFile;
use embassy_embedded_hal::adapter::BlockingAsync;
use embassy_futures::block_on;
use rawmap::MmapMut;
use rawmap::adapter::{Flash, Nor};
use rawmap::durable::Options;
use rawmap::record::{Layout, Part, layout};
use redb::{Database, TableDefinition};
use sequential_storage::cache::Cache;
use sequential_storage::map::{MapConfig, MapStorage};
use sequential_storage::queue::{QueueConfig, QueueStorage};

use crate::Result;

pub(crate) const RECORD: usize = 64;

/// Keeps these records: when it returns all are on stable storage.
pub(crate) type Kept = Box<dyn FnMut(&[[u8; RECORD]]) -> Result<()>>;

pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// Whether several records can be made durable together.
    pub(crate) batches: bool,
    pub(crate) open: fn(&Path) -> Result<Kept>,
}

const OURS: [&str; 2] = ["rawmap Slots", "rawmap Log"];
const BARE: &str = "pwrite + fdatasync, one copy, no checksum";

pub(crate) fn is_ours(name: &str) -> bool {
    OURS.contains(&name)
}

pub(crate) fn is_bare(name: &str) -> bool {
    name == BARE
}

/// The newest value is what counts.
pub(crate) const UPDATES: [Subject; 6] = [
    Subject {
        name: BARE,
        batches: true,
        open: |folder| bare(&folder.join("value"), 1),
    },
    Subject {
        name: OURS[0],
        batches: true,
        open: slots,
    },
    Subject {
        name: "atomic-write-file (rename)",
        batches: false,
        open: renamed,
    },
    Subject {
        name: "SQLite, WAL, synchronous=FULL",
        batches: true,
        open: |folder| {
            let table = "CREATE TABLE IF NOT EXISTS kept(id INTEGER PRIMARY KEY, bytes BLOB)";
            let update = "INSERT OR REPLACE INTO kept(id, bytes) VALUES(1, ?1)";
            sqlite(&folder.join("value.db"), table, update)
        },
    },
    Subject {
        name: "redb",
        batches: true,
        open: |folder| redb(&folder.join("value.redb"), |_| 1),
    },
    Subject {
        name: "sequential-storage on rawmap's Flash",
        batches: false,
        open: settings,
    },
];

/// All records are kept, or as many as there is room for.
pub(crate) const APPENDS: [Subject; 5] = [
    Subject {
        name: BARE,
        batches: true,
        open: |folder| bare(&folder.join("log"), (LOG / RECORD) as u64),
    },
    Subject {
        name: OURS[1],
        batches: true,
        open: log,
    },
    Subject {
        name: "SQLite, WAL, synchronous=FULL",
        batches: true,
        open: |folder| {
            let table = "CREATE TABLE IF NOT EXISTS kept(id INTEGER PRIMARY KEY, bytes BLOB)";
            let append = "INSERT INTO kept(bytes) VALUES(?1)";
            sqlite(&folder.join("log.db"), table, append)
        },
    },
    Subject {
        name: "redb",
        batches: true,
        open: |folder| redb(&folder.join("log.redb"), |number| number),
    },
    Subject {
        name: "sequential-storage on rawmap's Flash",
        batches: false,
        open: queue,
    },
];

/// Bytes of a log.
const LOG: usize = 1 << 20;

fn slots(folder: &Path) -> Result<Kept> {
    const LAYOUT: Layout<1> = layout!("bench-value", 1, [Part::slots("value", RECORD)]);
    // SAFETY: nothing else uses the file.
    let mut file = unsafe {
        Options::new()
            .scattered()
            .open(folder.join("value.map"), LAYOUT)
    }?;
    Ok(Box::new(move |records| {
        let mut value = file.slots("value")?;
        for record in records {
            value.put(1, record)?;
        }
        Ok(file.commit()?)
    }))
}

fn log(folder: &Path) -> Result<Kept> {
    const LAYOUT: Layout<1> = layout!("bench-log", 1, [Part::log("log", LOG)]);
    // SAFETY: nothing else uses the file.
    let mut file = unsafe {
        Options::new()
            .scattered()
            .open(folder.join("log.map"), LAYOUT)
    }?;
    Ok(Box::new(move |records| {
        let mut log = file.log("log")?;
        for record in records {
            log.append(record)?;
        }
        Ok(log.commit()?)
    }))
}

/// A file that has all its bytes; `places` of them in turn.
fn bare(path: &Path, places: u64) -> Result<Kept> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all_at(&vec![0; places as usize * RECORD], 0)?;
    file.sync_all()?;
    let mut number = 0;
    Ok(Box::new(move |records| {
        for record in records {
            file.write_all_at(record, number % places * RECORD as u64)?;
            number += 1;
        }
        Ok(file.sync_data()?)
    }))
}

fn renamed(folder: &Path) -> Result<Kept> {
    let path = folder.join("value.file");
    Ok(Box::new(move |records| {
        let mut file = AtomicWriteFile::open(&path)?;
        for record in records {
            file.write_all(record)?;
        }
        Ok(file.commit()?)
    }))
}

fn sqlite(path: &Path, table: &str, change: &'static str) -> Result<Kept> {
    let mut database = rusqlite::Connection::open(path)?;
    let mode: String = database.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("SQLite says journal_mode={mode}").into());
    }
    database.execute_batch("PRAGMA synchronous=FULL")?;
    database.execute(table, [])?;
    Ok(Box::new(move |records| {
        let transaction = database.transaction()?;
        let mut statement = transaction.prepare_cached(change)?;
        for record in records {
            statement.execute([&record[..]])?;
        }
        drop(statement);
        Ok(transaction.commit()?)
    }))
}

fn redb(path: &Path, key: fn(u64) -> u64) -> Result<Kept> {
    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("kept");
    let database = Database::create(path)?;
    let mut number = 0;
    Ok(Box::new(move |records| {
        // Durability::Immediate is its default.
        let transaction = database.begin_write()?;
        let mut table = transaction.open_table(TABLE)?;
        for record in records {
            number += 1;
            table.insert(key(number), &record[..])?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }))
}

/// Words of 8 bytes, blocks of 4 KiB.
type Chip = BlockingAsync<Flash<MmapMut, Nor, 1, 8, 4096>>;

fn chip(path: &Path, len: usize) -> Result<Chip> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all_at(&vec![0xFF; len], 0)?;
    file.sync_all()?;
    let mut options = rawmap::MmapOptions::new();
    // SAFETY: nothing else uses the file.
    let map = unsafe { options.scattered().map_mut(&file) }?;
    let chip = Flash::new(map).map_err(|refused| format!("{refused:?}"))?;
    Ok(BlockingAsync::new(chip))
}

fn failed(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

fn settings(folder: &Path) -> Result<Kept> {
    const LEN: usize = 16 << 10;
    let chip = chip(&folder.join("value.flash"), LEN)?;
    let cache = Cache::new_uncached();
    let mut map = MapStorage::<u8, _, _>::new(chip, MapConfig::new(0..LEN as u32), cache);
    Ok(Box::new(move |records| {
        for record in records {
            let mut buffer = [0; 128];
            block_on(map.store_item(&mut buffer, &1, &&record[..])).map_err(failed)?;
        }
        Ok(())
    }))
}

fn queue(folder: &Path) -> Result<Kept> {
    let chip = chip(&folder.join("log.flash"), LOG)?;
    let cache = Cache::new_uncached();
    let mut queue = QueueStorage::new(chip, QueueConfig::new(0..LOG as u32), cache);
    Ok(Box::new(move |records| {
        for record in records {
            block_on(queue.push(record, true)).map_err(failed)?;
        }
        Ok(())
    }))
}
