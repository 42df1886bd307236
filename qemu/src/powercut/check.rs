//! What was acknowledged before a cut, against what the medium has after it.

use std::collections::{BTreeMap, BTreeSet};

use rawmap_guest::model::Model;
use rawmap_guest::record;
use rawmap_guest::workload::{Step, Steps, Style, Write};

use super::follow::Ack;
use super::run::Run;

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

    /// Acknowledgements of a style, so far.
    pub fn acked(&self, style: Style) -> u32 {
        self.acked.get(&style).copied().unwrap_or(0)
    }

    /// Compares a file as a cut left it.
    pub fn check(&self, style: Style, medium: &[u8]) -> Found {
        let mut lost = self.models[&style].broken(medium);
        lost.extend(self.not_whole(style, medium));
        Found {
            acked: self.acked(style),
            lost,
        }
    }

    /// Besides, and without the model: the last step whose newest record is not whole, unless the step under way lies over
    /// it. Two controls claim more: that there is a whole record even then, and that two are of one step.
    fn not_whole(&self, style: Style, medium: &[u8]) -> Option<u32> {
        let step = self.last.get(&style)?;
        let under_way = self.started.iter().filter(|started| !started.full);
        let under_way = under_way.map(|started| &started.step);
        let mut under_way = under_way.filter(|step| step.style == style);
        let whole = |write: &Write| record::check(&medium[write.at..]);
        let is_whole = match style {
            Style::Whole | Style::Together => {
                let found: BTreeSet<_> = step.writes.iter().map(whole).collect();
                let next = under_way.map(|step| step.number);
                let may_be = [step.number].into_iter().chain(next);
                may_be
                    .map(|number| BTreeSet::from([Some(number)]))
                    .any(|may| may == found)
            }
            _ => {
                let write = step.writes.last()?;
                let end = write.at + write.bytes.len();
                let over =
                    |other: &Write| other.at < end && write.at < other.at + other.bytes.len();
                let is_under = under_way.any(|step| step.writes.iter().any(over));
                is_under || whole(write) == Some(step.number)
            }
        };
        (!is_whole).then_some(step.number)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rawmap_guest::workload::Scenario;

    use super::super::log::{self, Log, SECTOR};
    use super::super::medium::Medium;
    use super::super::places::{Cut, Places};
    use super::*;

    pub(in crate::powercut) const PAGE: usize = 4096;
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
        let run = run_of(scenario, acks);
        let acks = run.acks.iter().map(|ack| ack.entries).collect();
        let base = vec![0; disk_len];
        let places = Places::new(&log, &base, false, 512, 0, acks, SEED).unwrap();
        let mut medium = Medium::new(&log, base, false, SECTOR as usize);
        let mut cuts: Vec<_> = (0..200).map(|number| Cut::new(number, &places)).collect();
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

    /// A judge after the first `count` steps of a scenario, all acknowledged, and what memory has then.
    pub(in crate::powercut) fn after(
        run: &Run,
        count: usize,
    ) -> (Checker<'_>, BTreeMap<Style, Vec<u8>>, BTreeMap<Style, Step>) {
        let mut checker = Checker::new(run);
        checker.advance(count);
        let styles = run.scenario.styles(true);
        let empty = |style: Style| (style, vec![style.first_byte(); style.piece(PAGE).len]);
        let mut live: BTreeMap<_, _> = styles.into_iter().map(empty).collect();
        let mut last = BTreeMap::new();
        for step in Steps::new(run.scenario, SEED, PAGE, true).take(count) {
            for write in &step.writes {
                let file = live.get_mut(&step.style).unwrap();
                file[write.at..write.at + write.bytes.len()].copy_from_slice(&write.bytes);
            }
            last.insert(step.style, step);
        }
        (checker, live, last)
    }

    /// Step by step, one entry of the log for each.
    pub(in crate::powercut) fn acknowledged(scenario: Scenario, count: usize) -> Run {
        let ack = |entries| Ack {
            entries,
            full: false,
        };
        run_of(scenario, (1..=count).map(ack).collect())
    }

    fn run_of(scenario: Scenario, acks: Vec<Ack>) -> Run {
        Run {
            scenario,
            seed: SEED,
            page: PAGE,
            large_files: true,
            steps: 0,
            ready: 0,
            acks,
            says: Vec::new(),
            kernel: String::new(),
        }
    }

    #[test]
    fn each_store_of_a_step_is_promised_and_not_the_last_alone() {
        let run = acknowledged(Scenario::Flushes, 60);
        let (checker, live, last) = after(&run, 60);
        for (style, file) in &live {
            assert_eq!(
                checker.check(*style, file).lost,
                BTreeSet::new(),
                "{style:?}"
            );
        }
        let mut several = 0;
        for (style, step) in &last {
            // One that the later ones do not lie over.
            let (write, later) = step.writes.split_first().unwrap();
            let end = write.at + write.bytes.len();
            let is_under =
                |other: &Write| other.at < end && write.at < other.at + other.bytes.len();
            if later.is_empty() || later.iter().any(is_under) {
                continue;
            }
            several += 1;
            let mut file = live[style].clone();
            file[write.at..end].fill(0);
            assert!(
                checker.check(*style, &file).lost.contains(&step.number),
                "{style:?}"
            );
        }
        assert!(several >= 2, "{several} styles have several stores");
    }

    /// Either of the two judges finds a lost record without the other.
    #[test]
    fn two_judges_look_at_the_newest_record() {
        let run = acknowledged(Scenario::Flushes, 60);
        let (mut checker, live, last) = after(&run, 60);
        let damaged = |style: Style, step: &Step| {
            let mut file = live[&style].clone();
            let write = step.writes.last().unwrap();
            file[write.at + write.bytes.len() / 2] ^= 1;
            file
        };
        checker.started = None;
        for (style, step) in &last {
            let file = damaged(*style, step);
            assert!(
                checker.models[style].broken(&file).contains(&step.number),
                "{style:?}"
            );
            assert_eq!(
                checker.not_whole(*style, &file),
                Some(step.number),
                "{style:?}"
            );
            // The one that believes the medium.
            let believes = Model::new(&file);
            let model = checker.models.insert(*style, believes).unwrap();
            assert_eq!(
                checker.check(*style, &file).lost,
                BTreeSet::from([step.number])
            );
            checker.models.insert(*style, model);
        }
        checker.last.clear();
        for (style, step) in &last {
            let file = damaged(*style, step);
            assert!(
                checker.check(*style, &file).lost.contains(&step.number),
                "{style:?}"
            );
        }
    }

    #[test]
    fn nothing_is_promised_before_its_acknowledgement_and_nothing_for_one_of_no_room() {
        let run = acknowledged(Scenario::Flushes, 60);
        let (checker, ..) = after(&run, 0);
        for style in run.scenario.styles(true) {
            let found = checker.check(style, &vec![0; style.piece(PAGE).len]);
            assert_eq!((found.acked, found.lost.len()), (0, 0));
        }
        let mut run = acknowledged(Scenario::FullDisk, 20);
        let first = run.acks.len();
        let fill = |step: &Step| step.style == Style::Fill;
        let number = Steps::new(run.scenario, SEED, PAGE, true)
            .find(fill)
            .unwrap()
            .number;
        run.acks[number as usize - 1].full = true;
        let (checker, mut live, _) = after(&run, first);
        let file = live.get_mut(&Style::Fill).unwrap();
        let good = checker.check(Style::Fill, file).acked;
        run.acks[number as usize - 1].full = false;
        let (checker, ..) = after(&run, first);
        assert_eq!(checker.check(Style::Fill, file).acked, good + 1);
    }

    /// The claims of the two controls: torn, and one without the other.
    #[test]
    fn a_torn_record_and_half_a_pair_are_seen() {
        let run = acknowledged(Scenario::Controls, 36);
        let (mut checker, live, last) = after(&run, 36);
        for style in [Style::Whole, Style::Together] {
            let step = &last[&style];
            assert_eq!(checker.check(style, &live[&style]).lost, BTreeSet::new());
            // The step that comes next has begun, and the old record is over the half of its own.
            let mut steps = Steps::new(run.scenario, SEED, PAGE, true).skip(36);
            let next = steps.find(|step| step.style == style).unwrap();
            let mut torn = live[&style].clone();
            let (write, whole) = (&next.writes[0], live[&style].clone());
            let half = match style {
                Style::Whole => write.bytes.len() / 2,
                _ => write.bytes.len(),
            };
            torn[write.at..write.at + half].copy_from_slice(&write.bytes[..half]);
            let mut new = whole.clone();
            for write in &next.writes {
                new[write.at..write.at + write.bytes.len()].copy_from_slice(&write.bytes);
            }
            checker.started = Some(Started {
                step: next,
                full: false,
            });
            assert_eq!(checker.not_whole(style, &whole), None);
            assert_eq!(checker.not_whole(style, &new), None);
            assert_eq!(checker.not_whole(style, &torn), Some(step.number));
        }
    }

    #[test]
    fn bytes_that_nothing_stored_are_lost_too() {
        let run = acknowledged(Scenario::Flushes, 60);
        let (checker, live, _) = after(&run, 60);
        for (style, file) in &live {
            let mut file = file.clone();
            let promised = &checker.models[style];
            let at = (0..file.len()).find(|at| {
                file[*at] = !file[*at];
                let is_new = promised.broken(&file) == BTreeSet::from([0]);
                file[*at] = !file[*at];
                is_new
            });
            file[at.expect("a byte that nothing was stored to")] ^= 0xFF;
            assert!(checker.check(*style, &file).lost.contains(&0), "{style:?}");
        }
    }

    /// The step under way excuses what it lies over, and no other record.
    #[test]
    fn a_step_elsewhere_excuses_nothing() {
        let run = acknowledged(Scenario::Flushes, 60);
        let (mut checker, live, last) = after(&run, 60);
        let step = &last[&Style::Range];
        let write = &step.writes[0];
        let mut file = live[&Style::Range].clone();
        file[write.at + write.bytes.len() / 2] ^= 1;
        let mut started = |at: usize| {
            let mut step = step.clone();
            step.writes[0].at = at;
            checker.started = Some(Started { step, full: false });
            checker.not_whole(Style::Range, &file)
        };
        let far = if write.at > 3 * PAGE { 0 } else { 5 * PAGE };
        assert_eq!(started(far), Some(step.number));
        assert_eq!(started(write.at), None);
    }
}
