//! Stopping, inspecting and rebuilding another process.

use std::ptr::null_mut;

use super::child::{check, expect, reap, run};
use super::children::Waiting;
use super::{Finding, Host};

/// `PTRACE_GET_RSEQ_CONFIGURATION` and the size of what it fills in.
const GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const RSEQ_CONFIGURATION_BYTES: usize = 24;
/// `PR_SET_MM` and its `PR_SET_MM_MAP_SIZE`.
const SET_MM: i32 = 35;
const SET_MM_MAP_SIZE: i32 = 15;

/// A child can be stopped without a signal, and its restartable sequence can be read.
pub(super) fn find(_: &Host) -> Finding {
    let outcome = run(|| {
        let child = Waiting::fork()?;
        let none = null_mut::<libc::c_void>();
        // SAFETY: requests on our own child; no address is used by them.
        unsafe {
            check(libc::ptrace(libc::PTRACE_SEIZE, child.pid, none, none), "seize")?;
            check(libc::ptrace(libc::PTRACE_INTERRUPT, child.pid, none, none), "interrupt")?;
        }
        let status = reap(child.pid, libc::__WALL).unwrap_or(0);
        expect(libc::WIFSTOPPED(status), "stop of the child")?;
        let mut rseq = [0_u8; RSEQ_CONFIGURATION_BYTES];
        // SAFETY: the child is stopped; the buffer is as long as the second argument says.
        let got =
            unsafe { libc::ptrace(GET_RSEQ_CONFIGURATION as _, child.pid, rseq.len(), rseq.as_mut_ptr()) };
        check(got, "read the restartable sequence (Linux 5.13 or later)")?;
        Ok(0)
    });
    outcome
        .finding("stopped and read a child", "allow ptrace (CAP_SYS_PTRACE, sysctl kernel.yama.ptrace_scope)")
}

/// The kernel can set a process's memory layout (needed to put heap and stack where a template had them).
pub(super) fn mm_map(_: &Host) -> Finding {
    let outcome = run(|| {
        let mut size = 0_u32;
        // SAFETY: the kernel writes one `u32`, the size of its structure, and changes nothing.
        let result = unsafe { libc::prctl(SET_MM, SET_MM_MAP_SIZE, &raw mut size, 0, 0) };
        check(i64::from(result), "prctl")?;
        Ok(u64::from(size))
    });
    outcome.finding("PR_SET_MM_MAP is known", "use a kernel with CONFIG_CHECKPOINT_RESTORE")
}
