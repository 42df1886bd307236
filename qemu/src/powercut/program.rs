//! `cargo qemu powercut --program`: power cuts for anybody's program. It prints a line when it has promised something; another
//! program, or the same with other arguments, judges what is there after each cut.

use std::collections::btree_map::{BTreeMap, Entry};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use oorandom::Rand32;
use rawmap_guest::job::{Check, Disk, Job, Test, say, serial};
use rawmap_guest::workload::Scenario;
use serde::{Deserialize, Serialize};

use super::log::Log;
use super::medium::{self, Medium, Sum};
use super::places::{Cut, Kind, Places};
use super::run::{self, Folder};
use crate::cache::Temporary;
use crate::disks::{self, disk};
use crate::machine::{Guest, Ready};
use crate::rows::{Filesystem, Machine, Rows};
use crate::test::program;

/// What the command line asks for.
#[derive(Debug)]
pub struct Options {
    pub machine: String,
    pub filesystem: String,
    /// The program and its arguments, and those of the one that judges.
    pub program: Vec<String>,
    pub check: Vec<String>,
    /// The power is cut after so many lines, or seconds.
    pub lines: usize,
    pub seconds: u64,
    pub seed: u64,
    pub cuts: u32,
    pub cut: Option<u32>,
    /// Mount so that nothing is flushed.
    pub no_barrier: bool,
    /// Not all may be there: of a control.
    pub must_lose: bool,
}

/// What the program said, and when: kept with the log.
#[derive(Debug, Deserialize, Serialize)]
struct Said {
    /// Entries of the log when it began.
    ready: usize,
    /// Entries of the log when a line was read.
    entries: Vec<usize>,
    lines: Vec<String>,
}

/// What became of the cuts.
#[derive(Debug, Default)]
struct Tally {
    cuts: BTreeMap<&'static str, u32>,
    images: usize,
    promised: usize,
    rescued: u32,
    refused: Vec<(Cut, String)>,
}

/// Runs the program, cuts its power, and has each cut judged. Returns whether all was as it must be.
pub fn powercut(rows: &Rows, options: &Options) -> Result<bool> {
    let machine = rows.machine(&options.machine)?;
    let filesystem = rows.filesystem(&options.filesystem)?;
    if !machine.filesystems.contains(&filesystem.name) {
        bail!("{} has no {}", machine.name, filesystem.name);
    }
    let ready = Ready::new(rows, machine)?;
    let seed = options.seed;
    println!("seed {seed:#x}");
    let folder = Folder::of_program(machine, filesystem, seed);
    let said = match options.cut {
        None => {
            let _ours = Folder::lock_seed(seed)?;
            Folder::forget_old(seed);
            work(&ready, filesystem, options, &folder)?
        }
        Some(_) => {
            let kept = folder.path().join("said.toml");
            let kept = fs::read_to_string(&kept)
                .with_context(|| format!("{}: no run of this seed is kept here", kept.display()))?;
            toml::from_str(&kept)?
        }
    };
    let tally = judge(&ready, filesystem, options, &folder, &said)?;
    Ok(report(machine, options, &said, &tally))
}

/// Runs the program until its power is cut.
fn work(
    ready: &Ready<'_>,
    filesystem: &Filesystem,
    options: &Options,
    folder: &Folder,
) -> Result<Said> {
    let machine = ready.machine;
    folder.make()?;
    let image = folder.path().join("disk");
    if !filesystem.is_flash() {
        disks::make(filesystem, &image, filesystem.mib << 20, None)?;
    }
    let (mut devices, kernel) = run::logged(machine, filesystem, &image, &folder.log(), &[])?;
    let disk_len = fs::metadata(&image)?.len();
    run::copy_sparse(&image, &folder.base())?;
    fs::write(folder.log(), "")?;
    let (mut job, shares) = program(machine, &options.program)?;
    devices.extend(shares);
    let scenario = match options.no_barrier {
        true => Scenario::NoBarrier,
        false => Scenario::Flushes,
    };
    ensure!(
        !options.no_barrier || !filesystem.barrier.is_empty(),
        "{} has no option that leaves flushes out",
        filesystem.name
    );
    job.disk = run::disk(filesystem, scenario);
    let limit = Duration::from_secs(options.seconds.saturating_add(120));
    let mut guest = ready.boot(&Job::Test(job), &kernel, &devices, limit)?;
    let mut log = Log::open(&folder.log(), disk_len)?;
    let followed = follow(&mut guest, &mut log, options);
    fs::write(folder.path().join("console"), guest.transcript())?;
    let said = guest.keep(followed)?;
    drop(guest);
    fs::remove_file(&image)?;
    fs::write(folder.path().join("said.toml"), toml::to_string(&said)?)?;
    Ok(said)
}

/// Reads what the program promises, and cuts its power while it works.
fn follow(guest: &mut Guest, log: &mut Log, options: &Options) -> Result<Said> {
    let lost = "the guest ended before its power was cut";
    while guest.line()?.context(lost)? != say::START {}
    let mut said = Said {
        ready: log.refresh()?,
        entries: Vec::new(),
        lines: Vec::new(),
    };
    let end = Instant::now() + Duration::from_secs(options.seconds);
    // A program that goes on saying something, too.
    while said.lines.len() < options.lines && Instant::now() < end {
        let Some(line) = guest.line_until(end)? else {
            break;
        };
        let line = line.context(lost)?;
        if let Some(status) = line.strip_prefix(say::EXIT) {
            // All that it had to do is done: the rest of its promises are as good as the others.
            ensure!(status == "0", "the program ended with status {status}");
            break;
        }
        if line.is_empty() {
            continue;
        }
        // Later than the promise was made, perhaps: the more is on the medium by then.
        said.entries.push(log.refresh()?);
        said.lines.push(line);
    }
    ensure!(!said.lines.is_empty(), "the program promised nothing");
    let mut random = Rand32::new(options.seed);
    std::thread::sleep(Duration::from_micros(random.rand_range(0..20_000).into()));
    guest.end();
    log.refresh()?;
    Ok(said)
}

/// Makes the images, and has a guest judge each.
fn judge(
    ready: &Ready<'_>,
    filesystem: &Filesystem,
    options: &Options,
    folder: &Folder,
    said: &Said,
) -> Result<Tally> {
    let flash = filesystem.is_flash();
    let base = fs::read(folder.base()).context("the disk before the run")?;
    let mut log = Log::open(&folder.log(), base.len() as u64)?;
    log.refresh()?;
    let places = Places::new(
        &log,
        &base,
        flash,
        filesystem.atom,
        said.ready,
        said.entries.clone(),
        options.seed,
    )?;
    let numbers = match options.cut {
        Some(number) => number..number.saturating_add(1),
        None => 0..options.cuts,
    };
    let mut cuts: Vec<_> = numbers.map(|number| Cut::new(number, &places)).collect();
    let mut medium = Medium::new(&log, base, flash, filesystem.atom);
    medium.sort(&mut cuts);
    let mut tally = Tally::default();
    let mut seen: BTreeMap<(Sum, usize), Option<String>> = BTreeMap::new();
    for cuts in cuts.chunks(if flash { 1 } else { 64 }) {
        let work = Temporary::new()?;
        let (one, all) = (work.path().join("image"), work.path().join("images"));
        let images = fs::File::create(&all)?;
        let image_len = filesystem.mib << 20;
        let (mut new, mut left) = (Vec::new(), Vec::new());
        for cut in cuts {
            let at = medium.cut(*cut, options.seed, &fs::File::create(&one)?)?;
            let entries = if flash {
                medium.durable(*cut)
            } else {
                cut.entries
            };
            let count = said
                .entries
                .partition_point(|promised| *promised <= entries);
            let key = (at.sum, count);
            left.push((*cut, key));
            if let Entry::Vacant(place) = seen.entry(key) {
                place.insert(None);
                if !flash {
                    disks::repair(&filesystem.repair, &one).with_context(|| cut.to_string())?;
                    medium::append(&one, &images, new.len() as u64 * image_len)?;
                }
                new.push(key);
            }
        }
        images.set_len(new.len() as u64 * image_len)?;
        let image = if flash { &one } else { &all };
        let counts: Vec<usize> = new.iter().map(|(_, count)| *count).collect();
        let mut judged = boot(ready, filesystem, options, said, image, &counts)?;
        // What cannot be mounted is repaired, as one does with a board that does not start.
        for (number, result) in judged.iter_mut().enumerate() {
            let is_broken = result
                .as_ref()
                .is_some_and(|why| !why.starts_with(say::JUDGED));
            if is_broken && !filesystem.rescue.is_empty() {
                let mut bytes = vec![0; usize::try_from(image_len)?];
                fs::File::open(&all)?.read_exact_at(&mut bytes, number as u64 * image_len)?;
                fs::write(&one, bytes)?;
                disks::repair(&filesystem.rescue, &one)?;
                let again = boot(
                    ready,
                    filesystem,
                    options,
                    said,
                    &one,
                    &counts[number..=number],
                )?;
                *result = again.into_iter().next().flatten();
                tally.rescued += 1;
            }
        }
        for (key, result) in new.into_iter().zip(judged) {
            seen.insert(key, result);
        }
        for (cut, key) in left {
            let kind: Kind = cut.kind;
            *tally.cuts.entry(kind.name()).or_default() += 1;
            tally.promised = tally.promised.max(key.1);
            if let Some(why) = seen.get(&key).cloned().flatten() {
                tally.refused.push((cut, why));
            }
        }
        println!(
            "{} {}: {} of {} cuts",
            ready.machine.name,
            filesystem.name,
            tally.cuts.values().sum::<u32>(),
            options.cut.map_or(options.cuts, |_| 1)
        );
    }
    let sums: std::collections::BTreeSet<Sum> = seen.keys().map(|(sum, _)| *sum).collect();
    tally.images = sums.len();
    Ok(tally)
}

/// Has a guest judge images, with so many lines each. Returns what is wrong with each.
fn boot(
    ready: &Ready<'_>,
    filesystem: &Filesystem,
    options: &Options,
    said: &Said,
    image: &Path,
    counts: &[usize],
) -> Result<Vec<Option<String>>> {
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let machine = ready.machine;
    let flash = filesystem.is_flash();
    let (mut devices, kernel) = match flash {
        true => disks::empty_flash(machine, image, None)?,
        false => (disk(machine, image, serial::IMAGES), String::new()),
    };
    let (mut test, shares): (Test, _) = program(machine, &options.check)?;
    devices.extend(shares);
    let plain = run::disk(filesystem, Scenario::Flushes);
    test.disk = match flash {
        true => plain,
        false => Disk {
            device: serial::IMAGES.to_owned(),
            ..plain
        },
    };
    let counts_of = counts.iter().map(|count| u32::try_from(*count));
    let job = Job::Check(Check {
        lines: said.lines.clone(),
        counts: counts_of.collect::<Result<_, _>>()?,
        image_len: if flash { 0 } else { filesystem.mib << 20 },
        test,
    });
    let mut guest = ready.boot(&job, &kernel, &devices, Duration::from_secs(900))?;
    let mut judged = Vec::new();
    let read = loop {
        let Some(line) = guest.line()? else {
            break Ok(());
        };
        let Some(text) = line.strip_prefix(say::IMAGE) else {
            continue;
        };
        let (number, how) = text.split_once(' ').context("an image's number")?;
        if number.parse() != Ok(judged.len()) {
            break Err(anyhow::anyhow!("the guest is at image {number}"));
        }
        judged.push((how != "ok").then(|| how.to_owned()));
    };
    let read = read.and_then(|()| {
        let (ended, of) = (judged.len(), counts.len());
        ensure!(ended == of, "the guest ended after {ended} of {of} images");
        Ok(judged)
    });
    guest.keep(read)
}

fn report(machine: &Machine, options: &Options, said: &Said, tally: &Tally) -> bool {
    let (program, filesystem) = (options.program.join(" "), &options.filesystem);
    let again = format!(
        "cargo qemu powercut {} --fs {filesystem} --program '{program}' --check '{}'{} --seed {:#x} --cut",
        machine.name,
        options.check.join(" "),
        if options.no_barrier {
            " --no-barrier"
        } else {
            ""
        },
        options.seed
    );
    // The first cut of each reason.
    let mut reasons = std::collections::BTreeSet::new();
    let new = tally.refused.iter().filter(|(_, why)| reasons.insert(why));
    for (cut, why) in new.take(10) {
        println!("{cut}: {why}\n  {again} {}", cut.number);
    }
    let kinds: Vec<_> = tally
        .cuts
        .iter()
        .map(|(kind, cuts)| format!("{cuts} {kind}"))
        .collect();
    let cuts: u32 = tally.cuts.values().sum();
    println!(
        "{} {filesystem}: {program}: {} lines; {cuts} cuts ({}), {} different images, up to {} lines promised, {} rescued, {} refused",
        machine.name,
        said.lines.len(),
        kinds.join(", "),
        tally.images,
        tally.promised,
        tally.rescued,
        tally.refused.len()
    );
    match options.must_lose {
        true => !tally.refused.is_empty(),
        false => tally.refused.is_empty(),
    }
}
