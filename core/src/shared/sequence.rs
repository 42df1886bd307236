//! A number that is odd while what stands behind it is written: the order of loads, stores and fences, for any memory.
//! `tests/loom` runs this file under loom.

use core::hint;

use super::atomic::{Ordering, fence};

/// The word that the number is in.
pub(super) trait Number {
    type Error;

    fn load(&self) -> Result<u32, Self::Error>;
    fn load_acquire(&self) -> Result<u32, Self::Error>;
    fn store(&self, number: u32) -> Result<(), Self::Error>;
    fn store_release(&self, number: u32) -> Result<(), Self::Error>;
}

/// What a reader has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// All of it, under this number.
    Whole(u32),
    /// The number was odd, and the same, at each try.
    Odd,
    /// The number was not the same at all tries.
    Changing,
}

/// Writes, by `copy`, and returns the new number. 0 is left out: it is new memory.
pub(super) fn write<N: Number>(
    number: &N,
    copy: impl FnOnce() -> Result<(), N::Error>,
) -> Result<u32, N::Error> {
    // Odd already, if a writer died.
    let odd = number.load()? | 1;
    number.store(odd)?;
    // With the fence in `read`: who reads a byte of the copy sees that the number is odd.
    fence(Ordering::Release);
    copy()?;
    let even = match odd.wrapping_add(1) {
        0 => 2,
        even => even,
    };
    number.store_release(even)?;
    Ok(even)
}

/// Reads, by `copy`, until no writer came in between, or `tries` are over.
pub(super) fn read<N: Number>(
    number: &N,
    tries: usize,
    mut copy: impl FnMut() -> Result<(), N::Error>,
) -> Result<Seen, N::Error> {
    let first = number.load_acquire()?;
    let (mut before, mut is_same) = (first, true);
    for _ in 0..tries {
        if before & 1 == 0 {
            copy()?;
            // With the fence in `write`.
            fence(Ordering::Acquire);
            if number.load()? == before {
                return Ok(Seen::Whole(before));
            }
        }
        hint::spin_loop();
        before = number.load_acquire()?;
        is_same &= before == first;
    }
    Ok(if is_same && first & 1 == 1 {
        Seen::Odd
    } else {
        Seen::Changing
    })
}
