//! What it costs to make bytes durable, on the disk that the tests' folder is on: rawmap's `Tracked` beside
//! memmap2, in interleaved rounds of one run. Counts are those of the whole device, so other programs' writes leak
//! in; they are medians, as the times are.
//!
//! durable [--quick] [--plot FILE.svg]
//!
//! `--quick` makes few and small rounds, to see that all of it works: its numbers mean nothing.

#[path = "durable/device.rs"]
mod device;
#[path = "durable/pages.rs"]
mod pages;
#[path = "durable/plot.rs"]
mod plot;

use std::fs::File;
use std::hint::black_box;
use std::io::{Seek as _, Write as _};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use memmap2::Advice as TheirAdvice;
use rawmap::{MmapMut, MmapOptions, Tracked};

use self::device::{Cost, Device, cost, median, medians};
use self::pages::{dirty_pages, drop_cached};
use self::plot::{Bar, Panel};

const RECORD: usize = 64;
const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// What is run: all, or a little of it.
struct Scale {
    file_len: usize,
    records: usize,
    rounds: usize,
    slow_rounds: usize,
    foreign: usize,
    async_len: usize,
}

const FULL: Scale = Scale {
    file_len: 256 * MIB,
    records: 1000,
    rounds: 21,
    slow_rounds: 3,
    foreign: 64 * MIB,
    async_len: 64 * MIB,
};

const QUICK: Scale = Scale {
    file_len: 8 * MIB,
    records: 20,
    rounds: 2,
    slow_rounds: 1,
    foreign: MIB,
    async_len: MIB,
};

fn main() -> ExitCode {
    let mut plot_to = None;
    let mut scale = &FULL;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => {}
            "--quick" => scale = &QUICK,
            "--plot" => plot_to = words.next(),
            other => {
                eprintln!("durable: unknown argument {other}; usage: [--quick] [--plot FILE.svg]");
                return ExitCode::from(2);
            }
        }
    }
    match run(scale, plot_to.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("durable: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all bars on counts were met. Those on times are printed, and left to the reader: machines are noisy.
fn run(scale: &Scale, plot_to: Option<&str>) -> std::io::Result<bool> {
    let folder = rawmap_tests::test_dir();
    let file = tempfile::tempfile_in(&folder)?;
    let device = match Device::of(&file) {
        Ok(device) => device,
        // In the test ladder, as a test would.
        Err(error) if scale.file_len < FULL.file_len => {
            rawmap_tests::skip("bench::durable", &error.to_string());
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    fill(&file, scale.file_len)?;
    println!("Disk: {}; kernel {}", device.name(), device::kernel());

    let mut verdict = Verdict { met: true };
    let mut panels = Vec::new();
    records(scale, &file, &device, &mut verdict, &mut panels)?;
    later_flush(scale, &mut verdict, &mut panels)?;
    small_updates(scale, &file, &device, &mut verdict, &mut panels)?;
    if let Some(path) = plot_to {
        let note = format!(
            "Grey: memmap2 0.9.12. Linux {}. Drawn by tests/bench durable",
            device::kernel()
        );
        plot::draw(path, &panels, &note, |label| !label.starts_with("memmap2"))
            .map_err(std::io::Error::other)?;
        println!("\nplot: {path}");
    }
    if scale.file_len < FULL.file_len {
        println!("\nquick: the numbers mean nothing, and no bar was looked at");
        return Ok(true);
    }
    Ok(verdict.met)
}

/// Writes all of the file, as programs do: in large pieces.
fn fill(mut file: &File, len: usize) -> std::io::Result<()> {
    file.rewind()?;
    let block = vec![7; MIB];
    for _ in 0..len / MIB {
        file.write_all(&block)?;
    }
    file.sync_all()
}

struct Verdict {
    met: bool,
}

impl Verdict {
    fn count(&mut self, what: &str, met: bool) {
        self.met &= met;
        println!("    bar: {what}: {}", if met { "met" } else { "MISSED" });
    }

    fn time(what: &str, met: bool) {
        println!(
            "    bar: {what}: {}",
            if met { "met" } else { "missed in this run" }
        );
    }
}

/// Where the records of a round are.
#[derive(Clone, Copy, PartialEq)]
enum Places {
    Scattered,
    /// Scattered over the second half of the file: foreign dirty pages are in the first.
    SecondHalf,
    Sequential,
}

fn offsets(scale: &Scale, places: Places, round: usize) -> Vec<usize> {
    // Any generator will do, and each subject of a round gets the same.
    let mut state = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let half = scale.file_len / 2;
    (0..scale.records)
        .map(|number| match places {
            Places::Scattered => random() % (scale.file_len - RECORD) / RECORD * RECORD,
            Places::SecondHalf => half + random() % (half - RECORD) / RECORD * RECORD,
            Places::Sequential => (round % 100) * 64 * PAGE + number * RECORD,
        })
        .collect()
}

const SUBJECTS: [&str; 4] = [
    "memmap2 flush_range each",
    "memmap2 flush",
    "Tracked commit",
    "Tracked commit_with 1 MiB",
];

fn records(
    scale: &Scale,
    file: &File,
    device: &Device,
    verdict: &mut Verdict,
    panels: &mut Vec<Panel>,
) -> std::io::Result<()> {
    // SAFETY: only this program uses the file, and only one of the two maps at a time has a slice.
    let mut theirs = unsafe { memmap2::MmapOptions::new().map_mut(file)? };
    theirs.advise(TheirAdvice::Random)?;
    // Drops the large folios of writing the file, for both.
    // SAFETY: as above.
    let ours: MmapMut = unsafe { MmapOptions::new().scattered().map_mut(file)? };
    let mut tracked = Tracked::<64>::new(ours);
    // Foreign: somebody else's dirty pages, in a part of the file.
    let cases: [(&str, Places, Option<usize>); 4] = [
        ("scattered", Places::Scattered, None),
        ("sequential", Places::Sequential, None),
        (
            "scattered, foreign dirty pages outside the hull",
            Places::SecondHalf,
            Some(0),
        ),
        (
            "scattered, foreign dirty pages inside the hull",
            Places::Scattered,
            Some(scale.file_len / 3),
        ),
    ];
    for (name, places, foreign) in cases {
        let mut costs = [const { Vec::new() }; SUBJECTS.len()];
        for round in 0..scale.rounds {
            let offsets = offsets(scale, places, round);
            // Untimed: else whoever comes first reads the pages in for all.
            let touched = offsets.iter().map(|at| theirs[*at] ^ tracked[*at]);
            black_box(touched.fold(0, |all, byte| all ^ byte));
            // A flush for each record takes long: in a few rounds only, and after the others.
            let each = (round < scale.slow_rounds && foreign.is_none()).then_some(0);
            let others =
                (0..SUBJECTS.len() - 1).map(|turn| 1 + (round + turn) % (SUBJECTS.len() - 1));
            for subject in others.chain(each) {
                if let Some(start) = foreign {
                    (start..start + scale.foreign)
                        .step_by(PAGE)
                        .for_each(|at| theirs[at] ^= 1);
                }
                let record = [round as u8; RECORD];
                let spent = cost(device, || match subject {
                    0 | 1 => {
                        for at in &offsets {
                            theirs[*at..][..RECORD].copy_from_slice(&record);
                            if subject == 0 {
                                theirs.flush_range(*at, RECORD).expect("flush");
                            }
                        }
                        if subject == 1 {
                            theirs.flush().expect("flush");
                        }
                    }
                    _ => {
                        for at in &offsets {
                            tracked.write(*at, &record).expect("inside");
                        }
                        let gap = if subject == 2 { usize::MAX } else { MIB };
                        tracked.commit_with(gap).expect("commit");
                    }
                });
                costs[subject].push(spent);
                // What was foreign must not be there in the next turn.
                theirs.flush()?;
            }
        }
        report(scale, name, &costs, verdict, panels);
    }
    Ok(())
}

fn report(
    scale: &Scale,
    name: &str,
    costs: &[Vec<Cost>; SUBJECTS.len()],
    verdict: &mut Verdict,
    panels: &mut Vec<Panel>,
) {
    println!(
        "\n{} records of {RECORD} bytes in {} MiB, {name}",
        scale.records,
        scale.file_len / MIB
    );
    println!(
        "    {:<28}{:>10}{:>10}{:>10}{:>12}",
        "", "ms", "ratio", "FLUSHes", "KiB written"
    );
    let mut ratios = [0.0; SUBJECTS.len()];
    let mut bars = Vec::new();
    for (subject, own) in costs.iter().enumerate().filter(|(_, own)| !own.is_empty()) {
        let pairs = own
            .iter()
            .zip(&costs[1])
            .map(|(own, base)| own.ms / base.ms);
        ratios[subject] = median(pairs.collect());
        let Cost { ms, flushes, kib } = medians(own);
        let label = SUBJECTS[subject];
        println!(
            "    {label:<28}{ms:>10.2}{:>10.2}{flushes:>10.0}{kib:>12.0}",
            ratios[subject]
        );
        bars.push((label, ms, flushes));
    }
    let per_record = medians(&costs[0]).flushes;
    let tracked = medians(&costs[2]).flushes;
    if per_record > 0.0 {
        let fewer = per_record / tracked.max(1.0);
        verdict.count(
            &format!("FLUSHes, {fewer:.0} times fewer (at least 50)"),
            fewer >= 50.0,
        );
    }
    Verdict::time(
        &format!("time, {:.2} of memmap2's flush (at most 1.1)", ratios[2]),
        ratios[2] <= 1.1,
    );
    let bar = |(label, value): (&str, f64)| Bar {
        label: label.to_owned(),
        value,
    };
    if name == "scattered" {
        let title = format!("FLUSHes for {} scattered records", scale.records);
        let flushes = bars
            .iter()
            .map(|(label, _, flushes)| bar((label, *flushes)));
        panels.push(Panel {
            title,
            unit: "",
            bars: flushes.collect(),
        });
    }
    if name != "sequential" {
        let times = bars.iter().map(|(label, ms, _)| bar((label, *ms)));
        panels.push(Panel {
            title: format!("ms, {name}"),
            unit: " ms",
            bars: times.collect(),
        });
    }
}

/// Dirty memory, an asynchronous flush, 200 ms of other work, and then the flush.
fn later_flush(
    scale: &Scale,
    verdict: &mut Verdict,
    panels: &mut Vec<Panel>,
) -> std::io::Result<()> {
    let pages = scale.async_len / PAGE;
    let (mut later, mut calls) = ([vec![], vec![]], [vec![], vec![]]);
    let mut left = [vec![], vec![]];
    for round in 0..scale.rounds.min(9) {
        for turn in 0..2 {
            let subject = (round + turn) % 2;
            let file = tempfile::tempfile_in(rawmap_tests::test_dir())?;
            rawmap::reserve(&file, 0, scale.async_len as u64)?;
            file.sync_all()?;
            // SAFETY: only this program uses the file.
            let mut theirs = unsafe { memmap2::MmapMut::map_mut(&file)? };
            // SAFETY: as above; `theirs` has no slice then.
            let ours = unsafe { MmapOptions::new().keep_file().map_mut(&file)? };
            (0..pages).for_each(|page| theirs[page * PAGE] = 1);
            let start = Instant::now();
            match subject {
                0 => theirs.flush_async()?,
                _ => ours.flush_async()?,
            }
            calls[subject].push(start.elapsed().as_secs_f64() * 1e3);
            sleep(Duration::from_millis(200));
            left[subject]
                .push(dirty_pages(&file, scale.async_len).map_or(f64::NAN, |left| left as f64));
            let start = Instant::now();
            match subject {
                0 => theirs.flush()?,
                _ => ours.flush()?,
            }
            later[subject].push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!(
        "\n{} MiB dirty, flush_async, 200 ms later flush",
        scale.async_len / MIB
    );
    println!(
        "    {:<28}{:>10}{:>12}{:>14}",
        "", "call, ms", "dirty pages", "flush, ms"
    );
    let names = ["memmap2", "rawmap, keep_file"];
    for (subject, name) in names.iter().enumerate() {
        let of = |values: &[Vec<f64>; 2]| median(values[subject].clone());
        println!(
            "    {name:<28}{:>10.2}{:>12.0}{:>14.2}",
            of(&calls),
            of(&left),
            of(&later)
        );
    }
    let left = median(left[1].clone());
    if !left.is_nan() {
        verdict.count(&format!("{left:.0} pages dirty (0)"), left == 0.0);
    }
    let pairs = later[1]
        .iter()
        .zip(&later[0])
        .map(|(ours, theirs)| ours / theirs);
    let ratio = median(pairs.collect());
    Verdict::time(
        &format!("later flush, {ratio:.2} of memmap2's (at most 0.15)"),
        ratio <= 0.15,
    );
    let bar = |subject: usize| Bar {
        label: names[subject].to_owned(),
        value: median(later[subject].clone()),
    };
    let title = format!(
        "ms, flush after flush_async of {} MiB",
        scale.async_len / MIB
    );
    panels.push(Panel {
        title,
        unit: " ms",
        bars: vec![bar(0), bar(1)],
    });
    Ok(())
}

/// One record after the other, each durable, in a file that is in the page cache.
fn small_updates(
    scale: &Scale,
    file: &File,
    device: &Device,
    verdict: &mut Verdict,
    panels: &mut Vec<Panel>,
) -> std::io::Result<()> {
    let names = ["memmap2", "rawmap", "rawmap, scattered()"];
    let mut kib = [0.0; 3];
    for (subject, name) in names.iter().enumerate() {
        // Into the cache again, as a program does that has just written the file: in large folios.
        drop_cached(file);
        fill(file, scale.file_len)?;
        let offsets: Vec<_> = offsets(scale, Places::Scattered, subject)
            .into_iter()
            .take(60)
            .collect();
        let record = [subject as u8; RECORD];
        let mut costs = Vec::new();
        if subject == 0 {
            // SAFETY: only this program uses the file.
            let mut map = unsafe { memmap2::MmapMut::map_mut(file)? };
            for at in offsets {
                costs.push(cost(device, || {
                    map[at..][..RECORD].copy_from_slice(&record);
                    map.flush_range(at, RECORD).expect("flush");
                }));
            }
        } else {
            let mut options = MmapOptions::new();
            if subject == 2 {
                options.scattered();
            }
            // SAFETY: as above.
            let mut map = Tracked::<4>::new(unsafe { options.map_mut(file)? });
            for at in offsets {
                costs.push(cost(device, || {
                    map.write(at, &record).expect("inside");
                    map.commit().expect("commit");
                }));
            }
        }
        let spent = medians(&costs);
        if subject == 0 {
            println!(
                "\nOne record of {RECORD} bytes made durable, in a cached file of {} MiB",
                scale.file_len / MIB
            );
            println!(
                "    {:<28}{:>10}{:>10}{:>12}",
                "", "ms", "FLUSHes", "KiB written"
            );
        }
        println!(
            "    {name:<28}{:>10.2}{:>10.0}{:>12.0}",
            spent.ms, spent.flushes, spent.kib
        );
        kib[subject] = spent.kib;
    }
    if kib[1] >= 100.0 {
        verdict.count(
            &format!("{:.0} KiB for each update (at most 16)", kib[2]),
            kib[2] <= 16.0,
        );
    } else {
        println!("    this file system writes no more than pages by default: no bar");
    }
    let bars = names.iter().zip(kib).map(|(name, value)| Bar {
        label: (*name).to_owned(),
        value,
    });
    let title = "KiB written for one durable update of 64 bytes".to_owned();
    panels.push(Panel {
        title,
        unit: " KiB",
        bars: bars.collect(),
    });
    Ok(())
}
