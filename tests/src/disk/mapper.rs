//! A block device of the device mapper's.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{io_text, opens, run, text};

/// What the device mapper is told through.
pub(crate) const MAPPER: &str = "/dev/mapper/control";

/// A block device of the device mapper over a loop device. All requests fail while it is told to.
#[derive(Debug)]
pub struct MapperDisk {
    name: String,
    image: tempfile::NamedTempFile,
    device: String,
}

impl MapperDisk {
    /// Length in bytes.
    pub const LEN: u64 = 4 << 20;

    /// Makes one. `name` is its name in `/dev/mapper`.
    ///
    /// # Errors
    ///
    /// Why not: there is no device mapper, or this process may not use it.
    pub fn new(name: &str) -> Result<Self, String> {
        opens(MAPPER).map_err(|error| format!("no device mapper: {MAPPER}: {error}"))?;
        let image = tempfile::NamedTempFile::new().map_err(io_text)?;
        image.as_file().set_len(Self::LEN).map_err(io_text)?;
        let device = run("losetup", &["--find", "--show", text(image.path())?])?;
        let disk = Self {
            name: name.to_owned(),
            device: device.trim().to_owned(),
            image,
        };
        run(
            "dmsetup",
            &["create", name, "--table", &disk.table("linear")],
        )?;
        Ok(disk)
    }

    fn table(&self, target: &str) -> String {
        let end = match target {
            "linear" => format!(" {} 0", self.device),
            _ => String::new(),
        };
        format!("0 {} {target}{end}", Self::LEN / 512)
    }

    /// Opens the device.
    ///
    /// # Errors
    ///
    /// As open(2).
    pub fn open(&self) -> io::Result<File> {
        let path = Path::new("/dev/mapper").join(&self.name);
        File::options().read(true).write(true).open(path)
    }

    /// From now on every request fails, or none.
    ///
    /// # Panics
    ///
    /// Where the device mapper refuses.
    pub fn fail(&self, fails: bool) {
        let table = self.table(if fails { "error" } else { "linear" });
        let steps: [&[&str]; 3] = [
            &["suspend", "--noflush", "--nolockfs", &self.name],
            &["load", &self.name, "--table", &table],
            &["resume", &self.name],
        ];
        for step in steps {
            run("dmsetup", step).expect("dmsetup");
        }
    }

    /// What is below: the bytes of the image.
    ///
    /// # Panics
    ///
    /// Where it cannot be read.
    pub fn medium(&self, offset: usize, len: usize) -> Vec<u8> {
        // The loop device writes to the image's pages.
        let bytes = fs::read(self.image.path()).expect("the image is there");
        bytes[offset..offset + len].to_vec()
    }
}

impl Drop for MapperDisk {
    fn drop(&mut self) {
        for (tool, arguments) in [
            ("dmsetup", ["remove", "--retry", &self.name]),
            ("losetup", ["--detach", &self.device, ""]),
        ] {
            let arguments: Vec<_> = arguments
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect();
            if let Err(error) = run(tool, &arguments) {
                eprintln!("{error}");
            }
        }
    }
}
