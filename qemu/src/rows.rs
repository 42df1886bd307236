//! `machines.toml` and `packages.toml`: what there is to boot, and which files it takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

/// `machines.toml`. The file explains its keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    pub modules: Vec<String>,
    pub objects: Vec<String>,
    pub devices: Vec<String>,
    pub machine: Vec<Machine>,
    pub source: Source,
    pub userland: Vec<Userland>,
    pub filesystem: Vec<Filesystem>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub name: String,
    pub target: String,
    pub qemu: String,
    pub board: String,
    pub cpu: String,
    pub memory: u32,
    pub console: String,
    #[serde(default = "Machine::two")]
    pub processors: u8,
    #[serde(default)]
    pub bus: Bus,
    #[serde(default = "Machine::yes")]
    pub registers: bool,
    pub page: usize,
    pub userland: String,
    pub kernel: Origin,
    #[serde(default)]
    pub suite: String,
    #[serde(default)]
    pub package: String,
    #[serde(default)]
    pub arch: String,
    #[serde(default)]
    pub cross: String,
    #[serde(default)]
    pub image: String,
    #[serde(default)]
    pub config: Vec<String>,
    #[serde(default)]
    pub options: Vec<String>,
    pub filesystems: Vec<String>,
    pub flash: Option<Flash>,
    pub default: bool,
}

impl Machine {
    fn two() -> u8 {
        2
    }

    fn yes() -> bool {
        true
    }

    /// QEMU's name of a virtio device of that kind on this machine's bus.
    pub fn virtio(&self, kind: &str) -> String {
        match self.bus {
            Bus::Pci => format!("virtio-{kind}-pci"),
            Bus::Ccw => format!("virtio-{kind}-ccw"),
        }
    }
}

/// What devices are on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    #[default]
    Pci,
    /// Channels, of s390x.
    Ccw,
}

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    Debian,
    Source,
}

impl Origin {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "Debian's",
            Self::Source => "built from source",
        }
    }
}

/// The board's second NOR flash, as the kernel calls it: MiB before it, MiB that are used of it, and all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flash {
    pub device: String,
    pub skip: u64,
    pub len: u64,
    pub all: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub suite: String,
    pub package: String,
    pub edit: Edit,
    pub tools: Vec<String>,
}

/// A line of the source that is changed before a kernel is built.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    pub file: String,
    pub from: String,
    pub to: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Userland {
    pub name: String,
    pub suite: String,
    pub packages: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filesystem {
    pub name: String,
    pub kind: String,
    pub make: Vec<String>,
    #[serde(default)]
    pub repair: Vec<String>,
    #[serde(default)]
    pub rescue: Vec<String>,
    pub options: String,
    pub barrier: String,
    /// Bytes.
    #[serde(default = "sector")]
    pub atom: usize,
    pub mib: u64,
    pub large: bool,
    pub default: bool,
}

fn sector() -> usize {
    512
}

impl Filesystem {
    /// Whether it is on raw flash, and not on a disk.
    pub fn is_flash(&self) -> bool {
        self.kind == "ubifs"
    }
}

/// The repository's root.
pub fn root() -> &'static Path {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.parent().unwrap_or(folder)
}

impl Rows {
    /// Reads and checks them.
    pub fn read() -> Result<Self> {
        let path = root().join("qemu/machines.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let rows: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        for filesystem in &rows.filesystem {
            let (name, atom) = (&filesystem.name, filesystem.atom);
            if atom == 0 || !atom.is_multiple_of(sector()) {
                bail!("file system {name}: an atom of {atom} bytes is not of whole sectors");
            }
        }
        for machine in &rows.machine {
            rows.userland(machine)?;
            for name in &machine.filesystems {
                rows.filesystem(name)
                    .with_context(|| format!("machine {}", machine.name))?;
            }
            if !machine.page.is_power_of_two() {
                bail!("machine {}: a page of {} bytes", machine.name, machine.page);
            }
        }
        Ok(rows)
    }

    /// The machine of that name.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        let known = || -> Vec<&str> { self.machine.iter().map(|row| &*row.name).collect() };
        let found = self.machine.iter().find(|machine| machine.name == name);
        found.ok_or_else(|| anyhow!("no machine {name:?}; there are: {}", known().join(" ")))
    }

    /// The machines of a name, or of a target triple; all for "all", the default ones for "default"; or of several of
    /// these words.
    pub fn machines(&self, names: &str) -> Result<Vec<&Machine>> {
        let is = |machine: &Machine, name: &str| match name {
            "all" => true,
            "default" => machine.default,
            _ => machine.name == name || machine.target == name,
        };
        let names: Vec<_> = names.split_whitespace().collect();
        for name in &names {
            if !self.machine.iter().any(|machine| is(machine, name)) {
                self.machine(name)?;
            }
        }
        let chosen = |machine: &&Machine| names.iter().any(|name| is(machine, name));
        let chosen: Vec<_> = self.machine.iter().filter(chosen).collect();
        ensure!(!chosen.is_empty(), "no machine is named");
        Ok(chosen)
    }

    /// The file system of that name.
    pub fn filesystem(&self, name: &str) -> Result<&Filesystem> {
        let known = || -> Vec<&str> { self.filesystem.iter().map(|row| &*row.name).collect() };
        let found = self.filesystem.iter().find(|row| row.name == name);
        found.ok_or_else(|| anyhow!("no file system {name:?}; there are: {}", known().join(" ")))
    }

    /// Whether a machine has a file system of that kind.
    pub fn has_kind(&self, machine: &Machine, kind: &str) -> bool {
        let of_machine = |row: &&Filesystem| machine.filesystems.contains(&row.name);
        let mut rows = self.filesystem.iter().filter(of_machine);
        rows.any(|row| row.kind == kind)
    }

    /// Names of those that `tests/run` cuts the power on.
    pub fn default_filesystems(&self) -> Vec<&str> {
        let rows = self.filesystem.iter().filter(|row| row.default);
        rows.map(|row| &*row.name).collect()
    }

    /// The programs of a machine.
    pub fn userland(&self, machine: &Machine) -> Result<&Userland> {
        let found = self
            .userland
            .iter()
            .find(|row| row.name == machine.userland);
        let missing = || {
            anyhow!(
                "machine {}: no userland {:?}",
                machine.name,
                machine.userland
            )
        };
        found.ok_or_else(missing)
    }
}

/// `packages.toml`: for each set that was asked for, the files that it takes. `cargo qemu lock` writes it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Lock {
    pub set: BTreeMap<String, Set>,
}

/// What a set was asked for, and what that came to.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Set {
    pub suite: String,
    pub arch: String,
    pub packages: Vec<String>,
    pub file: Vec<Package>,
}

impl Set {
    /// Whether it was asked for the same.
    pub fn is_for(&self, want: &Self) -> bool {
        (&self.suite, &self.arch, &self.packages) == (&want.suite, &want.arch, &want.packages)
    }
}

/// A file of Debian's archive.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Package {
    /// Below the mirror.
    pub path: String,
    pub size: u64,
    pub sha256: String,
}

impl Package {
    /// Its name without folders.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

impl Lock {
    /// Where it is.
    pub fn path() -> PathBuf {
        root().join("qemu/packages.toml")
    }

    /// Reads it.
    pub fn read() -> Result<Self> {
        let path = Self::path();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_found_by_name_and_target() {
        let rows = Rows::read().unwrap();
        assert_eq!(rows.machines("aarch64-16k").unwrap().len(), 1);
        assert!(rows.machines("aarch64-unknown-linux-gnu").unwrap().len() > 1);
        let default = rows.machines("default").unwrap();
        let mut targets: Vec<_> = default.iter().map(|machine| &machine.target).collect();
        assert!(targets.len() >= 4 && default.iter().any(|machine| machine.page == 16384));
        targets.sort();
        targets.dedup();
        assert!(targets.len() >= 3);
        assert_eq!(rows.machines("armv7 aarch64-16k armv7").unwrap().len(), 2);
        let refused = rows.machines("armv7 pdp-11").unwrap_err().to_string();
        assert!(refused.contains("pdp-11") && refused.contains("riscv64"));
        assert!(rows.machines(" ").is_err());
    }
}
