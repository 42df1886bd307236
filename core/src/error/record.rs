//! [`Problem`]: what is wrong with a file of records, or with what was asked of it.

use core::fmt;

/// Says why a store of records does not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Problem {
    /// The layout cannot be.
    Layout {
        /// Number of the first part that does not fit, from 0.
        part: u8,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The layout has no part of this name and kind.
    NoPart,
    /// The value or the record is longer than the part can hold.
    TooLong {
        /// Its length in bytes.
        len: u64,
        /// The longest in bytes.
        limit: u64,
    },
    /// The log is full, and keeps its oldest records.
    Full,
    /// Every copy of a value is damaged, or a record, or several in a row.
    Damaged {
        /// First byte that is damaged, in the map.
        offset: u64,
    },
    /// The file holds something else: it was left as it is.
    Foreign,
    /// The file was made by another version of the program: it was left as it is.
    Version {
        /// The version in the file.
        found: u32,
        /// The version of the layout.
        want: u32,
    },
    /// The file is of this name, and of this version or to be upgraded, and has other parts than the layout. It was left as it is.
    OtherParts,
    /// The file, or the map, is longer or shorter than the layout; or a value than its type.
    Length {
        /// Its length in bytes.
        found: u64,
        /// Length of the layout or of the type in bytes.
        want: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Layout { part, why } => write!(f, "part {part} of the layout: {why}"),
            Self::NoPart => f.write_str("the layout has no part of this name and kind"),
            Self::TooLong { len, limit } => write!(
                f,
                "{len} bytes are too long for a part that takes {limit} bytes"
            ),
            Self::Full => f.write_str("the log is full, and keeps its oldest records"),
            Self::Damaged { offset } => write!(f, "damaged at offset {offset}"),
            Self::Foreign => f.write_str("the file holds something else"),
            Self::Version { found, want } => write!(
                f,
                "the file is of version {found}, and the program of version {want}"
            ),
            Self::OtherParts => {
                f.write_str("the file is of this name, and has other parts than the layout")
            }
            Self::Length { found, want } => {
                write!(f, "{found} bytes are there, and {want} are wanted")
            }
        }
    }
}
