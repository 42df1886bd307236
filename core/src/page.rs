//! Page size and the rounding that every ranged call needs.
//!
//! All page-alignment math of the crate is here. It is pure, `const`, never panics, and is the
//! same for every power-of-two page size on 32 and 64 bit.

use core::fmt;

use crate::error::Error;

/// A page size: a power of two, in bytes.
///
/// The size is proved once, by the constructor; rounding needs no further check. Use
/// [`page_size`](crate::page_size) for the size that the running kernel uses, and
/// [`MmapOptions::page_size`](crate::MmapOptions::page_size) to supply one.
///
/// # Examples
///
/// ```
/// use rawmap_core::PageSize;
///
/// let page = PageSize::new(16384)?;
/// assert_eq!(page.floor(20_000), 16_384);
/// assert_eq!(page.ceil(20_000), Some(32_768));
/// assert_eq!(page.offset_in_page(20_000), 3_616);
/// assert!(PageSize::new(5000).is_err());
/// # Ok::<(), rawmap_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize {
    // The size less one, so that rounding needs no arithmetic but its own: ones below the bit of a
    // power of two, and no other value can be built.
    mask: usize,
}

/// Rounding for one word type. A macro, because `const fn` cannot be generic over integers; it
/// also lets the unit tests check every value of a small word.
macro_rules! rounding {
    ($word:ty, $floor:ident, $ceil:ident, $offset_in_page:ident, $vis:vis) => {
        /// Rounds `value` bytes down to a multiple of the page size.
        #[must_use]
        #[inline]
        $vis const fn $floor(self, value: $word) -> $word {
            value & !(self.mask as $word)
        }

        /// Rounds `value` bytes up to a multiple of the page size, or gives `None` where the result does not fit.
        #[must_use]
        #[inline]
        $vis const fn $ceil(self, value: $word) -> Option<$word> {
            let mask = self.mask as $word;
            match value.checked_add(mask) {
                Some(sum) => Some(sum & !mask),
                None => None,
            }
        }

        /// Returns the distance in bytes from the start of the page that holds `value`.
        #[must_use]
        #[inline]
        $vis const fn $offset_in_page(self, value: $word) -> $word {
            value & self.mask as $word
        }
    };
}

#[allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "the mask is a usize; u64 is at least as wide, and the u8 of the tests gets sizes that fit"
)]
impl PageSize {
    /// 4096 bytes, the page size of most boards. Not a default: kernels with 16 and 64 KiB exist.
    pub const KIB_4: Self = Self { mask: 4095 };

    /// Takes a size in bytes.
    ///
    /// # Errors
    ///
    /// - [`Error::PageSize`]: `bytes` is not a power of two.
    #[inline]
    pub const fn new(bytes: usize) -> Result<Self, Error> {
        if bytes.is_power_of_two() {
            Ok(Self {
                mask: bytes.wrapping_sub(1),
            })
        } else {
            Err(Error::PageSize {
                value: bytes as u64,
            })
        }
    }

    /// Takes the binary logarithm of a size, as `MAP_HUGETLB` and
    /// [`MmapOptions::huge`](crate::MmapOptions::huge) count it: 21 is 2 MiB.
    ///
    /// # Errors
    ///
    /// - [`Error::HugePage`]: two to the power of `bits` does not fit in a `usize`.
    #[inline]
    pub const fn from_bits(bits: u8) -> Result<Self, Error> {
        if (bits as u32) < usize::BITS {
            Ok(Self {
                mask: 1usize.wrapping_shl(bits as u32).wrapping_sub(1),
            })
        } else {
            Err(Error::HugePage { bits })
        }
    }

    /// The word that the lookup keeps: not 0 for any size that a kernel has.
    #[inline]
    pub(crate) const fn to_word(self) -> usize {
        self.mask
    }

    /// Takes back what [`to_word`](Self::to_word) gave, and `None` for 0. It saves a check.
    #[inline]
    pub(crate) const fn from_word(mask: usize) -> Option<Self> {
        match mask {
            0 => None,
            mask => Some(Self { mask }),
        }
    }

    /// Returns twice this size, of at most half the address space.
    pub(crate) const fn doubled(self) -> Self {
        Self {
            mask: self.mask.wrapping_shl(1) | 1,
        }
    }

    /// Returns this size, or the largest that the address is a multiple of.
    pub(crate) const fn at_most_alignment_of(self, address: usize) -> Self {
        // Ones below the lowest bit that is set; all of them for 0.
        let below = address.wrapping_sub(1) & !address;
        Self {
            mask: self.mask & below,
        }
    }

    #[cold]
    pub(crate) const fn unusable(self) -> Error {
        Error::PageSize {
            value: self.get() as u64,
        }
    }

    /// Returns the size in bytes.
    #[must_use]
    #[inline]
    pub const fn get(self) -> usize {
        self.mask.wrapping_add(1)
    }

    /// Returns the binary logarithm of the size.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u8 {
        // At most 63, so nothing is cut off.
        self.mask.trailing_ones() as u8
    }

    /// Returns the end of the page that holds the byte at `offset`: the offset of the next page's first
    /// byte, or `None` where that does not fit in a `usize`.
    #[must_use]
    #[inline]
    pub const fn page_end(self, offset: usize) -> Option<usize> {
        (offset | self.mask).checked_add(1)
    }

    rounding!(usize, floor, ceil, offset_in_page, pub);
    rounding!(u64, floor_u64, ceil_u64, offset_in_page_u64, pub);
    #[cfg(test)]
    rounding!(u8, floor_u8, ceil_u8, offset_in_page_u8, pub(crate));

    /// Returns the whole pages that hold `len` bytes at `start`, as `(start, len)` in bytes: the
    /// start rounded down, the end rounded up.
    ///
    /// No bytes need no pages: `len` 0 gives `len` 0, also in the middle of a page. `None` where
    /// the end does not fit in a `usize`.
    ///
    /// # Examples
    ///
    /// ```
    /// use rawmap_core::PageSize;
    ///
    /// let page = PageSize::KIB_4;
    /// assert_eq!(page.cover(4000, 200), Some((0, 8192)));
    /// assert_eq!(page.cover(5000, 0), Some((4096, 0)));
    /// assert_eq!(page.cover(usize::MAX, 1), None);
    /// ```
    #[must_use]
    #[inline]
    pub const fn cover(self, start: usize, len: usize) -> Option<(usize, usize)> {
        let first = self.floor(start);
        let Some(before_last) = len.checked_sub(1) else {
            return Some((first, 0));
        };
        match start.checked_add(before_last) {
            Some(last) => match self.page_end(last) {
                // The end of the last byte's page lies past the start of the first byte's.
                Some(end) => Some((first, end.wrapping_sub(first))),
                None => None,
            },
            None => None,
        }
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PageSize").field(&self.get()).finish()
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
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

    /// Every byte value at every page size that a byte can hold, against plain division.
    #[test]
    fn rounding_is_exact_for_every_value_of_a_small_word() {
        for shift in 0..8 {
            let page = PageSize {
                mask: (1 << shift) - 1,
            };
            let size = 1u32 << shift;
            for value in 0..=u8::MAX {
                let wide = u32::from(value);
                let up = wide.div_ceil(size) * size;
                assert_eq!(u32::from(page.floor_u8(value)), wide / size * size);
                assert_eq!(u32::from(page.offset_in_page_u8(value)), wide % size);
                assert_eq!(page.ceil_u8(value), u8::try_from(up).ok(), "{value} {size}");
            }
        }
    }

    /// `cover` against the set of pages that hold a byte of the range.
    #[test]
    fn cover_is_the_set_of_touched_pages() {
        for shift in 0..5 {
            let page = PageSize {
                mask: (1 << shift) - 1,
            };
            let size = page.get();
            for start in 0..70 {
                for len in 0..70 {
                    let mut touched = (start..start + len).map(|byte| byte / size);
                    let first = touched.next();
                    let last = touched.next_back().or(first);
                    let want = match (first, last) {
                        (Some(first), Some(last)) => (first * size, (last - first + 1) * size),
                        _ => (start / size * size, 0),
                    };
                    assert_eq!(page.cover(start, len), Some(want));
                }
            }
        }
    }

    #[test]
    fn the_end_of_the_address_space_is_an_answer_not_a_wrap() {
        let page = PageSize::KIB_4;
        let last_page = usize::MAX - 4095;
        assert_eq!(page.floor(usize::MAX), last_page);
        assert_eq!(page.ceil(last_page), Some(last_page));
        assert_eq!(page.ceil(last_page + 1), None);
        assert_eq!(
            page.cover(last_page - 4096, 4096),
            Some((last_page - 4096, 4096))
        );
        assert_eq!(page.cover(last_page - 4096, 4097), None);
        assert_eq!(page.cover(last_page, usize::MAX), None);
        assert_eq!(page.cover(usize::MAX, 0), Some((last_page, 0)));
        assert_eq!(page.ceil_u64(u64::MAX), None);
        assert_eq!(page.page_end(last_page - 1), Some(last_page));
        assert_eq!(page.page_end(last_page), None);
    }

    #[test]
    fn a_size_fits_an_address_or_becomes_smaller() {
        let page = PageSize { mask: 65_535 };
        assert_eq!(page.at_most_alignment_of(0x7000_0000), page);
        assert_eq!(page.at_most_alignment_of(0x7000_3000), PageSize::KIB_4);
        assert_eq!(page.at_most_alignment_of(0x7000_8000).get(), 0x8000);
    }

    #[test]
    fn only_powers_of_two_are_page_sizes() {
        for bits in 0..u8::MAX {
            let by_bits = PageSize::from_bits(bits);
            if u32::from(bits) < usize::BITS {
                assert_eq!(by_bits, PageSize::new(1 << bits));
                assert_eq!(by_bits.map(PageSize::bits), Ok(bits));
            } else {
                assert_eq!(by_bits, Err(Error::HugePage { bits }));
            }
        }
        for bytes in [0, 3, 4095, 4097, usize::MAX] {
            let value = bytes as u64;
            assert_eq!(PageSize::new(bytes), Err(Error::PageSize { value }));
        }
    }
}
