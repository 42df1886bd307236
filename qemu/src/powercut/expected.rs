//! `expected.toml`: what the cuts must show.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use rawmap_guest::workload::Scenario;
use serde::Deserialize;

use super::places::Kind;
use super::report::{Outcome, OutcomeOfStyle};
use crate::rows::{Rows, root};

/// The file, which explains its keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    default: Vec<String>,
    repaired: Vec<String>,
    rescued: BTreeMap<String, u32>,
    machines: BTreeMap<String, Vec<String>>,
    scenario: Vec<OfScenario>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfScenario {
    name: Scenario,
    on: Vec<String>,
    styles: Vec<String>,
    #[serde(default)]
    large: Vec<String>,
    acknowledged: u32,
    different: BTreeMap<Kind, u32>,
    #[serde(default)]
    loses: BTreeMap<String, Vec<Loses>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Loses {
    must: Vec<Kind>,
    #[serde(default)]
    must_not: Vec<Kind>,
    /// None are all.
    #[serde(default)]
    on: Vec<String>,
}

/// A run, by machine, file system and scenario.
pub type Name = (String, String, Scenario);

impl Expected {
    /// Reads it.
    pub fn read() -> Result<Self> {
        let path = root().join("qemu/expected.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Compares what there is to boot and to mount with what is expected of it.
    pub fn compare(&self, rows: &Rows) -> Result<()> {
        let machines = rows.machine.iter();
        let machines = machines.map(|row| (row.name.clone(), row.filesystems.clone()));
        let machines: BTreeMap<_, _> = machines.collect();
        let default = rows.machine.iter().filter(|row| row.default);
        let default: Vec<_> = default.map(|row| row.name.clone()).collect();
        let rescued = rows.filesystem.iter().filter(|row| !row.rescue.is_empty());
        let repaired = rows.filesystem.iter().filter(|row| !row.repair.is_empty());
        let same = machines == self.machines
            && default == self.default
            && repaired.map(|row| &row.name).eq(&self.repaired)
            && rescued.map(|row| &row.name).eq(self.rescued.keys());
        ensure!(
            same,
            "machines.toml has not the rows that expected.toml expects"
        );
        Ok(())
    }

    /// The runs of a machine. The file systems are all that it has, where none are named.
    pub fn runs(&self, machine: &str, filesystems: &[&str]) -> Vec<Name> {
        let all = self.machines.get(machine).into_iter().flatten();
        let chosen = |name: &&String| filesystems.is_empty() || filesystems.contains(&&***name);
        let run = |filesystem: &String| {
            let scenarios = self.scenario.iter();
            let scenarios = scenarios.filter(|scenario| scenario.on.contains(filesystem));
            let name =
                |scenario: &OfScenario| (machine.to_owned(), filesystem.clone(), scenario.name);
            scenarios.map(name).collect::<Vec<_>>()
        };
        all.filter(chosen).flat_map(run).collect()
    }

    /// What is wrong with a run that was made.
    pub fn wrong(&self, outcome: &Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        let found = self
            .scenario
            .iter()
            .find(|found| found.name == outcome.scenario);
        let Some(scenario) = found else {
            return vec!["expected.toml does not know this scenario".to_owned()];
        };
        let mut styles: Vec<_> = scenario.styles.iter().collect();
        if outcome.large {
            styles.extend(&scenario.large);
        }
        let names = outcome.styles.iter().map(|style| style.style.name());
        for name in names
            .clone()
            .filter(|name| !styles.iter().any(|style| style == name))
        {
            wrong.push(format!("expected.toml does not know the style {name}"));
        }
        for style in styles {
            match outcome
                .styles
                .iter()
                .find(|found| found.style.name() == style)
            {
                None => wrong.push(format!("no step of the style {style}")),
                Some(found) => wrong.extend(self.wrong_style(scenario, outcome, found)),
            }
        }
        for kind in Kind::ALL {
            wrong.extend(self.wrong_kind(scenario, outcome, kind));
        }
        wrong
    }

    fn wrong_style(
        &self,
        scenario: &OfScenario,
        outcome: &Outcome,
        found: &OutcomeOfStyle,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let (name, least) = (found.style.name(), scenario.acknowledged);
        if found.acked < least {
            wrong.push(format!(
                "{name}: {} acknowledgements, not {least}",
                found.acked
            ));
        }
        let loses = scenario.loses.get(name);
        if scenario.name != Scenario::NoBarrier && loses.is_none() {
            let lost: u64 = found.lost.values().sum();
            if lost > 0 {
                wrong.push(format!("{name}: lost {lost} acknowledgements"));
            }
        }
        let here = |loses: &&Loses| loses.on.is_empty() || loses.on.contains(&outcome.filesystem);
        for loses in loses.into_iter().flatten().filter(here) {
            let lost = |kind: &Kind| found.lost.get(kind).is_some_and(|lost| *lost > 0);
            for kind in loses.must.iter().filter(|kind| !lost(kind)) {
                wrong.push(format!(
                    "{name}: the control lost nothing by {} cuts",
                    kind.name()
                ));
            }
            for kind in loses.must_not.iter().filter(|kind| lost(kind)) {
                wrong.push(format!(
                    "{name}: lost by {} cuts, which cannot be",
                    kind.name()
                ));
            }
        }
        wrong
    }

    fn wrong_kind(&self, scenario: &OfScenario, outcome: &Outcome, kind: Kind) -> Vec<String> {
        let mut wrong = Vec::new();
        let (name, least) = (kind.name(), scenario.different.get(&kind).copied());
        let Some(found) = outcome.kinds.get(&kind) else {
            return vec![format!("no {name} cut")];
        };
        let percent = |part: u32| part * 100 / found.cuts.max(1);
        let different = percent(found.images);
        if least.is_none_or(|least| different < least) {
            wrong.push(format!(
                "{} {name} cuts left {} different images, less than {} %",
                found.cuts,
                found.images,
                least.unwrap_or(0)
            ));
        }
        if scenario.name == Scenario::NoBarrier {
            return wrong;
        }
        if found.unreadable > 0 {
            wrong.push(format!(
                "{} images of {name} cuts could not be read",
                found.unreadable
            ));
        }
        let of_torn = self.rescued.get(&outcome.filesystem);
        let share = of_torn.filter(|_| kind == Kind::Torn);
        let most = share.map_or(0, |percent| (found.cuts * percent / 100).max(2));
        if found.rescued > most {
            wrong.push(format!(
                "{} of {} {name} cuts took a rescue, more than {most}",
                found.rescued, found.cuts
            ));
        }
        // A cut that is not strict leaves something of what was not flushed, or is none of its kind.
        let must_differ = least.unwrap_or(0) / 2;
        if kind != Kind::Strict && percent(found.differ) < must_differ {
            wrong.push(format!(
                "of {} {name} cuts {} left what no strict one does, less than {must_differ} %",
                found.cuts, found.differ
            ));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::is_possible;
    use super::*;

    #[test]
    fn the_rows_have_what_is_expected_of_them() {
        let (expected, rows) = (Expected::read().unwrap(), Rows::read().unwrap());
        expected.compare(&rows).unwrap();
        for row in &rows.filesystem {
            for scenario in Scenario::ALL {
                let of = |found: &&OfScenario| found.name == scenario;
                let found = expected.scenario.iter().find(of).unwrap();
                let is_expected = found.on.contains(&row.name);
                assert_eq!(
                    is_possible(row, scenario),
                    is_expected,
                    "{} {scenario:?}",
                    row.name
                );
            }
        }
        let of_armv7 = expected.runs("armv7", &["ext4", "vfat"]);
        assert_eq!(of_armv7.len(), 7, "{of_armv7:?}");
        assert!(expected.runs("armv7", &[]).len() > 15);
        assert_eq!(expected.runs("armv7-time64", &[]), []);
        assert_eq!(rows.default_filesystems(), ["ext4", "vfat"]);
    }

    #[test]
    fn the_steps_are_those_that_are_expected() {
        let expected = Expected::read().unwrap();
        for scenario in &expected.scenario {
            let styles = scenario.name.styles(true).into_iter();
            let mut styles: Vec<_> = styles.map(|style| style.name()).collect();
            let names = scenario.styles.iter().chain(&scenario.large);
            let mut names: Vec<_> = names.map(String::as_str).collect();
            styles.sort_unstable();
            names.sort_unstable();
            assert_eq!(styles, names);
            // The last cut is not after the last step.
            let steps = (scenario.name.steps() - 1) / styles.len() as u32;
            assert!(steps > scenario.acknowledged, "{:?}", scenario.name);
        }
    }
}
