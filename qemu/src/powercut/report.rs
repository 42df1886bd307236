//! What the cuts found, as lines and as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rawmap_guest::workload::{Scenario, Style};

/// One style of one run.
#[derive(Debug)]
pub struct Row {
    pub machine: String,
    pub kernel: String,
    pub page: usize,
    pub filesystem: String,
    pub scenario: Scenario,
    pub style: Style,
    pub cuts: u32,
    /// Steps that were acknowledged.
    pub acked: u32,
    /// Acknowledgements that had to hold, over all cuts.
    pub checked: u64,
    /// Of these, broken ones.
    pub lost: u64,
    /// Images that could not be mounted.
    pub unreadable: usize,
    /// Whether a step found the disk full.
    pub full: bool,
    pub says: Vec<String>,
    /// The first cut that lost, and how to see it again.
    pub first: Option<String>,
}

impl Row {
    /// What is wrong with it, if anything. Without a flush of the device it is enough that some style loses.
    fn wrong(&self) -> Option<String> {
        if self.scenario == Scenario::NoBarrier {
            return None;
        }
        if self.style.is_control() {
            return (self.lost == 0).then(|| "the control lost nothing".to_owned());
        }
        if self.unreadable > 0 {
            return Some(format!("{} images could not be mounted", self.unreadable));
        }
        if self.lost > 0 {
            return Some(format!("lost {} acknowledgements", self.lost));
        }
        if self.acked == 0 {
            return Some("nothing was acknowledged".to_owned());
        }
        let said = |what: &str| self.says.iter().any(|line| line.contains(what));
        match self.style {
            Style::Fill if !self.full => Some("the disk was never full".to_owned()),
            Style::Retry if !said("flush_range:") => Some("no flush failed".to_owned()),
            Style::Retry if said("flush again: Ok") => Some("the failure was forgotten".to_owned()),
            Style::Retry if !said("retry_flush: Ok") => Some("no retry".to_owned()),
            _ => None,
        }
    }

    fn is_good_scenario(&self) -> bool {
        !matches!(self.scenario, Scenario::Controls | Scenario::NoBarrier)
            && !self.style.is_control()
    }
}

/// All rows.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    /// Runs that could not be made or read, and why.
    errors: Vec<String>,
}

impl Report {
    /// Adds a run's, and tells of it.
    pub fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
        self.rows.sort_by(|a, b| {
            let key = |row: &Row| {
                (
                    row.machine.clone(),
                    row.filesystem.clone(),
                    row.scenario,
                    row.style,
                )
            };
            key(a).cmp(&key(b))
        });
    }

    /// Adds a run that came to nothing, and tells of it at once.
    pub fn fail(&mut self, why: String) {
        eprintln!("FAILED: {why}");
        self.errors.push(why);
    }

    /// Runs without device flushes that lost nothing.
    fn lossless(&self) -> Vec<String> {
        let mut lost: BTreeMap<String, u64> = BTreeMap::new();
        for row in &self.rows {
            if row.scenario == Scenario::NoBarrier {
                let name = format!("{} {}", row.machine, row.filesystem);
                *lost.entry(name).or_default() += row.lost + row.unreadable as u64;
            }
        }
        let none = lost.into_iter().filter(|(_, lost)| *lost == 0);
        none.map(|(name, _)| name).collect()
    }

    /// Whether all is as it must be. Of a single cut no control is asked to lose.
    pub fn is_good(&self, single: bool) -> bool {
        self.failures(single) == 0
    }

    fn failures(&self, single: bool) -> usize {
        if single {
            let lost = |row: &&Row| row.lost > 0 || row.unreadable > 0;
            return self.rows.iter().filter(lost).count() + self.errors.len();
        }
        let wrong = self.rows.iter().filter(|row| row.wrong().is_some()).count();
        wrong + self.lossless().len() + self.errors.len()
    }

    /// Prints a line for each, and the sums.
    pub fn print(&self, single: bool) {
        println!(
            "{:<14} {:<15} {:<10} {:<11} {:>6} {:>6} {:>8} {:>7}",
            "machine", "file system", "scenario", "style", "cuts", "acks", "checked", "lost"
        );
        for row in &self.rows {
            println!(
                "{:<14} {:<15} {:<10} {:<11} {:>6} {:>6} {:>8} {:>7}",
                row.machine,
                row.filesystem,
                row.scenario.name(),
                row.style.name(),
                row.cuts,
                row.acked,
                row.checked,
                row.lost
            );
            if single && let Some(first) = &row.first {
                println!("    {first}");
            } else if !single && let Some(wrong) = row.wrong() {
                let first = row.first.as_deref().unwrap_or_default();
                println!("    FAILED: {wrong}. {first}");
            }
        }
        let mut says: Vec<_> = self
            .rows
            .iter()
            .flat_map(|row| row.says.iter().map(move |line| (row, line)))
            .map(|(row, line)| format!("{} {}: {line}", row.machine, row.scenario.name()))
            .collect();
        says.sort();
        says.dedup();
        says.iter().for_each(|line| println!("said: {line}"));
        for error in &self.errors {
            println!("    FAILED: {error}");
        }
        if single {
            return;
        }
        for name in self.lossless() {
            println!("    FAILED: {name} without device flushes lost nothing");
        }
        let [cuts, checked, lost] = self.sums(Row::is_good_scenario);
        println!("flushes: {cuts} cuts, {checked} acknowledgements checked, {lost} lost");
        let [cuts, checked, lost] = self.sums(|row| !row.is_good_scenario());
        println!("controls: {cuts} cuts, {checked} acknowledgements checked, {lost} lost");
        let failed = self.failures(single);
        let passed = self.rows.iter().filter(|row| row.wrong().is_none()).count();
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        println!("test result: {verdict}. {passed} passed; {failed} failed");
    }

    /// Cuts, acknowledgements and losses of some rows. A cut counts once for all styles of its run.
    fn sums(&self, which: impl Fn(&Row) -> bool) -> [u64; 3] {
        let mut runs = BTreeMap::new();
        let (mut checked, mut lost) = (0, 0);
        for row in self.rows.iter().filter(|row| which(row)) {
            runs.insert(
                (&row.machine, &row.filesystem, row.scenario),
                u64::from(row.cuts),
            );
            checked += row.checked;
            lost += row.lost;
        }
        [runs.values().sum(), checked, lost]
    }

    /// The table for the docs.
    pub fn markdown(&self) -> String {
        let mut runs: BTreeMap<_, [u64; 3]> = BTreeMap::new();
        for row in &self.rows {
            let control = !row.is_good_scenario();
            let key = (
                &row.machine,
                &row.kernel,
                row.page,
                &row.filesystem,
                control,
                row.scenario,
            );
            let sums = runs.entry(key).or_default();
            sums[0] = u64::from(row.cuts);
            sums[1] += row.checked;
            sums[2] += row.lost;
        }
        let mut text = String::from(
            "| machine | Linux | page | file system | run | cuts | acknowledgements checked | lost |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for ((machine, kernel, page, filesystem, control, scenario), [cuts, checked, lost]) in runs
        {
            let control = if control && scenario == Scenario::BadBlock {
                ", msync(2) twice (control)"
            } else if control {
                " (must lose)"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "| {machine} | {kernel} | {} KiB | {filesystem} | {}{control} | {cuts} | {checked} | {lost} |",
                page / 1024,
                scenario.name(),
            );
        }
        let [cuts, checked, lost] = self.sums(Row::is_good_scenario);
        let _ = writeln!(
            text,
            "\nTogether: {cuts} cuts of flushes, {checked} acknowledgements checked, {lost} lost."
        );
        text
    }
}
