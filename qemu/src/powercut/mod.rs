//! `cargo qemu powercut`: is what a flush said `Ok` to there after the power was cut?

mod check;
mod cuts;
mod log;
mod report;
mod run;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rawmap_guest::job::{Disk, Job, Piece, SLOT_HEAD, Verify, say};
use rawmap_guest::workload::{Scenario, Style};

use crate::cache::Temporary;
use crate::disks;
use crate::machine::{Guest, Ready, disk};
use crate::rows::{Filesystem, Machine, Rows};
use check::Checker;
use cuts::{Cut, Medium, Places};
use log::Log;
use report::{Report, Row};
use run::{Folder, Run};

/// What the command line asks for.
#[derive(Debug)]
pub struct Options {
    pub target: String,
    /// Names of file systems; none are all that a machine has, of the default ones unless `all`.
    pub filesystems: Vec<String>,
    pub all: bool,
    /// None are all.
    pub scenarios: Vec<Scenario>,
    pub seed: u64,
    /// Of the flushes; other scenarios get a part of that.
    pub cuts: u32,
    /// Only this one.
    pub cut: Option<u32>,
    pub jobs: usize,
    pub table: Option<std::path::PathBuf>,
    /// Fewer cuts of flushes than that are a failure.
    pub at_least: u64,
}

/// Runs all that is asked for. Gives whether all was as it must be.
pub fn powercut(rows: &Rows, options: &Options) -> Result<bool> {
    let machines = rows.machines(&options.target)?;
    for name in &options.filesystems {
        rows.filesystem(name)?;
    }
    let mut work = Vec::new();
    // What takes long comes first.
    for machine in machines {
        for name in &machine.filesystems {
            let filesystem = rows.filesystem(name)?;
            let chosen = match &options.filesystems[..] {
                [] => options.all || filesystem.default,
                names => names.contains(name),
            };
            if chosen {
                work.push((machine, filesystem));
            }
        }
    }
    if work.is_empty() {
        let names = options.filesystems.join(" ");
        bail!("{} has none of these file systems: {names}", options.target);
    }
    // Once, and not by each worker.
    let mut ready = BTreeMap::new();
    for (machine, _) in &work {
        if !ready.contains_key(&machine.name) {
            ready.insert(&machine.name, Ready::new(rows, machine)?);
        }
    }
    println!("seed {:#x}", options.seed);
    if options.cut.is_none() {
        Folder::forget_old(options.seed);
    }
    let queue = Mutex::new(work.into_iter());
    let report = Mutex::new(Report::new(options.cut.is_some(), options.at_least));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1))
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().map_or(None, |mut queue| queue.next());
                        let Some((machine, filesystem)) = next else {
                            return;
                        };
                        one(&ready[&machine.name], filesystem, options, &report);
                    }
                })
            })
            .collect();
        let ended = workers.into_iter().map(|worker| worker.join().is_ok());
        // All of them, so that the scope has none to join.
        let ended: Vec<bool> = ended.collect();
        ensure!(ended.into_iter().all(|ok| ok), "a worker panicked");
        Ok(())
    })?;
    let report = report.into_inner().unwrap_or_default();
    report.print();
    if let Some(path) = &options.table {
        fs::write(path, report.markdown()).with_context(|| path.display().to_string())?;
    }
    Ok(report.is_good())
}

/// All scenarios of a machine and a file system. One that cannot be run to its end is a failure of its own.
fn one(ready: &Ready<'_>, filesystem: &Filesystem, options: &Options, report: &Mutex<Report>) {
    for scenario in Scenario::ALL {
        let chosen = options.scenarios.is_empty() || options.scenarios.contains(&scenario);
        if !chosen || !run::is_possible(filesystem, scenario) {
            continue;
        }
        let found = cut_scenario(ready, filesystem, scenario, options);
        let bad = |rows: &Vec<Row>| rows.iter().any(|row| row.wrong().is_some());
        if options.cut.is_none() && found.as_ref().map_or(true, bad) {
            Folder::of(ready.machine, filesystem, scenario, options.seed).set_failed();
        }
        let Ok(mut report) = report.lock() else {
            return;
        };
        match found {
            Ok(rows) => report.add(rows),
            Err(error) => {
                let title = title(ready.machine, filesystem, scenario);
                report.fail(format!("{title}: {error:#}"));
            }
        }
    }
}

/// For messages.
fn title(machine: &Machine, filesystem: &Filesystem, scenario: Scenario) -> String {
    format!("{} {} {}", machine.name, filesystem.name, scenario.name())
}

/// How many cuts a scenario gets, where the flushes get so many.
fn cuts_of(scenario: Scenario, cuts: u32) -> u32 {
    match scenario {
        Scenario::Flushes => cuts,
        _ => (cuts / 4).max(8),
    }
}

fn cut_scenario(
    ready: &Ready<'_>,
    filesystem: &Filesystem,
    scenario: Scenario,
    options: &Options,
) -> Result<Vec<Row>> {
    let seed = options.seed;
    let folder = Folder::of(ready.machine, filesystem, scenario, seed);
    let kept = options.cut.and_then(|_| folder.kept());
    let run = match kept {
        Some(run) => run,
        None => {
            if options.cut.is_some() {
                println!(
                    "no run of this seed is kept here: the same steps again, at other times of the kernel's"
                );
            }
            run::run(ready, filesystem, scenario, seed)?
        }
    };
    let flash = filesystem.kind == "ubifs";
    let base = fs::read(folder.base()).context("the disk before the run")?;
    let mut log = Log::open(&folder.log(), base.len() as u64)?;
    log.refresh()?;
    let acks = run.acks.iter().map(|ack| ack.entries).collect();
    let places = Places::new(&log, flash, run.ready, acks);
    let numbers = match options.cut {
        Some(number) => number..number.saturating_add(1),
        None => 0..cuts_of(scenario, options.cuts),
    };
    let mut cuts: Vec<_> = numbers
        .map(|number| Cut::new(seed, number, &places))
        .collect();
    let mut medium = Medium::new(&log, base, flash, filesystem.atom);
    medium.sort(&mut cuts);
    let mut checker = Checker::new(&run);
    let mut tally = Tally::new(&run);
    let mut images = Images {
        ready,
        filesystem,
        run: &run,
        read: BTreeMap::new(),
    };
    // An image of flash takes a boot of its own.
    let batch = if flash { 1 } else { 128 };
    for cuts in cuts.chunks(batch) {
        let sums = images.read(&mut medium, cuts)?;
        for (cut, sum) in cuts.iter().zip(sums) {
            // The program that tears was under way: what waited for it was not acknowledged.
            checker.advance(if flash {
                medium.durable(*cut)
            } else {
                cut.entries
            });
            tally.take(&checker, *cut, images.read[&sum].as_deref());
        }
        if !flash {
            println!(
                "{}: {} of {} cuts",
                title(ready.machine, filesystem, scenario),
                tally.cuts,
                cuts_of(scenario, options.cuts)
            );
        }
    }
    let command = format!(
        "cargo qemu powercut {} --fs {} --scenario {} --seed {seed:#x} --cut",
        ready.machine.name,
        filesystem.name,
        scenario.name()
    );
    tally.images = images.read.len();
    let rows = tally.rows(ready.machine, filesystem, &run, &command);
    Ok(rows)
}

/// Counts of a run, by style.
struct Tally {
    cuts: u32,
    /// Different ones.
    images: usize,
    styles: BTreeMap<Style, Count>,
    unreadable: Vec<Cut>,
}

#[derive(Default)]
struct Count {
    acked: u32,
    checked: u64,
    lost: u64,
    cuts: Vec<(Cut, Vec<u32>)>,
}

impl Tally {
    fn new(run: &Run) -> Self {
        let styles = run.scenario.styles(run.large_files).into_iter();
        Self {
            cuts: 0,
            images: 0,
            styles: styles.map(|style| (style, Count::default())).collect(),
            unreadable: Vec::new(),
        }
    }

    /// The files as a cut left them, in the order of the styles; `None` where the image could not be mounted.
    fn take(&mut self, checker: &Checker<'_>, cut: Cut, pieces: Option<&[Vec<u8>]>) {
        self.cuts += 1;
        let Some(pieces) = pieces else {
            self.unreadable.push(cut);
            return;
        };
        for ((style, count), medium) in self.styles.iter_mut().zip(pieces) {
            let found = checker.check(*style, medium);
            count.acked = count.acked.max(found.acked);
            count.checked += u64::from(found.acked);
            count.lost += found.lost.len() as u64;
            if !found.lost.is_empty() {
                count.cuts.push((cut, found.lost.into_iter().collect()));
            }
        }
    }

    fn rows(
        self,
        machine: &Machine,
        filesystem: &Filesystem,
        run: &Run,
        command: &str,
    ) -> Vec<Row> {
        let unreadable = &self.unreadable;
        let row = |(style, count): (Style, Count)| {
            let first = count.cuts.first().map(|(cut, lost)| {
                format!("{cut}: steps {lost:?}; again: {command} {}", cut.number)
            });
            let first = first.or_else(|| {
                let cut = unreadable.first()?;
                Some(format!(
                    "{cut}: not to be mounted; again: {command} {}",
                    cut.number
                ))
            });
            Row {
                machine: machine.name.clone(),
                kernel: run.kernel.clone(),
                page: run.page,
                filesystem: filesystem.name.clone(),
                scenario: run.scenario,
                style,
                cuts: self.cuts,
                images: self.images as u64,
                acked: count.acked,
                checked: count.checked,
                lost: count.lost,
                unreadable: unreadable.len(),
                full: run.acks.iter().any(|ack| ack.full),
                says: run.says.clone(),
                first,
            }
        };
        self.styles.into_iter().map(row).collect()
    }
}

/// Images of one run, and how they are read.
struct Images<'a> {
    ready: &'a Ready<'a>,
    filesystem: &'a Filesystem,
    run: &'a Run,
    /// The files of each, by the image's checksum; `None` for one that could not be mounted.
    read: BTreeMap<u32, Option<Pieces>>,
}

/// The files of an image, in the order of the styles.
type Pieces = Vec<Vec<u8>>;

impl Images<'_> {
    /// Whether images that cannot be read are nothing to tell of.
    fn must_break(&self) -> bool {
        self.run.scenario == Scenario::NoBarrier
    }

    /// Makes the images of these cuts and has a guest read those that were not read yet: the kernel that wrote
    /// them repairs them. Gives the images' checksums.
    fn read(&mut self, medium: &mut Medium<'_>, cuts: &[Cut]) -> Result<Vec<u32>> {
        let folder = Temporary::new()?;
        let (one, all) = (folder.path().join("image"), folder.path().join("images"));
        let flash = self.filesystem.kind == "ubifs";
        let image_len = self.filesystem.mib << 20;
        let file = fs::File::create(&all)?;
        let (mut sums, mut new) = (Vec::new(), Vec::new());
        for cut in cuts {
            let sum = medium.cut(*cut, self.run.seed, &fs::File::create(&one)?)?;
            sums.push(sum);
            if self.read.contains_key(&sum) {
                continue;
            }
            self.read.insert(sum, None);
            if !flash {
                disks::repair(&self.filesystem.repair, &one).with_context(|| cut.to_string())?;
                cuts::append(&one, &file, new.len() as u64 * image_len)?;
            }
            new.push((*cut, sum));
        }
        if new.is_empty() {
            return Ok(sums);
        }
        file.set_len(new.len() as u64 * image_len)?;
        let (new, new_sums): (Vec<_>, Vec<_>) = new.into_iter().unzip();
        let mut media = self.boot(if flash { &one } else { &all }, new.len())?;
        if !self.filesystem.rescue.is_empty() {
            self.rescue(&all, &new, &mut media)?;
        }
        self.read.extend(new_sums.into_iter().zip(media));
        Ok(sums)
    }

    /// Has what could not be read repaired, as one does with a board that does not start, and read again.
    fn rescue(&self, image: &Path, cuts: &[Cut], media: &mut [Option<Pieces>]) -> Result<()> {
        let broken = media
            .iter()
            .enumerate()
            .filter(|(_, pieces)| pieces.is_none());
        let broken: Vec<usize> = broken.map(|(number, _)| number).collect();
        if broken.is_empty() {
            return Ok(());
        }
        let image_len = self.filesystem.mib << 20;
        let folder = Temporary::new()?;
        let (one, again) = (folder.path().join("image"), folder.path().join("images"));
        let from = fs::File::open(image)?;
        let all = fs::File::create(&again)?;
        all.set_len(broken.len() as u64 * image_len)?;
        for (place, number) in (0..).zip(&broken) {
            let mut bytes = vec![0; usize::try_from(image_len)?];
            from.read_exact_at(&mut bytes, *number as u64 * image_len)?;
            fs::write(&one, bytes)?;
            let cut = cuts[*number];
            disks::repair(&self.filesystem.rescue, &one).with_context(|| cut.to_string())?;
            if !self.must_break() {
                let title = title(self.ready.machine, self.filesystem, self.run.scenario);
                let rescue = self.filesystem.rescue.join(" ");
                println!("{title}: {cut}: repaired by {rescue}");
            }
            cuts::append(&one, &all, place * image_len)?;
        }
        for (number, pieces) in broken.iter().zip(self.boot(&again, broken.len())?) {
            media[*number] = pieces;
        }
        Ok(())
    }

    /// Has a guest read so many images.
    fn boot(&self, image: &Path, count: usize) -> Result<Vec<Option<Pieces>>> {
        let machine = self.ready.machine;
        let flash = self.filesystem.kind == "ubifs";
        let image_len = self.filesystem.mib << 20;
        let folder = Temporary::new()?;
        let results = folder.path().join("results");
        let mut styles = self.run.scenario.styles(self.run.large_files);
        styles.sort();
        let files: Vec<Piece> = styles
            .iter()
            .map(|style| style.piece(self.run.page))
            .collect();
        let per_image: usize = files.iter().map(Piece::slot).sum();
        fs::File::create(&results)?.set_len((count * per_image) as u64)?;
        let (mut devices, kernel_arguments) = match flash {
            true => disks::empty_flash(machine, image, None)?,
            false => (disk(image, 0), String::new()),
        };
        let letter = if flash { "a" } else { "b" };
        devices.extend(disk(&results, 1));
        let plain = run::disk(self.filesystem, Scenario::Flushes);
        let job = Verify {
            disk: Disk {
                device: if flash {
                    plain.device.clone()
                } else {
                    "/dev/vda".to_owned()
                },
                ..plain
            },
            images: u32::try_from(count)?,
            partitions: !flash,
            image_len,
            files: files.clone(),
            results: format!("/dev/vd{letter}"),
        };
        let limit = Duration::from_secs(600);
        let job = Job::Verify(job);
        let mut guest = self.ready.boot(&job, &kernel_arguments, &devices, limit)?;
        let read = read_images(&mut guest, count, self.must_break());
        let read = guest.keep(read)?;
        drop(guest);
        let bytes = |number: usize| pieces(&results, number * per_image, &files);
        let media = read.into_iter().enumerate();
        media
            .map(|(number, ok)| ok.then(|| bytes(number)).transpose())
            .collect()
    }
}

/// Waits for the guest to have read all images. Tells of each whether it could.
fn read_images(guest: &mut Guest, count: usize, quiet: bool) -> Result<Vec<bool>> {
    let mut read = vec![None; count];
    while let Some(line) = guest.line()? {
        if let Some(text) = line.strip_prefix(say::IMAGE) {
            let (number, how) = text.split_once(' ').context("an image's number")?;
            let number: usize = number.parse()?;
            if how != "ok" && !quiet {
                println!("image {number}: {how}");
            }
            *read.get_mut(number).context("an image's number")? = Some(how == "ok");
        }
    }
    let all: Option<Vec<bool>> = read.into_iter().collect();
    all.context("the guest ended before it had read all images")
}

fn pieces(results: &Path, start: usize, files: &[Piece]) -> Result<Pieces> {
    let file = fs::File::open(results)?;
    let mut at = start as u64;
    let mut pieces = Vec::new();
    for piece in files {
        // Where the file is shorter there are zeros, as in a new page of it.
        let mut bytes = vec![0; piece.len];
        file.read_exact_at(&mut bytes, at + SLOT_HEAD as u64)?;
        pieces.push(bytes);
        at += piece.slot() as u64;
    }
    Ok(pieces)
}
