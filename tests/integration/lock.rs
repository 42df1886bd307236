//! mlock and its relatives.

use rawmap_core::{Errno, Error, MmapOptions, MmapRaw};
use rawmap_tests::disk::MapperDisk;
use rawmap_tests::{emulator, skip};

use crate::IsRange as _;
use crate::{file_of, libc_page_size};

/// Counts the locked bytes of the VMAs of a map, in /proc/self/smaps.
fn locked_bytes(map: &MmapRaw) -> usize {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (first, last) = (map.as_ptr().addr(), map.as_ptr().addr() + map.len());
    let mut inside = false;
    let mut locked = 0;
    for line in smaps.lines() {
        if let Some((range, _)) = line.split_once(' ')
            && let Some((start, end)) = range.split_once('-')
            && let (Ok(start), Ok(end)) = (
                usize::from_str_radix(start, 16),
                usize::from_str_radix(end, 16),
            )
        {
            inside = start < last && end > first;
        } else if inside && let Some(size) = line.strip_prefix("Locked:") {
            let size = size.trim().trim_end_matches(" kB");
            locked += size.parse::<usize>().unwrap() * 1024;
        }
    }
    locked
}

#[test]
fn whole_and_range() {
    let page = libc_page_size();
    let file = file_of(8 * page as u64);
    let map = MmapOptions::new().offset(10).map_raw(&file).unwrap();
    let expect = |pages: usize| {
        // The emulator makes the calls, but shows another /proc.
        if emulator().is_none() {
            assert_eq!(locked_bytes(&map), pages * page);
        }
    };
    expect(0);
    map.lock().unwrap();
    expect(8);
    // Locks do not nest.
    map.lock().unwrap();
    map.unlock().unwrap();
    expect(0);
    // The last byte of page 2 and the first of page 3.
    map.lock_range(3 * page - 11, 2).unwrap();
    expect(2);
    map.unlock_range(2 * page, 1).unwrap();
    expect(1);
    map.unlock().unwrap();
    expect(0);
    map.lock_range(page, 0).unwrap();
    expect(0);
    assert!(map.lock_range(map.len(), 1).unwrap_err().is_range());
    assert!(map.unlock_range(1, map.len()).unwrap_err().is_range());
}

#[test]
fn on_fault() {
    let page = libc_page_size();
    let file = file_of(4 * page as u64);
    let map = MmapRaw::map_raw(&file).unwrap();
    if emulator().is_some() {
        let refused = map.lock_on_fault().unwrap_err().errno();
        assert!(
            matches!(refused, Some(Errno::NOSYS | Errno::INVAL)),
            "{refused:?}"
        );
        return skip("lock::on_fault", "there is no mlock2 here");
    }
    map.lock_on_fault().unwrap();
    map.unlock().unwrap();
    map.lock_on_fault_range(page, 1).unwrap();
    // SAFETY: the second page is inside the map.
    assert_eq!(unsafe { map.as_ptr().add(page).read_volatile() }, 0);
    assert_eq!(locked_bytes(&map), page);
    assert!(
        map.lock_on_fault_range(0, 4 * page + 1)
            .unwrap_err()
            .is_range()
    );
}

/// A lock does not return where a page cannot be read, so it is asked beforehand; that call returns, before Linux 6.9 too.
#[test]
fn what_cannot_be_read_is_told_beforehand() {
    const NAME: &str = "lock::what_cannot_be_read_is_told_beforehand";
    let disk = match MapperDisk::new("rawmap-unread") {
        Ok(disk) => disk,
        Err(reason) => return skip(NAME, &reason),
    };
    let map = rawmap_core::MmapRaw::map_raw(disk.open().unwrap()).unwrap();
    // Not at the begin, which is read when the device appears.
    let (first, second) = (1 << 20, 2 << 20);
    disk.fail(true);
    for unread in [
        map.prefault_read(first, 1),
        map.prefault_write(first, 1),
        map.prefault_read(first, second),
    ] {
        assert!(
            matches!(unread, Err(Error::Unreachable { offset }) if offset == first as u64),
            "{unread:?}"
        );
    }
    disk.fail(false);
    map.prefault_read(first, 1).unwrap();
    map.prefault_write(second, 1).unwrap();
}

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
    const NAME: &str = "lock::what_is_locked_for_writing_never_faults";
    if emulator().is_some() {
        return skip(NAME, "the emulator's own faults would count");
    }
    let len = 1024 * libc_page_size();
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
}

#[test]
fn what_cannot_be_locked_for_writing_says_where() {
    let page = libc_page_size();
    let file = file_of(2 * page as u64);
    let map = MmapOptions::new().len(4 * page).map_raw(&file).unwrap();
    map.lock_writable(0, 2 * page).unwrap();
    map.unlock().unwrap();
    let offset = 2 * page as u64;
    for (at, len) in [(0, 4 * page), (page + 7, page), (2 * page, 1)] {
        let refused = map.lock_writable(at, len);
        assert_eq!(refused, Err(Error::Unreachable { offset }), "{at} {len}");
    }
    if emulator().is_none() {
        assert_eq!(locked_bytes(&map), 0);
    }
    assert!(map.lock_writable(1, 4 * page).unwrap_err().is_range());
    map.lock_writable(4 * page, 0).unwrap();
    let reads = MmapOptions::new().map_raw_read_only(&file).unwrap();
    assert_eq!(reads.lock_writable(0, 1), Err(Error::Protected));
}
