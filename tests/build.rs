//! Tells the tests their target, and where cargo keeps the source of memmap2, whose own tests are
//! run against rawmap; and gives them the source of core, also where they run without it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).expect("cargo sets it");
    println!("cargo::rustc-env=RAWMAP_TARGET={}", variable("TARGET"));

    let metadata = Command::new(variable("CARGO"))
        .args(["metadata", "--format-version=1"])
        .args(["--filter-platform", &variable("TARGET")])
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "cargo metadata: {errors}");
    let metadata = String::from_utf8_lossy(&metadata.stdout);
    // Every package has its manifest_path; no path but this one ends in this folder.
    let source = metadata
        .split('"')
        .find(|text| text.ends_with("/memmap2-0.9.12/Cargo.toml"))
        .and_then(|manifest| manifest.strip_suffix("/Cargo.toml"))
        .expect("memmap2 0.9.12 is a dependency, so cargo has its source");
    println!("cargo::rustc-env=MEMMAP2_SOURCE={source}");

    // The one text of theirs that loses a number, which two tests for 32 bit compare.
    let theirs = fs::read_to_string(format!("{source}/test/map.rs")).expect("its tests are there");
    let text = "\"memory map length overflows isize\"";
    assert_eq!(theirs.matches(text).count(), 2, "memmap2's tests changed");
    let own = "\"length of 2147483648 bytes is too long for this address space\"";
    let upstream = Path::new(&variable("OUT_DIR")).join("upstream.rs");
    fs::write(upstream, theirs.replace(text, own)).expect("cargo made the folder");

    let core = fs::canonicalize("../core/src").expect("core is beside the tests");
    println!("cargo::rerun-if-changed=../core/src");
    let mut files = Vec::new();
    collect(&core, &mut files);
    files.sort();
    let rows = files.iter().map(|path| {
        let name = path.strip_prefix(&core).expect("found in it");
        format!("({name:?}, include_str!({path:?})),\n")
    });
    let list = format!("&[{}]", rows.collect::<String>());
    let out = Path::new(&variable("OUT_DIR")).join("core_sources.rs");
    fs::write(out, list).expect("cargo made the folder");
}

/// All Rust files in a folder and below.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}
