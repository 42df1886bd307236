//! [`Register`]: one access of exactly one width.
//!
//! # Safety
//!
//! Each `asm!` is one load or one store at the address it is given, of the width of the type, and changes
//! nothing else. The compiler takes it for one that may touch any memory, so that it stays in order with all others.

#![allow(unsafe_code, reason = "the instructions that access registers")]

/// Names what a register holds: `u8`, `u16`, `u32` and, on 64-bit machines, `u64`.
pub trait Register: Copy + sealed::Sealed {}

mod sealed {
    /// The pointer is mapped, aligned for the type, and may be accessed as the name says.
    #[allow(
        clippy::missing_safety_doc,
        unreachable_pub,
        unnameable_types,
        reason = "one rule for all, above; no other module can name it"
    )]
    pub trait Sealed {
        unsafe fn load(register: *const Self) -> Self;
        unsafe fn store(register: *mut Self, value: Self);
    }
}

// Not core's volatile accesses, where instructions are known: the compiler may choose a form for these that also
// changes the address register, and such a trap tells a hypervisor neither the width nor the value.
macro_rules! registers {
    ($($type:ident: $class:ident, $load:expr, $store:expr;)*) => {$(
        registers! { $type, register, value, {
            let value: Self;
            core::arch::asm!(
                $load,
                value = lateout($class) value,
                address = in(reg) register,
                options(nostack, preserves_flags)
            );
            value
        }, core::arch::asm!(
            $store,
            value = in($class) value,
            address = in(reg) register,
            options(nostack, preserves_flags)
        ) }
    )*};
    ($($type:ident)*) => {$(
        registers! { $type, register, value, register.read_volatile(), register.write_volatile(value) }
    )*};
    ($type:ident, $register:ident, $value:ident, $load:expr, $store:expr) => {
        impl Register for $type {}

        impl sealed::Sealed for $type {
            #[inline(always)]
            unsafe fn load($register: *const Self) -> Self {
                // SAFETY: the caller's duty.
                unsafe { $load }
            }

            #[inline(always)]
            unsafe fn store($register: *mut Self, $value: Self) {
                // SAFETY: the caller's duty.
                unsafe { $store }
            }
        }
    };
}

/// Orders stores to write-combined memory with those to registers, as devices see them.
#[inline]
pub(super) fn barrier() {
    // SAFETY: no operands; it accesses nothing.
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    unsafe {
        core::arch::asm!("dsb st", options(nostack, preserves_flags));
    }
    // mfence or a locked instruction, sync: these drain what is combined.
    #[cfg(any(not(target_arch = "aarch64"), miri))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

#[cfg(target_arch = "aarch64")]
registers! {
    u8: reg, "ldrb {value:w}, [{address}]", "strb {value:w}, [{address}]";
    u16: reg, "ldrh {value:w}, [{address}]", "strh {value:w}, [{address}]";
    u32: reg, "ldr {value:w}, [{address}]", "str {value:w}, [{address}]";
    u64: reg, "ldr {value:x}, [{address}]", "str {value:x}, [{address}]";
}

#[cfg(target_arch = "arm")]
registers! {
    u8: reg, "ldrb {value}, [{address}]", "strb {value}, [{address}]";
    u16: reg, "ldrh {value}, [{address}]", "strh {value}, [{address}]";
    u32: reg, "ldr {value}, [{address}]", "str {value}, [{address}]";
}

// Not the short forms of newer machines, which hypervisors do not all know.
#[cfg(target_arch = "riscv64")]
macro_rules! long {
    ($instruction:literal) => {
        concat!(
            ".option push\n.option norvc\n",
            $instruction,
            " {value}, 0({address})\n.option pop"
        )
    };
}

#[cfg(target_arch = "riscv64")]
registers! {
    u8: reg, long!("lbu"), long!("sb");
    u16: reg, long!("lhu"), long!("sh");
    u32: reg, long!("lwu"), long!("sw");
    u64: reg, long!("ld"), long!("sd");
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
registers! {
    u8: reg_byte, "mov {value}, byte ptr [{address}]", "mov byte ptr [{address}], {value}";
    u16: reg, "mov {value:x}, word ptr [{address}]", "mov word ptr [{address}], {value:x}";
    u32: reg, "mov {value:e}, dword ptr [{address}]", "mov dword ptr [{address}], {value:e}";
}

#[cfg(target_arch = "x86_64")]
registers! {
    u64: reg, "mov {value:r}, qword ptr [{address}]", "mov qword ptr [{address}], {value:r}";
}

#[cfg(not(any(
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64",
    target_arch = "x86_64",
    target_arch = "x86"
)))]
registers! { u8 u16 u32 }

#[cfg(all(
    target_pointer_width = "64",
    not(any(
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "x86_64"
    ))
))]
registers! { u64 }
