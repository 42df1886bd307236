//! Runs a program of the host's in a small Debian system, under the host's paths.

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use rawmap_guest::job::{TEST_DIR, Test, say};

use crate::failure::Failure;
use crate::mounts::{bind, mount, mount_disk};

/// Where the system is put together.
const ROOT: &str = "/root";

pub fn run(job: &Test) -> Result<(), Failure> {
    enter_system(job)?;
    let test_dir = test_dir();
    if job.disk.kind.is_empty() {
        fs::create_dir_all(&test_dir)?;
    } else {
        mount_disk(&job.disk, &test_dir)?;
    }
    println!("{}", say::START);
    let status = command(job).stdin(Stdio::null()).status()?;
    // The program may have left half a line.
    println!("\n{}{}", say::EXIT, code(status));
    Ok(())
}

/// Where the disk of a program is mounted.
pub fn test_dir() -> String {
    format!("{ROOT}{TEST_DIR}")
}

/// The status of a program, as a shell has it.
pub fn code(status: ExitStatus) -> i32 {
    let signal = || 128 + status.signal().unwrap_or(0);
    status.code().unwrap_or_else(signal)
}

/// The program, in its system.
pub fn command(job: &Test) -> Command {
    let mut command = Command::new("/init");
    command
        .args(["exec", ROOT, &job.folder, &job.program])
        .args(&job.arguments)
        .env_clear()
        .envs(&job.environment);
    command
}

/// Puts the system of the program together.
pub fn enter_system(job: &Test) -> Result<(), Failure> {
    let found = rawmap_core::page_size()?.get();
    if found != job.page {
        return Err(format!("pages of {found} bytes, not {}: correct the row", job.page).into());
    }
    mount("tmpfs", "tmpfs", ROOT, "")?;
    let (systems, shares): (Vec<_>, Vec<_>) = job.shares.iter().partition(|(_, path)| *path == "/");
    for (tag, _) in systems {
        system(&share(tag)?, &shares)?;
    }
    bind("/dev", &format!("{ROOT}/dev"))?;
    bind("/sys", &format!("{ROOT}/sys"))?;
    if job.proc {
        mount("proc", "proc", &format!("{ROOT}/proc"), "")?;
    }
    // Room for disks in memory.
    mount("tmpfs", "tmpfs", &format!("{ROOT}/tmp"), "mode=1777")?;
    // Last: wherever they are on the host, /tmp too, nothing hides them.
    for (tag, path) in shares {
        bind(&share(tag)?, &format!("{ROOT}{path}"))?;
    }
    Ok(())
}

/// Mounts a folder of the host's, and gives its place.
fn share(tag: &str) -> Result<String, Failure> {
    let place = format!("/shares/{tag}");
    // Nobody writes there, so that everything may be kept.
    // The host's error numbers, which on MIPS are others: exec(2) would ask for capabilities, and take "there are none" for an error.
    let options = "nosuid,trans=virtio,version=9p2000.L,cache=loose,ro,msize=262144";
    mount("9p", tag, &place, options)?;
    Ok(place)
}

/// The folders of a Debian system. Its links to /usr come with a package that needs more than unpacking.
fn system(source: &str, shares: &[(&String, &String)]) -> Result<(), Failure> {
    for name in names(source)? {
        let from = format!("{source}/{name}");
        if Path::new(&from).is_dir() {
            folder(&from, &format!("/{name}"), shares)?;
        }
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        let link = format!("{ROOT}/{name}");
        if !Path::new(&link).exists() && Path::new(&format!("{ROOT}/usr/{name}")).exists() {
            std::os::unix::fs::symlink(format!("usr/{name}"), &link)?;
        }
    }
    fs::create_dir_all(format!("{ROOT}/etc"))?;
    Ok(())
}

/// A folder of the system. Nothing can be made in it, so where the host's folders lie inside, it is made of its parts: a tree in
/// /home, /root or /usr/src.
fn folder(from: &str, path: &str, shares: &[(&String, &String)]) -> Result<(), Failure> {
    let to = format!("{ROOT}{path}");
    let inside = |share: &str| Path::new(share).starts_with(path);
    if !shares.iter().any(|(_, share)| inside(share)) {
        return bind(from, &to);
    }
    fs::create_dir_all(&to)?;
    for name in names(from)? {
        let (from, to) = (format!("{from}/{name}"), format!("{to}/{name}"));
        let kind = fs::symlink_metadata(&from)?.file_type();
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_dir() {
            folder(&from, &format!("{path}/{name}"), shares)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

fn names(folder: &str) -> Result<Vec<String>, Failure> {
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry?.file_name().into_string();
        Ok(name.map_err(|_| "an odd name")?)
    };
    fs::read_dir(folder)?.map(name).collect()
}

/// In the child: takes the system for its own, and becomes the program. Comes back with what went wrong.
pub fn enter(arguments: &[String]) -> String {
    let [root, folder, program, arguments @ ..] = arguments else {
        return "exec ROOT FOLDER PROGRAM [ARGUMENT...]".to_owned();
    };
    if let Err(error) = std::os::unix::fs::chroot(root) {
        return format!("chroot {root}: {error}");
    }
    if let Err(error) = std::env::set_current_dir(folder) {
        return format!("cd {folder}: {error}");
    }
    let error = Command::new(program).args(arguments).exec();
    format!("{program}: {error}")
}
