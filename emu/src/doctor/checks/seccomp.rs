//! Filters on system calls.

use super::child::{check, expect, run};
use super::{Finding, Host};

/// A filter that denies one call does so and lets the others through.
pub(super) fn find(_: &Host) -> Finding {
    let outcome = run(|| {
        let denied = libc::SYS_getppid as u32;
        let refuse = libc::SECCOMP_RET_ERRNO | libc::EXDEV as u32;
        let mut program = [
            line(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            line(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, denied),
            line(libc::BPF_RET | libc::BPF_K, 0, 0, refuse),
            line(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: only this child is changed; the program outlives the call.
        unsafe {
            check(i64::from(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)), "no_new_privs")?;
            let installed =
                libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter);
            check(installed, "install a filter")?;
        }
        // SAFETY: a call without arguments.
        let answer = unsafe { libc::syscall(libc::SYS_getppid) };
        let errno = std::io::Error::last_os_error().raw_os_error();
        expect(answer == -1 && errno == Some(libc::EXDEV), "refusal of a call")?;
        Ok(0)
    });
    outcome.finding("a filter refused one call only", "use a kernel with CONFIG_SECCOMP_FILTER")
}

fn line(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}
