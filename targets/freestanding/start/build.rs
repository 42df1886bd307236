//! Tells the build scripts of programs, as `DEP_RAWMAP_START_FLAGS`, what links a program that brings its own start: no
//! libc, no dynamic loader, one segment.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwind.ld");
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let flags = [
        "-nostartfiles",
        "-nodefaultlibs",
        "-static",
        "-Wl,--no-eh-frame-hdr",
        "-no-pie",
        "-Wl,--gc-sections,--build-id=none,--hash-style=gnu",
        "-Wl,-z,noseparate-code,-z,norelro",
    ];
    println!(
        "cargo::metadata=FLAGS=-T{folder}/no-unwind.ld\u{1f}{}",
        flags.join("\u{1f}")
    );
}
