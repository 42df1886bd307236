//! What was acknowledged before a cut, against what the medium has after it.

use std::collections::{BTreeMap, BTreeSet};

use rawmap_guest::model::Model;
use rawmap_guest::record;
use rawmap_guest::workload::{Step, Steps, Style};

use super::run::{Ack, Run};

/// Goes along with the cuts of a run, in the order of their entries.
pub struct Checker<'a> {
    acks: &'a [Ack],
    steps: Steps,
    models: BTreeMap<Style, Model>,
    /// The last acknowledged step of each style.
    last: BTreeMap<Style, Step>,
    /// Acknowledgements of each style, so far.
    acked: BTreeMap<Style, u32>,
    next: usize,
    /// The step that may have been under way.
    started: Option<Started>,
}

struct Started {
    step: Step,
    /// It was refused for want of room, and has stored nothing.
    full: bool,
}

/// What a cut lost, of one style.
#[derive(Debug)]
pub struct Found {
    /// Acknowledgements that had to hold.
    pub acked: u32,
    /// Steps whose acknowledgement was broken; 0 is what was there before the first.
    pub lost: BTreeSet<u32>,
}

impl<'a> Checker<'a> {
    pub fn new(run: &'a Run) -> Self {
        let model = |style: Style| {
            let piece = style.piece(run.page);
            (style, Model::new(&vec![style.first_byte(); piece.len]))
        };
        let styles = run.scenario.styles(run.large_files);
        Self {
            acks: &run.acks,
            steps: Steps::new(run.scenario, run.seed, run.page, run.large_files),
            models: styles.iter().copied().map(model).collect(),
            last: BTreeMap::new(),
            acked: styles.into_iter().map(|style| (style, 0)).collect(),
            next: 0,
            started: None,
        }
    }

    /// Takes in what was acknowledged when the log had so many entries, and the step that came next.
    pub fn advance(&mut self, entries: usize) {
        loop {
            let ack = self.acks.get(self.next);
            let started = match self.started.take() {
                Some(started) => started,
                None => match self.start(ack.is_some_and(|ack| ack.full)) {
                    Some(started) => started,
                    None => return,
                },
            };
            if ack.is_none_or(|ack| ack.entries > entries) {
                self.started = Some(started);
                return;
            }
            self.next += 1;
            if !started.full {
                self.promise(started.step);
            }
        }
    }

    /// The next step; the models know of its stores.
    fn start(&mut self, full: bool) -> Option<Started> {
        let step = self.steps.next()?;
        if !full && let Some(model) = self.models.get_mut(&step.style) {
            for write in &step.writes {
                model.write(write.at, &write.bytes);
            }
        }
        Some(Started { step, full })
    }

    fn promise(&mut self, step: Step) {
        let Some(model) = self.models.get_mut(&step.style) else {
            return;
        };
        match step.style {
            // These are about all that was ever stored.
            Style::Flush | Style::Scattered | Style::Tracked | Style::Chip => {
                model.promised(step.number, 0, step.map_len);
            }
            _ => {
                for write in &step.writes {
                    model.promised(step.number, write.at, write.bytes.len());
                }
            }
        }
        *self.acked.entry(step.style).or_default() += 1;
        self.last.insert(step.style, step);
    }

    /// Compares a file as a cut left it.
    pub fn check(&self, style: Style, medium: &[u8]) -> Found {
        let mut lost = self.models[&style].broken(medium);
        // Besides, and without the model: the newest record is whole, unless the step under way lies over it.
        if let Some(step) = self.last.get(&style)
            && let Some(write) = step.writes.last()
        {
            let end = write.at + write.bytes.len();
            let started = self.started.iter().map(|started| &started.step);
            let over = started.filter(|step| step.style == style);
            let mut over = over.flat_map(|step| &step.writes);
            let is_under =
                over.any(|other| other.at < end && write.at < other.at + other.bytes.len());
            if !is_under && record::check(&medium[write.at..]) != Some(step.number) {
                lost.insert(step.number);
            }
        }
        Found {
            acked: self.acked.get(&style).copied().unwrap_or(0),
            lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use rawmap_guest::workload::Scenario;

    use super::super::cuts::{Cut, Medium, Places};
    use super::super::log::{self, Log, SECTOR};
    use super::*;

    const PAGE: usize = 4096;
    const SEED: u64 = 5;

    /// How the guest's flushes go wrong.
    #[derive(Clone, Copy, Eq, PartialEq)]
    enum Fault {
        None,
        /// The device is not flushed.
        NoFlush,
        /// The last page of a flush is not written.
        ShortByAPage,
        /// It says `Ok` before the flush of the device.
        TooEarly,
    }

    /// Runs the steps on a disk that has the files one behind the other, cuts the power, and counts what is lost.
    fn lost(fault: Fault) -> usize {
        let scenario = Scenario::Flushes;
        let mut styles = scenario.styles(true);
        styles.sort();
        let place = |style: Style| {
            let before = styles.iter().take_while(|other| **other != style);
            let pages = before.map(|style| style.piece(PAGE).len.div_ceil(PAGE));
            pages.sum::<usize>() * PAGE
        };
        let last = styles[styles.len() - 1];
        let disk_len = place(last) + last.piece(PAGE).len.next_multiple_of(PAGE);
        let mut live = vec![0; disk_len];
        let mut requests: Vec<(u64, Vec<u8>, u64)> = Vec::new();
        let mut acks = Vec::new();
        for step in Steps::new(scenario, SEED, PAGE, true).take(96) {
            let mut pages = BTreeSet::new();
            for write in &step.writes {
                let start = place(step.style) + write.at;
                let end = start + write.bytes.len();
                live[start..end].copy_from_slice(&write.bytes);
                pages.extend(start / PAGE..end.div_ceil(PAGE));
            }
            if fault == Fault::ShortByAPage && pages.len() > 1 {
                pages.pop_last();
            }
            for page in pages {
                let start = page * PAGE;
                let sector = start as u64 / SECTOR;
                requests.push((sector, live[start..start + PAGE].to_vec(), 0));
            }
            let written = requests.len();
            if fault != Fault::NoFlush {
                requests.push((0, Vec::new(), 1));
            }
            let early = fault == Fault::TooEarly;
            acks.push(Ack {
                entries: if early { written } else { requests.len() },
                full: false,
            });
        }
        let requests: Vec<_> = requests
            .iter()
            .map(|(sector, data, flags)| (*sector, &data[..], *flags))
            .collect();
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), log::tests::log(&requests)).unwrap();
        let mut log = Log::open(path.path(), disk_len as u64).unwrap();
        log.refresh().unwrap();
        let run = Run {
            scenario,
            seed: SEED,
            page: PAGE,
            large_files: true,
            ready: 0,
            acks,
            says: Vec::new(),
            kernel: String::new(),
        };
        let acks = run.acks.iter().map(|ack| ack.entries).collect();
        let places = Places::new(&log, false, 0, acks);
        let mut medium = Medium::new(&log, vec![0; disk_len], false, SECTOR as usize);
        let mut cuts: Vec<_> = (0..200)
            .map(|number| Cut::new(SEED, number, &places))
            .collect();
        medium.sort(&mut cuts);
        let mut checker = Checker::new(&run);
        let (mut lost, mut acked) = (0, 0);
        for cut in cuts {
            let image = tempfile::NamedTempFile::new().unwrap();
            medium.cut(cut, SEED, image.as_file()).unwrap();
            let bytes = std::fs::read(image.path()).unwrap();
            checker.advance(cut.entries);
            for style in &styles {
                let start = place(*style);
                let found = checker.check(*style, &bytes[start..start + style.piece(PAGE).len]);
                lost += found.lost.len();
                acked += found.acked;
            }
        }
        assert!(acked > 1000, "{acked} acknowledgements");
        lost
    }

    #[test]
    fn a_good_run_loses_nothing_and_a_bad_one_is_found() {
        assert_eq!(lost(Fault::None), 0);
        for fault in [Fault::NoFlush, Fault::ShortByAPage, Fault::TooEarly] {
            assert!(lost(fault) > 0);
        }
    }
}
