//! The table of contained maps under loom, which tries every interleaving and every order of memory that the
//! language allows: `core/src/fault/table.rs` itself, with loom's atomics in place of core's.

#![allow(dead_code, reason = "the table's file is more than is tried here")]

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
}

#[path = "../../../core/src/fault/table.rs"]
mod table;

use critical_section::CriticalSection;
use loom::sync::{Arc, Mutex};
use loom::thread;

use self::table::{Pages, Slot, Table};

/// One place: enough where it changes hands.
type One = Table<1>;
/// And one beside it.
type Two = Table<2>;

fn slot() -> Slot {
    Slot {
        version: atomic::AtomicU32::new(0),
        base: atomic::AtomicUsize::new(0),
        len: atomic::AtomicUsize::new(0),
        kind: atomic::AtomicU32::new(0),
        lost: atomic::AtomicUsize::new(usize::MAX),
        replaced_from: atomic::AtomicUsize::new(usize::MAX),
        replaced_to: atomic::AtomicUsize::new(0),
        losses: atomic::AtomicU32::new(0),
    }
}

fn one() -> Arc<One> {
    Arc::new(Table::new([slot()]))
}

fn two() -> Arc<Two> {
    Arc::new(Table::new([slot(), slot()]))
}

fn pages(base: usize, len: usize) -> Pages {
    let kind = u32::try_from(base / 100).unwrap();
    Pages { base, len, kind }
}

/// For one writer, or several with a lock of loom's around it.
fn section() -> CriticalSection<'static> {
    // SAFETY: the callers keep others out.
    unsafe { CriticalSection::new() }
}

/// Small and low, where the second map is high and large: the base of the one with the length of the other
/// holds 150, which neither does.
const LOW: (usize, usize) = (100, 10);
const HIGH: (usize, usize) = (200, 100);
const NEITHER: usize = 150;

/// What `contain` does up to the system call.
fn contain<const N: usize>(table: &Table<N>, address: usize) -> Option<Pages> {
    let (slot, pages) = table.find(address)?;
    slot.lose(address - pages.base, address - pages.base + 1);
    Some(pages)
}

#[test]
fn a_place_that_changes_hands_never_holds_what_neither_map_holds() {
    loom::model(|| {
        let table = one();
        let place = table.insert(section(), pages(LOW.0, LOW.1)).unwrap();
        let handler = {
            let table = Arc::clone(&table);
            thread::spawn(move || assert_eq!(table.find(NEITHER).map(|found| found.1), None))
        };
        table.remove(section(), place);
        let again = table.insert(section(), pages(HIGH.0, HIGH.1)).unwrap();
        assert_eq!(again, place);
        handler.join().unwrap();
    });
}

#[test]
fn a_map_that_grows_never_holds_what_it_does_not() {
    loom::model(|| {
        let table = one();
        let place = table.insert(section(), pages(LOW.0, LOW.1)).unwrap();
        let handler = {
            let table = Arc::clone(&table);
            thread::spawn(move || assert!(table.find(NEITHER).is_none()))
        };
        // As a remap does it: nowhere while it moves.
        table.change(section(), place, pages(1, 0));
        table.change(section(), place, pages(HIGH.0, HIGH.1));
        handler.join().unwrap();
        assert!(table.find(HIGH.0).is_some());
    });
}

#[test]
fn a_map_that_lives_is_found_while_others_come_and_go() {
    loom::model(|| {
        let table = two();
        table.insert(section(), pages(HIGH.0, HIGH.1)).unwrap();
        let handler = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let found = contain(&table, HIGH.0 + 7);
                // All of one map: the word that goes with it, too.
                assert_eq!(found, Some(pages(HIGH.0, HIGH.1)));
            })
        };
        let other = table.insert(section(), pages(LOW.0, LOW.1)).unwrap();
        table.remove(section(), other);
        handler.join().unwrap();
        assert_eq!(table.slot(0).unwrap().lost(), Some(7));
    });
}

#[test]
fn a_map_is_found_by_a_thread_that_got_its_pointer() {
    loom::model(|| {
        let table = one();
        // The pointer is handed over by a lock, as a program would.
        let pointer = Arc::new(Mutex::new(None));
        let user = {
            let (table, pointer) = (Arc::clone(&table), Arc::clone(&pointer));
            thread::spawn(move || {
                if let Some(address) = *pointer.lock().unwrap() {
                    assert!(contain(&table, address).is_some());
                }
            })
        };
        table.insert(section(), pages(LOW.0, LOW.1)).unwrap();
        *pointer.lock().unwrap() = Some(LOW.0);
        user.join().unwrap();
    });
}

#[test]
fn two_writers_take_two_places() {
    loom::model(|| {
        let table = two();
        let lock = Arc::new(Mutex::new(()));
        let insert = |table: &Two, lock: &Mutex<()>, map: (usize, usize)| {
            let _guard = lock.lock().unwrap();
            table.insert(section(), pages(map.0, map.1)).unwrap()
        };
        let writer = {
            let (table, lock) = (Arc::clone(&table), Arc::clone(&lock));
            thread::spawn(move || insert(&table, &lock, HIGH))
        };
        let low = insert(&table, &lock, LOW);
        // This map's own thread, while the other is at it.
        assert!(contain(&table, LOW.0 + 3).is_some());
        assert_eq!(table.slot(low).unwrap().lost(), Some(3));
        let high = writer.join().unwrap();
        assert_ne!(low, high);
        assert_eq!(table.slot(high).unwrap().lost(), None);
        assert!(table.insert(section(), pages(900, 1)).is_none());
        // A map that takes a place has lost nothing.
        table.remove(section(), low);
        assert_eq!(table.insert(section(), pages(900, 1)), Some(low));
        assert_eq!(table.slot(low).unwrap().lost(), None);
        assert_eq!(table.slot(low).unwrap().replaced(), None);
    });
}

#[test]
fn faults_of_two_threads_are_both_kept() {
    loom::model(|| {
        let table = one();
        let place = table.insert(section(), pages(HIGH.0, HIGH.1)).unwrap();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || assert!(contain(&table, HIGH.0 + 9).is_some()))
        };
        assert!(contain(&table, HIGH.0 + 4).is_some());
        let slot = table.slot(place).unwrap();
        // Seen at once by the thread that lost it, with its page in the hull.
        assert!(slot.lost().unwrap() <= 4);
        assert!(slot.replaced().unwrap().0 <= 4);
        let first = slot.acknowledge();
        other.join().unwrap();
        let later = slot.lost();
        // Both were told: together, or the second after the first was acknowledged.
        assert!(first == Some(4) && [None, Some(9)].contains(&later));
        assert_eq!(slot.replaced(), Some((4, 10)));
        assert_eq!(slot.losses(), 2);
    });
}

/// What the page of a map is: the file's, or memory that took its place. mmap(2) of the same pages comes one after the
/// other, as with this lock.
type Replaced = Arc<Mutex<bool>>;

/// A handler that replaces a page while the owner recovers the map.
fn lose_beside_recover(
    before: Option<usize>,
    lose: impl Fn(&Slot, &Mutex<bool>) + Send + Sync + 'static,
) {
    let lose = std::sync::Arc::new(lose);
    let mut some = loom::model::Builder::new();
    some.preemption_bound = before.map(|_| 3);
    some.check(move || {
        let (table, page): (_, Replaced) = (one(), Arc::new(Mutex::new(false)));
        let place = table.insert(section(), pages(HIGH.0, HIGH.1)).unwrap();
        if let Some(before) = before {
            assert!(contain(&table, HIGH.0 + before).is_some());
        }
        let handler = {
            let (table, page, lose) = (Arc::clone(&table), Arc::clone(&page), lose.clone());
            thread::spawn(move || {
                let (slot, _) = table.find(HIGH.0 + 5).unwrap();
                lose(slot, &page);
            })
        };
        let slot = table.slot(place).unwrap();
        if let Some((from, to)) = slot.restore() {
            // The hull holds the page, or nothing that is mapped anew here does.
            if from <= 5 && 5 < to {
                *page.lock().unwrap() = false;
            }
        }
        handler.join().unwrap();
        let told = slot.lost().is_some() && slot.replaced().is_some();
        assert!(
            !*page.lock().unwrap() || told,
            "a loss that nobody is told of"
        );
    });
}

#[test]
fn a_loss_while_another_is_recovered_is_told() {
    // Alone; and behind or before one that is being recovered.
    for before in [None, Some(2), Some(7)] {
        lose_beside_recover(before, |slot, page| {
            slot.lose(5, 6);
            *page.lock().unwrap() = true;
            slot.lose(5, 6);
        });
    }
}

/// The check can fail: a handler that tells of a loss before it replaces the page, and not after.
#[test]
#[should_panic(expected = "a loss that nobody is told of")]
fn control_a_loss_that_is_told_once_is_forgotten() {
    lose_beside_recover(None, |slot, page| {
        slot.lose(5, 6);
        *page.lock().unwrap() = true;
    });
}

/// As when the kernel refuses to map the file again: what was taken away is put back.
#[test]
fn a_recover_that_fails_leaves_both_losses_told() {
    let mut some = loom::model::Builder::new();
    // All orders are millions: each of four calls has a loop.
    some.preemption_bound = Some(3);
    some.check(|| {
        let table = one();
        let place = table.insert(section(), pages(HIGH.0, HIGH.1)).unwrap();
        assert!(contain(&table, HIGH.0 + 2).is_some());
        let handler = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let (slot, _) = table.find(HIGH.0 + 5).unwrap();
                slot.lose(5, 6);
                slot.lose(5, 6);
            })
        };
        let slot = table.slot(place).unwrap();
        let (from, to) = slot.restore().unwrap();
        slot.lose(from, to);
        handler.join().unwrap();
        assert_eq!(slot.lost(), Some(2));
        assert_eq!(slot.replaced(), Some((2, 6)));
    });
}

/// The check can fail: writers that do not mark a place as being written.
#[test]
#[should_panic(expected = "holds what neither map does")]
fn control_a_writer_without_versions_is_caught() {
    loom::model(|| {
        let table = one();
        let place = table.insert(section(), pages(LOW.0, LOW.1)).unwrap();
        let handler = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                assert!(table.find(NEITHER).is_none(), "holds what neither map does");
            })
        };
        let slot = table.slot(place).unwrap();
        slot.base.store(HIGH.0, atomic::Ordering::Relaxed);
        slot.len.store(HIGH.1, atomic::Ordering::Relaxed);
        handler.join().unwrap();
    });
}

/// The check can fail: a version that is made even before the words are there.
#[test]
#[should_panic(expected = "holds what neither map does")]
fn control_a_writer_without_fences_is_caught() {
    loom::model(|| {
        let table = one();
        let place = table.insert(section(), pages(LOW.0, LOW.1)).unwrap();
        let handler = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                assert!(table.find(NEITHER).is_none(), "holds what neither map does");
            })
        };
        let slot = table.slot(place).unwrap();
        let relaxed = atomic::Ordering::Relaxed;
        let version = slot.version.load(relaxed);
        slot.version.store(version + 1, relaxed);
        slot.base.store(HIGH.0, relaxed);
        slot.len.store(HIGH.1, relaxed);
        slot.version.store(version + 2, relaxed);
        handler.join().unwrap();
    });
}
