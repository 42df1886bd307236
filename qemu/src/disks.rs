//! Disks with an empty file system, and how QEMU is told of them.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command::{kill_when_parent_ends, output};
use crate::rows::{Filesystem, Machine};

/// Makes an image of so many bytes with a file system on it, and what a folder has.
pub fn make(filesystem: &Filesystem, path: &Path, len: u64, with: Option<&Path>) -> Result<()> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    file.set_len(len)?;
    let (program, arguments) = filesystem
        .make
        .split_first()
        .context("a file system that is made")?;
    let mut make = Command::new(program);
    make.args(arguments);
    if let Some(folder) = with {
        ensure!(filesystem.kind == "ext4", "only mkfs.ext4 takes files");
        make.arg("-d").arg(folder);
    }
    make.arg(path);
    // Where the tools of a system are, also for a user who is not root.
    make.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    output(make)
        .map(drop)
        .with_context(|| format!("making {}: has targets/setup been run?", filesystem.name))
}

/// Repairs one after a power cut with a command of its row, if there is one: as a system does when it starts.
pub fn repair(command: &[String], path: &Path) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let mut repair = Command::new(program);
    repair
        .args(arguments)
        .arg(path)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    kill_when_parent_ends(&mut repair);
    let output = repair.output().with_context(|| program.clone())?;
    // 1: something was repaired.
    let done = matches!(output.status.code(), Some(0 | 1));
    ensure!(
        done,
        "{program}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The options of a mount, with more.
pub fn options(filesystem: &Filesystem, more: &str) -> String {
    match more {
        "" => filesystem.options.clone(),
        more => format!("{},{more}", filesystem.options),
    }
}

/// The board's NOR flash as one machine has it: QEMU's arguments and the kernel's. Empty where the file is not
/// there yet. `node` is a block device of QEMU's that stands for the file.
pub fn empty_flash(
    machine: &Machine,
    path: &Path,
    node: Option<&str>,
) -> Result<(Vec<String>, String)> {
    let flash = machine.flash.as_ref();
    let flash = flash.with_context(|| format!("{} has no flash", machine.name))?;
    if !path.exists() {
        let empty = vec![0xFF; usize::try_from(flash.all << 20)?];
        std::fs::write(path, empty).with_context(|| path.display().to_string())?;
    }
    let mut arguments = Vec::new();
    let node = match node {
        Some(node) => node.to_owned(),
        None => {
            arguments.push("-blockdev".to_owned());
            arguments.push(format!(
                "driver=file,filename={},node-name=flash1,cache.no-flush=on",
                escaped(path)
            ));
            "flash1".to_owned()
        }
    };
    arguments.extend(["-machine".to_owned(), format!("pflash1={node}")]);
    let (device, skip, len) = (&flash.device, flash.skip, flash.len);
    let parts = format!("mtdparts={device}:{skip}m(firmware),{len}m(data) ubi.mtd=data");
    Ok((arguments, parts))
}

/// QEMU's arguments for a disk with that serial number, whose writes need not reach the host's own disk.
pub fn disk(machine: &Machine, path: &Path, serial: &str) -> Vec<String> {
    let drive = format!(
        "if=none,id={serial},format=raw,cache=unsafe,file={}",
        escaped(path)
    );
    let device = format!("{},drive={serial},serial={serial}", machine.virtio("blk"));
    ["-drive", &drive, "-device", &device]
        .map(str::to_owned)
        .into()
}

/// A path inside one of QEMU's lists, where a comma would end it.
pub fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
