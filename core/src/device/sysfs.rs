//! Paths and text of sysfs, without an allocator.
//!
//! # Safety
//!
//! A path has no zero byte before its last: it is made of digits, and of texts that this crate has in its source.

#![allow(unsafe_code, reason = "a path that ends with the zero it was given")]

use core::ffi::CStr;

use heapless::Vec;

use crate::Error;
use crate::error::Call;
use crate::sys::{self, AsFd, Errno, Open, OwnedFd};

/// The longest path that is made here has 50 bytes.
const PATH_LEN: usize = 96;

/// Of decimal digits.
const UNITS: [u32; 10] = [
    1_000_000_000,
    100_000_000,
    10_000_000,
    1_000_000,
    100_000,
    10_000,
    1_000,
    100,
    10,
    1,
];

/// A call that the kernel refused, in two bytes and a half where [`Error`] has 32: what is passed on here has less to
/// copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused(pub(super) Call, pub(super) Errno);

impl From<Refused> for Error {
    fn from(Refused(call, errno): Refused) -> Self {
        Self::Sys { call, errno }
    }
}

/// A path that is put together.
#[derive(Clone, Debug)]
pub(super) struct Path(Vec<u8, PATH_LEN>);

impl Path {
    pub(super) fn new(start: &'static str) -> Self {
        let mut path = Self(Vec::new());
        path.text(start);
        path
    }

    /// What does not fit is left out; then no such file is found.
    pub(super) fn text(&mut self, text: &'static str) -> &mut Self {
        let _ = self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn decimal(&mut self, number: u32) -> &mut Self {
        // By subtraction: a division is a kilobyte on a machine that has none.
        let mut rest = number;
        let mut started = false;
        for unit in UNITS {
            let mut value = 0u32;
            while rest >= unit {
                rest = rest.wrapping_sub(unit);
                value = value.wrapping_add(1);
            }
            started |= value != 0 || unit == 1;
            if started {
                let _ = self.0.push(digit(value));
            }
        }
        self
    }

    /// With zeros before it, to at least `width` digits.
    pub(super) fn hex(&mut self, number: u32, width: u8) -> &mut Self {
        for place in (0..8u8).rev() {
            let rest = number.wrapping_shr(u32::from(place).wrapping_mul(4));
            if rest != 0 || place < width {
                let _ = self.0.push(digit(rest & 15));
            }
        }
        self
    }

    /// Opens it.
    pub(super) fn open(&mut self, how: Open) -> Result<OwnedFd, Refused> {
        let refused = |errno| Refused(Call::Open, errno);
        if self.0.push(0).is_err() {
            return Err(refused(Errno::NAMETOOLONG));
        }
        // SAFETY: the zero that was just pushed ends it, and there is none before: what is put together here are
        // digits and texts of this module's own, which have none.
        let path = unsafe { CStr::from_bytes_with_nul_unchecked(&self.0) };
        let file = sys::open(path, how);
        self.0.pop();
        file.map_err(refused)
    }

    /// The first bytes of the file, without white space around them.
    pub(super) fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b [u8], Refused> {
        let file = self.open(Open::READ)?;
        let mut len = 0;
        while let Some(rest @ [_, ..]) = buffer.get_mut(len..) {
            match sys::read(file.as_fd(), rest) {
                Ok(0) => break,
                Ok(count) => len = len.saturating_add(count),
                Err(errno) => return Err(Refused(Call::Read, errno)),
            }
        }
        Ok(buffer.get(..len).unwrap_or(&[]).trim_ascii())
    }

    /// A file that holds one number in base 16; `None` if it holds something else.
    pub(super) fn read_hex(&mut self) -> Result<Option<u64>, Refused> {
        self.read(&mut [0; 32]).map(hex)
    }
}

/// Below 16.
#[allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "one digit"
)]
const fn digit(value: u32) -> u8 {
    match value as u8 {
        value @ 0..=9 => b'0'.wrapping_add(value),
        value => b'a'.wrapping_sub(10).wrapping_add(value),
    }
}

/// A number in base 16, after "0x" or not, and nothing else. 64 bits at most.
pub(super) fn hex(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
            b'A'..=b'F' => byte.wrapping_sub(b'A').wrapping_add(10),
            _ => return None,
        };
        number.checked_mul(16)?.checked_add(u64::from(digit))
    })
}

/// A number in base 10, and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;
        number.checked_mul(10)?.checked_add(u32::from(digit))
    })
}
