//! What a mailbox is written and read by, under loom: `core/src/shared/sequence.rs` itself, with loom's atomics in place of a map.

mod atomic {
    pub(crate) use loom::sync::atomic::{Ordering, fence};
}

#[path = "../../../core/src/shared/sequence.rs"]
mod sequence;

use std::convert::Infallible;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use self::sequence::{Number, Seen, read, write};

/// The number, and a value of two words.
struct Memory {
    number: AtomicU32,
    value: [AtomicU32; 2],
}

impl Memory {
    fn new(number: u32) -> Arc<Self> {
        Arc::new(Self {
            number: AtomicU32::new(number),
            value: [AtomicU32::new(0), AtomicU32::new(0)],
        })
    }

    fn put(&self, value: u32) -> u32 {
        let number = write(self, || {
            // From the last to the first: copies say nothing of their order.
            for word in self.value.iter().rev() {
                word.store(value, Ordering::Relaxed);
            }
            Ok(())
        });
        number.unwrap()
    }

    /// What was seen after so many tries, and the value.
    fn get(&self, tries: usize) -> (Seen, [u32; 2]) {
        let mut copy = [0; 2];
        let seen = read(self, tries, || {
            for (copy, word) in copy.iter_mut().zip(&self.value) {
                *copy = word.load(Ordering::Relaxed);
            }
            Ok(())
        });
        (seen.unwrap(), copy)
    }
}

impl Number for Memory {
    type Error = Infallible;

    fn load(&self) -> Result<u32, Infallible> {
        Ok(self.number.load(Ordering::Relaxed))
    }

    fn load_acquire(&self) -> Result<u32, Infallible> {
        Ok(self.number.load(Ordering::Acquire))
    }

    fn store(&self, number: u32) -> Result<(), Infallible> {
        self.number.store(number, Ordering::Relaxed);
        Ok(())
    }

    fn store_release(&self, number: u32) -> Result<(), Infallible> {
        self.number.store(number, Ordering::Release);
        Ok(())
    }
}

/// A value is its number here.
fn check(seen: Seen, copy: [u32; 2]) -> u32 {
    match seen {
        Seen::Whole(number) => {
            assert_eq!(copy, [number; 2], "torn");
            number
        }
        _ => 0,
    }
}

/// With this many turns taken from a thread that could go on; all would be minutes.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(body);
}

#[test]
fn no_reader_takes_parts_of_two_values() {
    model(|| {
        let memory = Memory::new(0);
        let writer = {
            let memory = memory.clone();
            thread::spawn(move || {
                memory.put(2);
                memory.put(4);
            })
        };
        let (seen, copy) = memory.get(2);
        let first = check(seen, copy);
        // Never one from before.
        let (seen, copy) = memory.get(1);
        let second = check(seen, copy);
        assert!(second == 0 || second >= first);
        writer.join().unwrap();
        assert_eq!(memory.get(1), (Seen::Whole(4), [4; 2]));
    });
}

#[test]
fn who_goes_on_after_a_writer_that_died_is_not_torn() {
    model(|| {
        // It died with the first word written.
        let memory = Memory::new(3);
        memory.value[0].store(4, Ordering::Relaxed);
        let writer = {
            let memory = memory.clone();
            thread::spawn(move || {
                memory.put(4);
                memory.put(6);
            })
        };
        let (seen, copy) = memory.get(2);
        check(seen, copy);
        writer.join().unwrap();
    });
}

#[test]
fn what_is_seen_is_said() {
    model(|| {
        let memory = Memory::new(5);
        assert_eq!(memory.get(3).0, Seen::Odd);
        assert_eq!(memory.put(6), 6);
        assert_eq!(memory.get(3), (Seen::Whole(6), [6; 2]));
        assert_eq!(memory.get(0).0, Seen::Changing);
        // 0 is for memory that nobody wrote.
        memory.number.store(u32::MAX - 1, Ordering::Relaxed);
        assert_eq!(memory.put(2), 2);
        assert_eq!(memory.get(1), (Seen::Whole(2), [2; 2]));
    });
}
