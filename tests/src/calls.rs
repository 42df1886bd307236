//! System calls by number, a filter that refuses them, and one that answers in the kernel's place.

use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::sync::mpsc;
use std::time::Duration;

use libc::c_long;
use rustix::ioctl::{Opcode, opcode};

/// The number of the first: MIPS counts from 4000 on.
const FIRST: c_long = if cfg!(target_arch = "mips") { 4000 } else { 0 };

/// From Linux 5.1 on; 32-bit has it.
pub const FUTEX_TIME64: c_long = FIRST + 422;
/// As [`FUTEX_TIME64`].
pub const PPOLL_TIME64: c_long = FIRST + 414;
/// Linux 6.5.
pub const CACHESTAT: c_long = FIRST + 451;

/// A call that is refused: always, or where the argument of that number has that value.
pub type Refused = (c_long, Option<(u32, u32)>);

/// Refuses these calls by ENOSYS from now on, to this thread and to those that it starts. Returns `false` where the
/// kernel has no filters.
///
/// # Panics
///
/// Where there are more calls than a filter has room for.
#[must_use]
pub fn refuse(calls: &[Refused]) -> bool {
    let ins = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    // Of arguments, which have 64 bits.
    let lower = if cfg!(target_endian = "big") { 4 } else { 0 };
    // Loads a word, goes on if it is equal, and returns.
    let (word, equal, end) = (0x20, 0x15, 0x06);
    let mut program = Vec::new();
    for &(call, argument) in calls {
        let call = u32::try_from(call).expect("a number of a call");
        program.push(ins(word, 0, 0));
        program.push(ins(equal, if argument.is_some() { 3 } else { 1 }, call));
        if let Some((argument, value)) = argument {
            program.push(ins(word, 0, 16 + 8 * argument + lower));
            program.push(ins(equal, 1, value));
        }
        let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
        program.push(ins(end, 0, refused));
    }
    program.push(ins(end, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("few calls"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes numbers.
    let may = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: reads the program.
    may == 0 && unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) } == 0
}

/// The kernel's `struct seccomp_notif`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Asked {
    id: u64,
    process: u32,
    flags: u32,
    call: i32,
    architecture: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// The kernel's `struct seccomp_notif_resp`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// Runs `body` in a thread whose ioctl(2)s of one kind the kernel does not see: `answer` is called with their argument and
/// returns 0, or the number of an error. `None` where the kernel cannot ask (before Linux 5.0), as in an emulator.
///
/// # Panics
///
/// Where `body` does.
pub fn answer_ioctls<T: Send>(
    request: Opcode,
    mut answer: impl FnMut(u64) -> i32,
    body: impl FnOnce() -> T + Send,
) -> Option<T> {
    const RECEIVE: Opcode = opcode::read_write::<Asked>(b'!', 0);
    const SEND: Opcode = opcode::read_write::<Answer>(b'!', 1);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let listener = listen(request);
            let can = listener.is_some();
            let _ = tell.send(listener);
            can.then(body)
        });
        let listener = told.recv().ok().flatten()?;
        while !thread.is_finished() {
            let mut poll = libc::pollfd {
                fd: listener.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one struct.
            if unsafe { libc::poll(&raw mut poll, 1, 10) } <= 0 || poll.revents & libc::POLLIN == 0
            {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let mut asked = Asked::default();
            // SAFETY: it writes the struct.
            let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut asked) };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
            let answer = Answer {
                id: asked.id,
                error: -answer(asked.arguments[2]),
                ..Answer::default()
            };
            // SAFETY: it reads the struct.
            unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw const answer) };
        }
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Has this thread's ioctl(2)s of one kind told to what this returns.
fn listen(request: Opcode) -> Option<File> {
    const NEW_LISTENER: c_long = 8;
    let ins = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let lower = if cfg!(target_endian = "big") { 4 } else { 0 };
    let call = u32::try_from(libc::SYS_ioctl).expect("a number of a call");
    // Of another type where libc makes the calls.
    #[allow(clippy::unnecessary_cast, reason = "of another type on s390x")]
    let number = request as u32;
    let mut program = [
        ins(0x20, 0, 0),
        ins(0x15, 3, call),
        ins(0x20, 0, 16 + 8 + lower),
        ins(0x15, 1, number),
        ins(0x06, 0, libc::SECCOMP_RET_USER_NOTIF),
        ins(0x06, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes numbers.
    let may = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let mode = libc::SECCOMP_SET_MODE_FILTER as c_long;
    // SAFETY: reads the program.
    let listener =
        unsafe { libc::syscall(libc::SYS_seccomp, mode, NEW_LISTENER, &raw const filter) };
    let listener = (may == 0 && listener >= 0).then_some(listener as i32)?;
    // SAFETY: it is new.
    Some(unsafe { File::from_raw_fd(listener) })
}
