//! `devmem`: reads and writes device registers, from an initramfs that has nothing else. `devmem -h` says how.

#![no_std]
#![no_main]

use core::ffi::c_int;
use core::mem::ManuallyDrop;

use getargs::{Opt, Options};
use rawmap_core::device::pci::Function;
use rawmap_core::device::uio::Uio;
use rawmap_core::device::{Problem, Window, devmem};
use rawmap_core::{Errno, Error};
use rawmap_freestanding::{Arguments, signal, start};
use rustix::fd::{BorrowedFd, RawFd};

start!(main);

const USAGE: &str = "\
usage: devmem [-w BITS] [-d LEN] WHERE [VALUE]
WHERE: mem ADDRESS
       uio NUMBER|NAME[/MAP] OFFSET
       pci ADDRESS[/BAR] OFFSET
Prints a register, or writes VALUE to it: one access of BITS, 8, 16, 32 (default) or, on 64-bit machines, 64.
-d prints LEN bytes, in accesses of BITS. Numbers are decimal, or hexadecimal after 0x. MAP and BAR are 0 by default.
A PCI address is one like 0000:00:02.0.
pci enables the device, and leaves it so. Not beside a driver that runs.
Ends with 0; 1: refused, or not there; 2: called wrongly; 3: no register answered.
";

/// What is not printed yet: a write(2) for each character takes long.
struct Buffer {
    stream: RawFd,
    len: usize,
    bytes: [u8; 256],
}

/// All zeros: these take no place in the file.
static mut BUFFER: Buffer = Buffer {
    stream: 0,
    len: 0,
    bytes: [0; 256],
};

/// The buffer, for one statement. The handler takes it, too: no register is accessed meanwhile.
fn buffer() -> &'static mut Buffer {
    // SAFETY: one thread, and no other reference lives.
    unsafe { &mut *core::ptr::addr_of_mut!(BUFFER) }
}

impl Buffer {
    fn byte(&mut self, stream: RawFd, byte: u8) {
        if self.stream != stream || self.len == self.bytes.len() {
            self.print();
            self.stream = stream;
        }
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    #[inline(never)]
    fn print(&mut self) {
        // SAFETY: this program closes neither.
        let stream = unsafe { BorrowedFd::borrow_raw(self.stream) };
        let mut rest = self.bytes.get(..self.len).unwrap_or(b"");
        while !rest.is_empty() {
            // No signal interrupts it: the handlers do not come back.
            match rustix::io::write(stream, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or(b""),
                Err(_) => {
                    // SAFETY: as above.
                    let other = unsafe { BorrowedFd::borrow_raw(2) };
                    let _ = rustix::io::write(other, b"devmem: cannot print\n");
                    rawmap_freestanding::exit(1)
                }
            }
        }
        self.len = 0;
    }
}

/// A standard stream, 1 or 2. Not `core::fmt`: that would be half of this program.
struct Stream(RawFd);

impl Stream {
    fn text(&mut self, text: &str) -> &mut Self {
        for byte in text.as_bytes() {
            self.byte(*byte);
        }
        self
    }

    #[inline(never)]
    fn byte(&mut self, byte: u8) {
        buffer().byte(self.0, byte);
    }

    /// So many digits at least.
    fn hex(&mut self, number: u64, digits: u32) -> &mut Self {
        for place in (0..16).rev() {
            let rest = number >> (4 * place);
            if rest != 0 || place < digits {
                let digit = (rest & 15) as u8;
                self.byte(digit + if digit < 10 { b'0' } else { b'a' - 10 });
            }
        }
        self
    }
}

/// What the call gave, or the end.
fn must<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => refused(&error),
    }
}

/// One for all places, which are many.
#[inline(never)]
fn end(status: u8) -> ! {
    buffer().print();
    rawmap_freestanding::exit(status)
}

#[cold]
fn wrong(why: &str) -> ! {
    Stream(2).text("devmem: ").text(why).text("\n").text(USAGE);
    end(2)
}

#[cold]
fn refused(error: &Error) -> ! {
    let mut out = Stream(2);
    tell(out.text("devmem: "), error);
    out.text("\n");
    end(1)
}

fn tell(out: &mut Stream, error: &Error) {
    let why = match *error {
        Error::OutOfRange { .. } => "the window ends before that",
        Error::Unaligned { .. } => "the address is not a multiple of the width",
        Error::TooLong { .. } => "it does not fit in the address space",
        Error::Sys { call, .. } => {
            out.text(call.name());
            ""
        }
        Error::Device(problem) => match problem {
            Problem::Physical { address, .. } => {
                out.text("physical memory at 0x").hex(address, 1);
                if error.errno() == Some(Errno::PERM) {
                    " is kept from programs: a driver has it, or it is RAM (STRICT_DEVMEM)"
                } else {
                    " cannot be mapped"
                }
            }
            Problem::PortBar { .. } => "the BAR is of I/O ports",
            Problem::NoBar { .. } => "there is no such BAR, or it has no address",
            Problem::NoMap { .. } => "the device has no such map",
            Problem::Unmappable { .. } => "the kernel does not map this BAR",
            Problem::Disabled => "it is enabled, but its addresses are off",
            Problem::NotFound => "there is no such device",
            Problem::NoSysfs => "no such devices in /sys: is sysfs mounted?",
            Problem::SameName { .. } => "several have this name: give a number",
            Problem::Address => "a PCI address is DOMAIN:BUS:DEVICE.FUNCTION",
            _ => "sysfs does not say what it should",
        },
        _ => "refused",
    };
    out.text(why);
    if let Some(errno) = error.errno() {
        out.text(": ").text(match errno {
            Errno::NOENT | Errno::NODEV => "not there",
            Errno::ACCESS | Errno::PERM => "not permitted",
            _ => "failed",
        });
        let number = u64::try_from(errno.raw_os_error()).unwrap_or(0);
        out.text(" (errno 0x").hex(number, 1).text(")");
    }
}

const SIGBUS: c_int = 7;
const SIGSEGV: c_int = 11;

/// The access that faulted cannot go on.
extern "C" fn on_fault(_: c_int, _: &signal::Info, _: usize) {
    Stream(2).text("devmem: bus error: no register answers there\n");
    end(3)
}

/// What is to be done there.
#[derive(Clone, Copy)]
enum Task {
    Read,
    Write(u64),
    Dump(usize),
}

fn main(arguments: &Arguments) -> u8 {
    for signal in [SIGBUS, SIGSEGV] {
        let _ = signal::handle(signal, on_fault);
    }
    // Without the program's name.
    let words = (1..).map_while(|number| arguments.get(number));
    let mut options = Options::new(words.map(|word| word.to_bytes()));
    let (mut bits, mut dump) = (32, None);
    loop {
        let Ok(option) = options.next_opt() else {
            wrong("an option takes no value here");
        };
        let mut value = || match options.value() {
            Ok(word) => number(word),
            Err(_) => wrong("an option wants a value"),
        };
        match option {
            None => break,
            Some(Opt::Short(b'w')) => bits = value(),
            Some(Opt::Short(b'd')) => dump = Some(value()),
            Some(Opt::Short(b'h') | Opt::Long(b"help")) => {
                let mut out = Stream(1);
                out.text(USAGE);
                end(0)
            }
            Some(_) => wrong("there is no such option"),
        }
    }
    let mut word = |missing| match options.next_positional() {
        Some(word) => word,
        None => wrong(missing),
    };
    let kind = word("which window?");
    let device = match kind {
        b"mem" => None,
        b"uio" | b"pci" => Some(word("which device?")),
        _ => wrong("there is no such window"),
    };
    let at = number(word("where?"));
    let value = options.next_positional().map(number);
    if options.next_positional().is_some() {
        wrong("too many words");
    }
    let task = match (value, dump) {
        (Some(_), Some(_)) => wrong("a dump writes no value"),
        (Some(value), None) => Task::Write(value),
        // What does not fit is longer than any window.
        (None, Some(len)) => Task::Dump(usize::try_from(len).unwrap_or(usize::MAX)),
        (None, None) => Task::Read,
    };
    // Before anything is mapped.
    let width = match bits {
        8 => 1,
        16 => 2,
        32 => 4,
        64 if cfg!(target_pointer_width = "64") => 8,
        64 => wrong("64 bits are not one access on this machine"),
        _ => wrong("BITS is 8, 16, 32 or 64"),
    };
    match task {
        Task::Write(value) if width < 8 && value >> bits != 0 => wrong("VALUE has more than BITS"),
        Task::Dump(len) if len & (width - 1) != 0 => wrong("LEN is not a multiple of BITS"),
        _ => {}
    }
    let (window, offset) = match device {
        None => memory(at, task, width),
        Some(device) => part_of(kind, device, at, task),
    };
    act(window, offset, at, task, width)
}

/// Physical memory: from the address on, and the offset in that.
fn memory(address: u64, task: Task, width: usize) -> (Window, usize) {
    let len = match task {
        Task::Dump(len) => len,
        _ => width,
    };
    #[cfg(target_arch = "aarch64")]
    in_child();
    // SAFETY: the caller of this program answers for what it accesses. Its own memory is RAM, which kernels that are
    // not for experiments keep from it.
    let window = unsafe {
        if matches!(task, Task::Write(_)) {
            devmem::map(address, len)
        } else {
            devmem::map_read_only(address, len)
        }
    };
    (must(window), 0)
}

/// Goes on in a child, and ends as that does. An address above the CPU's own bits can be mapped on aarch64, and the
/// access is SIGKILL, which no handler sees; the kernel hides from programs how many bits there are.
#[cfg(target_arch = "aarch64")]
fn in_child() {
    use core::arch::asm;
    const SIGCHLD: usize = 17;
    const SIGKILL: c_int = 9;
    let pid: isize;
    // SAFETY: clone(2) as fork(2): the child has a copy of all memory, and there is one thread.
    unsafe {
        asm!("svc 0", in("x8") 220, inlateout("x0") SIGCHLD => pid, in("x1") 0, in("x2") 0, in("x3") 0, in("x4") 0);
    }
    // The child; or there is none, and it is done here.
    if pid <= 0 {
        return;
    }
    let mut status: c_int = 1 << 8;
    // SAFETY: wait4(2) writes the status.
    unsafe {
        asm!("svc 0", in("x8") 260, inlateout("x0") pid => _, in("x1") &raw mut status, in("x2") 0, in("x3") 0);
    }
    match status & 0x7f {
        0 => end((status >> 8) as u8),
        SIGKILL => {
            Stream(2).text("devmem: killed: the machine has no such address\n");
            end(3)
        }
        _ => end(1),
    }
}

/// A device's map or BAR, and the offset in it.
fn part_of(kind: &[u8], device: &[u8], offset: u64, task: Task) -> (Window, usize) {
    let (name, part) = match device.iter().position(|byte| *byte == b'/') {
        None => (device, 0),
        Some(slash) => {
            let (name, part) = device.split_at(slash);
            (name, number(part.get(1..).unwrap_or(b"")))
        }
    };
    let (Ok(part), true) = (u8::try_from(part), name.iter().all(u8::is_ascii)) else {
        wrong("no device is called so");
    };
    // SAFETY: ASCII is UTF-8. (The check of UTF-8 is half a kilobyte.)
    let name = unsafe { core::str::from_utf8_unchecked(name) };
    let window = if kind == b"uio" {
        let device = if name.bytes().all(|byte| byte.is_ascii_digit()) {
            Uio::open(u32::try_from(number(name.as_bytes())).unwrap_or(u32::MAX))
        } else {
            Uio::find(name)
        };
        // SAFETY: the caller of this program answers for what it accesses.
        unsafe { ManuallyDrop::new(must(device)).map(part) }
    } else {
        let function = Function::new(must(name.parse()));
        must(function.enable());
        // SAFETY: as above.
        unsafe {
            if matches!(task, Task::Write(_)) {
                function.map(part)
            } else {
                function.map_read_only(part)
            }
        }
    };
    // What does not fit is past the end of any window.
    (must(window), usize::try_from(offset).unwrap_or(usize::MAX))
}

/// Does it, and ends: the kernel closes and unmaps.
fn act(mut window: Window, offset: usize, at: u64, task: Task, width: usize) -> ! {
    let mut out = Stream(1);
    let digits = 2 * width as u32;
    match task {
        Task::Read => {
            let value = read(&mut window, offset, width);
            out.text("0x").hex(value, digits).text("\n");
        }
        // The value fits, as was looked at before.
        Task::Write(value) => must(match width {
            1 => window.write(offset, value as u8),
            2 => window.write(offset, value as u16),
            #[cfg(target_pointer_width = "64")]
            8 => window.write(offset, value),
            _ => window.write(offset, value as u32),
        }),
        Task::Dump(len) => {
            const LINE: usize = 16;
            let mut done = 0;
            while done < len {
                if done & (LINE - 1) == 0 {
                    let line = at.wrapping_add(done as u64);
                    out.text(if done == 0 { "" } else { "\n" })
                        .hex(line, 8)
                        .text(":");
                }
                // An offset that wraps is past the end.
                let value = read(&mut window, offset.saturating_add(done), width);
                out.text(" ").hex(value, digits);
                done += width;
            }
            out.text(if len == 0 { "" } else { "\n" });
        }
    }
    end(0)
}

fn read(window: &mut Window, offset: usize, width: usize) -> u64 {
    match width {
        1 => must(window.read::<u8>(offset)).into(),
        2 => must(window.read::<u16>(offset)).into(),
        #[cfg(target_pointer_width = "64")]
        8 => must(window.read(offset)),
        _ => must(window.read::<u32>(offset)).into(),
    }
}

/// A number: decimal, or hexadecimal after "0x".
fn number(word: &[u8]) -> u64 {
    let (digits, base) = match word.strip_prefix(b"0x") {
        Some(digits) => (digits, 16),
        None => (word, 10),
    };
    let number = digits.iter().try_fold(0u64, |number, byte| {
        let digit = char::from(*byte).to_digit(base)?;
        number.checked_mul(base.into())?.checked_add(digit.into())
    });
    match number {
        Some(number) if !digits.is_empty() => number,
        _ => wrong("that is no number"),
    }
}
