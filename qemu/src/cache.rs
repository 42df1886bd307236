//! What is fetched and built, outside the tree and used again.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::FlockOperation;
use tempfile::TempDir;

/// The folder: `RAWMAP_CACHE`, or `rawmap` in the user's cache. The same as the scripts'.
pub fn folder() -> PathBuf {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("RAWMAP_CACHE").unwrap_or_else(|| {
        let user = variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(|| crate::rows::root().join("target/.cache"));
        user.join("rawmap")
    })
}

/// Refuses a place that depends on the folder that one is in: cargo starts programs in another.
pub fn check() -> Result<()> {
    let folder = folder();
    ensure!(
        folder.is_absolute(),
        "the cache is {}: RAWMAP_CACHE and XDG_CACHE_HOME must be absolute paths",
        folder.display()
    );
    Ok(())
}

/// Gives the folder of that name, and makes it if it is not there: `make` gets an empty one, which takes the
/// name when it is complete. Of several processes one makes it, and the others wait.
pub fn once(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = folder().join(name);
    if path.exists() {
        return Ok(path);
    }
    let parent = path.parent().context("a name")?;
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let beside = |end: &str| folder().join(format!("{name}.{end}"));
    let _lock = lock(&beside("lock"))?;
    if path.exists() {
        return Ok(path);
    }
    let new = beside("new");
    if new.exists() {
        // Of a process that was ended.
        fs::remove_dir_all(&new).with_context(|| new.display().to_string())?;
    }
    fs::create_dir_all(&new).with_context(|| new.display().to_string())?;
    make(&new)?;
    fs::rename(&new, &path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// How names of temporary folders begin.
const PREFIX: &str = "rawmap-";

/// A temporary folder, beside what is cached. Those of processes that were killed are removed when the next one
/// is made: images of disks are large.
#[derive(Debug)]
pub struct Temporary {
    folder: TempDir,
    /// Says that this process is alive.
    _lock: File,
}

impl Temporary {
    /// An empty one.
    pub fn new() -> Result<Self> {
        Self::below(&folder().join("tmp"))
    }

    fn below(all: &Path) -> Result<Self> {
        fs::create_dir_all(all).with_context(|| all.display().to_string())?;
        // Nobody is between making a folder and locking it.
        let _busy = lock(&all.with_extension("lock"))?;
        for entry in fs::read_dir(all)?.filter_map(Result::ok) {
            let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let dead = match File::open(entry.path().join("lock")) {
                Ok(file) => is_free(&file),
                Err(error) => error.kind() == ErrorKind::NotFound,
            };
            if ours && dead {
                // What cannot be removed is in nobody's way.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix(PREFIX).tempdir_in(all);
        let folder = folder.with_context(|| all.display().to_string())?;
        let lock = lock(&folder.path().join("lock"))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Whether nobody holds a file's lock.
pub fn is_free(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Holds a file's lock until the file is closed.
pub fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)
        .with_context(|| path.display().to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_folders_of_the_dead_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let all = place.path().join("tmp");
        // As a process that was killed leaves it, with its lock and without.
        for name in ["rawmap-dead", "rawmap-dead/inside", "rawmap-early", "other"] {
            fs::create_dir_all(all.join(name)).unwrap();
        }
        fs::write(all.join("rawmap-dead/lock"), "").unwrap();
        let one = Temporary::below(&all).unwrap();
        let two = Temporary::below(&all).unwrap();
        assert!(one.path().exists() && two.path().exists());
        assert_eq!(fs::read_dir(&all).unwrap().count(), 3);
        drop((one, two));
        // What is not of this tool.
        assert_eq!(fs::read_dir(&all).unwrap().count(), 1);
    }
}
