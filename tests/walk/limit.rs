//! Limits of the process that are nearly reached.

use crate::step::Limit;
use crate::world::page;

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = std::ffi::c_int;

fn get(resource: Resource) -> libc::rlimit {
    // SAFETY: all zeros is a value.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes the limit.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    limit
}

/// How many maps a process may have.
const MOST_MAPS: &str = "/proc/sys/vm/max_map_count";

/// What a walk has changed that does not end with it.
pub fn restore() {
    if rawmap_tests::machine().is_some() {
        let _ = std::fs::write(MOST_MAPS, "65530");
    }
}

/// The soft limit only, so that it can be lifted without privileges.
pub fn set(resource: Resource, soft: u64) {
    let mut limit = get(resource);
    limit.rlim_cur = limit.rlim_max.min(soft as libc::rlim_t);
    // SAFETY: the kernel reads the limit.
    unsafe { libc::setrlimit(resource, &raw const limit) };
}

/// What the walk itself needs later is there, so that only the library meets the limits.
pub fn prepare() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: plain calls, before there are threads.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, std::ffi::c_int::MAX);
        }
        drop(std::hint::black_box(Vec::<u8>::with_capacity(
            2000 * page(),
        )));
    }
}

/// A word of /proc/self/status, in bytes.
pub fn used(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// Limits that were set, and can be lifted.
#[derive(Default)]
pub struct Limits {
    set: Vec<(Resource, u64)>,
    /// What takes the maps: its address and length.
    taken: Option<(usize, usize)>,
}

impl Limits {
    /// Sets one so that `left` of its units can be had still. Returns whether it could.
    pub fn near(&mut self, limit: Limit, left: u8) -> bool {
        let pages = u64::from(left) * page() as u64;
        let (resource, soft) = match limit {
            Limit::AddressSpace => (libc::RLIMIT_AS, used("VmSize:") + pages),
            Limit::Data => (libc::RLIMIT_DATA, used("VmData:") + pages),
            Limit::FileSize => (libc::RLIMIT_FSIZE, pages * 3),
            Limit::Locked => (libc::RLIMIT_MEMLOCK, pages),
            Limit::Descriptors => {
                // SAFETY: plain system calls.
                let free = unsafe {
                    let free = libc::dup(0);
                    libc::close(free);
                    free
                };
                let Ok(free) = u64::try_from(free) else {
                    return false;
                };
                (libc::RLIMIT_NOFILE, free + u64::from(left % 2))
            }
            Limit::Maps => return self.take_maps(left),
        };
        set(resource, soft);
        self.set.push((resource, soft));
        true
    }

    /// Maps memory in so many pieces that `left` more can be had.
    fn take_maps(&mut self, left: u8) -> bool {
        if rawmap_tests::machine().is_some() {
            // A guest is ours, and slow.
            let _ = std::fs::write(MOST_MAPS, "1500");
        }
        let most = std::fs::read_to_string(MOST_MAPS);
        let most: usize = most
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        if self.taken.is_some() || !(1000..=100_000).contains(&most) {
            return false;
        }
        let (len, none) = (2 * most * page(), libc::PROT_NONE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, none, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return false;
        }
        self.taken = Some((base as usize, len));
        // Each takes two.
        let protect = |number: usize, protection| {
            // SAFETY: pages of the mapping above.
            unsafe { libc::mprotect(base.byte_add((2 * number + 1) * page()), page(), protection) }
        };
        let mut taken = 0;
        while taken < most && protect(taken, libc::PROT_READ) == 0 {
            taken += 1;
        }
        for number in taken - taken.min(left.into())..taken {
            protect(number, none);
        }
        true
    }

    /// Does something beside the limits: it is the walk's, not the library's.
    pub fn without<T>(&self, act: impl FnOnce() -> T) -> T {
        for (resource, _) in &self.set {
            set(*resource, u64::MAX);
        }
        let result = act();
        for (resource, soft) in &self.set {
            set(*resource, *soft);
        }
        result
    }

    /// Lifts all.
    pub fn lift(&mut self) {
        for (resource, _) in self.set.drain(..) {
            set(resource, u64::MAX);
        }
        if let Some((base, len)) = self.taken.take() {
            // SAFETY: the mapping of `take_maps`.
            unsafe { libc::munmap(std::ptr::with_exposed_provenance_mut(base), len) };
        }
    }
}
