//! Programs of the host that this one runs.
//!
//! # Safety
//!
//! Between fork and exec one system call is made, which allocates nothing.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use crate::rows::root;
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Has a command be killed when this process ends, however it ends.
pub fn kill_when_parent_ends(command: &mut Command) {
    // SAFETY: one system call, which is safe between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

/// cargo, for a target of targets.toml: where rustup has no std for it, with the toolchain that builds one.
pub fn cargo_for(triple: &str) -> Result<Command> {
    let get = root().join("targets/get");
    let mut asked = Command::new(get);
    asked.args([triple, "std"]);
    if output(asked)?.trim() != "built" {
        return Ok(Command::new(
            std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        ));
    }
    let nightly = output(Command::new(root().join("targets/nightly")))?;
    // rustup's, which takes a toolchain.
    let mut cargo = Command::new("cargo");
    cargo.args([&format!("+{}", nightly.trim()), "-Zbuild-std"]);
    Ok(cargo)
}

/// What a command prints; an error is what it says itself.
pub fn output(mut command: Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    kill_when_parent_ends(&mut command);
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .context(name.clone())?;
    let stderr = String::from_utf8_lossy(&stderr);
    ensure!(status.success(), "{name}: {}", stderr.trim());
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
