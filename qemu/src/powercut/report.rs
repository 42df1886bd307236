//! What the cuts found, as lines and as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use rawmap_guest::workload::{Scenario, Style};

use super::expected::{Expected, Name};
use super::places::Kind;

/// One run.
#[derive(Debug)]
pub struct Outcome {
    pub machine: String,
    pub kernel: String,
    pub page: usize,
    pub filesystem: String,
    pub scenario: Scenario,
    /// Whether files may be longer than 4 GiB.
    pub large: bool,
    pub kinds: BTreeMap<Kind, OutcomeOfKind>,
    /// Different images, of all kinds of cut.
    pub images: u32,
    /// Whether a step found the disk full.
    pub full: bool,
    /// What calls said.
    pub says: Vec<String>,
    pub styles: Vec<OutcomeOfStyle>,
}

/// The cuts of one kind.
#[derive(Debug, Default)]
pub struct OutcomeOfKind {
    pub cuts: u32,
    /// Different ones of this kind.
    pub images: u32,
    /// Cuts that left what no strict one does.
    pub differ: u32,
    /// Cuts whose image was mounted after a rescue only.
    pub rescued: u32,
    /// Cuts whose image was not.
    pub unreadable: u32,
}

/// The steps of one style.
#[derive(Debug)]
pub struct OutcomeOfStyle {
    pub style: Style,
    /// Steps that were acknowledged.
    pub acked: u32,
    /// Acknowledgements that had to hold, over all cuts.
    pub checked: u64,
    /// Of these, broken ones, by kind of cut.
    pub lost: BTreeMap<Kind, u64>,
    /// The first cut that lost, and how to see it again.
    pub first: Option<String>,
}

impl OutcomeOfStyle {
    fn all_lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

impl Outcome {
    fn name(&self) -> Name {
        (self.machine.clone(), self.filesystem.clone(), self.scenario)
    }

    /// What is wrong with it.
    pub fn wrong(&self, expected: &Expected) -> Vec<String> {
        let mut wrong = expected.wrong(self);
        let lost: u64 = self.styles.iter().map(OutcomeOfStyle::all_lost).sum();
        let said = |what: &str| self.says.iter().any(|line| line.contains(what));
        let mut must = |is: bool, else_wrong: &str| {
            if !is {
                wrong.push(else_wrong.to_owned());
            }
        };
        match self.scenario {
            Scenario::NoBarrier => must(lost > 0, "without device flushes nothing was lost"),
            Scenario::FullDisk => must(self.full, "the disk was never full"),
            Scenario::BadBlock => {
                must(said("flush_range:"), "no flush failed");
                must(!said("flush again: Ok"), "the failure was forgotten");
                must(said("retry_flush: Ok"), "no retry");
            }
            Scenario::Flushes | Scenario::Controls => {}
        }
        wrong
    }

    /// Whether nothing of a style may be lost.
    fn is_good(&self, style: &OutcomeOfStyle) -> bool {
        self.is_good_scenario() && !style.style.is_control()
    }

    fn is_good_scenario(&self) -> bool {
        !matches!(self.scenario, Scenario::Controls | Scenario::NoBarrier)
    }

    fn cuts(&self) -> u32 {
        self.kinds.values().map(|kind| kind.cuts).sum()
    }

    fn rescued(&self) -> u32 {
        self.kinds.values().map(|kind| kind.rescued).sum()
    }

    fn title(&self) -> String {
        format!(
            "{} {} {}",
            self.machine,
            self.filesystem,
            self.scenario.name()
        )
    }
}

/// What is asked of all runs together.
#[derive(Debug, Default)]
pub struct Asked {
    /// The runs that there have to be.
    pub runs: BTreeSet<Name>,
    /// Fewer cuts of flushes are a failure.
    pub cuts: u64,
    /// Fewer different images of these are.
    pub images: u64,
}

/// All runs.
#[derive(Debug)]
pub struct Report {
    expected: Expected,
    /// `None` where it is about one cut: then nothing is asked but that it loses nothing.
    asked: Option<Asked>,
    outcomes: Vec<Outcome>,
    /// Runs that could not be made or read, and why.
    errors: Vec<String>,
}

/// Sums of runs.
#[derive(Default)]
struct Sums {
    cuts: u64,
    images: u64,
    checked: u64,
    lost: u64,
}

impl Report {
    /// An empty one.
    pub fn new(expected: Expected, asked: Option<Asked>) -> Self {
        Self {
            expected,
            asked,
            outcomes: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Adds a run. Returns whether something is wrong with it.
    pub fn add(&mut self, outcome: Outcome) -> bool {
        let is_wrong = !outcome.wrong(&self.expected).is_empty();
        self.outcomes.push(outcome);
        self.outcomes.sort_by_key(Outcome::name);
        is_wrong
    }

    /// Adds a run that came to nothing, and tells of it at once.
    pub fn fail(&mut self, why: String) {
        eprintln!("FAILED: {why}");
        self.errors.push(why);
    }

    /// Whether all is as it must be.
    pub fn is_good(&self) -> bool {
        self.failures().is_empty()
    }

    /// All that is not.
    fn failures(&self) -> Vec<String> {
        let first = |error: &String| error.lines().next().unwrap_or_default().to_owned();
        let mut failures: Vec<_> = self.errors.iter().map(first).collect();
        if self.outcomes.is_empty() {
            failures.push("nothing was run: no such scenario on these file systems".to_owned());
        }
        let Some(asked) = &self.asked else {
            for outcome in &self.outcomes {
                let lost: u64 = outcome.styles.iter().map(OutcomeOfStyle::all_lost).sum();
                let unreadable: u32 = outcome.kinds.values().map(|kind| kind.unreadable).sum();
                if lost > 0 || unreadable > 0 {
                    failures.push(format!("{}: lost {lost}", outcome.title()));
                }
            }
            return failures;
        };
        for outcome in &self.outcomes {
            let wrong = outcome.wrong(&self.expected).into_iter();
            failures.extend(wrong.map(|wrong| format!("{}: {wrong}", outcome.title())));
        }
        let found: BTreeSet<_> = self.outcomes.iter().map(Outcome::name).collect();
        for (machine, filesystem, scenario) in asked.runs.difference(&found) {
            let scenario = scenario.name();
            failures.push(format!("{machine} {filesystem} {scenario}: was not run"));
        }
        let sums = self.sums(true);
        if sums.cuts < asked.cuts {
            failures.push(format!("{} cuts of flushes, not {}", sums.cuts, asked.cuts));
        }
        if sums.images < asked.images {
            let (images, asked) = (sums.images, asked.images);
            failures.push(format!("{images} different images of flushes, not {asked}"));
        }
        failures
    }

    /// Prints a line for each, and the sums.
    pub fn print(&self) {
        println!(
            "{:<14} {:<15} {:<10} {:<11} {:>6} {:>6} {:>8} {:>7}",
            "machine", "file system", "scenario", "style", "cuts", "acks", "checked", "lost"
        );
        for outcome in &self.outcomes {
            for style in &outcome.styles {
                println!(
                    "{:<14} {:<15} {:<10} {:<11} {:>6} {:>6} {:>8} {:>7}",
                    outcome.machine,
                    outcome.filesystem,
                    outcome.scenario.name(),
                    style.style.name(),
                    outcome.cuts(),
                    style.acked,
                    style.checked,
                    style.all_lost()
                );
                if self.asked.is_some() && !outcome.is_good(style) {
                    continue;
                }
                if let Some(first) = &style.first {
                    println!("    {first}");
                } else if self.asked.is_none() && style.checked == 0 {
                    println!(
                        "    before the first acknowledgement: nothing to check but that it can be read"
                    );
                }
            }
            for (kind, found) in &outcome.kinds {
                println!(
                    "    {}: {} cuts, {} different images, {} as no strict cut leaves it, {} rescued",
                    kind.name(),
                    found.cuts,
                    found.images,
                    found.differ,
                    found.rescued
                );
            }
        }
        let said = |outcome: &Outcome| -> Vec<String> {
            let title = format!("{} {}", outcome.machine, outcome.scenario.name());
            let says = outcome.says.iter();
            says.map(|line| format!("{title}: {line}")).collect()
        };
        let says: BTreeSet<_> = self.outcomes.iter().flat_map(said).collect();
        says.iter().for_each(|line| println!("said: {line}"));
        let failures = self.failures();
        for failure in &failures {
            println!("    FAILED: {failure}");
        }
        if self.asked.is_none() {
            return;
        }
        println!("acknowledged: {}", self.acknowledged());
        for (what, are_good) in [("flushes", true), ("controls", false)] {
            println!("{what}: {}", self.sums(are_good));
        }
        let failed = failures.len();
        let good = |outcome: &&Outcome| outcome.wrong(&self.expected).is_empty();
        let good = self.outcomes.iter().filter(good);
        let passed: usize = good.map(|outcome| outcome.styles.len()).sum();
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        println!("test result: {verdict}. {passed} passed; {failed} failed");
    }

    /// Steps of each style, over all runs.
    fn acknowledged(&self) -> String {
        let mut acked: BTreeMap<Style, u32> = BTreeMap::new();
        for style in self.outcomes.iter().flat_map(|outcome| &outcome.styles) {
            *acked.entry(style.style).or_default() += style.acked;
        }
        let all = acked.iter();
        let all: Vec<_> = all
            .map(|(style, acked)| format!("{} {acked}", style.name()))
            .collect();
        all.join(", ")
    }

    /// Cuts, acknowledgements and losses of what may lose nothing, or of the rest. A cut counts once for all styles of its
    /// run.
    fn sums(&self, are_good: bool) -> Sums {
        let mut sums = Sums::default();
        for outcome in &self.outcomes {
            if outcome.is_good_scenario() == are_good {
                sums.cuts += u64::from(outcome.cuts());
                sums.images += u64::from(outcome.images);
            }
            let styles = outcome.styles.iter();
            for style in styles.filter(|style| outcome.is_good(style) == are_good) {
                sums.checked += style.checked;
                sums.lost += style.all_lost();
            }
        }
        sums
    }

    /// The table for the docs.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| machine | Linux | page | file system | run | cuts | different images | rescued | acknowledgements checked | lost |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for outcome in &self.outcomes {
            for are_good in [true, false] {
                let styles = outcome.styles.iter();
                let styles = styles.filter(|style| outcome.is_good(style) == are_good);
                let styles: Vec<_> = styles.collect();
                if styles.is_empty() {
                    continue;
                }
                let control = match (are_good, outcome.scenario) {
                    (true, _) => "",
                    (false, Scenario::BadBlock) => ", msync(2) twice (control)",
                    (false, _) => " (must lose)",
                };
                let _ = writeln!(
                    text,
                    "| {} | {} | {} KiB | {} | {}{control} | {} | {} | {} | {} | {} |",
                    outcome.machine,
                    outcome.kernel,
                    outcome.page / 1024,
                    outcome.filesystem,
                    outcome.scenario.name(),
                    outcome.cuts(),
                    outcome.images,
                    outcome.rescued(),
                    styles.iter().map(|style| style.checked).sum::<u64>(),
                    styles.iter().map(|style| style.all_lost()).sum::<u64>(),
                );
            }
        }
        let _ = writeln!(text, "\nTogether: {}.", self.sums(true));
        let _ = writeln!(text, "Acknowledged: {}.", self.acknowledged());
        let failures = self.failures();
        if !failures.is_empty() {
            let _ = writeln!(text, "\n**{} failures.**\n", failures.len());
        }
        for failure in &failures {
            let _ = writeln!(text, "- {failure}");
        }
        text
    }
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} cuts, {} different images, {} acknowledgements checked, {} lost",
            self.cuts, self.images, self.checked, self.lost
        )
    }
}

#[cfg(test)]
mod tests;
