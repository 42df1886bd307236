//! What the programs share: their start, signals, and threads.

#![no_std]

pub mod signal;
#[cfg(feature = "threads")]
pub mod thread;

pub use rawmap_start::{Arguments, exit, start};
