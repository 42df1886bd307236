#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![allow(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    reason = "this is the layer for programs with std"
)]

/// The code in the repository's README.
#[cfg(all(doctest, feature = "device", feature = "embedded-storage-v0.3"))]
#[doc = include_str!("../../README.md")]
struct Readme;

mod desc;
pub mod memfd;
mod mmap;
mod options;
#[cfg(feature = "fault")]
mod sigbus;
mod tracked;

/// Containment of SIGBUS: a fault in a [contained](MmapOptions::contained) map becomes an error.
#[cfg(feature = "fault")]
pub mod fault {
    pub use crate::sigbus::install;
    pub use rawmap_core::fault::{CAPACITY, contain};
}

/// Maps under the traits of others: [`Cursor`](adapter::Cursor) with those of `std::io` and embedded-io, and `Flash`
/// with those of embedded-storage.
pub mod adapter {
    pub use rawmap_core::adapter::*;
}
/// Windows to device registers: UIO, `/dev/mem`, PCI.
#[cfg(feature = "device")]
pub use rawmap_core::device;

pub use desc::{MmapAsRawDesc, MmapRawDescriptor};
pub use mmap::{Mmap, MmapMut, MmapRaw};
pub use options::{MapIfSafeError, MmapOptions};
/// The layer below: the same maps without std, and its error type.
pub use rawmap_core;
pub use rawmap_core::{
    Advice, Commit, DirtyRanges, Error, PageSize, Protection, RemapOptions, Shared, Span,
    UncheckedAdvice, Word, page_size,
};
#[cfg(feature = "critical-section")]
pub use tracked::SharedTracked;
pub use tracked::{Tracked, reserve};
