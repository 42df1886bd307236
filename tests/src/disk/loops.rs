//! Loop devices, and mounts that no other process sees.

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, loop_config,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::{io_text, opens};

/// Makes a loop device over a file, and returns it with its path. The kernel takes it away with the last descriptor and mount of
/// it, also where the process is killed: `losetup` could say so only afterwards.
///
/// # Errors
///
/// Why not: this process may not, or the kernel has none.
pub fn over(file: &File) -> Result<(File, String), String> {
    let control = opens("/dev/loop-control").map_err(|error| format!("loop-control: {error}"))?;
    // Another process may be faster.
    for _ in 0..100 {
        // SAFETY: takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
        if number < 0 {
            return Err(format!("LOOP_CTL_GET_FREE: {}", io::Error::last_os_error()));
        }
        let path = format!("/dev/loop{number}");
        let device = opens(&path).map_err(|error| format!("{path}: {error}"))?;
        // SAFETY: zeros are numbers.
        let mut config: loop_config = unsafe { zeroed() };
        config.fd = file.as_raw_fd().unsigned_abs();
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR as _;
        // SAFETY: reads a structure.
        let done =
            unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) };
        let error = io::Error::last_os_error();
        match (done, error.raw_os_error()) {
            // The first open of a device that is set up may look for partitions, and drop what is cached.
            (0, _) => {
                let again = opens(&path).map_err(|error| format!("{path}: {error}"))?;
                return Ok((again, path));
            }
            (_, Some(libc::EBUSY)) => {}
            _ => return Err(format!("LOOP_CONFIGURE of {path}: {error}")),
        }
    }
    Err("no loop device stays free".to_owned())
}

/// Runs a closure in a mount namespace of its own. What it mounts is there as long as what it opens on it, and goes away with
/// that where the process is killed, too.
///
/// # Errors
///
/// Why not: this process may not. Or what the closure says.
pub fn apart<T: Send>(first: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    // A namespace is a thread's own.
    let body = || {
        // SAFETY: this thread shares no folder with another from here on, and uses full paths.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(format!("unshare: {}", io::Error::last_os_error()));
        }
        // Or the mounts would come to the namespace that this one is a copy of.
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", flags).map_err(|errno| format!("mount of /: {errno}"))?;
        first()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, body);
        let thread = thread.map_err(io_text)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Mounts a file's ext4 on a folder, by a loop device. While a device is open to be written, a kernel without
/// `BLK_DEV_WRITE_MOUNTED` (Linux 6.8) does not mount it.
///
/// # Errors
///
/// What the kernel says.
pub fn mount_ext4(image: &File, on: &Path, options: &str) -> Result<(), String> {
    let (device, path) = over(image)?;
    let _until_it_is_mounted = File::open(&path).map_err(io_text)?;
    drop(device);
    // Another process that was told of the same free device has it open for a moment.
    for _ in 0..100 {
        match mounted(&path, on, "ext4", options) {
            Err(Errno::BUSY) => std::thread::sleep(Duration::from_millis(10)),
            other => return other.map_err(|errno| format!("mount of {path} as ext4: {errno}")),
        }
    }
    Err(format!("mount of {path} as ext4: busy for a second"))
}

/// Mounts a file system, or a device's, on a folder.
///
/// # Errors
///
/// What the kernel says.
pub fn mount(what: &str, on: &Path, kind: &str, options: &str) -> Result<(), String> {
    mounted(what, on, kind, options).map_err(|errno| format!("mount of {what} as {kind}: {errno}"))
}

fn mounted(what: &str, on: &Path, kind: &str, options: &str) -> Result<(), Errno> {
    let data = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(what, on, kind, MountFlags::empty(), data.as_c_str())
}
