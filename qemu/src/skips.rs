//! `cargo qemu skips`: which tests did not run somewhere, and which ran nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::rows::root;

/// A row of tests/skips.toml, of which the tests themselves look at the rest.
#[derive(Debug, Deserialize)]
struct Skip {
    test: String,
    /// Ladders that may run it nowhere.
    #[serde(default)]
    nowhere: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Skips {
    skip: Vec<Skip>,
}

/// The log of one rung in one place.
struct Log {
    /// `integration`, ...
    rung: String,
    place: String,
    /// Tests that it skips, and those that leave something out.
    skipped: BTreeSet<String>,
    /// Whether programs of tests ran, and not scripts alone.
    has_programs: bool,
    /// Whether the freestanding programs ran, to their end.
    has_freestanding: bool,
}

impl Log {
    /// A log that `tests/run` named after its rung and place.
    fn parse(name: &str, text: &str) -> Option<Self> {
        let (rung, place) = name.split_once('-')?;
        let name = |line: &str| {
            let (_, rest) = line
                .split_once("skip: ")
                .or_else(|| line.split_once("left out: "))?;
            let (name, _) = rest.split_once(": ")?;
            Some(name.to_owned())
        };
        Some(Self {
            rung: rung.to_owned(),
            place: place.to_owned(),
            skipped: text.lines().filter_map(name).collect(),
            has_programs: text.lines().any(|line| line.starts_with("running ")),
            has_freestanding: text.lines().any(|line| line == "ok: freestanding: end"),
        })
    }

    /// Whether it would have run a test.
    fn has(&self, test: &str) -> bool {
        match (test.split("::").next(), &*self.rung) {
            // Those of scripts.
            (Some("freestanding"), "freestanding" | "kernels") => self.has_freestanding,
            (Some("freestanding"), _) => false,
            (Some("bench"), "bench") => test == format!("bench::{}", self.place),
            (Some(script @ ("pagesize" | "bench" | "killed")), rung) => script == rung,
            (_, "integration" | "kernels") => self.has_programs,
            _ => false,
        }
    }
}

/// Reads the logs of a folder, those of a whole ladder. Returns a table, and what is wrong with it.
pub fn skips(folder: &Path, ladder: &str) -> Result<(String, Vec<String>)> {
    let path = root().join("tests/skips.toml");
    let rows = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let rows: Skips = toml::from_str(&rows).with_context(|| path.display().to_string())?;
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What the script keeps for itself, among it folders.
        if name.starts_with('.') {
            continue;
        }
        let text = std::fs::read(entry.path()).with_context(|| name.clone())?;
        logs.extend(Log::parse(&name, &String::from_utf8_lossy(&text)));
    }
    Ok(judge(&rows.skip, &logs, ladder))
}

fn judge(rows: &[Skip], logs: &[Log], ladder: &str) -> (String, Vec<String>) {
    let tests: BTreeSet<_> = logs.iter().flat_map(|log| &log.skipped).collect();
    let places = logs.iter().filter(|log| log.has(""));
    let mut text = format!(
        "{} tests did not run in each of {} places, which are rung and target or machine.\n\n\
         | test | ran in | not in |\n|---|---|---|\n",
        tests.len(),
        places.count()
    );
    let mut wrong = Vec::new();
    for test in tests {
        let mut places = BTreeMap::from([(true, Vec::new()), (false, Vec::new())]);
        for log in logs.iter().filter(|log| log.has(test)) {
            let list = places.entry(!log.skipped.contains(test)).or_default();
            list.push(format!("{} {}", log.rung, log.place));
        }
        let of = |ran| {
            let mut list: Vec<String> = places[&ran].clone();
            list.sort();
            match list.len() {
                0 => "no place".to_owned(),
                1..=3 => list.join(", "),
                more => format!("{more} places"),
            }
        };
        let _ = writeln!(text, "| {test} | {} | {} |", of(true), of(false));
        let row = rows.iter().find(|row| row.test == *test);
        let may_be = row.is_some_and(|row| row.nowhere.iter().any(|name| name == ladder));
        if places[&true].is_empty() && !may_be {
            wrong.push(format!(
                "{test} ran nowhere, and tests/skips.toml does not say that {ladder} does not run it"
            ));
        }
    }
    (text, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_nowhere_is_wrong_where_no_row_says_so() {
        let rows = |nowhere: &[&str]| {
            let nowhere = nowhere.iter().map(|&name| name.to_owned()).collect();
            let test = "device::it".to_owned();
            [Skip { test, nowhere }]
        };
        let log = |name: &str, text: &str| Log::parse(name, text).unwrap();
        let here = log(
            "integration-x86_64",
            "running 2 tests\n.skip: device::it: why\n.\n",
        );
        let there = log(
            "kernels-armv7-ext4",
            "running 2 tests\nleft out: device::it: why\n",
        );
        let other = log("tsan-host", "running 2 tests\n..");
        let logs = [here, there, other];
        let (table, wrong) = judge(&rows(&["full"]), &logs, "all");
        assert!(
            table.contains("| device::it | no place | integration x86_64, kernels armv7-ext4 |")
        );
        assert!(wrong.len() == 1 && wrong[0].starts_with("device::it ran nowhere"));
        assert_eq!(judge(&rows(&["all"]), &logs, "all").1, [""; 0]);
        let ran = log("kernels-riscv64-ext4", "running 2 tests\n..\n");
        let logs: Vec<_> = logs.into_iter().chain([ran]).collect();
        assert_eq!(judge(&rows(&[]), &logs, "all").1, [""; 0]);
        // A script's; the freestanding programs of a guest are such a place.
        let script = |name| {
            log(
                name,
                "skip: freestanding::offsets: why\nok: freestanding: end\n",
            )
        };
        let alone = [script("freestanding-armv7")];
        assert_eq!(judge(&[], &alone, "all").1.len(), 1);
        let guest = |text| {
            [
                script("freestanding-armv7"),
                log("kernels-armv7-none", text),
            ]
        };
        let end = guest("ok: a\nok: freestanding: end\n");
        assert_eq!(judge(&[], &end, "all").1, [""; 0]);
        assert_eq!(judge(&[], &guest("ok: a\n"), "all").1.len(), 1);
        // Each benchmark is a place of its own.
        let benches = [
            log("bench-host", "fine\n"),
            log("bench-durable", "skip: bench::durable: why\n"),
        ];
        assert_eq!(judge(&[], &benches, "all").1.len(), 1);
    }

    #[test]
    fn each_row_of_the_list_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let found = || skips(folder.path(), "all").unwrap();
        let (table, wrong) = found();
        assert!(table.lines().count() == 4 && wrong.is_empty());
        // The script's own files and folders are no logs.
        std::fs::create_dir(folder.path().join(".new-program")).unwrap();
        let log = "running 1 test\nskip: device::it: why\n";
        std::fs::write(folder.path().join(".guest-integration x86_64"), log).unwrap();
        assert_eq!(found(), (table, wrong));
        std::fs::write(folder.path().join("integration-x86_64"), log).unwrap();
        assert_eq!(found().1.len(), 1);
    }
}
