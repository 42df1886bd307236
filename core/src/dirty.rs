//! [`DirtyRanges`]: which bytes were changed and are not on stable storage yet.

use core::fmt;

use heapless::Vec;

use crate::page::PageSize;
use crate::span::Span;

/// A table of at most `N` ranges of bytes, in order and apart from each other.
///
/// It never forgets a byte. Where a range more does not fit, the two nearest are made one, with the bytes
/// between them: that may flush more, and never less. `N` is at least 1, which the compiler checks.
///
/// # Examples
///
/// ```
/// use rawmap_core::{DirtyRanges, Span};
///
/// let mut dirty = DirtyRanges::<2>::new();
/// dirty.mark(Span::new(100, 10, 8192)?);
/// dirty.mark(Span::new(110, 10, 8192)?);
/// dirty.mark(Span::new(8000, 100, 8192)?);
/// assert_eq!(dirty.len(), 2);
/// // No place for a third: the nearest two become one.
/// dirty.mark(Span::new(200, 1, 8192)?);
/// let ends: Vec<_> = dirty.iter().map(|span| (span.offset(), span.end())).collect();
/// assert_eq!(ends, [(100, 201), (8000, 8100)]);
/// # Ok::<(), rawmap_core::Error>(())
/// ```
#[derive(Clone)]
pub struct DirtyRanges<const N: usize> {
    // Invariant: no range is empty, each ends before the next begins, with at least one byte between
    // them, and every byte that was marked since the last `clear` is in one. The first and the last byte of
    // each were marked; so were those between, while `exact` holds.
    ranges: Vec<Span, N>,
    exact: bool,
}

impl<const N: usize> DirtyRanges<N> {
    const HAS_A_PLACE: () = assert!(N > 0, "a table without a place would forget");

    /// Starts with no bytes.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        let () = Self::HAS_A_PLACE;
        Self {
            ranges: Vec::new(),
            exact: true,
        }
    }

    /// Remembers that these bytes were changed.
    ///
    /// Writes in rising order, and the last range again, take about ten instructions; others a search
    /// among the ranges, and moving those behind.
    #[inline]
    pub fn mark(&mut self, span: Span) {
        // Most marks are of the last range, or grow it: the next record, or the same one again. Nothing comes
        // after it, so that it can only meet what comes before, and that it does not.
        match self.ranges.last_mut() {
            Some(last) if last.offset() <= span.offset() && span.offset() <= last.end() => {
                if last.end() < span.end() {
                    *last = last.up_to(span);
                }
            }
            _ if span.is_empty() => {}
            _ => self.insert(span),
        }
    }

    /// Puts a span that holds a byte where it belongs.
    #[inline(never)]
    fn insert(&mut self, mut span: Span) {
        // Those that it meets, also end to end: from the first that does not end before it, to the last
        // that does not begin after it.
        let first = self
            .ranges
            .partition_point(|range| range.end() < span.offset());
        let rest = self.ranges.get(first..).unwrap_or(&[]);
        match rest.first() {
            // Written again.
            Some(range) if range.offset() <= span.offset() && span.end() <= range.end() => return,
            _ => {}
        }
        let met = rest.partition_point(|range| range.offset() <= span.end());
        let end = first.saturating_add(met);
        if met > 0 {
            for number in [first, end.wrapping_sub(1)] {
                if let Some(range) = self.ranges.get(number) {
                    span = span.hull(*range);
                }
            }
            if let Some(range) = self.ranges.get_mut(first) {
                *range = span;
            }
            self.remove(first.saturating_add(1), end);
        } else if let Err(span) = self.ranges.insert(first, span) {
            self.insert_into_full(first, span);
        }
    }

    /// Takes out the ranges with these numbers.
    fn remove(&mut self, first: usize, end: usize) {
        if let Some(tail) = self.ranges.get_mut(first..) {
            let gone = end.saturating_sub(first).min(tail.len());
            tail.rotate_left(gone);
            let left = self.ranges.len().saturating_sub(gone);
            self.ranges.truncate(left);
        }
    }

    /// The table is full, and a range is to be at number `at`, meeting no other: of all that are then
    /// neighbours, the nearest two become one.
    #[cold]
    fn insert_into_full(&mut self, at: usize, span: Span) {
        self.exact = false;
        let gap = |left: &Span, right: &Span| right.offset().saturating_sub(left.end());
        let before = at.checked_sub(1);
        let to_left = before.and_then(|before| Some(gap(self.ranges.get(before)?, &span)));
        let to_right = self.ranges.get(at).map(|right| gap(&span, right));
        // The nearest pair that is there, by the number of its right one.
        let pair = (1..self.ranges.len())
            .filter(|right| *right != at)
            .filter_map(|right| {
                let left = self.ranges.get(right.wrapping_sub(1))?;
                Some((gap(left, self.ranges.get(right)?), right))
            })
            .min();
        let own = match (to_left, to_right) {
            (Some(left), Some(right)) if left <= right => Some((left, before)),
            (_, Some(right)) => Some((right, Some(at))),
            (left, None) => left.map(|left| (left, before)),
        };
        match (pair, own) {
            (Some((apart, right)), Some((own, _))) if apart < own => {
                self.join(right);
                let at = if right < at { at.wrapping_sub(1) } else { at };
                // There is a place now.
                let _ = self.ranges.insert(at, span);
            }
            (_, own) => {
                let neighbour = own.and_then(|(_, neighbour)| neighbour).unwrap_or(0);
                if let Some(range) = self.ranges.get_mut(neighbour) {
                    *range = range.hull(span);
                }
            }
        }
    }

    /// Makes a range and the one before it one.
    fn join(&mut self, right: usize) {
        if let Some(end) = self.ranges.get(right).copied() {
            if let Some(left) = self.ranges.get_mut(right.wrapping_sub(1)) {
                *left = left.hull(end);
            }
            self.remove(right, right.saturating_add(1));
        }
    }

    /// Remembers what another table does, too.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|span| self.mark(span));
        self.exact &= other.exact;
    }

    /// Returns whether the ranges hold no byte that was not marked: no two were made one for want of a place.
    #[must_use]
    #[inline]
    pub const fn is_exact(&self) -> bool {
        self.exact
    }

    /// Returns the ranges, in rising order.
    #[must_use]
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Span> + DoubleEndedIterator + Clone + '_ {
        self.ranges.iter().copied()
    }

    /// Returns the smallest span that holds all ranges, or `None` where there is none.
    #[must_use]
    #[inline]
    pub fn hull(&self) -> Option<Span> {
        Some(self.ranges.first()?.hull(*self.ranges.last()?))
    }

    /// Returns the whole pages that hold the ranges, in rising order; pages that touch are one span.
    ///
    /// Offset 0 is the start of a page. A last page whose end does not fit in a `usize` ends there.
    pub fn pages(&self, page: PageSize) -> impl Iterator<Item = Span> + '_ {
        self.pages_from(page, 0)
    }

    /// Like [`pages`](Self::pages), where offset 0 is `head` bytes after the start of a page. The spans count
    /// from that start.
    pub(crate) fn pages_from(
        &self,
        page: PageSize,
        head: usize,
    ) -> impl Iterator<Item = Span> + '_ {
        let mut ranges = self.ranges.iter().peekable();
        core::iter::from_fn(move || {
            let mut pages = ranges.next()?.shifted(head).out_to_pages(page);
            while let Some(next) = ranges.peek() {
                let next = next.shifted(head).out_to_pages(page);
                if next.offset() > pages.end() {
                    break;
                }
                pages = pages.up_to(next);
                ranges.next();
            }
            Some(pages)
        })
    }

    /// Returns the number of bytes in all ranges.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // They are apart, so the sum is at most that of the bytes that there are.
        self.iter()
            .fold(0, |sum, span| sum.saturating_add(span.len()))
    }

    /// Returns the number of ranges.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Returns `N`.
    #[must_use]
    #[inline]
    pub const fn capacity(&self) -> usize {
        N
    }

    /// Returns whether no byte was changed.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Forgets all ranges. For after a flush that was `Ok`.
    #[inline]
    pub fn clear(&mut self) {
        self.ranges.clear();
        self.exact = true;
    }
}

impl<const N: usize> Default for DirtyRanges<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for DirtyRanges<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = self.ranges.iter().map(|span| span.offset()..span.end());
        f.debug_list().entries(ends).finish()
    }
}

#[cfg(test)]
mod tests;
