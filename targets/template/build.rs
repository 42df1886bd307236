//! Links programs that bring their own start.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let flags = std::env::var("DEP_RAWMAP_START_FLAGS").expect("rawmap-start tells them");
    for flag in flags.split('\u{1f}') {
        println!("cargo::rustc-link-arg-bins={flag}");
    }
}
