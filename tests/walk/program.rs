//! Prints a walk as a program, for who has to find out what went wrong.

use std::fmt::Write as _;

use rawmap_tests::disk::On;

use crate::memory;
use crate::step::{Against, At, ERRNOS, Hint, Kind, PAGES, SLOTS, Step};
use crate::subject::BLOCK;
use crate::world::{PAGES_AT_START, World, page};

const HEAD: &str = r#"#![cfg_attr(rustfmt, rustfmt_skip)]
#![allow(clippy::all, clippy::pedantic, unused, reason = "printed by a program")]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use embedded_storage::nor_flash::NorFlash as _;
use rawmap_core::adapter::{Cursor, Flash, Overwrite};
use rawmap_core::memfd::{MemfdOptions, Seals, add_seals};
use rawmap_core::{Advice, Mailbox, MmapMut, MmapOptions, MmapRaw, Protection, RemapOptions, SharedTracked, Tracked, UncheckedAdvice};
use rawmap_tests::disk::{FailingDisk, On, fill_with};

#[path = "../walk/event.rs"]
mod event;
#[path = "../walk/limit.rs"]
mod limit;
#[path = "../walk/refuse.rs"]
mod refuse;
#[path = "../walk/step.rs"]
mod step;
mod board {
    pub const DIED: i32 = 4;
}
pub const PATIENCE: u32 = 60;
mod world {
    pub fn page() -> usize {
        rawmap_core::page_size().unwrap().get()
    }
}

fn main() {
    event::install_handlers();
    let mut limits = limit::Limits::default();
"#;

/// A map that the program has.
#[derive(Clone, Copy)]
struct Map {
    kind: Kind,
    file: u8,
    first: usize,
    len: usize,
}

impl Map {
    /// The map itself, of what is in the variable.
    fn raw(self, name: &str) -> Option<String> {
        Some(match self.kind {
            Kind::Raw | Kind::Kept | Kind::Sealed | Kind::Peek => name.to_owned(),
            Kind::Mut | Kind::Only | Kind::Copy => format!("{name}.as_raw()"),
            Kind::Tracked => format!("{name}.as_map().as_raw()"),
            Kind::Flash | Kind::Buffered => format!("{name}.get_ref().as_raw()"),
            Kind::Cursor => format!("{name}.get_ref().as_map().as_raw()"),
            Kind::Shared => return None,
        })
    }

    fn within(self, at: At) -> usize {
        World::in_file(at).checked_rem(self.len).unwrap_or(0)
    }

    fn clip(self, at: At, len: u16) -> (usize, usize) {
        let offset = self.within(at);
        (offset, usize::from(len).min(self.len - offset))
    }

    fn new_len(self, pages: u8) -> usize {
        let len = (usize::from(pages) * page()).saturating_sub(self.first % page());
        len.min(PAGES * page() - self.first)
    }
}

/// The text of a program that takes the steps and prints what each call said.
pub fn program(name: &str, seed: &str, on: Option<On>, steps: &[Step]) -> String {
    let mut text = format!(
        "//! {name}, seed {seed}. In tests/examples/walk.rs it runs by `cargo run --package rawmap-tests --example walk`.\n\n{HEAD}"
    );
    text += &match on {
        Some(on) => format!(
            "    let disk = FailingDisk::new(On::{on:?}).unwrap();\n    let file = &disk.file;\n"
        ),
        None => format!(
            "    let file = &File::from(MemfdOptions::new().create(c\"walk\").unwrap());\n    file.set_len({}).unwrap();\n",
            PAGES_AT_START * page()
        ),
    };
    if on == Some(On::Device) {
        text += "    let mut had: Option<Vec<u8>> = None;\n";
    }
    if on == Some(On::Ext4) {
        text += "    let filler = disk.unnamed();\n";
    }
    text += "    let path = format!(\"/proc/self/fd/{}\", file.as_raw_fd());\n";
    text += "    let open = || File::options().read(true).write(true).open(&path).unwrap();\n";
    for slot in 0..SLOTS {
        let _ = writeln!(text, "    let mut file{slot} = open();");
    }
    text += "    let peer = open();\n";
    let mut maps: [Option<Map>; SLOTS] = [None; SLOTS];
    let mut anon = None;
    for step in steps {
        let mut line = String::new();
        if matches!(step, Step::DropClean | Step::TakeOut) {
            for (slot, map) in maps.iter().enumerate() {
                let map = map.filter(|map| map.kind != Kind::Copy);
                if let Some(raw) = map.and_then(|map| map.raw(&format!("map{slot}"))) {
                    let advice = "UncheckedAdvice::DontNeed";
                    let _ = writeln!(
                        text,
                        "    let _ = unsafe {{ {raw}.unchecked_advise({advice}) }};"
                    );
                }
            }
        }
        if let Some(made) = event(on, *step)
            .or_else(|| map(&mut maps, *step))
            .or_else(|| memory::print(&mut anon, *step))
        {
            line = made;
        } else if let Some(slot) = slot(*step)
            && let Some(map) = &mut maps[slot]
        {
            line = call(map, &format!("map{slot}"), *step).unwrap_or_default();
        }
        if !line.is_empty() {
            let _ = writeln!(text, "    {line} // {step:?}");
        }
    }
    text + "}\n"
}

/// A map that is made, or goes.
fn map(maps: &mut [Option<Map>; SLOTS], step: Step) -> Option<String> {
    let (slot, new) = match step {
        Step::Unmap(slot) => (slot, None),
        Step::Map { slot, .. } => (slot, Some(step)),
        _ => return None,
    };
    let old = maps[usize::from(slot)].take();
    let mut line = old.map_or(String::new(), |_| format!("drop(map{slot}); "));
    if let Some(Step::Map {
        kind,
        file,
        from,
        pages,
        contained,
        scattered,
        ..
    }) = new
    {
        let first = World::in_file(from);
        let mut len = (usize::from(pages) * page()).min(PAGES * page() - first);
        if matches!(kind, Kind::Flash | Kind::Buffered) {
            len -= len % BLOCK;
        }
        maps[usize::from(slot)] = Some(Map {
            kind,
            file,
            first,
            len,
        });
        let krate = if kind == Kind::Kept { "rawmap::" } else { "" };
        let mut options = format!("{krate}MmapOptions::new().offset({first}).len({len})");
        for (set, name) in [
            (kind == Kind::Kept, ".keep_file()"),
            (contained, ".contained()"),
            (
                scattered && !matches!(kind, Kind::Only | Kind::Copy | Kind::Peek),
                ".scattered()",
            ),
        ] {
            options += if set { name } else { "" };
        }
        let mutable = format!("unsafe {{ {options}.map_mut(&file{file}) }}.unwrap()");
        let made = match kind {
            Kind::Raw | Kind::Kept => format!("{options}.map_raw(&file{file}).unwrap()"),
            Kind::Sealed => format!("{options}.map_raw_sealed(&file{file}).unwrap()"),
            Kind::Peek => {
                format!("{options}.map_raw_sealed_read_only(&file{file}).unwrap()")
            }
            Kind::Only => format!("unsafe {{ {options}.map(&file{file}) }}.unwrap()"),
            Kind::Copy => format!("unsafe {{ {options}.map_copy(&file{file}) }}.unwrap()"),
            Kind::Mut => mutable,
            Kind::Tracked => format!("Tracked::<3>::new({mutable})"),
            Kind::Shared => format!("SharedTracked::<3>::new({mutable})"),
            Kind::Cursor => format!("Cursor::new(Tracked::<3>::new({mutable}))"),
            Kind::Flash => format!("Flash::<_, Overwrite, 1, 1, {BLOCK}>::new({mutable}).unwrap()"),
            Kind::Buffered => {
                format!("Flash::<_, Overwrite, 1, 1, {BLOCK}>::buffered({mutable}).unwrap()")
            }
        };
        if contained {
            line += "rawmap::fault::install().unwrap(); ";
        }
        let _ = write!(line, "let mut map{slot} = {made};");
    }
    Some(line)
}

fn slot(step: Step) -> Option<usize> {
    let text = format!("{step:?}");
    let inner = text.split_once('(')?.1;
    let digits = inner.find(|letter: char| !letter.is_ascii_digit())?;
    inner[..digits].parse().ok()
}

const DROP: &str =
    "unsafe { libc::posix_fadvise(peer.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };";

fn event(on: Option<On>, step: Step) -> Option<String> {
    let disk = |call: &str| {
        if on.is_some() {
            format!("disk.{call}();")
        } else {
            String::new()
        }
    };
    let files = |call: String| {
        if on == Some(On::Device) {
            String::new()
        } else {
            call
        }
    };
    let filler = |call: &str| {
        if on == Some(On::Ext4) {
            call.to_owned()
        } else {
            String::new()
        }
    };
    Some(match step {
        Step::Fail => disk("fail"),
        Step::TakeOut if on == Some(On::Device) => {
            format!("if had.is_none() {{ {DROP} had = disk.take_out(); }}")
        }
        Step::TakeOut => String::new(),
        Step::Work if on == Some(On::Device) => {
            "disk.recover(); if let Some(had) = had.take() { disk.put_back(&had); }".to_owned()
        }
        Step::Work => disk("recover"),
        Step::Fill => filler("fill_with(&filler);"),
        Step::Empty => filler("filler.set_len(0).unwrap();"),
        Step::Told => "println!(\"{:?}\", peer.sync_all());".to_owned(),
        Step::WriteBack => {
            "MmapRaw::map_raw(&peer).map(|map| map.start_writeback(&peer, 0, map.len()));"
                .to_owned()
        }
        Step::DropClean => DROP.to_owned(),
        Step::Open(slot) => format!("file{slot} = open();"),
        Step::Truncate(pages) => files(format!(
            "println!(\"{{:?}}\", peer.set_len({}));",
            usize::from(pages) * page()
        )),
        Step::Punch(first, pages) => format!(
            "unsafe {{ libc::fallocate(peer.as_raw_fd(), libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, {}, {}) }};",
            usize::from(first) * page(),
            usize::from(pages) * page()
        ),
        Step::Peer(at, len, byte) => {
            format!(
                "println!(\"{{:?}}\", peer.write_at(&[{byte}; {len}], {}));",
                World::in_file(at)
            )
        }
        Step::Killed(at, len, byte) => {
            format!(
                "event::write_and_die(&peer, {}, {len}, {byte});",
                World::in_file(at)
            )
        }
        Step::Timer(bus) => {
            format!(
                "event::start_timer(libc::{});",
                if bus { "SIGBUS" } else { "SIGUSR1" }
            )
        }
        Step::Fork => "event::fork(|| true);".to_owned(),
        Step::Refuse(call, errno, 0) => {
            format!(
                "refuse::always(step::Refused::{call:?}, {});",
                ERRNOS[usize::from(errno)]
            )
        }
        Step::Refuse(call, errno, times) => format!(
            "std::mem::forget(refuse::next(step::Refused::{call:?}, {}, {times}));",
            ERRNOS[usize::from(errno)]
        ),
        Step::Nobody => "event::be_nobody();".to_owned(),
        Step::Limit(limit, left) => format!("limits.near(step::Limit::{limit:?}, {left});"),
        Step::Seal(against) => {
            let seals = match against {
                Against::Shrinking => "SHRINK",
                Against::Growing => "GROW",
                Against::Writing => "WRITE",
                Against::FutureWriting => "FUTURE_WRITE",
                Against::Seals => "SEAL",
            };
            format!("println!(\"{{:?}}\", add_seals(file, Seals::{seals}));")
        }
        Step::Reserve(first, pages) => {
            let first = usize::from(first).min(PAGES);
            files(format!(
                "println!(\"{{:?}}\", rawmap_core::reserve(&file0, {}, {}));",
                first * page(),
                usize::from(pages).min(PAGES - first) * page()
            ))
        }
        _ => return None,
    })
}

/// What is called of a map; nothing where its type has no such call.
fn call(map: &mut Map, name: &str, step: Step) -> Option<String> {
    let (all, raw, file) = (map.len, map.raw(name), map.file);
    let say = |call: String| Some(format!("println!(\"{{:?}}\", {call});"));
    let of_raw = |call: String| raw.as_ref().and_then(|raw| say(format!("{raw}.{call}")));
    let is_raw = matches!(map.kind, Kind::Raw | Kind::Kept | Kind::Sealed | Kind::Peek);
    let is_chip = matches!(map.kind, Kind::Flash | Kind::Buffered);
    let knows = matches!(map.kind, Kind::Tracked | Kind::Shared);
    let inner = match map.kind {
        Kind::Cursor | Kind::Flash | Kind::Buffered => format!("{name}.get_mut()"),
        _ => name.to_owned(),
    };
    match step {
        Step::Write(_, at, len, byte) => {
            let (offset, len) = map.clip(at, len);
            Some(match map.kind {
                Kind::Only => return None,
                Kind::Mut | Kind::Copy => format!("{name}[{offset}..][..{len}].fill({byte});"),
                Kind::Cursor => format!(
                    "{name}.set_position({offset}); {name}.write_all(&[{byte}; {len}]).unwrap();"
                ),
                _ if is_raw => {
                    format!(
                        "unsafe {{ {name}.as_mut_ptr().add({offset}).write_bytes({byte}, {len}) }};"
                    )
                }
                _ => return say(format!("{name}.write({offset}, &[{byte}; {len}])")),
            })
        }
        Step::Read(_, at) => raw.and_then(|raw| {
            say(format!(
                "unsafe {{ {raw}.as_ptr().add({}).read() }}",
                map.within(at)
            ))
        }),
        Step::Wait(_, at) => of_raw(format!(
            "shared().wait({}, 0, Some(std::time::Duration::ZERO))",
            map.within(at) & !3
        )),
        Step::Flush(_) => of_raw("flush()".into()),
        Step::FlushRange(_, at, len) => of_raw(format!("flush_range({}, {len})", map.within(at))),
        Step::FlushAsync(_) => of_raw("flush_async()".into()),
        Step::FlushAll(_) => of_raw(format!(
            "flush_all(&file{})",
            (usize::from(file) + 1) % SLOTS
        )),
        Step::StartWriteback(_) if knows => say(format!("{name}.start_writeback(&file{file})")),
        Step::StartWriteback(_) => of_raw(format!("start_writeback(&file{file}, 0, {all})")),
        Step::Commit(_, _) if is_chip => say(format!("{name}.commit()")),
        Step::Commit(_, _) if map.kind == Kind::Cursor => say(format!("{name}.flush()")),
        Step::Commit(_, apart) if knows => say(format!(
            "{name}.commit_with({})",
            if apart { "0" } else { "usize::MAX" }
        )),
        Step::Retry(_) if knows => say(format!("{name}.retry()")),
        Step::Retry(_) if map.kind == Kind::Cursor => say(format!("{inner}.retry()")),
        Step::Retry(_) => of_raw("retry_flush()".into()),
        Step::Protect(_, at, len, to) if is_raw => {
            let (offset, len) = map.clip(at, len);
            say(format!(
                "{name}.protect_range({}, {offset}, {len})",
                protection(to)
            ))
        }
        Step::ProtectAll(_, to) if is_raw => say(format!("{name}.protect({})", protection(to))),
        Step::ProtectAll(_, 0 | 1) if matches!(map.kind, Kind::Mut | Kind::Copy) => {
            map.kind = Kind::Only;
            Some(format!(
                "let mut {name} = {name}.make_read_only().unwrap();"
            ))
        }
        Step::ProtectAll(_, 2..) if map.kind == Kind::Only => {
            map.kind = Kind::Mut;
            Some(format!("let mut {name} = {name}.make_mut().unwrap();"))
        }
        Step::Advise(_, at, len, Hint::DontNeed) => {
            let (offset, len) = map.clip(at, len);
            raw.and_then(|raw| {
                let advice = "UncheckedAdvice::DontNeed";
                say(format!(
                    "unsafe {{ {raw}.unchecked_advise_range({advice}, {offset}, {len}) }}"
                ))
            })
        }
        Step::Advise(_, at, len, hint) => {
            let (offset, len) = map.clip(at, len);
            of_raw(format!("advise_range(Advice::{hint:?}, {offset}, {len})"))
        }
        Step::Lock(_, at, len) | Step::Unlock(_, at, len) => {
            let (offset, len) = map.clip(at, len);
            let un = if matches!(step, Step::Lock(..)) {
                ""
            } else {
                "un"
            };
            of_raw(format!("{un}lock_range({offset}, {len})"))
        }
        Step::PrefaultRead(_, at, len)
        | Step::PrefaultWrite(_, at, len)
        | Step::LockWritable(_, at, len) => {
            let (offset, len) = map.clip(at, len);
            let call = match step {
                Step::PrefaultRead(..) => "prefault_read",
                Step::PrefaultWrite(..) => "prefault_write",
                _ => "lock_writable",
            };
            of_raw(format!("{call}({offset}, {len})"))
        }
        Step::Grow(_, pages) if !is_chip && map.kind != Kind::Only => {
            let new = map.new_len(pages);
            map.len = all.max(new);
            say(format!("unsafe {{ {inner}.grow(&file{file}, {new}) }}"))
        }
        Step::Remap(_, pages) if is_raw => {
            map.len = map.new_len(pages);
            let how = "RemapOptions::new().may_move(true)";
            say(format!("unsafe {{ {name}.remap({}, {how}) }}", map.len))
        }
        Step::Acknowledge(_) if map.kind == Kind::Shared => {
            say(format!("{name}.acknowledge_lost()"))
        }
        Step::Acknowledge(_) => of_raw("acknowledge_lost()".into()),
        Step::Recover(_) => say(format!("unsafe {{ {inner}.recover(&file{file}) }}")),
        Step::Word(_, at, byte) if is_raw => {
            let word = u32::from_ne_bytes([byte; 4]);
            say(format!(
                "{name}.shared().swap({}, {word}_u32)",
                map.within(at)
            ))
        }
        Step::Mail(_, at, byte) if is_raw => say(format!(
            "Mailbox::new({name}.shared(), {}, 8).and_then(|mut mailbox| Ok((mailbox.write(&[{byte}; 8]), mailbox.read(&mut [0; 8]))))",
            map.within(at)
        )),
        Step::Erase(_, at) if is_chip => {
            let offset = map.within(at) / BLOCK * BLOCK;
            say(format!("{name}.erase({offset}, {})", offset + BLOCK))
        }
        Step::Resident(_) => of_raw(format!("resident_pages(0, {all})")),
        Step::Together(_, at, byte) if map.kind == Kind::Shared => {
            let write = format!("{name}.write({}, &[{byte}; 8]).unwrap()", map.within(at));
            let scope = format!("scope.spawn(|| {write}); {name}.commit()");
            say(format!("std::thread::scope(|scope| {{ {scope} }})"))
        }
        Step::Beside(_) => raw.and_then(|raw| {
            let scope = format!("scope.spawn(|| {raw}.retry_flush()); {raw}.flush().is_ok()");
            say(format!("std::thread::scope(|scope| {{ {scope} }})"))
        }),
        _ => None,
    }
}

fn protection(to: u8) -> &'static str {
    match to {
        0 => "Protection::None",
        1 => "Protection::ReadOnly",
        _ => "Protection::ReadWrite",
    }
}
