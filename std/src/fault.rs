//! Containment of SIGBUS: a fault in a [contained](crate::MmapOptions::contained) map becomes an error.
//!
//! # Safety
//!
//! The handler runs between any two instructions of any thread. It uses atomics, `rawmap_core::fault::contain`,
//! sigaction(2), raise(3) and the handler that was there before, and all but the last are safe there.

#![allow(
    unsafe_code,
    reason = "sigaction(2), and a call of the previous handler"
)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use libc::{sigaction as Action, siginfo_t};
pub use rawmap_core::fault::CAPACITY;
use rawmap_core::fault::contain;

/// The handler of the previous action, for ours to read.
static PREVIOUS: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static PREVIOUS_FLAGS: AtomicI32 = AtomicI32::new(0);

/// Installs the handler for SIGBUS that contains the faults of [contained](crate::MmapOptions::contained) maps,
/// once; later calls do nothing.
///
/// Any other SIGBUS goes to the previous action, as if this handler were not: a handler is called, on the stack and with
/// the signal mask that it asked for; with the default action, the process dies of SIGBUS. A handler that
/// is installed later has to call the one that it found, or contained maps are not contained any more. The same holds for an
/// action that was saved before and is put back.
///
/// The constructors of contained maps call this: it is for programs that install handlers of their own and want
/// to say in which order. The handler runs on the thread's alternate stack, if it has one, unless the previous handler
/// did not ask for that. Where SIGBUS was ignored, one that another process sends interrupts system calls that are not
/// restarted, such as poll(2) (signal(7)), and exec(2) passes the default action on.
///
/// # Errors
///
/// - What the kernel refuses; nothing is known that it does.
///
/// # Examples
///
/// ```
/// rawmap::fault::install()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # References
///
/// - [sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html)
pub fn install() -> io::Result<()> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // Acquire: with it, the handler in place is seen.
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|lock| lock.into_inner());
    if !INSTALLED.load(Ordering::Relaxed) {
        take_over(action(None)?)?;
        INSTALLED.store(true, Ordering::Release);
    }
    Ok(())
}

/// Puts our handler before an action that was found; or before another, which came in between.
fn take_over(mut before: Action) -> io::Result<()> {
    loop {
        PREVIOUS.store(before.sa_sigaction, Ordering::Relaxed);
        PREVIOUS_FLAGS.store(before.sa_flags, Ordering::Relaxed);
        let replaced = action(Some(&ours(&before)))?;
        let is_ours = replaced.sa_sigaction == address(on_sigbus);
        let same = (replaced.sa_sigaction, replaced.sa_flags);
        if is_ours || same == (before.sa_sigaction, before.sa_flags) {
            return Ok(());
        }
        before = replaced;
    }
}

/// sigaction(2) for SIGBUS: returns the action that was there, after putting another in its place if there is one.
fn action(new: Option<&Action>) -> io::Result<Action> {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    let mut old = mem::MaybeUninit::<Action>::zeroed();
    // SAFETY: both are null or of the right type, and our handler is one for `SA_SIGINFO`.
    if unsafe { libc::sigaction(libc::SIGBUS, new, old.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros are a value, and the call has written the action over them.
    Ok(unsafe { old.assume_init() })
}

/// Our action, with the mask of the previous one: its handler runs inside ours. So its flags hold for ours.
fn ours(before: &Action) -> Action {
    let kept = libc::SA_RESTART | libc::SA_NODEFER | libc::SA_ONSTACK;
    let flags = match before.sa_sigaction {
        // No handler, which could need another stack; and an ignored signal interrupts no call.
        libc::SIG_DFL => libc::SA_ONSTACK,
        libc::SIG_IGN => libc::SA_ONSTACK | libc::SA_RESTART,
        _ => before.sa_flags & kept,
    };
    let mut action = *before;
    action.sa_sigaction = address(on_sigbus);
    action.sa_flags = flags | libc::SA_SIGINFO;
    action
}

/// A handler for `SA_SIGINFO`.
type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

#[allow(
    clippy::as_conversions,
    reason = "the kernel takes handlers as addresses"
)]
fn address(handler: Handler) -> usize {
    handler as usize
}

extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a handler for `SA_SIGINFO` what it says.
    let what: &siginfo_t = unsafe { &*info };
    let code = what.si_code;
    if matches!(code, libc::BUS_ADRERR | libc::BUS_MCEERR_AR) {
        // SAFETY: these codes have an address.
        let address = unsafe { what.si_addr() };
        // SAFETY: the address of a fault, from the kernel; this thread accessed it.
        if keeping_errno(|| unsafe { contain(address.addr()) }) {
            return;
        }
    }
    pass_on(code, signal, info, context);
}

/// Where rustix uses libc, a call can change what the interrupted code has in errno.
fn keeping_errno<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: gives the thread's own errno, on any thread and in a handler.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this thread's own.
    let before = unsafe { *errno };
    let result = body();
    // SAFETY: as above.
    unsafe { *errno = before };
    result
}

/// Does what would have happened without this handler.
fn pass_on(code: c_int, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // The kernel's, but for a page that broke elsewhere: the instruction runs again when the handler returns.
    let again = code > 0 && code != libc::BUS_MCEERR_AO;
    let previous = PREVIOUS.load(Ordering::Relaxed);
    if previous == libc::SIG_IGN && !again {
        return;
    }
    if [libc::SIG_DFL, libc::SIG_IGN].contains(&previous) {
        // A fault cannot be ignored: the kernel kills for it all the same.
        keeping_errno(set_default);
        if !again {
            // SAFETY: it comes when this handler returns.
            unsafe { libc::raise(signal) };
        }
        return;
    }
    if PREVIOUS_FLAGS.load(Ordering::Relaxed) & libc::SA_RESETHAND != 0 {
        let (order, default) = (Ordering::Relaxed, libc::SIG_DFL);
        if PREVIOUS
            .compare_exchange(previous, default, order, order)
            .is_err()
        {
            // Another thread had it.
            return pass_on(code, signal, info, context);
        }
    }
    let handler: *const () = ptr::with_exposed_provenance(previous);
    // SAFETY: sigaction(2) gave it as a handler, and it is neither default nor ignore. The kernel, too, calls one without
    // `SA_SIGINFO` with three arguments.
    let handler = unsafe { mem::transmute::<*const (), Handler>(handler) };
    handler(signal, info, context);
    keeping_errno(|| stay(previous));
}

fn set_default() {
    let Ok(mut action_now) = action(None) else {
        return;
    };
    action_now.sa_sigaction = libc::SIG_DFL;
    // It fails on bad arguments only.
    drop(action(Some(&action_now)));
}

/// The previous handler may have put the default in our place, as that of Rust's own runtime does to die of
/// the next fault, or itself. It gets that; and contained maps stay contained.
fn stay(previous: usize) {
    let Ok(now) = action(None) else {
        return;
    };
    if [libc::SIG_DFL, libc::SIG_IGN, previous].contains(&now.sa_sigaction) {
        // It fails on bad arguments only.
        drop(take_over(now));
    }
}
