//! Random walks over the calls of the library, and over what may come between: a device that fails, a disk that fills,
//! a peer that truncates, signals, forks, a kernel that refuses. Each walk is a process, and is judged after each step.
//!
//! `RAWMAP_WALKS` is how many walks each place of the file gets, and then each time others; `RAWMAP_WALK_SEED` is the seed of
//! the first.

mod board;
mod call;
mod change;
mod draw;
mod end;
mod event;
mod found;
mod ground;
mod judge;
mod limit;
mod memory;
mod program;
mod refuse;
mod sample;
mod step;
mod subject;
mod threads;
mod unplug;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use rawmap_tests::disk::On;
use rawmap_tests::{is_slow, skip};

use board::Board;
use ground::Ground;
use step::{Memory, Step};
use world::World;

/// Seconds that a walk may take where it waits for something; it takes some milliseconds.
pub const PATIENCE: u32 = 60;
/// Seconds of the processor that it may take. A loop without an end takes all that it gets, on a busy machine, too.
const WORK: u64 = 10;

/// Steps of a walk, at most.
const STEPS: usize = 30;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// In the process of the walk.
fn walk(ground: &Ground, steps: &[Step], board: &Board) -> Result<(), String> {
    event::install_handlers();
    limit::prepare();
    let mut world = World::new(ground);
    world.map_anon(Memory::Private, 3 * world::page())?;
    for (number, step) in steps.iter().enumerate() {
        board.at(number);
        world.left_out = false;
        world.step(*step)?;
        if !step.is_event() && !world.left_out {
            board.count(step, &world.causes.happened);
        }
        world.check()?;
    }
    board.at(steps.len());
    // Each place in the table takes a call, so not after every walk.
    world.end(steps.len().is_multiple_of(4))
}

/// Takes a walk in a process of its own. The error tells at which step it went wrong.
fn try_walk(ground: &Ground, steps: &[Step], board: &Board) -> Result<(), String> {
    board.begin();
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        limit::set(libc::RLIMIT_CPU, WORK * if is_slow() { 4 } else { 1 });
        // SAFETY: a walk that hangs is ended by the signal.
        unsafe { libc::alarm(PATIENCE) };
        std::panic::set_hook(Box::new(|_| {}));
        let result = catch_unwind(AssertUnwindSafe(|| walk(ground, steps, board)));
        let result = result.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!(
                "panic: {}",
                text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("")
            ))
        });
        if let Err(text) = &result {
            board.tell(text);
        }
        // SAFETY: ends the child; what the parent left unwritten is not its own.
        unsafe { libc::_exit(if result.is_ok() { 0 } else { board::BROKEN }) }
    }
    assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: our own child.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {}
    // SAFETY: what it left behind has come to us.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
    limit::restore();
    let at = board.step();
    let place = steps
        .get(at)
        .map_or("the end".to_owned(), |step| format!("step {at}, {step:?}"));
    let why = if libc::WIFSIGNALED(status) {
        match libc::WTERMSIG(status) {
            libc::SIGALRM => format!("it waits for {PATIENCE} s"),
            libc::SIGXCPU => "it goes on for ever".to_owned(),
            signal => format!("it died of signal {signal}"),
        }
    } else {
        match libc::WEXITSTATUS(status) {
            0 => return Ok(()),
            board::BROKEN => board.told(),
            board::DIED => "it died of SIGBUS".to_owned(),
            other => format!("it ended with {other}"),
        }
    };
    Err(format!("at {place}: {why}"))
}

fn walks(name: &'static str, on: Option<On>) -> Result<(), Failed> {
    let mut ground = match Ground::fresh(on) {
        Ok(ground) => ground,
        Err(reason) => {
            skip(name, &reason);
            return Ok(());
        }
    };
    if !rawmap_tests::faults_have_addresses() {
        skip(name, "no addresses of faults");
        return Ok(());
    }
    // Limits and refusals are to be met by the library alone.
    if cfg!(target_env = "musl") {
        skip(name, "malloc cannot be told to keep its memory");
        return Ok(());
    }
    // A few that are the same each time; or others, where it is asked for them.
    let asked = number("RAWMAP_WALKS");
    let count = asked.unwrap_or(if is_slow() { 10 } else { 150 });
    let first = number("RAWMAP_WALK_SEED").unwrap_or_else(|| asked.map_or(1, |_| random_seed()));
    let board = board();
    let begin = std::time::Instant::now();
    let mut told = begin;
    for seed in first..first + count {
        if told.elapsed().as_secs() >= 20 {
            told = std::time::Instant::now();
            println!("{name}: {} of {count} walks", seed - first);
        }
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases: 1,
            failure_persistence: None,
            // Of one that hangs, too, something is printed.
            max_shrink_time: 120_000,
            max_shrink_iters: number("RAWMAP_WALK_SHRINKS").unwrap_or(3000) as u32,
            ..Config::default()
        };
        let mut runner =
            TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let ground = std::cell::RefCell::new(&mut ground);
        let result = runner.run(&draw::walks(STEPS), |steps| {
            let mut ground = ground.borrow_mut();
            if ground.reset().is_err() {
                **ground = Ground::fresh(on).expect("as before");
            }
            try_walk(&ground, &steps, board).map_err(TestCaseError::fail)
        });
        if let Err(TestError::Fail(reason, steps)) = result {
            println!(
                "{name}: walk {} broke a promise {reason}\n",
                seed - first + 1
            );
            println!(
                "Again: RAWMAP_WALK_SEED={seed} RAWMAP_WALKS=1 cargo test --package rawmap-tests --test walk -- {name}"
            );
            println!("For found.rs:\n\n    (\"{seed}\", {on:?}, &{steps:?}),\n");
            println!("{}", program::program(name, &seed.to_string(), on, &steps));
            return Err(Failed::from(reason.message().to_owned()));
        }
        if let Err(error) = result {
            return Err(Failed::from(error.to_string()));
        }
    }
    println!(
        "{name}: {count} walks from seed {first}, {} s",
        begin.elapsed().as_secs()
    );
    WALKS.fetch_add(count as usize, Ordering::Relaxed);
    Ok(())
}

static WALKS: AtomicUsize = AtomicUsize::new(0);

/// Of all walks of this process.
fn board() -> &'static Board {
    static BOARD: OnceLock<Board> = OnceLock::new();
    BOARD.get_or_init(Board::new)
}

/// Of many walks: each call came after each event, and often.
fn pairs() -> Result<(), Failed> {
    /// As many in each place.
    const MANY: u64 = 30_000;
    const OFTEN: u32 = 50;
    if WALKS.load(Ordering::Relaxed) < 1000 {
        return Ok(());
    }
    board().print();
    let missing = board().missing(OFTEN);
    for pair in &missing {
        println!("less than {OFTEN} times: {pair}");
    }
    if WALKS.load(Ordering::Relaxed) < 3 * MANY as usize || missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} pairs of a call and an event were met too rarely",
        missing.len()
    )
    .into())
}

fn random_seed() -> u64 {
    // Another one each time, and short enough to type.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |time| {
        u64::from(time.subsec_nanos()) << 8 | u64::from(std::process::id() % 256)
    })
}

fn main() {
    let mut arguments = Arguments::from_args();
    // A child of fork(2) has the thread that called it, and no other.
    arguments.test_threads = Some(1);
    // SAFETY: plain system call.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let place = |name: &'static str, on| Trial::test(name, move || walks(name, on));
    let trials = vec![
        place("walk::in_memory", None),
        place("walk::on_a_device", Some(On::Device)),
        place("walk::on_ext4", Some(On::Ext4)),
        Trial::test("walk::pairs", pairs),
        Trial::test("walk::found", found::all),
        Trial::test("walk::program", sample::compiles),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}
