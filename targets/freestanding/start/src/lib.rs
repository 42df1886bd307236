//! What a program needs that has neither std nor libc: a start, an end, and what the compiler
//! expects to find. For x86_64, arm, aarch64, riscv64, s390x and powerpc.
//!
//! A program says `start!(main)` with `fn main(arguments: &Arguments) -> u8`, and its build script passes this crate's
//! linker flags on; `targets/new DIR` makes such a program. A panic ends it with status 101.

#![no_std]

#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64",
    target_arch = "s390x",
    target_arch = "powerpc"
)))]
compile_error!("rawmap-start has a start for x86_64, arm, aarch64, riscv64, s390x and powerpc");

use core::ffi::{CStr, c_char};

use rawmap_core::PageSize;

/// The stack as the kernel lays it out for a new program: argc, argv, envp, auxiliary vector.
#[derive(Debug)]
pub struct Arguments {
    stack: *const usize,
}

impl Arguments {
    /// # Safety
    ///
    /// - `stack` is the stack pointer at the program's entry, and the words above it are as the
    ///   kernel wrote them.
    pub unsafe fn new(stack: *const usize) -> Self {
        Self { stack }
    }

    /// Gives argument `number`; 0 is the program's name.
    pub fn get(&self, number: usize) -> Option<&'static CStr> {
        // SAFETY: the first word is argc.
        let count = unsafe { *self.stack };
        if number >= count {
            return None;
        }
        // SAFETY: argc pointers follow it, and `number` is below argc.
        let argument = unsafe { *self.stack.add(1 + number) };
        let argument = core::ptr::with_exposed_provenance::<c_char>(argument);
        // SAFETY: the kernel ends every argument with a zero byte, and they live as long as the
        // program.
        Some(unsafe { CStr::from_ptr(argument) })
    }

    /// Finds the page size in the auxiliary vector, as firmware without `/proc` does.
    pub fn page_size(&self) -> Option<PageSize> {
        const AT_NULL: usize = 0;
        const AT_PAGESZ: usize = 6;
        // SAFETY: argc, argc pointers and a null come before the environment.
        let mut word = unsafe { self.stack.add(*self.stack + 2) };
        // SAFETY: the environment ends with a null.
        while unsafe { *word } != 0 {
            // SAFETY: the null was not reached.
            word = unsafe { word.add(1) };
        }
        loop {
            // SAFETY: pairs follow the null, up to one with the key AT_NULL.
            let (key, value) = unsafe { (*word.add(1), *word.add(2)) };
            match key {
                AT_NULL => return None,
                AT_PAGESZ => return PageSize::new(value).ok(),
                // SAFETY: the last pair was not reached.
                _ => word = unsafe { word.add(2) },
            }
        }
    }
}

/// Ends the process with a status.
pub fn exit(status: u8) -> ! {
    let status = usize::from(status);
    // SAFETY: exit_group takes a status, ends the process and does not come back.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("syscall", in("rax") 231, in("rdi") status, options(noreturn));
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!("svc 0", in("x8") 94, in("x0") status, options(noreturn));
        #[cfg(target_arch = "arm")]
        core::arch::asm!("mov r7, #248", "svc 0", in("r0") status, options(noreturn));
        #[cfg(target_arch = "riscv64")]
        core::arch::asm!("ecall", in("a7") 94, in("a0") status, options(noreturn));
        #[cfg(target_arch = "s390x")]
        core::arch::asm!("svc 0", "j .", in("r1") 248usize, in("r2") status, options(noreturn));
        #[cfg(target_arch = "powerpc")]
        core::arch::asm!("sc", in("r0") 234, in("r3") status, options(noreturn));
    }
}

/// Defines `_start`: it hands the stack pointer to `main` and ends with what that gives.
#[macro_export]
macro_rules! start {
    ($main:path) => {
        #[cfg(target_arch = "x86_64")]
        core::arch::global_asm!(
            ".globl _start", "_start:", "xor %ebp, %ebp", "mov %rsp, %rdi", "and $-16, %rsp",
            "call {entry}", entry = sym entry, options(att_syntax)
        );
        #[cfg(target_arch = "aarch64")]
        core::arch::global_asm!(
            ".globl _start", "_start:", "mov x29, xzr", "mov x30, xzr", "mov x0, sp", "b {entry}",
            entry = sym entry
        );
        #[cfg(target_arch = "arm")]
        core::arch::global_asm!(
            ".arm", ".globl _start", ".type _start, %function", "_start:", "mov fp, #0", "mov lr, #0",
            "mov r0, sp", "bic sp, sp, #7", "bl {entry}", entry = sym entry
        );
        #[cfg(target_arch = "riscv64")]
        core::arch::global_asm!(
            ".globl _start", "_start:", ".option push", ".option norelax",
            "lla gp, __global_pointer$", ".option pop", "mv s0, zero", "mv ra, zero", "mv a0, sp",
            "tail {entry}", entry = sym entry
        );

        // Below the stack pointer is room in which a function keeps registers.
        #[cfg(target_arch = "s390x")]
        core::arch::global_asm!(
            ".globl _start", "_start:", "lgr %r2, %r15", "aghi %r15, -160", "xc 0(8,%r15), 0(%r15)", "lghi %r14, 0",
            "jg {entry}", entry = sym entry
        );
        #[cfg(target_arch = "powerpc")]
        core::arch::global_asm!(
            ".globl _start", "_start:", "mr 3, 1", "clrrwi 1, 1, 4", "li 0, 0", "stwu 0, -16(1)", "mtlr 0",
            "b {entry}", entry = sym entry
        );

        unsafe extern "C" fn entry(stack: *const usize) -> ! {
            // SAFETY: `_start` passes the stack pointer that the kernel gave.
            let arguments = unsafe { $crate::Arguments::new(stack) };
            $crate::exit($main(&arguments))
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            $crate::exit(101)
        }
    };
}

/// The compiler calls these by name. Loops that it must not turn back into calls of themselves: each
/// byte goes through a volatile access.
mod memory {
    use core::ffi::{c_char, c_void};

    /// # Safety
    ///
    /// - As for C's function of this name.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void {
        let (target, source) = (to.cast::<u8>(), from.cast::<u8>());
        for i in 0..len {
            // SAFETY: the caller's duty: both have `len` bytes.
            unsafe { target.add(i).write_volatile(source.add(i).read_volatile()) };
        }
        to
    }

    /// # Safety
    ///
    /// - As for C's function of this name.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void {
        let (target, source) = (to.cast::<u8>(), from.cast::<u8>());
        for step in 0..len {
            // A byte of the source is read before it is written over.
            let i = if to.addr() <= from.addr() {
                step
            } else {
                len - 1 - step
            };
            // SAFETY: the caller's duty: both have `len` bytes.
            unsafe { target.add(i).write_volatile(source.add(i).read_volatile()) };
        }
        to
    }

    /// # Safety
    ///
    /// - As for C's function of this name.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut c_void, byte: i32, len: usize) -> *mut c_void {
        let target = to.cast::<u8>();
        for i in 0..len {
            // SAFETY: the caller's duty: `to` has `len` bytes.
            unsafe { target.add(i).write_volatile(byte.to_le_bytes()[0]) };
        }
        to
    }

    /// # Safety
    ///
    /// - As for C's function of this name.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(left: *const c_void, right: *const c_void, len: usize) -> i32 {
        let (left, right) = (left.cast::<u8>(), right.cast::<u8>());
        for i in 0..len {
            // SAFETY: the caller's duty: both have `len` bytes.
            let bytes = unsafe { (left.add(i).read_volatile(), right.add(i).read_volatile()) };
            if bytes.0 != bytes.1 {
                return i32::from(bytes.0) - i32::from(bytes.1);
            }
        }
        0
    }

    /// # Safety
    ///
    /// - As for C's function of this name.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(left: *const c_void, right: *const c_void, len: usize) -> i32 {
        // SAFETY: the caller's duty, passed on.
        unsafe { memcmp(left, right, len) }
    }

    /// # Safety
    ///
    /// - As for C's function of this name.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const c_char) -> usize {
        let mut len = 0;
        // SAFETY: the caller's duty: a zero byte ends the text, and it was not reached.
        while unsafe { text.add(len).read_volatile() } != 0 {
            len += 1;
        }
        len
    }

    /// core's prebuilt code names the unwinder; nothing unwinds here. Builds with optimization drop it.
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() {}

    /// As above.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume() -> ! {
        crate::exit(101)
    }

    /// As above, on arm.
    #[cfg(target_arch = "arm")]
    #[unsafe(no_mangle)]
    extern "C" fn __aeabi_unwind_cpp_pr0() {}

    /// As above.
    #[cfg(target_arch = "arm")]
    #[unsafe(no_mangle)]
    extern "C" fn __aeabi_unwind_cpp_pr1() {}

    /// Rust's atomic operations on aarch64 ask libc for the CPU's features before `main`, which nothing
    /// calls here: without an answer they take those that every CPU has.
    #[cfg(target_arch = "aarch64")]
    #[unsafe(no_mangle)]
    extern "C" fn getauxval(_: usize) -> usize {
        0
    }
}
