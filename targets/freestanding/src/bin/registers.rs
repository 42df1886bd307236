//! `registers`: not to be run. `disassemble` looks at the instructions that access registers here, in loops that
//! would be shorter with instructions that also move the address on, and at those of a control that may have them.

#![no_std]
#![no_main]

use rawmap_core::device::{Register, Window, devmem};
use rawmap_freestanding::{Arguments, start};

start!(main);

#[inline(always)]
fn read<R: Register + Default + core::ops::BitXor<Output = R>>(window: &mut Window) -> R {
    let mut sum = R::default();
    for offset in (0..window.len()).step_by(size_of::<R>()) {
        if let Ok(value) = window.read(offset) {
            sum = sum ^ value;
        }
    }
    sum
}

#[inline(always)]
fn write<R: Register>(window: &mut Window, value: R) {
    for offset in (0..window.len()).step_by(size_of::<R>()) {
        let _ = window.write(offset, value);
    }
}

macro_rules! functions {
    ($($read:ident $write:ident $register:ident)*) => {$(
        #[unsafe(no_mangle)]
        #[inline(never)]
        fn $read(window: &mut Window) -> $register {
            read(window)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        fn $write(window: &mut Window, value: $register) {
            write(window, value);
        }
    )*};
}

functions! { read_8 write_8 u8 read_16 write_16 u16 read_32 write_32 u32 }
#[cfg(target_pointer_width = "64")]
functions! { read_64 write_64 u64 }

/// What the compiler makes of volatile reads.
#[unsafe(no_mangle)]
#[inline(never)]
fn control(registers: *const u32, count: usize) -> u32 {
    let mut sum = 0;
    for i in 0..count {
        // SAFETY: none; this is not run.
        sum ^= unsafe { registers.add(i).read_volatile() };
    }
    sum
}

fn main(arguments: &Arguments) -> u8 {
    let len = usize::from(arguments.get(1).is_some()) << 12;
    // SAFETY: none; this is not run.
    let Ok(mut window) = (unsafe { devmem::map(0, len) }) else {
        return 1;
    };
    write_8(&mut window, 1);
    write_16(&mut window, 1);
    write_32(&mut window, 1);
    let sum = u64::from(read_8(&mut window))
        ^ u64::from(read_16(&mut window))
        ^ u64::from(read_32(&mut window))
        ^ u64::from(control(window.as_mut_ptr().cast(), len));
    #[cfg(target_pointer_width = "64")]
    let sum = {
        write_64(&mut window, 1);
        sum ^ read_64(&mut window)
    };
    (sum & 1) as u8
}
