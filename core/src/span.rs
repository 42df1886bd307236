//! [`Span`]: a byte range that was checked against a length.

use crate::error::Error;
use crate::page::PageSize;

/// A range of bytes, `offset..offset + len`, that was checked to lie inside something of a known length.
///
/// Every ranged call makes a `Span` against the length of its map first. The fields are private
/// and [`Span::new`] is the only constructor, so a holder of one needs no second check: the end
/// does not overflow. Think before you add another way to build it.
///
/// # Examples
///
/// ```
/// use rawmap_core::{PageSize, Span};
///
/// let span = Span::new(5000, 100, 8192)?;
/// assert_eq!(span.pages(PageSize::KIB_4), Some((4096, 4096)));
/// assert!(Span::new(8192, 0, 8192).is_ok());
/// assert!(Span::new(8192, 1, 8192).is_err());
/// # Ok::<(), rawmap_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    offset: usize,
    // Not before `offset`.
    end: usize,
}

impl Span {
    /// Checks `len` bytes at `offset` against a length of `limit` bytes.
    ///
    /// An empty span at the very end is inside.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the span ends past `limit`, or its end does not fit in a `usize`.
    #[inline]
    pub const fn new(offset: usize, len: usize, limit: usize) -> Result<Self, Error> {
        match Self::not_empty(offset, len, limit) {
            Some(span) => Ok(span),
            None if len == 0 && offset <= limit => Ok(Self {
                offset,
                end: offset,
            }),
            None => Err(out_of_range(offset, len, limit)),
        }
    }

    /// The check for a span that holds a byte; `None` where it would hold none or is out of range. For hot paths: a sum
    /// that wraps is not past its parts, and neither is that of an empty span, so that one compare sets both aside.
    #[inline]
    pub(crate) const fn not_empty(offset: usize, len: usize, limit: usize) -> Option<Self> {
        let end = offset.wrapping_add(len);
        if offset < end && end <= limit {
            Some(Self { offset, end })
        } else {
            None
        }
    }

    /// The whole of something that is `len` bytes long.
    #[must_use]
    #[inline]
    pub const fn whole(len: usize) -> Self {
        Self {
            offset: 0,
            end: len,
        }
    }

    /// Returns the first byte's offset.
    #[must_use]
    #[inline]
    pub const fn offset(self) -> usize {
        self.offset
    }

    /// Returns the length in bytes.
    #[must_use]
    #[inline]
    pub const fn len(self) -> usize {
        // Cannot wrap, by the constructor.
        self.end.wrapping_sub(self.offset)
    }

    /// Returns whether the span holds no byte.
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        // The same compare as the constructor's, which the compiler then knows the answer of.
        self.offset >= self.end
    }

    /// Returns the offset one past the last byte.
    #[must_use]
    #[inline]
    pub const fn end(self) -> usize {
        self.end
    }

    /// From this span's first byte to the other's last, which comes later.
    #[inline]
    pub(crate) const fn up_to(self, other: Self) -> Self {
        Self {
            offset: self.offset,
            end: other.end,
        }
    }

    /// The smallest span that holds both, and what is between them.
    #[inline]
    pub(crate) fn hull(self, other: Self) -> Self {
        Self {
            offset: self.offset.min(other.offset),
            end: self.end.max(other.end),
        }
    }

    /// The first byte and the last, of a span that holds one.
    pub(crate) const fn ends(self) -> [Self; 2] {
        let first = Self {
            offset: self.offset,
            end: self.offset.saturating_add(1),
        };
        let last = Self {
            offset: self.end.saturating_sub(1),
            end: self.end,
        };
        [first, last]
    }

    /// The same bytes, counted from `head` bytes earlier on. Their end must fit in a `usize`.
    pub(crate) const fn shifted(self, head: usize) -> Self {
        Self {
            offset: self.offset.saturating_add(head),
            end: self.end.saturating_add(head),
        }
    }

    /// The whole pages that hold the span; see [`DirtyRanges::pages`](crate::DirtyRanges::pages).
    pub(crate) fn out_to_pages(self, page: PageSize) -> Self {
        Self {
            offset: page.floor(self.offset),
            end: page.ceil(self.end).unwrap_or(usize::MAX),
        }
    }

    /// Returns the whole pages that hold the span, as `(start, len)` in bytes; see [`PageSize::cover`].
    #[must_use]
    #[inline]
    pub const fn pages(self, page: PageSize) -> Option<(usize, usize)> {
        page.cover(self.offset, self.len())
    }
}

#[cold]
#[inline(never)]
#[allow(
    clippy::as_conversions,
    reason = "usize to u64 widens, and `From` is not const"
)]
const fn out_of_range(offset: usize, len: usize, limit: usize) -> Error {
    Error::OutOfRange {
        offset: offset as u64,
        len: len as u64,
        limit: limit as u64,
    }
}

#[cfg(test)]
#[allow(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "small numbers, and an overflow fails the test"
)]
mod tests {
    use super::*;

    /// Small words and the ends of `usize`, against sums that cannot wrap.
    #[test]
    fn a_span_is_accepted_exactly_when_it_fits() {
        let near = |middle: usize| (middle.saturating_sub(3)..=middle.saturating_add(3)).chain([0]);
        for limit in near(5)
            .chain(near(isize::MAX as usize))
            .chain(near(usize::MAX))
        {
            for offset in near(5).chain(near(limit)).chain(near(usize::MAX)) {
                for len in near(5).chain(near(limit)).chain(near(usize::MAX)) {
                    let fits = offset as u128 + len as u128 <= limit as u128;
                    let span = Span::new(offset, len, limit);
                    assert_eq!(span.is_ok(), fits, "{offset} {len} {limit}");
                    if let Ok(span) = span {
                        assert_eq!(span.end() as u128, offset as u128 + len as u128);
                        assert_eq!((span.offset(), span.len()), (offset, len));
                    }
                }
            }
        }
    }

    #[test]
    fn the_error_carries_the_numbers() {
        assert_eq!(
            Span::new(7, 9, 10),
            Err(Error::OutOfRange {
                offset: 7,
                len: 9,
                limit: 10
            })
        );
    }
}
