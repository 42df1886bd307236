//! A table of ranges against one flag for each byte.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rawmap::{DirtyRanges, PageSize, Span};

const BYTES: usize = 512;

#[derive(Arbitrary, Debug)]
enum Call {
    Mark(u16, u16),
    Merge(Vec<(u16, u16)>),
    Clear,
}

fn span(offset: u16, len: u16) -> Span {
    let offset = usize::from(offset) % BYTES;
    Span::new(offset, usize::from(len) % (BYTES - offset + 1), BYTES).unwrap()
}

fn check<const N: usize>(calls: &[Call]) {
    let mut dirty = DirtyRanges::<N>::new();
    // What was marked, and what the table may have beside it.
    let (mut marked, mut may) = ([false; BYTES], [false; BYTES]);
    for call in calls {
        match call {
            Call::Mark(offset, len) => {
                let span = span(*offset, *len);
                dirty.mark(span);
                marked[span.offset()..span.end()].fill(true);
            }
            Call::Merge(others) => {
                let mut other = DirtyRanges::<N>::new();
                for (offset, len) in others {
                    let span = span(*offset, *len);
                    other.mark(span);
                    marked[span.offset()..span.end()].fill(true);
                }
                for range in other.iter() {
                    may[range.offset()..range.end()].fill(true);
                }
                dirty.merge(&other);
            }
            Call::Clear => {
                dirty.clear();
                (marked, may) = ([false; BYTES], [false; BYTES]);
            }
        }
        let mut found = [false; BYTES];
        let mut last_end = None;
        for range in dirty.iter() {
            assert!(!range.is_empty() && last_end.is_none_or(|end| end < range.offset()));
            last_end = Some(range.end());
            found[range.offset()..range.end()].fill(true);
            // Ends are of marks.
            for at in [range.offset(), range.end() - 1] {
                assert!(marked[at] || may[at]);
            }
        }
        assert!((0..BYTES).all(|at| found[at] || !marked[at]));
        assert!(!dirty.is_exact() || found == marked);
        assert!(dirty.len() <= N && dirty.bytes() == found.iter().filter(|is| **is).count());
        let (first, last) = (
            found.iter().position(|is| *is),
            found.iter().rposition(|is| *is),
        );
        let hull = dirty
            .hull()
            .map(|hull| (Some(hull.offset()), Some(hull.end() - 1)));
        assert_eq!(hull, first.map(|_| (first, last)));
        let page = PageSize::new(64).unwrap();
        let mut pages = [false; BYTES];
        for range in dirty.pages(page) {
            assert!(range.offset() % 64 == 0 && range.len() % 64 == 0 && !range.is_empty());
            pages[range.offset()..range.end()].fill(true);
        }
        let has = |at: usize| found[at / 64 * 64..][..64].contains(&true);
        assert!((0..BYTES).all(|at| pages[at] == has(at)));
    }
}

fuzz_target!(|input: (bool, Vec<Call>)| {
    let (few, calls) = input;
    if few {
        check::<2>(&calls)
    } else {
        check::<8>(&calls)
    }
});
