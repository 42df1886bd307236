//! Maps under the traits of others: streams with a position, and flash chips.
//!
//! - [`Cursor`]: the traits `Read`, `Write`, `Seek` and `BufRead` of embedded-io (feature `embedded-io-v0.7`)
//!   and of std (feature `std`).
//! - `Flash`: the traits of embedded-storage (feature `embedded-storage-v0.3`), so that storage crates for flash
//!   chips run on a mapped file.
//!
//! Both write through a [`Backing`]: [`Tracked`](crate::Tracked), or [`MmapMut`](crate::MmapMut). What is durable when is
//! said at each. In short: [`Cursor`] when `flush` is `Ok`; `Flash` when `write` and `erase` are, or when `commit` is.

#[cfg(any(feature = "std", feature = "embedded-io-v0.7"))]
mod cursor;
#[cfg(feature = "embedded-io-v0.7")]
mod embedded_io;
#[cfg(feature = "embedded-storage-v0.3")]
mod embedded_storage;
#[cfg(feature = "std")]
mod std_io;

pub use crate::backing::Backing;

#[cfg(any(feature = "std", feature = "embedded-io-v0.7"))]
pub use self::cursor::Cursor;
#[cfg(feature = "embedded-storage-v0.3")]
pub use self::embedded_storage::{Behaviour, Flash, Nor, Overwrite};
