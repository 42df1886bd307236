//! Anonymous memory: it has no file, and no other process changes it.

use rawmap_core::{Advice, Call, Error, Guarded, MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};

use crate::event;
use crate::judge::Verdict;
use crate::step::{At, Memory, PAGES, Step, Tell};
use crate::world::{World, page};

enum Anonymous {
    Private(MmapMut),
    Shared(MmapRaw),
    Guarded(Guarded),
}

/// And what has to be in it.
pub struct Anon {
    map: Anonymous,
    bytes: Vec<u8>,
    /// By page: the kernel may have made it zeros, and does not tell.
    may_be_zero: [bool; PAGES],
    /// By page: a child does not have it.
    kept: [bool; PAGES],
    /// It was, and may be.
    locked: bool,
    /// A child has zeros. Of a refusal nothing is known.
    wiped: Option<bool>,
}

impl Anon {
    fn raw(&self) -> Option<&MmapRaw> {
        match &self.map {
            Anonymous::Private(map) => Some(map.as_raw()),
            Anonymous::Shared(map) => Some(map),
            Anonymous::Guarded(_) => None,
        }
    }

    fn start(&self) -> *const u8 {
        match &self.map {
            Anonymous::Guarded(map) => map.as_ptr(),
            _ => self.raw().map_or(std::ptr::null(), MmapRaw::as_ptr),
        }
    }

    fn now(&self) -> &[u8] {
        // SAFETY: all of the map, which nobody changes meanwhile.
        unsafe { std::slice::from_raw_parts(self.start(), self.bytes.len()) }
    }

    /// Whether a byte is what it should be.
    fn is_right(&self, at: usize, wiped: bool) -> bool {
        let byte = self.now()[at];
        let (right, may_be_zero) = (self.bytes[at], self.may_be_zero[at / page()]);
        if wiped {
            byte == 0
        } else {
            byte == right || (may_be_zero && byte == 0)
        }
    }

    fn pages(offset: usize, len: usize) -> std::ops::Range<usize> {
        let end = if len == 0 { offset } else { offset + len };
        offset / page()..end.div_ceil(page()).max(offset / page())
    }
}

impl World<'_> {
    pub(crate) fn map_anon(&mut self, kind: Memory, len: usize) -> Verdict {
        self.anon = None;
        self.add_canary();
        let mut options = MmapOptions::new();
        options.len(len);
        let made = match kind {
            Memory::Private => options.map_anon().map(Anonymous::Private),
            Memory::Shared => options.map_anon_shared().map(Anonymous::Shared),
            Memory::Guarded => Guarded::new(len).map(Anonymous::Guarded),
        };
        match made {
            Ok(map) => {
                self.anon = Some(Anon {
                    map,
                    bytes: vec![0; len],
                    may_be_zero: [false; PAGES],
                    kept: [false; PAGES],
                    locked: false,
                    wiped: Some(false),
                });
                Ok(())
            }
            Err(error) => self.has_cause("map_anon", &error),
        }
    }

    pub(crate) fn store(&mut self, at: At, len: u16, byte: u8) -> Verdict {
        let Some(anon) = &mut self.anon else {
            return self.leave_out();
        };
        let (offset, len) = clip(anon.bytes.len(), at, len);
        match &mut anon.map {
            Anonymous::Private(map) => map[offset..][..len].fill(byte),
            Anonymous::Guarded(map) => map[offset..][..len].fill(byte),
            // SAFETY: bytes of the map, in which nobody has a slice.
            Anonymous::Shared(map) => unsafe {
                map.as_mut_ptr().add(offset).write_bytes(byte, len);
            },
        }
        anon.bytes[offset..][..len].fill(byte);
        // A page that was written as a whole is no longer to be had back.
        let whole = offset.div_ceil(page())..(offset + len) / page();
        if whole.start < whole.end {
            anon.may_be_zero[whole].fill(false);
        }
        Ok(())
    }

    pub(crate) fn tell_kernel(&mut self, at: At, len: u16, what: Tell) -> Verdict {
        let Some(anon) = &mut self.anon else {
            return self.leave_out();
        };
        let (offset, len) = clip(anon.bytes.len(), at, len);
        let all = anon.bytes.len();
        let Some(raw) = anon.raw() else {
            let Anonymous::Guarded(map) = &anon.map else {
                unreachable!("the others have one")
            };
            // Of all of it.
            let result = match what {
                Tell::Lock => map.lock(),
                Tell::KeepFromChildren => map.advise(Advice::DontFork),
                _ => map.advise(Advice::DontDump),
            };
            if what == Tell::KeepFromChildren {
                anon.kept = [true; PAGES];
            }
            return self.or_cause("of guarded memory", result, false);
        };
        let private = matches!(anon.map, Anonymous::Private(_));
        // SAFETY: nobody has a slice of it.
        let unchecked = |how| unsafe { raw.unchecked_advise_range(how, offset, len) };
        let result = match what {
            Tell::Lock => raw.lock_range(offset, len),
            Tell::Unlock => raw.unlock_range(offset, len),
            Tell::KeepFromChildren => raw.advise_range(Advice::DontFork, offset, len),
            Tell::DontNeed => unchecked(UncheckedAdvice::DontNeed),
            Tell::Free => unchecked(UncheckedAdvice::Free),
            Tell::Remove => unchecked(UncheckedAdvice::Remove),
            // SAFETY: as above, in a child too.
            Tell::Wipe(wipe) => unsafe { raw.wipe_on_fork(wipe) },
        };
        let pages = Anon::pages(offset, len);
        let bytes = (pages.start * page()).min(all)..(pages.end * page()).min(all);
        let zeros = match what {
            Tell::DontNeed => private,
            Tell::Remove => !private,
            _ => false,
        };
        match what {
            Tell::KeepFromChildren => anon.kept[pages.clone()].fill(true),
            Tell::Wipe(wipe) => anon.wiped = result.is_ok().then_some(wipe).filter(|_| private),
            _ => {}
        }
        if zeros && result.is_ok() {
            anon.bytes[bytes].fill(0);
        } else if zeros || what == Tell::Free {
            // Where it failed, it may have done a part.
            anon.may_be_zero[pages].fill(true);
        }
        anon.locked |= what == Tell::Lock;
        let refused = match what {
            Tell::DontNeed => anon.locked,
            Tell::Free => anon.locked || !private,
            Tell::Remove => anon.locked || private,
            Tell::Wipe(_) => !private,
            Tell::Lock | Tell::Unlock | Tell::KeepFromChildren => false,
        };
        let odd = refused
            && matches!(
                result,
                Err(Error::Sys {
                    call: Call::Madvise,
                    ..
                })
            );
        self.or_cause("of anonymous memory", result, odd)
    }

    pub(crate) fn check_anon(&self) -> Verdict {
        let Some(anon) = &self.anon else {
            return Ok(());
        };
        if anon.now() == anon.bytes {
            return Ok(());
        }
        match (0..anon.bytes.len()).find(|at| !anon.is_right(*at, false)) {
            Some(at) => Err(format!("byte {at} of anonymous memory has changed")),
            None => Ok(()),
        }
    }

    /// A child that ends at once, and has the anonymous memory or zeros.
    pub(crate) fn fork(&mut self) -> Verdict {
        let anon = self.anon.as_ref();
        let looks = anon.and_then(|anon| Some((anon, anon.wiped?)));
        let right = event::fork(|| {
            let Some((anon, wiped)) = looks else {
                return true;
            };
            let there = |at: &usize| !anon.kept[at / page()];
            (0..anon.bytes.len())
                .filter(there)
                .all(|at| anon.is_right(at, wiped))
        });
        if right {
            Ok(())
        } else {
            Err("a child has other bytes in anonymous memory".into())
        }
    }
}

/// The line of a program for a step of these. What the program has is kept.
pub fn print(has: &mut Option<(Memory, usize)>, step: Step) -> Option<String> {
    if let Step::Anon(kind, pages) = step {
        let drops = if has.is_some() { "drop(anon); " } else { "" };
        let len = usize::from(pages) * page();
        *has = Some((kind, len));
        let make = match kind {
            Memory::Private => format!("MmapOptions::new().len({len}).map_anon()"),
            Memory::Shared => format!("MmapOptions::new().len({len}).map_anon_shared()"),
            Memory::Guarded => format!("rawmap_core::Guarded::new({len})"),
        };
        return Some(format!("{drops}let mut anon = {make}.unwrap();"));
    }
    let (kind, all) = (*has)?;
    let raw = match kind {
        Memory::Private => "anon.as_raw()",
        Memory::Shared | Memory::Guarded => "anon",
    };
    let call = match step {
        Step::Store(at, len, byte) => {
            let (offset, len) = clip(all, at, len);
            return Some(match kind {
                Memory::Shared => {
                    format!(
                        "unsafe {{ anon.as_mut_ptr().add({offset}).write_bytes({byte}, {len}) }};"
                    )
                }
                _ => format!("anon[{offset}..][..{len}].fill({byte});"),
            });
        }
        Step::Advice(_, _, tell) if kind == Memory::Guarded => match tell {
            Tell::Lock => "anon.lock()".to_owned(),
            Tell::KeepFromChildren => "anon.advise(Advice::DontFork)".to_owned(),
            _ => "anon.advise(Advice::DontDump)".to_owned(),
        },
        Step::Advice(at, len, tell) => {
            let (offset, len) = clip(all, at, len);
            match tell {
                Tell::Lock => format!("{raw}.lock_range({offset}, {len})"),
                Tell::Unlock => format!("{raw}.unlock_range({offset}, {len})"),
                Tell::KeepFromChildren => {
                    format!("{raw}.advise_range(Advice::DontFork, {offset}, {len})")
                }
                Tell::Wipe(wipe) => format!("unsafe {{ {raw}.wipe_on_fork({wipe}) }}"),
                _ => format!(
                    "unsafe {{ {raw}.unchecked_advise_range(UncheckedAdvice::{tell:?}, {offset}, {len}) }}"
                ),
            }
        }
        _ => return None,
    };
    Some(format!("println!(\"{{:?}}\", {call});"))
}

fn clip(all: usize, at: At, len: u16) -> (usize, usize) {
    let offset = World::in_file(at).checked_rem(all).unwrap_or(0);
    (offset, usize::from(len).min(all - offset))
}
