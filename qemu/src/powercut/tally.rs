//! Counts what the cuts of a run left.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rawmap_guest::workload::Style;

use super::check::Checker;
use super::medium::{Left, Sum};
use super::places::{Cut, Kind};
use super::report::{Outcome, OutcomeOfKind, OutcomeOfStyle};
use super::run::Run;
use crate::rows::{Filesystem, Machine};

/// Counts of a run, by style and by kind of cut.
pub struct Tally {
    kinds: BTreeMap<Kind, CountOfKind>,
    styles: BTreeMap<Style, CountOfStyle>,
    unreadable: Vec<Cut>,
}

#[derive(Default)]
struct CountOfKind {
    found: OutcomeOfKind,
    images: BTreeSet<Sum>,
}

#[derive(Default)]
struct CountOfStyle {
    checked: u64,
    lost: BTreeMap<Kind, u64>,
    first: Option<(Cut, Vec<u32>)>,
}

impl Tally {
    /// Nothing yet.
    pub fn new(run: &Run) -> Self {
        let styles = run.scenario.styles(run.large_files).into_iter();
        Self {
            kinds: BTreeMap::new(),
            styles: styles
                .map(|style| (style, CountOfStyle::default()))
                .collect(),
            unreadable: Vec::new(),
        }
    }

    /// How many so far.
    pub fn cuts(&self) -> u32 {
        self.kinds.values().map(|kind| kind.found.cuts).sum()
    }

    /// What a cut left: the files in the order of the styles, or none where the image could not be mounted.
    pub fn take(
        &mut self,
        checker: &Checker<'_>,
        cut: Cut,
        left: &Left,
        files: Option<&[Rc<[u8]>]>,
        is_rescued: bool,
    ) {
        let kind = self.kinds.entry(cut.kind).or_default();
        kind.images.insert(left.sum);
        kind.found.cuts += 1;
        kind.found.differ += u32::from(left.differs);
        kind.found.rescued += u32::from(is_rescued);
        let Some(files) = files else {
            kind.found.unreadable += 1;
            self.unreadable.push(cut);
            return;
        };
        for ((style, count), medium) in self.styles.iter_mut().zip(files) {
            let found = checker.check(*style, medium);
            count.checked += u64::from(found.acked);
            *count.lost.entry(cut.kind).or_default() += found.lost.len() as u64;
            if !found.lost.is_empty() && count.first.is_none() {
                count.first = Some((cut, found.lost.into_iter().collect()));
            }
        }
    }

    /// What came of the run, of which the judge has seen all.
    pub fn outcome(
        self,
        machine: &Machine,
        filesystem: &Filesystem,
        run: &Run,
        checker: &Checker<'_>,
        command: &str,
    ) -> Outcome {
        let again =
            |cut: &Cut, what: &str| format!("{cut}: {what}; again: {command} {}", cut.number);
        let unreadable = self.unreadable.first();
        let style = |(style, count): (Style, CountOfStyle)| {
            let first = count.first.as_ref();
            let first = first.map(|(cut, lost)| again(cut, &format!("steps {lost:?}")));
            OutcomeOfStyle {
                style,
                acked: checker.acked(style),
                checked: count.checked,
                lost: count.lost,
                first: first.or_else(|| Some(again(unreadable?, "not to be mounted"))),
            }
        };
        let images: BTreeSet<_> = self.kinds.values().flat_map(|kind| &kind.images).collect();
        let images = images.len() as u32;
        let kind = |(kind, count): (Kind, CountOfKind)| {
            let found = OutcomeOfKind {
                images: count.images.len() as u32,
                ..count.found
            };
            (kind, found)
        };
        Outcome {
            machine: machine.name.clone(),
            kernel: run.kernel.clone(),
            page: run.page,
            filesystem: filesystem.name.clone(),
            scenario: run.scenario,
            large: run.large_files,
            images,
            kinds: self.kinds.into_iter().map(kind).collect(),
            full: run.acks.iter().any(|ack| ack.full),
            says: run.says.clone(),
            styles: self.styles.into_iter().map(style).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rawmap_guest::workload::Scenario;

    use super::super::check::tests::{PAGE, acknowledged, after};
    use super::*;
    use crate::rows::Rows;

    /// Of each scenario: a good image, the same one again, one that lost all, one that was not mounted.
    #[test]
    fn each_cut_counts() {
        let rows = Rows::read().unwrap();
        let (machine, filesystem) = (&rows.machine[0], &rows.filesystem[0]);
        for scenario in Scenario::ALL {
            let run = acknowledged(scenario, 24);
            let (checker, live, _) = after(&run, 24);
            let styles: Vec<_> = live.keys().copied().collect();
            let good: Vec<Rc<[u8]>> = live.values().map(|file| file[..].into()).collect();
            let lost = |style: &Style| vec![0xEE; style.piece(PAGE).len].into();
            let lost: Vec<Rc<[u8]>> = styles.iter().map(lost).collect();
            let mut tally = Tally::new(&run);
            let cut = |number, kind| Cut {
                number,
                entries: 24,
                kind,
            };
            let left = |sum: u8, differs| Left {
                sum: [sum; 32],
                differs,
            };
            let mut take = |cut, left: Left, files: Option<&Vec<Rc<[u8]>>>, is_rescued| {
                tally.take(
                    &checker,
                    cut,
                    &left,
                    files.map(|files| &files[..]),
                    is_rescued,
                );
            };
            take(cut(0, Kind::Strict), left(1, false), Some(&good), false);
            take(cut(1, Kind::Strict), left(1, false), Some(&good), false);
            take(cut(2, Kind::Torn), left(2, true), Some(&lost), true);
            take(cut(3, Kind::Torn), left(3, true), None, false);
            assert_eq!(tally.cuts(), 4);
            let outcome = tally.outcome(machine, filesystem, &run, &checker, "again");
            assert_eq!(outcome.images, 3);
            let of = |kind| {
                let found: &OutcomeOfKind = &outcome.kinds[&kind];
                [
                    found.cuts,
                    found.images,
                    found.differ,
                    found.rescued,
                    found.unreadable,
                ]
            };
            assert_eq!(of(Kind::Strict), [2, 1, 0, 0, 0]);
            assert_eq!(of(Kind::Torn), [2, 2, 2, 1, 1]);
            assert_eq!(outcome.styles.len(), styles.len());
            for style in &outcome.styles {
                assert!(style.acked > 0 && style.checked == 3 * u64::from(style.acked));
                assert_eq!(style.lost[&Kind::Strict], 0);
                assert!(
                    style.lost[&Kind::Torn] > 0,
                    "{scenario:?} {:?}",
                    style.style
                );
                assert!(
                    style
                        .first
                        .as_ref()
                        .is_some_and(|first| first.contains("again 2"))
                );
            }
        }
    }
}
