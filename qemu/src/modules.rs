//! Which modules of a Debian kernel are loaded, and in what order: each after those that it names as its needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};

/// The modules of an unpacked package that are wanted, and what they need, in the order of loading. A name
/// with "?" before it may be missing.
pub fn in_order(
    package: &Path,
    release: &str,
    wanted: &[String],
) -> Result<Vec<(String, Vec<u8>)>> {
    let folders = ["lib/modules", "usr/lib/modules"];
    let mut folders = folders.iter().map(|name| package.join(name).join(release));
    let folder = folders.find(|folder| folder.exists());
    let folder = folder.context("the package has no modules")?;
    let builtin = fs::read_to_string(folder.join("modules.builtin"))?;
    let builtin = builtin
        .lines()
        .filter_map(|line| module_name(Path::new(line)));
    let mut order = Order {
        paths: find(&folder.join("kernel"))?,
        builtin: builtin.collect(),
        seen: BTreeSet::new(),
        loaded: Vec::new(),
    };
    for name in wanted {
        let (name, must) = match name.strip_prefix('?') {
            Some(name) => (name, false),
            None => (&**name, true),
        };
        order.visit(name, must)?;
    }
    Ok(order.loaded)
}

struct Order {
    paths: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    seen: BTreeSet<String>,
    loaded: Vec<(String, Vec<u8>)>,
}

impl Order {
    fn visit(&mut self, name: &str, must: bool) -> Result<()> {
        let name = name.replace('-', "_");
        if self.builtin.contains(&name) || self.seen.contains(&name) {
            return Ok(());
        }
        let Some(path) = self.paths.get(&name) else {
            if must {
                bail!("this kernel has no module {name}");
            }
            return Ok(());
        };
        let bytes = read(path).with_context(|| path.display().to_string())?;
        self.seen.insert(name.clone());
        for (key, value) in info(&bytes).with_context(|| path.display().to_string())? {
            match &*key {
                "depends" => {
                    for need in value.split(',').filter(|need| !need.is_empty()) {
                        self.visit(need, true)?;
                    }
                }
                "softdep" => {
                    // "pre: crypto-crc32c post: ...": an alias of the crypto layer, for modules of two names.
                    for need in value.split_whitespace().filter(|word| !word.ends_with(':')) {
                        let need = need.trim_start_matches("crypto-");
                        self.visit(need, false)?;
                        self.visit(&format!("{need}_generic"), false)?;
                    }
                }
                _ => {}
            }
        }
        self.loaded.push((name, bytes));
        Ok(())
    }
}

/// "kernel/fs/ext4/ext4.ko.xz" is "ext4".
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (name, _) = name.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn find(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(find(&entry.path())?);
        } else if let Some(name) = module_name(&entry.path()) {
            found.insert(name, entry.path());
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => Ok(bytes),
        Some("xz") => {
            let mut module = Vec::new();
            liblzma::read::XzDecoder::new(&bytes[..]).read_to_end(&mut module)?;
            Ok(module)
        }
        other => bail!("a module with the ending {other:?}"),
    }
}

/// The pairs of a module's section `.modinfo`: "key=value", each with a zero byte behind it.
fn info(module: &[u8]) -> Result<Vec<(String, String)>> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".modinfo").context("no .modinfo")?;
    let pairs = section.data()?.split(|byte| *byte == 0).filter_map(|pair| {
        let (key, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    });
    Ok(pairs.collect())
}
