//! An ext4 that finds no place for new blocks.

use std::fs::{self, File};

use super::{SmallDisk, io_text, loops, opens_new, run, text};

/// A file of holes on an ext4 that finds no place for them when they are written: most of its bitmaps are where its device
/// ends early. The file system throws the bytes away, and tells it once, to the call that starts the write-back.
#[derive(Debug)]
pub struct NoBitmaps {
    /// Empty.
    pub file: File,
    _small: SmallDisk,
}

impl NoBitmaps {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// Why not: this process may not mount.
    pub fn new() -> Result<Self, String> {
        let (small, file) = SmallDisk::with(40 << 20, |folder| {
            let (image, mount) = (folder.join("image"), folder.join("mount"));
            let created = opens_new(&image)?;
            created.set_len(32 << 20).map_err(io_text)?;
            // A bitmap each MiB, in its own place.
            let apart = "^flex_bg,^has_journal,^uninit_bg,^metadata_csum";
            let image = text(&image)?;
            let make = ["-q", "-F", "-b", "1024", "-g", "1024", "-O", apart, image];
            run("mkfs.ext4", &make)?;
            fs::create_dir(&mount).map_err(io_text)?;
            loops::mount_ext4(&created, &mount, "no_prefetch_block_bitmaps")?;
            let mut open = File::options();
            open.read(true).write(true).create_new(true);
            let file = open.open(mount.join("file")).map_err(io_text)?;
            created.set_len(1 << 20).map_err(io_text)?;
            Ok(file)
        })?;
        Ok(Self {
            file,
            _small: small,
        })
    }
}
