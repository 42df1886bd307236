//! Where the bytes of a file are on its device.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use super::FailingDisk;

/// Of `linux/fiemap.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Header {
    start: u64,
    len: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    len: u64,
    reserved_u64: [u64; 2],
    flags: u32,
    reserved_u32: [u32; 3],
}

const COUNT: usize = 64;

#[repr(C)]
struct Map {
    header: Header,
    extents: [Extent; COUNT],
}

const LAST: u32 = 1;
/// Of no known place, or not placed yet.
const NOWHERE: u32 = 0x2 | 0x4;
/// Placed, and read as zeros.
const UNWRITTEN: u32 = 0x800;

/// For each page of 4096 bytes its place in bytes; none where the medium has only zeros. And those that are not recorded
/// as written, if asked for.
///
/// # Errors
///
/// As ioctl(2) with `FS_IOC_FIEMAP`.
pub(super) fn places(file: &File, pages: usize, unrecorded: bool) -> io::Result<Vec<Option<u64>>> {
    const PAGE: u64 = FailingDisk::PAGE;
    let mut places = vec![None; pages];
    let end = pages as u64 * PAGE;
    let no_place = if unrecorded {
        NOWHERE
    } else {
        NOWHERE | UNWRITTEN
    };
    let mut start = 0;
    while start < end {
        let mut map = Map {
            header: Header {
                start,
                len: end - start,
                count: COUNT as u32,
                ..Header::default()
            },
            extents: [Extent::default(); COUNT],
        };
        let ask = rustix::ioctl::opcode::read_write::<Header>(b'f', 11);
        // SAFETY: the kernel writes to `map` only, which has room for `COUNT` extents.
        if unsafe { libc::ioctl(file.as_raw_fd(), ask as _, &raw mut map) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let told = &map.extents[..map.header.mapped as usize];
        let Some(last) = told.last() else { break };
        for extent in told.iter().filter(|extent| extent.flags & no_place == 0) {
            let first = (extent.logical / PAGE) as usize;
            for (at, place) in places.iter_mut().skip(first).enumerate() {
                let distance = at as u64 * PAGE;
                if distance >= extent.len {
                    break;
                }
                *place = Some(extent.physical + distance);
            }
        }
        if last.flags & LAST != 0 {
            break;
        }
        start = last.logical + last.len;
    }
    Ok(places)
}
