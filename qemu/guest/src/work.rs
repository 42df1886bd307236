//! The workload of a power-cut run, on rawmap-core: stores records, flushes them, and acknowledges each that
//! the flush said `Ok` to. It takes a step when the host says so, and goes on until the power is cut.
//!
//! # Safety
//!
//! Stores go through raw pointers, inside the map by the check beside them. The files are this program's own.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, Write as _};

use embedded_storage::nor_flash::NorFlash;
use rawmap_core::adapter::{Flash, Overwrite};
use rawmap_core::{Error, MmapOptions, MmapRaw, PageSize, Tracked, page_size, reserve};
use rawmap_guest::job::{Work, say};
use rawmap_guest::workload::{Scenario, Step, Steps, Style};

use crate::failure::Failure;
use crate::mounts::mount_disk;

const DISK: &str = "/disk";

pub fn run(job: &Work) -> Result<(), Failure> {
    let page = page_size()?;
    mount_disk(&job.disk, DISK)?;
    let mut files = BTreeMap::new();
    for style in job.scenario.styles(job.large_files) {
        files.insert(style, Target::new(style, page.get())?);
    }
    if job.scenario == Scenario::FullDisk {
        fill(page)?;
    }
    // The files are there, whatever comes.
    File::open(DISK)?.sync_all()?;
    rustix::fs::sync();
    spend_first_fsync()?;
    println!("{}{}", say::READY, page.get());
    let mut host = io::stdin().lock();
    let mut line = String::new();
    for step in Steps::new(job.scenario, job.seed, page.get(), job.large_files) {
        line.clear();
        if host.read_line(&mut line)? == 0 || line.trim() != say::GO {
            return Err(format!("the host said {line:?}").into());
        }
        let target = files.get_mut(&step.style).ok_or("a step without a file")?;
        match target.take(&step, page) {
            Ok(()) => println!("{}{}", say::ACK, step.number),
            Err(Error::NoSpace { .. }) => println!("{}{}", say::FULL, step.number),
            Err(error) => return Err(format!("step {}: {error}", step.number).into()),
        }
    }
    Ok(())
}

/// The first fsync(2) of f2fs after a checkpoint flushes the device before it has its node block: f2fs numbers what
/// it waits for from 0, and does not wait for number 0 (f2fs_wait_on_node_pages_writeback in Linux 6.12; 6.1 was seen
/// to do the same).
/// Here it is spent on times that nobody looks at; the second flushes the device with that block on it. Other
/// file systems do not mind.
fn spend_first_fsync() -> Result<(), Failure> {
    let folder = std::fs::read_dir(DISK)?;
    let mut files = folder.filter_map(|entry| File::open(entry.ok()?.path()).ok());
    let file = files.find(|file| file.metadata().is_ok_and(|data| data.is_file()));
    let file = file.ok_or("no file of a style")?;
    for seconds in 1..=2 {
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))?;
        file.sync_all()?;
    }
    Ok(())
}

/// Leaves room for a few pages.
fn fill(page: PageSize) -> Result<(), Failure> {
    let of = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut filler = File::create(format!("{DISK}/filler")).map_err(of("filler"))?;
    let block = vec![1; 65536];
    let mut len = 0;
    loop {
        match filler.write(&block) {
            Ok(count) => len += count as u64,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
            Err(error) => return Err(of("filler: write")(error).into()),
        }
    }
    let shorter = filler.set_len(len - 10 * page.get() as u64);
    shorter.map_err(of("filler: ftruncate"))?;
    filler.sync_all().map_err(of("filler: fsync"))?;
    // A whole file more than there is room for is an error beforehand.
    let sparse = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(format!("{DISK}/sparse"))
        .map_err(of("sparse"))?;
    let len = 40 * page.get();
    let longer = || sparse.set_len(len as u64).map_err(of("sparse: ftruncate"));
    longer()?;
    match reserve(&sparse, 0, len as u64) {
        Err(error @ Error::NoSpace { .. }) => println!("{}reserve: {error}", say::SAYS),
        other => return Err(format!("reserve on a full disk said {other:?}").into()),
    }
    // A store to a hole would be a SIGBUS here; asked beforehand it is an error.
    longer()?;
    let map = MmapOptions::new().len(len).map_raw(&sparse)?;
    match map.prefault_write(0, len) {
        // Which it is, the file system says: most have a page for a hole that is read.
        Err(error @ (Error::Unwritable { .. } | Error::Unreachable { .. })) => {
            println!("{}prefault_write: {error}", say::SAYS)
        }
        other => return Err(format!("prefault_write on a full disk said {other:?}").into()),
    }
    drop(map);
    sparse.set_len(0).map_err(of("sparse: ftruncate"))?;
    sparse.sync_all().map_err(of("sparse: fsync"))?;
    Ok(())
}

/// A file and its map.
struct Target {
    file: File,
    map: Map,
}

enum Map {
    Raw(MmapRaw),
    Tracked(Tracked<4>),
    Chip(Chip),
}

type Chip = Flash<Tracked<4>, Overwrite, 1, 1, 4096>;

impl Target {
    fn new(style: Style, page: usize) -> Result<Self, Failure> {
        let piece = style.piece(page);
        let path = format!("{DISK}/{}", piece.file);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut options = MmapOptions::new();
        options.offset(piece.offset).len(piece.len);
        if style.is_control() {
            // Else a flush of the wrong page may write the large folio around the right one.
            options.scattered();
        }
        if style.grows() {
            // Of a growing file, what is there: nothing.
            options.len(0);
        } else if !style.is_made_by_the_host() {
            // Blocks that are written: what a power cut leaves of new ones is the file system's business.
            use std::os::unix::fs::FileExt as _;
            file.write_all_at(&vec![0; piece.len], piece.offset)?;
        }
        file.sync_all()
            .map_err(|error| format!("{}: fsync: {error}", style.name()))?;
        // SAFETY: the file is this program's alone.
        let tracked = || Ok::<_, Error>(Tracked::new(unsafe { options.map_mut(&file) }?));
        let map = match style {
            Style::Tracked => Map::Tracked(tracked()?),
            Style::Chip => Map::Chip(Chip::new(tracked()?)?),
            _ => Map::Raw(options.map_raw(&file)?),
        };
        Ok(Self { file, map })
    }

    /// Stores and flushes. `Ok` is an acknowledgement.
    fn take(&mut self, step: &Step, page: PageSize) -> Result<(), Error> {
        match &mut self.map {
            Map::Tracked(tracked) => {
                for write in &step.writes {
                    tracked.write(write.at, &write.bytes)?;
                }
                tracked.commit()?;
                Ok(())
            }
            // Each is stored when its write is `Ok`.
            Map::Chip(chip) => step.writes.iter().try_for_each(|write| {
                let at = u32::try_from(write.at).unwrap_or(u32::MAX);
                NorFlash::write(chip, at, &write.bytes)
            }),
            Map::Raw(map) => {
                if step.style.grows() {
                    map.grow(&self.file, step.map_len)?;
                }
                for write in &step.writes {
                    store(map, write.at, &write.bytes);
                }
                flush(map, step, page)
            }
        }
    }
}

fn store(map: &MmapRaw, at: usize, bytes: &[u8]) {
    assert!(at + bytes.len() <= map.len());
    // SAFETY: inside the map, by the line above, and inside the file, which has at least its length. Nothing
    // else looks at this memory.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.as_mut_ptr().add(at), bytes.len());
    }
}

fn flush(map: &MmapRaw, step: &Step, page: PageSize) -> Result<(), Error> {
    let (at, len) = match step.writes.last() {
        Some(write) => (write.at, write.bytes.len()),
        None => (0, 0),
    };
    match step.style {
        Style::Flush
        | Style::Scattered
        | Style::Tracked
        | Style::Chip
        | Style::Whole
        | Style::Together => map.flush(),
        Style::Range
        | Style::Across
        | Style::InPage
        | Style::Past4Gib
        | Style::Grow
        | Style::Fill => map.flush_range(at, len),
        Style::Nothing => Ok(()),
        Style::Async => map.flush_async(),
        Style::WrongPage => {
            let next = page.floor(at) + page.get();
            map.flush_range(if next < map.len() { next } else { 0 }, 1)
        }
        Style::Short => {
            // Up to the end of the first page.
            let end = page.floor(at) + page.get();
            map.flush_range(at, end - at)
        }
        Style::Retry => retry(map, step, at, len),
        Style::Forget => forget(map, step, page, at),
    }
}

/// The library's way: the failure stays, until a retry has stored the bytes.
fn retry(map: &MmapRaw, step: &Step, at: usize, len: usize) -> Result<(), Error> {
    let Err(first) = map.flush_range(at, len) else {
        return Ok(());
    };
    println!("{}{} flush_range: {first}", say::SAYS, step.number);
    match map.flush() {
        Ok(()) => println!("{}{} flush again: Ok", say::SAYS, step.number),
        Err(error) => println!("{}{} flush again: {error}", say::SAYS, step.number),
    }
    map.retry_flush()?;
    println!("{}{} retry_flush: Ok", say::SAYS, step.number);
    Ok(())
}

/// The control: msync(2) as it is. The second call says `Ok`, and the bytes are nowhere.
fn forget(map: &MmapRaw, step: &Step, page: PageSize, at: usize) -> Result<(), Error> {
    use rustix::mm::{MsyncFlags, msync};
    let start = map.as_mut_ptr().wrapping_add(page.floor(at)).cast();
    let turn = || {
        // SAFETY: the page of a store, so it is in the map, whose length is a multiple of the page.
        unsafe { msync(start, page.get(), MsyncFlags::SYNC) }
    };
    let Err(first) = turn() else { return Ok(()) };
    println!("{}{} msync: {first}", say::SAYS, step.number);
    match turn() {
        Ok(()) => println!("{}{} msync again: Ok", say::SAYS, step.number),
        Err(error) => println!("{}{} msync again: {error}", say::SAYS, step.number),
    }
    Ok(())
}
