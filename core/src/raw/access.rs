//! [`Access`]: what may be done with the pages of a map.

#[cfg(feature = "fault")]
use crate::sys::ProtFlags;

/// Bits of mmap(2)'s and mprotect(2)'s `prot`, and one that says that the map is private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unnameable_types, reason = "sealed in `Word`")]
pub struct Access(pub(super) u8);

impl Access {
    pub(crate) const READ: Self = Self(1);
    pub(crate) const WRITE: Self = Self(2);
    pub(crate) const READ_WRITE: Self = Self(3);

    #[inline]
    pub(crate) const fn allows(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits that there are on every architecture fit.
    #[allow(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "PROT_READ, PROT_WRITE and PROT_EXEC are 1, 2 and 4"
    )]
    #[inline]
    pub(super) const fn of(prot: u32) -> Self {
        Self((prot & 7) as u8)
    }

    /// A private map stores nothing.
    #[inline]
    pub(super) const fn private(self, private: bool) -> Self {
        if private { Self(self.0 | 8) } else { self }
    }

    /// The map is lent as slices: others may not write to it.
    pub(super) const LENT: u8 = 16;
    /// Pages that cannot be read, by `Protection::None`.
    pub(super) const HOLES: u8 = 32;

    /// With what `other` says beside the protection, but for holes.
    pub(super) const fn like(self, other: Self) -> Self {
        Self(self.0 | other.0 & (8 | Self::LENT))
    }

    pub(super) const fn holes(self, holes: bool) -> Self {
        if holes {
            Self(self.0 | Self::HOLES)
        } else {
            self
        }
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[cfg(feature = "fault")]
    pub(super) const fn has_holes(self) -> bool {
        self.0 & Self::HOLES != 0
    }

    #[cfg(feature = "fault")]
    pub(super) fn prot(self) -> ProtFlags {
        ProtFlags::from_bits_retain((self.0 & 7).into())
    }
}
