//! sequential-storage, which is made for flash chips, on a mapped file: killed at random moments, and cut at each
//! write. All that was acknowledged is there afterwards.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader};
use std::iter;
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use rawmap::Error;
use rawmap::adapter::Backing;
use rawmap_tests::{command, few_steps, is_slow, machine, rounds};

use self::program::{Act, Chip, KEYS, LEN, Store};

#[path = "../../std/examples/flash_store.rs"]
#[allow(dead_code, reason = "it is a program, too")]
mod program;

const PROGRAM: &str = env!("CARGO_BIN_EXE_flash-store");

/// What has to be in the store.
#[derive(Clone, Debug, Default, PartialEq)]
struct Promised {
    settings: BTreeMap<u8, u32>,
    log: VecDeque<u32>,
}

impl Promised {
    fn apply(&mut self, act: Act) {
        match act {
            Act::Save { key, value } => drop(self.settings.insert(key, value)),
            Act::Push(number) => self.log.push_back(number),
            Act::Pop(number) => assert_eq!(self.log.pop_front(), Some(number)),
        }
    }

    /// With what was under way, which may have happened or not.
    fn check(&self, found: &Self, under_way: Option<Act>) {
        let mut done = self.clone();
        if let Some(act) = under_way {
            done.apply(act);
        }
        assert!(
            found == self || *found == done,
            "promised {self:?}\nunder way {under_way:?}\nfound {found:?}"
        );
    }
}

/// "save 3 17", "push 17", "pop 4".
fn act(text: &str) -> Option<Act> {
    let mut words = text.split(' ');
    let kind = words.next()?;
    let mut number = || words.next()?.parse::<u32>().ok();
    match kind {
        "save" => Some(Act::Save {
            key: number()? as u8,
            value: number()?,
        }),
        "push" => number().map(Act::Push),
        "pop" => number().map(Act::Pop),
        _ => None,
    }
}

/// How far a run of the program came.
#[derive(Default)]
struct Run {
    found: Promised,
    /// It has told all that it found.
    ready: bool,
    done: Vec<Act>,
    under_way: Option<Act>,
}

/// Runs it, and kills it after so many microseconds, or when it has done so much.
fn run(path: &Path, arguments: &[&str], lifetime: Duration, kill_after: usize) -> Run {
    let mut child = command(PROGRAM)
        .arg(path)
        .args(["--steps", "100000", "--pause", "0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let child = RefCell::new(child);
    let mut run = Run::default();
    std::thread::scope(|threads| {
        let pid = rustix::process::Pid::from_child(&child.borrow());
        threads.spawn(move || {
            std::thread::sleep(lifetime);
            // It is waited for after this: no other process has its number.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        });
        let mut line = String::new();
        while output.read_line(&mut line).unwrap() > 0 {
            // A line without its end was not said.
            if let Some(said) = line.strip_suffix('\n') {
                let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
                let mut numbers = rest.split(' ').skip(1).map(|word| word.parse().unwrap());
                match word {
                    "found" if rest.starts_with("setting") => {
                        let key = numbers.next().unwrap() as u8;
                        run.found.settings.insert(key, numbers.next().unwrap());
                    }
                    "found" => run.found.log.push_back(numbers.next().unwrap()),
                    "ready" => run.ready = true,
                    "try" => run.under_way = act(rest),
                    "done" => {
                        assert_eq!(run.under_way.take(), act(rest));
                        run.done.extend(act(rest));
                        if run.done.len() >= kill_after {
                            child.borrow_mut().kill().unwrap();
                        }
                    }
                    _ => panic!("{said}"),
                }
            }
            line.clear();
        }
    });
    let status = child.into_inner().wait().unwrap();
    assert_eq!(status.code(), None, "it ended by itself: {status}");
    run
}

#[test]
fn nothing_that_was_done_is_lost_by_a_thousand_kills() {
    let dir = tempfile::tempdir_in(rawmap_tests::test_dir()).unwrap();
    let path = dir.path().join("chip.bin");
    let kills = rounds(1000);
    // An emulator takes a while to start.
    let mut longest: u64 = if machine().is_some() {
        1_500_000
    } else if is_slow() {
        800_000
    } else {
        25_000
    };
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut promised = Promised::default();
    let mut under_way: Option<Act> = None;
    let (mut done, mut half, mut early) = (0, 0, 0);
    for number in 0..kills {
        let buffered: &[&str] = if number % 4 == 0 {
            &[]
        } else {
            &["--buffered"]
        };
        // Some live long, so that it goes on: the store tidies up for a tenth of a second now and then.
        let times = if random.random_ratio(1, 10) { 20 } else { 1 };
        let lifetime = Duration::from_micros(random.random_range(0..times * longest));
        let kill_after = random.random_range(1..60);
        let run = run(&path, buffered, lifetime, kill_after);
        if !run.ready {
            // What it found was not told to its end.
            early += 1;
            if 3 * early > number + 30 {
                // The machine is busy: they start later.
                longest = (longest + longest / 20).min(5_000_000);
            }
            continue;
        }
        promised.check(&run.found, under_way);
        promised = run.found;
        for act in &run.done {
            promised.apply(*act);
        }
        done += run.done.len() as u32;
        half += u32::from(run.under_way.is_some());
        under_way = run.under_way;
    }
    println!("{kills} kills: {done} acts done, {half} killed while they were done, {early} before");
    // On a busy machine they start late.
    let least = if few_steps() { kills } else { 5 * kills };
    assert!(done > least, "{done}");
    // Elsewhere most are killed when they have done enough.
    assert!(few_steps() || half > kills / 10, "{half}");
}

/// A chip in memory that remembers each change between two commits: where, what was there and what came.
#[derive(Default)]
struct Recorded {
    bytes: Vec<u8>,
    before: Vec<u8>,
    changes: Rc<RefCell<Vec<Change>>>,
}

struct Change {
    offset: usize,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl AsRef<[u8]> for Recorded {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Backing for Recorded {
    fn edit(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Error> {
        Ok(&mut self.bytes[offset..offset + len])
    }

    fn commit(&mut self, offset: usize, len: usize) -> Result<(), Error> {
        let range = offset..offset + len;
        // Nothing outside of what is committed has changed since the last commit.
        assert!(self.before[..offset] == self.bytes[..offset]);
        assert!(self.before[range.end..] == self.bytes[range.end..]);
        self.changes.borrow_mut().push(Change {
            offset,
            before: self.before[range.clone()].to_vec(),
            after: self.bytes[range].to_vec(),
        });
        self.before.clone_from(&self.bytes);
        Ok(())
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        assert!(self.before == self.bytes);
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    fn retry(&mut self) -> Result<(), Error> {
        self.commit_all()
    }
}

/// One power cut for each history: several in a row are not tested here. A cut at any write leaves what was committed before, and of that write some of the bytes.
#[test]
fn nothing_that_was_done_is_lost_by_a_cut_at_any_write() {
    // The chip has to be full.
    let (acts, cuts) = (rounds(2400).max(400), rounds(3000));
    let start = vec![0xFF; LEN];
    let chip = Recorded {
        bytes: start.clone(),
        before: start.clone(),
        changes: Rc::default(),
    };
    let changes = Rc::clone(&chip.changes);
    let mut store = Store::new(Chip::new(chip).unwrap());
    // What was said, and after how many changes.
    let mut said = Vec::new();
    for number in 1..=acts {
        let say = |when: &str, act| {
            said.push((changes.borrow().len(), when == "done", act));
            Ok(())
        };
        store.step(number, say).unwrap();
    }
    drop(store);
    let changes = Rc::try_unwrap(changes).ok().unwrap().into_inner();
    let erases = changes
        .iter()
        .filter(|change| change.after == [0xFF; 4096])
        .count();
    // In three parts each.
    let parts = changes.iter().filter(|change| change.after.len() == 4096);
    assert_eq!(parts.count(), 3 * erases);
    assert!(
        few_steps() || erases > 16,
        "each block was used again: {erases}"
    );
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut places: Vec<usize> = (0..cuts)
        .map(|_| random.random_range(0..changes.len()))
        .collect();
    // Each part of an erase, too: they are few.
    let erased = (0..changes.len()).filter(|at| changes[*at].after.len() == 4096);
    let times = if few_steps() { 3 } else { 10 };
    places.extend(erased.flat_map(|at| iter::repeat_n(at, times)));
    places.sort_unstable();
    let (mut whole, mut next) = (start, 0);
    for cut in places {
        for change in &changes[next..cut] {
            whole[change.offset..][..change.after.len()].copy_from_slice(&change.after);
        }
        next = cut;
        let mut bytes = whole.clone();
        let change = &changes[cut];
        // Of the one under way: some bytes, or a part of them.
        let torn = random.random_range(0..3);
        let until = random.random_range(0..=change.after.len());
        for (i, (before, after)) in change.before.iter().zip(&change.after).enumerate() {
            let new = match torn {
                0 => random.random_bool(0.5),
                1 => i < until,
                _ => i >= until,
            };
            bytes[change.offset + i] = if new { *after } else { *before };
        }
        let mut promised = Promised::default();
        let mut under_way = None;
        for (at, done, act) in &said {
            match done {
                true if *at <= cut => {
                    promised.apply(*act);
                    under_way = None;
                }
                false if *at <= cut => under_way = Some(*act),
                _ => break,
            }
        }
        let chip = Recorded {
            before: bytes.clone(),
            bytes,
            changes: Rc::default(),
        };
        let mut store = Store::new(Chip::new(chip).unwrap());
        let found = found(&mut store);
        promised.check(&found, under_way);
        // And it goes on.
        let next = store.newest().unwrap() + 1;
        store.step(next, |_, _| Ok(())).unwrap();
    }
    println!(
        "{cuts} cuts of {} writes and {erases} erases",
        changes.len() - 3 * erases
    );
}

fn found<B: Backing>(store: &mut Store<B>) -> Promised {
    let setting = |key: u32| Some((key as u8, store.setting(key as u8).unwrap()?));
    Promised {
        settings: (0..KEYS).filter_map(setting).collect(),
        log: store.log().unwrap().into(),
    }
}
