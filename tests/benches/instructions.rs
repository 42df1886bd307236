//! User-space instructions for each call, counted by valgrind's callgrind: rawmap, rawmap-core,
//! memmap2 and the bare rustix call, built without LTO, as most programs are.
//!
//! Without arguments it prints the table, and fails where a bar is missed. With a group and a subject
//! it makes that call, for callgrind to watch.

use std::fs::File;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use rawmap_core::{DirtyRanges, Span, Tracked};
use rustix::mm::{self, MapFlags, MsyncFlags, ProtFlags};

const CALLS: u64 = 1000;
const PAGE: usize = 4096;
const GROUPS: [&str; 12] = [
    "map+unmap, length given",
    "map+unmap, unknown options",
    "map+unmap, length from file",
    "flush_range, clean page",
    "advise_range",
    "page size",
    "mark, next record",
    "mark, last range again",
    "mark, one of 8 again",
    "mark, one of 64 again",
    "mark, scattered, table full",
    "commit of nothing",
];
const SUBJECTS: [&str; 4] = ["rawmap", "rawmap-core", "memmap2", "rustix"];
/// Instructions that rawmap may take where there is a bar; always less than memmap2, too.
const BARS: [(&str, Bar); 4] = [
    ("map+unmap, length given", Bar::OnTop(15)),
    ("flush_range, clean page", Bar::OnTop(13)),
    ("map+unmap, unknown options", Bar::AtMost(139)),
    ("map+unmap, length from file", Bar::AtMost(95)),
];

#[derive(Clone, Copy)]
enum Bar {
    /// Of the bare call.
    OnTop(u64),
    AtMost(u64),
}

/// Instructions, where no peer has the call: "tens" for marks as programs make them.
const LIMITS: [(&str, u64); 4] = [
    ("mark, next record", 40),
    ("mark, last range again", 40),
    ("mark, one of 8 again", 99),
    ("commit of nothing", 40),
];

/// Only what happens in here is counted.
#[inline(never)]
fn counted(body: &mut dyn FnMut()) {
    body();
}

/// Makes a call `CALLS` times on values that the compiler cannot know, and leaves on an error, as `?`
/// does.
macro_rules! repeat {
    (|$subject:ident: $type:ty, $offset:ident, $len:ident| $call:expr, $on:expr) => {{
        let $subject: $type = $on;
        counted(&mut || {
            for _ in 0..CALLS {
                let ($offset, $len) = black_box((PAGE, 64));
                if !$call {
                    panic!("the call failed");
                }
                // As if other code ran in between: no register keeps an argument for the next call.
                // SAFETY: no instruction.
                unsafe { std::arch::asm!("", clobber_abi("C")) };
            }
        });
    }};
}

/// The bare calls round and check nothing: they get what the others find out.
mod bare {
    use super::{File, MapFlags, MsyncFlags, ProtFlags, mm};

    #[inline]
    pub(crate) fn map(file: &File, len: usize) -> bool {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new map, which nobody uses.
        let base = unsafe { mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, file, 0) };
        // SAFETY: that same map.
        base.and_then(|base| unsafe { mm::munmap(base, len) })
            .is_ok()
    }

    #[inline]
    pub(crate) fn sync(base: *mut u8, offset: usize, len: usize) -> bool {
        // SAFETY: a page of a map that lives.
        unsafe { mm::msync(base.wrapping_add(offset).cast(), len, MsyncFlags::SYNC) }.is_ok()
    }

    #[inline]
    pub(crate) fn advise(base: *mut u8, offset: usize, len: usize) -> bool {
        let page = base.wrapping_add(offset).cast();
        // SAFETY: a page of a map that lives.
        unsafe { mm::madvise(page, len, mm::Advice::WillNeed) }.is_ok()
    }
}

fn run(group: &str, subject: &str) -> Option<()> {
    // On tmpfs, where a call does no more than it must.
    let file = &tempfile::tempfile_in("/dev/shm").expect("tmpfs");
    file.set_len(4 * PAGE as u64).expect("room");
    // The first lookup of the page size is not what is counted.
    let theirs = &memmap2::MmapRaw::map_raw(file).expect("a map");
    let ours = &rawmap::MmapRaw::map_raw(file).expect("a map");
    let core = &rawmap_core::MmapRaw::map_raw(file).expect("a map");
    rustix::param::page_size();
    let base = ours.as_mut_ptr();

    match (group, subject) {
        ("map+unmap, length given", "rawmap") => repeat!(
            |file: &File, _offset, len| rawmap::MmapOptions::new().len(len).map_raw(file).is_ok(),
            file
        ),
        ("map+unmap, length given", "rawmap-core") => repeat!(
            |file: &File, _offset, len| rawmap_core::MmapOptions::new()
                .len(len)
                .map_raw(file)
                .is_ok(),
            file
        ),
        ("map+unmap, length given", "memmap2") => repeat!(
            |file: &File, _offset, len| memmap2::MmapOptions::new().len(len).map_raw(file).is_ok(),
            file
        ),
        ("map+unmap, length given", "rustix") => {
            repeat!(|file: &File, _offset, len| bare::map(file, len), file)
        }
        // Options that were made elsewhere: nothing of them is known where the map is made.
        ("map+unmap, unknown options", "rawmap") => {
            let options = black_box(rawmap::MmapOptions::new().len(4 * PAGE).clone());
            repeat!(
                |file: &File, _offset, _len| options.map_raw(file).is_ok(),
                file
            );
        }
        ("map+unmap, unknown options", "rawmap-core") => {
            let options = black_box(rawmap_core::MmapOptions::new().len(4 * PAGE).clone());
            repeat!(
                |file: &File, _offset, _len| options.map_raw(file).is_ok(),
                file
            );
        }
        ("map+unmap, unknown options", "memmap2") => {
            let options = black_box(memmap2::MmapOptions::new().len(4 * PAGE).clone());
            repeat!(
                |file: &File, _offset, _len| options.map_raw(file).is_ok(),
                file
            );
        }
        ("map+unmap, unknown options", "rustix") => {
            repeat!(|file: &File, _offset, len| bare::map(file, len), file)
        }
        ("map+unmap, length from file", "rawmap") => repeat!(
            |file: &File, _offset, _len| rawmap::MmapRaw::map_raw(file).is_ok(),
            file
        ),
        ("map+unmap, length from file", "rawmap-core") => repeat!(
            |file: &File, _offset, _len| rawmap_core::MmapRaw::map_raw(file).is_ok(),
            file
        ),
        ("map+unmap, length from file", "memmap2") => repeat!(
            |file: &File, _offset, _len| memmap2::MmapRaw::map_raw(file).is_ok(),
            file
        ),
        ("map+unmap, length from file", "rustix") => repeat!(
            |file: &File, _offset, _len| rustix::fs::fstat(file)
                .is_ok_and(|stat| bare::map(file, stat.st_size as usize)),
            file
        ),
        ("flush_range, clean page", "rawmap") => repeat!(
            |map: &rawmap::MmapRaw, offset, len| map.flush_range(offset, len).is_ok(),
            ours
        ),
        ("flush_range, clean page", "rawmap-core") => repeat!(
            |map: &rawmap_core::MmapRaw, offset, len| map.flush_range(offset, len).is_ok(),
            core
        ),
        ("flush_range, clean page", "memmap2") => repeat!(
            |map: &memmap2::MmapRaw, offset, len| map.flush_range(offset, len).is_ok(),
            theirs
        ),
        ("flush_range, clean page", "rustix") => {
            repeat!(
                |base: *mut u8, offset, len| bare::sync(base, offset, len),
                base
            )
        }
        ("advise_range", "rawmap") => repeat!(
            |map: &rawmap::MmapRaw, offset, len| {
                map.advise_range(rawmap::Advice::WillNeed, offset, len)
                    .is_ok()
            },
            ours
        ),
        ("advise_range", "rawmap-core") => repeat!(
            |map: &rawmap_core::MmapRaw, offset, len| {
                map.advise_range(rawmap_core::Advice::WillNeed, offset, len)
                    .is_ok()
            },
            core
        ),
        ("advise_range", "memmap2") => repeat!(
            |map: &memmap2::MmapRaw, offset, len| {
                map.advise_range(memmap2::Advice::WillNeed, offset, len)
                    .is_ok()
            },
            theirs
        ),
        ("advise_range", "rustix") => {
            repeat!(
                |base: *mut u8, offset, len| bare::advise(base, offset, len),
                base
            )
        }
        ("page size", "rawmap") => repeat!(
            |least: usize, _offset, _len| rawmap::page_size().is_ok_and(|page| page.get() >= least),
            PAGE
        ),
        ("page size", "rawmap-core") => repeat!(
            |least: usize, _offset, _len| {
                rawmap_core::page_size().is_ok_and(|page| page.get() >= least)
            },
            PAGE
        ),
        // What memmap2 does the first time; it keeps the answer.
        ("page size", "memmap2") => repeat!(
            // SAFETY: sysconf only reads its argument.
            |least: usize, _offset, _len| unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize
                >= least,
            PAGE
        ),
        ("page size", "rustix") => repeat!(
            |least: usize, _offset, _len| rustix::param::page_size() >= least,
            PAGE
        ),
        (_, "rawmap-core") => return marks(group),
        _ => return None,
    }
    Some(())
}

/// `DirtyRanges::mark`, and a commit that finds nothing.
fn marks(group: &str) -> Option<()> {
    const LEN: usize = 1 << 30;
    let span = |at: usize, len: usize| Span::new(at, len, LEN).expect("inside");
    let dirty = &mut DirtyRanges::<64>::new();
    match group {
        "mark, next record" => {
            let mut at = 0;
            repeat!(
                |dirty: &mut DirtyRanges<64>, _offset, len| {
                    at += 64;
                    dirty.mark(span(at, len));
                    true
                },
                dirty
            );
        }
        "mark, last range again" => repeat!(
            |dirty: &mut DirtyRanges<64>, offset, len| {
                dirty.mark(span(offset, len));
                true
            },
            dirty
        ),
        "mark, one of 8 again" | "mark, one of 64 again" => {
            let ranges = if group.contains("64") { 64 } else { 8 };
            (0..ranges).for_each(|i| dirty.mark(span(i << 14, 64)));
            let wrap = (ranges << 14) - 1;
            let mut turn = 0;
            repeat!(
                |dirty: &mut DirtyRanges<64>, _offset, len| {
                    turn = (turn + (7 << 14)) & wrap;
                    dirty.mark(span(turn, len));
                    true
                },
                dirty
            );
        }
        "mark, scattered, table full" => {
            let mut at: usize = 1;
            repeat!(
                |dirty: &mut DirtyRanges<64>, _offset, len| {
                    at = at.wrapping_mul(0x9e37_79b9).wrapping_add(97);
                    dirty.mark(span(at % (LEN - 64), len));
                    true
                },
                dirty
            );
        }
        "commit of nothing" => {
            let map = rawmap_core::MmapMut::map_anon(PAGE).expect("memory");
            let tracked = &mut Tracked::<64>::new(map);
            repeat!(
                |tracked: &mut Tracked<64>, _offset, _len| tracked.commit().is_ok(),
                tracked
            );
        }
        _ => return None,
    }
    Some(())
}

/// The status of this program where the subject has no such call.
const NOT_THERE: i32 = 2;

/// Instructions for one call, without the loop around it.
fn count(group: &str, subject: &str) -> Result<Option<u64>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=instructions::counted*")
        .arg(program)
        .args([group, subject])
        .output()
        .map_err(|error| format!("valgrind: {error}: run targets/setup"))?;
    if output.status.code() == Some(NOT_THERE) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, number)| number.trim().parse::<u64>().ok())
        .filter(|number| *number > CALLS)
        .map(|number| Some(number / CALLS))
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
            None => ExitCode::from(NOT_THERE as u8),
        };
    }
    println!("User-space instructions for one call, the loop of the benchmark included");
    print!("{:<30}", "");
    SUBJECTS.iter().for_each(|subject| print!("{subject:>13}"));
    println!("   bar (page size: memmap2 asks libc's sysconf once and keeps it; this is sysconf)");
    let mut missed = false;
    for group in GROUPS {
        let mut counts = [None; SUBJECTS.len()];
        print!("{group:<30}");
        for (subject, slot) in SUBJECTS.iter().zip(&mut counts) {
            match count(group, subject) {
                Ok(number) => *slot = number,
                Err(error) => {
                    println!("\nFAILED: {error}");
                    return ExitCode::FAILURE;
                }
            }
            let text = slot.map_or("-".to_owned(), |number| number.to_string());
            print!("{text:>13}");
        }
        let (bar, met) = match counts {
            [Some(rawmap), Some(core), Some(memmap2), Some(rustix)] => {
                let bar = BARS.iter().find(|bar| bar.0 == group);
                let (text, most) = match bar {
                    Some((_, Bar::OnTop(extra))) => (format!("rustix + {extra}"), rustix + extra),
                    Some((_, Bar::AtMost(most))) => (format!("at most {most}"), *most),
                    None => (String::new(), u64::MAX),
                };
                (
                    bar.map(|_| format!("{text}, below memmap2")),
                    bar.is_none() || rawmap.max(core) <= most && rawmap.max(core) < memmap2,
                )
            }
            [_, Some(core), ..] => {
                let limit = LIMITS.iter().find(|limit| limit.0 == group);
                (
                    limit.map(|(_, most)| format!("at most {most}")),
                    limit.is_none_or(|(_, most)| core <= *most),
                )
            }
            _ => (None, false),
        };
        missed |= !met;
        match bar {
            Some(bar) => println!("   {bar}: {}", if met { "met" } else { "MISSED" }),
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
