//! [`Call`]: the system call that an error is about.

/// Declares each call once: its variant, its name in the manual, and what it is made for.
macro_rules! calls {
    ($($(#[$when:meta])? $call:ident $name:literal $what:literal)*) => {
        /// Names the system call that an [`Error::Sys`](super::Error::Sys) is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Call {$(
            #[doc = concat!("`", $name, "`: ", $what, ".")]
            $(#[$when])?
            $call,
        )*}

        impl Call {
            /// Returns the call's name in section 2 of the manual.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {$(
                    $(#[$when])?
                    Self::$call => $name,
                )*}
            }
        }
    };
}

calls! {
    Fadvise "posix_fadvise" "drops cached pages"
    Fallocate "fallocate" "reserves space"
    Fcntl "fcntl" "seals, and duplicates a file descriptor"
    #[cfg(feature = "record")]
    Flock "flock" "locks a file for this process"
    Fsync "fsync" "stores a file with its attributes"
    Ftruncate "ftruncate" "changes the length of a file"
    Futex "futex" "touches a page without a signal"
    Fstat "fstat" "tells the type and the length of a file"
    Getdents64 "getdents64" "lists a directory of sysfs"
    Ioctl "ioctl" "asks a block device for its length (`BLKGETSIZE64`); begins, ends and makes a dma-buf"
    Madvise "madvise" "advises, and populates pages"
    #[cfg(feature = "device")]
    Lseek "lseek" "tells the length of a dma-buf"
    MemfdCreate "memfd_create" "makes a file in memory"
    Mincore "mincore" "tells which pages are in memory"
    Mlock "mlock" "locks pages; also mlock2(2)"
    Mmap "mmap" "maps"
    Mprotect "mprotect" "protects pages, and finds the page size"
    Mremap "mremap" "moves and resizes a mapping"
    Munmap "munmap" "unmaps"
    Msync "msync" "stores the dirty pages of a mapping"
    Munlock "munlock" "unlocks pages"
    Open "open" "opens a device file, or a file of sysfs"
    Ppoll "ppoll" "waits for an interrupt"
    Read "read" "reads a device file, or a file of sysfs; also pread(2)"
    SyncFileRange "sync_file_range" "starts write-back"
    Write "write" "writes a device file, or a file of sysfs; also pwrite(2)"
}
