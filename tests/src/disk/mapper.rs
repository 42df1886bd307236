//! A block device of the device mapper's.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use super::{io_text, loops, opens, run};

/// What the device mapper is told through.
pub(crate) const MAPPER: &str = "/dev/mapper/control";

/// A block device of the device mapper over a loop device. All requests fail while it is told to.
#[derive(Debug)]
pub struct MapperDisk {
    name: String,
    /// With its last descriptor the device goes away.
    device: File,
    /// And the one below: no table has it while requests fail.
    _below: File,
    loops: String,
    /// A file without a name.
    image: File,
}

impl MapperDisk {
    /// Length in bytes.
    pub const LEN: u64 = 4 << 20;

    /// Makes one. `name` begins its name in `/dev/mapper`.
    ///
    /// # Errors
    ///
    /// Why not: there is no device mapper, or this process may not use it.
    pub fn new(name: &str) -> Result<Self, String> {
        opens(MAPPER).map_err(|error| format!("no device mapper: {MAPPER}: {error}"))?;
        let image = tempfile::tempfile().map_err(io_text)?;
        image.set_len(Self::LEN).map_err(io_text)?;
        let (below, loops) = loops::over(&image)?;
        let table = table("linear", &loops);
        // The kernel removes it when it can: the next one has another name.
        let name = format!("{name}-{}", std::process::id());
        run("dmsetup", &["create", &name, "--table", &table])?;
        let device = opens(&format!("/dev/mapper/{name}")).map_err(io_text);
        run("dmsetup", &["remove", "--deferred", &name])?;
        Ok(Self {
            name,
            device: device?,
            _below: below,
            loops,
            image,
        })
    }

    /// Opens the device.
    ///
    /// # Errors
    ///
    /// As open(2).
    pub fn open(&self) -> io::Result<File> {
        // Its name may be gone.
        opens(&format!("/proc/self/fd/{}", self.device.as_raw_fd()))
    }

    /// From now on every request fails, or none.
    ///
    /// # Panics
    ///
    /// Where the device mapper refuses.
    pub fn fail(&self, fails: bool) {
        let table = table(if fails { "error" } else { "linear" }, &self.loops);
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
        let mut bytes = vec![0; len];
        self.image
            .read_exact_at(&mut bytes, offset as u64)
            .expect("inside the image");
        bytes
    }
}

fn table(target: &str, loops: &str) -> String {
    let end = match target {
        "linear" => format!(" {loops} 0"),
        _ => String::new(),
    };
    format!("0 {} {target}{end}", MapperDisk::LEN / 512)
}
