//! Two processes share memory and do not trust each other. The peer scribbles, takes the memory away, and dies in
//! the middle of a write; this process reads on, and says what happened.
//!
//! ```text
//! cargo run --package rawmap --features fault --example untrusted_peer
//! ```
//!
//! Descriptors are handed over through a Unix socket, as they would be to a process of another user.

#![allow(
    clippy::std_instead_of_core,
    clippy::as_conversions,
    reason = "a program, not the library: constants and small numbers"
)]

mod descriptor;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rawmap::memfd::MemfdOptions;
use rawmap::{Error, Mail, Mailbox, MmapOptions, MmapRaw};

use descriptor::{hand_over, receive};

/// Bytes of the memory that is shared.
const LEN: usize = 65_536;
const RECORD_LEN: usize = 16;
/// Behind the mailbox with the record.
const BEHIND: usize = Mailbox::HEAD + RECORD_LEN;

fn main() -> io::Result<()> {
    let (socket, peers) = UnixStream::pair()?;
    // SAFETY: the only thread of this process.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(socket);
            // What it returns is an error: its last deed is to die.
            eprintln!("peer: {:?}", peer(peers));
            std::process::exit(1)
        }
        child => {
            drop(peers);
            this_process(socket, child)
        }
    }
}

fn this_process(mut socket: UnixStream, child: libc::pid_t) -> io::Result<()> {
    // Memory that the peer can shorten: contained.
    let plain = MemfdOptions::new().create("plain")?;
    plain.set_len(LEN as u64)?;
    let map = MmapOptions::new().contained().map_raw(&plain)?;
    // Memory that it cannot: sealed.
    let sealed = MemfdOptions::new().create("sealed")?;
    sealed.set_len(LEN as u64)?;
    let memory = MmapOptions::new().map_raw_sealed(&sealed)?;
    let mut mailbox = Mailbox::new(memory.shared(), 0, RECORD_LEN)?;
    mailbox.write(b"written by owner")?;
    hand_over(&socket, &plain)?;
    hand_over(&socket, &sealed)?;

    wait_for(&mut socket)?;
    println!("1. The peer wrote: {}", text_of(&map)?);
    answer(&mut socket)?;

    wait_for(&mut socket)?;
    println!("2. The peer made the file in memory shorter.");
    match text_of(&map) {
        Err(error) => println!("   Reading it is an error, not the end: {error}"),
        Ok(text) => println!("   Nothing was lost: {text}"),
    }
    println!(
        "   lost from byte {:?} on; flush: {:?}",
        map.lost(),
        map.flush()
    );
    answer(&mut socket)?;

    wait_for(&mut socket)?;
    println!(
        "3. The peer tried the same with the sealed one: the length is {}.",
        sealed.metadata()?.len()
    );
    println!("   A record in it: {}", record_of(&mailbox)?);
    answer(&mut socket)?;

    // It dies now. Nobody answers any more.
    let mut end = [0];
    let end = socket.read(&mut end);
    let mut status = 0;
    // SAFETY: our child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    let status = ExitStatus::from_raw(status);
    println!(
        "4. The peer is gone ({:?} from its socket): {status}",
        end.ok()
    );
    println!("   A record in the sealed memory: {}", record_of(&mailbox)?);
    let scribbled: u32 = memory.shared().load(BEHIND)?;
    println!("   What it scribbled is data, and is checked as such: {scribbled:#x}");

    // And on it goes: the memory is this process's again.
    mailbox.write(b"owner goes on ok")?;
    println!("5. {}", record_of(&mailbox)?);
    Ok(())
}

/// Does its worst.
fn peer(mut socket: UnixStream) -> io::Result<()> {
    let plain = File::from(receive(&socket)?);
    let sealed = File::from(receive(&socket)?);
    let map = MmapOptions::new().map_raw(&plain)?;
    map.shared().write(100, b"hello from the peer")?;
    answer(&mut socket)?;
    wait_for(&mut socket)?;

    plain.set_len(0)?;
    answer(&mut socket)?;
    wait_for(&mut socket)?;

    if let Err(error) = sealed.set_len(0) {
        println!("   (the peer: {error})");
    }
    answer(&mut socket)?;
    wait_for(&mut socket)?;

    let map = MmapOptions::new().map_raw(&sealed)?;
    let view = map.shared();
    view.fill(BEHIND, 4, 0xdb)?;
    // A write that never ends: the number is odd.
    view.fetch_add(0, 1_u32)?;
    view.write(Mailbox::HEAD, b"half a reco")?;
    // SAFETY: a signal to this process.
    unsafe { libc::raise(libc::SIGKILL) };
    Ok(())
}

/// The peer's words: copied once, and then looked at.
fn text_of(map: &MmapRaw) -> io::Result<String> {
    let bytes = map.try_with(|map| {
        let mut bytes = [0; 19];
        map.shared().read(100, &mut bytes).map(|()| bytes)
    })??;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A whole record, or why there is none. A peer is not waited for: it may have died.
fn record_of(mailbox: &Mailbox<'_>) -> Result<String, Error> {
    let mut record = [0; RECORD_LEN];
    Ok(match mailbox.read(&mut record)? {
        Mail::Value(number) => format!("{number}, {}", String::from_utf8_lossy(&record)),
        none => format!("none: {none:?}"),
    })
}

fn answer(socket: &mut UnixStream) -> io::Result<()> {
    io::stdout().flush()?;
    socket.write_all(&[1])
}

fn wait_for(socket: &mut UnixStream) -> io::Result<()> {
    socket.read_exact(&mut [0])
}
