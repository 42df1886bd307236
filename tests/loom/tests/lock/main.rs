//! The lock that commits of [`SharedTracked`](https://docs.rs/rawmap-core) take turns by, under loom: `core/src/sys/lock.rs` itself,
//! with loom's atomics and a futex of loom's in place of the kernel's. A thread that is not woken is a deadlock, which loom tells.

#![allow(dead_code, reason = "the lock's file is more than is tried here")]

mod sys;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use self::sys::lock::Lock;

struct Counter {
    lock: Lock,
    /// Loom tells of two that are inside.
    count: UnsafeCell<u32>,
}

// SAFETY: the lock keeps others out, which is what is tried.
unsafe impl Sync for Counter {}

fn add(counter: &Counter) {
    assert!(counter.lock.lock(|gone, sleep| {
        assert!(!gone);
        sleep();
        true
    }));
    // Not by the thread that has it.
    assert!(!counter.lock.lock(|_, _| false));
    // SAFETY: inside the lock.
    counter.count.with_mut(|count| unsafe { *count += 1 });
    counter.lock.unlock();
}

fn threads(number: u32, preemptions: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let counter = Arc::new(Counter {
            lock: Lock::new(),
            count: UnsafeCell::new(0),
        });
        // Its word is made before there is another thread.
        assert!(counter.lock.lock(|_, _| false));
        counter.lock.unlock();
        let others = (1..number).map(|_| {
            let counter = counter.clone();
            thread::spawn(move || add(&counter))
        });
        let others: Vec<_> = others.collect();
        add(&counter);
        for other in others {
            other.join().unwrap();
        }
        // SAFETY: the others have ended.
        assert_eq!(counter.count.with(|count| unsafe { *count }), number);
    });
}

#[test]
fn two_threads_are_not_inside_at_once_and_both_get_in() {
    threads(2, None);
}

#[test]
fn three_threads_are_all_woken() {
    threads(3, Some(2));
}
