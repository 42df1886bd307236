//! rawmap under memmap2's name; see `Cargo.toml` for how to use it.

pub use rawmap::{
    Advice, MapIfSafeError, Mmap, MmapAsRawDesc, MmapMut, MmapOptions, MmapRaw, MmapRawDescriptor,
    RemapOptions, UncheckedAdvice,
};
