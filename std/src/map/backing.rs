//! What adapters and records write through: as core's own map.

use rawmap_core::Error;
use rawmap_core::adapter::Backing;

use super::MmapMut;

impl Backing for MmapMut {
    #[inline]
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        self.map.edit(offset, len)
    }

    #[inline]
    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        self.map.commit(offset, len)
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        self.map.commit_all()
    }

    #[inline]
    fn check(&self) -> Result<(), Error> {
        self.map.check()
    }

    fn retry(&mut self) -> Result<(), Error> {
        self.map.retry()
    }
}
