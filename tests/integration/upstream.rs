//! memmap2's own tests, from its published package, run against rawmap. A binary of its own,
//! because one of them watches the locked memory of the whole process.

// What the file names: the items of memmap2's root, and the module of its source.
pub use rawmap::*;

mod advice {
    pub use rawmap::Advice;
}

#[allow(clippy::all, unused, reason = "not our code")]
mod memmap2_test {
    // Copied by build.rs, with our text where theirs loses the number.
    include!(concat!(env!("OUT_DIR"), "/upstream.rs"));
}
