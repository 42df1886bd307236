//! Paths and text of sysfs, without an allocator.
//!
//! # Safety
//!
//! A path has no zero byte before its last: it is made of digits, of texts that this crate has in its source, and of names
//! that were looked through for one.

#![allow(unsafe_code, reason = "a path that ends with the zero it was given")]

use core::ffi::CStr;

use heapless::Vec;

use crate::error::{Call, Errno, Error};
use crate::sys::{self, AsFd, Open, OwnedFd};

/// The longest path that is made here has 50 bytes.
const PATH_LEN: usize = 96;

/// A call that the kernel refused, in two bytes and a half where [`Error`] has 32: what is passed on here has less to
/// copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed(pub(super) Call, pub(super) Errno);

impl From<Failed> for Error {
    // Once for all places: a third of a kilobyte of `devmem`.
    #[inline(never)]
    fn from(Failed(call, errno): Failed) -> Self {
        Self::sys(call, errno)
    }
}

/// A path that is put together. What does not fit fills it up, and then it is `ENAMETOOLONG`.
#[derive(Clone, Debug)]
pub(super) struct Path(Vec<u8, PATH_LEN>);

impl Path {
    pub(super) fn new(start: &'static str) -> Self {
        let mut path = Self(Vec::new());
        path.text(start);
        path
    }

    pub(super) fn text(&mut self, text: &'static str) -> &mut Self {
        for byte in text.as_bytes() {
            self.byte(*byte);
        }
        self
    }

    /// The name of a file in this folder; `None` where it can be no such name.
    pub(super) fn name(&mut self, name: &str) -> Option<&mut Self> {
        if matches!(name, "" | "." | "..") || name.bytes().any(|byte| matches!(byte, 0 | b'/')) {
            return None;
        }
        for byte in name.bytes() {
            self.byte(byte);
        }
        Some(self)
    }

    fn byte(&mut self, byte: u8) {
        // A full path has no place for its last zero: `open` says so.
        let _ = self.0.push(byte);
    }

    pub(super) fn decimal(&mut self, number: u32) -> &mut Self {
        // By subtraction: a division is a kilobyte on a machine that has none.
        let mut rest = number;
        let mut started = false;
        for place in (0..10).rev() {
            let unit = 10u32.wrapping_pow(place);
            let mut value = 0u32;
            while rest >= unit {
                rest = rest.wrapping_sub(unit);
                value = value.wrapping_add(1);
            }
            started |= value != 0 || unit == 1;
            if started {
                self.byte(digit(value));
            }
        }
        self
    }

    /// With zeros before it, to at least `width` digits.
    pub(super) fn hex(&mut self, number: u32, width: u8) -> &mut Self {
        for place in (0..8u8).rev() {
            let rest = number.wrapping_shr(u32::from(place).wrapping_mul(4));
            if rest != 0 || place < width {
                self.byte(digit(rest & 15));
            }
        }
        self
    }

    /// Opens it.
    pub(super) fn open(&mut self, how: Open) -> Result<OwnedFd, Failed> {
        let failed = |errno| Failed(Call::Open, errno);
        if self.0.push(0).is_err() {
            return Err(failed(Errno::NAMETOOLONG));
        }
        // SAFETY: the zero that was just pushed ends it, and there is none before: what is put together here are
        // digits, texts of this module's own, which have none, and names that have none, either.
        let path = unsafe { CStr::from_bytes_with_nul_unchecked(&self.0) };
        let file = sys::open(path, how);
        self.0.pop();
        file.map_err(failed)
    }

    /// The first bytes of the file, as many as there is room for. It may have more where that is full.
    pub(super) fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], Failed> {
        let file = self.open(Open::READ)?;
        let mut len = 0;
        while let Some(rest @ [_, ..]) = buffer.get_mut(len..) {
            match sys::read(file.as_fd(), rest) {
                Ok(0) => break,
                Ok(count) => len = len.saturating_add(count),
                Err(errno) => return Err(Failed(Call::Read, errno)),
            }
        }
        Ok(buffer.get(..len).unwrap_or(&[]))
    }

    /// A file that holds one number in base 16; `None` if it holds something else.
    pub(super) fn read_hex(&mut self) -> Result<Option<u64>, Failed> {
        let mut buffer = [0; 32];
        // A line that was cut has no end.
        Ok(match self.read(&mut buffer)? {
            [number @ .., b'\n'] => hex(number),
            _ => None,
        })
    }
}

/// Below 16.
const fn digit(value: u32) -> u8 {
    let [value, ..] = value.to_le_bytes();
    match value {
        0..=9 => b'0'.wrapping_add(value),
        _ => b'a'.wrapping_sub(10).wrapping_add(value),
    }
}

/// A number in base 16, after "0x" or not, and nothing else. 64 bits at most.
pub(super) fn hex(text: &[u8]) -> Option<u64> {
    hex_digits(text.strip_prefix(b"0x").unwrap_or(text))
}

/// The same without "0x".
pub(super) fn hex_digits(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        (number < 1 << 60).then(|| number.wrapping_shl(4) | u64::from(digit))
    })
}

/// A number in base 10, and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u32, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_an_error_and_no_other_file() {
        // Would be "/proc/self/../..", and so on, without the end.
        let mut path = Path::new("/proc/self");
        for _ in 0..27 {
            path.text("/./");
        }
        assert!(path.open(Open::READ).is_ok());
        let long = path.text("/status").decimal(1).open(Open::READ);
        assert_eq!(long.map(drop), Err(Failed(Call::Open, Errno::NAMETOOLONG)));
    }

    #[test]
    fn a_file_that_is_longer_than_a_number_is_none() {
        assert_eq!(Path::new("/proc/version").read_hex(), Ok(None));
        assert_eq!(hex(&[b'1'; 16]), Some(0x1111_1111_1111_1111));
        assert_eq!(hex(&[b'1'; 17]), None);
    }
}
