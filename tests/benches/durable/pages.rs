//! Pages of a file.

use std::fs::File;
use std::os::fd::AsRawFd as _;

/// Dirty pages of a file's first bytes, by cachestat(2).
pub(crate) fn dirty_pages(file: &File, len: usize) -> Option<u64> {
    let range = [0, len as u64];
    let mut stat = [0u64; 5];
    // SAFETY: the kernel reads two u64 and writes five, which are there.
    let result = unsafe {
        libc::syscall(
            rawmap_tests::calls::CACHESTAT,
            file.as_raw_fd(),
            range.as_ptr(),
            stat.as_mut_ptr(),
            0,
        )
    };
    (result == 0).then_some(stat[1] + stat[2])
}

/// Takes a file's clean pages out of the page cache. They are mapped nowhere.
pub(crate) fn drop_cached(file: &File) {
    // SAFETY: changes no memory of this process.
    let result = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    assert_eq!(result, 0);
}
