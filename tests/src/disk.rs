//! A disk that fails when it is told to: a loop device over a file with holes, on a small tmpfs. While the
//! tmpfs is full, the holes cannot be written; the device then says `EIO`, as a worn flash does. What the
//! medium holds is read from the file below.
//!
//! The tools run on the machine itself, also where the tests run in an emulator. Needs root.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs of a limited size, unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one.
    ///
    /// # Errors
    ///
    /// Why not: this process may not mount.
    pub fn of(bytes: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let size = format!("size={bytes}");
        let path = folder.path().to_str().ok_or("an odd path")?;
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", path])?;
        Ok(Self { folder })
    }

    /// The folder that it is mounted at.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves no free block.
    ///
    /// # Panics
    ///
    /// Where it cannot be filled.
    pub fn fill(&self) {
        let mut filler = File::create(self.path().join("filler")).expect("room for a name");
        let block = [1; 4096];
        loop {
            match filler.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => panic!("filling the disk: {error}"),
            }
        }
    }

    /// Makes room again.
    ///
    /// # Panics
    ///
    /// Where it was not filled.
    pub fn make_room(&self) {
        let path = self.path().join("filler");
        // Cut before it is removed: a child that another test is just starting may have it open.
        let filler = File::options().write(true).open(&path);
        filler
            .and_then(|file| file.set_len(0))
            .expect("it was filled");
        fs::remove_file(path).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The loop device above may still be on its way out.
        let path = self.path().to_str().unwrap_or_default();
        if let Err(error) = run("umount", &["--lazy", path]) {
            eprintln!("{error}");
        }
    }
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
    /// Mapped by the tests: [`FILE_LEN`](Self::FILE_LEN) bytes.
    pub file: File,
    /// Of the file's bytes, where each page of 4096 is on the medium.
    places: Vec<u64>,
    mounted: Option<PathBuf>,
    device: String,
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
        let small = SmallDisk::of(40 << 20)?;
        let image = small.path().join("image");
        let text = |path: &Path| path.to_str().map(str::to_owned).ok_or("an odd path");
        let image_len = match on {
            On::Device => Self::FILE_LEN as u64,
            On::Ext4 => 24 << 20,
        };
        let io = |error: io::Error| error.to_string();
        let created = File::create(&image).map_err(io)?;
        created.set_len(image_len).map_err(io)?;
        if on == On::Ext4 {
            run("fallocate", &["-l", &image_len.to_string(), &text(&image)?])?;
            // All that is written to it later has a place from the start: no holes, nothing put off.
            let now = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
            let image = text(&image)?;
            // And the file's blocks come in clusters that are whole pages of the tmpfs, wherever it runs.
            let clusters = ["-O", "bigalloc", "-C", "65536"];
            let make = ["-q", "-F", "-b", "4096", "-E", now, &image];
            run("mkfs.ext4", &[&clusters[..], &make].concat())?;
        }
        let device = run("losetup", &["--find", "--show", &text(&image)?])?;
        let mut disk = Self {
            file: File::open("/dev/null").map_err(io)?,
            places: Vec::new(),
            mounted: None,
            device: device.trim().to_owned(),
            small,
        };
        let options = || {
            let mut options = File::options();
            options.read(true).write(true);
            options
        };
        let pages = Self::FILE_LEN as u64 / Self::PAGE;
        if on == On::Device {
            disk.file = options().open(&disk.device).map_err(io)?;
            disk.places = (0..pages).map(|page| page * Self::PAGE).collect();
            return Ok(disk);
        }
        let mount = disk.small.path().join("mount");
        fs::create_dir(&mount).map_err(io)?;
        run("mount", &["-t", "ext4", &disk.device, &text(&mount)?])?;
        disk.mounted = Some(mount.clone());
        let path = mount.join("file");
        let mut file = options()
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(io)?;
        file.write_all(&vec![0; Self::FILE_LEN]).map_err(io)?;
        file.sync_all().map_err(io)?;
        disk.file = file;
        // Lines such as "   0:        0..     255:       2048..      2303:    256:".
        for line in run("filefrag", &["-e", "-b4096", &text(&path)?])?.lines() {
            let words: Vec<u64> = line
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|word| word.parse().ok())
                .collect();
            if let ([_, _, _, first, last, ..], true) = (&words[..], line.contains("..")) {
                disk.places
                    .extend((*first..=*last).map(|block| block * Self::PAGE));
            }
        }
        if disk.places.len() as u64 != pages {
            return Err(format!("filefrag told of {} pages", disk.places.len()));
        }
        // The blocks of the file become holes; all others of the file system stay. Those that lie together go
        // at once: a hole of less than a page of the tmpfs frees nothing.
        for together in disk.places.chunk_by(|one, next| one + Self::PAGE == *next) {
            let offset = together[0].to_string();
            let len = (together.len() as u64 * Self::PAGE).to_string();
            run(
                "fallocate",
                &["-p", "-o", &offset, "-l", &len, &text(&image)?],
            )?;
        }
        Ok(disk)
    }

    /// From now on no block that was not written before can be.
    pub fn fail(&self) {
        self.small.fill();
    }

    /// Works again.
    pub fn recover(&self) {
        self.small.make_room();
    }

    /// What the medium has of the file, below all caches.
    ///
    /// # Panics
    ///
    /// Where the range ends past the file.
    pub fn medium(&self, offset: usize, len: usize) -> Vec<u8> {
        let page = Self::PAGE as usize;
        let mut image = File::open(self.small.path().join("image")).expect("the image is there");
        let mut bytes = Vec::with_capacity(len + 2 * page);
        for place in &self.places[offset / page..(offset + len).div_ceil(page)] {
            image
                .seek(SeekFrom::Start(*place))
                .expect("inside the image");
            let start = bytes.len();
            bytes.resize(start + page, 0);
            image
                .read_exact(&mut bytes[start..])
                .expect("inside the image");
        }
        bytes[offset % page..][..len].to_vec()
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        // Unmounting needs it closed.
        if let Ok(null) = File::open("/dev/null") {
            self.file = null;
        }
        if let Some(path) = self.mounted.as_ref().and_then(|path| path.to_str())
            && let Err(error) = run("umount", &[path])
        {
            eprintln!("{error}");
        }
        if let Err(error) = run("losetup", &["--detach", &self.device]) {
            eprintln!("{error}");
        }
    }
}

/// What the device mapper is told through.
pub(crate) const MAPPER: &str = "/dev/mapper/control";

/// Opens a file of the kernel's to read and write. A device may have a name and no driver behind it.
pub(crate) fn opens(path: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// A block device of the device mapper over a loop device. All requests fail while it is told to.
#[derive(Debug)]
pub struct MapperDisk {
    name: String,
    image: tempfile::NamedTempFile,
    device: String,
}

impl MapperDisk {
    /// Length in bytes.
    pub const LEN: u64 = 4 << 20;

    /// Makes one. `name` is its name in `/dev/mapper`.
    ///
    /// # Errors
    ///
    /// Why not: there is no device mapper, or this process may not use it.
    pub fn new(name: &str) -> Result<Self, String> {
        opens(MAPPER).map_err(|error| format!("no device mapper: {MAPPER}: {error}"))?;
        let io = |error: io::Error| error.to_string();
        let image = tempfile::NamedTempFile::new().map_err(io)?;
        image.as_file().set_len(Self::LEN).map_err(io)?;
        let path = image.path().to_str().ok_or("an odd path")?;
        let device = run("losetup", &["--find", "--show", path])?;
        let disk = Self {
            name: name.to_owned(),
            device: device.trim().to_owned(),
            image,
        };
        run(
            "dmsetup",
            &["create", name, "--table", &disk.table("linear")],
        )?;
        Ok(disk)
    }

    fn table(&self, target: &str) -> String {
        let end = match target {
            "linear" => format!(" {} 0", self.device),
            _ => String::new(),
        };
        format!("0 {} {target}{end}", Self::LEN / 512)
    }

    /// Opens the device.
    ///
    /// # Errors
    ///
    /// As open(2).
    pub fn open(&self) -> io::Result<File> {
        let path = Path::new("/dev/mapper").join(&self.name);
        File::options().read(true).write(true).open(path)
    }

    /// From now on every request fails, or none.
    ///
    /// # Panics
    ///
    /// Where the device mapper refuses.
    pub fn fail(&self, fails: bool) {
        let table = self.table(if fails { "error" } else { "linear" });
        let steps: [&[&str]; 3] = [
            &["suspend", "--noflush", "--nolockfs", &self.name],
            &["load", &self.name, "--table", &table],
            &["resume", &self.name],
        ];
        for step in steps {
            run("dmsetup", step).expect("dmsetup");
        }
    }

    /// What is below: the bytes of the image.
    ///
    /// # Panics
    ///
    /// Where it cannot be read.
    pub fn medium(&self, offset: usize, len: usize) -> Vec<u8> {
        // The loop device writes to the image's pages.
        let bytes = fs::read(self.image.path()).expect("the image is there");
        bytes[offset..offset + len].to_vec()
    }
}

impl Drop for MapperDisk {
    fn drop(&mut self) {
        for (tool, arguments) in [
            ("dmsetup", ["remove", "--retry", &self.name]),
            ("losetup", ["--detach", &self.device, ""]),
        ] {
            let arguments: Vec<_> = arguments
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect();
            if let Err(error) = run(tool, &arguments) {
                eprintln!("{error}");
            }
        }
    }
}

/// Runs a tool of the machine's and gives its output.
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
