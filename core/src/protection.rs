//! [`Protection`] and [`Access`]: what may be done with the pages of a map.

/// Names what may be done with the bytes of a map; see [`MmapRaw::protect`](crate::MmapRaw::protect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// `PROT_NONE`: nothing. For guard pages.
    None,
    /// `PROT_READ`.
    ReadOnly,
    /// `PROT_READ | PROT_WRITE`.
    ReadWrite,
    /// `PROT_READ | PROT_EXEC`.
    ReadExec,
}

impl Protection {
    #[inline]
    pub(crate) const fn access(self) -> Access {
        match self {
            Self::None => Access(0),
            Self::ReadOnly => Access::READ,
            Self::ReadWrite => Access::READ_WRITE,
            Self::ReadExec => Access(Access::READ.0 | Access::EXEC.0),
        }
    }
}

/// The bits of mmap(2)'s `prot`, and two that tell that the map is private and that it is lent as slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unnameable_types, reason = "sealed in `Word`")]
pub struct Access(u8);

impl Access {
    pub(crate) const READ: Self = Self(1);
    pub(crate) const WRITE: Self = Self(2);
    pub(crate) const EXEC: Self = Self(4);
    pub(crate) const READ_WRITE: Self = Self(3);
    /// Stores reach no file.
    pub(crate) const PRIVATE: Self = Self(8);
    /// Views may only read: a slice of the bytes may live, or the caller did not prove that the file is its own.
    pub(crate) const LENT: Self = Self(16);
    /// Of a file that the caller has only the number of: no safe call stores to it.
    pub(crate) const NUMBER: Self = Self(32);
    const PROT: u8 = 7;

    #[inline]
    pub(crate) const fn allows(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[inline]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline]
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns this protection with what `other` says beside its own.
    pub(crate) const fn like(self, other: Self) -> Self {
        Self(self.0 & Self::PROT | other.0 & !Self::PROT)
    }

    #[cfg(feature = "fault")]
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    #[cfg(feature = "fault")]
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Returns the bits of mmap(2)'s and mprotect(2)'s `prot`.
    #[inline]
    pub(crate) const fn prot(self) -> u8 {
        self.0 & Self::PROT
    }
}
