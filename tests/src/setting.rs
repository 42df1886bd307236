//! A setting of the kernel that a test changes, and that comes back whatever becomes of the test.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// The setting is as it was when this is dropped, and where the test is killed: a process of its own writes it back.
#[derive(Debug)]
pub struct Setting {
    path: String,
    before: String,
    /// None in QEMU's user mode, where a fork beside other threads may hang.
    keeper: Option<Child>,
}

impl Setting {
    /// Reads what is there, and has it kept.
    ///
    /// # Errors
    ///
    /// Why not: it cannot be read, or there is no bash.
    pub fn keep(path: &str) -> Result<Self, String> {
        let before = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let before = before.trim().to_owned();
        // Its input ends with the test. A signal to the group of the test is not for it.
        let keeper = || {
            Command::new("bash")
                .args(["-c", "read -r _; echo \"$1\" >\"$2\"", "bash"])
                .args([&before, path])
                .stdin(Stdio::piped())
                .process_group(0)
                .spawn()
                .map_err(|error| format!("bash: {error}"))
        };
        let keeper = match crate::emulator() {
            None => Some(keeper()?),
            Some(_) => None,
        };
        let path = path.to_owned();
        Ok(Self {
            path,
            before,
            keeper,
        })
    }

    /// Changes it.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn set(&self, value: &str) -> Result<(), String> {
        fs::write(&self.path, value).map_err(|error| format!("{} {value}: {error}", self.path))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let Some(keeper) = &mut self.keeper else {
            // Another user comes next.
            let _ = fs::write(&self.path, &self.before);
            return;
        };
        drop(keeper.stdin.take());
        let _ = keeper.wait();
    }
}
