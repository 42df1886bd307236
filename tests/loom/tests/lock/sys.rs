//! What the lock asks: atomics and a futex, of loom's.

pub(crate) mod atomic {
    use std::sync::OnceLock;

    pub(crate) use loom::sync::atomic::Ordering;

    /// Loom's word, from its first use on: what makes one is no constant.
    #[derive(Debug)]
    pub(crate) struct AtomicU32(u32, OnceLock<loom::sync::atomic::AtomicU32>);

    impl AtomicU32 {
        pub(crate) const fn new(value: u32) -> Self {
            Self(value, OnceLock::new())
        }

        fn word(&self) -> &loom::sync::atomic::AtomicU32 {
            self.1
                .get_or_init(|| loom::sync::atomic::AtomicU32::new(self.0))
        }

        pub(crate) fn load(&self, order: Ordering) -> u32 {
            self.word().load(order)
        }

        pub(crate) fn swap(&self, value: u32, order: Ordering) -> u32 {
            self.word().swap(value, order)
        }

        pub(crate) fn compare_exchange(
            &self,
            old: u32,
            new: u32,
            then: Ordering,
            or: Ordering,
        ) -> Result<u32, u32> {
            self.word().compare_exchange(old, new, then, or)
        }
    }
}

/// An error number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Errno;

impl Errno {
    pub(crate) const SRCH: Self = Self;
}

/// The kernel's part.
pub(crate) mod bare {
    use loom::sync::{Condvar, Mutex};

    use super::Errno;
    use super::atomic::{AtomicU32, Ordering};

    loom::lazy_static! {
        static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
        static ref IDS: loom::sync::atomic::AtomicU32 = loom::sync::atomic::AtomicU32::new(1);
    }
    loom::thread_local! {
        static ID: u32 = IDS.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn thread_id() -> Option<u32> {
        Some(ID.with(|id| *id))
    }

    /// No thread ends here while it has the lock.
    pub(crate) fn signal_thread(_: u32, _: usize) -> Result<(), Errno> {
        Ok(())
    }

    pub(crate) fn futex_wait(word: &AtomicU32, value: u32) {
        let queue = QUEUE.0.lock().unwrap();
        if word.load(Ordering::SeqCst) == value {
            drop(QUEUE.1.wait(queue).unwrap());
        }
    }

    pub(crate) fn futex_wake_one(_: &AtomicU32) {
        let _queue = QUEUE.0.lock().unwrap();
        QUEUE.1.notify_one();
    }
}

// A feature of core's.
#[allow(unexpected_cfgs, reason = "of another crate")]
#[path = "../../../../core/src/sys/lock.rs"]
pub(crate) mod lock;
