//! Time of each call as a ratio to the bare rustix call: interleaved rounds in one run, the median of
//! the rounds' ratios and the spread between their quartiles. For reading, not for a test: machines
//! are noisy.

use std::fs::File;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::mm::{self, MapFlags, MsyncFlags, ProtFlags};

const ROUNDS: usize = 61;
const CALLS: u32 = 2000;
const PAGE: usize = 4096;
const SUBJECTS: [&str; 4] = ["rawmap", "rawmap-core", "memmap2", "rustix"];

type Call<'a> = Box<dyn FnMut() -> bool + 'a>;

fn time(call: &mut Call<'_>) -> Duration {
    let start = Instant::now();
    for _ in 0..CALLS {
        assert!(black_box(call()));
    }
    start.elapsed()
}

/// The median and the quartiles.
fn quartiles(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[values.len() * part / 4];
    (at(2), at(1), at(3))
}

/// Runs all subjects in each round, and starts each round with another one.
fn group(name: &str, mut calls: [Call<'_>; SUBJECTS.len()]) {
    let mut times = [const { Vec::new() }; SUBJECTS.len()];
    for round in 0..ROUNDS {
        for turn in 0..SUBJECTS.len() {
            let subject = (round + turn) % SUBJECTS.len();
            times[subject].push(time(&mut calls[subject]).as_secs_f64());
        }
    }
    print!("{name:<30}");
    for subject in &times {
        let ratios = subject
            .iter()
            .zip(&times[3])
            .map(|(time, bare)| time / bare);
        let (median, low, high) = quartiles(ratios.collect());
        print!("  {median:>5.2} ({low:.2}-{high:.2})");
    }
    let (bare, ..) = quartiles(times[3].clone());
    println!("  {:>8.0} ns", bare / f64::from(CALLS) * 1e9);
}

fn bare_map(file: &File, len: usize) -> bool {
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new map, which nobody uses.
    let base = unsafe { mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, file, 0) };
    // SAFETY: that same map.
    base.and_then(|base| unsafe { mm::munmap(base, len) })
        .is_ok()
}

fn main() {
    let file = &tempfile::tempfile_in("/dev/shm").expect("tmpfs");
    file.set_len(4 * PAGE as u64).expect("room");
    let theirs = &memmap2::MmapRaw::map_raw(file).expect("a map");
    let ours = &rawmap::MmapRaw::map_raw(file).expect("a map");
    let core = &rawmap_core::MmapRaw::map_raw(file).expect("a map");
    let base = ours.as_mut_ptr();
    let len = 4 * PAGE;

    println!("Time as a ratio to rustix: median of {ROUNDS} interleaved rounds (quartiles)");
    print!("{:<30}", "");
    SUBJECTS
        .iter()
        .for_each(|subject| print!("  {subject:>17}"));
    println!("  rustix alone");
    group(
        "map+unmap, length given",
        [
            Box::new(|| rawmap::MmapOptions::new().len(len).map_raw(file).is_ok()),
            Box::new(|| {
                rawmap_core::MmapOptions::new()
                    .len(len)
                    .map_raw(file)
                    .is_ok()
            }),
            Box::new(|| memmap2::MmapOptions::new().len(len).map_raw(file).is_ok()),
            Box::new(|| bare_map(file, len)),
        ],
    );
    group(
        "map+unmap, length from file",
        [
            Box::new(|| rawmap::MmapRaw::map_raw(file).is_ok()),
            Box::new(|| rawmap_core::MmapRaw::map_raw(file).is_ok()),
            Box::new(|| memmap2::MmapRaw::map_raw(file).is_ok()),
            Box::new(|| {
                rustix::fs::fstat(file).is_ok_and(|stat| bare_map(file, stat.st_size as usize))
            }),
        ],
    );
    group(
        "flush_range, clean page",
        [
            Box::new(|| ours.flush_range(black_box(PAGE + 100), 64).is_ok()),
            Box::new(|| core.flush_range(black_box(PAGE + 100), 64).is_ok()),
            Box::new(|| theirs.flush_range(black_box(PAGE + 100), 64).is_ok()),
            Box::new(|| {
                let page = base.wrapping_add(black_box(PAGE)).cast();
                // SAFETY: a page of a map that lives.
                unsafe { mm::msync(page, 164, MsyncFlags::SYNC) }.is_ok()
            }),
        ],
    );
    group(
        "advise_range",
        [
            Box::new(|| {
                let advice = rawmap::Advice::WillNeed;
                ours.advise_range(advice, black_box(PAGE + 100), 64).is_ok()
            }),
            Box::new(|| {
                let advice = rawmap_core::Advice::WillNeed;
                core.advise_range(advice, black_box(PAGE + 100), 64).is_ok()
            }),
            Box::new(|| {
                let advice = memmap2::Advice::WillNeed;
                theirs
                    .advise_range(advice, black_box(PAGE + 100), 64)
                    .is_ok()
            }),
            Box::new(|| {
                let page = base.wrapping_add(black_box(PAGE)).cast();
                // SAFETY: a page of a map that lives.
                unsafe { mm::madvise(page, 164, mm::Advice::WillNeed) }.is_ok()
            }),
        ],
    );
    group(
        "page size",
        [
            Box::new(|| rawmap::page_size().is_ok_and(|page| page.get() > 1)),
            Box::new(|| rawmap_core::page_size().is_ok_and(|page| page.get() > 1)),
            // SAFETY: sysconf only reads its argument. memmap2 calls it once and keeps the answer.
            Box::new(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) } > 1),
            Box::new(|| rustix::param::page_size() > 1),
        ],
    );
}
