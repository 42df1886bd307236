//! Against a naive model: one flag for each byte.

#![allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "small numbers, and an overflow fails the test"
)]

use super::*;

// Miri is slow.
const BYTES: usize = if cfg!(miri) { 64 } else { 256 };

/// A generator of Marsaglia's kind: the tests need no quality, and no crate in a `no_std` library.
struct Random(u32);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % limit
    }
}

fn span(offset: usize, len: usize) -> Span {
    match Span::new(offset, len, BYTES) {
        Ok(span) => span,
        Err(error) => panic!("{error}"),
    }
}

/// What the table holds, byte by byte; and its invariant.
fn bitmap<const N: usize>(dirty: &DirtyRanges<N>) -> [bool; BYTES] {
    let mut bits = [false; BYTES];
    let mut last_end = None;
    for range in dirty.iter() {
        assert!(!range.is_empty());
        assert!(last_end.is_none_or(|end| end < range.offset()), "{dirty:?}");
        last_end = Some(range.end());
        bits[range.offset()..range.end()].fill(true);
    }
    assert!(dirty.len() <= N);
    bits
}

/// The naive table: the marked bytes in runs, and while there are too many, the nearest two joined.
fn join_nearest(bits: &mut [bool; BYTES], places: usize) {
    loop {
        let mut runs = Vec::<(usize, usize), BYTES>::new();
        for (i, bit) in bits.iter().enumerate() {
            if *bit {
                match runs.last_mut() {
                    Some(run) if run.1 == i => run.1 = i + 1,
                    _ => assert!(runs.push((i, i + 1)).is_ok()),
                }
            }
        }
        if runs.len() <= places {
            return;
        }
        let nearest = (1..runs.len()).min_by_key(|right| runs[*right].0 - runs[*right - 1].1);
        let right = nearest.unwrap_or(1);
        bits[runs[right - 1].1..runs[right].0].fill(true);
    }
}

fn check<const N: usize>(marks: impl Iterator<Item = (usize, usize)>) {
    let mut dirty = DirtyRanges::<N>::new();
    let mut model = [false; BYTES];
    let mut marked_ever = [false; BYTES];
    for (turn, (offset, len)) in marks.enumerate() {
        dirty.mark(span(offset, len));
        model[offset..offset + len].fill(true);
        marked_ever[offset..offset + len].fill(true);
        let before = bitmap(&dirty);
        assert!(!dirty.is_exact() || before == marked_ever, "{dirty:?}");
        for range in dirty.iter() {
            assert!(marked_ever[range.offset()] && marked_ever[range.end() - 1]);
        }
        // No byte is forgotten, and none is added that need not be.
        for (i, marked) in model.iter().enumerate() {
            assert!(!marked || before[i], "byte {i} was forgotten: {dirty:?}");
        }
        join_nearest(&mut model, N);
        let count = |bits: &[bool; BYTES]| bits.iter().filter(|bit| **bit).count();
        assert_eq!(count(&before), count(&model), "{offset}+{len}: {dirty:?}");
        // Where two gaps are the same, either may be closed: go on with the one that was.
        model = before;
        assert_eq!(dirty.bytes(), count(&model));
        let hull = dirty.hull().map(|hull| (hull.offset(), hull.end()));
        let first = model.iter().position(|bit| *bit);
        let last = model.iter().rposition(|bit| *bit);
        assert_eq!(hull, first.zip(last.map(|last| last + 1)));
        for bits in if turn % 8 == 7 { 0..8 } else { 0..0 } {
            let Ok(page) = PageSize::from_bits(bits) else {
                return;
            };
            for head in [0, page.get() - 1] {
                let mut want = [false; BYTES + 256];
                for i in (0..BYTES).filter(|i| model[*i]) {
                    let start = page.floor(i + head);
                    want[start..start + page.get()].fill(true);
                }
                let mut found = [false; BYTES + 256];
                let mut last_end = None;
                for pages in dirty.pages_from(page, head) {
                    assert!(last_end.is_none_or(|end| end < pages.offset()));
                    last_end = Some(pages.end());
                    found[pages.offset()..pages.end()].fill(true);
                }
                assert_eq!(found, want);
            }
        }
    }
    dirty.clear();
    assert!(dirty.is_empty() && dirty.hull().is_none() && dirty.iter().next().is_none());
}

fn check_all<I: Iterator<Item = (usize, usize)>>(marks: impl Fn() -> I) {
    check::<2>(marks());
    if cfg!(not(miri)) {
        check::<1>(marks());
        check::<3>(marks());
        check::<7>(marks());
        check::<64>(marks());
    }
}

#[test]
fn random_marks_are_never_forgotten() {
    let rounds: u32 = if cfg!(miri) { 1 } else { 2 };
    for seed in 1..=rounds {
        for longest in if cfg!(miri) { 4..5 } else { 1..40 } {
            check_all(|| {
                let mut random = Random(seed.wrapping_mul(2_654_435_769));
                (0..if cfg!(miri) { 20 } else { 60 }).map(move |_| {
                    let offset = random.below(BYTES);
                    (offset, random.below(longest + 1).min(BYTES - offset))
                })
            });
        }
    }
}

#[test]
#[cfg(not(miri))]
fn orders_that_are_hard_are_never_forgotten() {
    let step = 4;
    let up = || (0..BYTES).step_by(step);
    check_all(|| up().map(|i| (i, 1)));
    check_all(|| up().rev().map(|i| (i, 1)));
    // From both ends to the middle, and from the middle out.
    check_all(|| {
        up().map(|i| {
            (
                if i % (2 * step) == 0 {
                    i / 2
                } else {
                    BYTES - 1 - i / 2
                },
                1,
            )
        })
    });
    check_all(|| {
        up().map(|i| {
            (
                if i % (2 * step) == 0 {
                    BYTES / 2 + i / 2
                } else {
                    BYTES / 2 - i / 2
                },
                1,
            )
        })
    });
    // Gaps that double, so that the nearest is always at one end; then bridges over all of them.
    check_all(|| {
        (0..8)
            .map(|i| ((1 << i) - 1, 1))
            .chain([(0, 200), (100, 0), (255, 1), (0, 256)])
    });
    check_all(|| (0..8).rev().map(|i| ((1 << i) - 1, 1)).chain([(3, 60)]));
    // Every second byte, then the bytes between.
    check_all(|| {
        (0..BYTES)
            .step_by(2 * step)
            .map(|i| (i, step))
            .chain(up().map(|i| (i, step)))
    });
}

#[test]
fn the_end_of_the_address_space_is_a_place_like_others() {
    let mut dirty = DirtyRanges::<2>::new();
    let last = |offset, len| Span::new(offset, len, usize::MAX);
    for mark in [last(usize::MAX - 1, 1), last(usize::MAX - 9, 1), last(0, 1)] {
        assert!(mark.map(|span| dirty.mark(span)).is_ok());
    }
    assert_eq!(dirty.bytes(), 1 + 9);
    assert_eq!(dirty.pages(PageSize::KIB_4).count(), 2);
    let end = dirty.pages(PageSize::KIB_4).last().map(Span::end);
    assert_eq!(end, Some(usize::MAX));
}

/// What both tables hold is in the merged one, and it keeps the invariant, also where there is no place left.
#[test]
fn merging_into_a_full_table_forgets_nothing() {
    fn check<const N: usize>(random: &mut Random) {
        let mut tables = [DirtyRanges::<N>::new(), DirtyRanges::<N>::new()];
        for table in &mut tables {
            for _ in 0..random.below(2 * N + 1) {
                let offset = random.below(BYTES);
                let len = random.below((BYTES - offset).min(8) + 1);
                table.mark(span(offset, len));
            }
        }
        let [mut into, other] = tables;
        let before = [bitmap(&into), bitmap(&other)];
        let exact = into.is_exact() && other.is_exact();
        into.merge(&other);
        let merged = bitmap(&into);
        let mut more = false;
        for (at, bit) in merged.iter().enumerate() {
            let marked = before[0][at] || before[1][at];
            assert!(*bit || !marked, "byte {at} is forgotten: {into:?}");
            more |= *bit && !marked;
        }
        // More bytes than were marked are never called exact.
        assert!(!into.is_exact() || exact && !more, "{into:?}");
    }
    let mut random = Random(7);
    for _ in 0..if cfg!(miri) { 20 } else { 5_000 } {
        check::<1>(&mut random);
        check::<2>(&mut random);
        check::<5>(&mut random);
    }
    // The last of a full table, into a full table.
    let (mut into, mut other) = (DirtyRanges::<2>::new(), DirtyRanges::<2>::new());
    for at in [0, 20] {
        into.mark(span(at, 1));
    }
    for at in [40, 60] {
        other.mark(span(at, 1));
    }
    into.merge(&other);
    let bits = bitmap(&into);
    assert!([0, 20, 40, 60].iter().all(|at| bits[*at]), "{into:?}");
}
