//! Tells the tests their target, and where cargo keeps the source of memmap2, whose own tests are
//! run against rawmap.

use std::env;
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
}
