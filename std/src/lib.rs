#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![allow(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    reason = "this is the layer for programs with std"
)]

mod desc;
mod mmap;
mod options;
mod tracked;

pub use desc::{MmapAsRawDesc, MmapRawDescriptor};
pub use mmap::{Mmap, MmapMut, MmapRaw};
pub use options::{MapIfSafeError, MmapOptions};
/// The layer below: the same maps without std, and its error type.
pub use rawmap_core;
pub use rawmap_core::{
    Advice, Commit, DirtyRanges, Error, PageSize, Protection, RemapOptions, Span, UncheckedAdvice,
    page_size,
};
#[cfg(feature = "critical-section")]
pub use tracked::SharedTracked;
pub use tracked::{Tracked, reserve};
