//! What containment and views cost: reads of a contained map beside those of a plain one, and copies beside
//! memcpy. Interleaved rounds in one run, the median of the rounds' ratios and the spread between their quartiles. For
//! reading, not for a test: machines are noisy.
//!
//! With `copy read|write|memcpy LEN TIMES` it makes copies and nothing else, for `tests/bench shared TRIPLE` to
//! count their instructions in an emulator.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rawmap::{MmapOptions, MmapRaw};

const ROUNDS: usize = 61;
const MAPS: usize = 16;
const SIZES: [usize; 5] = [64, 256, 4096, 65_536, 1 << 20];

/// About as long for every size.
fn calls(len: usize) -> usize {
    (16 << 20) / (len + 2048)
}

type Call<'a> = Box<dyn FnMut() + 'a>;

fn time(call: &mut Call<'_>, calls: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        call();
    }
    start.elapsed()
}

fn quartiles(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[values.len() * part / 4];
    (at(2), at(1), at(3))
}

/// The first as a ratio to the second.
fn compare(name: &str, len: usize, mut one: Call<'_>, mut other: Call<'_>) {
    let calls = calls(len);
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        // Each is first as often as the other.
        let (first, second) = if round % 2 == 0 {
            let first = time(&mut one, calls);
            (first, time(&mut other, calls))
        } else {
            let second = time(&mut other, calls);
            (time(&mut one, calls), second)
        };
        ratios.push(first.as_secs_f64() / second.as_secs_f64());
    }
    let (median, low, high) = quartiles(ratios);
    println!("{name:<44} {len:>8} B  {median:>5.2} ({low:.2}-{high:.2})");
}

fn memory(contained: bool) -> MmapRaw {
    let file = tempfile::tempfile_in("/dev/shm").expect("tmpfs");
    file.set_len(2 << 20).expect("room");
    let mut options = MmapOptions::new();
    if contained {
        options.contained();
    }
    let map = options.map_raw(&file).expect("a map");
    map.shared().fill(0, 2 << 20, 1).expect("inside");
    map
}

/// memcpy of as many bytes, out of line as libc's is.
fn memcpy_out(map: &MmapRaw, bytes: &mut [u8]) {
    assert!(bytes.len() <= map.len());
    // SAFETY: inside the map, which nobody else uses.
    unsafe {
        std::ptr::copy_nonoverlapping(black_box(map.as_ptr()), bytes.as_mut_ptr(), bytes.len())
    };
}

fn memcpy_in(map: &MmapRaw, bytes: &[u8]) {
    assert!(bytes.len() <= map.len());
    // SAFETY: as above.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), black_box(map.as_mut_ptr()), bytes.len())
    };
}

fn sum_of(map: &MmapRaw, len: usize) -> u64 {
    // SAFETY: inside the map, which nobody else uses.
    let words = unsafe { std::slice::from_raw_parts(map.as_ptr().cast::<u64>(), len / 8) };
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

fn copy(what: &str, len: usize, times: usize) {
    let map = MmapOptions::new()
        .len(2 << 20)
        .map_anon_shared()
        .expect("a map");
    let mut bytes = vec![1; len];
    // Faulted in, and once for what is looked up the first time.
    memcpy_in(&map, &bytes);
    memcpy_out(&map, &mut bytes);
    for _ in 0..times {
        match what {
            "read" => map
                .shared()
                .read(black_box(0), black_box(&mut bytes))
                .expect("inside"),
            "write" => map
                .shared()
                .write(black_box(0), black_box(&bytes))
                .expect("inside"),
            _ => memcpy_out(&map, black_box(&mut bytes)),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if let [word, what, len, times] = &arguments[..]
        && word == "copy"
    {
        copy(
            what,
            len.parse().expect("bytes"),
            times.parse().expect("a number"),
        );
        return ExitCode::SUCCESS;
    }
    // Many of each, made in turn: at one address the caches may be of more help than at another.
    let maps: Vec<[MmapRaw; 2]> = (0..MAPS).map(|_| [false, true].map(memory)).collect();
    let plain = &maps[0][0];
    let turn = Cell::new(0);
    let next = |contained: usize| {
        turn.set(turn.get() + 1);
        &maps[turn.get() / ROUNDS % MAPS][contained]
    };
    println!("Time as a ratio: median of {ROUNDS} interleaved rounds (quartiles)");
    for len in SIZES {
        compare(
            "loads of a contained map / of a plain one",
            len,
            Box::new(|| {
                black_box(sum_of(black_box(next(1)), len));
            }),
            Box::new(|| {
                black_box(sum_of(black_box(next(0)), len));
            }),
        );
    }
    for len in SIZES {
        // The same place for both: where it is makes a difference.
        let bytes = RefCell::new(vec![0; len]);
        let read = |map: &MmapRaw| {
            let view = map.shared();
            view.read(0, black_box(&mut bytes.borrow_mut()))
                .expect("inside");
        };
        compare(
            "shared().read of a contained map / a plain one",
            len,
            Box::new(|| read(next(1))),
            Box::new(|| read(next(0))),
        );
        compare(
            "shared().read / memcpy",
            len,
            Box::new(|| read(plain)),
            Box::new(|| memcpy_out(plain, black_box(&mut bytes.borrow_mut()))),
        );
    }
    for len in SIZES {
        let bytes = vec![0; len];
        let view = plain.shared();
        compare(
            "shared().write / memcpy",
            len,
            Box::new(|| view.write(0, black_box(&bytes)).expect("inside")),
            Box::new(|| memcpy_in(plain, black_box(&bytes))),
        );
    }
    ExitCode::SUCCESS
}
