//! What a power cut may leave of a mapped file: a model with two copies of each byte.

use std::collections::BTreeSet;

/// A file as memory shows it, and what of it is promised to be on the medium.
///
/// A byte that was flushed must be there. One that was stored to since may be there as well: the kernel
/// writes pages back when it likes. Anything else is a broken promise.
#[derive(Clone, Debug)]
pub struct Model {
    /// What memory shows.
    live: Vec<u8>,
    /// What the last flush that covered a byte promised.
    durable: Vec<u8>,
    /// The number of that promise; 0 is what was there from the start.
    promise: Vec<u32>,
    /// By chunk, all that was stored to each of its bytes since then; none where nothing was to any.
    since: Vec<Vec<Vec<u8>>>,
}

const CHUNK: usize = 512;

impl Model {
    /// Starts with bytes that are on the medium.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            live: bytes.to_vec(),
            durable: bytes.to_vec(),
            promise: vec![0; bytes.len()],
            since: vec![Vec::new(); bytes.len().div_ceil(CHUNK)],
        }
    }

    /// What memory shows.
    pub fn live(&self) -> &[u8] {
        &self.live
    }

    /// A store.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            self.live[at] = *byte;
            let chunk = &mut self.since[at / CHUNK];
            if chunk.is_empty() {
                chunk.resize(CHUNK, Vec::new());
            }
            chunk[at % CHUNK].push(*byte);
        }
    }

    /// A flush of this range that said `Ok`.
    pub fn flushed(&mut self, offset: usize, len: usize) {
        self.promised(0, offset, len);
    }

    /// A flush of this range that said `Ok`, with a number to know it by.
    pub fn promised(&mut self, promise: u32, offset: usize, len: usize) {
        for at in offset..offset + len {
            self.durable[at] = self.live[at];
            // Only what it had to store: other bytes stand as an earlier one promised them.
            let since = self.since[at / CHUNK].get_mut(at % CHUNK);
            if let Some(since) = since.filter(|since| !since.is_empty()) {
                self.promise[at] = promise;
                since.clear();
            }
        }
    }

    fn was_stored(&self, at: usize, byte: u8) -> bool {
        let since = self.since[at / CHUNK].get(at % CHUNK);
        since.is_some_and(|since| since.contains(&byte))
    }

    /// The bytes of the medium that break a promise, by their offsets.
    ///
    /// # Panics
    ///
    /// Where the medium has another length.
    pub fn lost(&self, medium: &[u8]) -> Vec<usize> {
        assert_eq!(medium.len(), self.live.len(), "all of the file");
        let mut lost = Vec::new();
        for start in (0..medium.len()).step_by(CHUNK) {
            let chunk = start..medium.len().min(start + CHUNK);
            // Most are as they were, and compared at once.
            if medium[chunk.clone()] != self.durable[chunk.clone()] {
                let kept = |at: &usize| {
                    medium[*at] == self.durable[*at] || self.was_stored(*at, medium[*at])
                };
                lost.extend(chunk.filter(|at| !kept(at)));
            }
        }
        lost
    }

    /// The promises that the medium breaks, by their numbers.
    ///
    /// # Panics
    ///
    /// Where the medium has another length.
    pub fn broken(&self, medium: &[u8]) -> BTreeSet<u32> {
        let lost = self.lost(medium).into_iter();
        lost.map(|at| self.promise[at]).collect()
    }
}

#[cfg(test)]
mod tests;
