//! The initial file system of a guest: the guest's program, its job, the kernel's modules.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cpio::newc::{Builder, trailer};
use rawmap_guest::job::Job;

use crate::command::{cargo_for, kill_when_parent_ends};
use crate::kernel::Kernel;
use crate::rows::{Machine, root};

/// Builds the guest's program for a machine: static, so that it runs before there is anything else.
pub fn guest(machine: &Machine) -> Result<PathBuf> {
    let target = root().join("target/guest");
    let mut cargo = cargo_for(&machine.target)?;
    // Not what an outer cargo was told.
    for variable in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "RAWMAP_MACHINE",
    ] {
        cargo.env_remove(variable);
    }
    cargo
        .current_dir(root())
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "rawmap-guest",
            "--bin",
            "guest",
        ])
        .args(["--target", &machine.target, "--target-dir"])
        .arg(&target);
    kill_when_parent_ends(&mut cargo);
    let status = cargo.status().context("cargo")?;
    ensure!(
        status.success(),
        "the guest's program could not be built for {}: cargo says why; where it has no linker or std, run targets/setup {}",
        machine.target,
        machine.target
    );
    Ok(target.join(&machine.target).join("release/guest"))
}

/// Writes the image.
pub fn write(path: &Path, kernel: &Kernel, guest: &Path, job: &Job) -> Result<()> {
    let file = fs::File::create(path).with_context(|| path.display().to_string())?;
    let mut image = Image {
        out: std::io::BufWriter::new(file),
        number: 0,
    };
    const FOLDER: u32 = 0o040_755;
    const PROGRAM: u32 = 0o100_755;
    for folder in ["dev", "proc", "sys", "root", "disk", "shares", "lib"] {
        image.entry(folder, FOLDER, &[])?;
    }
    image.device("dev/console", 5, 1)?;
    let mut list = String::new();
    for module in &kernel.modules {
        let name = module.file_name().and_then(|name| name.to_str());
        let name = format!("lib/{}", name.context("an odd name")?);
        image.entry(&name, PROGRAM, &fs::read(module)?)?;
        list += &format!("/{name}\n");
    }
    image.entry("modules", PROGRAM, list.as_bytes())?;
    image.entry("job", PROGRAM, toml::to_string(job)?.as_bytes())?;
    let program = fs::read(guest).with_context(|| guest.display().to_string())?;
    image.entry("init", PROGRAM, &program)?;
    trailer(image.out)?.flush()?;
    Ok(())
}

struct Image<W: Write> {
    out: W,
    number: u32,
}

impl<W: Write> Image<W> {
    fn write(&mut self, builder: Builder, bytes: &[u8]) -> Result<()> {
        self.number += 1;
        let len = u32::try_from(bytes.len()).context("a file of 4 GiB")?;
        let mut entry = builder.ino(self.number).write(&mut self.out, len);
        entry.write_all(bytes)?;
        entry.finish()?;
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.write(Builder::new(name).mode(mode).nlink(1), bytes)
    }

    fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        let builder = Builder::new(name).mode(0o020_600).nlink(1);
        self.write(builder.rdev_major(major).rdev_minor(minor), &[])
    }
}
