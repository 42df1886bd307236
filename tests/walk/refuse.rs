//! System calls that the kernel refuses, by seccomp(2).

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering};

use rawmap_core::{MmapOptions, MmapRaw};

use crate::step::Refused;

fn number(call: Refused) -> libc::c_long {
    match call {
        Refused::Msync => libc::SYS_msync,
        #[cfg(not(target_pointer_width = "32"))]
        Refused::Mmap => libc::SYS_mmap,
        #[cfg(target_pointer_width = "32")]
        Refused::Mmap => libc::SYS_mmap2,
        Refused::Munmap => libc::SYS_munmap,
        Refused::Mremap => libc::SYS_mremap,
        Refused::Mprotect => libc::SYS_mprotect,
        Refused::Madvise => libc::SYS_madvise,
        Refused::Mincore => libc::SYS_mincore,
        Refused::Futex => libc::SYS_futex,
        Refused::Fallocate => libc::SYS_fallocate,
        Refused::Fsync => libc::SYS_fsync,
        #[cfg(not(any(
            target_arch = "arm",
            target_arch = "powerpc",
            target_arch = "powerpc64"
        )))]
        Refused::SyncFileRange => libc::SYS_sync_file_range,
        // sync_file_range2.
        #[cfg(target_arch = "arm")]
        Refused::SyncFileRange => 341,
        #[cfg(any(target_arch = "powerpc", target_arch = "powerpc64"))]
        Refused::SyncFileRange => 308,
        #[cfg(target_arch = "arm")]
        Refused::Fadvise => libc::SYS_arm_fadvise64_64,
        #[cfg(all(
            target_pointer_width = "32",
            not(any(target_arch = "arm", target_arch = "mips"))
        ))]
        Refused::Fadvise => libc::SYS_fadvise64_64,
        #[cfg(target_arch = "mips")]
        Refused::Fadvise => libc::SYS_fadvise64,
        // libc names it for some of these only.
        #[cfg(target_arch = "powerpc64")]
        Refused::Fadvise => 233,
        #[cfg(all(target_pointer_width = "64", not(target_arch = "powerpc64")))]
        Refused::Fadvise => libc::SYS_fadvise64,
        Refused::Mlock => libc::SYS_mlock,
    }
}

/// From now on this call gets that action. The descriptor is of who decides, where the action asks for one.
fn filter(call: Refused, action: u32, flags: libc::c_ulong) -> Option<c_int> {
    let step = |code: u32, jump: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: jump,
        k,
    };
    let number = number(call) as u32;
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, action),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel copies the program.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return None;
        }
        let result = libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program);
        c_int::try_from(result).ok().filter(|result| *result >= 0)
    }
}

/// From now on the kernel answers this call with the error. Returns whether it does.
pub fn always(call: Refused, errno: i32) -> bool {
    filter(call, libc::SECCOMP_RET_ERRNO | errno as u32, 0).is_some()
}

/// A call that is refused until that many times are over.
pub struct Times(MmapRaw);

impl Times {
    fn left(&self) -> &AtomicU32 {
        // SAFETY: aligned, in the map, and only used as an atomic.
        unsafe { AtomicU32::from_ptr(self.0.as_mut_ptr().cast()) }
    }

    /// It is refused no longer.
    pub fn end(&self) {
        self.left().store(0, Ordering::SeqCst);
    }
}

/// The next calls are answered with the error, so many of them. `None` where the kernel has no such means.
///
/// Another process decides on each; it ends with this one.
pub fn next(call: Refused, errno: i32, times: u8) -> Option<Times> {
    let left = Times(MmapOptions::new().len(4).map_anon_shared().ok()?);
    left.left().store(times.into(), Ordering::SeqCst);
    let decides = filter(
        call,
        libc::SECCOMP_RET_USER_NOTIF,
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    )?;
    // SAFETY: plain system call.
    let walk = unsafe { libc::getpid() };
    // SAFETY: the child makes system calls only, and none that a filter refuses.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // A walk that has given up root may not kill it, and one that has ended does not. No walk takes longer.
            libc::alarm(crate::PATIENCE);
            if libc::getppid() != walk {
                libc::_exit(0);
            }
            decide(decides, errno, left.left())
        }
    }
    // SAFETY: our own descriptor.
    unsafe { libc::close(decides) };
    (child > 0).then_some(left)
}

/// # Safety
///
/// In a process of its own.
unsafe fn decide(decides: c_int, errno: i32, left: &AtomicU32) -> ! {
    loop {
        // SAFETY: all zeros is a value.
        let (mut asked, mut answer): (libc::seccomp_notif, libc::seccomp_notif_resp) =
            unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes the question.
        if unsafe { libc::ioctl(decides, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } != 0 {
            // The one who asked is gone, or was interrupted.
            continue;
        }
        answer.id = asked.id;
        let take = |left: u32| left.checked_sub(1);
        if left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .is_ok()
        {
            answer.error = -errno;
        } else {
            #[allow(clippy::unnecessary_cast, reason = "an unsigned long, of some width")]
            let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
            answer.flags = flags;
        }
        // SAFETY: the kernel reads the answer.
        unsafe { libc::ioctl(decides, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
    }
}
