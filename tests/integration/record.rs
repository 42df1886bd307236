//! Values and logs: what is there after any cut, many cuts deep; damaged files; any bytes at all.

mod cuts;
mod durable;
mod edges;
mod format;
mod medium;
mod model;
mod power;

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

/// Of a ring of two segments, too: one is being written, and one has all that was committed.
const CUTS: Layout<4> = layout!(
    512,
    "cuts",
    1,
    [
        Part::slots("two", 700).copies(2),
        Part::log("log", 2 * 2048).segment(2048),
        Part::slots("three", 40),
        Part::log("apart", 3 * 2048).segment(2048).apart()
    ]
);

/// The layout that follows it.
const NEXT: Layout<6> = layout!(
    512,
    "cuts",
    2,
    [
        Part::slots("two", 700).copies(2),
        Part::log("log", 2 * 2048).segment(2048),
        Part::slots("three", 40),
        Part::log("apart", 3 * 2048).segment(2048).apart(),
        Part::log("kept", 3 * 2048)
            .segment(2048)
            .keep_oldest()
            .apart(),
        Part::bytes("plain", 1100)
    ]
);
