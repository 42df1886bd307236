//! The steps of a walk: calls of the library, and events that come between.

use proptest::prelude::*;

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
    /// A block of a chip is erased.
    Erase(u8, At),
    /// How many pages are in memory.
    Resident(u8),
    /// A thread writes while this one commits, or retries, or starts write-back.
    Together(u8, At, u8),
    /// A thread retries while this one flushes.
    Beside(u8),

    Fail,
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
    "Unlock",
    "PrefaultRead",
    "PrefaultWrite",
    "Grow",
    "Remap",
    "Acknowledge",
    "Recover",
    "Reserve",
    "Word",
    "Erase",
    "Resident",
    "Together",
    "Beside",
];

pub const EVENTS: &[&str] = &[
    "Fail",
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

fn at() -> BoxedStrategy<At> {
    // The ends of pages are where mistakes are made.
    let into = prop_oneof![Just(0), Just(u16::MAX), any::<u16>()];
    (0..PAGES as u8, into)
        .prop_map(|(page, into)| At(page, into))
        .boxed()
}

/// Some bytes, or some pages.
fn len() -> BoxedStrategy<u16> {
    prop_oneof![3 => 1..4u16, 2 => 1..6000u16, 1 => 4000..30_000u16].boxed()
}

/// One map gets most of the calls: what goes wrong does so between several of one.
fn slot() -> impl Strategy<Value = u8> + Clone {
    prop::sample::select(vec![0, 0, 0, 0, 1, 2])
}

fn kind() -> impl Strategy<Value = Kind> {
    use Kind::*;
    prop_oneof![
        8 => Just(Raw), 2 => Just(Kept), 4 => Just(Mut), 6 => Just(Tracked), 4 => Just(Shared),
        2 => Just(Flash), 2 => Just(Buffered), 2 => Just(Cursor),
        1 => Just(Only), 1 => Just(Copy), 1 => Just(Sealed),
    ]
}

fn map() -> impl Strategy<Value = Step> {
    let aligned = prop_oneof![1 => at(), 2 => (0..3u8).prop_map(|page| At(page, 0))];
    let flags = (any::<bool>(), prop::bool::weighted(0.2));
    let numbers = (slot(), 0..SLOTS as u8, 0..PAGES as u8 + 1);
    (numbers, kind(), aligned, flags).prop_map(
        |((slot, file, pages), kind, from, (contained, scattered))| Step::Map {
            slot,
            kind,
            file,
            from,
            pages,
            contained,
            scattered,
        },
    )
}

fn call() -> BoxedStrategy<Step> {
    use Step::*;
    let slot = slot();
    let range = (slot.clone(), at(), len()).boxed();
    let hint = prop_oneof![
        Just(Hint::Normal),
        Just(Hint::Random),
        Just(Hint::WillNeed),
        Just(Hint::DontFork),
        Just(Hint::DontNeed),
    ];
    let pages = (slot.clone(), 0..PAGES as u8 + 1);
    prop_oneof![
        4 => map(),
        1 => slot.clone().prop_map(Unmap),
        9 => (slot.clone(), at(), len(), 1u8..).prop_map(|(s, a, l, b)| Write(s, a, l, b)),
        1 => (slot.clone(), at()).prop_map(|(s, a)| Read(s, a)),
        2 => slot.clone().prop_map(Flush),
        4 => range.clone().prop_map(|(s, a, l)| FlushRange(s, a, l)),
        1 => slot.clone().prop_map(FlushAsync),
        1 => slot.clone().prop_map(FlushAll),
        1 => slot.clone().prop_map(StartWriteback),
        3 => (slot.clone(), any::<bool>()).prop_map(|(s, apart)| Commit(s, apart)),
        3 => slot.clone().prop_map(Retry),
        1 => (range.clone(), 0..3u8).prop_map(|((s, a, l), to)| Protect(s, a, l, to)),
        1 => (slot.clone(), 0..3u8).prop_map(|(s, to)| ProtectAll(s, to)),
        1 => (range.clone(), hint).prop_map(|((s, a, l), hint)| Advise(s, a, l, hint)),
        1 => range.clone().prop_map(|(s, a, l)| Lock(s, a, l)),
        1 => range.clone().prop_map(|(s, a, l)| Unlock(s, a, l)),
        1 => range.clone().prop_map(|(s, a, l)| PrefaultRead(s, a, l)),
        1 => range.prop_map(|(s, a, l)| PrefaultWrite(s, a, l)),
        2 => pages.clone().prop_map(|(s, p)| Grow(s, p)),
        1 => pages.clone().prop_map(|(s, p)| Remap(s, p)),
        1 => slot.clone().prop_map(Acknowledge),
        2 => slot.clone().prop_map(Recover),
        1 => pages.prop_map(|(p, q)| Reserve(p, q)),
        1 => (slot.clone(), at(), 1u8..).prop_map(|(s, a, b)| Word(s, a, b)),
        1 => (slot.clone(), at()).prop_map(|(s, a)| Erase(s, a)),
        1 => slot.clone().prop_map(Resident),
        1 => (slot.clone(), at(), 1u8..).prop_map(|(s, a, b)| Together(s, a, b)),
        1 => slot.prop_map(Beside),
    ]
    .boxed()
}

fn refused() -> impl Strategy<Value = Step> {
    use Refused::*;
    let call = prop::sample::select(vec![
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
    ]);
    (call, 0..ERRNOS.len() as u8, 0..3u8).prop_map(|(call, errno, times)| {
        match (call, ERRNOS[usize::from(errno)]) {
            // That is futex(2)'s word for "read, and another value", and no refusal.
            (Futex, libc::EAGAIN) => Step::Refuse(call, 0, times),
            _ => Step::Refuse(call, errno, times),
        }
    })
}

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

fn event() -> BoxedStrategy<Step> {
    use self::Limit as L;
    use Step::*;
    let limit = prop::sample::select(vec![
        L::AddressSpace,
        L::AddressSpace,
        L::Data,
        L::Data,
        L::FileSize,
        L::FileSize,
        L::Locked,
        L::Locked,
        L::Descriptors,
        L::Descriptors,
        L::Maps,
    ]);
    let against = prop::sample::select(vec![
        Against::Shrinking,
        Against::Growing,
        Against::Writing,
        Against::FutureWriting,
        Against::Seals,
    ]);
    let page = 0..PAGES as u8;
    prop_oneof![
        3 => Just(Fail), 5 => Just(Work), 1 => Just(Fill), 2 => Just(Empty), 2 => Just(Told),
        2 => Just(WriteBack), 1 => Just(DropClean),
        1 => (0..SLOTS as u8).prop_map(Open),
        2 => (0..PAGES as u8 + 1).prop_map(Truncate),
        1 => (page.clone(), page).prop_map(|(p, q)| Punch(p, q)),
        1 => (at(), len(), 1u8..).prop_map(|(a, l, b)| Peer(a, l, b)),
        1 => any::<bool>().prop_map(Timer),
        1 => Just(Fork),
        1 => refused(),
        1 => Just(Nobody),
        1 => (limit, 0..4u8).prop_map(|(limit, left)| Limit(limit, left)),
        1 => against.prop_map(Seal),
        1 => (at(), len(), 1u8..).prop_map(|(a, l, b)| Killed(a, l, b)),
    ]
    .boxed()
}

/// Steps that mean more together: what was written is stored.
fn together() -> BoxedStrategy<Vec<Step>> {
    let written = (slot(), at(), len(), 1u8..);
    prop_oneof![
        written
            .clone()
            .prop_map(|(s, a, l, b)| vec![Step::Write(s, a, l, b), Step::FlushRange(s, a, l)]),
        (written, at(), len(), any::<bool>()).prop_map(|((s, a, l, b), other, short, apart)| {
            vec![
                Step::Write(s, a, l, b),
                Step::Write(s, other, short, b),
                Step::Commit(s, apart),
            ]
        }),
    ]
    .boxed()
}

/// Walks of at most `len` turns, of which some have no event at all.
pub fn walks(len: usize) -> impl Strategy<Value = Vec<Step>> {
    let one = |step: BoxedStrategy<Step>| step.prop_map(|step| vec![step]);
    let calls = prop_oneof![5 => one(call()), 2 => together()].boxed();
    let mixed = prop_oneof![4 => calls.clone(), 1 => one(event())];
    let turns = prop_oneof![
        4 => prop::collection::vec(mixed, 1..len),
        1 => prop::collection::vec(calls, 1..len),
    ];
    (map(), turns).prop_map(|(first, turns)| std::iter::once(first).chain(turns.concat()).collect())
}
