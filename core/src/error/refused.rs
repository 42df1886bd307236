//! [`Refused`]: an error, and the map that a call had taken.

use core::fmt;

use super::Error;

/// A call that takes a map failed, and gives the map back.
///
/// `?` makes an [`Error`] of it, or with the feature `std` an `std::io::Error`, and drops the map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refused<M> {
    /// Says why the call failed.
    pub error: Error,
    /// Holds the map that the call had taken.
    pub map: M,
}

impl<M> fmt::Debug for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<M> fmt::Display for Refused<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<M> core::error::Error for Refused<M> {}

impl<M> From<Refused<M>> for Error {
    fn from(refused: Refused<M>) -> Self {
        refused.error
    }
}

#[cfg(feature = "std")]
impl<M> From<Refused<M>> for std::io::Error {
    fn from(refused: Refused<M>) -> Self {
        refused.error.into()
    }
}
