//! Files in memory, with `io::Result`.

use std::ffi::CString;
use std::fs::File;
use std::io;

use rawmap_core::memfd as core;
pub use rawmap_core::memfd::{Seals, add_seals, check_immutable, is_immutable, seals};

/// Says how to make a file in memory. See [`rawmap_core::memfd::MemfdOptions`].
///
/// # Examples
///
/// ```
/// use rawmap::MmapOptions;
/// use rawmap::memfd::MemfdOptions;
///
/// let file = MemfdOptions::new().create("mailbox")?;
/// file.set_len(65_536)?;
/// // From here on no process can take pages away.
/// let map = MmapOptions::new().map_raw_sealed(&file)?;
/// map.shared().write(100, b"hello")?;
/// assert!(file.set_len(0).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MemfdOptions(core::MemfdOptions);

impl MemfdOptions {
    /// Starts with the defaults: pages of the usual size.
    #[must_use]
    pub const fn new() -> Self {
        Self(core::MemfdOptions::new())
    }

    /// `MFD_HUGETLB` (Linux 4.14): use huge pages from the pool that was set aside. `page_bits` is the binary logarithm
    /// of the huge page size, 21 for 2 MiB; `None` is the kernel's default size.
    #[doc(alias = "MFD_HUGETLB")]
    pub const fn huge(&mut self, page_bits: Option<u8>) -> &mut Self {
        self.0.huge(page_bits);
        self
    }

    /// Makes a file in memory, of length 0, that is closed on exec(2) and takes seals. The name is for
    /// people. See [`rawmap_core::memfd::MemfdOptions::create`].
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: there is a zero byte in the name.
    /// - What the kernel refuses: a name of more than 249 bytes, say.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let name = CString::new(name)?;
        Ok(self.0.create(&name)?.into())
    }
}
