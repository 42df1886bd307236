//! What all tests share: which target and emulator this is, and skips that cannot go unnoticed.

pub mod calls;
pub mod disk;
pub mod setting;

/// What a power cut may leave of a mapped file; the power cuts of `cargo qemu` use the same.
pub use rawmap_guest::model;

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::MountFlags;

/// The target triple that the tests were built for.
pub const TARGET: &str = env!("RAWMAP_TARGET");

/// Where cargo keeps the source of memmap2 0.9.12.
pub const MEMMAP2_SOURCE: &str = env!("MEMMAP2_SOURCE");

/// Version of QEMU's user mode as (major, minor), if the tests run in it; `qemu/run` tells.
pub fn emulator() -> Option<(u32, u32)> {
    let version = env::var("RAWMAP_EMULATOR").ok()?;
    let mut numbers = version.strip_prefix("qemu-user ")?.split('.');
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

/// The machine of `qemu/machines.toml` whose kernel this is, if the tests run in a guest.
pub fn machine() -> Option<String> {
    env::var("RAWMAP_MACHINE").ok()
}

/// Tells whether each instruction is emulated, so that a test takes ten times as long.
pub fn is_slow() -> bool {
    emulator().is_some() || machine().is_some()
}

/// Returns how many percent of their random rounds the tests make: `RAWMAP_EFFORT`; without it all, and 5 where each is
/// emulated.
///
/// # Panics
///
/// Where `RAWMAP_EFFORT` is no number from 1 on.
pub fn effort() -> u32 {
    let Ok(asked) = env::var("RAWMAP_EFFORT") else {
        return if is_slow() { 5 } else { 100 };
    };
    let percent = asked.parse().ok().filter(|percent| *percent > 0);
    percent.unwrap_or_else(|| panic!("RAWMAP_EFFORT is {asked:?}, not percent"))
}

/// Returns how many of so many random rounds a test makes: [`effort`], and at least 3.
pub fn rounds(all: u32) -> u32 {
    (all * effort() / 100).max(3)
}

/// Returns whether tests make too few random rounds for what comes up seldom.
pub fn few_steps() -> bool {
    effort() < 100
}

/// A command that runs a program of this target, through the emulator where there is one.
pub fn command(program: &str) -> Command {
    match env::var("RAWMAP_RUNNER") {
        Ok(runner) => {
            let mut command = Command::new(runner);
            command.args([TARGET, program]);
            command
        }
        Err(_) => Command::new(program),
    }
}

/// Prints `skip: test: reason` past libtest's capture. A skip that `skips.toml` does not list for
/// this target, or lists under a condition that does not hold here, fails the test.
///
/// # Panics
///
/// Where the skip is not allowed.
pub fn skip(test: &str, reason: &str) {
    say("skip", test, reason);
}

/// Prints `left out: test: reason` for assertions that this machine has not what for; the rest of the test runs. Allowed
/// where a skip is.
///
/// # Panics
///
/// Where it is not allowed.
pub fn leave_out(test: &str, reason: &str) {
    say("left out", test, reason);
}

fn say(what: &str, test: &str, reason: &str) {
    let allowed = is_allowed(test, TARGET);
    assert!(allowed, "unexpected {what} of {test} on {TARGET}: {reason}");
    // print! would be captured. At once: other tests print, too.
    let line = format!("{what}: {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Returns whether `skips.toml` allows the skip of a test of some target, here.
///
/// # Panics
///
/// Where the list is not what it should be.
pub fn is_allowed(test: &str, triple: &str) -> bool {
    let list: toml::Table = include_str!("../skips.toml")
        .parse()
        .expect("skips.toml is TOML");
    let rows = list["skip"]
        .as_array()
        .expect("skips.toml has [[skip]] rows");
    rows.iter().any(|row| {
        let words = |key: &str| -> Vec<&str> {
            let list = row[key]
                .as_array()
                .unwrap_or_else(|| panic!("{key} is a list"));
            list.iter().filter_map(toml::Value::as_str).collect()
        };
        row["test"].as_str() == Some(test)
            && words("targets")
                .iter()
                .any(|target| [triple, "*"].contains(target))
            && words("when").into_iter().any(holds)
    })
}

/// Tells whether a condition of `skips.toml` holds on this machine.
///
/// # Panics
///
/// Where it is none that is known.
pub fn holds(condition: &str) -> bool {
    let native = emulator().is_none();
    match condition {
        "qemu-user" => !native,
        "machine" => machine().is_some(),
        "no machine" => machine().is_none(),
        "qemu-user before 8" => emulator().is_some_and(|version| version < (8, 0)),
        "no qemu-aarch64 before 8" => !is_old("qemu-aarch64"),
        "no CAP_SYS_ADMIN" => !may_administrate(),
        "no cachestat" => !has_cachestat(),
        "overlayfs or tmpfs" => native && hides_dirty_pages(&test_dir()),
        // User mode has the host's, and the tools run on the host.
        "ubifs" => native && file_system(&test_dir()) == 0x2405_1905,
        "no 4 KiB pages" => rustix::param::page_size() != 4096,
        "no device mapper" => disk::opens(disk::MAPPER).is_err(),
        "no uio_pdrv_genirq" => !Path::new("/sys/bus/platform/drivers/uio_pdrv_genirq").exists(),
        "no udmabuf" => !Path::new("/dev/udmabuf").exists(),
        "no dma-buf heap" => !Path::new("/dev/dma_heap/system").exists(),
        "no huge pages" => native && !may_set_huge_pages_aside(),
        "no seccomp" => native && no_filters(),
        "no registers" => no_registers(),
        "libc is musl" => cfg!(target_env = "musl"),
        other => panic!("skips.toml: unknown condition {other:?}"),
    }
}

/// Returns whether the first such program of the path is a QEMU before 8.
fn is_old(program: &str) -> bool {
    let said = Command::new(program).arg("--version").output();
    said.is_ok_and(|said| {
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let major = said
            .split_once("version ")
            .and_then(|(_, rest)| rest.split('.').next()?.parse::<u32>().ok());
        major.is_some_and(|major| major < 8)
    })
}

/// Returns whether this process may mount a device that no other sees, and has loop devices: root, and not of a container or a
/// chroot.
fn may_administrate() -> bool {
    // What is no mount point cannot be made private: mount(2) says EINVAL.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if !mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some("/"))
    {
        return false;
    }
    // No block device: the kernel looks at the rights before it says so.
    let asked = rustix::mount::mount("/dev/null", "/", "ext4", MountFlags::empty(), None);
    let refused = matches!(asked, Err(Errno::PERM | Errno::ACCESS));
    !refused && disk::opens("/dev/loop-control").is_ok()
}

/// Returns whether the row of this machine says that it has none of QEMU's devices whose registers the tests know.
///
/// # Panics
///
/// Where there is no such row.
#[must_use]
pub fn no_registers() -> bool {
    let rows: toml::Table = include_str!("../../qemu/machines.toml")
        .parse()
        .expect("machines.toml is TOML");
    let rows = rows["machine"].as_array().expect("[[machine]] rows");
    machine().is_some_and(|name| {
        let row = rows.iter().find(|row| row["name"].as_str() == Some(&*name));
        let row = row.unwrap_or_else(|| panic!("no machine {name}"));
        row.get("registers").and_then(toml::Value::as_bool) == Some(false)
    })
}

/// Returns whether a handler is told where a fault was. QEMU's user mode swaps the words of the address on s390x.
#[must_use]
pub fn faults_have_addresses() -> bool {
    !(cfg!(target_arch = "s390x") && emulator().is_some())
}

/// Returns whether the kernel has no filters of system calls, seccomp(2).
#[must_use]
pub fn no_filters() -> bool {
    // SAFETY: asks.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) < 0 }
}

/// Returns whether the kernel has a pool of huge pages that this process may set, and memory for eight of them. In a container
/// `/proc/sys` is read-only; a kernel whose processor has no huge pages refuses the read; with pages of 64 KiB a huge one has
/// 512 MiB.
fn may_set_huge_pages_aside() -> bool {
    let pool = disk::opens("/proc/sys/vm/nr_hugepages");
    let kib = |key: &str| {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = meminfo.lines().find(|line| line.starts_with(key));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    pool.is_ok_and(|pool| std::io::read_to_string(pool).is_ok())
        && 8 * kib("Hugepagesize:") < kib("MemTotal:")
}

/// Tells whether the kernel has cachestat(2): Linux 6.5, where it was not left out.
fn has_cachestat() -> bool {
    let none = std::ptr::null::<u64>();
    // SAFETY: there is no such file, and the kernel looks for it first.
    unsafe { libc::syscall(calls::CACHESTAT, -1, none, none, 0) };
    std::io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
}

/// Tells whether a folder is on a file system that shows no dirty pages of its own.
pub fn hides_dirty_pages(folder: &Path) -> bool {
    const OVERLAYFS: u64 = 0x794c_7630;
    const TMPFS: u64 = 0x0102_1994;
    [OVERLAYFS, TMPFS].contains(&file_system(folder))
}

/// The number of the file system that a folder is on; statfs(2) has a list.
fn file_system(folder: &Path) -> u64 {
    let file = File::open(folder).expect("the test folder is there");
    let stat = rustix::fs::fstatfs(&file).expect("statfs");
    #[allow(
        clippy::unnecessary_fallible_conversions,
        reason = "of another type on s390x"
    )]
    u64::try_from(stat.f_type).unwrap_or(0)
}

/// A folder on a real file system: tmpfs has nothing to write back. Under `target/`, or
/// `RAWMAP_TEST_DIR`.
pub fn test_dir() -> PathBuf {
    let chosen = env::var_os("RAWMAP_TEST_DIR").map(PathBuf::from);
    chosen.unwrap_or_else(|| {
        // Beside the test program: target/debug/deps.
        let program = env::current_exe().expect("the program has a path");
        program.parent().expect("in a folder").to_path_buf()
    })
}

/// Counts the bytes in memory of the locked VMAs of a map, in /proc/self/smaps. Its own count of locked bytes wraps at a huge page on 32 bits.
///
/// # Panics
///
/// Where there is no such file.
pub fn locked_bytes(map: &rawmap_core::MmapRaw) -> usize {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (first, last) = (map.as_ptr().addr(), map.as_ptr().addr() + map.len());
    let (mut inside, mut in_memory, mut locked) = (false, 0, 0);
    for line in smaps.lines() {
        if let Some((range, _)) = line.split_once(' ')
            && let Some((start, end)) = range.split_once('-')
            && let (Ok(start), Ok(end)) = (
                usize::from_str_radix(start, 16),
                usize::from_str_radix(end, 16),
            )
        {
            inside = start < last && end > first;
        } else if let Some(size) = line.strip_prefix("Rss:") {
            let size = size.trim().trim_end_matches(" kB");
            in_memory = size.parse::<usize>().unwrap() * 1024;
        } else if let Some(flags) = line.strip_prefix("VmFlags:")
            && inside
            && flags.split_whitespace().any(|flag| flag == "lo")
        {
            locked += in_memory;
        }
    }
    locked
}
