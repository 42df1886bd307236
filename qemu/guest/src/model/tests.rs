//! The model by hand, and against a disk in memory: pages that are dirty, a kernel that writes them back when
//! it likes, and a power cut.

use super::Model;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use rawmap_core::{PageSize, Span};

#[test]
fn only_flushed_bytes_are_promised() {
    let mut file = Model::new(b"......");
    file.write(1, b"ab");
    // Not flushed: old, new, or a mixture of both.
    for medium in [b"......", b".ab...", b".a....", b"..b..."] {
        assert_eq!(file.lost(medium), []);
    }
    file.flushed(1, 1);
    assert_eq!(file.lost(b"......"), [1]);
    assert_eq!(file.lost(b".a...."), []);
    file.write(1, b"x");
    file.write(1, b"y");
    for medium in [b".a....", b".x....", b".y...."] {
        assert_eq!(file.lost(medium), []);
    }
    // Never stored there.
    assert_eq!(file.lost(b".b...z"), [1, 5]);
    assert_eq!(file.live(), b".yb...");
}

#[test]
fn a_broken_promise_has_a_number() {
    let mut file = Model::new(b"......");
    file.write(0, b"ab");
    file.promised(1, 0, 6);
    file.write(1, b"cd");
    file.promised(2, 0, 6);
    assert_eq!(file.broken(b"acd...").len(), 0);
    assert_eq!(file.broken(b".cd...").into_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(file.broken(b"abd...").into_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(file.broken(b"acd..x").into_iter().collect::<Vec<_>>(), [0]);
    assert_eq!(
        file.broken(b"......").into_iter().collect::<Vec<_>>(),
        [1, 2]
    );
}

/// A file in a page cache over a medium.
struct Disk {
    page: PageSize,
    /// Where the map starts in its first page.
    head: usize,
    cache: Vec<u8>,
    medium: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    Store {
        at: usize,
        len: usize,
        byte: u8,
    },
    Flush {
        at: usize,
        len: usize,
    },
    /// What the kernel does when it likes.
    WriteBack {
        page: usize,
    },
}

/// How a flush finds its pages: the library's way, and ways to get it wrong.
type Pages = fn(PageSize, usize, usize) -> Option<(usize, usize)>;

impl Disk {
    fn write_back(&mut self, start: usize, len: usize) {
        let end = (start + len).min(self.cache.len());
        let start = start.min(end);
        self.medium[start..end].copy_from_slice(&self.cache[start..end]);
    }

    /// What is lost after these steps; the map has all but the first `head` bytes of the file.
    fn run(page: PageSize, head: usize, len: usize, steps: &[Step], pages: Pages) -> usize {
        let mut disk = Self {
            page,
            head,
            cache: vec![0; head + len],
            medium: vec![0; head + len],
        };
        let mut model = Model::new(&vec![0; len]);
        let mut lost = 0;
        for step in steps {
            match *step {
                Step::Store {
                    at,
                    len: most,
                    byte,
                } => {
                    let at = at % len;
                    let bytes = vec![byte; most.min(len - at)];
                    let start = disk.head + at;
                    disk.cache[start..start + bytes.len()].copy_from_slice(&bytes);
                    model.write(at, &bytes);
                }
                Step::Flush { at, len: most } => {
                    let at = at % len;
                    let count = most.min(len - at);
                    let span = Span::new(disk.head + at, count, disk.cache.len()).unwrap();
                    let (start, bytes) = pages(disk.page, span.offset(), span.len()).unwrap();
                    disk.write_back(start, bytes);
                    model.flushed(at, count);
                }
                Step::WriteBack { page: number } => {
                    let size = disk.page.get();
                    let number = number % disk.cache.len().div_ceil(size);
                    disk.write_back(number * size, size);
                }
            }
            lost += model.lost(&disk.medium[head..]).len();
        }
        lost
    }
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1..3usize, 1..200usize];
    prop_oneof![
        4 => (any::<usize>(), len.clone(), 1u8..).prop_map(|(at, len, byte)| Step::Store { at, len, byte }),
        3 => (any::<usize>(), len).prop_map(|(at, len)| Step::Flush { at, len }),
        1 => any::<usize>().prop_map(|page| Step::WriteBack { page }),
    ]
}

proptest! {
    /// Whatever is written back besides, a flush of the pages that the library finds keeps each promise.
    #[test]
    fn the_pages_of_a_range_keep_its_promise(
        bits in 4u8..8,
        head in 0usize..300,
        len in 1usize..2000,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let page = PageSize::from_bits(bits).unwrap();
        prop_assert_eq!(Disk::run(page, head, len, &steps, PageSize::cover), 0);
    }
}

/// The controls: each way to get the pages wrong is seen to lose bytes.
#[test]
fn wrong_pages_break_promises() {
    let wrong: [(&str, Pages); 4] = [
        ("none", |_, start, _| Some((start, 0))),
        ("the start rounded up", |page, start, len| {
            let end = page.ceil(start + len)?;
            let start = page.ceil(start)?;
            Some((start, end.saturating_sub(start)))
        }),
        ("the last page dropped", |page, start, len| {
            let (start, bytes) = page.cover(start, len)?;
            Some((start, bytes - page.get().min(bytes)))
        }),
        ("the next page", |page, start, len| {
            let (start, bytes) = page.cover(start, len)?;
            Some((start + page.get(), bytes))
        }),
    ];
    let page = PageSize::from_bits(5).unwrap();
    for (name, pages) in wrong {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let steps = prop::collection::vec(step(), 40..60);
        let mut lost = 0;
        for _ in 0..20 {
            let steps = steps.new_tree(&mut runner).unwrap().current();
            lost += Disk::run(page, 7, 1000, &steps, pages);
        }
        assert!(lost > 0, "{name} was not seen");
    }
}
