//! Programs of the host in a guest: `cargo qemu test`, and the runner that cargo calls for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rawmap_guest::job::{Disk, Job, TEST_DIR, Test, say, serial};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::cache::Temporary;
use crate::command::{cargo_for, kill_when_parent_ends};
use crate::disks::{disk, escaped};
use crate::machine::{Guest, Ready};
use crate::rows::{Filesystem, Machine, Rows, root};
use crate::{debian, disks};

/// Names of the variables by which `cargo qemu test` tells the runner what to boot.
pub const MACHINE: &str = "RAWMAP_MACHINE";
const FILESYSTEM: &str = "RAWMAP_FS";
const NO_PROC: &str = "RAWMAP_NO_PROC";
const LIMIT: &str = "RAWMAP_GUEST_SECONDS";

/// Bytes of the disk that the tests write to.
const DISK_LEN: u64 = 1 << 30;

/// What a program finds in its guest.
#[derive(Debug)]
pub struct Room<'a> {
    pub filesystem: Option<&'a Filesystem>,
    pub proc: bool,
    /// Print all that the guest says, not just the program.
    pub all: bool,
}

/// `cargo qemu test`: runs cargo with the system runner. Gives the exit status.
pub fn cargo_test(machine: &Machine, filesystem: &str, arguments: &[String]) -> Result<u8> {
    let mut cargo = cargo_for(&machine.target)?;
    cargo
        .current_dir(root())
        .arg("test")
        .args(["--target", &machine.target]);
    cargo.args([
        "--package",
        "rawmap-tests",
        "--tests",
        "--no-fail-fast",
        "--",
    ]);
    cargo.args(arguments);
    cargo
        .env(MACHINE, &machine.name)
        .env(FILESYSTEM, filesystem);
    kill_when_parent_ends(&mut cargo);
    let status = cargo.status().context("cargo")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// The runner: boots the machine that the environment names with a program in it.
pub fn run_from_environment(rows: &Rows, command: &[String]) -> Result<u8> {
    // Else a cargo that is killed leaves its guest to the time limit.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let name = std::env::var(MACHINE).with_context(|| format!("{MACHINE} is not set"))?;
    let machine = rows.machine(&name)?;
    let name = std::env::var(FILESYSTEM).unwrap_or_default();
    let filesystem = match &*name {
        "none" => None,
        "" => Some(rows.filesystem("ext4")?),
        name => Some(rows.filesystem(name)?),
    };
    let room = Room {
        filesystem,
        proc: !no_proc()?,
        all: false,
    };
    run(rows, machine, &room, command)
}

/// Boots a machine with a program in it, prints what the program prints, and gives its status.
pub fn run(rows: &Rows, machine: &Machine, room: &Room<'_>, command: &[String]) -> Result<u8> {
    let ready = Ready::new(rows, machine)?;
    let work = Temporary::new()?;
    let (mounted, mut devices, kernel_arguments) = match room.filesystem {
        None => (Disk::default(), Vec::new(), String::new()),
        Some(filesystem) => test_disk(machine, filesystem, work.path())?,
    };
    let registers = |kind: &str, what: &[String]| -> Vec<String> {
        let pairs = what.iter().map(|what| [kind.to_owned(), what.clone()]);
        pairs.flatten().collect()
    };
    if machine.registers {
        devices.extend(registers("-object", &rows.objects));
        devices.extend(registers("-device", &rows.devices));
    }
    let (mut job, shares) = program(machine, command)?;
    devices.extend(shares);
    (job.disk, job.proc) = (mounted, room.proc);
    let limit = limit()?;
    let mut guest = ready.boot(&Job::Test(job), &kernel_arguments, &devices, limit)?;
    let status = follow(&mut guest, room.all);
    guest.keep(status)
}

/// A program of the host's, or of the guest's own system, without a disk; and QEMU's arguments for the folders that it finds.
pub fn program(machine: &Machine, command: &[String]) -> Result<(Test, Vec<String>)> {
    let (program, arguments) = command.split_first().context("a program")?;
    let folder = std::env::current_dir()?;
    let found = folder.join(program);
    // Else a program of the guest's own system.
    let is_ours = program.contains('/') && found.exists();
    let mut shares = BTreeMap::from([("system".to_owned(), debian::userland(machine)?)]);
    if is_ours {
        let near = found.parent().unwrap_or(&folder).to_path_buf();
        for path in [root().to_path_buf(), folder.clone(), near] {
            let there = |share: &PathBuf| path.starts_with(share);
            if !shares.values().any(there) {
                shares.insert(format!("share{}", shares.len()), path);
            }
        }
    }
    let mut devices = Vec::new();
    for (tag, path) in &shares {
        let path = escaped(path);
        devices.push("-fsdev".to_owned());
        devices.push(format!(
            "local,id={tag},path={path},security_model=none,readonly=on,multidevs=remap"
        ));
        devices.push("-device".to_owned());
        devices.push(format!(
            "{},fsdev={tag},mount_tag={tag}",
            machine.virtio("9p")
        ));
    }
    let text = |path: &Path| path.to_str().map(str::to_owned).context("an odd path");
    let mut job = Test {
        program: if is_ours {
            text(&found)?
        } else {
            program.clone()
        },
        arguments: arguments.to_vec(),
        folder: if is_ours {
            text(&folder)?
        } else {
            "/".to_owned()
        },
        environment: environment(machine),
        shares: BTreeMap::new(),
        disk: Disk::default(),
        proc: true,
        page: machine.page,
    };
    for (tag, path) in &shares {
        let place = if tag == "system" {
            "/".to_owned()
        } else {
            text(path)?
        };
        job.shares.insert(tag.clone(), place);
    }
    Ok((job, devices))
}

/// Whether the environment asks for a guest without /proc.
fn no_proc() -> Result<bool> {
    match &*std::env::var(NO_PROC).unwrap_or_default() {
        "" | "0" => Ok(false),
        "1" => Ok(true),
        other => bail!("{NO_PROC} is {other:?}: 1 leaves /proc unmounted, 0 does not"),
    }
}

/// How long a guest may take.
fn limit() -> Result<Duration> {
    let text = std::env::var(LIMIT).unwrap_or_default();
    let seconds = match &*text {
        "" => 1800,
        text => text
            .parse()
            .with_context(|| format!("{LIMIT} is {text:?}, not a number of seconds"))?,
    };
    Ok(Duration::from_secs(seconds))
}

/// The file system of the tests: on a disk, or on flash.
fn test_disk(
    machine: &Machine,
    filesystem: &Filesystem,
    folder: &Path,
) -> Result<(Disk, Vec<String>, String)> {
    if !machine.filesystems.contains(&filesystem.name) {
        bail!("{} has no {}", machine.name, filesystem.name);
    }
    let image = folder.join("disk");
    let options = filesystem.options.clone();
    if filesystem.is_flash() {
        let (devices, kernel_arguments) = disks::empty_flash(machine, &image, None)?;
        let disk = Disk {
            kind: filesystem.kind.clone(),
            device: "ubi0:data".to_owned(),
            options,
        };
        return Ok((disk, devices, kernel_arguments));
    }
    disks::make(filesystem, &image, DISK_LEN, None)?;
    let mounted = Disk {
        kind: filesystem.kind.clone(),
        device: serial::DISK.to_owned(),
        options,
    };
    Ok((mounted, disk(machine, &image, serial::DISK), String::new()))
}

/// What a program of the tests may want to know of the host's environment, and where it may write.
fn environment(machine: &Machine) -> BTreeMap<String, String> {
    let ours = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok()?;
        let known = ["CARGO_", "PROPTEST_", "RAWMAP_", "RUST_"];
        // The last two are about user mode.
        let keep = known.iter().any(|start| name.starts_with(start))
            && !["RAWMAP_RUNNER", "RAWMAP_EMULATOR"].contains(&&*name);
        keep.then_some((name, value.into_string().ok()?))
    };
    let mut environment: BTreeMap<_, _> = std::env::vars_os().filter_map(ours).collect();
    let set = [
        (MACHINE, &*machine.name),
        ("RAWMAP_TEST_DIR", TEST_DIR),
        ("HOME", "/tmp"),
        ("TMPDIR", "/tmp"),
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ];
    // Names for a backtrace cost seconds in an emulator.
    environment
        .entry("RUST_BACKTRACE".to_owned())
        .or_insert_with(|| "0".to_owned());
    environment.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
    environment
}

/// Prints what the program prints, and gives its status.
fn follow(guest: &mut Guest, all: bool) -> Result<u8> {
    let mut out = std::io::stdout().lock();
    let mut started = false;
    // A line is held back until the next: the last but one may be empty, and the guest's own.
    let mut held: Option<String> = None;
    while let Some(line) = guest.line()? {
        if let Some(status) = line.strip_prefix(say::EXIT) {
            if let Some(held) = held.filter(|line| !line.is_empty()) {
                writeln!(out, "{held}")?;
            }
            // 128 and more is a signal.
            let status: i32 = status.parse().context("a status")?;
            return Ok(u8::try_from(status).unwrap_or(1));
        }
        if started || all {
            if let Some(held) = held.replace(line) {
                writeln!(out, "{held}")?;
                out.flush()?;
            }
        } else if line == say::START {
            started = true;
        }
    }
    bail!("the guest ended before the program did");
}
