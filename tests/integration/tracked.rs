//! `Tracked` and `SharedTracked`: what they remember and what they commit.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use proptest::prelude::*;
use rawmap::{DirtyRanges, MmapMut, MmapOptions, SharedTracked, Tracked};

use crate::flush::assert_clean;
use crate::{file_of, file_with};

fn map_at(offset: u64, len: u64) -> (std::fs::File, MmapMut) {
    let file = file_of(offset + len);
    // SAFETY: nobody else uses the file.
    let map = unsafe { MmapOptions::new().offset(offset).map_mut(&file) }.unwrap();
    (file, map)
}

#[test]
fn writes_and_edits_are_remembered_and_committed() {
    let (file, map) = map_at(0, 100_000);
    let mut tracked = Tracked::<4>::new(map);
    assert!(!tracked.is_dirty());
    tracked.write(10, b"abc").unwrap();
    tracked.write(13, b"def").unwrap();
    tracked.edit(50_000, 4).unwrap().copy_from_slice(b"ghij");
    // Lent is written: whoever forgets the slice has not hidden the change.
    let lent = tracked.edit(90_000, 2).unwrap();
    lent[0] = b'k';
    let spans: Vec<_> = tracked
        .pending()
        .iter()
        .map(|span| (span.offset(), span.len()))
        .collect();
    assert_eq!(spans, [(10, 6), (50_000, 4), (90_000, 2)]);
    let page = rawmap::page_size().unwrap().get();
    let mut pages = [10, 50_000, 90_000].map(|at| at / page).to_vec();
    pages.dedup();
    let pages = pages.len();
    assert_eq!(
        (tracked.pending_bytes(), tracked.pending_pages()),
        (12, pages)
    );
    assert_eq!(&tracked[10..16], b"abcdef");

    let done = tracked.commit().unwrap();
    assert_eq!((done.ranges, done.pages, done.calls), (3, pages, 1));
    assert!(!tracked.is_dirty());
    assert_clean(
        "tracked::writes_and_edits_are_remembered_and_committed",
        &file,
        100_000,
    );
    // Empty writes and empty edits are nothing; those past the end are errors, and nothing.
    tracked.write(5, b"").unwrap();
    tracked.edit(100_000, 0).unwrap();
    for (offset, bytes) in [(100_000, &b"x"[..]), (99_999, b"xy"), (usize::MAX, b"xy")] {
        assert!(tracked.write(offset, bytes).is_err());
        assert!(tracked.edit(offset, bytes.len()).is_err());
    }
    assert!(!tracked.is_dirty());
    assert_eq!(tracked.commit().unwrap(), rawmap::Commit::default());
    let map = tracked.into_inner();
    assert_eq!(&map[90_000..90_002], b"k\0");
}

#[test]
fn pages_are_counted_where_the_kernel_has_them() {
    // The map starts in the middle of a page: its first bytes, as many as a page has, lie in two.
    let (_file, map) = map_at(2048, 200_000);
    let page = rawmap::page_size().unwrap().get();
    let mut tracked = Tracked::<4>::new(map);
    tracked.write(page - 2048 - 1, b"ab").unwrap();
    assert_eq!(tracked.pending_pages(), 2);
    tracked.write(2 * page - 2048 - 1, b"a").unwrap();
    // In the second of them.
    assert_eq!((tracked.pending_pages(), tracked.pending().len()), (2, 2));
    assert_eq!(tracked.commit().unwrap().pages, 2);
}

#[test]
fn groups_are_those_that_the_gap_allows() {
    let (_file, map) = map_at(0, 1_000_000);
    let mut tracked = Tracked::<16>::new(map);
    let mut calls = |gap| {
        for offset in [0, 100, 10_000, 20_000, 500_000] {
            tracked.write(offset, &[1; 10]).unwrap();
        }
        let done = tracked.commit_with(gap).unwrap();
        assert_eq!(done.ranges, 5);
        done.calls
    };
    // By whole pages: the first two ranges are in one, and never flushed twice.
    let page = rawmap::page_size().unwrap().get();
    if page == 4096 {
        assert_eq!(calls(0), 4);
        assert_eq!(calls(4_095), 4);
        // From the end of the first page to the start of the third, and so on.
        assert_eq!(calls(4_096), 2);
        assert_eq!(calls(10_000), 2);
    }
    assert_eq!(calls(usize::MAX), 1);
}

#[test]
fn a_tracked_map_grows() {
    let file = file_with(b"0123456789");
    // SAFETY: nobody else uses the file.
    let mut tracked = Tracked::<2>::new(unsafe { MmapMut::map_mut(&file) }.unwrap());
    tracked.write(3, b"x").unwrap();
    // SAFETY: as above.
    unsafe { tracked.grow(&file, 100_000) }.unwrap();
    tracked.write(99_999, b"y").unwrap();
    assert_eq!(tracked.commit().unwrap().ranges, 2);
    assert_eq!(
        (&tracked[..10], tracked[99_999]),
        (&b"012x456789"[..], b'y')
    );
    assert_eq!(file.metadata().unwrap().len(), 100_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is written: the slice is the model, and after a commit no page is dirty.
    #[test]
    fn a_commit_leaves_nothing_dirty(
        writes in prop::collection::vec((0usize..60_000, 0usize..3_000, any::<u8>()), 0..40),
        gap in prop_oneof![Just(0), Just(4096), Just(usize::MAX)],
        offset in 0u64..5_000,
    ) {
        let (file, map) = map_at(offset, 63_000);
        let mut tracked = Tracked::<3>::new(map);
        let mut model = vec![0; 63_000];
        let mut marked = DirtyRanges::<64>::new();
        for (at, len, byte) in writes {
            tracked.write(at, &vec![byte; len]).unwrap();
            model[at..at + len].fill(byte);
            marked.mark(rawmap::Span::new(at, len, 63_000).unwrap());
        }
        prop_assert_eq!(&tracked[..], &model[..]);
        for span in marked.iter() {
            let inside = |range: rawmap::Span| range.offset() <= span.offset() && span.end() <= range.end();
            prop_assert!(tracked.pending().iter().any(inside), "{:?} forgot {:?}", tracked, span);
        }
        tracked.commit_with(gap).unwrap();
        assert_clean("tracked::a_commit_leaves_nothing_dirty", &file, offset as usize + 63_000);
    }
}

/// Several writers, one that commits. What was written is there; and when it says that nothing is pending,
/// nothing is dirty.
#[test]
fn writes_beside_commits_are_in_one_or_pending() {
    const NAME: &str = "tracked::writes_beside_commits_are_in_one_or_pending";
    crate::with_watchdog(NAME, write_beside_commits);
}

fn write_beside_commits() {
    const THREADS: usize = 3;
    let (file, map) = map_at(100, 1 << 20);
    let tracked = SharedTracked::<4>::new(map);
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let committer = scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                tracked.commit().unwrap();
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let tracked = &tracked;
                scope.spawn(move || {
                    for turn in 0..200usize {
                        let number = (turn * THREADS + thread).to_le_bytes();
                        let at = thread * 300_000 + turn * 1_000;
                        tracked.write(at, &number).unwrap();
                        // All to one place: whole, from one of them.
                        tracked.write(1_000_000, &[thread as u8 + 1; 200]).unwrap();
                        let mut seen = [0; 200];
                        tracked.read(1_000_000, &mut seen).unwrap();
                        assert!(seen.iter().all(|byte| *byte == seen[0]) && seen[0] != 0);
                        if turn % 50 == 0 {
                            tracked.commit().unwrap();
                        }
                    }
                })
            })
            .collect();
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        running.store(false, Ordering::Relaxed);
        committer.join().unwrap();
    });
    tracked.commit().unwrap();
    assert!(!tracked.is_dirty());
    assert_clean(
        "tracked::writes_beside_commits_are_in_one_or_pending",
        &file,
        2 << 20,
    );
    let map = tracked.into_inner();
    for thread in 0..THREADS {
        for turn in 0..200 {
            let at = thread * 300_000 + turn * 1_000;
            let number = (turn * THREADS + thread).to_le_bytes();
            assert_eq!(map[at..at + number.len()], number);
        }
    }
}

#[test]
fn long_writes_are_copied_whole() {
    let (_file, map) = map_at(0, 10_000);
    let tracked = SharedTracked::<1>::new(map);
    let bytes = crate::pattern(5_000);
    tracked.write(4_999, &bytes).unwrap();
    let mut seen = vec![0; 5_002];
    tracked.read(4_998, &mut seen).unwrap();
    assert!(seen[0] == 0 && seen[1..5_001] == bytes && seen[5_001] == 0);
    tracked.write(10_000, b"").unwrap();
    // Past the end: nothing was written, not even a first piece.
    assert!(tracked.write(5_001, &bytes).is_err());
    assert!(tracked.read(5_001, &mut seen).is_err());
    let done = tracked.commit().unwrap();
    assert_eq!((done.ranges, done.calls), (1, 1));
    assert_eq!((tracked.len(), tracked.is_empty()), (10_000, false));
}

/// A signal handler is to Linux what an interrupt is to a bare machine: with the critical section of
/// `critical-section-linux` it waits until a section ends, and is never in the middle of one.
#[test]
fn a_signal_handler_writes_too() {
    static TRACKED: OnceLock<SharedTracked<4>> = OnceLock::new();
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    static REFUSED: AtomicU32 = AtomicU32::new(0);

    extern "C" fn handler(_: libc::c_int) {
        let number = WRITTEN.load(Ordering::Relaxed);
        let at = 4_096 + (number as usize % 1_000) * 16;
        // Two halves that would differ if it came between.
        let result = TRACKED
            .get()
            .map(|tracked| tracked.write(at, &[number as u8; 16]));
        match result {
            Some(Ok(())) => WRITTEN.store(number + 1, Ordering::Relaxed),
            _ => REFUSED.store(1, Ordering::Relaxed),
        }
    }

    let (file, map) = map_at(0, 100_000);
    let tracked = TRACKED.get_or_init(|| SharedTracked::new(map));
    // SAFETY: all zeros is a `sigaction` with an empty mask and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler writes through `SharedTracked` and atomics, and calls nothing else.
    assert_eq!(
        unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) },
        0
    );
    // SAFETY: the thread's own id.
    let target = unsafe { libc::pthread_self() } as usize;
    let done = AtomicBool::new(false);
    let write_beside_signals = || {
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // SAFETY: the thread that writes lives until this one is joined.
                    unsafe { libc::pthread_kill(target as libc::pthread_t, libc::SIGUSR1) };
                    std::thread::yield_now();
                }
            });
            let mut turn = 0usize;
            while WRITTEN.load(Ordering::Relaxed) < 500 && turn < 3_000_000 {
                tracked
                    .write(50_000 + turn % 500 * 64, &[turn as u8; 32])
                    .unwrap();
                turn += 1;
            }
            done.store(true, Ordering::Relaxed);
            sender.join().unwrap();
        });
    };
    const NAME: &str = "tracked::a_signal_handler_writes_too";
    crate::with_watchdog(NAME, write_beside_signals);
    assert_eq!(REFUSED.load(Ordering::Relaxed), 0, "it came in the middle");
    assert!(WRITTEN.load(Ordering::Relaxed) >= 500);
    tracked.commit().unwrap();
    assert!(!tracked.is_dirty());
    assert_clean(NAME, &file, 100_000);
}
