//! `cargo qemu powercut`: is what a flush said `Ok` to there after the power was cut?

mod check;
mod cuts;
mod images;
mod log;
mod report;
mod run;

use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail, ensure};
use rawmap_guest::workload::{Scenario, Style};

use crate::machine::Ready;
use crate::rows::{Filesystem, Machine, Rows};
use check::Checker;
use cuts::{Cut, Medium, Places};
use images::Images;
use log::Log;
use report::{Report, Row};
use run::{Folder, Run, title};

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
    let _ours = match options.cut {
        None => Some(Folder::lock_seed(options.seed)?),
        Some(_) => None,
    };
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
        let bad = |rows: &Vec<Row>| {
            let must_lose = scenario == Scenario::NoBarrier;
            rows.iter().any(|row| row.wrong().is_some())
                || must_lose && rows.iter().all(|row| row.lost == 0)
        };
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

/// How many cuts a scenario gets, where the flushes get so many. Flash gets a quarter: each image takes a boot.
fn cuts_of(scenario: Scenario, filesystem: &Filesystem, cuts: u32) -> u32 {
    let of_disks = match scenario {
        Scenario::Flushes => cuts,
        _ => (cuts / 4).max(8),
    };
    match filesystem.is_flash() {
        true => (of_disks / 4).max(8),
        false => of_disks,
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
    let flash = filesystem.is_flash();
    let base = fs::read(folder.base()).context("the disk before the run")?;
    let mut log = Log::open(&folder.log(), base.len() as u64)?;
    log.refresh()?;
    let acks = run.acks.iter().map(|ack| ack.entries).collect();
    let places = Places::new(&log, flash, run.ready, acks);
    let numbers = match options.cut {
        Some(number) => number..number.saturating_add(1),
        None => 0..cuts_of(scenario, filesystem, options.cuts),
    };
    let mut cuts: Vec<_> = numbers
        .map(|number| Cut::new(seed, number, &places))
        .collect();
    let mut medium = Medium::new(&log, base, flash, filesystem.atom);
    medium.sort(&mut cuts);
    let mut checker = Checker::new(&run);
    let mut tally = Tally::new(&run);
    let mut images = Images::new(ready, filesystem, &run);
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
            tally.take(&checker, *cut, images.files(&sum));
        }
        if !flash {
            println!(
                "{}: {} of {} cuts",
                title(ready.machine, filesystem, scenario),
                tally.cuts,
                cuts_of(scenario, filesystem, options.cuts)
            );
        }
    }
    let command = format!(
        "cargo qemu powercut {} --fs {} --scenario {} --seed {seed:#x} --cut",
        ready.machine.name,
        filesystem.name,
        scenario.name()
    );
    tally.images = images.different();
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
    fn take(&mut self, checker: &Checker<'_>, cut: Cut, pieces: Option<&[Rc<[u8]>]>) {
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
