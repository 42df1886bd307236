//! The steps of a power-cut run. The guest takes them, the host knows what they promise: both make them from
//! the same seed.

use oorandom::Rand32;
use serde::{Deserialize, Serialize};

use crate::piece::Piece;
use crate::record::{MOST, record, record_of};

/// What a run is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Every kind of flush; nothing that was acknowledged may be lost.
    Flushes,
    /// Flushes that are wrong: each must lose.
    Controls,
    /// The same as [`Flushes`](Self::Flushes), on a file system that never flushes its device: must lose.
    NoBarrier,
    /// A file that grows until the disk is full, and goes on.
    FullDisk,
    /// A device that fails to write a block, once.
    BadBlock,
}

/// How a step stores and flushes. Each has a file of its own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Style {
    /// `flush`: all of the map.
    Flush,
    /// `flush_range` inside a page.
    Range,
    /// `flush_range` over the end of a page.
    Across,
    /// `flush_range` of a map that starts inside a page of the file.
    InPage,
    /// `flush_range` of a map that starts past 4 GiB, inside a page.
    Past4Gib,
    /// Stores all over the map, then one `flush`.
    Scattered,
    /// `Tracked`: writes, then one `commit`.
    Tracked,
    /// `Flash::new`: writes as to a flash chip, each on the medium when it says `Ok`.
    Chip,
    /// `grow`, a store behind the old end, `flush_range`.
    Grow,
    /// Control: stores only.
    Nothing,
    /// Control: `flush_async`.
    Async,
    /// Control: `flush_range` of the next page.
    WrongPage,
    /// Control: a record over the end of a page, and `flush_range` of the first page.
    Short,
    /// Control: a long record over the older one, and the claim that one of them is whole at any time.
    Whole,
    /// Control: a record in each of two pages, and the claim that both are there or none.
    Together,
    /// `grow` by a page, until the disk is full.
    Fill,
    /// `flush_range` on a block that fails once; then `retry_flush`.
    Retry,
    /// Control: the same block, and a second msync(2) in place of the retry.
    Forget,
}

/// Pages of a file that are mapped.
const PAGES: usize = 6;

impl Scenario {
    /// All, in the order of the report.
    pub const ALL: [Self; 5] = [
        Self::Flushes,
        Self::Controls,
        Self::NoBarrier,
        Self::FullDisk,
        Self::BadBlock,
    ];

    /// As it is written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flushes => "flushes",
            Self::Controls => "controls",
            Self::NoBarrier => "no-barrier",
            Self::FullDisk => "full-disk",
            Self::BadBlock => "bad-block",
        }
    }

    /// The styles of its steps.
    pub fn styles(self, large_files: bool) -> Vec<Style> {
        let mut styles = match self {
            Self::Flushes | Self::NoBarrier => vec![
                Style::Flush,
                Style::Range,
                Style::Across,
                Style::InPage,
                Style::Past4Gib,
                Style::Scattered,
                Style::Tracked,
                Style::Chip,
                Style::Grow,
            ],
            Self::Controls => vec![
                Style::Nothing,
                Style::Async,
                Style::WrongPage,
                Style::Short,
                Style::Whole,
                Style::Together,
            ],
            Self::FullDisk => vec![Style::Fill, Style::Range],
            Self::BadBlock => vec![Style::Retry, Style::Forget, Style::Range],
        };
        styles.retain(|style| large_files || *style != Style::Past4Gib);
        styles
    }

    /// How many steps a run has.
    pub const fn steps(self) -> u32 {
        match self {
            Self::Flushes | Self::NoBarrier => 96,
            Self::Controls => 72,
            Self::FullDisk => 72,
            Self::BadBlock => 24,
        }
    }
}

impl Style {
    /// As it is written in the report; also the name of its file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Range => "range",
            Self::Across => "across",
            Self::InPage => "in-page",
            Self::Past4Gib => "past-4-gib",
            Self::Scattered => "scattered",
            Self::Tracked => "tracked",
            Self::Chip => "chip",
            Self::Grow => "grow",
            Self::Nothing => "nothing",
            Self::Async => "async",
            Self::WrongPage => "wrong-page",
            Self::Short => "short",
            Self::Whole => "whole",
            Self::Together => "together",
            Self::Fill => "fill",
            Self::Retry => "retry",
            Self::Forget => "forget",
        }
    }

    /// Whether it promises more than it does.
    pub const fn is_control(self) -> bool {
        matches!(
            self,
            Self::Nothing
                | Self::Async
                | Self::WrongPage
                | Self::Short
                | Self::Whole
                | Self::Together
                | Self::Forget
        )
    }

    /// Whether its file starts empty and gets longer.
    pub const fn grows(self) -> bool {
        matches!(self, Self::Grow | Self::Fill)
    }

    /// Whether its file is on the disk before the guest starts, so that the host knows its blocks.
    pub const fn is_made_by_the_host(self) -> bool {
        matches!(self, Self::Retry | Self::Forget)
    }

    /// The byte that its file is full of at the start.
    pub const fn first_byte(self) -> u8 {
        if self.is_made_by_the_host() { 0x5A } else { 0 }
    }

    /// The part of its file that is mapped, or will be when it has grown.
    pub fn piece(self, page: usize) -> Piece {
        let (offset, len) = match self {
            Self::InPage => (1000, PAGES * page - 1234),
            Self::Past4Gib => ((5 << 30) + 777, PAGES * page - 999),
            Self::Fill => (0, 4 * PAGES * page),
            _ => (0, PAGES * page),
        };
        Piece {
            file: self.name().to_owned(),
            offset,
            len,
        }
    }
}

/// A store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// Offset in the map, in bytes.
    pub at: usize,
    /// A record.
    pub bytes: Vec<u8>,
}

/// One step: stores, and a flush that promises them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// From 1.
    pub number: u32,
    /// How it flushes.
    pub style: Style,
    /// What it stores, in order.
    pub writes: Vec<Write>,
    /// The length that the map must have, in bytes.
    pub map_len: usize,
}

/// Makes the steps, without end.
#[derive(Clone, Debug)]
pub struct Steps {
    random: Rand32,
    styles: Vec<Style>,
    /// Of the styles, those that come before each has come once more.
    bag: Vec<usize>,
    page: usize,
    number: u32,
    /// Bytes that the map of a style has by now.
    lens: Vec<usize>,
    /// Whether a style has had a step.
    begun: Vec<bool>,
}

impl Steps {
    /// Those of a scenario.
    pub fn new(scenario: Scenario, seed: u64, page: usize, large_files: bool) -> Self {
        let styles = scenario.styles(large_files);
        let len = |style: &Style| match style.grows() {
            true => 0,
            false => style.piece(page).len,
        };
        let lens = styles.iter().map(len).collect();
        let begun = vec![false; styles.len()];
        Self {
            random: Rand32::new(seed),
            styles,
            bag: Vec::new(),
            page,
            number: 0,
            lens,
            begun,
        }
    }

    /// A checksum of so many.
    pub fn sum(self, count: u32) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        for step in self.take(count as usize) {
            sum.update(format!("{step:?}").as_bytes());
        }
        sum.finalize()
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.rand_range(0..limit as u32) as usize
    }

    /// A place for so many bytes over the end of a page of the file, or where it likes.
    fn place(&mut self, len: usize, map_len: usize, head: usize, style: Style) -> usize {
        let page = self.page;
        let anywhere = self.below(map_len - len + 1);
        let inside = |at: usize| {
            // Moved back until it ends with its page.
            let end = (head + at) / page * page + page;
            at - (head + at + len).saturating_sub(end).min(at)
        };
        match style {
            Style::Range | Style::WrongPage => inside(anywhere),
            Style::Across | Style::Short => self.across(len, map_len, head),
            Style::InPage | Style::Past4Gib if self.number.is_multiple_of(2) => {
                self.across(len, map_len, head)
            }
            _ => anywhere,
        }
    }

    fn across(&mut self, len: usize, map_len: usize, head: usize) -> usize {
        let ends = (head + map_len) / self.page;
        let end = (1 + self.below(ends - 1)) * self.page - head;
        // At least a byte on each side.
        (end - 1 - self.below(len - 1)).min(map_len - len)
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.number += 1;
        if self.bag.is_empty() {
            self.bag.extend(0..self.styles.len());
        }
        let drawn = self.below(self.bag.len());
        let which = self.bag.swap_remove(drawn);
        let style = self.styles[which];
        let piece = style.piece(self.page);
        let head = (piece.offset % self.page as u64) as usize;
        let count = match style {
            Style::Scattered => 8,
            Style::Tracked => 1 + self.below(6),
            Style::Chip => 1 + self.below(3),
            Style::Together => 2,
            _ => 1,
        };
        let mut writes = Vec::new();
        for turn in 0..count {
            let bytes = match style {
                // Inside a block, and longer than most devices write all or not at all.
                Style::Whole => record_of(self.number, 3000, &mut self.random),
                _ => record(self.number, &mut self.random),
            };
            let old_len = self.lens[which];
            let at = match style {
                // A record behind the end, as long as there is room; then over the older ones.
                Style::Grow if old_len + MOST + self.page < piece.len => {
                    let gap = match self.below(3) {
                        0 => self.below(self.page),
                        _ => 0,
                    };
                    self.lens[which] = old_len + gap + bytes.len();
                    old_len + gap
                }
                Style::Fill if old_len < piece.len => {
                    self.lens[which] = old_len + self.page;
                    old_len + self.below(self.page - bytes.len())
                }
                // Each over the older one; not in pages that are beside each other, and so one write.
                Style::Whole => 100,
                Style::Together => turn * 3 * self.page + 100,
                // The block that fails is in the first page. What the control has lost of it nobody stores again.
                Style::Retry => self.below(self.page - bytes.len()),
                Style::Forget if !self.begun[which] => self.below(self.page - bytes.len()),
                Style::Forget => {
                    let page = 1 + self.below(PAGES - 1);
                    page * self.page + self.below(self.page - bytes.len())
                }
                _ => self.place(bytes.len(), old_len, head, style),
            };
            self.begun[which] = true;
            writes.push(Write { at, bytes });
        }
        Some(Step {
            number: self.number,
            style,
            writes,
            map_len: self.lens[which],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each store lies in its map, and where its style says.
    #[test]
    fn steps_are_what_their_style_says() {
        for scenario in Scenario::ALL {
            for page in [4096, 16384, 65536] {
                let steps = || Steps::new(scenario, 7, page, true);
                assert!(steps().take(50).eq(steps().take(50)), "the seed decides");
                let mut seen = std::collections::BTreeSet::new();
                for step in steps().take(2000) {
                    seen.insert(step.style);
                    let piece = step.style.piece(page);
                    assert!(step.map_len <= piece.len, "{step:?}");
                    let head = (piece.offset % page as u64) as usize;
                    for write in &step.writes {
                        let end = write.at + write.bytes.len();
                        assert!(end <= step.map_len, "{step:?}");
                        let pages = (head + end - 1) / page - (head + write.at) / page + 1;
                        match step.style {
                            Style::Across | Style::Short => assert_eq!(pages, 2, "{step:?}"),
                            Style::Range | Style::WrongPage => assert_eq!(pages, 1, "{step:?}"),
                            _ => {}
                        }
                        assert_eq!(crate::record::check(&write.bytes), Some(step.number));
                    }
                }
                assert_eq!(seen.len(), scenario.styles(true).len());
            }
        }
    }
}
