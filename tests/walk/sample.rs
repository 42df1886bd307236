//! The program that is printed compiles: tests/examples/walk.rs is one.

use libtest_mimic::Failed;
use rawmap_tests::disk::On;
use rawmap_tests::skip;

use crate::program::program;
use crate::step::{Against, At, Hint, Kind, Limit, Memory, Refused, Step, Tell};
use crate::world::page;

/// Each kind of map with each call, and each event.
fn sample() -> Vec<Step> {
    let kinds = [
        Kind::Raw,
        Kind::Kept,
        Kind::Only,
        Kind::Copy,
        Kind::Sealed,
        Kind::Peek,
        Kind::Mut,
        Kind::Tracked,
        Kind::Shared,
        Kind::Flash,
        Kind::Buffered,
        Kind::Cursor,
    ];
    let (at, len, from) = (At(1, u16::MAX), 5000, At(0, 0));
    let mut steps = Vec::new();
    for kind in kinds {
        let (slot, pages) = (1, 2);
        let contained = kind == Kind::Tracked;
        steps.push(Step::Map {
            slot,
            kind,
            file: slot,
            from,
            pages,
            contained,
            scattered: contained,
        });
        steps.extend([
            Step::Write(slot, at, len, 7),
            Step::Read(slot, at),
            Step::Flush(slot),
            Step::FlushRange(slot, at, 1),
            Step::FlushAsync(slot),
            Step::FlushAll(slot),
            Step::StartWriteback(slot),
            Step::Commit(slot, true),
            Step::Retry(slot),
            Step::Advise(slot, at, len, Hint::Random),
            Step::Advise(slot, at, len, Hint::DontNeed),
            Step::Lock(slot, at, len),
            Step::LockWritable(slot, at, len),
            Step::Unlock(slot, at, len),
            Step::PrefaultRead(slot, at, len),
            Step::PrefaultWrite(slot, at, len),
            Step::Resident(slot),
            Step::Word(slot, from, 7),
            Step::Wait(slot, from),
            Step::Mail(slot, from, 7),
            Step::Erase(slot, at),
            Step::Together(slot, from, 7),
            Step::Beside(slot),
            Step::Acknowledge(slot),
            Step::Grow(slot, 3),
            Step::Recover(slot),
            Step::Remap(slot, 2),
            Step::Protect(slot, at, len, 1),
            Step::ProtectAll(slot, 1),
            Step::ProtectAll(slot, 2),
        ]);
    }
    for kind in [Memory::Private, Memory::Shared, Memory::Guarded] {
        steps.extend([Step::Anon(kind, 2), Step::Store(at, len, 7)]);
        let told = [
            Tell::Lock,
            Tell::Unlock,
            Tell::DontNeed,
            Tell::Free,
            Tell::Remove,
            Tell::KeepFromChildren,
            Tell::Wipe(true),
        ];
        steps.extend(told.map(|tell| Step::Advice(at, len, tell)));
    }
    steps.extend([
        Step::Unmap(1),
        Step::Fail,
        Step::TakeOut,
        Step::Work,
        Step::Fill,
        Step::Empty,
        Step::Told,
        Step::WriteBack,
        Step::DropClean,
        Step::Open(2),
        Step::Truncate(6),
        Step::Punch(1, 2),
        Step::Peer(at, len, 8),
        Step::Killed(at, len, 9),
        Step::Timer(true),
        Step::Fork,
        Step::Reserve(0, 9),
        Step::Seal(Against::Seals),
        Step::Limit(Limit::Locked, 1),
        Step::Refuse(Refused::Mlock, 1, 0),
        Step::Refuse(Refused::Mincore, 1, 2),
        Step::Nobody,
    ]);
    steps
}

/// What is printed is a program: an example of this package is one, and is built with the tests.
pub fn compiles() -> Result<(), Failed> {
    const NAME: &str = "walk::program";
    if page() != 4096 {
        skip(NAME, "the example's numbers are those of pages of 4 KiB");
        return Ok(());
    }
    let text = program(NAME, "none", Some(On::Ext4), &sample());
    if text == include_str!("../examples/walk.rs") {
        return Ok(());
    }
    let printed = concat!(env!("CARGO_TARGET_TMPDIR"), "/walk.rs");
    std::fs::write(printed, text)?;
    Err(format!("tests/examples/walk.rs is another program: now it is {printed}").into())
}
