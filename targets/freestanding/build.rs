//! Linker flags of a program that brings its own start: no libc, no dynamic loader, one segment.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for flag in [
        "-nostartfiles",
        "-nodefaultlibs",
        "-static",
        "-no-pie",
        "-Wl,--gc-sections,--build-id=none,--hash-style=gnu",
        "-Wl,-z,noseparate-code,-z,norelro",
    ] {
        println!("cargo::rustc-link-arg-bins={flag}");
    }
}
