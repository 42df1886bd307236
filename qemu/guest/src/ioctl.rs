//! Requests for which there is no crate: partitions that are added and taken away, and UBI volumes.
//!
//! # Safety
//!
//! Each request gets the struct that the kernel's header gives it.

use std::fs::File;
use std::io;

use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// `struct blkpg_partition` of linux/blkpg.h.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg` of linux/blkpg.h.
#[repr(C)]
struct PartitionRequest {
    operation: i32,
    flags: i32,
    len: i32,
    partition: *mut Partition,
}

const BLKPG: Opcode = opcode::none(0x12, 105);
const ADD: i32 = 1;
const DELETE: i32 = 2;

fn partition(device: &File, operation: i32, start: u64, length: u64) -> io::Result<()> {
    let signed = |value: u64| i64::try_from(value).map_err(io::Error::other);
    let mut partition = Partition {
        start: signed(start)?,
        length: signed(length)?,
        number: 1,
        names: [0; 128],
    };
    let request = PartitionRequest {
        operation,
        flags: 0,
        len: size_of::<Partition>() as i32,
        partition: &raw mut partition,
    };
    // SAFETY: BLKPG takes a pointer to such a request, which points to such a partition. Both live longer.
    unsafe {
        let request = Setter::<BLKPG, PartitionRequest>::new(request);
        ioctl(device, request)?;
    }
    Ok(())
}

/// Makes a part of a device its first partition; bytes.
pub fn add_partition(device: &File, start: u64, length: u64) -> io::Result<()> {
    partition(device, ADD, start, length)
}

/// Takes it away again.
pub fn delete_partition(device: &File) -> io::Result<()> {
    partition(device, DELETE, 0, 0)
}

/// `struct ubi_mkvol_req` of mtd/ubi-user.h.
#[repr(C, packed)]
struct VolumeRequest {
    id: i32,
    alignment: i32,
    bytes: i64,
    kind: i8,
    flags: u8,
    name_len: i16,
    padding: [i8; 4],
    name: [u8; 128],
}

const MAKE_VOLUME: Opcode = opcode::write::<VolumeRequest>(b'o', 0);

/// Makes a volume of all that a UBI device has.
pub fn make_volume(device: &File, name: &str) -> io::Result<()> {
    const DYNAMIC: i8 = 3;
    let number = |file: &str| {
        let text = std::fs::read_to_string(format!("/sys/class/ubi/ubi0/{file}"))?;
        text.trim().parse::<i64>().map_err(io::Error::other)
    };
    let mut request = VolumeRequest {
        id: -1,
        alignment: 1,
        bytes: number("avail_eraseblocks")? * number("eraseblock_size")?,
        kind: DYNAMIC,
        flags: 0,
        name_len: i16::try_from(name.len()).map_err(io::Error::other)?,
        padding: [0; 4],
        name: [0; 128],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: UBI_IOCMKVOL takes a pointer to such a request, and writes the new number to it.
    unsafe {
        let request = Updater::<MAKE_VOLUME, VolumeRequest>::new(&mut request);
        ioctl(device, request)?;
    }
    Ok(())
}
