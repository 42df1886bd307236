#![doc = include_str!("../README.md")]
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

#[cfg(not(target_os = "linux"))]
compile_error!(
    "rawmap-core maps memory with Linux system calls; this target has none, or is Android, where rustix lacks some"
);

#[cfg(any(
    feature = "std",
    feature = "embedded-io-v0.7",
    feature = "embedded-storage-v0.3"
))]
pub mod adapter;
mod advice;
#[cfg(any(
    feature = "std",
    feature = "embedded-io-v0.7",
    feature = "embedded-storage-v0.3",
    feature = "record"
))]
mod backing;
#[cfg(feature = "critical-section-linux")]
mod critical;
#[cfg(feature = "device")]
pub mod device;
mod dirty;
mod error;
#[cfg(feature = "fault")]
pub mod fault;
mod guarded;
mod locked;
mod map;
pub mod memfd;
mod options;
mod page;
mod protection;
mod raw;
#[cfg(feature = "record")]
pub mod record;
mod reserve;
mod shared;
mod span;
mod sys;
mod tracked;

pub use advice::{Advice, UncheckedAdvice};
pub use dirty::DirtyRanges;
pub use error::{Call, Errno, Error, MayChange, Refused};
pub use guarded::Guarded;
pub use map::{Mmap, MmapMut};
pub use options::MmapOptions;
pub use page::PageSize;
pub use protection::Protection;
pub use raw::{MmapRaw, RemapOptions};
pub use reserve::reserve;
pub use shared::{Mail, Mailbox, Shared, Waited, Word};
pub use span::Span;
/// The trait that constructors take a file by: std's with the feature `std`, else rustix's.
pub use sys::AsFd;
/// What [`memfd`] gives: std's with the feature `std`, else rustix's.
pub use sys::OwnedFd;
pub use sys::page_size;
#[cfg(feature = "critical-section")]
pub use tracked::SharedTracked;
pub use tracked::{Commit, Tracked};
