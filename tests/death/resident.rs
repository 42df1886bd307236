//! Memory that is locked for writing does not fault.

use rawmap_core::{MmapOptions, MmapRaw};
use rawmap_tests::{emulator, locked_bytes, skip};

use crate::{page, survives};

/// Minor and major faults of this thread so far.
fn faults() -> (i64, i64) {
    // SAFETY: rusage is numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: ours.
    assert_eq!(
        unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) },
        0
    );
    (usage.ru_minflt as i64, usage.ru_majflt as i64)
}

/// The faults of many loads and stores, in an order that no read-ahead guesses.
fn faults_of_accesses(map: &MmapRaw) -> (i64, i64) {
    const ACCESSES: usize = 100_000;
    let view = map.shared();
    let mut at = 1_usize;
    // What these lines themselves take.
    faults();
    let before = faults();
    for _ in 0..ACCESSES {
        at = at.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff;
        view.fetch_add(at / 8 * 4 % map.len(), 1_u32).unwrap();
    }
    let after = faults();
    (after.0 - before.0, after.1 - before.1)
}

/// Bytes that a process can have without that another is ended for it.
fn available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// A child that has half of the memory that there is, at most 256 MiB, and touches it again and again. Without swap that takes no page of the
/// memory here; that they are locked is asked of smaps.
struct Eater(libc::pid_t);

impl Eater {
    fn new() -> Self {
        let len = (available() / 2).min(256 << 20) as usize;
        // Said by the child when it has all of it.
        let told = MmapOptions::new().len(4096).map_anon_shared().unwrap();
        // SAFETY: the child takes no lock of another thread: it makes system calls and touches its own pages.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let (read, write) = (libc::PROT_READ, libc::PROT_WRITE);
            let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: new memory.
            let memory = unsafe { libc::mmap(std::ptr::null_mut(), len, read | write, how, -1, 0) };
            loop {
                for at in (0..len).step_by(4096) {
                    // SAFETY: inside of it.
                    unsafe { memory.cast::<u8>().add(at).write_volatile(1) };
                }
                let _ = told.shared().store(0, 1_u32);
            }
        }
        let begin = std::time::Instant::now();
        while told.shared().load::<u32>(0) != Ok(1) {
            assert!(
                begin.elapsed().as_secs() < 300,
                "it does not come to an end"
            );
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Self(child)
    }
}

impl Drop for Eater {
    fn drop(&mut self) {
        // SAFETY: our child.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // SAFETY: as above.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
    }
}

#[test]
fn what_is_locked_for_writing_never_faults() {
    const NAME: &str = "resident::what_is_locked_for_writing_never_faults";
    if emulator().is_some() {
        return skip(NAME, "the emulator's own faults would count");
    }
    // In a child, which runs no other test: a fork(2) of another thread would make the stack fault.
    survives(NAME, || {
        let len = 1024 * page();
        let file = rawmap_core::memfd::MemfdOptions::new()
            .create(c"live")
            .unwrap();
        let file = std::fs::File::from(file);
        file.set_len(len as u64).unwrap();
        let all = |map: &MmapRaw| {
            assert_eq!(map.resident_pages(0, map.len()), Ok(1024));
            assert_eq!(locked_bytes(map), len);
        };
        let _eater = Eater::new();
        let maps = || {
            [
                MmapOptions::new().len(len).map_anon_shared().unwrap(),
                MmapOptions::new().len(len).map_anon().unwrap().into(),
                MmapRaw::map_raw(&file).unwrap(),
            ]
        };
        for map in maps() {
            // The control.
            let (minor, major) = faults_of_accesses(&map);
            // Of huge pages, a few.
            assert!(minor + major > 0);
        }
        file.set_len(0).unwrap();
        file.set_len(len as u64).unwrap();
        for map in maps() {
            map.lock_writable(0, len).unwrap();
            all(&map);
            assert_eq!(faults_of_accesses(&map), (0, 0));
            map.unlock_range(0, len).unwrap();
            assert_eq!(locked_bytes(&map), 0);
        }
    });
}
