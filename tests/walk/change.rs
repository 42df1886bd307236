//! The calls of a map itself, and those that change what is mapped.

use std::time::Duration;

use rawmap_core::memfd::{self, Seals, add_seals};
use rawmap_core::{
    Advice, Call, Errno, Error, Mail, Mailbox, Protection, RemapOptions, UncheckedAdvice,
};

use crate::event;
use crate::judge::{CHIP, Stored, Verdict};
use crate::step::{Against, At, Hint, PAGES, Refused, SLOTS, Step};
use crate::subject::{BLOCK, Subject};
use crate::world::{World, page};

impl World<'_> {
    pub(crate) fn of_raw(
        &mut self,
        step: Step,
        slot: usize,
        within: &dyn Fn(At) -> usize,
        clip: &dyn Fn(At, u16) -> (usize, usize),
    ) -> Verdict {
        let map = self.maps[slot].as_mut().expect("it was called");
        let all = map.subject.len();
        let Some(raw) = map.subject.raw() else {
            return self.leave_out();
        };
        match step {
            Step::Flush(_) => {
                let result = raw.flush();
                self.judge(slot, "flush", result, Stored::Range(0, all))
            }
            Step::FlushRange(_, at, len) => {
                let (offset, whole) = (within(at), usize::from(len));
                let result = raw.flush_range(offset, whole);
                if whole > all - offset {
                    let range = matches!(result, Err(Error::OutOfRange { .. }));
                    return if range {
                        Ok(())
                    } else {
                        Err(format!("flush_range past the end: {result:?}"))
                    };
                }
                self.judge(slot, "flush_range", result, Stored::Range(offset, whole))
            }
            Step::FlushAsync(_) => {
                let result = match &map.subject {
                    Subject::Kept(map) => map
                        .flush_async()
                        .map_err(|error| Error::from_io(&error).expect("ours")),
                    _ => raw.flush_async(),
                };
                self.judge(slot, "flush_async", result, Stored::Nothing)
            }
            Step::FlushAll(_) => {
                let other = (map.file + 1) % SLOTS;
                let result = raw.flush_all(&self.files[other].file);
                if result.is_err() {
                    self.tell(self.files[other].id, Some(slot));
                }
                self.judge(slot, "flush_all", result, Stored::Range(0, all))
            }
            Step::Advise(_, at, len, hint) => {
                let (offset, len) = clip(at, len);
                let result = match hint {
                    Hint::Normal => raw.advise_range(Advice::Normal, offset, len),
                    Hint::Random => raw.advise_range(Advice::Random, offset, len),
                    Hint::WillNeed => raw.advise_range(Advice::WillNeed, offset, len),
                    Hint::DontFork => raw.advise_range(Advice::DontFork, offset, len),
                    // SAFETY: of a shared map of a file it changes no byte.
                    Hint::DontNeed => unsafe {
                        raw.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, len)
                    },
                };
                map.split |= len > 0;
                let odd = map.contained && hint == Hint::DontFork || map.hull().is_some() || len == 0
                    // Of locked pages.
                    || hint == Hint::DontNeed
                        && matches!(result, Err(Error::Sys { errno: Errno::INVAL, .. }));
                if map.private && hint == Hint::DontNeed {
                    // A page that was written is the file's again.
                    map.forget_written(offset, len);
                }
                self.or_cause("advise", result, odd)
            }
            Step::Lock(_, at, len) | Step::Unlock(_, at, len) => {
                let (offset, len) = clip(at, len);
                let locks = matches!(step, Step::Lock(..));
                let result = if locks {
                    map.locked = true;
                    raw.lock_range(offset, len)
                } else {
                    raw.unlock_range(offset, len)
                };
                map.split |= len > 0;
                let locked = || crate::limit::used("VmLck:");
                let none = || self.causes.limits.without(locked) == 0;
                if locks && len > 0 && result.is_ok() && none() {
                    return Err("lock: Ok, and nothing is locked".into());
                }
                let pages = map.page_range(offset, len);
                let map = self.maps[slot].as_ref().expect("as before");
                let odd = len > 0
                    && locks
                    && (self.in_memory().is_none()
                        || pages
                            .clone()
                            .any(|number| map.may[number] == 0 || self.is_missing(map, number)));
                self.or_cause("lock", result, odd)
            }
            Step::PrefaultRead(_, at, len)
            | Step::PrefaultWrite(_, at, len)
            | Step::LockWritable(_, at, len) => {
                let (offset, len) = clip(at, len);
                let writes = !matches!(step, Step::PrefaultRead(..));
                let result = match step {
                    Step::LockWritable(..) => {
                        map.locked = true;
                        map.split |= len > 0;
                        raw.lock_writable(offset, len)
                    }
                    Step::PrefaultWrite(..) => raw.prefault_write(offset, len),
                    _ => raw.prefault_read(offset, len),
                };
                let map = self.maps[slot].as_ref().expect("as before");
                let pages = map.page_range(offset, len);
                let beyond = |number: usize| {
                    let gone = !map.replaced[number] && map.place(number) >= self.file_len;
                    gone || (!map.private && self.is_missing(map, number))
                };
                let beyond = len > 0 && pages.clone().any(beyond);
                let protected = map.may[pages].iter().any(|may| *may < 1 + u8::from(writes))
                    || matches!(map.subject, Subject::ReadOnly(_));
                if beyond && result.is_ok() {
                    return Err("prefault: Ok, and the file does not reach there".into());
                }
                self.or_cause(
                    "prefault",
                    result,
                    beyond || protected || map.may.iter().any(|may| *may < 2),
                )
            }
            Step::Protect(_, at, len, to) => {
                let (offset, len) = clip(at, len);
                let Some(raw) = map.subject.raw_mut() else {
                    return self.leave_out();
                };
                let result = raw.protect_range(protection(to), offset, len);
                if result.is_ok() && len > 0 {
                    let pages = map.page_range(offset, len);
                    map.may[pages].fill(to);
                }
                map.split |= len > 0;
                self.or_cause("protect_range", result, false)
            }
            Step::Resident(_) => {
                let pages = map.pages();
                match raw.resident_pages(0, all) {
                    Ok(resident) if resident > pages => Err(format!(
                        "resident_pages: {resident} of {pages} pages are in memory"
                    )),
                    Ok(_) => Ok(()),
                    Err(error) => self.has_cause("resident_pages", &error),
                }
            }
            Step::Remap(_, pages) => self.remap(slot, pages.into()),
            _ => unreachable!("done before"),
        }
    }

    pub(crate) fn protect_all(&mut self, slot: usize, to: u8) -> Verdict {
        let mut map = self.maps[slot].take().expect("it was called");
        let (subject, result) = match (map.subject, to) {
            (Subject::Mut(inner), 0 | 1) => match inner.make_read_only() {
                Ok(inner) => (Subject::ReadOnly(inner), Ok(Some(1))),
                Err(refused) => (Subject::Mut(refused.map), Err(refused.error)),
            },
            (Subject::ReadOnly(inner), 2..) => match inner.make_mut() {
                Ok(inner) => (Subject::Mut(inner), Ok(Some(2))),
                Err(refused) => (Subject::ReadOnly(refused.map), Err(refused.error)),
            },
            (mut subject, to) => {
                let done = subject.raw_mut().map(|raw| raw.protect(protection(to)));
                (subject, done.transpose().map(|done| done.map(|()| to)))
            }
        };
        map.subject = subject;
        if let Ok(Some(may)) = result {
            map.may.fill(may);
        }
        self.maps[slot] = Some(map);
        self.or_cause("protect", result.map(drop), false)
    }

    pub(crate) fn grow(&mut self, slot: usize, pages: usize) -> Verdict {
        let map = self.maps[slot].as_mut().expect("it was called");
        let old = map.subject.len();
        let most = PAGES * page() - map.first;
        let new = (pages * page())
            .saturating_sub(map.first % page())
            .min(most);
        let Some(result) = map.subject.grow(&self.files[map.file].file, new) else {
            return self.leave_out();
        };
        let len = map.subject.len();
        let (split, odd) = (map.split, map.private || map.hull().is_some());
        map.fit();
        let map_end = map.first + new;
        if result.is_ok() && new > old {
            self.file_len = self.file_len.max(map_end);
        }
        let expected = if result.is_ok() { old.max(new) } else { old };
        // A munmap(2) that says EINVAL is one of huge pages, which stay.
        let stays = (Refused::Munmap, libc::EINVAL);
        let stays = result.is_err() && self.causes.refused.contains(&stays);
        if len != expected && !stays {
            return Err(format!(
                "grow to {new}: {result:?}, and the map has {len} bytes, and not {expected}"
            ));
        }
        // It looks at the new pages last, and makes no file shorter.
        let looked = matches!(
            result,
            Err(Error::Sys {
                call: Call::Madvise | Call::Futex,
                ..
            })
        );
        if looked {
            let there = self.peer.metadata().expect("an open file").len();
            self.file_len = self.file_len.max(map_end.min(there as usize));
        }
        self.same_len("grow")?;
        self.or_cause("grow", result, split || odd)
    }

    pub(crate) fn remap(&mut self, slot: usize, pages: usize) -> Verdict {
        let map = self.maps[slot].as_mut().expect("it was called");
        let old = map.subject.len();
        let most = PAGES * page() - map.first;
        let new = (pages * page())
            .saturating_sub(map.first % page())
            .min(most);
        let (failed, lost) = (map.failed, map.hull().is_some());
        let Some(raw) = map.subject.raw_mut() else {
            return self.leave_out();
        };
        // SAFETY: no pointer is kept.
        let result = unsafe { raw.remap(new, RemapOptions::new().may_move(true)) };
        let len = map.subject.len();
        let split = map.split;
        map.fit();
        if len != if result.is_ok() { new } else { old } {
            return Err(format!(
                "remap to {new}: {result:?}, and the map has {len} bytes"
            ));
        }
        if result.is_ok() && (lost || failed && new < old) {
            return Err("remap: Ok, and the map has failed or lost pages".into());
        }
        self.or_cause("remap", result, split || lost || failed)
    }

    pub(crate) fn recover(&mut self, slot: usize) -> Verdict {
        let map = self.maps[slot].as_mut().expect("it was called");
        let opened = &self.files[map.file];
        let result = map.subject.recover(&opened.file);
        if map.private && map.replaced.contains(&true) {
            // What it had is nowhere.
            return match result {
                Err(Error::NoFile) => Ok(()),
                other => Err(format!("recover of a private map: {other:?}")),
            };
        }
        // What the file that was mapped had not told yet.
        let failed = map.subject.failed();
        if map.failed && !failed {
            return Err("recover: the failure is forgotten".into());
        }
        let news = failed && !map.failed;
        map.failed = failed;
        let id = map.id;
        match &result {
            Ok(()) => {
                if map.hull().is_some() {
                    // Another VMA, of this open file.
                    map.split = true;
                    map.trusted &= id == opened.id;
                }
                for (replaced, may) in map.replaced.iter_mut().zip(&mut map.may) {
                    if std::mem::take(replaced) {
                        // Any of the map's protections.
                        *may = if *may == 2 { 2 } else { 0 };
                    }
                }
                map.lost = None;
            }
            Err(_) => {
                // Told as before, or once more.
                map.lost = map
                    .subject
                    .lost()
                    .map(|offset| map.page_range(offset, 1).start);
            }
        }
        if news {
            self.tell(id, Some(slot));
        }
        self.or_cause("recover", result, false)
    }

    pub(crate) fn wait(&mut self, slot: usize, offset: usize) -> Verdict {
        let map = self.maps[slot].as_ref().expect("it was called");
        let Some(raw) = map.subject.raw() else {
            return self.leave_out();
        };
        let (start, len) = (raw.as_ptr().addr(), raw.len());
        let offset = offset.checked_sub(start.wrapping_add(offset) % 4);
        let Some(offset) = offset.filter(|offset| offset + 4 <= len) else {
            return self.leave_out();
        };
        if !self.touch(slot, offset, 4, false) {
            return self.leave_out();
        }
        let map = self.maps[slot].as_ref().expect("as before");
        let lost = map.lost.is_some()
            || !map.private && map.page_range(offset, 4).any(|number| map.replaced[number]);
        let only_read = map.private && map.page_range(offset, 4).any(|number| map.may[number] < 2);
        let view = map.subject.raw().expect("as before").shared();
        let waited = view.wait(offset, 0, Some(Duration::ZERO));
        match waited.map(|_| ()).and_then(|()| view.wake(offset, 1)) {
            // A flush that failed is told first.
            Ok(0) if !lost || map.failed => Ok(()),
            Err(Error::Lost { .. }) if lost => Ok(()),
            // It never changes, says the kernel.
            Err(Error::Protected) if only_read => Ok(()),
            Err(error) => self.has_cause("wait", &error),
            other => Err(format!("wait: {other:?}, where lost is {lost}")),
        }
    }

    /// An atomic word is exchanged with another.
    pub(crate) fn word(&mut self, slot: usize, offset: usize, byte: u8) -> Verdict {
        let map = self.maps[slot].as_ref().expect("it was called");
        let Some(raw) = map.subject.raw() else {
            return self.leave_out();
        };
        let Some(offset) = offset.checked_sub(raw.as_ptr().addr().wrapping_add(offset) % 4) else {
            return self.leave_out();
        };
        let (first, private) = (map.first + offset, map.private);
        if !matches!(map.subject, Subject::Raw(_) | Subject::Kept(_)) {
            // It may lend slices.
            let result = raw.shared().swap(0, 1_u8);
            return match result {
                Err(Error::Protected | Error::OutOfRange { .. }) => Ok(()),
                other => Err(format!("swap under slices: {other:?}")),
            };
        }
        if offset + 4 > raw.len() || !self.touch(slot, offset, 4, true) {
            return self.leave_out();
        }
        let map = self.maps[slot].as_ref().expect("as before");
        let raw = map.subject.raw().expect("as before");
        let new = [byte; 4];
        match raw.shared().swap(offset, u32::from_ne_bytes(new)) {
            Ok(old) => {
                if !map.replaced[map.page_range(offset, 1).start]
                    && !private
                    && old.to_ne_bytes() != self.model.live()[first..first + 4]
                {
                    return Err(format!("swap: {old:#x} was there"));
                }
                self.wrote(slot, offset, &new);
                Ok(())
            }
            Err(error) => self.has_cause("swap", &error),
        }
    }

    /// A value is written to a mailbox, and read.
    pub(crate) fn mail(&mut self, slot: usize, offset: usize, byte: u8) -> Verdict {
        const LEN: usize = 8;
        let map = self.maps[slot].as_ref().expect("it was called");
        let (Subject::Raw(_) | Subject::Kept(_), Some(raw)) = (&map.subject, map.subject.raw())
        else {
            return self.leave_out();
        };
        let Some(offset) = offset.checked_sub(raw.as_ptr().addr().wrapping_add(offset) % 4) else {
            return self.leave_out();
        };
        let all = Mailbox::HEAD + LEN;
        if offset + all > raw.len() || !self.touch(slot, offset, all, true) {
            return self.leave_out();
        }
        let map = self.maps[slot].as_ref().expect("as before");
        let view = map.subject.raw().expect("as before").shared();
        let (new, mut bytes) = ([byte; LEN], [0; LEN]);
        let mail = Mailbox::new(view, offset, LEN).and_then(|mut mailbox| {
            let number = mailbox.write(&new)?;
            Ok((number, mailbox.read(&mut bytes)?, view.load::<u32>(offset)?))
        });
        match mail {
            Ok((number, mail, word)) => {
                if mail != Mail::Value(number) || bytes != new {
                    return Err(format!("mail: {mail:?} and {bytes:?} after {number}"));
                }
                self.wrote(slot, offset, &word.to_ne_bytes());
                self.wrote(slot, offset + Mailbox::HEAD, &new);
                Ok(())
            }
            Err(error) => self.has_cause("mail", &error),
        }
    }

    pub(crate) fn erase(&mut self, slot: usize, offset: usize) -> Verdict {
        let offset = offset / BLOCK * BLOCK;
        let map = self.maps[slot].as_ref().expect("it was called");
        if !matches!(map.subject, Subject::Flash(..))
            || map.subject.len() == 0
            || !self.touch(slot, offset, BLOCK, true)
        {
            return self.leave_out();
        }
        let map = self.maps[slot].as_mut().expect("as before");
        let durable = map.subject.erase(offset);
        let map = self.maps[slot].as_ref().expect("as before");
        for number in map.page_range(offset, BLOCK) {
            if !map.replaced[number] {
                let from = map.place(number).max(map.first + offset);
                let to = (map.place(number) + page()).min(map.first + offset + BLOCK);
                self.model.write(from, &vec![0xFF; to - from]);
            }
        }
        match durable {
            Some(result) => self.judge(slot, CHIP, result, Stored::Range(offset, BLOCK)),
            None => Ok(()),
        }
    }

    pub(crate) fn seal(&mut self, against: Against) -> Verdict {
        let seals = match against {
            Against::Shrinking => Seals::SHRINK,
            Against::Growing => Seals::GROW,
            Against::Writing => Seals::WRITE,
            Against::FutureWriting => Seals::FUTURE_WRITE,
            Against::Seals => Seals::SEAL,
        };
        if self.ground.disk().is_some() {
            return Ok(());
        }
        match add_seals(self.ground.file(), seals) {
            Ok(()) => {
                if !memfd::seals(&self.peer).is_ok_and(|now| now.contains(seals)) {
                    return Err(format!("add_seals: {seals:?} is not there"));
                }
                self.causes.sealed.push(against);
                Ok(())
            }
            // It is mapped for writing.
            Err(Error::Sys {
                errno: Errno::BUSY, ..
            }) if against == Against::Writing => Ok(()),
            Err(error) => self.has_cause("add_seals", &error),
        }
    }

    /// What another process writes before it is killed is there, for all.
    pub(crate) fn peer_is_killed(&mut self, from: usize, len: usize, byte: u8) {
        let end = (from + len).min(self.file_len);
        if from < end
            && self.out.is_none()
            && !(self.causes.full && self.causes.holes)
            && event::write_and_die(&self.peer, from, end - from, byte)
        {
            self.model.write(from, &vec![byte; end - from]);
        }
    }
}

fn protection(to: u8) -> Protection {
    match to {
        0 => Protection::None,
        1 => Protection::ReadOnly,
        _ => Protection::ReadWrite,
    }
}
