//! [`Job`]: what a guest is to do. The host puts it into the initial file system as `/job`, in TOML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::piece::Piece;
use crate::workload::Scenario;

/// What a guest is to do before it powers off.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Job {
    /// Run a program.
    Test(Test),
    /// Run a workload until the power is cut.
    Work(Work),
    /// Read files from the images that power cuts left.
    Verify(Verify),
    /// Run a program on each of the images that power cuts left.
    Check(Check),
}

/// A program, and what it finds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Test {
    /// Path on the host; in the guest it is the same.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The working folder.
    pub folder: String,
    /// All of its environment.
    pub environment: BTreeMap<String, String>,
    /// Folders of the host, by 9p tag. The one with the path "/" has the programs of a Debian system.
    pub shares: BTreeMap<String, String>,
    /// Mounted at [`TEST_DIR`].
    pub disk: Disk,
    /// Whether `/proc` is mounted.
    pub proc: bool,
    /// Bytes that a page has to have.
    pub page: usize,
}

/// Where a test's disk is mounted.
pub const TEST_DIR: &str = "/rawmap";

/// A disk with a file system.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Disk {
    /// `mount -t`; "" mounts nothing.
    pub kind: String,
    /// The disk's serial number, or for UBIFS the volume.
    pub device: String,
    /// `mount -o`.
    pub options: String,
}

/// A workload; see [`crate::workload`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Work {
    /// The disk that loses its power.
    pub disk: Disk,
    /// Which steps there are.
    pub scenario: Scenario,
    /// Chooses the steps.
    pub seed: u64,
    /// Whether the file system takes files of more than 4 GiB.
    pub large_files: bool,
}

/// Images to read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Verify {
    /// How each is mounted.
    pub disk: Disk,
    /// How many images.
    pub images: u32,
    /// Whether they lie one behind the other on the device, each to be made a partition; else the device is one.
    pub partitions: bool,
    /// Length of each in bytes.
    pub image_len: u64,
    /// What to read of each.
    pub files: Vec<Piece>,
    /// Serial number of the disk where what was read is put: one image behind the other, the pieces as [`Piece::slot`] says.
    pub results: String,
}

/// A program that judges images.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Check {
    /// The lines that were printed before the power of the run was cut, in order.
    pub lines: Vec<String>,
    /// How many of these were printed before the power was cut, for each image: the program's standard input.
    pub counts: Vec<u32>,
    /// Length of each image in bytes; they lie one behind the other. 0 is one image that is all of the device.
    pub image_len: u64,
    /// The program. Its disk has the images.
    pub test: Test,
}

/// Serial numbers of disks.
pub mod serial {
    /// The one that is worked on.
    pub const DISK: &str = "disk";
    /// Images, one behind the other.
    pub const IMAGES: &str = "images";
    /// What was read in them.
    pub const RESULTS: &str = "results";
}

/// Lines that the guest and the host say to each other on the serial console.
pub mod say {
    /// The guest: the files are made; then the page size in bytes.
    pub const READY: &str = "rawmap: ready ";
    /// The host: take the next step.
    pub const GO: &str = "go";
    /// The guest: the flush of this step said `Ok`.
    pub const ACK: &str = "rawmap: ack ";
    /// The guest: this step did nothing, because there is no room.
    pub const FULL: &str = "rawmap: full ";
    /// The guest: what a call said, where that is worth telling.
    pub const SAYS: &str = "rawmap: says ";
    /// The guest: this image was read, and how; then its number.
    pub const IMAGE: &str = "rawmap: image ";
    /// Begins what the guest says of an image that the program refused; then its status.
    pub const JUDGED: &str = "refused with status ";
    /// The guest: the program starts now.
    pub const START: &str = "rawmap: start";
    /// The guest: the program has ended; then its status.
    pub const EXIT: &str = "rawmap: exit ";
    /// The guest: nothing more can be done, and why.
    pub const FAILED: &str = "rawmap: failed: ";
}
