//! [`Table`]: which pages are contained, readable at any moment, from a signal handler too.
//!
//! Writers come one at a time, in a critical section. A reader takes no lock and never waits: a place that is
//! being written, or was written while it was read, holds nothing that the reader may touch, because an
//! access of a map keeps it from being moved or unmapped. `tests/loom` runs this file under loom.

use critical_section::CriticalSection;

use super::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

/// No loss: larger than any offset.
const NOWHERE: usize = usize::MAX;

/// The pages of one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    /// Address of the first page; 0 for a place that is free.
    pub(crate) base: usize,
    /// Bytes of all pages.
    pub(crate) len: usize,
    /// What goes with them, opaque here.
    pub(crate) kind: u32,
}

impl Pages {
    const FREE: Self = Self {
        base: 0,
        len: 0,
        kind: 0,
    };

    fn hold(self, address: usize) -> bool {
        address.wrapping_sub(self.base) < self.len
    }
}

/// A place in the table.
#[derive(Debug)]
pub(crate) struct Slot {
    // Odd while a writer is at the three that follow.
    pub(crate) version: AtomicU32,
    pub(crate) base: AtomicUsize,
    pub(crate) len: AtomicUsize,
    pub(crate) kind: AtomicU32,
    // The first byte that was lost and not acknowledged; then the hull of all pages that were replaced; then how
    // often one was. From `base`, in bytes.
    pub(crate) lost: AtomicUsize,
    pub(crate) replaced_from: AtomicUsize,
    pub(crate) replaced_to: AtomicUsize,
    pub(crate) losses: AtomicU32,
}

impl Slot {
    fn read(&self) -> Option<Pages> {
        // Acquire, with the Release at the end of `write`: what it wrote is seen.
        let version = self.version.load(Ordering::Acquire);
        if version & 1 != 0 {
            return None;
        }
        let pages = Pages {
            base: self.base.load(Ordering::Relaxed),
            len: self.len.load(Ordering::Relaxed),
            kind: self.kind.load(Ordering::Relaxed),
        };
        // With the fence in `write`: if a later writer's word was read, its odd version is seen here.
        fence(Ordering::Acquire);
        (self.version.load(Ordering::Relaxed) == version).then_some(pages)
    }

    fn write(&self, pages: Pages) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.base.store(pages.base, Ordering::Relaxed);
        self.len.store(pages.len, Ordering::Relaxed);
        self.kind.store(pages.kind, Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    /// The pages from `from` to before `to` are replaced. Returns how often that was said before. Said before a page is
    /// replaced, so that no flush takes its zeros for the file's bytes; and after, because [`restore`](Self::restore) may
    /// come in between.
    pub(crate) fn lose(&self, from: usize, to: usize) -> u32 {
        loop {
            self.replaced_from.fetch_min(from, Ordering::Relaxed);
            // Release: what takes the end away sees the start.
            self.replaced_to.fetch_max(to, Ordering::Release);
            // Not if one of the two was just taken away.
            if self
                .replaced()
                .is_some_and(|(first, last)| first <= from && to <= last)
            {
                break;
            }
        }
        let before = self.losses.fetch_add(1, Ordering::Relaxed);
        // Release: what sees it sees the hull.
        self.lost.fetch_min(from, Ordering::Release);
        before
    }

    /// The first byte that was lost and not acknowledged.
    pub(crate) fn lost(&self) -> Option<usize> {
        some(self.lost.load(Ordering::Acquire))
    }

    /// Like [`lost`](Self::lost), and forgets it.
    pub(crate) fn acknowledge(&self) -> Option<usize> {
        some(self.lost.swap(NOWHERE, Ordering::AcqRel))
    }

    /// The hull of the pages that were replaced.
    pub(crate) fn replaced(&self) -> Option<(usize, usize)> {
        let to = self.replaced_to.load(Ordering::Acquire);
        let from = self.replaced_from.load(Ordering::Acquire);
        (from < to).then_some((from, to))
    }

    /// How often a page was replaced since none was; wraps.
    pub(crate) fn losses(&self) -> u32 {
        self.losses.load(Ordering::Acquire)
    }

    /// No page is replaced any more, or will be when the hull that this returns is mapped anew. `lost` first: a loss that
    /// is not in the hull sets it again.
    pub(crate) fn restore(&self) -> Option<(usize, usize)> {
        self.lost.swap(NOWHERE, Ordering::AcqRel);
        let from = self.replaced_from.swap(NOWHERE, Ordering::AcqRel);
        let to = self.replaced_to.swap(0, Ordering::AcqRel);
        if self.replaced_from.load(Ordering::Acquire) != NOWHERE {
            // Of a loss that came between the two: it keeps its end, too.
            self.replaced_to.fetch_max(to, Ordering::Release);
        }
        self.losses.store(0, Ordering::Relaxed);
        (from < to).then_some((from, to))
    }
}

fn some(offset: usize) -> Option<usize> {
    (offset != NOWHERE).then_some(offset)
}

/// `N` places for maps.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    slots: [Slot; N],
}

impl<const N: usize> Table<N> {
    pub(crate) const fn new(slots: [Slot; N]) -> Self {
        Self { slots }
    }

    pub(crate) fn slot(&self, place: usize) -> Option<&Slot> {
        self.slots.get(place)
    }

    /// The place whose pages hold an address, for a signal handler: no lock, no waiting.
    pub(crate) fn find(&self, address: usize) -> Option<(&Slot, Pages)> {
        self.slots.iter().find_map(|slot| {
            let pages = slot.read()?;
            pages.hold(address).then_some((slot, pages))
        })
    }

    /// Takes a free place; `None` where there is none. The pages are mapped, and no thread accesses them yet.
    pub(crate) fn insert(&self, _: CriticalSection<'_>, pages: Pages) -> Option<usize> {
        let free = |slot: &Slot| slot.base.load(Ordering::Relaxed) == 0;
        let place = self.slots.iter().position(free)?;
        let slot = self.slot(place)?;
        // Of the map that was here before.
        slot.restore();
        slot.write(pages);
        Some(place)
    }

    /// Changes what a place says. With a length of 0 it holds no address, and is kept. While the pages stay where they
    /// are, a thread may access them and is to find them: the words are changed one by one. If they moved, no thread does.
    pub(crate) fn change(&self, _: CriticalSection<'_>, place: usize, pages: Pages) {
        let Some(slot) = self.slot(place) else { return };
        if slot.base.load(Ordering::Relaxed) == pages.base {
            slot.kind.store(pages.kind, Ordering::Relaxed);
            slot.len.store(pages.len, Ordering::Relaxed);
        } else {
            slot.write(pages);
        }
    }

    /// Frees a place. The pages are still mapped, and no thread accesses them any more.
    pub(crate) fn remove(&self, _: CriticalSection<'_>, place: usize) {
        if let Some(slot) = self.slot(place) {
            slot.write(Pages::FREE);
        }
    }
}
