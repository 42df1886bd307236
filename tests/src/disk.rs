//! A disk that fails when it is told to: a loop device over a file with holes, on a small tmpfs. While the
//! tmpfs is full, the holes cannot be written; the device then says `EIO`, as a worn flash does. What the
//! medium holds is read from the file below.
//!
//! The tools run on the machine itself, also where the tests run in an emulator. Needs root.
//!
//! Mounts are in a namespace of their own, and loop devices clear themselves: the kernel takes them away with the last
//! descriptor, also where a test is killed at any moment. tests/killed looks. A device of the device mapper stays if the test
//! is killed between the call that makes it and the next.

mod bitmaps;
mod extents;
mod loops;
mod mapper;

pub use bitmaps::NoBitmaps;
pub use loops::over as loop_device;
pub(crate) use mapper::MAPPER;
pub use mapper::MapperDisk;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FallocateFlags;

use crate::setting::Setting;

/// A tmpfs of a limited size, in no place of the tree. It is there as long as this and what is open on it.
#[derive(Debug)]
pub struct SmallDisk {
    /// Of its root, by the descriptor.
    path: PathBuf,
    _root: File,
    filler: File,
}

impl SmallDisk {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// Why not: this process may not mount.
    pub fn of(bytes: u64) -> Result<Self, String> {
        Self::with(bytes, |_| Ok(())).map(|(disk, ())| disk)
    }

    /// Makes one, and first does what needs a path of its own.
    fn with<T: Send>(
        bytes: u64,
        first: impl FnOnce(&Path) -> Result<T, String> + Send,
    ) -> Result<(Self, T), String> {
        // In a namespace of its own no other process misses the folder.
        let folder = std::env::temp_dir();
        loops::apart(|| {
            // By the system call: the fewer forks, the better. In QEMU's user mode one beside other threads may hang.
            loops::mount("tmpfs", &folder, "tmpfs", &format!("size={bytes}"))?;
            let root = File::open(&folder).map_err(io_text)?;
            let disk = Self {
                path: PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd())),
                _root: root,
                filler: opens_new(&folder.join("filler"))?,
            };
            Ok((disk, first(&folder)?))
        })
    }

    /// Its folder, for this process.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves no free block.
    ///
    /// # Panics
    ///
    /// Where it cannot be filled.
    pub fn fill(&self) {
        fill_with(&self.filler);
    }

    /// Makes room again.
    ///
    /// # Panics
    ///
    /// Where the file that filled it cannot be cut.
    pub fn make_room(&self) {
        self.filler.set_len(0).expect("it is open for writing");
    }
}

/// Writes until the disk is full, and what was written is on it: a small one, never the machine's.
///
/// # Panics
///
/// Where it cannot be filled, or is not small.
pub fn fill_with(filler: &File) {
    const SMALL: u64 = 256 << 20;
    let block = [1; 4096];
    let is_full = |at| match filler.write_all_at(&block, at) {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::StorageFull => true,
        Err(error) => panic!("filling the disk: {error}"),
    };
    for at in (0..SMALL).step_by(block.len()) {
        if is_full(at) {
            // The filler's own bytes may find no room: ext4 needs blocks for their extents. Nobody reads them. Once: a filter
            // of the walk answers EINTR.
            // SAFETY: plain system call.
            unsafe { libc::fsync(filler.as_raw_fd()) };
            // What was set aside for it may be free now.
            if is_full(at) {
                return;
            }
        }
    }
    let _ = filler.set_len(0);
    panic!("this is no small disk");
}

/// What stands on the failing device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Nothing: the device itself is mapped.
    Device,
    /// ext4, with one file.
    Ext4,
}

/// The disk that fails, and a file on it whose blocks do.
#[derive(Debug)]
pub struct FailingDisk {
    /// First: it is given back while the device is still ours.
    _requests: Setting,
    /// Mapped by the tests: [`FILE_LEN`](Self::FILE_LEN) bytes.
    pub file: File,
    /// What is below the device.
    image: File,
    /// The folder that the file is in; of the device itself, none.
    folder: Option<File>,
    small: SmallDisk,
}

impl FailingDisk {
    /// Length of the file in bytes.
    pub const FILE_LEN: usize = 2 << 20;
    const PAGE: u64 = 4096;

    /// Makes one. It works until it is told to [`fail`](Self::fail).
    ///
    /// # Errors
    ///
    /// Why not: this process may not mount.
    pub fn new(on: On) -> Result<Self, String> {
        // The less is left, the sooner it is full.
        let room = match on {
            On::Device => 4 << 20,
            On::Ext4 => 40 << 20,
        };
        let (small, (file, image, folder)) = SmallDisk::with(room, |folder| match on {
            On::Device => Self::device(&folder.join("image")),
            On::Ext4 => Self::ext4(folder),
        })?;
        let known = file.metadata().map_err(io_text)?;
        let requests = requests_of_a_page(match on {
            On::Device => known.rdev(),
            On::Ext4 => known.dev(),
        })?;
        let disk = Self {
            _requests: requests,
            file,
            image,
            folder,
            small,
        };
        disk.make_holes()?;
        Ok(disk)
    }

    fn device(image: &Path) -> Result<(File, File, Option<File>), String> {
        let created = opens_new(image)?;
        created.set_len(Self::FILE_LEN as u64).map_err(io_text)?;
        let (file, _) = loop_device(&created)?;
        Ok((file, created, None))
    }

    fn ext4(folder: &Path) -> Result<(File, File, Option<File>), String> {
        let (image, mount) = (folder.join("image"), folder.join("mount"));
        let created = opens_new(&image)?;
        created.set_len(24 << 20).map_err(io_text)?;
        let now = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        // And the file's blocks come in clusters that are whole pages of the tmpfs, wherever it runs.
        let clusters = ["-O", "bigalloc", "-C", "65536"];
        let make = ["-q", "-F", "-b", "4096", "-E", now, text(&image)?];
        run("mkfs.ext4", &[&clusters[..], &make].concat())?;
        // All that is written to it later has a place from the start. Not before: mkfs makes zeros by holes, and a journal
        // in holes is given up when it cannot be written.
        let place = FallocateFlags::empty();
        rustix::fs::fallocate(&created, place, 0, 24 << 20)
            .map_err(|errno| format!("fallocate of an image: {errno}"))?;
        fs::create_dir(&mount).map_err(io_text)?;
        loops::mount_ext4(&created, &mount, "")?;
        let file = Self::file_on(&mount.join("file")).map_err(io_text)?;
        let folder = File::open(&mount).map_err(io_text)?;
        Ok((file, created, Some(folder)))
    }

    /// A file of zeros.
    fn file_on(path: &Path) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        let mut file = options.open(path)?;
        file.write_all(&vec![0; Self::FILE_LEN])?;
        file.sync_all()?;
        Ok(file)
    }

    /// Of the file's bytes, where each page of 4096 is on the medium, if it has more than zeros there.
    fn places(&self, unrecorded: bool) -> Vec<Option<u64>> {
        let pages = Self::FILE_LEN / Self::PAGE as usize;
        match self.folder {
            Some(_) => extents::places(&self.file, pages, unrecorded).expect("a file on ext4"),
            None => (0..pages as u64)
                .map(|page| Some(page * Self::PAGE))
                .collect(),
        }
    }

    /// The blocks of the file become holes, so that they can fail again; all others of the file system stay. What the
    /// medium had of the file is zeros then.
    ///
    /// # Errors
    ///
    /// Where the tmpfs below makes none.
    pub fn make_holes(&self) -> Result<(), String> {
        if self.folder.is_none() {
            // It may be out.
            let len = Self::FILE_LEN as u64;
            self.image.set_len(len).map_err(io_text)?;
        }
        let places: Vec<u64> = self.places(false).into_iter().flatten().collect();
        // Those that lie together go at once: a hole of less than a page of the tmpfs frees nothing.
        for together in places.chunk_by(|one, next| one + Self::PAGE == *next) {
            let len = together.len() as u64 * Self::PAGE;
            let holes = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&self.image, holes, together[0], len)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Makes another file beside the one that fails, on the ext4.
    ///
    /// # Panics
    ///
    /// Where it cannot be made.
    pub fn create(&self, name: &str) -> File {
        let folder = self.folder.as_ref().expect("there is a file system");
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        options
            .open(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
            .expect("room for a file")
    }

    /// Makes a file without a name beside the one that fails, on the ext4.
    ///
    /// # Panics
    ///
    /// Where it cannot be made.
    pub fn unnamed(&self) -> File {
        let folder = self.folder.as_ref().expect("there is a file system");
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_TMPFILE);
        options
            .open(format!("/proc/self/fd/{}", folder.as_raw_fd()))
            .expect("room for a file")
    }

    /// From now on no block that was not written before can be.
    pub fn fail(&self) {
        self.small.fill();
    }

    /// Works again.
    pub fn recover(&self) {
        self.small.make_room();
    }

    /// Takes the device itself out: reads fail, too, and so do all writes, until it is [put back](Self::put_back). Returns what
    /// it had. None where the kernel reads zeros then, as loop devices of older ones do, and nothing has happened.
    ///
    /// # Panics
    ///
    /// Where a file system is on it: that would stop for ever.
    pub fn take_out(&self) -> Option<Vec<u8>> {
        assert!(self.folder.is_none(), "the device itself");
        // First, so that little is written in between; and what is under way is there, or has failed.
        self.small.fill();
        self.wait();
        let had = self.medium(0, Self::FILE_LEN);
        self.image.set_len(0).expect("it is open for writing");
        self.small.fill();
        // Of the end, which no test uses that takes it out.
        let end = Self::FILE_LEN as u64 - 1;
        if self.file.read_exact_at(&mut [0], end).is_err() {
            return Some(had);
        }
        self.put_back(&had);
        None
    }

    /// Until no write is under way. Nothing is heard of their errors by another open file.
    fn wait(&self) {
        let wait = libc::SYNC_FILE_RANGE_WAIT_BEFORE;
        // SAFETY: plain system call.
        unsafe { libc::sync_file_range(self.file.as_raw_fd(), 0, 0, wait) };
    }

    /// With what it had. It works again.
    ///
    /// # Panics
    ///
    /// Where that cannot be written.
    pub fn put_back(&self, had: &[u8]) {
        self.wait();
        self.recover();
        self.image
            .set_len(Self::FILE_LEN as u64)
            .expect("it is open for writing");
        let page = Self::PAGE as usize;
        let zeros = vec![0; page];
        // Holes stay holes, so that they can fail.
        for (number, page) in had.chunks(page).enumerate() {
            if page != zeros {
                self.image
                    .write_all_at(page, number as u64 * Self::PAGE)
                    .expect("there is room");
            }
        }
    }

    /// What the medium has of the file, below all caches.
    ///
    /// # Panics
    ///
    /// Where the range ends past the file.
    pub fn medium(&self, offset: usize, len: usize) -> Vec<u8> {
        self.read(offset, len, false)
    }

    /// What the file's blocks on the medium have, though ext4 may have no record that they were written: see
    /// [`MmapRaw::retry_flush`](rawmap::rawmap_core::MmapRaw::retry_flush). Where none was, that is what was there before.
    ///
    /// # Panics
    ///
    /// As for [`medium`](Self::medium).
    pub fn blocks(&self, offset: usize, len: usize) -> Vec<u8> {
        self.read(offset, len, true)
    }

    fn read(&self, offset: usize, len: usize, unrecorded: bool) -> Vec<u8> {
        let page = Self::PAGE as usize;
        let pages = offset / page..(offset + len).div_ceil(page);
        let mut bytes = vec![0; pages.len() * page];
        let places = &self.places(unrecorded)[pages];
        for (page, place) in bytes.chunks_mut(page).zip(places) {
            if let Some(place) = place {
                self.image
                    .read_exact_at(page, *place)
                    .expect("inside the image");
            }
        }
        bytes[offset % page..][..len].to_vec()
    }
}

/// Keeps the requests that a block device gets at one page. Since its buffered requests are asynchronous (Linux 6.15, and older
/// ones that took it over), a loop device takes a write that ended early for a whole one, and says that it stored what it did
/// not: `lo_complete_rq` looks at the length of reads only. A request of one page is written or not.
fn requests_of_a_page(device: u64) -> Result<Setting, String> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let setting = Setting::keep(&format!(
        "/sys/dev/block/{major}:{minor}/queue/max_sectors_kb"
    ))?;
    // The kernel takes none that is smaller than its page. An emulator may tell another.
    let set = |kib| setting.set(kib);
    set("4").or_else(|_| set("16")).or_else(|_| set("64"))?;
    Ok(setting)
}

/// Opens a file of the kernel's to read and write. A device may have a name and no driver behind it.
pub(crate) fn opens(path: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// Makes a file, to read and write.
fn opens_new(path: &Path) -> Result<File, String> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    options.open(path).map_err(io_text)
}

fn io_text(error: io::Error) -> String {
    error.to_string()
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| "an odd path".to_owned())
}

/// Runs a tool of the machine's and returns its output.
fn run(tool: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(tool)
        .args(arguments)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        // A small system has nobody who makes names in /dev for dmsetup.
        .env("DM_DISABLE_UDEV", "1")
        .output()
        .map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{tool} {}: {}", arguments.join(" "), why.trim()))
}
