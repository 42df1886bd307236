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
            Style::Flush | Style::Scattered | Style::Tracked => {
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
