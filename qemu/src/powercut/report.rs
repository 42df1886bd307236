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
    /// Different images among these.
    pub images: u64,
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
    pub fn wrong(&self) -> Option<String> {
        if self.scenario == Scenario::NoBarrier {
            return None;
        }
        if self.unreadable > 0 {
            return Some(format!("{} images could not be read", self.unreadable));
        }
        if self.style.is_control() {
            return (self.lost == 0).then(|| "the control lost nothing".to_owned());
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
    /// It is about one cut: no control is asked to lose.
    single: bool,
    /// Fewer cuts of flushes are a failure.
    at_least: u64,
}

impl Report {
    /// An empty one.
    pub fn new(single: bool, at_least: u64) -> Self {
        Self {
            single,
            at_least,
            ..Self::default()
        }
    }

    /// Adds a run's.
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
                *lost.entry(name).or_default() += row.lost;
            }
        }
        let none = lost.into_iter().filter(|(_, lost)| *lost == 0);
        none.map(|(name, _)| name).collect()
    }

    /// Whether all is as it must be.
    pub fn is_good(&self) -> bool {
        self.failures() == 0
    }

    fn failures(&self) -> usize {
        let wrong = |row: &&Row| match self.single {
            true => row.lost > 0 || row.unreadable > 0,
            false => row.wrong().is_some(),
        };
        let rows = self.rows.iter().filter(wrong).count() + self.errors.len();
        match self.single {
            true => rows + usize::from(self.rows.is_empty()),
            false => rows + self.lossless().len() + usize::from(self.too_few().is_some()),
        }
    }

    /// What is wrong with the number of cuts, if anything.
    fn too_few(&self) -> Option<String> {
        if self.rows.is_empty() {
            return Some("nothing was run: no such scenario on these file systems".to_owned());
        }
        let [cuts, ..] = self.sums(Row::is_good_scenario);
        (cuts < self.at_least).then(|| format!("{cuts} cuts of flushes, not {}", self.at_least))
    }

    /// Prints a line for each, and the sums.
    pub fn print(&self) {
        let single = self.single;
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
            } else if single && row.checked == 0 {
                println!(
                    "    before the first acknowledgement: nothing to check but that it can be read"
                );
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
        if let Some(few) = self.too_few() {
            println!("    FAILED: {few}");
        }
        let [cuts, images, checked, lost] = self.sums(Row::is_good_scenario);
        println!(
            "flushes: {cuts} cuts, {images} different images, {checked} acknowledgements checked, {lost} lost"
        );
        let [cuts, images, checked, lost] = self.sums(|row| !row.is_good_scenario());
        println!(
            "controls: {cuts} cuts, {images} different images, {checked} acknowledgements checked, {lost} lost"
        );
        let failed = self.failures();
        let passed = self.rows.iter().filter(|row| row.wrong().is_none()).count();
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        println!("test result: {verdict}. {passed} passed; {failed} failed");
    }

    /// Cuts, acknowledgements and losses of some rows. A cut counts once for all styles of its run.
    fn sums(&self, which: impl Fn(&Row) -> bool) -> [u64; 4] {
        let mut runs = BTreeMap::new();
        let (mut checked, mut lost) = (0, 0);
        for row in self.rows.iter().filter(|row| which(row)) {
            runs.insert(
                (&row.machine, &row.filesystem, row.scenario),
                (u64::from(row.cuts), row.images),
            );
            checked += row.checked;
            lost += row.lost;
        }
        let cuts = runs.values().map(|(cuts, _)| cuts).sum();
        let images = runs.values().map(|(_, images)| images).sum();
        [cuts, images, checked, lost]
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
        let [cuts, images, checked, lost] = self.sums(Row::is_good_scenario);
        let _ = writeln!(
            text,
            "\nTogether: {cuts} cuts of flushes, {images} different images, {checked} acknowledgements checked, {lost} lost."
        );
        let failures = self.failures();
        if failures > 0 {
            let _ = writeln!(text, "\n**{failures} rows failed.**\n");
        }
        for row in &self.rows {
            if let Some(wrong) = row.wrong() {
                let (machine, filesystem) = (&row.machine, &row.filesystem);
                let (scenario, style) = (row.scenario.name(), row.style.name());
                let _ = writeln!(text, "- {machine} {filesystem} {scenario} {style}: {wrong}");
            }
        }
        for error in &self.errors {
            let _ = writeln!(text, "- {}", error.lines().next().unwrap_or_default());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(scenario: Scenario, style: Style) -> Row {
        Row {
            machine: "m".to_owned(),
            kernel: "k".to_owned(),
            page: 4096,
            filesystem: "f".to_owned(),
            scenario,
            style,
            cuts: 64,
            images: 60,
            acked: 10,
            checked: 500,
            lost: 0,
            unreadable: 0,
            full: false,
            says: Vec::new(),
            first: None,
        }
    }

    fn good(single: bool, at_least: u64, rows: Vec<Row>) -> bool {
        let mut report = Report::new(single, at_least);
        report.add(rows);
        report.is_good()
    }

    #[test]
    fn what_must_not_be_fails_and_what_must_be_passes() {
        let flushes = || row(Scenario::Flushes, Style::Range);
        let control = || row(Scenario::Controls, Style::Nothing);
        let bare = || row(Scenario::NoBarrier, Style::Range);
        let one = |row: Row| good(false, 0, vec![row]);
        assert!(one(flushes()));
        assert!(!one(Row {
            lost: 1,
            ..flushes()
        }));
        assert!(!one(Row {
            unreadable: 1,
            ..flushes()
        }));
        assert!(!one(Row {
            acked: 0,
            checked: 0,
            ..flushes()
        }));
        assert!(one(Row {
            lost: 1,
            ..control()
        }));
        assert!(!one(control()), "a control that lost nothing");
        assert!(!one(Row {
            lost: 1,
            unreadable: 1,
            ..control()
        }));
        assert!(one(Row { lost: 1, ..bare() }));
        assert!(!one(bare()), "no flush of the device, and nothing lost");
        // An image that cannot be read is no loss that was seen.
        assert!(!one(Row {
            unreadable: 9,
            ..bare()
        }));
        assert!(!one(row(Scenario::FullDisk, Style::Fill)), "never full");
        assert!(!one(row(Scenario::BadBlock, Style::Retry)), "no failure");
        assert!(!good(false, 0, Vec::new()), "nothing was run");
        assert!(!good(true, 0, Vec::new()));
        assert!(good(false, 64, vec![flushes()]) && !good(false, 65, vec![flushes()]));
        // Of one cut no control is asked to lose.
        assert!(good(true, 0, vec![control()]));
        let mut report = Report::new(false, 0);
        report.add(vec![flushes()]);
        report.fail("the guest ended".to_owned());
        assert!(!report.is_good() && report.markdown().contains("the guest ended"));
    }
}
