//! User-space instructions for each call of the crates that map files, counted by valgrind's callgrind.
//!
//! Without arguments it prints the table. With a group and a subject it makes that call, for callgrind to watch.

use std::fs::File;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::ptr::null_mut;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

const CALLS: u64 = 1000;
const PAGE: usize = 4096;
const GROUPS: [&str; 3] = [
    "map+unmap, length given",
    "flush_range, clean page",
    "flush, clean map",
];
const SUBJECTS: [&str; 5] = ["rawmap", "memmap2", "mmap-io", "mmap-rs", "rustix"];

/// Only what happens in here is counted.
#[inline(never)]
fn counted(body: &mut dyn FnMut() -> bool) {
    for _ in 0..CALLS {
        assert!(body(), "the call failed");
        // As if other code ran in between: no register keeps an argument for the next call.
        // SAFETY: no instruction.
        unsafe { std::arch::asm!("", clobber_abi("C")) };
    }
}

fn run(group: &str, subject: &str) -> Result<(), Box<dyn std::error::Error>> {
    // On tmpfs, where a call does no more than it must.
    let file = &tempfile::tempfile_in("/dev/shm")?;
    file.set_len(4 * PAGE as u64)?;
    let at = || black_box((PAGE, 64));
    let all = || black_box(4 * PAGE);
    match (group, subject) {
        ("map+unmap, length given", "rawmap") => {
            counted(&mut || rawmap::MmapOptions::new().len(all()).map_raw(file).is_ok());
        }
        ("map+unmap, length given", "memmap2") => {
            counted(&mut || memmap2::MmapOptions::new().len(all()).map_raw(file).is_ok());
        }
        // SAFETY: of these and those below: nothing else uses the file.
        ("map+unmap, length given", "mmap-io") => counted(&mut || unsafe {
            mmap_io::raw::RawMmapOptions::new()
                .len(all())
                .map_mut(file)
                .is_ok()
        }),
        ("map+unmap, length given", "mmap-rs") => counted(&mut || {
            let options = mmap_rs::MmapOptions::new(all());
            // SAFETY: as above.
            options.is_ok_and(|options| unsafe { options.with_file(file, 0) }.map_mut().is_ok())
        }),
        ("map+unmap, length given", "rustix") => counted(&mut || bare(file, all())),
        (_, "rawmap") => {
            let map = &rawmap::MmapRaw::map_raw(file)?;
            match group {
                "flush, clean map" => counted(&mut || map.flush().is_ok()),
                _ => counted(&mut || {
                    let (at, len) = at();
                    map.flush_range(at, len).is_ok()
                }),
            }
        }
        (_, "memmap2") => {
            let map = &memmap2::MmapRaw::map_raw(file)?;
            match group {
                "flush, clean map" => counted(&mut || map.flush().is_ok()),
                _ => counted(&mut || {
                    let (at, len) = at();
                    map.flush_range(at, len).is_ok()
                }),
            }
        }
        (_, "mmap-io") => {
            // SAFETY: as above.
            let map = &unsafe { mmap_io::raw::RawMmapMut::map_mut(file)? };
            match group {
                "flush, clean map" => counted(&mut || map.flush().is_ok()),
                _ => counted(&mut || {
                    let (at, len) = at();
                    map.flush_range(at, len).is_ok()
                }),
            }
        }
        (_, "mmap-rs") => {
            // SAFETY: as above.
            let map =
                &unsafe { mmap_rs::MmapOptions::new(4 * PAGE)?.with_file(file, 0) }.map_mut()?;
            match group {
                "flush, clean map" => counted(&mut || map.flush(0..all()).is_ok()),
                // It rounds nothing: the caller's page.
                _ => counted(&mut || {
                    let (at, len) = at();
                    map.flush(at..at + len).is_ok()
                }),
            }
        }
        _ => {
            let prot = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new map.
            let base = unsafe { mmap(null_mut(), 4 * PAGE, prot, MapFlags::SHARED, file, 0)? };
            let sync = |at: usize, len: usize| {
                // SAFETY: pages of that map, which stays.
                unsafe { msync(base.wrapping_byte_add(at), len, MsyncFlags::SYNC) }.is_ok()
            };
            match group {
                "flush, clean map" => counted(&mut || sync(0, all())),
                _ => counted(&mut || {
                    let (at, len) = at();
                    sync(at, len)
                }),
            }
        }
    }
    Ok(())
}

fn bare(file: &File, len: usize) -> bool {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new map, which nothing uses.
    let base = unsafe { mmap(null_mut(), len, prot, MapFlags::SHARED, file, 0) };
    // SAFETY: that same map.
    base.and_then(|base| unsafe { munmap(base, len) }).is_ok()
}

/// Instructions for one call, with the loop around it.
fn count(group: &str, subject: &str) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=peers::counted*")
        .arg(program)
        .args([group, subject])
        .output()
        .map_err(|error| format!("valgrind: {error}: run targets/setup --tools"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, number)| number.trim().parse::<u64>().ok())
        .filter(|number| output.status.success() && *number > CALLS)
        .map(|number| number / CALLS)
        .ok_or_else(|| format!("valgrind did not count {group}, {subject}:\n{text}"))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [group, subject] = &arguments[..] {
        return match run(group, subject) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{group}, {subject}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    println!("User-space instructions for one call, the loop of the benchmark included\n");
    println!("| | {} |\n|---|---|---|---|---|---|", SUBJECTS.join(" | "));
    for group in GROUPS {
        print!("| {group} |");
        for subject in SUBJECTS {
            match count(group, subject) {
                Ok(number) => print!(" {number} |"),
                Err(error) => {
                    println!("\nFAILED: {error}");
                    return ExitCode::FAILURE;
                }
            }
        }
        println!();
    }
    print!("| bytes of a map's value |");
    for size in [
        size_of::<rawmap::MmapRaw>(),
        size_of::<memmap2::MmapRaw>(),
        size_of::<mmap_io::raw::RawMmapMut>(),
        size_of::<mmap_rs::MmapMut>(),
    ] {
        print!(" {size} |");
    }
    println!(" - |");
    ExitCode::SUCCESS
}
