//! Signal handlers without libc: rt_sigaction(2).

use core::arch::asm;
use core::ffi::c_int;

/// The head of the kernel's `siginfo_t`, for a fault.
#[repr(C)]
#[derive(Debug)]
pub struct Info {
    pub signal: c_int,
    pub errno: c_int,
    pub code: c_int,
    // The union behind is aligned for a pointer: so is this.
    pub address: usize,
}

/// A handler for `SA_SIGINFO`. The third argument is the context.
pub type Handler = extern "C" fn(c_int, &Info, usize);

/// The kernel's own `struct sigaction`, which is not libc's.
#[repr(C)]
struct Action {
    handler: usize,
    flags: usize,
    // Where the kernel has a place of its own to return through, it has no such field, or does not look at it.
    #[cfg(not(target_arch = "riscv64"))]
    restorer: usize,
    mask: [usize; 8 / size_of::<usize>()],
}

const SA_SIGINFO: usize = 4;

/// On x86_64 the kernel wants to be told how a handler returns: by rt_sigreturn(2).
#[cfg(target_arch = "x86_64")]
mod restorer {
    pub(super) const SA_RESTORER: usize = 0x0400_0000;

    core::arch::global_asm!(
        ".globl rawmap_restorer",
        "rawmap_restorer:",
        "mov $15, %eax",
        "syscall",
        options(att_syntax)
    );

    unsafe extern "C" {
        fn rawmap_restorer();
    }

    pub(super) fn address() -> usize {
        rawmap_restorer as *const () as usize
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod restorer {
    pub(super) const SA_RESTORER: usize = 0;

    #[cfg(not(target_arch = "riscv64"))]
    pub(super) fn address() -> usize {
        0
    }
}

/// Installs a handler. `false` if the kernel refuses.
pub fn handle(signal: c_int, handler: Handler) -> bool {
    set(signal, handler as usize, SA_SIGINFO | restorer::SA_RESTORER)
}

/// What there was without a handler: an instruction that faults again ends the process.
pub fn set_default(signal: c_int) {
    let _ = set(signal, 0, restorer::SA_RESTORER);
}

fn set(signal: c_int, handler: usize, flags: usize) -> bool {
    let action = Action {
        handler,
        flags,
        #[cfg(not(target_arch = "riscv64"))]
        restorer: restorer::address(),
        mask: [0; 8 / size_of::<usize>()],
    };
    let action = &raw const action;
    let result: isize;
    // SAFETY: the kernel reads the action; the old one is not asked for, and 8 is the size of the mask.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!(
            "syscall", inlateout("rax") 13isize => result, in("rdi") signal, in("rsi") action,
            in("rdx") 0usize, in("r10") 8usize, lateout("rcx") _, lateout("r11") _, options(nostack)
        );
        #[cfg(target_arch = "aarch64")]
        asm!(
            "svc 0", in("x8") 134, inlateout("x0") signal as isize => result, in("x1") action, in("x2") 0usize,
            in("x3") 8usize, options(nostack)
        );
        #[cfg(target_arch = "arm")]
        asm!(
            "mov {saved}, r7", "mov r7, #174", "svc 0", "mov r7, {saved}", saved = out(reg) _,
            inlateout("r0") signal as isize => result, in("r1") action, in("r2") 0usize, in("r3") 8usize,
            options(nostack)
        );
        #[cfg(target_arch = "riscv64")]
        asm!(
            "ecall", in("a7") 134, inlateout("a0") signal as isize => result, in("a1") action, in("a2") 0usize,
            in("a3") 8usize, options(nostack)
        );
        #[cfg(target_arch = "s390x")]
        asm!(
            "svc 0", in("r1") 174usize, inlateout("r2") signal as isize => result, in("r3") action, in("r4") 0usize,
            in("r5") 8usize, options(nostack)
        );
        #[cfg(target_arch = "powerpc")]
        asm!(
            "sc", "bns 1f", "neg 3, 3", "1:", inlateout("r0") 173 => _, inlateout("r3") signal as isize => result,
            inlateout("r4") action => _, inlateout("r5") 0usize => _, inlateout("r6") 8usize => _, lateout("r7") _,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _, lateout("r12") _, lateout("cr0") _,
            lateout("ctr") _, lateout("xer") _, options(nostack)
        );
    }
    result == 0
}
