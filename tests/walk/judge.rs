//! What each call may say: the promises.

use rawmap_core::{Call, Errno, Error};

use crate::step::{Limit, PAGES};
use crate::world::{Mapped, World, page};

/// The error is a broken promise, in words.
pub type Verdict = Result<(), String>;

/// A write that waits for the medium. The first one stores all of the map, and may fail for any of it.
pub const CHIP: &str = "write of a chip";

/// How the kernel tells that a limit is reached.
fn limit_says(limit: Limit, errno: Errno) -> bool {
    match limit {
        Limit::AddressSpace | Limit::Data => errno == Errno::NOMEM,
        // Of locked pages: mmap(2), too.
        Limit::Locked => [Errno::NOMEM, Errno::AGAIN, Errno::PERM].contains(&errno),
        // Of madvise(2).
        Limit::Maps => [Errno::NOMEM, Errno::AGAIN].contains(&errno),
        Limit::FileSize => errno == Errno::FBIG,
        Limit::Descriptors => errno == Errno::MFILE,
    }
}

/// What a call that is `Ok` has stored.
#[derive(Clone, Copy)]
pub enum Stored {
    /// Bytes of the map.
    Range(usize, usize),
    Pending,
    Nothing,
}

impl World<'_> {
    /// A promise.
    pub(crate) fn stored(&mut self, slot: usize, what: Stored) {
        let known = self.in_memory().is_some();
        let Some(map) = self.maps[slot].as_mut() else {
            return;
        };
        let mut ranges = Vec::new();
        match what {
            Stored::Range(offset, len) => ranges.push(map.first + offset..map.first + offset + len),
            Stored::Pending => {
                ranges.append(&mut map.pending);
                let live = self.model.live();
                let same = |(range, byte): &(std::ops::Range<usize>, u8)| {
                    live[range.clone()].iter().all(|now| now == byte)
                };
                ranges.extend(map.beside.drain(..).filter(same).map(|(range, _)| range));
            }
            Stored::Nothing => {}
        }
        if !map.trusted || map.private || !known {
            return;
        }
        for range in ranges {
            let end = range.end.min(self.file_len);
            if range.start < end {
                self.model.flushed(range.start, end - range.start);
            }
        }
    }

    /// No event, no error.
    pub(crate) fn has_cause(&self, call: &str, error: &Error) -> Verdict {
        let causes = &self.causes;
        let caused = match error {
            Error::Sys {
                call: failed,
                errno,
                ..
            } => {
                let number = errno.raw_os_error();
                let refused = causes.refused.iter().any(|(_, with)| *with == number)
                    // A signal interrupts the wait for an answer.
                    || (!causes.times.is_empty() && *errno == Errno::INTR);
                let stores = [Call::Msync, Call::Fsync, Call::SyncFileRange].contains(failed);
                let device = causes.failed || causes.was_full;
                let full = [
                    Errno::IO,
                    Errno::NOSPC,
                    Errno::ROFS,
                    Errno::from_raw_os_error(libc::EUCLEAN),
                ];
                (device && full.contains(errno))
                    // A page that is not to be had is tried by another mapping, and user-mode QEMU makes none.
                    || (*errno == Errno::NOSYS && rawmap_tests::emulator().is_some())
                    || refused
                    || (!stores && causes.limited.iter().any(|limit| limit_says(*limit, *errno)))
                    || (!stores
                        && !causes.sealed.is_empty()
                        && [Errno::PERM, Errno::ACCESS].contains(errno))
                    || (causes.nobody
                        && [Errno::PERM, Errno::ACCESS, Errno::NOMEM, Errno::AGAIN].contains(errno))
            }
            Error::NoSpace { .. } | Error::Unwritable { .. } => {
                causes.failed || causes.was_full || !causes.refused.is_empty()
            }
            Error::Unreachable { .. } => {
                causes.truncated
                    || self.out.is_some()
                    || causes.was_full
                    || !causes.refused.is_empty()
            }
            Error::Lost { .. } => causes.failed,
            Error::MayChange(_) => !causes.sealed.is_empty(),
            _ => false,
        };
        if caused {
            Ok(())
        } else {
            Err(format!("{call}: {error:?} without a cause"))
        }
    }

    /// The page of the map that a flush of this range has to tell as lost.
    pub(crate) fn loss(&self, map: &Mapped, offset: usize, len: usize) -> Option<usize> {
        if !map.contained {
            return None;
        }
        // What a private map has is stored nowhere.
        if map.lost.is_some() || map.private {
            return map.lost;
        }
        if len == 0 {
            return None;
        }
        let pages = map.page_range(offset, len);
        if let Some(hull) = map
            .hull()
            .filter(|hull| hull.start < pages.end && pages.start < hull.end)
        {
            return Some(hull.start.max(pages.start));
        }
        // Of a page that cannot be read, the medium has what was stored: `Ok` is true, and an error is not wrong.
        let beyond = |number: &usize| map.place(*number) >= self.file_len;
        let first = pages.clone().find(beyond);
        first.filter(|_| beyond(&(pages.end - 1)))
    }

    /// Whether all pages of a range can be read.
    pub(crate) fn may_read(&self, slot: usize, (offset, len): (usize, usize)) -> bool {
        let (map, there) = (self.maps[slot].as_ref(), self.in_memory());
        let map = map.filter(|map| there.is_some() && !map.private);
        map.is_some_and(|map| {
            let mut pages = map.page_range(offset, len);
            !pages.any(|number| self.is_missing(map, number))
        })
    }

    /// Whether a page of a map is behind the end of the file, or cannot be read.
    pub(crate) fn is_missing(&self, map: &Mapped, number: usize) -> bool {
        let (place, there) = (map.place(number), self.in_memory());
        let gone = place >= self.file_len || !there.unwrap_or([true; PAGES])[place / page()];
        gone && !map.replaced[number]
    }

    /// Judges a call that stores, or says why it does not.
    pub(crate) fn judge(
        &mut self,
        slot: usize,
        call: &str,
        result: Result<(), Error>,
        stored: Stored,
    ) -> Verdict {
        let map = self.maps[slot].as_ref().expect("it was called");
        let (offset, len) = match stored {
            Stored::Range(offset, len) => (offset, len),
            Stored::Pending => {
                let start = map.pending.iter().map(|range| range.start).min();
                let end = map.pending.iter().map(|range| range.end).max();
                start
                    .zip(end)
                    .map_or((0, 0), |(start, end)| (start - map.first, end - start))
            }
            Stored::Nothing => (0, 0),
        };
        let loss = self.loss(map, offset, len);
        let (was_failed, is_failed, id) = (map.failed, map.subject.failed(), map.id);
        let Err(error) = result else {
            if was_failed {
                return Err(format!("{call}: Ok, and the map has failed"));
            }
            let loss = match stored {
                // Parts that were committed apart leave out what is between them.
                Stored::Pending => map
                    .pending
                    .iter()
                    .find_map(|range| self.loss(map, range.start - map.first, range.len())),
                _ => loss,
            };
            if let Some(page) = loss {
                return Err(format!("{call}: Ok, and page {page} of the map is lost"));
            }
            self.stored(slot, stored);
            return Ok(());
        };
        if was_failed {
            let same = matches!(
                error,
                Error::Sys {
                    call: Call::Msync,
                    ..
                }
            );
            return if same && is_failed {
                Ok(())
            } else {
                Err(format!("{call}: {error:?}, and the map has failed"))
            };
        }
        let of_store = matches!(
            error,
            Error::Sys {
                call: Call::Msync | Call::Fsync | Call::SyncFileRange,
                ..
            }
        );
        if !of_store && is_failed {
            // It was told of a failure, too, and remembers that. The loss, or what else there was, comes first.
            if !self.causes.failed && !self.causes.was_full && self.causes.refused.is_empty() {
                return Err(format!("{call}: {error:?}, and failed() without a cause"));
            }
            self.maps[slot].as_mut().expect("as before").failed = true;
            self.tell(id, Some(slot));
        }
        let map = self.maps[slot].as_ref().expect("as before");
        if let Error::Lost { offset: told } = error {
            if matches!(stored, Stored::Nothing) && map.hull().is_some() {
                return Ok(());
            }
            // Each page that cannot be read is one, whether it was touched or not.
            let looked = match stored {
                Stored::Range(..) if call != CHIP => map.page_range(offset, len),
                _ => 0..map.pages(),
            };
            let unread = |number| self.in_memory().is_none() || self.is_missing(map, number);
            if self.out.is_some() && map.contained && looked.into_iter().any(unread) {
                return Ok(());
            }
            let all = map.subject.len();
            let anywhere = self.loss(map, 0, all).filter(|_| call == CHIP);
            let Some(page) = loss.or(anywhere) else {
                return Err(format!("{call}: {error:?}, and nothing is lost"));
            };
            let told = map.page_range(told as usize, 1).start;
            return if told == page || anywhere.is_some() || matches!(stored, Stored::Pending) {
                Ok(())
            } else {
                Err(format!("{call}: {error:?}, and page {page} is lost"))
            };
        }
        // A chip that stores all makes it dirty first: it tells an older error, once, and nothing is left to retry.
        let retried = ["commit", CHIP].contains(&call) && matches!(stored, Stored::Range(..));
        if let Error::Sys {
            call: Call::Msync | Call::Fsync | Call::SyncFileRange,
            errno,
            offset: o,
            len: l,
        } = error
        {
            let unknown = [
                Errno::INTR,
                Errno::BADF,
                Errno::INVAL,
                Errno::PERM,
                Errno::NOSYS,
                Errno::SPIPE,
            ];
            // MS_ASYNC stores nothing.
            if !is_failed && !unknown.contains(&errno) && call != "flush_async" && !retried {
                return Err(format!("{call}: {error:?} is not remembered"));
            }
            if let (Stored::Range(offset, len), false) = (stored, call == "retry")
                && (o, l) != (offset as u64, len as u64)
                && !["start_writeback", "flush_async", CHIP].contains(&call)
            {
                return Err(format!("{call} of {len} bytes at {offset}: {error:?}"));
            }
            self.maps[slot].as_mut().expect("as before").failed = is_failed;
            self.tell(id, Some(slot));
        }
        self.has_cause(call, &error)
    }

    pub(crate) fn retry(&mut self, slot: usize) -> Verdict {
        let map = self.maps[slot].as_mut().expect("it was called");
        let (len, id) = (map.subject.len(), map.id);
        let result = map.subject.retry();
        let is_failed = map.subject.failed();
        self.read_again()?;
        let map = self.maps[slot].as_ref().expect("as before");
        let loss = self
            .loss(map, 0, 0)
            .or_else(|| map.hull().map(|hull| hull.start));
        match result {
            Ok(()) => {
                if is_failed {
                    return Err("retry: Ok, and failed() says no".into());
                }
                if let Some(page) = loss.filter(|_| map.contained) {
                    return Err(format!("retry: Ok, and page {page} is lost"));
                }
                let map = self.maps[slot].as_mut().expect("as before");
                map.failed = false;
                map.trusted = true;
                map.pending.clear();
                map.beside.clear();
                self.stored(slot, Stored::Range(0, len));
                Ok(())
            }
            Err(error) => {
                // Of what was never told to fail, it cannot know whether it was stored before it was dropped.
                let pending = !map.pending.is_empty() || !map.beside.is_empty();
                let pending_is_lost =
                    map.had_loss || (pending && (!map.failed || self.causes.holes));
                let was = map.failed;
                if was && !is_failed {
                    return Err(format!("retry: {error:?}, and the failure is forgotten"));
                }
                if let Error::Sys {
                    call: Call::Msync, ..
                } = error
                {
                    self.tell(id, Some(slot));
                }
                let lost = matches!(error, Error::Lost { .. });
                self.maps[slot].as_mut().expect("as before").failed = is_failed;
                if lost && (loss.is_some() || pending_is_lost) {
                    return Ok(());
                }
                self.has_cause("retry", &error)
            }
        }
    }

    pub(crate) fn same_len(&self, call: &str) -> Verdict {
        let len = self.peer.metadata().expect("an open file").len();
        if self.ground.is_device() || len == self.file_len as u64 {
            return Ok(());
        }
        Err(format!(
            "{call}: the file has {len} bytes, and not {}",
            self.file_len
        ))
    }

    pub(crate) fn or_cause(&self, call: &str, result: Result<(), Error>, odd: bool) -> Verdict {
        match result {
            Err(error) if !odd => self.has_cause(call, &error),
            _ => Ok(()),
        }
    }
}
