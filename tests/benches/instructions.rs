//! User-space instructions for each call, counted by valgrind's callgrind: rawmap, rawmap-core,
//! memmap2 and the bare rustix call, built without LTO, as most programs are.
//!
//! Without arguments it prints the table, and fails where a bar is missed. With a group and a subject
//! it makes that call, for callgrind to watch.

use std::fs::File;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use rustix::mm::{self, MapFlags, MsyncFlags, ProtFlags};

const CALLS: u64 = 1000;
const PAGE: usize = 4096;
const GROUPS: [&str; 5] = [
    "map+unmap, length given",
    "map+unmap, length from file",
    "flush_range, clean page",
    "advise_range",
    "page size",
];
const SUBJECTS: [&str; 4] = ["rawmap", "rawmap-core", "memmap2", "rustix"];
/// Instructions that rawmap may take on top of the bare call, where there is a bar.
const BARS: [(&str, u64); 2] = [
    ("map+unmap, length given", 15),
    ("flush_range, clean page", 10),
];

/// Only what happens in here is counted.
#[inline(never)]
fn counted(body: &mut dyn FnMut()) {
    body();
}

/// Repeats a call on values that the compiler cannot know.
macro_rules! repeat {
    ($call:expr) => {
        counted(&mut || {
            for _ in 0..CALLS {
                black_box($call);
            }
        })
    };
}

fn run(group: &str, subject: &str) -> Option<()> {
    // On tmpfs, where a call does no more than it must.
    let file: &File = &tempfile::tempfile_in("/dev/shm").expect("tmpfs");
    file.set_len(4 * PAGE as u64).expect("room");
    // The first lookup of the page size is not what is counted.
    let theirs = memmap2::MmapRaw::map_raw(file).expect("a map");
    let ours = rawmap::MmapRaw::map_raw(file).expect("a map");
    let core = rawmap_core::MmapRaw::map_raw(file).expect("a map");
    rustix::param::page_size();

    let bare_map = |len| {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new map, which nobody uses.
        let base = unsafe { mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, file, 0) };
        // SAFETY: that same map.
        base.and_then(|base| unsafe { mm::munmap(base, len) })
            .is_ok()
    };
    let bare_page = |offset: usize| ours.as_mut_ptr().wrapping_add(offset).cast();
    let len = || black_box(4 * PAGE);
    let range = || black_box((PAGE + 100, 64));

    match (group, subject) {
        ("map+unmap, length given", "rawmap") => {
            repeat!(rawmap::MmapOptions::new().len(len()).map_raw(file).is_ok());
        }
        ("map+unmap, length given", "rawmap-core") => {
            repeat!(
                rawmap_core::MmapOptions::new()
                    .len(len())
                    .map_raw(file)
                    .is_ok()
            );
        }
        ("map+unmap, length given", "memmap2") => {
            repeat!(memmap2::MmapOptions::new().len(len()).map_raw(file).is_ok());
        }
        ("map+unmap, length given", "rustix") => repeat!(bare_map(len())),
        ("map+unmap, length from file", "rawmap") => {
            repeat!(rawmap::MmapRaw::map_raw(file).is_ok())
        }
        ("map+unmap, length from file", "rawmap-core") => {
            repeat!(rawmap_core::MmapRaw::map_raw(file).is_ok());
        }
        ("map+unmap, length from file", "memmap2") => {
            repeat!(memmap2::MmapRaw::map_raw(file).is_ok());
        }
        ("map+unmap, length from file", "rustix") => {
            repeat!(rustix::fs::fstat(file).is_ok_and(|stat| bare_map(stat.st_size as usize)));
        }
        ("flush_range, clean page", "rawmap") => {
            repeat!({
                let (offset, len) = range();
                ours.flush_range(offset, len).is_ok()
            });
        }
        ("flush_range, clean page", "rawmap-core") => {
            repeat!({
                let (offset, len) = range();
                core.flush_range(offset, len).is_ok()
            });
        }
        ("flush_range, clean page", "memmap2") => {
            repeat!({
                let (offset, len) = range();
                theirs.flush_range(offset, len).is_ok()
            });
        }
        ("flush_range, clean page", "rustix") => {
            repeat!({
                let (offset, len) = black_box((PAGE, 64));
                // SAFETY: a page of the map.
                unsafe { mm::msync(bare_page(offset), len, MsyncFlags::SYNC) }.is_ok()
            });
        }
        ("advise_range", "rawmap") => {
            repeat!({
                let (offset, len) = range();
                ours.advise_range(rawmap::Advice::WillNeed, offset, len)
                    .is_ok()
            });
        }
        ("advise_range", "rawmap-core") => {
            repeat!({
                let (offset, len) = range();
                core.advise_range(rawmap::Advice::WillNeed, offset, len)
                    .is_ok()
            });
        }
        ("advise_range", "memmap2") => {
            repeat!({
                let (offset, len) = range();
                theirs
                    .advise_range(memmap2::Advice::WillNeed, offset, len)
                    .is_ok()
            });
        }
        ("advise_range", "rustix") => {
            repeat!({
                let (offset, len) = black_box((PAGE, 64));
                // SAFETY: a page of the map.
                unsafe { mm::madvise(bare_page(offset), len, mm::Advice::WillNeed) }.is_ok()
            });
        }
        ("page size", "rawmap") => repeat!(rawmap::page_size().map_or(0, |page| page.get())),
        ("page size", "rawmap-core") => {
            repeat!(rawmap_core::page_size().map_or(0, |page| page.get()));
        }
        ("page size", "memmap2") => {
            // What memmap2 does the first time; it keeps the answer.
            // SAFETY: sysconf only reads its argument.
            repeat!(unsafe { libc::sysconf(libc::_SC_PAGESIZE) });
        }
        ("page size", "rustix") => repeat!(rustix::param::page_size()),
        _ => return None,
    }
    Some(())
}

/// Instructions for one call, without the loop around it.
fn count(group: &str, subject: &str) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=instructions::counted*")
        .arg(program)
        .args([group, subject])
        .output()
        .map_err(|error| format!("valgrind: {error}: run targets/setup"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, number)| number.trim().parse::<u64>().ok())
        .filter(|number| *number > CALLS)
        .map(|number| number / CALLS)
        .ok_or_else(|| format!("valgrind did not count {group}, {subject}:\n{text}"))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if let [group, subject] = &arguments[..] {
        return match run(group, subject) {
            Some(()) => ExitCode::SUCCESS,
            None => ExitCode::from(2),
        };
    }
    println!("User-space instructions for one call, the loop of the benchmark included");
    print!("{:<30}", "");
    SUBJECTS.iter().for_each(|subject| print!("{subject:>13}"));
    println!("   bar");
    let mut missed = false;
    for group in GROUPS {
        let mut counts = [0; SUBJECTS.len()];
        print!("{group:<30}");
        for (subject, slot) in SUBJECTS.iter().zip(&mut counts) {
            match count(group, subject) {
                Ok(number) => *slot = number,
                Err(error) => {
                    println!("\nFAILED: {error}");
                    return ExitCode::FAILURE;
                }
            }
            print!("{slot:>13}");
        }
        let [rawmap, core, memmap2, rustix] = counts;
        match BARS.iter().find(|bar| bar.0 == group) {
            Some((_, extra)) => {
                let met = rawmap.max(core) <= rustix + extra && rawmap.max(core) < memmap2;
                missed |= !met;
                let verdict = if met { "met" } else { "MISSED" };
                println!("   rustix + {extra}, below memmap2: {verdict}");
            }
            None => println!("   -"),
        }
    }
    println!(
        "\nSize of MmapRaw in bytes: rawmap {}, rawmap-core {}, memmap2 {}",
        size_of::<rawmap::MmapRaw>(),
        size_of::<rawmap_core::MmapRaw>(),
        size_of::<memmap2::MmapRaw>(),
    );
    ExitCode::from(u8::from(missed))
}
