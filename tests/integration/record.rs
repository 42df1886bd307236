//! Values and logs: what is there after any cut, many cuts deep; damaged files; any bytes at all.

mod cuts;
mod durable;
mod format;
mod medium;
mod model;

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

/// The layout that follows.
const NEXT: Layout<6> = layout!(
    512,
    "test",
    8,
    [
        Part::slots("two", 700).copies(2),
        Part::log("log", 4 * 1024).segment(1024),
        Part::slots("three", 40),
        Part::log("apart", 3 * 2048).segment(2048).apart(),
        Part::log("kept", 3 * 512).segment(512).keep_oldest(),
        Part::bytes("plain", 1100)
    ]
);
