//! `cargo qemu powercut`: is what a flush said `Ok` to there after the power was cut?

mod check;
mod expected;
mod follow;
mod images;
mod log;
mod medium;
mod places;
pub mod program;
mod report;
mod run;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rawmap_guest::workload::Scenario;

use crate::machine::Ready;
use crate::rows::{Filesystem, Machine, Rows};
use check::Checker;
use expected::Expected;
use images::Images;
use log::Log;
use medium::Medium;
use places::{Cut, Places};
use report::{Asked, Outcome, Report};
use run::{Folder, title};
use tally::Tally;

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
    /// Fewer cuts of flushes than that are a failure, and so are fewer different images of these than seven of ten.
    pub at_least: u64,
}

impl Options {
    /// What there has to be: as expected.toml says, and not as the rows do.
    fn asked(&self, rows: &Rows, machines: &[&Machine], expected: &Expected) -> Result<Asked> {
        let mut runs = BTreeSet::new();
        for machine in machines {
            let names: Vec<&str> = match &self.filesystems[..] {
                [] if self.all => Vec::new(),
                [] => rows.default_filesystems(),
                names => names.iter().map(|name| &**name).collect(),
            };
            let of_machine = expected.runs(&machine.name, &names).into_iter();
            let chosen = |scenario| self.scenarios.is_empty() || self.scenarios.contains(&scenario);
            runs.extend(of_machine.filter(|(_, _, scenario)| chosen(*scenario)));
        }
        Ok(Asked {
            runs,
            cuts: self.at_least,
            images: self.at_least * 7 / 10,
        })
    }
}

/// Runs all that is asked for. Gives whether all was as it must be.
pub fn powercut(rows: &Rows, options: &Options) -> Result<bool> {
    let machines = rows.machines(&options.target)?;
    for name in &options.filesystems {
        rows.filesystem(name)?;
    }
    let mut work = Vec::new();
    // What takes long comes first.
    for machine in &machines {
        for name in &machine.filesystems {
            let filesystem = rows.filesystem(name)?;
            let chosen = match &options.filesystems[..] {
                [] => options.all || filesystem.default,
                names => names.contains(name),
            };
            if chosen {
                work.push((*machine, filesystem));
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
    let expected = Expected::read()?;
    expected.compare(rows)?;
    let asked = match options.cut {
        None => Some(options.asked(rows, &machines, &expected)?),
        Some(_) => None,
    };
    let report = Mutex::new(Report::new(expected, asked));
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
    let report = report
        .into_inner()
        .map_err(|_| anyhow!("a worker panicked"))?;
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
        let Ok(mut report) = report.lock() else {
            return;
        };
        let is_wrong = match found {
            Ok(outcome) => report.add(outcome),
            Err(error) => {
                let title = title(ready.machine, filesystem, scenario);
                report.fail(format!("{title}: {error:#}"));
                true
            }
        };
        if is_wrong && options.cut.is_none() {
            Folder::of(ready.machine, filesystem, scenario, options.seed).set_failed();
        }
    }
}

/// How many cuts a scenario gets, where the flushes get so many. Flash gets a quarter: each image takes a boot. The controls
/// have few places, and each of them has to lose.
fn cuts_of(scenario: Scenario, filesystem: &Filesystem, cuts: u32) -> u32 {
    let of_disks = match scenario {
        Scenario::Flushes => cuts,
        Scenario::Controls => (cuts / 4).max(40),
        _ => (cuts / 4).max(16),
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
) -> Result<Outcome> {
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
    let places = Places::new(&log, &base, flash, filesystem.atom, run.ready, acks, seed)?;
    let numbers = match options.cut {
        Some(number) => number..number.saturating_add(1),
        None => 0..cuts_of(scenario, filesystem, options.cuts),
    };
    let mut cuts: Vec<_> = numbers.map(|number| Cut::new(number, &places)).collect();
    let mut medium = Medium::new(&log, base, flash, filesystem.atom);
    medium.sort(&mut cuts);
    let mut checker = Checker::new(&run);
    let mut tally = Tally::new(&run);
    let mut images = Images::new(ready, filesystem, &run);
    // An image of flash takes a boot of its own.
    let batch = if flash { 1 } else { 128 };
    for cuts in cuts.chunks(batch) {
        let all_left = images.read(&mut medium, cuts)?;
        for (cut, left) in cuts.iter().zip(all_left) {
            // The program that tears was under way: what waited for it was not acknowledged.
            checker.advance(if flash {
                medium.durable(*cut)
            } else {
                cut.entries
            });
            let files = images.files(&left.sum);
            let is_rescued = images.is_rescued(&left.sum);
            tally.take(&checker, *cut, &left, files, is_rescued);
        }
        if !flash {
            println!(
                "{}: {} of {} cuts",
                title(ready.machine, filesystem, scenario),
                tally.cuts(),
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
    // To the end of the run, wherever the last cut was.
    checker.advance(usize::MAX);
    Ok(tally.outcome(ready.machine, filesystem, &run, &checker, &command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_was_chosen() {
        let (rows, expected) = (Rows::read().unwrap(), Expected::read().unwrap());
        let options = |all, filesystems: &[&str], scenarios: &[Scenario]| Options {
            target: "armv7".to_owned(),
            filesystems: filesystems.iter().map(|&name| name.to_owned()).collect(),
            all,
            scenarios: scenarios.to_vec(),
            seed: 1,
            cuts: 64,
            cut: None,
            jobs: 1,
            table: None,
            at_least: 500,
        };
        let asked = |options: Options, machines: &str| {
            let machines = rows.machines(machines).unwrap();
            options.asked(&rows, &machines, &expected).unwrap()
        };
        let default = asked(options(false, &[], &[]), "armv7");
        // ext4 has five scenarios, vfat two.
        assert_eq!(
            (default.runs.len(), default.cuts, default.images),
            (7, 500, 350)
        );
        assert!(asked(options(true, &[], &[]), "armv7").runs.len() > 15);
        assert_eq!(asked(options(false, &["f2fs"], &[]), "armv7").runs.len(), 4);
        let flushes = options(false, &[], &[Scenario::Flushes]);
        assert_eq!(asked(flushes, "armv7").runs.len(), 2);
        // vfat is not on all.
        assert_eq!(
            asked(options(false, &[], &[]), "armv7 armv7-lpae")
                .runs
                .len(),
            12
        );
    }
}
