//! Threads without libc: clone(2), on a stack that the program brings.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

/// `CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM`: all that makes a
/// thread, and what QEMU's user mode takes for one.
const FLAGS: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000;

/// Threads that are not at their end yet.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// The stack of one thread.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Stack(core::cell::UnsafeCell<[u8; 65_536]>);

// SAFETY: `spawn` hands it to one thread, and nobody else looks inside.
unsafe impl Sync for Stack {}

impl Stack {
    /// For a `static`.
    #[allow(clippy::new_without_default, reason = "a static of its own each")]
    pub const fn new() -> Self {
        Self(core::cell::UnsafeCell::new([0; 65_536]))
    }
}

/// Starts a thread. `false` if the kernel has none.
///
/// # Safety
///
/// - No other thread has this stack.
pub unsafe fn spawn(stack: &'static Stack, body: fn(usize), argument: usize) -> bool {
    extern "C" fn begin(start: &(fn(usize), usize)) -> ! {
        start.0(start.1);
        RUNNING.fetch_sub(1, Ordering::Release);
        exit_thread()
    }

    let bottom = stack.0.get().cast::<u8>();
    // The start is kept at the top, for the thread to find.
    let top = bottom.wrapping_add(65_536 - 64);
    let start = top.cast::<(fn(usize), usize)>();
    // SAFETY: inside the stack, which is aligned to 16 and nobody uses yet.
    unsafe { start.write((body, argument)) };
    RUNNING.fetch_add(1, Ordering::Relaxed);
    let begin: extern "C" fn(&(fn(usize), usize)) -> ! = begin;
    let result: isize;
    // SAFETY: clone(2) gives 0 to the new thread, which has its own stack, goes to `begin` with the start
    // and never comes back; the old one goes on behind.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r12", "call r13", "2:",
            inlateout("rax") 56isize => result, in("rdi") FLAGS, in("rsi") top, in("rdx") 0, in("r10") 0,
            in("r8") 0, in("r12") start, in("r13") begin, lateout("rcx") _, lateout("r11") _,
        );
        #[cfg(target_arch = "aarch64")]
        asm!(
            "svc 0", "cbnz x0, 2f", "mov x29, xzr", "mov x30, xzr", "mov x0, x9", "br x10", "2:",
            in("x8") 220, inlateout("x0") FLAGS => result, in("x1") top, in("x2") 0, in("x3") 0,
            in("x4") 0, in("x9") start, in("x10") begin,
        );
        #[cfg(target_arch = "arm")]
        asm!(
            "push {{r7}}", "mov r7, #120", "svc 0", "cmp r0, #0", "bne 2f", "mov fp, #0", "mov lr, #0",
            "mov r0, r5", "bx r8", "2:", "pop {{r7}}",
            inlateout("r0") FLAGS as isize => result, in("r1") top, in("r2") 0, in("r3") 0, in("r4") 0,
            in("r5") start, in("r8") begin,
        );
        #[cfg(target_arch = "riscv64")]
        asm!(
            "ecall", "bnez a0, 2f", "mv s0, zero", "mv ra, zero", "mv a0, a5", "jr a6", "2:",
            in("a7") 220, inlateout("a0") FLAGS => result, in("a1") top, in("a2") 0, in("a3") 0,
            in("a4") 0, in("a5") start, in("a6") begin,
        );
        // The stack comes first.
        #[cfg(target_arch = "s390x")]
        asm!(
            "svc 0", "ltgr %r2, %r2", "jnz 2f", "aghi %r15, -160", "xc 0(8,%r15), 0(%r15)", "lghi %r14, 0",
            "lgr %r2, %r9", "br %r10", "2:",
            in("r1") 120usize, inlateout("r2") top => result, in("r3") FLAGS, in("r4") 0usize, in("r5") 0usize,
            in("r6") 0usize, in("r9") start, in("r10") begin,
        );
        // The summary overflow bit says that there was an error.
        #[cfg(target_arch = "powerpc")]
        asm!(
            "sc", "bns 3f", "neg 3, 3", "b 2f", "3:", "cmpwi 3, 0", "bne 2f", "li 0, 0", "stwu 0, -16(1)", "mtlr 0",
            "mr 3, 15", "mtctr 16", "bctr", "2:",
            inlateout("r0") 120 => _, inlateout("r3") FLAGS => result, inlateout("r4") top => _, inlateout("r5") 0 => _,
            inlateout("r6") 0 => _, inlateout("r7") 0 => _, lateout("r8") _, lateout("r9") _, lateout("r10") _,
            lateout("r11") _, lateout("r12") _, in("r15") start, in("r16") begin, lateout("cr0") _, lateout("ctr") _,
            lateout("xer") _,
        );
    }
    if result < 0 {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
    result > 0
}

/// Waits until all threads have come to their end.
pub fn join_all() {
    // Acquire: what they wrote is seen here.
    while RUNNING.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
}

fn exit_thread() -> ! {
    // SAFETY: exit takes a status, ends the thread and does not come back.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", in("rax") 60, in("rdi") 0, options(noreturn));
        #[cfg(target_arch = "aarch64")]
        asm!("svc 0", in("x8") 93, in("x0") 0, options(noreturn));
        #[cfg(target_arch = "arm")]
        asm!("mov r7, #1", "svc 0", in("r0") 0, options(noreturn));
        #[cfg(target_arch = "riscv64")]
        asm!("ecall", in("a7") 93, in("a0") 0, options(noreturn));
        #[cfg(target_arch = "s390x")]
        asm!("svc 0", "j .", in("r1") 1usize, in("r2") 0usize, options(noreturn));
        #[cfg(target_arch = "powerpc")]
        asm!("sc", in("r0") 1, in("r3") 0, options(noreturn));
    }
}
