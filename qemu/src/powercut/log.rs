//! The log of all writes to a disk, as QEMU's driver blklogwrites keeps it (the format of Linux's dm-log-writes):
//! a sector of header for the whole, then for each request a sector of header and its data. Little-endian.
//!
//! The count in the first header is behind after a kill, so the entries themselves are walked.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// A request, in the order in which the guest made them.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes; none for a bare flush.
    pub len: u64,
    /// All before it is durable.
    pub is_flush: bool,
    /// It is durable by itself.
    pub is_fua: bool,
    /// Where its data are in the log; `None` for a discard.
    data: Option<u64>,
}

/// A log, as far as it was read.
#[derive(Debug)]
pub struct Log {
    file: File,
    pub entries: Vec<Entry>,
    next: u64,
    disk_len: u64,
}

impl Log {
    /// Of a disk of that length in bytes.
    pub fn open(path: &Path, disk_len: u64) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Ok(Self {
            file,
            entries: Vec::new(),
            next: SECTOR,
            disk_len,
        })
    }

    /// Reads what has come since.
    pub fn refresh(&mut self) -> Result<usize> {
        let end = self.file.metadata()?.len();
        while self.next + SECTOR <= end {
            let mut header = [0; 32];
            self.file.read_exact_at(&mut header, self.next)?;
            let word = |at: usize| {
                let bytes = header[at..at + 8].try_into().unwrap_or([0; 8]);
                u64::from_le_bytes(bytes)
            };
            let (sector, count, flags) = (word(0), word(8), word(16));
            let (Some(offset), Some(len)) = (sector.checked_mul(SECTOR), count.checked_mul(SECTOR))
            else {
                break;
            };
            let known = flags & !(FLUSH | FUA | DISCARD | 8) == 0;
            let fits = offset
                .checked_add(len)
                .is_some_and(|end| end <= self.disk_len);
            // What was preallocated, or is being written.
            if !known || !fits || (count == 0 && flags == 0) {
                break;
            }
            let data = self.next + SECTOR;
            let discard = flags & DISCARD != 0;
            let after = if discard { data } else { data + len };
            if after > end {
                break;
            }
            self.entries.push(Entry {
                offset,
                len,
                is_flush: flags & FLUSH != 0,
                is_fua: flags & FUA != 0,
                data: (!discard).then_some(data),
            });
            self.next = after;
        }
        Ok(self.entries.len())
    }

    /// What a request wrote; zeros for a discard.
    pub fn data(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(entry.len)?];
        if let Some(data) = entry.data {
            self.file.read_exact_at(&mut bytes, data)?;
        }
        Ok(bytes)
    }

    /// How many of the first `cut` entries a flush before the cut made durable.
    pub fn flushed(&self, cut: usize) -> usize {
        let before = &self.entries[..cut];
        before
            .iter()
            .rposition(|entry| entry.is_flush)
            .map_or(0, |at| at + 1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A log as QEMU writes it.
    pub(in crate::powercut) fn log(entries: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut bytes = vec![0; SECTOR as usize];
        for (sector, data, flags) in entries {
            let mut header = Vec::new();
            for word in [*sector, data.len() as u64 / SECTOR, *flags, 0] {
                header.extend(word.to_le_bytes());
            }
            header.resize(SECTOR as usize, 0);
            bytes.extend(header);
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn entries_are_read_as_far_as_they_are_whole() {
        let (one, two) = ([1; 512], [2; 1024]);
        let whole = log(&[(0, &one, 0), (0, &[], FLUSH), (3, &two, FUA), (9, &one, 0)]);
        let path = tempfile::NamedTempFile::new().unwrap();
        // Cut inside of the last entry's data.
        std::fs::write(path.path(), &whole[..whole.len() - 1]).unwrap();
        let mut log = Log::open(path.path(), 100 * SECTOR).unwrap();
        assert_eq!(log.refresh().unwrap(), 3);
        assert_eq!(log.data(&log.entries[2]).unwrap(), two);
        assert!(log.entries[2].is_fua && !log.entries[2].is_flush);
        assert_eq!([0, 1, 2, 3].map(|cut| log.flushed(cut)), [0, 0, 2, 2]);
        std::fs::write(path.path(), &whole).unwrap();
        assert_eq!(log.refresh().unwrap(), 4);
        // Past the end of the disk: not an entry.
        let mut small = Log::open(path.path(), 4 * SECTOR).unwrap();
        assert_eq!(small.refresh().unwrap(), 2);
    }
}
