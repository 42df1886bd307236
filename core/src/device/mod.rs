//! Windows to device registers: [`uio`], [`devmem`] and [`pci`] map them, [`Window`] reads and writes them.
//!
//! # Which window
//!
//! | window | for | needs |
//! |---|---|---|
//! | [`uio`] | a device with a UIO driver; interrupts, too | `/dev/uioN`, sysfs |
//! | [`pci`] | a PCI function that no driver has | sysfs, root |
//! | [`devmem`] | any physical address: bring-up and debugging | `/dev/mem`, root, a kernel that allows it |
//!
//! For memory that a device reads or writes itself there is [`dmabuf`].
//!
//! # How registers are accessed
//!
//! [`Window::read`], [`Window::write`]: one access of exactly the width that was asked for, in the order of the program.
//! It is never left out, merged or split, and no reference to a register is made. On aarch64, arm, riscv64, x86
//! and `x86_64` the instruction is fixed, a load or store with one plain address, as a hypervisor can emulate it; on
//! other machines it is what the compiler makes of a volatile access. 64 bits are there on 64-bit machines only:
//! elsewhere they would be two accesses.
//!
//! A value is in the machine's byte order. A bus or a bridge can still split or refuse a width that the
//! device does not have. An access to an address where no register answers gives all ones, or kills the process by
//! SIGBUS, SIGSEGV or SIGKILL: that is up to the machine. So is what happens to a window when the kernel takes its
//! device away: see each module.
//!
//! Registers of one device are accessed in the order of the program. Between registers and *memory* that a device
//! reads or writes by itself (DMA), a barrier of the machine's is needed, which is not here.
//!
//! # Unsafe
//!
//! The calls that map a window are `unsafe`, because the caller knows what a register does, and this crate does not:
//! it may start a transfer to memory. Reading and writing are then safe, as in the crate safe-mmio,
//! which the feature `safe-mmio-v0.3` brings for typed register blocks: `Window::registers`.
//!
//! # Safety
//!
//! A window's bytes are inside of its map, which it owns. Each access is checked against its length, for
//! alignment and for what the map allows.

#![allow(
    unsafe_code,
    reason = "register accesses inside the own map; constructors that are the caller's proof"
)]

pub mod devmem;
pub mod dmabuf;
pub mod pci;
mod register;
mod sysfs;
pub mod uio;

/// What reads text, for tests/fuzz.
#[cfg(fuzzing)]
#[doc(hidden)]
#[allow(missing_docs, reason = "for tests")]
pub mod texts {
    #[must_use]
    pub fn hex(text: &[u8]) -> Option<u64> {
        super::sysfs::hex(text)
    }

    #[must_use]
    pub fn decimal(text: &[u8]) -> Option<u32> {
        super::sysfs::decimal(text)
    }

    pub fn bar_of(text: &[u8], bar: u8) -> Result<super::pci::Bar, super::Error> {
        super::pci::bar_of(text, bar)
    }
}

use core::alloc::Layout;
use core::fmt;

pub use self::register::Register;
use crate::error::Error;
pub use crate::error::device::Problem;
use crate::options::MmapOptions;
use crate::protection::Access;
use crate::raw::MmapRaw;
use crate::span::Span;
use crate::sys::{AsFd, MapFlags, OwnedFd};

/// Maps a range of device registers, and unmaps it when dropped.
///
/// Offsets are in bytes from the first register of the window, also where the map begins earlier, at the start of
/// a page. The address of a register must be a multiple of its width.
///
/// [`read`](Self::read) takes `&mut self`, because a read can change the device: it can take a byte from a
/// FIFO, or acknowledge an interrupt. [`read_pure`](Self::read_pure) is for registers where it does not.
///
/// # Examples
///
/// ```no_run
/// use rawmap_core::Error;
/// use rawmap_core::device::{Window, devmem};
///
/// /// Seconds, of the clock PL031 of QEMU's `virt` board.
/// fn seconds() -> Result<u32, Error> {
///     // SAFETY: this range is the clock's registers. It accesses no memory.
///     let clock: Window = unsafe { devmem::map_read_only(0x0901_0000, 0x1000)? };
///     clock.read_pure::<u32>(0)
/// }
/// ```
pub struct Window {
    map: MmapRaw,
}

impl Window {
    /// Maps `len` bytes from `offset` on, which is where the registers begin in the file.
    fn new(file: &OwnedFd, offset: u64, len: usize, writable: bool) -> Result<Self, Error> {
        let access = if writable {
            Access::READ_WRITE
        } else {
            Access::READ
        };
        let mut options = MmapOptions::new();
        let options = options.offset(offset);
        let map = options.map_request(Some(file.as_fd()), len, MapFlags::SHARED, access)?;
        Ok(Self { map })
    }

    /// Returns the length in bytes.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.map.len()
    }

    /// Returns whether the length is 0.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Reads the register at `offset`: one load of its width.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the register ends past the window.
    /// - [`Error::Unaligned`]: its address is not a multiple of its width.
    #[inline]
    pub fn read<R: Register>(&mut self, offset: usize) -> Result<R, Error> {
        self.read_pure(offset)
    }

    /// Reads the register at `offset`, which reading does not change: one load of its width.
    ///
    /// # Errors
    ///
    /// - As for [`read`](Self::read).
    #[inline]
    pub fn read_pure<R: Register>(&self, offset: usize) -> Result<R, Error> {
        let register = self.place(offset, Layout::new::<R>(), Access::READ)?.cast();
        // SAFETY: mapped and aligned, as checked; what the load does is the duty of the call that mapped the window.
        Ok(unsafe { R::load(register) })
    }

    /// Writes the register at `offset`: one store of its width. A bus may hold it back; reading a register of
    /// the same device waits until it got there.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the register ends past the window; nothing was written.
    /// - [`Error::Unaligned`]: its address is not a multiple of its width; nothing was written.
    /// - [`Error::Protected`]: the window is for reading only.
    #[inline]
    pub fn write<R: Register>(&mut self, offset: usize, value: R) -> Result<(), Error> {
        let register = self
            .place(offset, Layout::new::<R>(), Access::WRITE)?
            .cast();
        // SAFETY: mapped, writable and aligned, as checked; what the store does is the duty of the call that mapped
        // the window.
        unsafe { R::store(register, value) };
        Ok(())
    }

    /// Reads the register at `offset`, and writes what `change` makes of it: one load and one store.
    ///
    /// # Errors
    ///
    /// - As for [`write`](Self::write); then it was not read, either.
    #[inline]
    pub fn modify<R: Register>(
        &mut self,
        offset: usize,
        change: impl FnOnce(R) -> R,
    ) -> Result<(), Error> {
        let register = self
            .place(offset, Layout::new::<R>(), Access::READ_WRITE)?
            .cast();
        // SAFETY: as for `read`.
        let value = unsafe { R::load(register) };
        // SAFETY: as for `write`.
        unsafe { R::store(register, change(value)) };
        Ok(())
    }

    /// Reads as many registers in a row as `values` takes, from `offset` on: one load of their width for each, from the first to the last.
    ///
    /// For memory of a device, too: a copy by other means may take wider or unaligned loads, which raise SIGBUS there on some machines.
    ///
    /// # Errors
    ///
    /// - As for [`read`](Self::read); then none was read.
    #[inline]
    pub fn read_slice<R: Register>(
        &mut self,
        offset: usize,
        values: &mut [R],
    ) -> Result<(), Error> {
        let layout = Layout::for_value(&*values);
        let mut register: *mut R = self.place(offset, layout, Access::READ)?.cast();
        for value in values {
            // SAFETY: as for `read_pure`: `place` has checked all of them.
            *value = unsafe { R::load(register) };
            register = register.wrapping_add(1);
        }
        Ok(())
    }

    /// Writes registers in a row, from `offset` on: one store of their width for each of `values`, from the first to the last.
    ///
    /// # Errors
    ///
    /// - As for [`write`](Self::write).
    #[inline]
    pub fn write_slice<R: Register>(&mut self, offset: usize, values: &[R]) -> Result<(), Error> {
        let layout = Layout::for_value(values);
        let mut register: *mut R = self.place(offset, layout, Access::WRITE)?.cast();
        for value in values {
            // SAFETY: as for `write`: `place` has checked all of them.
            unsafe { R::store(register, *value) };
            register = register.wrapping_add(1);
        }
        Ok(())
    }

    /// Has what was stored to a window of [`map_write_combined`](pci::Function::map_write_combined) reach the device before what is stored
    /// to registers after it: call it before the store that makes the device look.
    ///
    /// Between registers none is needed. Memory behind a window of UIO or [`devmem`] may be combined, too, and needs the machine's own
    /// barrier on arm and riscv64.
    #[inline]
    pub fn barrier(&mut self) {
        register::barrier();
    }

    /// Returns a typed register block at `offset`, for the crate safe-mmio.
    ///
    /// On aarch64 safe-mmio fixes its instructions as this crate does; elsewhere the compiler chooses them, and a
    /// field that is wider than the machine's word may take several.
    ///
    /// # Errors
    ///
    /// - [`Error::OutOfRange`]: the block ends past the window.
    /// - [`Error::Unaligned`]: its address is not a multiple of its alignment.
    /// - [`Error::Protected`]: the window is for reading only.
    #[cfg(feature = "safe-mmio-v0.3")]
    pub fn registers<T>(
        &mut self,
        offset: usize,
    ) -> Result<safe_mmio::UniqueMmioPointer<'_, T>, Error> {
        let block = self
            .place(offset, Layout::new::<T>(), Access::READ_WRITE)?
            .cast();
        let block = core::ptr::NonNull::new(block).ok_or(Error::Protected)?;
        // SAFETY: mapped, readable, writable and aligned, as checked; `&mut self` makes it the only access through
        // this window; others, and what a register does, are the duty of the call that mapped it.
        Ok(unsafe { safe_mmio::UniqueMmioPointer::new(block) })
    }

    /// Returns a pointer to the first register, for an access of one's own. It is valid for as long as the window
    /// lives. Never make a reference of it, and never copy by it: memcpy may take loads and stores that are not aligned,
    /// which raise SIGBUS on device memory of aarch64. There is [`read_slice`](Self::read_slice).
    #[must_use]
    #[inline]
    pub const fn as_mut_ptr(&mut self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// The one check: inside, allowed, and aligned.
    #[inline]
    fn place(&self, offset: usize, layout: Layout, access: Access) -> Result<*mut u8, Error> {
        let span = Span::new(offset, layout.size(), self.map.len())?;
        if !self.map.access().allows(access) {
            return Err(Error::Protected);
        }
        let place = self.map.as_mut_ptr().wrapping_add(span.offset());
        // A power of two.
        if place.addr() & layout.align().wrapping_sub(1) != 0 {
            return Err(unaligned(offset, layout.align()));
        }
        Ok(place)
    }
}

#[cold]
#[inline(never)]
fn unaligned(offset: usize, align: usize) -> Error {
    Error::Unaligned {
        offset: u64::try_from(offset).unwrap_or(u64::MAX),
        align: u32::try_from(align).unwrap_or(0),
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("ptr", &self.map.as_ptr())
            .field("len", &self.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
