//! Frames from one process to others that trust it with nothing: it writes the newest frame into memory that only it can
//! change, and that no process can shorten.
//!
//! ```text
//! cargo run --package rawmap --example frames -- produce /tmp/frames.sock 1000 &
//! cargo run --package rawmap --example frames -- consume /tmp/frames.sock
//! ```
//!
//! A consumer that is slow misses frames, and keeps no other from them. From Linux 5.1 on.

#![allow(
    clippy::std_instead_of_core,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "a program, not the library: constants and small numbers"
)]

mod descriptor;

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::time::Duration;

use rawmap::memfd::{MemfdOptions, Seals, add_seals, seals};
use rawmap::{Mail, Mailbox, MmapOptions, Waited};

use descriptor::{hand_over, receive};

/// Bytes of a frame: its number, and 40 x 25 points.
const FRAME: usize = 8 + 1000;
const LEN: usize = 4096;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["produce", socket, frames] if frames.parse::<u64>().is_ok() => {
            produce(socket, frames.parse().unwrap_or(0))
        }
        ["consume", socket] => consume(socket),
        _ => {
            eprintln!("usage: frames produce SOCKET FRAMES | frames consume SOCKET");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frames: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes so many frames, from when the first consumer comes on.
fn produce(socket: &str, frames: u64) -> io::Result<()> {
    let memory = MemfdOptions::new().create("frames")?;
    memory.set_len(LEN as u64)?;
    let map = MmapOptions::new().map_raw_sealed(&memory)?;
    // From here on no process can map it for writing, write to it, or change its length. The map above goes on.
    add_seals(&memory, Seals::FUTURE_WRITE | Seals::GROW | Seals::SEAL)?;
    let mut mailbox = Mailbox::new(map.shared(), 0, FRAME)?;

    let listener = UnixListener::bind(socket).map_err(|error| named(socket, &error))?;
    // Their ends are closed when this process ends, however it does.
    let mut consumers: Vec<UnixStream> = Vec::new();
    let mut is_begun = false;
    for number in 1..=frames {
        // One that has gone is to take no descriptor from others.
        consumers.retain(|consumer| !has_ended(consumer).unwrap_or(true));
        listener.set_nonblocking(is_begun)?;
        // No consumer, or one that has gone already, is a reason to stop.
        if let Ok((consumer, _)) = listener.accept() {
            is_begun = true;
            if hand_over(&consumer, &memory).is_ok() && consumer.set_nonblocking(true).is_ok() {
                consumers.push(consumer);
            }
        }
        mailbox.write(&draw(number))?;
        map.shared().wake(0, u32::MAX)?;
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::remove_file(socket)
}

fn draw(number: u64) -> [u8; FRAME] {
    let number = number.to_le_bytes();
    let mut frame = [number[0]; FRAME];
    frame[..8].copy_from_slice(&number);
    frame
}

/// Looks at the newest frame as often as there is one, until the producer has ended.
fn consume(socket: &str) -> io::Result<()> {
    let producer = UnixStream::connect(socket).map_err(|error| named(socket, &error))?;
    let memory = receive(&producer)?;
    // Else it could have holes, which are nothing but where they cannot be filled: of huge pages, SIGBUS.
    let held = seals(&memory)?;
    if !held.contains(Seals::FUTURE_WRITE) && !held.contains(Seals::WRITE) {
        let refused = "the producer's memory is not sealed against writing";
        return Err(io::Error::new(ErrorKind::InvalidData, refused));
    }
    // The length is this process's own, and memory that can still shrink is refused.
    let map = MmapOptions::new()
        .len(LEN)
        .map_raw_sealed_read_only(memory)?;
    producer.set_nonblocking(true)?;
    let mailbox = Mailbox::new(map.shared(), 0, FRAME)?;
    let mut frame = [0; FRAME];
    let (mut seen, mut frames, mut last) = (0, 0_u64, 0);
    loop {
        // Before the frame is read: then no wake is missed.
        let word: u32 = map.shared().load(0)?;
        match mailbox.read(&mut frame)? {
            Mail::Value(number) if number != seen => {
                seen = number;
                frames += 1;
                last = check(&frame)?;
                if frames == 1 {
                    println!("the first is {last}");
                }
                continue;
            }
            // An old one, none yet, or the producer is at it, or died there.
            _ => {}
        }
        let waited = map
            .shared()
            .wait(0, word, Some(Duration::from_millis(100)))?;
        if waited == Waited::TimedOut && has_ended(&producer)? {
            println!("{frames} whole frames, the last is {last}; the producer has ended");
            return Ok(());
        }
    }
}

/// Whatever it is, it is looked at in this process's own copy.
fn check(frame: &[u8; FRAME]) -> io::Result<u64> {
    let (number, points) = frame.split_at(8);
    let number = number
        .iter()
        .rfold(0, |number, byte| number << 8 | u64::from(*byte));
    if points.iter().any(|point| u64::from(*point) != number % 256) {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("frame {number} has another's points"),
        ));
    }
    Ok(number)
}

fn named(socket: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{socket}: {error}"))
}

fn has_ended(mut peer: &UnixStream) -> io::Result<bool> {
    match peer.read(&mut [0]) {
        Ok(len) => Ok(len == 0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
        Err(error) => Err(error),
    }
}
