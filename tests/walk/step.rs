//! The steps of a walk: calls of the library, and events that come between.

/// The walk has as many maps, and as many open files of the one file.
pub const SLOTS: usize = 3;
/// The most pages that the file has in a walk.
pub const PAGES: usize = 12;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Raw,
    /// rawmap's own, which keeps the file.
    Kept,
    /// For reading only.
    Only,
    /// Private: what is written stays in the process.
    Copy,
    /// Of a file in memory that no peer can shorten from then on.
    Sealed,
    /// The same for reading only, of one that is sealed already.
    Peek,
    Mut,
    Tracked,
    Shared,
    Flash,
    Buffered,
    Cursor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    Normal,
    Random,
    WillNeed,
    DontFork,
    /// Takes the pages out of the page tables.
    DontNeed,
}

/// Memory of no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    Private,
    Shared,
    Guarded,
}

/// What the kernel is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    Lock,
    Unlock,
    DontNeed,
    Free,
    Remove,
    KeepFromChildren,
    /// A child has zeros there, or not.
    Wipe(bool),
}

/// A system call that a filter refuses from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Msync,
    Mmap,
    Munmap,
    Mremap,
    Mprotect,
    Madvise,
    Mincore,
    Futex,
    Fallocate,
    Fsync,
    SyncFileRange,
    Fadvise,
    Mlock,
}

/// A limit of the process, that is nearly reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    AddressSpace,
    Data,
    FileSize,
    Locked,
    Descriptors,
    /// As many maps as the kernel lets a process have.
    Maps,
}

/// What a file in memory is sealed against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    Shrinking,
    Growing,
    Writing,
    /// By maps and descriptors that are not there yet.
    FutureWriting,
    Seals,
}

/// A place in a map or in the file: a page, and in 65536ths how far into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(pub u8, pub u16);

/// The slot is the first word of each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Map {
        slot: u8,
        kind: Kind,
        file: u8,
        from: At,
        pages: u8,
        contained: bool,
        scattered: bool,
    },
    Unmap(u8),
    Write(u8, At, u16, u8),
    Read(u8, At),
    Flush(u8),
    FlushRange(u8, At, u16),
    FlushAsync(u8),
    FlushAll(u8),
    StartWriteback(u8),
    Commit(u8, bool),
    Retry(u8),
    /// None, read, or read and write.
    Protect(u8, At, u16, u8),
    ProtectAll(u8, u8),
    Advise(u8, At, u16, Hint),
    Lock(u8, At, u16),
    LockWritable(u8, At, u16),
    Unlock(u8, At, u16),
    PrefaultRead(u8, At, u16),
    PrefaultWrite(u8, At, u16),
    Grow(u8, u8),
    Remap(u8, u8),
    Acknowledge(u8),
    Recover(u8),
    Reserve(u8, u8),
    /// An atomic word is exchanged.
    Word(u8, At, u8),
    /// A wait for a word, of no time, and a wake.
    Wait(u8, At),
    /// A value goes through a mailbox.
    Mail(u8, At, u8),
    /// A block of a chip is erased.
    Erase(u8, At),
    /// How many pages are in memory.
    Resident(u8),
    /// A thread writes while this one commits, or retries, or starts write-back.
    Together(u8, At, u8),
    /// A thread retries while this one flushes.
    Beside(u8),
    /// Anonymous memory, of which there is one.
    Anon(Memory, u8),
    Store(At, u16, u8),
    Advice(At, u16, Tell),

    Fail,
    /// Its reads fail, too.
    TakeOut,
    Work,
    Fill,
    Empty,
    /// Another open file writes back, and is told.
    Told,
    /// The kernel writes back by itself.
    WriteBack,
    DropClean,
    Open(u8),
    Truncate(u8),
    Punch(u8, u8),
    Peer(At, u16, u8),
    Timer(bool),
    Fork,
    /// So many times; 0 is always.
    Refuse(Refused, u8, u8),
    Nobody,
    /// And how much is left of it.
    Limit(Limit, u8),
    Seal(Against),
    /// Another process maps the file, writes, and is killed.
    Killed(At, u16, u8),
}

impl Step {
    /// The name of its variant.
    pub fn name(&self) -> String {
        let text = format!("{self:?}");
        let end = text.find(|letter: char| !letter.is_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    }

    /// Whether it is something that happens, and no call.
    pub fn is_event(&self) -> bool {
        EVENTS.contains(&self.name().as_str())
    }
}

pub const CALLS: &[&str] = &[
    "Map",
    "Unmap",
    "Write",
    "Read",
    "Flush",
    "FlushRange",
    "FlushAsync",
    "FlushAll",
    "StartWriteback",
    "Commit",
    "Retry",
    "Protect",
    "ProtectAll",
    "Advise",
    "Lock",
    "LockWritable",
    "Unlock",
    "PrefaultRead",
    "PrefaultWrite",
    "Grow",
    "Remap",
    "Acknowledge",
    "Recover",
    "Reserve",
    "Word",
    "Wait",
    "Mail",
    "Erase",
    "Resident",
    "Together",
    "Beside",
    "Anon",
    "Store",
    "Advice",
];

pub const EVENTS: &[&str] = &[
    "Fail",
    "TakeOut",
    "Work",
    "Fill",
    "Empty",
    "Told",
    "WriteBack",
    "DropClean",
    "Open",
    "Truncate",
    "Punch",
    "Peer",
    "Timer",
    "Fork",
    "Refuse",
    "Nobody",
    "Limit",
    "Seal",
    "Killed",
];

/// Of a filter's answers, EINTR.
pub const INTERRUPTED: u8 = 2;
/// What a filter answers.
pub const ERRNOS: [i32; 7] = [
    libc::ENOSYS,
    libc::EPERM,
    libc::EINTR,
    libc::EAGAIN,
    libc::ENOMEM,
    libc::EINVAL,
    libc::EIO,
];
