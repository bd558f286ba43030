//! Reading and writing another process's memory.

use super::child::{check, expect, run};
use super::children::Waiting;
use super::{Finding, Host};

/// A word of a child can be written and read back; ours stays.
pub(super) fn find(_: &Host) -> Finding {
    let outcome = run(|| {
        let (theirs, mut ours) = (Box::new(0_u64), 42_u64);
        let child = Waiting::fork()?;
        let length = size_of::<u64>();
        let local = libc::iovec { iov_base: (&raw mut ours).cast(), iov_len: length };
        let remote =
            libc::iovec { iov_base: std::ptr::from_ref(&*theirs).cast_mut().cast(), iov_len: length };
        // SAFETY: the local word is valid; the remote one lies in the child's copy of our memory.
        let written =
            unsafe { libc::process_vm_writev(child.pid, &raw const local, 1, &raw const remote, 1, 0) };
        check(written as i64, "process_vm_writev")?;
        ours = 0;
        let local = libc::iovec { iov_base: (&raw mut ours).cast(), iov_len: length };
        // SAFETY: as above, in the other direction.
        let read = unsafe { libc::process_vm_readv(child.pid, &raw const local, 1, &raw const remote, 1, 0) };
        check(read as i64, "process_vm_readv")?;
        expect(
            *std::hint::black_box(&ours) == 42 && *std::hint::black_box(&theirs) == Box::new(0),
            "the word",
        )?;
        Ok(0)
    });
    outcome.finding(
        "wrote to and read from a child",
        "allow ptrace (CAP_SYS_PTRACE); CONFIG_CROSS_MEMORY_ATTACH",
    )
}
