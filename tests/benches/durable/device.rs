//! Counters of the block device that a file is on.

use std::fs::File;
use std::io;
use std::ops::Sub;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Instant;

/// What the device has done since it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) flushes: u64,
    /// Of 512 bytes, written.
    pub(crate) sectors: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            flushes: self.flushes - before.flushes,
            sectors: self.sectors - before.sectors,
        }
    }
}

pub(crate) struct Device {
    folder: PathBuf,
}

impl Device {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let dev = file.metadata()?.dev();
        let (major, minor) = (libc::major(dev), libc::minor(dev));
        let folder = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let device = Self { folder };
        if device.read().is_none() {
            let text = format!(
                "no counters of FLUSHes at {}: set RAWMAP_TEST_DIR to a folder on a block device (Linux 5.5)",
                device.folder.display()
            );
            return Err(io::Error::other(text));
        }
        Ok(device)
    }

    pub(crate) fn name(&self) -> String {
        let target = std::fs::canonicalize(&self.folder).unwrap_or_default();
        let name = target
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_default()
    }

    fn read(&self) -> Option<Counts> {
        let text = std::fs::read_to_string(self.folder.join("stat")).ok()?;
        let numbers: Vec<u64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        Some(Counts {
            sectors: *numbers.get(6)?,
            flushes: *numbers.get(15)?,
        })
    }

    pub(crate) fn counts(&self) -> Counts {
        self.read().expect("it had them a moment ago")
    }
}

pub(crate) fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release
        .split(['-', '\n'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Time in ms, device FLUSHes and KiB written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) ms: f64,
    pub(crate) flushes: f64,
    pub(crate) kib: f64,
}

pub(crate) fn cost(device: &Device, body: impl FnOnce()) -> Cost {
    let before = device.counts();
    let start = Instant::now();
    body();
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let Counts { flushes, sectors } = device.counts() - before;
    Cost {
        ms,
        flushes: flushes as f64,
        kib: sectors as f64 / 2.0,
    }
}

pub(crate) fn medians(costs: &[Cost]) -> Cost {
    let of = |part: fn(&Cost) -> f64| median(costs.iter().map(part).collect());
    Cost {
        ms: of(|cost| cost.ms),
        flushes: of(|cost| cost.flushes),
        kib: of(|cost| cost.kib),
    }
}
