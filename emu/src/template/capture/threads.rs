//! What belongs to each thread of a stopped process.

use std::io;

use libc::{pid_t, user_regs_struct};

use super::memory::Memory;
use super::status::Status;
use super::tracer::Tracer;
use crate::template::error::Error;
use crate::template::machine;
use crate::template::manifest::{Registers, Thread, to_hex};

const PR_GET_TID_ADDRESS: u64 = 40;
/// Matrix registers in the note of what is saved.
const MATRIX: u64 = 1 << 18;

/// Results of calls that the kernel makes again by itself.
const RESTARTED: [i64; 3] = [-512, -513, -514];
/// The same for a call with a time-out that it keeps to itself.
const RESTARTED_BLOCK: i64 = -516;

/// Describes a thread.
pub(super) fn capture(tracer: &mut Tracer, memory: &Memory<'_>, tid: pid_t) -> Result<Thread, Error> {
    let status = Status::of_thread(tracer.pid, tid)?;
    let at = |what: &str| Error::step(format!("read {what} of thread {tid}"));
    let registers = go_on(tracer.registers(tid));
    let mut extended = tracer.extended(tid).map_err(at("extended registers"))?;
    let length = machine::extended_length(machine_features()?);
    let saved =
        extended.get(512..520).map_or(0, |word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    if saved & MATRIX != 0 {
        return Err(Error::Uncapturable(format!(
            "thread {} ({}) uses matrix registers",
            status.inside, status.name
        )));
    }
    if extended.len() < length {
        return Err(Error::Uncapturable(format!(
            "thread {} has {} bytes of extended registers instead of {length}",
            status.inside,
            extended.len()
        )));
    }
    extended.truncate(length);
    let rseq = tracer.rseq(tid).map_err(at("restartable sequences"))?;
    let hex = |signals: Vec<Vec<u8>>| signals.iter().map(|signal| to_hex(signal)).collect();
    let pending = hex(tracer.pending(tid, false).map_err(at("pending signals"))?);

    let scratch = tracer.scratch();
    tracer.call(tid, libc::SYS_prctl, &[libc::PR_GET_NAME as u64, scratch])?;
    let name = memory.read(scratch, 16)?;
    let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    tracer.call(tid, libc::SYS_prctl, &[PR_GET_TID_ADDRESS, scratch])?;
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    let clear_on_end = word(&memory.read(scratch, 8)?);
    tracer.call(tid, libc::SYS_sigaltstack, &[0, scratch])?;
    let stack = memory.read(scratch, 24)?;
    let flags = word(&stack[8..]) as u32;
    Ok(Thread {
        number: status.inside,
        name,
        registers,
        extended: to_hex(&extended),
        mask: tracer.mask(tid),
        pending,
        // Whether it is on that stack is told by its stack pointer.
        alternate_stack: (word(&stack), flags & !(libc::SS_ONSTACK as u32), word(&stack[16..])),
        robust_list: robust_list(tid).map_err(at("the list of robust futexes"))?,
        rseq,
        clear_on_end,
    })
}

fn machine_features() -> Result<u64, Error> {
    Ok(machine::this().map_err(Error::step("learn what this machine is"))?.features)
}

fn robust_list(tid: pid_t) -> io::Result<(u64, u64)> {
    let (mut head, mut length) = (0_u64, 0_u64);
    // SAFETY: room for two numbers.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, tid, &raw mut head, &raw mut length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok((head, length)) }
}

/// Registers to go on with: a call that was interrupted is made again, as the kernel would; one that keeps its
/// remaining time in the kernel ends as interrupted, which whoever waits with a time-out expects.
fn go_on(from: &user_regs_struct) -> Registers {
    let (mut rip, mut rax) = (from.rip, from.rax);
    if (from.orig_rax as i64) >= 0 {
        if RESTARTED.contains(&(rax as i64)) {
            rip -= 2;
            rax = from.orig_rax;
        } else if rax as i64 == RESTARTED_BLOCK {
            rax = i64::from(-libc::EINTR) as u64;
        }
    }
    Registers {
        rax,
        rbx: from.rbx,
        rcx: from.rcx,
        rdx: from.rdx,
        rsi: from.rsi,
        rdi: from.rdi,
        rbp: from.rbp,
        rsp: from.rsp,
        r8: from.r8,
        r9: from.r9,
        r10: from.r10,
        r11: from.r11,
        r12: from.r12,
        r13: from.r13,
        r14: from.r14,
        r15: from.r15,
        rip,
        flags: from.eflags,
        fs_base: from.fs_base,
        gs_base: from.gs_base,
    }
}
