//! Takes the steps.

use std::fs::File;

use rawmap_core::memfd::{Seals, seals};
use rawmap_core::{Call, Error, MmapOptions};

use crate::event;
use crate::judge::{CHIP, Stored, Verdict};
use crate::refuse;
use crate::step::{At, ERRNOS, Kind, PAGES, Step};
use crate::subject::{BLOCK, Subject};
use crate::world::{Mapped, World, page};

/// What user-mode QEMU cannot: it has no mremap(2) of 0 bytes, by which pages of other protections are reached, and none of
/// a map that is more than one VMA. And limits are its own.
fn is_beyond_emulators(step: &Step) -> bool {
    let splits = matches!(
        step,
        Step::Advise(..) | Step::Lock(..) | Step::LockWritable(..) | Step::Unlock(..)
    );
    let only = matches!(
        step,
        Step::Map {
            kind: Kind::Only | Kind::Peek,
            ..
        }
    );
    let protects = matches!(step, Step::Protect(..) | Step::ProtectAll(..));
    splits || only || protects || matches!(step, Step::Limit(..))
}

impl World<'_> {
    pub fn step(&mut self, step: Step) -> Verdict {
        if rawmap_tests::emulator().is_some() && is_beyond_emulators(&step) {
            return self.leave_out();
        }
        if step.is_event() {
            // Not where it means nothing.
            let has = match step {
                Step::Fail | Step::Work | Step::Told | Step::WriteBack => {
                    self.ground.disk().is_some()
                }
                Step::Fill | Step::Empty => self.filler.is_some(),
                Step::Truncate(_) => !self.ground.is_device(),
                // Where it can be.
                Step::TakeOut => false,
                Step::Seal(_) => self.ground.disk().is_none(),
                _ => true,
            };
            self.causes.happened(step, has);
        }
        match step {
            Step::Map {
                slot,
                kind,
                file,
                from,
                pages,
                contained,
                scattered,
            } => {
                let len = usize::from(pages) * page();
                return self.map(
                    slot.into(),
                    kind,
                    file.into(),
                    World::in_file(from),
                    len,
                    contained,
                    scattered,
                );
            }
            Step::Unmap(slot) => self.maps[usize::from(slot)] = None,
            Step::Fail => self.fail(true),
            Step::TakeOut => self.take_out(),
            Step::Work => self.fail(false),
            Step::Fill => self.fill(true),
            Step::Empty => self.fill(false),
            // Not by std, which asks again for ever where a filter answers EINTR.
            // SAFETY: plain system call.
            Step::Told => drop(unsafe { libc::fsync(std::os::fd::AsRawFd::as_raw_fd(&self.peer)) }),
            Step::WriteBack => drop(
                rawmap_core::MmapRaw::map_raw(&self.peer)
                    .map(|map| map.start_writeback(&self.peer, 0, map.len())),
            ),
            Step::DropClean => self.drop_clean(),
            Step::Open(slot) => self.open(slot.into()),
            Step::Truncate(pages) if !self.ground.is_device() => {
                self.set_len(usize::from(pages) * page())
            }
            Step::Truncate(_) => {}
            Step::Punch(first, pages) => self.punch(first.into(), pages.into()),
            Step::Peer(at, len, byte) => self.peer_writes(World::in_file(at), len.into(), byte),
            Step::Timer(bus) => event::start_timer(if bus { libc::SIGBUS } else { libc::SIGUSR1 }),
            Step::Fork => return self.fork(),
            Step::Anon(kind, pages) => return self.map_anon(kind, usize::from(pages) * page()),
            Step::Store(at, len, byte) => return self.store(at, len, byte),
            Step::Advice(at, len, tell) => return self.tell_kernel(at, len, tell),
            Step::Refuse(call, errno, times) => {
                let errno = ERRNOS[usize::from(errno)];
                let refused = if times == 0 {
                    refuse::always(call, errno)
                } else if let Some(times) = refuse::next(call, errno, times) {
                    self.causes.times.push(times);
                    true
                } else {
                    false
                };
                if refused {
                    self.causes.refused.push((call, errno));
                }
            }
            Step::Limit(limit, left) => {
                if self.causes.limits.near(limit, left) {
                    self.causes.limited.push(limit);
                }
            }
            Step::Seal(against) => return self.seal(against),
            Step::Killed(at, len, byte) => {
                self.peer_is_killed(World::in_file(at), len.into(), byte)
            }
            Step::Nobody => {
                event::be_nobody();
                self.causes.nobody = true;
            }
            Step::Reserve(first, pages) => return self.reserve(first.into(), pages.into()),
            call => return self.of_map(call),
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn map(
        &mut self,
        slot: usize,
        kind: Kind,
        file: usize,
        first: usize,
        len: usize,
        contained: bool,
        scattered: bool,
    ) -> Verdict {
        self.maps[slot] = None;
        let mut len = len.min(PAGES * page() - first);
        if matches!(kind, Kind::Flash | Kind::Buffered) {
            len -= len % BLOCK;
        }
        let reaches = first + len <= self.file_len;
        if kind == Kind::Sealed && (self.ground.disk().is_some() || !reaches || len == 0) {
            return self.leave_out();
        }
        let is_sealed = |file: &File| seals(file).is_ok_and(|seals| seals.contains(Seals::SHRINK));
        if kind == Kind::Peek && !(reaches && len > 0 && is_sealed(&self.files[file].file)) {
            return self.leave_out();
        }
        // What a chip stores first, or a constructor of slices reads, has to be there.
        let can_lose = contained && !self.causes.may_not_contain();
        if !reaches && !can_lose && kind != Kind::Raw {
            return self.leave_out();
        }
        let all = first / page()..(first + len).div_ceil(page());
        let there = self
            .in_memory()
            .is_some_and(|there| !there[all].contains(&false));
        if !there && matches!(kind, Kind::Flash | Kind::Buffered) {
            return self.leave_out();
        }
        self.add_canary();
        let mut options = MmapOptions::new();
        options.offset(first as u64).len(len);
        let mut kept = rawmap::MmapOptions::new();
        kept.offset(first as u64).len(len).keep_file();
        if contained {
            rawmap::fault::install().unwrap();
            options.contained();
            kept.contained();
        }
        if scattered && !matches!(kind, Kind::Only | Kind::Copy | Kind::Peek) {
            options.scattered();
            kept.scattered();
        }
        let opened = &self.files[file];
        let id = opened.id;
        let (subject, made) = Subject::new(kind, &options, &kept, &opened.file);
        if let Some(subject) = subject {
            let trusted = !self.told.contains(&id);
            let failed = subject.failed();
            let mut map = Mapped {
                subject,
                file,
                id,
                first,
                contained,
                private: kind == Kind::Copy,
                written: Default::default(),
                trusted,
                failed,
                split: false,
                locked: false,
                pending: Vec::new(),
                beside: Vec::new(),
                replaced: Vec::new(),
                had_loss: false,
                lost: None,
                may: Vec::new(),
            };
            map.fit();
            if matches!(kind, Kind::Only | Kind::Peek) {
                map.may.fill(1);
            }
            self.maps[slot] = Some(map);
        }
        match made {
            Ok(()) if kind == Kind::Flash => {
                // It has stored all that it found.
                self.read_again()?;
                self.stored(slot, Stored::Range(0, len));
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) => {
                if matches!(
                    error,
                    Error::Sys {
                        call: Call::Msync | Call::Fsync,
                        ..
                    }
                ) {
                    self.tell(id, None);
                }
                let lost = matches!(error, Error::Lost { .. }) && !reaches;
                if lost {
                    Ok(())
                } else {
                    self.has_cause("map", &error)
                }
            }
        }
    }

    /// An access of some bytes: whether it can be made, and what it does to a contained map.
    pub(crate) fn touch(&mut self, slot: usize, offset: usize, len: usize, stores: bool) -> bool {
        let there = self.in_memory();
        let Some(map) = self.maps[slot].as_mut().filter(|_| len > 0) else {
            return false;
        };
        let pages = map.page_range(offset, len);
        let Some(there) = there.filter(|_| !map.private || self.out.is_none()) else {
            return false;
        };
        if map.may[pages.clone()]
            .iter()
            .any(|may| *may < 1 + u8::from(stores))
        {
            return false;
        }
        let missing = |place: usize| place >= self.file_len || !there[place / page()];
        let beyond: Vec<_> = pages
            .filter(|number| !map.replaced[*number] && missing(map.place(*number)))
            .collect();
        let no_room = stores && self.causes.full && self.causes.holes;
        if no_room || !(beyond.is_empty() || (map.contained && !self.causes.may_not_contain())) {
            return false;
        }
        for number in beyond {
            map.replaced[number] = true;
            map.had_loss = true;
            map.lost = Some(map.lost.map_or(number, |lost| lost.min(number)));
        }
        true
    }

    fn write(&mut self, slot: usize, offset: usize, len: usize, byte: u8) -> Verdict {
        if matches!(
            self.maps[slot].as_ref().map(|map| &map.subject),
            Some(Subject::ReadOnly(_)) | None
        ) || !self.touch(slot, offset, len, true)
        {
            return self.leave_out();
        }
        let bytes = vec![byte; len];
        let map = self.maps[slot].as_mut().expect("it was touched");
        let durable = map.subject.write(offset, &bytes);
        self.wrote(slot, offset, &bytes);
        match durable {
            Some(result) => self.judge(slot, CHIP, result, Stored::Range(offset, len)),
            None => Ok(()),
        }
    }

    /// Bytes were written through a map, after `touch`.
    pub(crate) fn wrote(&mut self, slot: usize, offset: usize, bytes: &[u8]) {
        let len = bytes.len();
        let map = self.maps[slot].as_mut().expect("it was called");
        if map.private {
            map.written.extend((offset..).zip(bytes.iter().copied()));
        }
        if matches!(
            map.subject,
            Subject::Tracked(_) | Subject::Shared(_) | Subject::Cursor(_)
        ) {
            map.pending
                .push(map.first + offset..map.first + offset + len);
        }
        for number in map
            .page_range(offset, len)
            .filter(|number| !map.replaced[*number] && !map.private)
        {
            let start = map.first + offset;
            let from = map.place(number).max(start);
            let to = (map.place(number) + page()).min(start + len);
            self.model.write(from, &bytes[from - start..to - start]);
        }
    }

    fn reserve(&mut self, first: usize, pages: usize) -> Verdict {
        let (first, pages) = (first.min(PAGES), pages.min(PAGES - first.min(PAGES)));
        if self.ground.is_device() {
            return self.leave_out();
        }
        let end = (first + pages) * page();
        match rawmap_core::reserve(
            &self.files[0].file,
            (first * page()) as u64,
            (pages * page()) as u64,
        ) {
            Ok(()) if pages > 0 => {
                self.file_len = self.file_len.max(end);
                self.same_len("reserve")
            }
            Ok(()) => self.same_len("reserve"),
            Err(error) => {
                self.same_len("reserve that failed")?;
                self.has_cause("reserve", &error)
            }
        }
    }

    fn of_map(&mut self, step: Step) -> Verdict {
        let (Step::Write(slot, ..)
        | Step::Read(slot, ..)
        | Step::Flush(slot)
        | Step::FlushRange(slot, ..)
        | Step::FlushAsync(slot)
        | Step::FlushAll(slot)
        | Step::StartWriteback(slot)
        | Step::Commit(slot, ..)
        | Step::Retry(slot)
        | Step::Protect(slot, ..)
        | Step::ProtectAll(slot, ..)
        | Step::Advise(slot, ..)
        | Step::Lock(slot, ..)
        | Step::LockWritable(slot, ..)
        | Step::Unlock(slot, ..)
        | Step::PrefaultRead(slot, ..)
        | Step::PrefaultWrite(slot, ..)
        | Step::Grow(slot, ..)
        | Step::Remap(slot, ..)
        | Step::Acknowledge(slot)
        | Step::Recover(slot)
        | Step::Word(slot, ..)
        | Step::Wait(slot, ..)
        | Step::Mail(slot, ..)
        | Step::Erase(slot, ..)
        | Step::Resident(slot)
        | Step::Beside(slot)
        | Step::Together(slot, ..)) = step
        else {
            unreachable!("an event")
        };
        let slot = usize::from(slot);
        let Some(map) = &self.maps[slot] else {
            return self.leave_out();
        };
        let all = map.subject.len();
        let within = |at: At| World::in_file(at).checked_rem(all).unwrap_or(0);
        let clip = |at: At, len: u16| (within(at), usize::from(len).min(all - within(at)));
        match step {
            Step::Write(_, at, len, byte) => {
                let (offset, len) = clip(at, len);
                self.write(slot, offset, len, byte)
            }
            Step::Read(_, at) => {
                if self.touch(slot, within(at), usize::from(all > 0), false) {
                    let map = self.maps[slot].as_ref().expect("as before");
                    map.subject.read(within(at), &mut [0]);
                    return Ok(());
                }
                self.leave_out()
            }
            Step::Retry(_) => self.retry(slot),
            Step::Commit(_, apart) => {
                let map = self.maps[slot].as_mut().expect("as before");
                let whole = matches!(map.subject, Subject::Flash(..));
                let Some(result) = map.subject.commit(apart) else {
                    return self.leave_out();
                };
                self.read_again()?;
                self.judge(
                    slot,
                    "commit",
                    result,
                    if whole {
                        Stored::Range(0, all)
                    } else {
                        Stored::Pending
                    },
                )
            }
            Step::StartWriteback(_) => {
                let map = self.maps[slot].as_ref().expect("as before");
                let result = map.subject.start_writeback(&self.files[map.file].file);
                self.judge(slot, "start_writeback", result, Stored::Nothing)
            }
            Step::Acknowledge(_) => {
                let map = self.maps[slot].as_mut().expect("as before");
                let told = map
                    .subject
                    .acknowledge()
                    .map(|offset| map.page_range(offset, 1).start);
                let lost = map.lost.take();
                if told == lost {
                    Ok(())
                } else {
                    Err(format!("acknowledge: {told:?}, and not {lost:?}"))
                }
            }
            Step::Recover(_) => self.recover(slot),
            // The kernel tries for ever to read what is locked, or added to what is.
            Step::Grow(..) | Step::Remap(..) if map.locked && self.out.is_some() => {
                self.leave_out()
            }
            Step::Lock(_, at, len) if self.out.is_some() && !self.may_read(slot, clip(at, len)) => {
                self.leave_out()
            }
            Step::Grow(_, pages) => self.grow(slot, pages.into()),
            Step::Together(_, at, byte) => self.together(slot, within(at), byte),
            Step::ProtectAll(_, to) => self.protect_all(slot, to),
            Step::Beside(_) => self.beside(slot),
            Step::Word(_, at, byte) => self.word(slot, within(at), byte),
            Step::Wait(_, at) => self.wait(slot, within(at)),
            Step::Mail(_, at, byte) => self.mail(slot, within(at), byte),
            Step::Erase(_, at) => self.erase(slot, within(at)),
            step => self.of_raw(step, slot, &within, &clip),
        }
    }
}
