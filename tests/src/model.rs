//! What a power cut may leave of a mapped file: a model with two copies of each byte.

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
    /// All that was stored to a byte since then.
    since: Vec<Vec<u8>>,
}

const CHUNK: usize = 512;

impl Model {
    /// Starts with bytes that are on the medium.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            live: bytes.to_vec(),
            durable: bytes.to_vec(),
            since: vec![Vec::new(); bytes.len()],
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
            self.since[at].push(*byte);
        }
    }

    /// A flush of this range that said `Ok`.
    pub fn flushed(&mut self, offset: usize, len: usize) {
        for at in offset..offset + len {
            self.durable[at] = self.live[at];
            self.since[at].clear();
        }
    }

    /// The bytes of the medium that break a promise, by their offsets.
    pub fn lost(&self, medium: &[u8]) -> Vec<usize> {
        assert_eq!(medium.len(), self.live.len(), "all of the file");
        let mut lost = Vec::new();
        for start in (0..medium.len()).step_by(CHUNK) {
            let chunk = start..medium.len().min(start + CHUNK);
            // Most are as they were, and compared at once.
            if medium[chunk.clone()] != self.durable[chunk.clone()] {
                let kept = |at: &usize| {
                    medium[*at] == self.durable[*at] || self.since[*at].contains(&medium[*at])
                };
                lost.extend(chunk.filter(|at| !kept(at)));
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::Model;

    #[test]
    fn only_flushed_bytes_are_promised() {
        let mut file = Model::new(b"......");
        file.write(1, b"ab");
        // Not flushed: old, new, or a mixture of both.
        for medium in [b"......", b".ab...", b".a....", b"..b..."] {
            assert_eq!(file.lost(medium), []);
        }
        file.flushed(1, 1);
        assert_eq!(file.lost(b"......"), [1]);
        assert_eq!(file.lost(b".a...."), []);
        file.write(1, b"x");
        file.write(1, b"y");
        for medium in [b".a....", b".x....", b".y...."] {
            assert_eq!(file.lost(medium), []);
        }
        // Never stored there.
        assert_eq!(file.lost(b".b...z"), [1, 5]);
        assert_eq!(file.live(), b".yb...");
    }
}
