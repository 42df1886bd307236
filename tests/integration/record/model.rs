//! What was put into a file of records, and what may be there of it.

use rawmap_core::Error;
use rawmap_core::record::{Problem, Reader};

use super::NEXT;
use super::medium::Torn;

pub(super) const SLOTS: [&str; 2] = ["two", "three"];
/// The last keeps its oldest records, and is of the newer layout.
pub(super) const LOGS: [&str; 3] = ["log", "apart", "kept"];
pub(super) const PLAIN: &str = "plain";

/// What was put into one part, in order, and how many of these a commit has stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) all: Vec<Vec<u8>>,
    pub(super) committed: usize,
    /// How many of a log may be gone at its old end: they were overwritten or dropped.
    pub(super) gone: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) is_open: bool,
    /// A commit has stored a file of the newer layout.
    pub(super) is_upgraded: bool,
    pub(super) slots: [Kept; 2],
    pub(super) logs: [Kept; 3],
    /// Plain bytes: those of the last commit, and after each change.
    pub(super) plain: Vec<Vec<u8>>,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<_> = self.all.iter().map(|bytes| number_of(bytes)).collect();
        let (committed, gone) = (self.committed, self.gone);
        write!(
            f,
            "{numbers:?}, {committed} of them committed, {gone} perhaps gone"
        )
    }
}

pub(super) fn number_of(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(*bytes.first_chunk().unwrap())
}

/// What ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Cut,
    Kill,
    /// Pages were lost, and are there again as they were: it goes on without what was put since.
    Lost,
}

/// What is said where it is not as it should be.
pub(super) type Context<'a> = &'a dyn Fn() -> String;

impl Model {
    pub(super) fn new() -> Self {
        Self {
            is_open: false,
            is_upgraded: false,
            slots: Default::default(),
            logs: Default::default(),
            plain: vec![Self::no_bytes()],
        }
    }

    fn no_bytes() -> Vec<u8> {
        vec![0; NEXT.parts().last().unwrap().len()]
    }

    pub(super) fn commit(&mut self, version: u32) {
        self.is_open = true;
        self.is_upgraded |= version == NEXT.version();
        for kept in self.slots.iter_mut().chain(&mut self.logs) {
            kept.committed = kept.all.len();
        }
        self.plain.drain(..self.plain.len() - 1);
    }

    /// Judges what is there, and goes on from it.
    pub(super) fn judge(&mut self, bytes: &[u8], end: End, torn: Torn, context: Context<'_>) {
        let reader = match Reader::new(bytes) {
            Ok(reader) => reader,
            // Making the file was not finished.
            Err(_) if !self.is_open => return,
            Err(error) => panic!("{}: {error}", context()),
        };
        self.is_open |= end == End::Cut;
        let is_next = reader.bytes(PLAIN).is_ok();
        assert!(is_next || !self.is_upgraded, "{}: an older file", context());
        if !is_next {
            self.logs[2] = Kept::default();
            self.plain = vec![Self::no_bytes()];
        }
        self.is_upgraded |= is_next && end == End::Cut;
        for (name, kept) in SLOTS.iter().zip(&mut self.slots) {
            kept.judge_value(name, &reader, end, context);
        }
        for (name, kept) in LOGS.iter().zip(&mut self.logs) {
            let is_spoiled = torn == Torn::Spoiled && end == End::Cut;
            match reader.records(name) {
                Ok(records) => kept.judge_records(name, records, end, is_spoiled, context),
                Err(error) => {
                    assert_eq!(error, Error::Record(Problem::NoPart), "{}", context());
                    assert!(!is_next, "{}: no {name}", context());
                }
            }
        }
        if is_next {
            let found = reader.bytes(PLAIN).unwrap().to_vec();
            self.judge_plain(found, end, torn, context);
        }
    }

    /// Each byte is as it was at one time since the last commit.
    fn judge_plain(&mut self, found: Vec<u8>, end: End, torn: Torn, context: Context<'_>) {
        let is_new = |at: usize| self.plain.iter().any(|plain| plain[at] == found[at]);
        let old = (0..found.len()).find(|at| !is_new(*at));
        let is_spoiled = torn == Torn::Spoiled && end == End::Cut && self.plain.len() > 1;
        assert!(
            old.is_none() || is_spoiled,
            "{}: {PLAIN} at {old:?}",
            context()
        );
        match end {
            End::Cut => self.plain = vec![found],
            End::Kill => {
                // The last change may not have come to it.
                let place = self.plain.iter().rposition(|plain| *plain == found);
                let is_last = place.is_some_and(|place| place + 2 >= self.plain.len());
                assert!(is_last, "{}: {PLAIN}", context());
                self.plain.truncate(place.unwrap_or(0) + 1);
            }
            End::Lost => self.plain.push(found),
        }
    }
}

impl Kept {
    /// What is in front of a record, or all, is overwritten or dropped.
    pub(super) fn begins_at(&mut self, first: Option<&[u8]>) {
        let place = self
            .all
            .iter()
            .rposition(|record| Some(&record[..]) == first);
        self.gone = self.gone.max(place.unwrap_or(self.all.len()));
    }

    fn judge_value(&mut self, name: &str, reader: &Reader<'_>, end: End, context: Context<'_>) {
        let found = reader
            .load(name)
            .unwrap_or_else(|error| panic!("{}: {name}: {error}", context()));
        let found = found.map(|value| value.bytes.to_vec());
        // The last that was committed, or one that was put later.
        let allowed = self.committed.saturating_sub(1)..self.all.len();
        let is_right = match &found {
            None => self.committed == 0,
            Some(bytes) => self.all[allowed].contains(bytes),
        };
        assert!(
            is_right,
            "{}: {name} has {:?}, of {self}",
            context(),
            found.as_deref().map(number_of)
        );
        match end {
            End::Cut => {
                self.all = found.into_iter().collect();
                self.committed = self.all.len();
            }
            // What was committed last may still be what a cut leaves.
            End::Kill | End::Lost => {
                let place = self.all.iter().rposition(|put| Some(put) == found.as_ref());
                self.all.truncate(place.map_or(0, |place| place + 1));
            }
        }
    }

    fn judge_records<'a>(
        &mut self,
        name: &str,
        records: impl Iterator<Item = Result<&'a [u8], Error>>,
        end: End,
        is_spoiled: bool,
        context: Context<'_>,
    ) {
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut damaged = 0;
        for record in records {
            match record {
                Ok(bytes) => found.push(bytes.to_vec()),
                // What is dropped may be what the cut spoils: then the segment before it is there, and it is not.
                Err(_) if is_spoiled && (name == "log" || self.gone > 0) => damaged += 1,
                Err(error) => panic!("{}: {name}: {error}", context()),
            }
        }
        // Its batches share what the cut spoils.
        if is_spoiled && (name == "log" || damaged > 0) {
            assert!(found.iter().all(|record| self.all.contains(record)));
            if name != "log" {
                let kept = self.all.get(self.gone..self.committed).unwrap_or_default();
                assert!(
                    kept.iter().all(|record| found.contains(record)),
                    "{}",
                    context()
                );
            }
            (self.committed, self.gone) = (found.len(), 0);
            self.all = found;
            return;
        }
        let least = match end {
            End::Cut | End::Lost => self.committed,
            End::Kill => self.all.len().saturating_sub(1),
        };
        // Some in a row, up to one that was committed last or later, and from one that was not overwritten on. Each is another.
        let fits = |end: &usize| {
            let start = end.checked_sub(found.len());
            start.is_some_and(|start| start <= self.gone && self.all[start..*end] == found[..])
        };
        let place = match found.len() {
            0 => (least <= self.gone).then_some(least),
            _ => (least..=self.all.len()).rev().find(fits),
        };
        let Some(place) = place else {
            let found: Vec<_> = found.iter().map(|bytes| number_of(bytes)).collect();
            panic!("{}: {name} has {found:?}, of {self}", context());
        };
        self.all.truncate(place);
        self.gone = self.gone.min(place);
        match end {
            End::Cut => (self.committed, self.gone) = (place, place - found.len()),
            End::Kill => {}
            End::Lost => self.gone = place - found.len(),
        }
    }
}
