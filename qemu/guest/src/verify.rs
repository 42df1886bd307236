//! Reads what power cuts left: each image is mounted by the same kernel that wrote it, which repairs it first.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use rawmap_guest::job::{Disk, Verify, say};
use rawmap_guest::piece::{Piece, SLOT_HEAD};

use crate::failure::Failure;
use crate::ioctl::{add_partition, delete_partition};
use crate::mounts::{block_device, mount, mount_disk, unmount, wait_for};

/// Where an image is mounted.
const PLACE: &str = "/disk";

pub fn run(job: &Verify) -> Result<(), Failure> {
    let results = OpenOptions::new()
        .write(true)
        .open(block_device(&job.results)?)?;
    let per_image: usize = job.files.iter().map(Piece::slot).sum();
    for number in 0..job.images {
        let result = if job.partitions {
            partition(job, number, &results, per_image)
        } else {
            mount_disk(&job.disk, PLACE).and_then(|()| read(&job.files, &results, 0))
        };
        match result {
            Ok(()) => println!("{}{number} ok", say::IMAGE),
            Err(error) => println!("{}{number} {error}", say::IMAGE),
        }
    }
    results.sync_all()?;
    Ok(())
}

fn partition(job: &Verify, number: u32, results: &File, per_image: usize) -> Result<(), Failure> {
    let slot = u64::from(number) * per_image as u64;
    on_partition(&job.disk, number, job.image_len, PLACE, || {
        read(&job.files, results, slot)
    })
}

/// Mounts one of the images on a device, and does something there, which unmounts it.
pub fn on_partition(
    disk: &Disk,
    number: u32,
    image_len: u64,
    place: &str,
    then: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let name = block_device(&disk.device)?;
    let device = File::open(&name)?;
    add_partition(&device, u64::from(number) * image_len, image_len)?;
    let partition = format!("{name}1");
    wait_for(&partition)?;
    let done = mount(&disk.kind, &partition, place, &disk.options).and_then(|()| then());
    delete_partition(&device)?;
    done
}

/// Copies the pieces of a mounted image to the results, and unmounts it.
fn read(files: &[Piece], results: &File, mut slot: u64) -> Result<(), Failure> {
    let mut copy = || -> Result<(), Failure> {
        for piece in files {
            let mut bytes = vec![0; SLOT_HEAD + piece.len];
            let there = match File::open(format!("{PLACE}/{}", piece.file)) {
                Ok(file) => read_most(&file, &mut bytes[SLOT_HEAD..], piece.offset)?,
                // No file is an empty one, for who looks for bytes.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                Err(error) => return Err(format!("{}: {error}", piece.file).into()),
            };
            bytes[..8].copy_from_slice(&(there as u64).to_le_bytes());
            results.write_all_at(&bytes, slot)?;
            slot += piece.slot() as u64;
        }
        Ok(())
    };
    let copied = copy();
    unmount(PLACE)?;
    copied
}

/// Reads up to the end of the file or of the buffer.
fn read_most(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}
