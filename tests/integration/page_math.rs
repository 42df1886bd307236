//! Rung 1: page and span math against sums in u128, which cannot wrap.

use proptest::prelude::*;
use rawmap_core::{Error, PageSize, Span};

/// 4 KiB to 64 KiB, and what no kernel has: 1 byte and the largest.
fn page() -> impl Strategy<Value = PageSize> {
    prop_oneof![
        4 => 12u8..=16,
        1 => 0..usize::BITS as u8,
    ]
    .prop_map(|bits| PageSize::from_bits(bits).expect("in range"))
}

/// Small numbers, numbers around page borders, and both ends of `usize`.
fn number() -> impl Strategy<Value = usize> {
    prop_oneof![
        0usize..300_000,
        (0usize..40, -2isize..=2).prop_map(|(page, by)| (page << 12).saturating_add_signed(by)),
        (usize::MAX - 200_000)..=usize::MAX,
        (isize::MAX as usize - 9)..=(isize::MAX as usize + 9),
        any::<usize>(),
    ]
}

fn fits(value: u128) -> Option<usize> {
    usize::try_from(value).ok()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(rawmap_tests::rounds(2000)) })]

    #[test]
    fn rounding_agrees_with_wide_division(page in page(), value in number()) {
        let (size, wide) = (page.get() as u128, value as u128);
        prop_assert_eq!(page.floor(value) as u128, wide / size * size);
        prop_assert_eq!(page.offset_in_page(value) as u128, wide % size);
        prop_assert_eq!(page.ceil(value), fits(wide.div_ceil(size) * size));
        // Inside a page, the two parts are the whole.
        prop_assert_eq!(page.floor(value) + page.offset_in_page(value), value);
    }

    #[test]
    fn rounding_of_file_offsets_agrees_with_wide_division(page in page(), value: u64) {
        let (size, wide) = (page.get() as u128, u128::from(value));
        prop_assert_eq!(u128::from(page.floor_u64(value)), wide / size * size);
        prop_assert_eq!(u128::from(page.offset_in_page_u64(value)), wide % size);
        let up = u64::try_from(wide.div_ceil(size) * size).ok();
        prop_assert_eq!(page.ceil_u64(value), up);
    }

    #[test]
    fn cover_is_the_smallest_run_of_pages(page in page(), start in number(), len in number()) {
        let size = page.get() as u128;
        let first = start as u128 / size * size;
        let last = (start as u128 + len as u128).div_ceil(size) * size;
        let want = if len == 0 {
            Some((page.floor(start), 0))
        } else {
            fits(last).map(|last| (first as usize, last - first as usize))
        };
        prop_assert_eq!(page.cover(start, len), want);
    }

    #[test]
    fn a_span_is_accepted_exactly_when_it_fits(
        offset in number(),
        len in number(),
        limit in number(),
    ) {
        let fits = offset as u128 + len as u128 <= limit as u128;
        match Span::new(offset, len, limit) {
            Ok(span) => {
                prop_assert!(fits);
                prop_assert_eq!((span.offset(), span.len(), span.end()), (offset, len, offset + len));
            }
            Err(error) => {
                prop_assert!(!fits);
                let want = Error::OutOfRange {
                    offset: offset as u64,
                    len: len as u64,
                    limit: limit as u64,
                };
                prop_assert_eq!(error, want);
            }
        }
    }

    #[test]
    fn a_span_covers_the_pages_of_its_bytes(page in page(), offset in number(), len in number()) {
        if let Ok(span) = Span::new(offset, len, usize::MAX) {
            prop_assert_eq!(span.pages(page), page.cover(offset, len));
        }
    }
}
