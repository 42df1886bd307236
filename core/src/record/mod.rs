//! Values and logs that survive a power cut, in parts of one file.
//!
//! - [`Layout`]: which [`Part`]s a file has. Their places are known when the program is compiled.
//! - [`Store`]: owns a map of the file, and commits all that was put into its parts with one flush of the device.
//! - [`Slots`]: one value in several copies; a power cut leaves the old one or the new one.
//! - [`Log`]: a ring of records of any length.
//! - [`Reader`]: reads such a file without changing it, also one of another program, and tells what is damaged.
//! - [`prepare`]: locks a file, and gives it its length and its room.
//!
//! A store works on any [`Backing`]: [`Tracked`](crate::Tracked), or [`MmapMut`](crate::MmapMut), contained ones too. With std,
//! `rawmap::durable` does all of it from a path.
//!
//! `core/FORMAT.md` in the repository has the format. It is little-endian on every target, so a file may go from board to board.
//!
//! # What is promised
//!
//! When a commit is `Ok`, a power cut at any later moment leaves what it stored, on a device that does not lie about a flush, and
//! that spoils no more than a unit of the layout while it writes there. What was not committed is there in whole or not at all; of
//! a log, no record is there without those before it. A checksum guards against accidents, not against an adversary: who can
//! choose the bytes of a record *and* damage the file can forge one.
//!
//! One store at a time writes to a file: [`prepare`] takes a lock that belongs to the open file.
//!
//! # What it costs
//!
//! A commit is one flush of the device, whatever was put before it; each segment of a log that is begun costs one more. To a
//! program without std that maps and flushes a file, by [`Store::without_table`], a value adds 1.9 KiB of text in Thumb-2 and 2.7 to
//! 3.3 KiB on the other targets that are the default; a log that is written 3.2 and 4.1 to 5.4 KiB; and each 1 KiB for the
//! checksum's table. `targets/size` weighs them; `tests/bench state` measures bytes and times beside other stores.

mod file;
mod layout;
mod log;
mod reader;
mod slots;
mod store;
mod sum;

pub use self::file::{prepare, prepare_to_read, prepare_to_upgrade};
pub use self::layout::{Layout, Part, Table};
pub use self::log::Records;
pub use self::reader::Reader;
pub use self::slots::{SlotCopy, Value};
pub use self::store::{Log, Slots, Store};
#[doc(inline)]
pub use crate::__rawmap_layout as layout;
pub use crate::backing::Backing;
pub use crate::error::RecordProblem as Problem;
