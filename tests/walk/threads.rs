//! Two threads at once, of the types that are `Sync`.

use rawmap_core::Error;

use crate::judge::{Stored, Verdict};
use crate::subject::Subject;
use crate::world::World;

impl World<'_> {
    /// What is written while a commit runs is in it, or pending.
    pub(crate) fn together(&mut self, slot: usize, offset: usize, byte: u8) -> Verdict {
        const LEN: usize = 8;
        let map = self.maps[slot].as_ref().expect("it was called");
        if !matches!(map.subject, Subject::Shared(_))
            || offset + LEN > map.subject.len()
            || map.contained
            || !self.causes.may_have_threads()
            || !self.touch(slot, offset, LEN, true)
        {
            return self.leave_out();
        }
        self.mapped = None;
        let map = self.maps[slot].as_ref().expect("as before");
        let Subject::Shared(shared) = &map.subject else {
            unreachable!("see above")
        };
        let file = &self.files[map.file];
        let result = std::thread::scope(|scope| {
            let writer = std::thread::Builder::new()
                .spawn_scoped(scope, || shared.write(offset, &[byte; LEN]).unwrap());
            let result = match byte % 3 {
                0 => shared.start_writeback(&file.file),
                _ => shared.commit().map(drop),
            };
            if let Ok(writer) = writer {
                writer.join().unwrap();
                (result, true)
            } else {
                (result, false)
            }
        });
        let from = map.first + offset;
        let (result, wrote) = result;
        // The bytes from before first: the commit may have stored these, or the new ones.
        let verdict = match byte % 3 {
            0 => self.judge(slot, "start_writeback", result, Stored::Nothing),
            _ => self.judge(slot, "commit", result, Stored::Pending),
        };
        if wrote {
            self.model.write(from, &[byte; LEN]);
            let map = self.maps[slot].as_mut().expect("as before");
            map.beside.push((from..from + LEN, byte));
        }
        verdict
    }

    /// Two threads at once: a failure that one is told stays, unless a retry came after it.
    pub(crate) fn beside(&mut self, slot: usize) -> Verdict {
        let map = self.maps[slot].as_ref().expect("it was called");
        let (len, id) = (map.subject.len(), map.id);
        let Some(raw) = map.subject.raw() else {
            return self.leave_out();
        };
        if !self.causes.may_have_threads() {
            return self.leave_out();
        }
        self.mapped = None;
        let (retried, flushed) = std::thread::scope(|scope| {
            let retry = std::thread::Builder::new().spawn_scoped(scope, || raw.retry_flush());
            let flushed = raw.flush();
            let retried = retry.map_or(Ok(()), |retry| retry.join().unwrap());
            (retried, flushed)
        });
        let is_failed = map.subject.failed();
        self.read_again()?;
        let map = self.maps[slot].as_mut().expect("as before");
        let was = std::mem::replace(&mut map.failed, is_failed);
        if was && !is_failed && retried.is_err() {
            return Err(format!(
                "a retry beside a flush: {retried:?}, and the failure is forgotten"
            ));
        }
        if was && flushed.is_ok() && is_failed {
            return Err("a flush beside a retry: Ok, and the map has failed".into());
        }
        let map = self.maps[slot].as_ref().expect("as before");
        let lost = self.loss(map, 0, len).is_some();
        if retried.is_ok() && flushed.is_ok() && !is_failed {
            if lost {
                return Err("a retry beside a flush: Ok, and pages are lost".into());
            }
            self.stored(slot, Stored::Range(0, len));
        }
        for result in [retried, flushed] {
            match result {
                Ok(()) => {}
                Err(Error::Lost { .. }) if lost => {}
                Err(error) => {
                    self.tell(id, Some(slot));
                    // Told to a thread of this map.
                    self.maps[slot].as_mut().expect("as before").trusted &= is_failed;
                    if !was {
                        self.has_cause("a retry beside a flush", &error)?;
                    }
                }
            }
        }
        Ok(())
    }
}
