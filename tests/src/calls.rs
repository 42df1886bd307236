//! System calls by number, and a filter that refuses them.

use libc::c_long;

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
