#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![allow(
    clippy::std_instead_of_core,
    clippy::std_instead_of_alloc,
    reason = "this is the layer for programs with std"
)]

/// The code in the repository's README, and in its pages.
#[cfg(all(
    doctest,
    feature = "device",
    feature = "embedded-storage-v0.3",
    feature = "record"
))]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../DEVICES.md")]
#[doc = include_str!("../STORAGE.md")]
struct Readme;

mod desc;
#[cfg(feature = "record")]
pub mod durable;
#[cfg(feature = "fault")]
pub mod fault;
#[cfg(any(doc, doctest))]
pub mod guide;
mod map;
pub mod memfd;
mod options;

pub use desc::{MmapAsRawDesc, MmapRawDescriptor};
pub use map::{Mmap, MmapMut, MmapRaw};
pub use options::{MapIfSafeError, MmapOptions};
/// The layer below: the same maps without std, and its error type.
pub use rawmap_core;
#[cfg(feature = "critical-section")]
pub use rawmap_core::SharedTracked;
#[cfg(feature = "device")]
pub use rawmap_core::device;
#[cfg(feature = "record")]
pub use rawmap_core::record;
pub use rawmap_core::{
    Advice, Call, Commit, DirtyRanges, Errno, Error, Guarded, Mail, Mailbox, MayChange, PageSize,
    Protection, RemapOptions, Shared, Span, Tracked, UncheckedAdvice, Waited, Word, adapter,
    page_size, reserve,
};
