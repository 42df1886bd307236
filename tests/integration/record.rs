//! Values and logs: what is there after any cut, many cuts deep; damaged files; any bytes at all.

mod cuts;
mod durable;
mod format;
mod medium;

use rawmap_core::record::{Layout, Part, layout};

/// Small, so that logs go round and each cut is cheap to make: units of 512 bytes.
const LAYOUT: Layout<4> = layout!(
    512,
    "test",
    7,
    [
        Part::slots("two", 700).copies(2),
        Part::log("log", 4 * 1024).segment(1024),
        Part::slots("three", 40),
        Part::log("apart", 3 * 2048).segment(2048).apart()
    ]
);
