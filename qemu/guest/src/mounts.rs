//! File systems and modules.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rawmap_guest::job::Disk;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::failure::Failure;
use crate::ioctl;

/// Mounts, with an error that says what.
pub fn mount(kind: &str, source: &str, target: &str, options: &str) -> Result<(), Failure> {
    // Some options are flags of the call, the others are the file system's own.
    let mut flags = MountFlags::empty();
    let mut own = Vec::new();
    for word in options.split(',') {
        match word {
            "noatime" => flags |= MountFlags::NOATIME,
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            word => own.push(word),
        }
    }
    let own = std::ffi::CString::new(own.join(","))?;
    fs::create_dir_all(target).map_err(|error| format!("{target}: {error}"))?;
    rustix::mount::mount(source, target, kind, flags, own.as_c_str())
        .map_err(|error| format!("mount -t {kind} -o {options} {source} {target}: {error}").into())
}

/// Shows a folder in another place, too.
pub fn bind(source: &str, target: &str) -> Result<(), Failure> {
    fs::create_dir_all(target).map_err(|error| format!("{target}: {error}"))?;
    rustix::mount::mount_bind(source, target)
        .map_err(|error| format!("mount --bind {source} {target}: {error}").into())
}

/// Unmounts, or says why not.
pub fn unmount(target: &str) -> Result<(), Failure> {
    rustix::mount::unmount(target, UnmountFlags::empty())
        .map_err(|error| format!("umount {target}: {error}").into())
}

/// What everything needs.
pub fn first(proc: bool) -> Result<(), Failure> {
    if proc {
        mount("proc", "proc", "/proc", "")?;
    }
    mount("sysfs", "sys", "/sys", "")?;
    mount("devtmpfs", "dev", "/dev", "")
}

/// Loads what `/modules` lists, in that order: a path, then parameters.
pub fn load_modules() -> Result<(), Failure> {
    for line in fs::read_to_string("/modules").unwrap_or_default().lines() {
        let (path, parameters) = line.split_once(' ').unwrap_or((line, ""));
        let module = File::open(path).map_err(|error| format!("{path}: {error}"))?;
        let parameters = std::ffi::CString::new(parameters)?;
        match rustix::system::finit_module(&module, &parameters, 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(format!("insmod {line}: {error}").into()),
        }
    }
    Ok(())
}

/// Mounts a disk, and waits for its device before.
pub fn mount_disk(disk: &Disk, target: &str) -> Result<(), Failure> {
    if disk.kind == "ubifs" {
        wait_for("/dev/ubi0")?;
        if !Path::new("/dev/ubi0_0").exists() {
            ioctl::make_volume(&File::open("/dev/ubi0")?, "data")?;
        }
        wait_for("/dev/ubi0_0")?;
        return mount(&disk.kind, &disk.device, target, &disk.options);
    }
    mount(
        &disk.kind,
        &block_device(&disk.device)?,
        target,
        &disk.options,
    )
}

/// The block device with that serial number, once the kernel has found it: names go by the order in which devices are
/// found, which is another one on some machines each time.
pub fn block_device(serial: &str) -> Result<String, Failure> {
    let start = Instant::now();
    loop {
        for entry in fs::read_dir("/sys/block")? {
            let entry = entry?;
            let found = fs::read_to_string(entry.path().join("serial"));
            if found.is_ok_and(|found| found.trim() == serial) {
                let device = format!("/dev/{}", entry.file_name().to_string_lossy());
                wait_for(&device)?;
                return Ok(device);
            }
        }
        if start.elapsed() > LIMIT {
            return Err(format!("no disk has the serial number {serial:?}").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How long the kernel may take to find a device.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits until the kernel has found a device.
pub fn wait_for(device: &str) -> io::Result<()> {
    let start = Instant::now();
    while !Path::new(device).exists() {
        if start.elapsed() > LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{device} did not appear"),
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
