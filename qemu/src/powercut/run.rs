//! A run: a guest works until its power is cut, and all its writes are logged below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use rawmap_guest::job::{Disk, Job, Work, serial};
use rawmap_guest::workload::{Scenario, Steps, Style};
use serde::{Deserialize, Serialize};

use super::follow::{Ack, NotReady, follow};
use super::log::Log;
use crate::cache::{self, Temporary};
use crate::command::output;
use crate::disks::{self, escaped};
use crate::machine::Ready;
use crate::rows::{Filesystem, Machine};

/// What was done and seen; with the log, all that the cuts are made of. Kept in the cache.
#[derive(Debug, Deserialize, Serialize)]
pub struct Run {
    pub scenario: Scenario,
    pub seed: u64,
    pub page: usize,
    pub large_files: bool,
    /// Of the steps: those of another version of this program are others.
    pub steps: u32,
    /// Entries of the log when the workload began.
    pub ready: usize,
    pub acks: Vec<Ack>,
    /// What calls said that are worth telling.
    pub says: Vec<String>,
    /// The kernel's release.
    pub kernel: String,
}

/// The folder of a run.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn of(machine: &Machine, filesystem: &Filesystem, scenario: Scenario, seed: u64) -> Self {
        let name = format!(
            "{}-{}-{}-{seed:x}",
            machine.name,
            filesystem.name,
            scenario.name()
        );
        Self(cache::folder().join("powercut").join(name))
    }

    pub fn base(&self) -> PathBuf {
        self.0.join("base")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    fn run(&self) -> PathBuf {
        self.0.join("run.toml")
    }

    /// The run that is kept here.
    pub fn kept(&self) -> Option<Run> {
        let run: Run = toml::from_str(&fs::read_to_string(self.run()).ok()?).ok()?;
        let steps = Steps::new(run.scenario, run.seed, run.page, run.large_files);
        let is_ours = run.steps == steps.sum(run.scenario.steps());
        is_ours.then_some(run)
    }

    /// Remembers that something was wrong with this run.
    pub fn set_failed(&self) {
        // It is only kept for longer then.
        let _ = fs::write(self.failed(), "");
    }

    fn failed(&self) -> PathBuf {
        self.0.join("failed")
    }

    /// Forgets the runs of all but the newest seeds, and of these that failed.
    pub fn forget_old(seed: u64) {
        Self::forget_old_in(&cache::folder().join("powercut"), seed);
    }

    fn forget_old_in(all: &Path, seed: u64) {
        const KEPT: usize = 4;
        let Ok(entries) = fs::read_dir(all) else {
            return;
        };
        let mut seeds: BTreeMap<String, Old> = BTreeMap::new();
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (Some((_, old)), Ok(data)) = (name.rsplit_once('-'), entry.metadata()) else {
                continue;
            };
            let of_seed = seeds.entry(old.to_owned()).or_default();
            of_seed.lock = all.join(format!("{old}.lock"));
            of_seed.failed |= Self(entry.path()).failed().exists();
            of_seed.newest = of_seed.newest.max(data.modified().ok());
            of_seed.paths.push(entry.path());
        }
        seeds.remove(&format!("{seed:x}"));
        // Another process is at these.
        seeds.retain(|_, seed| {
            fs::File::open(&seed.lock).map_or(true, |file| cache::is_free(&file))
        });
        let (mut failed, mut good): (Vec<_>, Vec<_>) =
            seeds.into_values().partition(|seed| seed.failed);
        for seeds in [&mut failed, &mut good] {
            seeds.sort_by_key(|seed| std::cmp::Reverse(seed.newest));
            for seed in seeds.iter().skip(KEPT) {
                // What cannot be removed is in nobody's way.
                for path in &seed.paths {
                    let _ = fs::remove_dir_all(path);
                }
                let _ = fs::remove_file(&seed.lock);
            }
        }
    }

    /// Holds the lock of a seed: of two processes with the same, one waits.
    pub fn lock_seed(seed: u64) -> Result<fs::File> {
        let all = cache::folder().join("powercut");
        fs::create_dir_all(&all).with_context(|| all.display().to_string())?;
        cache::lock(&all.join(format!("{seed:x}.lock")))
    }

    /// The folder of a run of a program of anybody's.
    pub fn of_program(machine: &Machine, filesystem: &Filesystem, seed: u64) -> Self {
        let name = format!("{}-{}-program-{seed:x}", machine.name, filesystem.name);
        Self(cache::folder().join("powercut").join(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes room for a run. One that failed stays beside it.
    pub fn make(&self) -> Result<()> {
        if self.failed().exists() {
            let aside = self.0.with_extension("failed");
            // There may be none.
            let _ = fs::remove_dir_all(&aside);
            fs::rename(&self.0, &aside).with_context(|| aside.display().to_string())?;
        } else {
            // There may be none.
            let _ = fs::remove_dir_all(&self.0);
        }
        fs::create_dir_all(&self.0).with_context(|| self.0.display().to_string())
    }
}

/// The kept runs of a seed.
#[derive(Default)]
struct Old {
    failed: bool,
    newest: Option<SystemTime>,
    lock: PathBuf,
    paths: Vec<PathBuf>,
}

/// Whether a scenario makes sense on a file system.
pub fn is_possible(filesystem: &Filesystem, scenario: Scenario) -> bool {
    match scenario {
        Scenario::Flushes => true,
        // There each commit of the journal takes the dirty pages of all files along: a wrong flush stores more
        // than it should, and loses only by luck.
        Scenario::Controls => !filesystem.options.contains("data=journal"),
        Scenario::NoBarrier => !filesystem.barrier.is_empty(),
        // A growing file of a mapped UBIFS or vfat reserves nothing, or takes its own blocks for that.
        Scenario::FullDisk => ["ext4", "f2fs"].contains(&&*filesystem.kind),
        // Which block a file has is known of ext4 only, and only of one that overwrites in place.
        Scenario::BadBlock => filesystem.name == "ext4",
    }
}

/// For messages.
pub fn title(machine: &Machine, filesystem: &Filesystem, scenario: Scenario) -> String {
    format!("{} {} {}", machine.name, filesystem.name, scenario.name())
}

/// Runs a guest until its last step is under way, then cuts its power.
pub fn run(
    ready: &Ready<'_>,
    filesystem: &Filesystem,
    scenario: Scenario,
    seed: u64,
) -> Result<Run> {
    // While the disk was filled the device has failed large writes (seen twice, on riscv64 with f2fs: I/O errors in the
    // kernel's log). Why QEMU did that was not found out.
    let mut more = if scenario == Scenario::FullDisk { 2 } else { 0 };
    loop {
        let done = run_once(ready, filesystem, scenario, seed);
        match done {
            Err(error) if more > 0 && error.is::<NotReady>() => println!("again: {error:#}"),
            done => return done,
        }
        more -= 1;
    }
}

fn run_once(
    ready: &Ready<'_>,
    filesystem: &Filesystem,
    scenario: Scenario,
    seed: u64,
) -> Result<Run> {
    let folder = Folder::of(ready.machine, filesystem, scenario, seed);
    folder.make()?;
    let image = folder.0.join("disk");
    let bad = match filesystem.is_flash() {
        true => Vec::new(),
        false => make_disk(filesystem, scenario, ready.machine.page, &image)?,
    };
    let (devices, kernel_arguments) =
        logged(ready.machine, filesystem, &image, &folder.log(), &bad)?;
    let disk_len = fs::metadata(&image)?.len();
    copy_sparse(&image, &folder.base())?;
    fs::write(folder.log(), "")?;
    let job = Work {
        disk: disk(filesystem, scenario),
        scenario,
        seed,
        large_files: filesystem.large,
    };
    let limit = Duration::from_secs(300);
    let mut guest = ready.boot(&Job::Work(job), &kernel_arguments, &devices, limit)?;
    let mut log = Log::open(&folder.log(), disk_len)?;
    let steps = Steps::new(scenario, seed, ready.machine.page, filesystem.large);
    let followed = follow(
        &mut guest,
        &mut log,
        steps.clone(),
        scenario,
        seed,
        ready.machine.page,
    );
    fs::write(folder.0.join("console"), guest.transcript())?;
    let (ready_at, acks, says) = guest.keep(followed)?;
    drop(guest);
    fs::remove_file(&image)?;
    let run = Run {
        scenario,
        seed,
        page: ready.machine.page,
        large_files: filesystem.large,
        steps: steps.sum(scenario.steps()),
        ready: ready_at,
        acks,
        says,
        kernel: ready.kernel.release.clone(),
    };
    fs::write(folder.run(), toml::to_string(&run)?)?;
    Ok(run)
}

/// QEMU's arguments, and the kernel's, for a disk whose writes are logged. Flash is empty; a disk is made.
pub fn logged(
    machine: &Machine,
    filesystem: &Filesystem,
    image: &Path,
    log: &Path,
    bad: &[u64],
) -> Result<(Vec<String>, String)> {
    let (mut devices, mut kernel_arguments) = (Vec::new(), String::new());
    let blockdev = |devices: &mut Vec<String>, text: String| {
        devices.push("-blockdev".to_owned());
        devices.push(text);
    };
    let file = |path: &Path, node: &str| {
        let path = escaped(path);
        format!("driver=file,filename={path},node-name={node},cache.no-flush=on")
    };
    blockdev(&mut devices, file(image, "disk"));
    blockdev(&mut devices, file(log, "log"));
    let mut logged =
        "driver=blklogwrites,file=disk,log=log,log-sector-size=512,node-name=logged".to_owned();
    let mut top = "logged";
    if filesystem.is_flash() {
        // It is never flushed.
        logged += ",log-super-update-interval=1";
        let (more, arguments) = disks::empty_flash(machine, image, Some("logged"))?;
        blockdev(&mut devices, logged);
        devices.extend(more);
        kernel_arguments = arguments;
    } else {
        blockdev(&mut devices, logged);
        if !bad.is_empty() {
            // Above the log: what failed was not written.
            let mut errors = "driver=blkdebug,image=logged,node-name=failing".to_owned();
            for (number, sector) in bad.iter().enumerate() {
                let rule = format!("inject-error.{number}");
                errors += &format!(
                    ",{rule}.event=none,{rule}.iotype=write,{rule}.errno=5,{rule}.sector={sector},{rule}.once=on"
                );
            }
            blockdev(&mut devices, errors);
            top = "failing";
        }
        devices.push("-device".to_owned());
        let serial = serial::DISK;
        devices.push(format!(
            "{},drive={top},discard=off,serial={serial}",
            machine.virtio("blk")
        ));
    }
    Ok((devices, kernel_arguments))
}

/// How a file system is mounted, for a scenario.
pub fn disk(filesystem: &Filesystem, scenario: Scenario) -> Disk {
    let more = match scenario {
        Scenario::NoBarrier => &*filesystem.barrier,
        _ => "",
    };
    let device = match &*filesystem.kind {
        "ubifs" => "ubi0:data",
        _ => serial::DISK,
    };
    Disk {
        kind: filesystem.kind.clone(),
        device: device.to_owned(),
        options: disks::options(filesystem, more),
    }
}

/// Makes the disk. Gives the sectors that are to fail.
fn make_disk(
    filesystem: &Filesystem,
    scenario: Scenario,
    page: usize,
    image: &Path,
) -> Result<Vec<u64>> {
    let len = filesystem.mib << 20;
    if scenario != Scenario::BadBlock {
        disks::make(filesystem, image, len, None)?;
        return Ok(Vec::new());
    }
    // Files that are on it from the start, so that their blocks are known.
    let folder = Temporary::new()?;
    let files = folder.path().join("files");
    fs::create_dir(&files)?;
    let styles = scenario.styles(filesystem.large);
    let styles = styles
        .into_iter()
        .filter(|style| style.is_made_by_the_host());
    let styles: Vec<Style> = styles.collect();
    for style in &styles {
        let bytes = vec![style.first_byte(); style.piece(page).len];
        fs::write(files.join(style.name()), bytes)?;
    }
    disks::make(filesystem, image, len, Some(&files))?;
    let mut sectors = Vec::new();
    for style in styles {
        let mut debugfs = Command::new("debugfs");
        debugfs.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        debugfs
            .arg("-R")
            .arg(format!("blocks /{}", style.name()))
            .arg(image);
        let blocks = output(debugfs)?;
        let first = blocks
            .split_whitespace()
            .next()
            .context("a file has blocks")?;
        let first: u64 = first.parse().context("a block of debugfs")?;
        // Blocks of 4096 bytes.
        sectors.push(first * 8);
    }
    Ok(sectors)
}

pub fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("--sparse=always").args([from, to]);
    output(copy).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_runs_are_kept_and_the_newest_that_failed() {
        let all = tempfile::tempdir().unwrap();
        let age = |seconds| SystemTime::now() - Duration::from_secs(seconds);
        for seed in 0..20 {
            let folder = Folder(all.path().join(format!("armv7-ext4-flushes-{seed:x}")));
            fs::create_dir(&folder.0).unwrap();
            if seed % 2 == 0 {
                folder.set_failed();
            }
            // The smallest seeds are the newest.
            let open = fs::File::open(&folder.0).unwrap();
            open.set_modified(age(100 * seed)).unwrap();
        }
        Folder::forget_old_in(all.path(), 19);
        let names = fs::read_dir(all.path()).unwrap();
        let mut seeds: Vec<u64> = names
            .map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                u64::from_str_radix(name.rsplit_once('-').unwrap().1, 16).unwrap()
            })
            .collect();
        seeds.sort_unstable();
        assert_eq!(seeds, [0, 1, 2, 3, 4, 5, 6, 7, 19]);
    }
}
