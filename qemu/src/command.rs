//! Programs of the host that this one runs.
//!
//! # Safety
//!
//! Between fork and exec one system call is made, which allocates nothing.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Has a command be killed when this process ends, however it ends.
pub fn kill_when_parent_ends(command: &mut Command) {
    // SAFETY: one system call, which is safe between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
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
