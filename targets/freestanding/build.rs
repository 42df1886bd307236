//! Linker flags of a program that brings its own start: no libc, no dynamic loader, one segment.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwind.ld");
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rustc-link-arg-bins=-T{folder}/no-unwind.ld");
    for flag in [
        "-nostartfiles",
        "-nodefaultlibs",
        "-static",
        "-Wl,--no-eh-frame-hdr",
        "-no-pie",
        "-Wl,--gc-sections,--build-id=none,--hash-style=gnu",
        "-Wl,-z,noseparate-code,-z,norelro",
    ] {
        println!("cargo::rustc-link-arg-bins={flag}");
    }
}
