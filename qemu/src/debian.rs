//! Files of Debian's archive: found by apt, kept with their checksums in `packages.toml`, fetched into the
//! cache, unpacked by dpkg-deb.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest as _, Sha256};

use crate::cache;
use crate::command::{kill_when_parent_ends, output};
use crate::rows::{Lock, Machine, Origin, Package, Rows, Set, root};

/// The name of a machine's kernel package in the lock.
pub fn kernel_set(machine: &Machine) -> String {
    match machine.kernel {
        Origin::Debian => format!("kernel-{}", machine.name),
        Origin::Source => "kernel-source".to_owned(),
    }
}

/// The name of a machine's userland in the lock.
pub fn userland_set(machine: &Machine) -> String {
    format!("userland-{}", machine.userland)
}

/// What the rows ask for; without files.
pub fn wanted(rows: &Rows) -> Result<BTreeMap<String, Set>> {
    let mut sets = BTreeMap::new();
    let set = |suite: &str, arch: &str, packages: &[String]| Set {
        suite: suite.to_owned(),
        arch: arch.to_owned(),
        packages: packages.to_vec(),
        file: Vec::new(),
    };
    for machine in &rows.machine {
        let userland = rows.userland(machine)?;
        let (suite, arch, package) = match machine.kernel {
            Origin::Debian => (&machine.suite, &*userland.name, &machine.package),
            Origin::Source => (&rows.source.suite, "amd64", &rows.source.package),
        };
        let kernel = set(suite, arch, std::slice::from_ref(package));
        sets.insert(kernel_set(machine), kernel);
        let programs = set(&userland.suite, &userland.name, &userland.packages);
        sets.insert(userland_set(machine), programs);
    }
    Ok(sets)
}

/// Asks apt which files a set takes today. apt checks the signatures of the lists that say so.
fn resolve(name: &str, want: &Set) -> Result<Set> {
    let mut apt = Command::new(root().join("targets/apt"));
    apt.args(["--fresh", &want.suite, &want.arch, "install"]);
    apt.args(["--print-uris", "-qq", "-y", "--no-install-recommends"]);
    apt.args(["-o", "Acquire::ForceHash=SHA256"]);
    if want.suite.ends_with("-backports") {
        apt.args(["-t", &want.suite]);
    }
    apt.args(&want.packages);
    let listed = output(apt)?;
    let mirror = mirror()?;
    let mut files = Vec::new();
    // 'ADDRESS' NAME SIZE SHA256:SUM
    for line in listed.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [address, _, size, sum] = words[..] else {
            continue;
        };
        let path = address.trim_matches('\'').strip_prefix(&mirror);
        let path = path.with_context(|| format!("{address} is not below {mirror}"))?;
        let sum = sum.strip_prefix("SHA256:").context("no SHA256 sum")?;
        files.push(Package {
            path: path
                .trim_start_matches('/')
                .replace("%2b", "+")
                .replace("%7e", "~"),
            size: size.parse().context("a size")?,
            sha256: sum.to_owned(),
        });
    }
    if name.starts_with("kernel-") {
        // Not the tools that make an initial file system, and the like.
        files.retain(|file| {
            let mut starts = ["linux-image-", "linux-source-"].iter();
            starts.any(|start| {
                let rest = file.name().strip_prefix(start);
                // A version, and not the 4kc of a name.
                rest.and_then(|rest| rest.split('-').next())
                    .is_some_and(|version| version.contains('.'))
            })
        });
        ensure!(
            files.len() == 1,
            "{name}: apt named {} kernels",
            files.len()
        );
    }
    ensure!(!files.is_empty(), "{name}: apt named no files");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Set {
        file: files,
        ..want.clone()
    })
}

/// `cargo qemu lock`: asks apt for the sets whose rows are new or changed, or for all, and writes `packages.toml`.
pub fn lock(rows: &Rows, update: bool) -> Result<()> {
    let mut old = Lock::read()?;
    let mut lock = Lock::default();
    for (name, want) in wanted(rows)? {
        let have = old.set.remove(&name);
        let have = have.filter(|have| have.is_for(&want) && !update);
        let set = match have {
            Some(set) => set,
            None => {
                println!("{name}: {} for {}", want.suite, want.arch);
                resolve(&name, &want)?
            }
        };
        lock.set.insert(name, set);
    }
    let head = "# The files of Debian's archive that machines.toml comes to. `cargo qemu lock` writes this.";
    let text = format!("{head}\n\n{}", toml::to_string(&lock)?);
    fs::write(Lock::path(), text).context("packages.toml")
}

fn mirror() -> Result<String> {
    let mut apt = Command::new(root().join("targets/apt"));
    apt.arg("mirror");
    Ok(output(apt)?.trim().to_owned())
}

/// Fetches the files of a set, as locked; where the mirror has newer ones only, those, and says so.
pub fn fetch(name: &str) -> Result<Vec<PathBuf>> {
    let mut lock = Lock::read()?;
    let set = lock.set.remove(name);
    let set = set.with_context(|| format!("packages.toml has no {name}: run `cargo qemu lock`"))?;
    fetch_files(name, &set).or_else(|error| {
        eprintln!("{name}: {error:#}; asking for what {} has now", set.suite);
        let newer = resolve(name, &set)?;
        let files = fetch_files(name, &newer)?;
        let names: Vec<_> = newer.file.iter().map(Package::name).collect();
        let names = names.join(" ");
        eprintln!(
            "{name}: took {names}, which is not in packages.toml: run `cargo qemu lock --update`"
        );
        Ok(files)
    })
}

fn fetch_files(name: &str, set: &Set) -> Result<Vec<PathBuf>> {
    let folder = cache::folder().join("debs");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let _lock = cache::lock(&folder.join("lock"))?;
    let place = |file: &Package| folder.join(file.name());
    let missing: Vec<_> = set
        .file
        .iter()
        .filter(|file| !place(file).exists())
        .collect();
    if !missing.is_empty() {
        let bar = progress(name, missing.iter().map(|file| file.size).sum());
        let mirror = mirror()?;
        for file in missing {
            fetch_file(&mirror, file, &place(file), &bar)?;
        }
        bar.finish();
    }
    Ok(set.file.iter().map(place).collect())
}

/// A bar on a terminal, and a line elsewhere.
fn progress(name: &str, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_message(name.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {eta}") {
        bar.set_style(style);
    }
    if bar.is_hidden() {
        eprintln!("fetching {name}: {} MB", bytes.div_ceil(1_000_000));
    }
    bar
}

/// apt's own helper fetches, with the machine's proxy and the like.
fn fetch_file(mirror: &str, file: &Package, place: &Path, bar: &ProgressBar) -> Result<()> {
    let partial = place.with_extension("partial");
    let start = bar.position();
    for _ in 0..3 {
        let mut helper = Command::new("/usr/lib/apt/apt-helper");
        helper
            .args(["-o", "APT::Sandbox::User=", "download-file"])
            .arg(format!("{mirror}/{}", file.path))
            .arg(&partial)
            .arg(format!("SHA256:{}", file.sha256))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        kill_when_parent_ends(&mut helper);
        let mut child = helper.spawn().context("apt-helper, of the package apt")?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            let so_far = fs::metadata(&partial).map_or(0, |data| data.len());
            bar.set_position(start + so_far.min(file.size));
            std::thread::sleep(Duration::from_millis(20));
        };
        if status.success() {
            check_sum(&partial, &file.sha256)?;
            bar.set_position(start + file.size);
            return fs::rename(&partial, place).with_context(|| place.display().to_string());
        }
        // There may be none.
        let _ = fs::remove_file(&partial);
    }
    bail!(
        "{} could not be fetched, or has another checksum",
        file.path
    );
}

fn check_sum(path: &Path, want: &str) -> Result<()> {
    let mut sum = Sha256::new();
    std::io::copy(&mut fs::File::open(path)?, &mut sum)?;
    let found = hex(&sum.finalize());
    ensure!(
        found == want,
        "{}: SHA-256 {found}, not {want}",
        path.display()
    );
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Short, and another for other bytes.
pub fn key(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update((part.as_ref().len() as u64).to_le_bytes());
        sum.update(part);
    }
    hex(&sum.finalize()[..6])
}

/// Unpacks a package, without its scripts.
pub fn unpack(package: &Path, folder: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("-x").args([package, folder]);
    output(dpkg).map(drop)
}

/// The folder with the programs of a machine's Debian system.
pub fn userland(machine: &Machine) -> Result<PathBuf> {
    let name = userland_set(machine);
    let files = fetch(&name)?;
    let names = files.iter().map(|file| file.as_os_str().as_encoded_bytes());
    cache::once(&format!("{name}-{}", key(names)), |folder| {
        files.iter().try_for_each(|file| unpack(file, folder))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_packages() {
        let (rows, lock) = (Rows::read().unwrap(), Lock::read().unwrap());
        for (name, want) in wanted(&rows).unwrap() {
            let set = lock.set.get(&name);
            let set = set.unwrap_or_else(|| panic!("no {name}: run `cargo qemu lock`"));
            assert!(set.is_for(&want), "{name}: run `cargo qemu lock`");
            assert!(!set.file.is_empty(), "{name}");
            for file in &set.file {
                assert_eq!(file.sha256.len(), 64, "{}", file.path);
                assert!(file.path.starts_with("pool/"), "{}", file.path);
            }
        }
    }
}
