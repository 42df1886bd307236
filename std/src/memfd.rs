//! Files in memory, with `io::Result`.

use std::ffi::CString;
use std::fs::File;
use std::io;

use rawmap_core::memfd as core;
pub use rawmap_core::memfd::Seals;

use crate::MmapAsRawDesc;

/// How to make a file in memory. See [`rawmap_core::memfd::MemfdOptions`].
///
/// # Examples
///
/// ```
/// use rawmap::MmapOptions;
/// use rawmap::memfd::MemfdOptions;
///
/// let file = MemfdOptions::new().create("mailbox")?;
/// file.set_len(65_536)?;
/// // From here on nobody can take pages away, whoever gets the file.
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

/// Gives the seals of a file in memory. See [`rawmap_core::memfd::seals`].
///
/// # Errors
///
/// - What the kernel refuses: the file cannot have seals (`EINVAL`).
pub fn seals<T: MmapAsRawDesc>(file: T) -> io::Result<Seals> {
    Ok(core::seals(file.as_raw_desc().borrow()?)?)
}

/// Adds seals to a file in memory. They are never taken away again. See [`rawmap_core::memfd::add_seals`].
///
/// # Errors
///
/// - What the kernel refuses: the file cannot have seals, or no more (`EINVAL`, `EPERM`), or it is mapped for
///   writing (`EBUSY`).
pub fn add_seals<T: MmapAsRawDesc>(file: T, seals: Seals) -> io::Result<()> {
    Ok(core::add_seals(file.as_raw_desc().borrow()?, seals)?)
}
