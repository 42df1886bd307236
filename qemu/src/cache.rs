//! What is fetched and built, outside the tree and used again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

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

/// Holds a file's lock until the file is closed.
pub fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .with_context(|| path.display().to_string())?;
    Ok(file)
}
