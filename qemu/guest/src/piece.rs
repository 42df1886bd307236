//! [`Piece`]: a part of a file, and its place in the results.

use serde::{Deserialize, Serialize};

/// A part of a file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Piece {
    /// Name of the file in the root of the image.
    pub file: String,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: usize,
}

impl Piece {
    /// Bytes that the results have for it: a word with the number of bytes that were there, then the bytes.
    pub fn slot(&self) -> usize {
        SLOT_HEAD + self.len.next_multiple_of(SLOT_HEAD)
    }
}

/// Bytes of a slot before the piece itself: a sector.
pub const SLOT_HEAD: usize = 512;
