//! What two processes take to reach each other: a wake and its answer by `Shared::wait` and `wake` beside futex(2), a Unix socket
//! and a pipe; a value of 64 bytes and its answer by `Mailbox` beside a copy that checks nothing, between the fences that it needs.
//! Interleaved rounds in one run, the median of the rounds' ratios and the spread between their quartiles. For reading, not for
//! a test: machines are noisy. Needs two processors.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use rawmap::{Mail, Mailbox, MmapOptions, MmapRaw};

const ROUNDS: usize = 61;
const EXCHANGES: u32 = 2000;
const LEN: usize = 64;
/// Where the answers are.
const ANSWER: usize = 2048;

/// What one process does, by the number of the exchange. New memory has a 0: what is exchanged is one more.
type Side<'a> = Box<dyn FnMut(u32) + 'a>;

struct Pair<'a> {
    name: &'static str,
    asks: Side<'a>,
    answers: Side<'a>,
}

impl Pair<'_> {
    /// The time of all exchanges but the first, with a new process.
    fn round(&mut self) -> Duration {
        // SAFETY: this process has one thread.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
        if child == 0 {
            (0..=EXCHANGES).for_each(|number| (self.answers)(number));
            // SAFETY: ends the child, with nothing of the parent's.
            unsafe { libc::_exit(0) };
        }
        (self.asks)(0);
        let start = Instant::now();
        (1..=EXCHANGES).for_each(|number| (self.asks)(number));
        let took = start.elapsed();
        // SAFETY: our child.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        took
    }
}

fn quartiles(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[values.len() * part / 4];
    (at(2), at(1), at(3))
}

/// All of them as ratios to the second.
fn compare(title: &str, mut pairs: Vec<Pair<'_>>) {
    let mut times = vec![Vec::new(); pairs.len()];
    for round in 0..ROUNDS {
        for turn in 0..pairs.len() {
            let pair = (round + turn) % pairs.len();
            times[pair].push(pairs[pair].round().as_secs_f64());
        }
    }
    println!("{title}");
    for (pair, own) in pairs.iter().zip(&times) {
        let ratios = own.iter().zip(&times[1]).map(|(own, bare)| own / bare);
        let (median, low, high) = quartiles(ratios.collect());
        let (time, ..) = quartiles(own.clone());
        println!(
            "  {:<44} {median:>6.2} ({low:.2}-{high:.2})  {:>7.0} ns",
            pair.name,
            time / f64::from(EXCHANGES) * 1e9
        );
    }
}

fn memory() -> MmapRaw {
    let map = MmapOptions::new().len(4096).map_anon_shared();
    map.expect("a page")
}

fn tell(map: &MmapRaw, at: usize, number: u32) {
    let view = map.shared();
    view.store_release(at, number).expect("inside");
    view.wake(at, 1).expect("a wake");
}

fn hear(map: &MmapRaw, at: usize, number: u32) {
    let view = map.shared();
    loop {
        let seen = view.load_acquire(at).expect("inside");
        if seen == number {
            return;
        }
        view.wait(at, seen, None).expect("a wait");
    }
}

/// The word, of a map that lives longer.
fn word(map: &MmapRaw, at: usize) -> &AtomicU32 {
    assert!(at + 4 <= map.len());
    // SAFETY: aligned, inside the map, and only used as an atomic.
    unsafe { AtomicU32::from_ptr(map.as_mut_ptr().add(at).cast()) }
}

fn futex(word: &AtomicU32, operation: libc::c_int, value: u32) {
    let no_time = std::ptr::null::<libc::timespec>();
    // SAFETY: reads the word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, no_time) };
}

fn bare_tell(word: &AtomicU32, number: u32) {
    word.store(number, Ordering::Release);
    futex(word, libc::FUTEX_WAKE, 1);
}

fn bare_hear(word: &AtomicU32, number: u32) {
    loop {
        let seen = word.load(Ordering::Acquire);
        if seen == number {
            return;
        }
        futex(word, libc::FUTEX_WAIT, seen);
    }
}

fn put(mailbox: &mut Mailbox<'_>, number: u32) {
    let bytes = [number as u8; LEN];
    mailbox.write(black_box(&bytes)).expect("inside");
}

/// Reads until the value is that of the exchange.
fn take(mailbox: &Mailbox<'_>, number: u32) {
    let mut bytes = [0; LEN];
    loop {
        let mail = mailbox.read(black_box(&mut bytes)).expect("inside");
        if matches!(mail, Mail::Value(_)) && bytes[0] == number as u8 {
            return;
        }
        std::hint::spin_loop();
    }
}

fn bare_put(map: &MmapRaw, at: usize, number: u32) {
    let bytes = [number as u8; LEN];
    let sequence = word(map, at);
    let odd = sequence.load(Ordering::Relaxed) | 1;
    sequence.store(odd, Ordering::Relaxed);
    fence(Ordering::Release);
    // SAFETY: inside the map: `word` has looked at the begin, and the page has room.
    let to = unsafe { map.as_mut_ptr().add(at + 4) };
    // SAFETY: as above.
    unsafe { std::ptr::copy_nonoverlapping(black_box(bytes.as_ptr()), to, LEN) };
    sequence.store(odd.wrapping_add(1), Ordering::Release);
}

fn bare_take(map: &MmapRaw, at: usize, number: u32) {
    let mut bytes = [0_u8; LEN];
    let sequence = word(map, at);
    loop {
        let before = sequence.load(Ordering::Acquire);
        if before & 1 == 0 {
            // SAFETY: as in `bare_put`.
            let from = unsafe { map.as_ptr().add(at + 4) };
            // SAFETY: as above. That the other process writes meanwhile is a race, which is why nobody should do so.
            unsafe { std::ptr::copy_nonoverlapping(from, black_box(bytes.as_mut_ptr()), LEN) };
            fence(Ordering::Acquire);
            if sequence.load(Ordering::Relaxed) == before && bytes[0] == number as u8 {
                return;
            }
        }
        std::hint::spin_loop();
    }
}

/// Asks and answers of so many bytes, through one pair of ends for each.
fn through<'a, R: Read + 'a, W: Write + 'a>(
    name: &'static str,
    len: usize,
    (mut ask, mut asked): (W, R),
    (mut answer, mut answered): (W, R),
) -> Pair<'a> {
    let (mut one, mut other) = (vec![0; len], vec![0; len]);
    Pair {
        name,
        asks: Box::new(move |number| {
            one.fill(number as u8);
            ask.write_all(&one).expect("room");
            answered.read_exact(&mut one).expect("an answer");
        }),
        answers: Box::new(move |_| {
            asked.read_exact(&mut other).expect("a question");
            answer.write_all(&other).expect("room");
        }),
    }
}

fn by_socket<'a>(name: &'static str, len: usize) -> Pair<'a> {
    through(
        name,
        len,
        UnixStream::pair().expect("sockets"),
        UnixStream::pair().expect("sockets"),
    )
}

fn by_pipe<'a>(name: &'static str, len: usize) -> Pair<'a> {
    let pipe = || {
        let (reads, writes) = std::io::pipe().expect("a pipe");
        (writes, reads)
    };
    through(name, len, pipe(), pipe())
}

fn main() -> ExitCode {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors < 2 {
        eprintln!(
            "tests/bench peer: needs two processors: one process waits for the other without sleeping"
        );
        return ExitCode::FAILURE;
    }
    println!(
        "Time as a ratio: median of {ROUNDS} interleaved rounds of {EXCHANGES} (quartiles), and time of one"
    );
    let (ours, bare) = (memory(), memory());
    compare(
        "a wake of another process, and its answer",
        vec![
            Pair {
                name: "Shared::wait, wake",
                asks: Box::new(|number| {
                    tell(&ours, 0, number + 1);
                    hear(&ours, ANSWER, number + 1);
                }),
                answers: Box::new(|number| {
                    hear(&ours, 0, number + 1);
                    tell(&ours, ANSWER, number + 1);
                }),
            },
            Pair {
                name: "futex(2)",
                asks: Box::new(|number| {
                    bare_tell(word(&bare, 0), number + 1);
                    bare_hear(word(&bare, ANSWER), number + 1);
                }),
                answers: Box::new(|number| {
                    bare_hear(word(&bare, 0), number + 1);
                    bare_tell(word(&bare, ANSWER), number + 1);
                }),
            },
            by_socket("a Unix socket, 4 bytes", 4),
            by_pipe("a pipe, 4 bytes", 4),
        ],
    );
    let (ours, bare) = (memory(), memory());
    let mailbox = |at| Mailbox::new(ours.shared(), at, LEN).expect("room");
    let (mut question, questioned) = (mailbox(0), mailbox(0));
    let (mut answer, answered) = (mailbox(ANSWER), mailbox(ANSWER));
    compare(
        "64 bytes to another process, and its answer",
        vec![
            Pair {
                name: "Mailbox",
                asks: Box::new(move |number| {
                    put(&mut question, number + 1);
                    take(&answered, number + 1);
                }),
                answers: Box::new(move |number| {
                    take(&questioned, number + 1);
                    put(&mut answer, number + 1);
                }),
            },
            Pair {
                name: "a copy that checks nothing, and fences",
                asks: Box::new(|number| {
                    bare_put(&bare, 0, number + 1);
                    bare_take(&bare, ANSWER, number + 1);
                }),
                answers: Box::new(|number| {
                    bare_take(&bare, 0, number + 1);
                    bare_put(&bare, ANSWER, number + 1);
                }),
            },
            by_socket("a Unix socket", LEN),
            by_pipe("a pipe", LEN),
        ],
    );
    ExitCode::SUCCESS
}
