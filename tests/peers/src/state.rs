//! What it costs to keep 64 bytes: a value that is updated, and records that are appended, by rawmap's `Slots` and `Log` and
//! by what programs take today, in interleaved rounds of one run. Counts are those of the whole device, so other
//! programs' writes leak in; all numbers are medians.
//!
//! state [--quick] [--plot FILE.svg]
//!
//! `--quick` makes few and small rounds, to see that all of it works: its numbers mean nothing.

#[path = "../../benches/durable/device.rs"]
mod device;
mod kept;
#[path = "../../benches/durable/plot.rs"]
mod plot;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::device::{Cost, Device, cost, kernel, median, medians};
use self::kept::{Kept, RECORD, Subject};
use self::plot::{Bar, Panel};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How many bytes a durable update of 64 bytes may write.
const KIB: f64 = 8.0;
/// And how long it may take, times a bare pwrite(2) and fdatasync(2).
const TIMES: f64 = 1.05;

/// A table: of one job, with so many records for each commit.
struct Table {
    title: &'static str,
    subjects: &'static [Subject],
    batch: usize,
}

const TABLES: [Table; 4] = [
    Table {
        title: "a durable update of 64 bytes",
        subjects: &kept::UPDATES,
        batch: 1,
    },
    Table {
        title: "a durable append of 64 bytes",
        subjects: &kept::APPENDS,
        batch: 1,
    },
    Table {
        title: "100 updates of 64 bytes, durable together",
        subjects: &kept::UPDATES,
        batch: 100,
    },
    Table {
        title: "100 appends of 64 bytes, durable together",
        subjects: &kept::APPENDS,
        batch: 100,
    },
];

fn main() -> ExitCode {
    let (mut quick, mut plot_to) = (false, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => quick = true,
            "--plot" => plot_to = words.next(),
            other => {
                eprintln!("state: unknown argument {other}; usage: [--quick] [--plot FILE.svg]");
                return ExitCode::from(2);
            }
        }
    }
    match run(quick, plot_to.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("state: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the bars on counts were met. Those on times are printed: machines are noisy.
fn run(quick: bool, plot_to: Option<&str>) -> Result<bool> {
    let folder = std::env::var_os("RAWMAP_TEST_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let folder = tempfile::tempdir_in(folder)?;
    let device = match Device::of(&std::fs::File::open(folder.path())?) {
        Ok(device) => device,
        // In the test ladder, as a test would.
        Err(error) if quick => {
            println!("skip: bench::state: {error}");
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    };
    println!("Disk: {}; Linux {}", device.name(), kernel());
    let (mut met, mut panels) = (true, Vec::new());
    for table in &TABLES {
        met &= measure(table, folder.path(), &device, quick, &mut panels)?;
    }
    if quick {
        println!("\nquick: the numbers mean nothing, and no bar was looked at");
        return Ok(true);
    }
    if let Some(path) = plot_to {
        let note = format!(
            "Grey: what programs take today. Linux {}. Drawn by tests/bench state",
            kernel()
        );
        plot::draw(path, &panels, &note, kept::is_ours).map_err(|error| error.to_string())?;
        println!("\nplot: {path}");
    }
    Ok(met)
}

fn measure(
    table: &Table,
    folder: &Path,
    device: &Device,
    quick: bool,
    panels: &mut Vec<Panel>,
) -> Result<bool> {
    let (rounds, commits) = match (quick, table.batch) {
        (true, _) => (1, 3),
        (false, 1) => (15, 100),
        (false, _) => (15, 10),
    };
    // Who has no batches is in the other tables.
    let subjects = table.subjects.iter();
    let subjects = subjects.filter(|subject| table.batch == 1 || subject.batches);
    let mut all = Vec::new();
    for subject in subjects {
        let kept = (subject.open)(folder)?;
        all.push((subject, kept, Vec::new()));
    }
    let mut number = 0;
    // The first is not counted: files get their room.
    for round in 0..=rounds {
        for turn in 0..all.len() {
            let len = all.len();
            let Some((_, kept, costs)) = all.get_mut((round + turn) % len) else {
                continue;
            };
            let mut done = Ok(());
            let spent = cost(device, || {
                done = repeat(kept, commits, table.batch, &mut number)
            });
            done?;
            if round > 0 {
                costs.push(spent);
            }
        }
    }
    let costs = all
        .iter()
        .map(|(subject, _, costs)| (subject.name, &costs[..]));
    Ok(report(table, commits, &costs.collect::<Vec<_>>(), panels))
}

fn repeat(kept: &mut Kept, commits: usize, batch: usize, number: &mut u64) -> Result<()> {
    for _ in 0..commits {
        let records = (0..batch).map(|_| {
            *number += 1;
            let mut record = [7; RECORD];
            record[..8].copy_from_slice(&number.to_le_bytes());
            record
        });
        kept(&records.collect::<Vec<_>>())?;
    }
    Ok(())
}

fn report(
    table: &Table,
    commits: usize,
    costs: &[(&'static str, &[Cost])],
    panels: &mut Vec<Panel>,
) -> bool {
    println!("\n{}", table.title);
    println!(
        "    {:<40}{:>10}{:>10}{:>12}{:>10}",
        "", "us", "ratio", "KiB written", "FLUSHes"
    );
    let bare = costs.iter().find(|(name, _)| kept::is_bare(name));
    let base = bare.map_or(&[][..], |(_, costs)| costs);
    let mut met = true;
    let (mut kib_bars, mut time_bars) = (Vec::new(), Vec::new());
    for (name, own) in costs {
        let pairs = own.iter().zip(base).map(|(own, base)| own.ms / base.ms);
        let ratio = median(pairs.collect());
        let Cost { ms, flushes, kib } = medians(own);
        let each = |of: f64| of / commits as f64;
        println!(
            "    {name:<40}{:>10.0}{ratio:>10.2}{:>12.1}{:>10.2}",
            each(ms) * 1e3,
            each(kib),
            each(flushes)
        );
        let bar = |value| Bar {
            label: (*name).to_owned(),
            value,
        };
        kib_bars.push(bar(each(kib)));
        time_bars.push(bar(ratio));
        if kept::is_ours(name) && table.batch == 1 {
            // Others' FLUSHes and writes leak in.
            met &= bars(each(flushes), each(kib), ratio);
        }
    }
    if table.batch == 1 {
        panels.push(Panel {
            title: format!("KiB written for {}", table.title),
            unit: " KiB",
            bars: kib_bars,
        });
        panels.push(Panel {
            title: format!(
                "time, times that of pwrite and fdatasync, for {}",
                table.title
            ),
            unit: "",
            bars: time_bars,
        });
    }
    met
}

fn bars(flushes: f64, kib: f64, ratio: f64) -> bool {
    let met = flushes <= 1.05 && kib <= KIB;
    let word = |met| if met { "met" } else { "MISSED" };
    println!("    bar: one FLUSH, at most {KIB} KiB: {}", word(met));
    let time = if ratio <= TIMES {
        "met"
    } else {
        "missed in this run"
    };
    println!("    bar: time, at most {TIMES} of the bare one: {time}");
    met
}
