//! Random scenarios of two processes: this one maps, loads, stores, flushes and unmaps; the other truncates,
//! extends and writes. Nothing dies, each byte that is lost is reported, and each flush that is `Ok` is true.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rawmap::{MmapOptions, MmapRaw};
use rawmap_tests::{command, rounds, test_dir};

use crate::{lost_at, page};

const NAME: &str = "random::nothing_dies_and_no_loss_goes_unreported";
const PAGES: usize = 6;

/// One step, of either process. Offsets are pages, and a byte inside each.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The other process gives the file this many pages.
    SetLen(usize),
    /// The other process writes there.
    Peer(usize, u8),
    Load(usize),
    Store(usize, u8),
    Flush,
    FlushRange(usize, usize),
    Acknowledge,
    Recover,
    Remap(usize),
    MapAgain(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0..PAGES;
    let step = prop_oneof![
        3 => (0..=PAGES).prop_map(Step::SetLen),
        1 => (place.clone(), any::<u8>()).prop_map(|(place, byte)| Step::Peer(place, byte)),
        4 => place.clone().prop_map(Step::Load),
        4 => (place.clone(), 1u8..).prop_map(|(place, byte)| Step::Store(place, byte)),
        2 => Just(Step::Flush),
        2 => (place.clone(), 1..=PAGES).prop_map(|(place, len)| Step::FlushRange(place, len)),
        1 => Just(Step::Acknowledge),
        1 => Just(Step::Recover),
        1 => (1..=PAGES).prop_map(Step::Remap),
        1 => place.prop_map(Step::MapAgain),
    ];
    prop::collection::vec(step, 1..25)
}

/// The other process: it has the file by its number, and does what it reads.
struct Peer {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn new(file: &File) -> Self {
        let program = std::env::current_exe().unwrap();
        // Not closed on exec, for this child.
        // SAFETY: flags of our own descriptor.
        assert_eq!(
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) },
            0
        );
        let mut process = command(program.to_str().unwrap())
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(crate::CASE, NAME)
            .env("RAWMAP_CASE_WORD", file.as_raw_fd().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self {
            process,
            orders,
            answers,
        }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
        let mut line = String::new();
        while !line.ends_with("done\n") {
            line.clear();
            assert!(
                self.answers.read_line(&mut line).unwrap() > 0,
                "the peer died"
            );
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn peer() {
    let number = crate::word().parse().unwrap();
    // SAFETY: handed over by the parent, for this process.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(number) });
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (what, number) = line.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        match what {
            "len" => file.set_len(number).unwrap(),
            // Only inside: it is not to make the file longer.
            byte if number < file.metadata().unwrap().len() => {
                file.write_all_at(&[byte.parse().unwrap()], number).unwrap();
            }
            _ => {}
        }
        println!("done");
    }
}

/// What is known of one byte in each page: what a load has to give, and a flush to have stored.
struct World {
    map: MmapRaw,
    /// First page of the map in the file, and its pages.
    first: usize,
    len: usize,
    /// Pages that the file has.
    file_len: usize,
    /// By page of the file: what the file has there.
    file: [u8; PAGES],
    /// By page of the map: what stands in a page that was replaced.
    replaced: [Option<u8>; PAGES],
    /// A loss that was not acknowledged: its page of the map.
    lost: Option<usize>,
}

fn at(page_number: usize) -> usize {
    page_number * page() + page_number * 31 + 5
}

impl World {
    fn map(file: &File, first: usize, len: usize) -> MmapRaw {
        let mut options = MmapOptions::new();
        options.offset((first * page()) as u64).len(len * page());
        options.contained().map_raw(file).unwrap()
    }

    fn new(file: &File, file_len: usize, bytes: [u8; PAGES]) -> Self {
        Self {
            map: Self::map(file, 0, PAGES),
            first: 0,
            len: PAGES,
            file_len,
            file: bytes,
            replaced: [None; PAGES],
            lost: None,
        }
    }

    /// Where the byte of a page of the map is, from the start of the map.
    fn offset(&self, number: usize) -> usize {
        at(self.first + number) - self.first * page()
    }

    /// An access: of what the file has, of a page that was replaced, or a fault.
    fn touch(&mut self, number: usize) {
        if self.replaced[number].is_none() && self.first + number >= self.file_len {
            self.replaced[number] = Some(0);
            self.lost = Some(self.lost.map_or(number, |lost| lost.min(number)));
        }
    }

    fn hull(&self) -> Option<(usize, usize)> {
        let first = self.replaced.iter().position(Option::is_some)?;
        let last = self.replaced.iter().rposition(Option::is_some)?;
        Some((first, last))
    }

    /// What a flush of some pages has to say: the page that it tells as lost.
    fn flush_says(&self, first: usize, end: usize) -> Option<usize> {
        if self.lost.is_some() {
            return self.lost;
        }
        if let Some((from, to)) = self.hull()
            && first <= to
            && from < end
        {
            return Some(from.max(first));
        }
        (self.first + end > self.file_len)
            .then(|| first.max(self.file_len.saturating_sub(self.first)))
    }

    fn check_flush(&self, file: &File, first: usize, end: usize, result: std::io::Result<()>) {
        let told = lost_at(result).map(|offset| usize::try_from(offset).unwrap());
        assert_eq!(
            told.map(|offset| offset / page()),
            self.flush_says(first, end),
            "flush of {first}..{end}"
        );
        if told.is_none() {
            for number in first..end {
                let stored = crate::in_file(file, at(self.first + number));
                assert_eq!(stored, self.file[self.first + number], "page {number}");
            }
        }
    }

    fn step(&mut self, file: &File, peer: &mut Peer, step: Step) {
        let page = page();
        match step {
            Step::SetLen(len) => {
                peer.order(&format!("len {}", len * page));
                self.file_len = len;
                self.file[len..].fill(0);
            }
            Step::Peer(number, byte) => {
                peer.order(&format!("{byte} {}", at(number)));
                if number < self.file_len {
                    self.file[number] = byte;
                }
            }
            Step::Load(number) if number < self.len => {
                self.touch(number);
                let expected = self.replaced[number].unwrap_or(self.file[self.first + number]);
                assert_eq!(crate::load(&self.map, self.offset(number)), expected);
            }
            Step::Store(number, byte) if number < self.len => {
                self.touch(number);
                crate::store(&self.map, self.offset(number), byte);
                match &mut self.replaced[number] {
                    Some(there) => *there = byte,
                    None => self.file[self.first + number] = byte,
                }
            }
            Step::Flush => self.check_flush(file, 0, self.len, self.map.flush()),
            Step::FlushRange(first, len) => {
                let end = first + len;
                let result = self.map.flush_range(first * page, len * page);
                if end > self.len {
                    assert!(result.is_err());
                } else {
                    self.check_flush(file, first, end, result);
                }
            }
            Step::Acknowledge => {
                let told = self.map.acknowledge_lost();
                assert_eq!(told.map(|offset| offset / page), self.lost.take());
            }
            Step::Recover => {
                self.map.recover(file).unwrap();
                self.lost = None;
                self.replaced = [None; PAGES];
            }
            Step::Remap(len) if self.first + len <= PAGES => {
                let options = rawmap::RemapOptions::new().may_move(true);
                // SAFETY: no pointer is kept.
                let result = unsafe { self.map.remap(len * page, options) };
                assert_eq!(result.is_ok(), self.hull().is_none());
                if result.is_ok() {
                    self.len = len;
                }
            }
            Step::MapAgain(first) => {
                self.first = first;
                self.len = PAGES - first;
                self.map = Self::map(file, self.first, self.len);
                self.replaced = [None; PAGES];
                self.lost = None;
            }
            Step::Load(_) | Step::Store(..) | Step::Remap(_) => {}
        }
        assert_eq!(self.map.lost().map(|offset| offset / page), self.lost);
    }
}

#[test]
fn nothing_dies_and_no_loss_goes_unreported() {
    if std::env::var(crate::CASE).is_ok_and(|case| case == NAME) {
        return peer();
    }
    if !rawmap_tests::faults_have_addresses() {
        return rawmap_tests::skip(NAME, "no addresses of faults");
    }
    let file = tempfile::tempfile_in(test_dir()).unwrap();
    let mut peer = Peer::new(&file);
    let cases = rounds(10_000);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    };
    let mut scenarios = 0u32;
    let mut losses = 0u32;
    let peer = std::cell::RefCell::new(&mut peer);
    let counts = std::cell::RefCell::new((&mut scenarios, &mut losses));
    let result = TestRunner::new(config).run(&steps(), |steps| {
        let peer = &mut **peer.borrow_mut();
        file.set_len(0).unwrap();
        file.set_len((PAGES * page()) as u64).unwrap();
        let mut bytes = [0; PAGES];
        for (number, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(number + 1).unwrap();
            file.write_all_at(&[*byte], at(number) as u64).unwrap();
        }
        let mut world = World::new(&file, PAGES, bytes);
        let mut lost = false;
        for step in steps {
            world.step(&file, peer, step);
            lost |= world.lost.is_some();
        }
        let mut counts = counts.borrow_mut();
        *counts.0 += 1;
        *counts.1 += u32::from(lost);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    eprintln!("{scenarios} scenarios, {losses} of them with a loss");
    assert!(losses > scenarios / 10);
}
