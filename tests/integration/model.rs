//! Random stores and flushes, and after each what is on the medium, below all caches, against a model of what
//! was promised. A power cut right then would leave no more than that.

use proptest::prelude::*;
use std::fs::File;
use std::os::fd::AsRawFd as _;

use rawmap::{MmapMut, MmapOptions, Tracked};
use rawmap_tests::disk::{FailingDisk, On};
use rawmap_tests::model::Model;
use rawmap_tests::{few_steps, skip};

/// A part of the file, which starts in the middle of a page.
const START: usize = 3 * 4096 + 1234;
const LEN: usize = 70 * 4096 + 77;

#[derive(Clone, Debug)]
enum Step {
    Write { at: usize, len: usize, byte: u8 },
    FlushRange { at: usize, len: usize },
    Flush,
    FlushAsync,
    Commit { gap: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Ends of pages are where mistakes are made.
    let at = prop_oneof![
        0..LEN,
        (0..71usize, 0..3usize)
            .prop_map(|(page, near)| (page * 4096 + 4096 - 1235 + near).min(LEN - 1)),
    ];
    let len = prop_oneof![1..3usize, 1..6000usize];
    let write =
        (at.clone(), len.clone(), 1u8..).prop_map(|(at, len, byte)| Step::Write { at, len, byte });
    let flush = (at, len).prop_map(|(at, len)| Step::FlushRange { at, len });
    let commit =
        prop_oneof![Just(0), Just(8192), Just(usize::MAX)].prop_map(|gap| Step::Commit { gap });
    let step = prop_oneof![8 => write, 4 => flush, 1 => Just(Step::Flush), 1 => Just(Step::FlushAsync), 2 => commit];
    prop::collection::vec(step, 1..40)
}

/// All that the medium has of the part.
fn medium(disk: &FailingDisk) -> Vec<u8> {
    disk.medium(START, LEN)
}

fn map(disk: &FailingDisk) -> MmapMut {
    let mut options = MmapOptions::new();
    // Else a flush of one page writes the large folio around it, and hides that it was the wrong one.
    options.offset(START as u64).len(LEN).scattered();
    // SAFETY: nobody else uses the disk.
    unsafe { options.map_mut(&disk.file) }.unwrap()
}

fn run(disk: &FailingDisk, steps: &[Step]) {
    let mut tracked = Tracked::<3>::new(map(disk));
    let mut model = Model::new(&tracked);
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Write { at, len, byte } => {
                let bytes = vec![byte; len.min(LEN - at)];
                tracked.write(at, &bytes).unwrap();
                model.write(at, &bytes);
            }
            Step::FlushRange { at, len } => {
                let len = len.min(LEN - at);
                tracked.as_map().flush_range(at, len).unwrap();
                model.flushed(at, len);
            }
            Step::Flush => {
                tracked.as_map().flush().unwrap();
                model.flushed(0, LEN);
            }
            Step::FlushAsync => tracked.as_map().flush_async().unwrap(),
            Step::Commit { gap } => {
                tracked.commit_with(gap).unwrap();
                // All that was ever written: nothing is left out.
                model.flushed(0, LEN);
            }
        }
        let lost = model.lost(&medium(disk));
        assert!(
            lost.is_empty(),
            "after step {number} of {steps:?}: {lost:?}"
        );
        assert_eq!(&tracked[..], model.live());
    }
    // For the next case.
    tracked.into_inner().flush().unwrap();
}

#[test]
fn what_was_promised_is_on_the_medium() {
    const NAME: &str = "model::what_was_promised_is_on_the_medium";
    for on in [On::Device, On::Ext4] {
        let disk = match FailingDisk::new(on) {
            Ok(disk) => disk,
            Err(reason) => return skip(NAME, &reason),
        };
        let config = ProptestConfig {
            cases: rawmap_tests::rounds(60),
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let result = runner.run(&steps(), |steps| {
            run(&disk, &steps);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("on {on:?}: {error}"));
    }
}

/// The controls: what is flushed wrongly is seen to be lost.
#[test]
fn what_was_flushed_wrongly_is_lost() {
    const NAME: &str = "model::what_was_flushed_wrongly_is_lost";
    for on in [On::Device, On::Ext4] {
        let disk = match FailingDisk::new(on) {
            Ok(disk) => disk,
            Err(reason) => return skip(NAME, &reason),
        };
        let mut map = map(&disk);
        let page = rawmap::page_size().unwrap().get();
        let mut byte = 0;
        let mut lost_by = |flush: &dyn Fn(&MmapMut, usize)| {
            byte += 1;
            let mut model = Model::new(&map);
            // Two pages, from the last byte of one.
            let at = 2 * page - START % page - 1;
            map[at..at + 2].fill(byte);
            model.write(at, &[byte; 2]);
            flush(&map, at);
            model.flushed(at, 2);
            let lost = model.lost(&medium(&disk)).len();
            map.flush().unwrap();
            assert_eq!(model.lost(&medium(&disk)).len(), 0, "{on:?}");
            lost
        };
        assert_eq!(lost_by(&|map, at| map.flush_range(at, 2).unwrap()), 0);
        assert_eq!(lost_by(&|_, _| {}), 2, "no flush, {on:?}");
        assert_eq!(
            lost_by(&|map, _| map.flush_async().unwrap()),
            2,
            "no waiting, {on:?}"
        );
        assert_eq!(
            lost_by(&|map, at| map.flush_range(at + 1 + page, 2).unwrap()),
            2,
            "another page, {on:?}"
        );
        assert_eq!(
            lost_by(&|map, at| map.flush_range(at, 1).unwrap()),
            1,
            "a page short, {on:?}"
        );
        assert_eq!(
            lost_by(&|map, at| map.flush_range(at + 1, 1).unwrap()),
            1,
            "the start rounded up, {on:?}"
        );
    }
}

/// The judge of the walk below: a device that lies would make it blame what is right.
#[test]
fn a_disk_that_fails_says_so_of_a_long_request_too() {
    const NAME: &str = "model::a_disk_that_fails_says_so_of_a_long_request_too";
    for on in [On::Device, On::Ext4] {
        let disk = match FailingDisk::new(on) {
            Ok(disk) => disk,
            Err(reason) => return skip(NAME, &reason),
        };
        let mut map = map(&disk);
        // The first pages have a place from before, those behind them get none.
        map[..LEN / 4].fill(1);
        map.flush().unwrap();
        disk.fail();
        map.fill(2);
        assert!(map.flush().is_err(), "on {on:?}");
        disk.recover();
    }
}

/// What may come between, on a device that fails and works again.
#[derive(Clone, Debug)]
enum Turn {
    Step(Step),
    Fail,
    Recover,
    Retry,
    /// The kernel writes in its own time, and tells another.
    WriteBack,
    StartWriteback,
    /// Another map drops pages, of a descriptor of its own.
    Scattered {
        at: usize,
    },
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let step = steps().prop_map(|steps| steps.first().cloned().map_or(Turn::Fail, Turn::Step));
    let turn = prop_oneof![
        10 => step,
        2 => Just(Turn::Fail),
        3 => Just(Turn::Recover),
        2 => Just(Turn::Retry),
        2 => Just(Turn::WriteBack),
        1 => Just(Turn::StartWriteback),
        1 => (0..LEN).prop_map(|at| Turn::Scattered { at }),
    ];
    prop::collection::vec(turn, 1..40)
}

/// Returns how many calls said that they failed. Those that were `Ok` are checked against the medium each time.
fn run_failing(disk: &FailingDisk, turns: &[Turn]) -> usize {
    let path = format!("/proc/self/fd/{}", disk.file.as_raw_fd());
    let other = File::options().read(true).write(true).open(path).unwrap();
    let mut tracked = Tracked::<3>::new(map(disk));
    let mut model = Model::new(&tracked);
    let (mut refused, mut fails) = (0, false);
    for (number, turn) in turns.iter().enumerate() {
        // What is promised, if that is `Ok`.
        let (result, promised) = match *turn {
            Turn::Step(Step::Write { at, len, byte }) => {
                let bytes = vec![byte; len.min(LEN - at)];
                tracked.write(at, &bytes).unwrap();
                model.write(at, &bytes);
                (Ok(()), None)
            }
            Turn::Step(Step::FlushRange { at, len }) => {
                let len = len.min(LEN - at);
                (
                    tracked.as_map().as_raw().flush_range(at, len),
                    Some((at, len)),
                )
            }
            Turn::Step(Step::Flush) => (tracked.as_map().as_raw().flush(), Some((0, LEN))),
            Turn::Step(Step::FlushAsync) => (tracked.as_map().as_raw().flush_async(), None),
            Turn::Step(Step::Commit { gap }) => {
                (tracked.commit_with(gap).map(drop), Some((0, LEN)))
            }
            Turn::Retry => (tracked.retry().map(drop), Some((0, LEN))),
            Turn::StartWriteback => (tracked.start_writeback(&disk.file), None),
            Turn::Fail | Turn::Recover => {
                let asked = matches!(turn, Turn::Fail);
                if asked && !fails {
                    disk.fail();
                } else if fails && !asked {
                    disk.recover();
                }
                fails = asked;
                (Ok(()), None)
            }
            Turn::WriteBack => {
                let _ = other.sync_all();
                (Ok(()), None)
            }
            Turn::Scattered { at } => {
                let mut options = rawmap_core::MmapOptions::new();
                options.offset((START + at) as u64).len(1).scattered();
                (options.map_raw(&other).map(drop), None)
            }
        };
        match (result, promised) {
            (Ok(()), Some((at, len))) => model.flushed(at, len),
            (Ok(()), None) => {}
            (Err(_), _) => refused += 1,
        }
        let lost = model.lost(&medium(disk));
        assert!(
            lost.is_empty(),
            "after turn {number} of {turns:?}: {lost:?}"
        );
        assert_eq!(
            &tracked[..],
            model.live(),
            "after turn {number} of {turns:?}"
        );
    }
    if fails {
        disk.recover();
    }
    crate::failing::retried(|| tracked.retry());
    model.flushed(0, LEN);
    assert!(
        model.lost(&medium(disk)).is_empty(),
        "in the end of {turns:?}"
    );
    refused
}

#[test]
fn what_was_promised_is_there_on_a_device_that_fails() {
    const NAME: &str = "model::what_was_promised_is_there_on_a_device_that_fails";
    for on in [On::Device, On::Ext4] {
        let config = ProptestConfig {
            // Each makes a file system.
            cases: rawmap_tests::rounds(24),
            failure_persistence: None,
            max_shrink_iters: 100,
            ..ProptestConfig::default()
        };
        if let Err(reason) = FailingDisk::new(on) {
            return skip(NAME, &reason);
        }
        let refused = std::cell::Cell::new(0);
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let result = runner.run(&turns(), |turns| {
            let disk = FailingDisk::new(on).expect("as before");
            refused.set(refused.get() + run_failing(&disk, &turns));
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("on {on:?}: {error}"));
        // Else the device never failed, and nothing was shown.
        assert!(refused.get() > 0 || few_steps(), "on {on:?}");
    }
}
