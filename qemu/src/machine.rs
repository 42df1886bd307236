//! A running QEMU: what it says on its serial console, and its end.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rawmap_guest::job::{Job, say};

use crate::cache::{self, Temporary};
use crate::command::kill_when_parent_ends;
use crate::initramfs;
use crate::kernel::{self, Kernel};
use crate::rows::{Machine, Rows};

/// A machine with its kernel and the guest's program: all that a boot takes but the job.
#[derive(Debug)]
pub struct Ready<'a> {
    pub machine: &'a Machine,
    pub kernel: Kernel,
    guest: std::path::PathBuf,
}

impl<'a> Ready<'a> {
    /// Fetches and builds what is missing.
    pub fn new(rows: &Rows, machine: &'a Machine) -> Result<Self> {
        Ok(Self {
            kernel: kernel::get(rows, machine)?,
            guest: initramfs::guest(machine)?,
            machine,
        })
    }

    /// Boots it with a job, more of QEMU's arguments, and a limit to the time from now to its end.
    pub fn boot(
        &self,
        job: &Job,
        kernel_arguments: &str,
        devices: &[String],
        limit: Duration,
    ) -> Result<Guest> {
        let machine = self.machine;
        let folder = Temporary::new()?;
        let image = folder.path().join("initramfs");
        initramfs::write(&image, &self.kernel, &self.guest, job)?;
        let mut qemu = Command::new(&machine.qemu);
        qemu.args(["-M", &machine.board, "-cpu", &machine.cpu]);
        qemu.args(["-smp", &machine.processors.to_string()]);
        qemu.args(["-m", &machine.memory.to_string()]);
        qemu.args([
            "-accel",
            "tcg,thread=multi",
            "-display",
            "none",
            "-nodefaults",
        ]);
        qemu.args([
            "-no-user-config",
            "-no-reboot",
            "-nic",
            "none",
            "-monitor",
            "none",
        ]);
        qemu.args(["-serial", "stdio", "-device", &machine.virtio("rng")]);
        qemu.arg("-kernel").arg(&self.kernel.image);
        qemu.arg("-initrd").arg(&image);
        let console = &machine.console;
        qemu.arg("-append").arg(format!(
            "console={console} panic=-1 quiet loglevel=2 {kernel_arguments}"
        ));
        qemu.args(devices);
        Guest::start(qemu, machine, folder, limit)
    }
}

/// A virtual machine. It is ended when this is dropped, when its time is over, or when this process ends.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    host: ChildStdin,
    lines: Receiver<String>,
    transcript: String,
    deadline: Instant,
    limit: Duration,
    name: String,
    /// With the initial file system.
    _folder: Temporary,
}

impl Guest {
    fn start(
        mut qemu: Command,
        machine: &Machine,
        folder: Temporary,
        limit: Duration,
    ) -> Result<Self> {
        qemu.stdin(Stdio::piped());
        let command = format!("{qemu:?}\n");
        let (mut reader, writer) = std::io::pipe()?;
        qemu.stdout(writer.try_clone()?).stderr(writer);
        kill_when_parent_ends(&mut qemu);
        let mut child = qemu.spawn().with_context(|| {
            format!(
                "{} could not be started: run targets/setup --system {}",
                machine.qemu, machine.target
            )
        })?;
        // With its ends of the pipe.
        drop(qemu);
        let host = child.stdin.take().context("a pipe")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut rest = Vec::new();
            let mut buffer = [0; 65536];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                rest.extend(&buffer[..count]);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line);
                    // Nobody may be listening any more.
                    let _ = sender.send(line.trim_end_matches(['\r', '\n']).to_owned());
                }
            }
            if !rest.is_empty() {
                let _ = sender.send(String::from_utf8_lossy(&rest).into_owned());
            }
        });
        Ok(Self {
            child,
            host,
            lines,
            transcript: command,
            deadline: Instant::now() + limit,
            limit,
            name: machine.name.clone(),
            _folder: folder,
        })
    }

    /// The next line of its console; `None` when it has ended.
    pub fn line(&mut self) -> Result<Option<String>> {
        if let Some(line) = self.line_until(self.deadline)? {
            return Ok(line);
        }
        self.end();
        bail!("{}: not done after {} s", self.name, self.limit.as_secs())
    }

    /// The same, if it comes before a moment.
    pub fn line_until(&mut self, until: Instant) -> Result<Option<Option<String>>> {
        let left = until.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.transcript += &line;
                self.transcript.push('\n');
                if let Some(why) = line.strip_prefix(say::FAILED) {
                    bail!("{}: the guest failed: {why}", self.name);
                }
                Ok(Some(Some(line)))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(Some(None)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
        }
    }

    /// What QEMU was called with, and all that it said.
    pub fn transcript(&self) -> &str {
        &self.transcript
    }

    /// Types a line on its console.
    pub fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.host, "{line}").context("the guest's console")
    }

    /// Cuts its power.
    pub fn end(&mut self) {
        // It may have ended by itself; then there is nothing to kill, and no other process has its number
        // before it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Keeps what it said, and adds to an error where that is.
    pub fn keep<T>(&self, result: Result<T>) -> Result<T> {
        result.or_else(|error| {
            let path =
                cache::folder().join(format!("failed-{}-{}.log", self.name, self.child.id()));
            std::fs::write(&path, &self.transcript).with_context(|| path.display().to_string())?;
            let last: Vec<_> = self.transcript.lines().rev().take(5).collect();
            let last: Vec<_> = last.into_iter().rev().collect();
            Err(error.context(format!(
                "the guest's last lines:\n  {}\nall it said: {}",
                last.join("\n  "),
                path.display()
            )))
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.end();
    }
}
