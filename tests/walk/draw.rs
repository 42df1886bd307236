//! Draws the steps of a walk.

use proptest::prelude::*;

use crate::step::{
    Against, At, ERRNOS, Hint, INTERRUPTED, Kind, Memory, PAGES, Refused, SLOTS, Step, Tell,
};

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
        1 => Just(Only), 1 => Just(Copy), 1 => Just(Sealed), 1 => Just(Peek),
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

fn anonymous() -> BoxedStrategy<Step> {
    let memory = prop::sample::select(vec![Memory::Private, Memory::Shared, Memory::Guarded]);
    let told = prop::sample::select(vec![
        Tell::Lock,
        Tell::Unlock,
        Tell::DontNeed,
        Tell::Free,
        Tell::Remove,
        Tell::KeepFromChildren,
        Tell::Wipe(true),
        Tell::Wipe(false),
    ]);
    prop_oneof![
        (memory, 0..5_u8).prop_map(|(memory, pages)| Step::Anon(memory, pages)),
        (at(), len(), 1u8..).prop_map(|(at, len, byte)| Step::Store(at, len, byte)),
        (at(), len(), told).prop_map(|(at, len, tell)| Step::Advice(at, len, tell)),
    ]
    .boxed()
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
        2 => (slot.clone(), at()).prop_map(|(s, a)| Read(s, a)),
        1 => (slot.clone(), at()).prop_map(|(s, a)| Wait(s, a)),
        2 => slot.clone().prop_map(Flush),
        4 => range.clone().prop_map(|(s, a, l)| FlushRange(s, a, l)),
        1 => slot.clone().prop_map(FlushAsync),
        1 => slot.clone().prop_map(FlushAll),
        1 => slot.clone().prop_map(StartWriteback),
        3 => (slot.clone(), any::<bool>()).prop_map(|(s, apart)| Commit(s, apart)),
        3 => slot.clone().prop_map(Retry),
        2 => (range.clone(), 0..3u8).prop_map(|((s, a, l), to)| Protect(s, a, l, to)),
        1 => (slot.clone(), 0..3u8).prop_map(|(s, to)| ProtectAll(s, to)),
        1 => (range.clone(), hint).prop_map(|((s, a, l), hint)| Advise(s, a, l, hint)),
        1 => range.clone().prop_map(|(s, a, l)| Lock(s, a, l)),
        1 => range.clone().prop_map(|(s, a, l)| LockWritable(s, a, l)),
        1 => range.clone().prop_map(|(s, a, l)| Unlock(s, a, l)),
        1 => range.clone().prop_map(|(s, a, l)| PrefaultRead(s, a, l)),
        1 => range.prop_map(|(s, a, l)| PrefaultWrite(s, a, l)),
        2 => pages.clone().prop_map(|(s, p)| Grow(s, p)),
        2 => pages.clone().prop_map(|(s, p)| Remap(s, p)),
        1 => slot.clone().prop_map(Acknowledge),
        2 => slot.clone().prop_map(Recover),
        1 => pages.prop_map(|(p, q)| Reserve(p, q)),
        1 => (slot.clone(), at(), 1u8..).prop_map(|(s, a, b)| Word(s, a, b)),
        1 => (slot.clone(), at(), 1u8..).prop_map(|(s, a, b)| Mail(s, a, b)),
        1 => (slot.clone(), at()).prop_map(|(s, a)| Erase(s, a)),
        1 => slot.clone().prop_map(Resident),
        1 => (slot.clone(), at(), 1u8..).prop_map(|(s, a, b)| Together(s, a, b)),
        1 => slot.prop_map(Beside),
        2 => anonymous(),
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

fn limit() -> BoxedStrategy<Step> {
    use crate::step::Limit as L;
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
    (limit, 0..4u8)
        .prop_map(|(limit, left)| Step::Limit(limit, left))
        .boxed()
}

fn event() -> BoxedStrategy<Step> {
    use Step::*;
    let against = prop::sample::select(vec![
        Against::Shrinking,
        Against::Growing,
        Against::Writing,
        Against::FutureWriting,
        Against::Seals,
    ]);
    let page = 0..PAGES as u8;
    prop_oneof![
        3 => Just(Fail), 1 => Just(TakeOut), 5 => Just(Work), 3 => Just(Fill), 3 => Just(Empty), 2 => Just(Told),
        2 => Just(WriteBack), 1 => Just(DropClean),
        1 => (0..SLOTS as u8).prop_map(Open),
        2 => (0..PAGES as u8 + 1).prop_map(Truncate),
        1 => (page.clone(), page).prop_map(|(p, q)| Punch(p, q)),
        1 => (at(), len(), 1u8..).prop_map(|(a, l, b)| Peer(a, l, b)),
        1 => any::<bool>().prop_map(Timer),
        1 => Just(Fork),
        1 => refused(),
        1 => Just(Nobody),
        1 => limit(),
        2 => against.prop_map(Seal),
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

/// What comes after a failure, or where a page cannot be read: one call of each kind, and not only what is called most.
fn broken() -> BoxedStrategy<Vec<Step>> {
    let written = (slot(), at(), len(), 1u8..);
    let fails = (written, call()).prop_map(|((s, a, l, b), next)| {
        vec![
            Step::Write(s, a, l, b),
            Step::Fail,
            Step::FlushRange(s, a, l),
            next,
        ]
    });
    let out = (map(), call(), call())
        .prop_map(|(map, next, then)| vec![Step::TakeOut, contained(map), next, then]);
    let keys = (at(), len(), 1u8..).prop_map(|(at, len, byte)| {
        vec![
            Step::Anon(Memory::Private, 3),
            Step::Store(at, len, byte),
            Step::Advice(at, len, Tell::Wipe(true)),
            Step::Fork,
        ]
    });
    // A call that is interrupted again and again, and those that may make it.
    let interrupted = (refused(), map(), call(), call()).prop_map(|(refused, map, next, then)| {
        let refused = match refused {
            Step::Refuse(call, ..) => Step::Refuse(call, INTERRUPTED, 0),
            other => other,
        };
        vec![map, refused, next, then]
    });
    // A call that stops half-way for want of something.
    let grows = (slot(), 0..PAGES as u8 + 1).prop_map(|(slot, pages)| Step::Grow(slot, pages));
    let needs = prop_oneof![grows.boxed(), call()];
    let scarce = prop_oneof![limit(), refused().boxed(), Just(Step::Fill).boxed()];
    let scarce = (map(), 0..PAGES as u8, scarce, needs.clone(), needs);
    let scarce = scarce.prop_map(|(map, pages, scarce, next, then)| {
        vec![Step::Truncate(pages), map, scarce, next, then]
    });
    // A file that ends inside of a map, or before it.
    let short = (map(), kind(), 0..PAGES as u8, call());
    let short = short.prop_map(|(map, kind, pages, next)| {
        let (map, _) = of_kind(map, kind);
        vec![Step::Truncate(pages), contained(map), next]
    });
    prop_oneof![fails, out, keys, interrupted, scarce, short].boxed()
}

/// Calls that only one kind of map has, after one was made.
fn of_one_kind() -> BoxedStrategy<Vec<Step>> {
    let chip = prop_oneof![Just(Kind::Flash), Just(Kind::Buffered)];
    let erases = (map(), chip, at()).prop_map(|(map, kind, at)| {
        let (map, slot) = of_kind(map, kind);
        vec![map, Step::Erase(slot, at)]
    });
    let together = (map(), at(), len(), 1u8..).prop_map(|(map, at, len, byte)| {
        let (map, slot) = of_kind(map, Kind::Shared);
        let write = Step::Write(slot, at, len, byte);
        vec![map, write, Step::Together(slot, at, byte)]
    });
    prop_oneof![erases, together].boxed()
}

/// The same map, of another kind and not contained; and its slot.
fn of_kind(mut map: Step, new: Kind) -> (Step, u8) {
    match &mut map {
        Step::Map {
            slot,
            kind,
            contained,
            ..
        } => {
            *kind = new;
            *contained = false;
            let slot = *slot;
            (map, slot)
        }
        _ => unreachable!("a map"),
    }
}

/// The same map, contained.
fn contained(mut map: Step) -> Step {
    if let Step::Map { contained, .. } = &mut map {
        *contained = true;
    }
    map
}

/// Walks of at most `len` turns, of which some have no event at all.
pub fn walks(len: usize) -> impl Strategy<Value = Vec<Step>> {
    let one = |step: BoxedStrategy<Step>| step.prop_map(|step| vec![step]);
    let calls = prop_oneof![20 => one(call()), 8 => together(), 1 => of_one_kind()].boxed();
    let mixed = prop_oneof![16 => calls.clone(), 4 => one(event()), 1 => broken()];
    let turns = prop_oneof![
        4 => prop::collection::vec(mixed, 1..len),
        1 => prop::collection::vec(calls, 1..len),
    ];
    (map(), turns).prop_map(|(first, turns)| std::iter::once(first).chain(turns.concat()).collect())
}
