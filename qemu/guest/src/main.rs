//! The first process of a virtual machine: loads modules, mounts, and does its [`Job`]. Static, so that it
//! needs nothing but the kernel.

mod check;
mod failure;
mod ioctl;
mod mounts;
mod test;
mod verify;
mod work;

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use rawmap_guest::job::{Job, say};
use rustix::system::RebootCommand;

use failure::Failure;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some((word, rest)) = arguments[1..].split_first()
        && word == "exec"
    {
        eprintln!("{}{}", say::FAILED, test::enter(rest));
        std::process::exit(127);
    }
    if std::process::id() != 1 {
        eprintln!("this is the first process of a virtual machine, started by `cargo qemu`");
        std::process::exit(2);
    }
    // Else the kernel panics when this process ends, and the host waits for its time limit.
    std::panic::set_hook(Box::new(|what| {
        fail(&what.to_string());
    }));
    if let Err(error) = job() {
        fail(&error.to_string());
    }
    power_off();
}

/// Says why nothing more can be done, after what the kernel said of it, and ends.
fn fail(why: &str) -> ! {
    let log = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open("/dev/kmsg");
    let mut said = Vec::new();
    if let Ok(mut log) = log {
        let mut record = [0; 8192];
        while let Ok(count) = log.read(&mut record) {
            // Priority and time; then the text.
            let text = String::from_utf8_lossy(&record[..count]);
            let text = text.lines().next().and_then(|line| line.split_once(';'));
            said.extend(text.map(|(_, text)| text.to_owned()));
        }
    }
    for line in &said[said.len().saturating_sub(20)..] {
        println!("kernel: {line}");
    }
    println!("{}{why}", say::FAILED);
    power_off();
}

fn job() -> Result<(), Failure> {
    // The kernel may have left a line open.
    println!();
    let text = fs::read_to_string("/job").map_err(|error| format!("/job: {error}"))?;
    let job: Job = toml::from_str(&text).map_err(|error| format!("/job: {error}"))?;
    let proc = !matches!(&job, Job::Test(test) if !test.proc);
    mounts::first(proc)?;
    mounts::load_modules()?;
    match job {
        Job::Test(job) => test::run(&job),
        Job::Work(job) => work::run(&job),
        Job::Verify(job) => verify::run(&job),
        Job::Check(job) => check::run(&job),
    }
}

/// Ends the machine. What was printed is out before.
fn power_off() -> ! {
    let _ = std::io::stdout().flush();
    let _ = rustix::termios::tcdrain(std::io::stdout());
    rustix::fs::sync();
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    loop {
        std::thread::park();
    }
}
