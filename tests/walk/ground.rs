//! Where the file of a walk is.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use rawmap_core::memfd::Seals;
use rawmap_tests::disk::{FailingDisk, On};

use crate::step::PAGES;
use crate::world::{PAGES_AT_START, page};

/// Where the file is.
pub enum Ground {
    Disk(FailingDisk, On),
    /// It has no medium.
    Memory(File),
}

impl Ground {
    /// # Errors
    ///
    /// Why there is no disk.
    pub fn new(on: Option<On>) -> Result<Self, String> {
        Ok(match on {
            Some(on) => Self::Disk(FailingDisk::new(on)?, on),
            None => {
                let memory = rawmap::memfd::MemfdOptions::new().create("walk");
                Self::Memory(memory.map_err(|error| error.to_string())?)
            }
        })
    }

    /// Makes one that is reset.
    ///
    /// # Errors
    ///
    /// Why there is no disk.
    pub fn fresh(on: Option<On>) -> Result<Self, String> {
        let make = || {
            let ground = Self::new(on)?;
            ground.reset().map(|()| ground)
        };
        // A loop device that was just given up may be busy still.
        make().or_else(|_: String| make())
    }

    pub fn file(&self) -> &File {
        match self {
            Self::Disk(disk, _) => &disk.file,
            Self::Memory(file) => file,
        }
    }

    pub fn disk(&self) -> Option<&FailingDisk> {
        match self {
            Self::Disk(disk, _) => Some(disk),
            Self::Memory(_) => None,
        }
    }

    pub fn is_device(&self) -> bool {
        matches!(self, Self::Disk(_, On::Device))
    }

    /// Makes the file one of zeros, which are on the medium, in holes of the disk.
    ///
    /// # Errors
    ///
    /// The disk is of no use any more.
    pub fn reset(&self) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let file = self.file();
        let len = PAGES_AT_START * page();
        // That it is not executable is a seal, too.
        let ours = (Seals::SEAL | Seals::SHRINK | Seals::GROW | Seals::WRITE).bits()
            | Seals::FUTURE_WRITE.bits();
        if self.disk().is_none()
            && rawmap_core::memfd::seals(file).is_ok_and(|seals| seals.bits() & ours != 0)
        {
            return Err("it is sealed for ever".into());
        }
        if let Some(disk) = self.disk() {
            disk.recover();
        }
        // What the last walk left is of no interest.
        let _ = file.sync_all();
        if !self.is_device() {
            file.set_len(0).map_err(text)?;
            file.set_len(len as u64).map_err(text)?;
        }
        let Some(disk) = self.disk() else {
            return Ok(());
        };
        let len = if self.is_device() {
            PAGES * page()
        } else {
            len
        };
        // Page by page: of a large write the kernel makes large folios, and a flush of one page then writes all of one.
        for offset in (0..len).step_by(page()) {
            file.write_all_at(&vec![0; page()], offset as u64)
                .map_err(text)?;
        }
        file.sync_all().map_err(text)?;
        disk.make_holes()
    }
}

pub fn open(file: &File) -> std::io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(true).write(true).open(path)
}
