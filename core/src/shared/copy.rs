//! Bytes in and out of memory that others may write at the same time.
//!
//! No copy here is Rust's own, which may assume that nobody else writes. On `x86_64`, aarch64 and arm it is
//! instructions of our own, elsewhere relaxed atomic words. In both cases each byte that is read is one that was stored
//! there, bytes that are stored at the same time come in any order, and a fault that is contained lets the copy go on.
//!
//! # Safety
//!
//! The callers give a range that is mapped and checked, and a slice of the same length that is not of it.

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
use core::sync::atomic::{AtomicU8, Ordering};

/// Copies `local.len()` bytes from shared memory.
///
/// # Safety
///
/// - As many bytes from `shared` on are mapped and readable.
#[inline]
pub(super) unsafe fn read(shared: *const u8, local: &mut [u8]) {
    // SAFETY: the caller's duty, and the slice has as many bytes.
    unsafe { arch::copy::<false>(local.as_mut_ptr(), shared, local.len()) };
}

/// Copies `local.len()` bytes to shared memory.
///
/// # Safety
///
/// - As many bytes from `shared` on are mapped and writable.
#[inline]
pub(super) unsafe fn write(shared: *mut u8, local: &[u8]) {
    // SAFETY: the caller's duty, and the slice has as many bytes.
    unsafe { arch::copy::<true>(shared, local.as_ptr(), local.len()) };
}

/// Stores a byte `len` times to shared memory.
///
/// # Safety
///
/// - As many bytes from `shared` on are mapped and writable.
pub(super) unsafe fn fill(shared: *mut u8, byte: u8, len: usize) {
    let block = [byte; 256];
    let mut done = 0;
    while done < len {
        let part = block.get(..len.wrapping_sub(done)).unwrap_or(&block);
        // SAFETY: not past the caller's bytes.
        unsafe { write(shared.wrapping_add(done), part) };
        done = done.wrapping_add(part.len());
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod arch {
    /// From here on `rep movsb` is as fast as memcpy; below, what it takes to begin counts.
    const MANY: usize = 2048;

    /// # Safety
    ///
    /// - Both ranges are mapped, and only one of them is anything that Rust knows of.
    #[inline]
    pub(super) unsafe fn copy<const OUT: bool>(to: *mut u8, from: *const u8, len: usize) {
        // Where the target is less than 64 bytes ahead of the source, in their pages, `rep movsb` takes 10 to 30
        // times as long (Zen 4; memcpy, too).
        let ahead = to.addr().wrapping_sub(from.addr()) & 0xfff;
        if len < MANY || (1..64).contains(&ahead) {
            // SAFETY: the caller's duty, passed on.
            return unsafe { copy_blocks(to, from, len) };
        }
        // SAFETY: the caller's duty. The direction flag is clear, as the ABI has it.
        unsafe {
            core::arch::asm!(
                "rep movsb",
                inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags)
            );
        }
    }

    #[inline]
    unsafe fn copy_blocks(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: as for `copy`: 64 bytes at a time, then 16, then single ones.
        unsafe {
            core::arch::asm!(
                "sub {len}, 64",
                "jb 3f",
                "2:",
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + 32]",
                "movups {d}, [{from} + 48]",
                "movups [{to}], {a}",
                "movups [{to} + 16], {b}",
                "movups [{to} + 32], {c}",
                "movups [{to} + 48], {d}",
                "add {from}, 64",
                "add {to}, 64",
                "sub {len}, 64",
                "jae 2b",
                "3:",
                "add {len}, 48",
                "jl 5f",
                "4:",
                "movups {a}, [{from}]",
                "movups [{to}], {a}",
                "add {from}, 16",
                "add {to}, 16",
                "sub {len}, 16",
                "jge 4b",
                "5:",
                "add {len}, 16",
                "jz 7f",
                "6:",
                "mov {byte}, [{from}]",
                "mov [{to}], {byte}",
                "inc {from}",
                "inc {to}",
                "dec {len}",
                "jnz 6b",
                "7:",
                len = inout(reg) len => _, to = inout(reg) to => _, from = inout(reg) from => _,
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                byte = out(reg_byte) _,
                options(nostack)
            );
        }
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
mod arch {
    /// # Safety
    ///
    /// - Both ranges are mapped, and only one of them is anything that Rust knows of.
    #[inline]
    pub(super) unsafe fn copy<const OUT: bool>(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: the caller's duty: 64 bytes at a time, then 8, then single ones. Any alignment will do for
        // memory that is not a device's.
        unsafe {
            core::arch::asm!(
                "subs {len}, {len}, #64",
                "b.lo 3f",
                "2:",
                "ldp {a:q}, {b:q}, [{from}]",
                "ldp {c:q}, {d:q}, [{from}, #32]",
                "add {from}, {from}, #64",
                "stp {a:q}, {b:q}, [{to}]",
                "stp {c:q}, {d:q}, [{to}, #32]",
                "add {to}, {to}, #64",
                "subs {len}, {len}, #64",
                "b.hs 2b",
                "3:",
                "adds {len}, {len}, #56",
                "b.mi 5f",
                "4:",
                "ldr {word}, [{from}], #8",
                "str {word}, [{to}], #8",
                "subs {len}, {len}, #8",
                "b.pl 4b",
                "5:",
                "adds {len}, {len}, #8",
                "b.eq 7f",
                "6:",
                "ldrb {word:w}, [{from}], #1",
                "strb {word:w}, [{to}], #1",
                "subs {len}, {len}, #1",
                "b.ne 6b",
                "7:",
                len = inout(reg) len => _, to = inout(reg) to => _, from = inout(reg) from => _,
                word = out(reg) _, a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
                options(nostack)
            );
        }
    }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod arch {
    use core::sync::atomic::AtomicUsize;

    use super::{AtomicU8, Ordering};

    const WORD: usize = size_of::<usize>();
    const BLOCK: usize = WORD * 8;
    const RELAXED: Ordering = Ordering::Relaxed;

    /// # Safety
    ///
    /// - Both ranges are mapped; `OUT`: `to` is the shared one, else `from` is.
    #[inline]
    pub(super) unsafe fn copy<const OUT: bool>(to: *mut u8, from: *const u8, len: usize) {
        let shared = if OUT { to.addr() } else { from.addr() };
        let head = shared.wrapping_neg() & (WORD - 1);
        if head > len {
            // SAFETY: the caller's duty, passed on.
            return unsafe { bytes::<OUT>(to, from, len) };
        }
        // SAFETY: as above, for what comes before the first word of the shared side.
        unsafe { bytes::<OUT>(to, from, head) };
        let (mut to, mut from) = (to.wrapping_add(head), from.wrapping_add(head));
        let mut left = len.wrapping_sub(head);
        let together = to.addr() & (WORD - 1) == from.addr() & (WORD - 1);
        #[cfg(all(target_arch = "arm", not(miri)))]
        if together {
            let whole = left & !(BLOCK - 1);
            // SAFETY: the caller's duty; both are at a multiple of a word.
            unsafe { blocks(to, from, whole) };
            (to, from) = (to.wrapping_add(whole), from.wrapping_add(whole));
            left = left.wrapping_sub(whole);
        }
        let whole = left & !(WORD - 1);
        // Two loops: in one, the compiler would take the slow way for both.
        if together {
            // SAFETY: the caller's duty; both are at a multiple of a word.
            unsafe { words::<OUT, true>(to, from, whole) };
        } else {
            // SAFETY: the caller's duty; the shared one is at a multiple of a word.
            unsafe { words::<OUT, false>(to, from, whole) };
        }
        (to, from) = (to.wrapping_add(whole), from.wrapping_add(whole));
        left = left.wrapping_sub(whole);
        // SAFETY: the rest.
        unsafe { bytes::<OUT>(to, from, left) };
    }

    /// 32 bytes at a time.
    #[cfg(all(target_arch = "arm", not(miri)))]
    unsafe fn blocks(to: *mut u8, from: *const u8, len: usize) {
        if len == 0 {
            return;
        }
        // SAFETY: `len` is a multiple of 32, both are at a multiple of 4.
        unsafe {
            core::arch::asm!(
                "2:",
                "ldm {from}!, {{r3, r4, r5, r12}}",
                "stm {to}!, {{r3, r4, r5, r12}}",
                "ldm {from}!, {{r3, r4, r5, r12}}",
                "stm {to}!, {{r3, r4, r5, r12}}",
                "subs {len}, {len}, #32",
                "bne 2b",
                len = inout(reg) len => _, to = inout(reg) to => _, from = inout(reg) from => _,
                out("r3") _, out("r4") _, out("r5") _, out("r12") _,
                options(nostack)
            );
        }
    }

    /// Whole words. `TOGETHER`: both sides are at a multiple of one.
    unsafe fn words<const OUT: bool, const TOGETHER: bool>(
        mut to: *mut u8,
        mut from: *const u8,
        mut len: usize,
    ) {
        while len >= BLOCK {
            for i in 0..8usize {
                let at = WORD.wrapping_mul(i);
                // SAFETY: inside the block.
                unsafe { word::<OUT, TOGETHER>(to.wrapping_add(at), from.wrapping_add(at)) };
            }
            (to, from) = (to.wrapping_add(BLOCK), from.wrapping_add(BLOCK));
            len = len.wrapping_sub(BLOCK);
        }
        while len >= WORD {
            // SAFETY: as above.
            unsafe { word::<OUT, TOGETHER>(to, from) };
            (to, from) = (to.wrapping_add(WORD), from.wrapping_add(WORD));
            len = len.wrapping_sub(WORD);
        }
    }

    /// One word, atomic on the shared side.
    #[allow(clippy::inline_always, reason = "one instruction for each side")]
    #[inline(always)]
    unsafe fn word<const OUT: bool, const TOGETHER: bool>(to: *mut u8, from: *const u8) {
        let (to, from) = (to.cast::<usize>(), from.cast::<usize>());
        if OUT {
            let value = if TOGETHER {
                // SAFETY: the caller's slice, at a multiple of a word.
                unsafe { from.read() }
            } else {
                // SAFETY: the caller's slice.
                unsafe { from.read_unaligned() }
            };
            // SAFETY: mapped, at a multiple of a word.
            let shared = unsafe { AtomicUsize::from_ptr(to) };
            shared.store(value, RELAXED);
        } else {
            // SAFETY: mapped, at a multiple of a word. Only read: this is a load.
            let shared = unsafe { AtomicUsize::from_ptr(from.cast_mut()) };
            let value = shared.load(RELAXED);
            if TOGETHER {
                // SAFETY: the caller's slice, at a multiple of a word.
                unsafe { to.write(value) };
            } else {
                // SAFETY: the caller's slice.
                unsafe { to.write_unaligned(value) };
            }
        }
    }

    unsafe fn bytes<const OUT: bool>(to: *mut u8, from: *const u8, len: usize) {
        for i in 0..len {
            let (to, from) = (to.wrapping_add(i), from.wrapping_add(i));
            if OUT {
                // SAFETY: the caller's slice.
                let value = unsafe { from.read() };
                // SAFETY: mapped.
                let shared = unsafe { AtomicU8::from_ptr(to) };
                shared.store(value, RELAXED);
            } else {
                // SAFETY: mapped. Only read: this is a load.
                let shared = unsafe { AtomicU8::from_ptr(from.cast_mut()) };
                let value = shared.load(RELAXED);
                // SAFETY: the caller's slice.
                unsafe { to.write(value) };
            }
        }
    }
}
