//! Checksums, and words in the order of bytes that the files have: little-endian.

use crc::{CRC_32_ISCSI, Crc, Table};

/// CRC-32C, with a table of 1 KiB.
static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// The checksum of some bytes behind each other.
pub(super) fn sum(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// A word of 32 bits.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A word of 64 bits.
pub(super) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Puts bytes at an offset where they fit.
pub(super) fn put(bytes: &mut [u8], at: usize, from: &[u8]) {
    let rest = bytes.get_mut(at..).unwrap_or_default();
    for (to, from) in rest.iter_mut().zip(from) {
        *to = *from;
    }
}

/// The number of a length in the files, which have 32 bits for it: what is longer is refused before.
pub(super) fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A number of the files as a length.
pub(super) fn length(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// An offset in bytes, for an error.
pub(super) fn wide(offset: usize) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX)
}

/// Returns whether a counter that may wrap is behind another.
pub(super) const fn is_after(counter: u64, other: u64) -> bool {
    let ahead = counter.wrapping_sub(other);
    ahead != 0 && ahead < 1 << 63
}
