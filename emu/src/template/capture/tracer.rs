//! A stopped process: its registers, and system calls made in its name.

use std::io;
use std::path::Path;

use libc::{c_int, c_long, c_uint, c_void, pid_t, user_regs_struct};

use crate::template::error::Error;

const PTRACE_GETSIGMASK: c_uint = 0x420a;
const PTRACE_SETSIGMASK: c_uint = 0x420b;
const PTRACE_PEEKSIGINFO: c_uint = 0x4209;
const PTRACE_GET_RSEQ_CONFIGURATION: c_uint = 0x420f;
const NT_X86_XSTATE: usize = 0x202;
const PTRACE_EVENT_STOP: c_int = 128;
/// Rounds of looking for threads that were born meanwhile.
const ROUNDS: usize = 20;
/// Bytes of a `siginfo`.
const SIGNAL_INFORMATION: usize = 128;

/// Every thread of a process, stopped. Dropped, they go on as if nothing had been.
#[derive(Debug)]
pub(crate) struct Tracer {
    pub(super) pid: pid_t,
    threads: Vec<Stopped>,
    /// A `syscall` instruction in its memory.
    gadget: u64,
    /// A page of its memory for results; 0: none.
    scratch: u64,
}

#[derive(Debug)]
struct Stopped {
    tid: pid_t,
    registers: user_regs_struct,
    mask: u64,
    /// Registers have been changed and must be put back.
    touched: bool,
}

impl Tracer {
    /// Stops every thread.
    pub(crate) fn seize(pid: pid_t) -> Result<Self, Error> {
        let mut tracer = Self { pid, threads: Vec::new(), gadget: 0, scratch: 0 };
        let at = |step: &'static str| move |error| Error::step(format!("{step} process {pid}"))(error);
        for _ in 0..ROUNDS {
            let mut new = 0;
            for tid in tids(pid).map_err(at("list the threads of"))? {
                if tracer.threads.iter().any(|thread| thread.tid == tid) {
                    continue;
                }
                new += 1;
                match ptrace(libc::PTRACE_SEIZE, tid, 0, 0) {
                    Ok(()) => {}
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                    Err(error) => return Err(at("trace")(error)),
                }
                // SAFETY: plain numbers, for which zero is a value.
                let registers = unsafe { std::mem::zeroed() };
                tracer.threads.push(Stopped { tid, registers, mask: 0, touched: false });
                ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0).map_err(at("stop"))?;
                wait_for_stop(tid).map_err(at("wait for the stop of"))?;
            }
            if new == 0 {
                break;
            }
        }
        for thread in &mut tracer.threads {
            let registers = (&raw mut thread.registers) as usize;
            ptrace(libc::PTRACE_GETREGS, thread.tid, 0, registers).map_err(at("read registers of"))?;
            let mask = (&raw mut thread.mask) as usize;
            ptrace(PTRACE_GETSIGMASK, thread.tid, 8, mask).map_err(at("read the signal mask of"))?;
        }
        // The main thread first, as the kernel lists them.
        tracer.threads.sort_by_key(|thread| (thread.tid != pid, thread.tid));
        Ok(tracer)
    }

    /// Numbers of the threads in the host.
    pub(super) fn tids(&self) -> Vec<pid_t> {
        self.threads.iter().map(|thread| thread.tid).collect()
    }

    /// Registers of a thread as they were when it was stopped.
    pub(super) fn registers(&self, tid: pid_t) -> &user_regs_struct {
        &self.find(tid).registers
    }

    /// Blocked signals of a thread.
    pub(super) fn mask(&self, tid: pid_t) -> u64 {
        self.find(tid).mask
    }

    fn find(&self, tid: pid_t) -> &Stopped {
        self.threads.iter().find(|thread| thread.tid == tid).expect("a thread that was stopped")
    }

    /// Extended registers in the processor's standard form.
    pub(super) fn extended(&self, tid: pid_t) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 64 << 10];
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast::<c_void>(), iov_len: bytes.len() };
        ptrace(libc::PTRACE_GETREGSET, tid, NT_X86_XSTATE, (&raw mut vector) as usize)?;
        bytes.truncate(vector.iov_len);
        Ok(bytes)
    }

    /// Place, length and signature of restartable sequences.
    pub(super) fn rseq(&self, tid: pid_t) -> io::Result<(u64, u32, u32)> {
        #[repr(C)]
        #[derive(Default)]
        struct Configuration {
            pointer: u64,
            size: u32,
            signature: u32,
            flags: u32,
            pad: u32,
        }
        let mut found = Configuration::default();
        ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, size_of::<Configuration>(), (&raw mut found) as usize)?;
        Ok((found.pointer, found.size, found.signature))
    }

    /// Signals that wait for a thread, or for the process.
    pub(super) fn pending(&self, tid: pid_t, shared: bool) -> io::Result<Vec<Vec<u8>>> {
        #[repr(C)]
        struct Arguments {
            offset: u64,
            flags: u32,
            number: i32,
        }
        const MOST: usize = 64;
        let arguments = Arguments { offset: 0, flags: u32::from(shared), number: MOST as i32 };
        let mut bytes = vec![0_u8; MOST * SIGNAL_INFORMATION];
        // SAFETY: the arguments and room for as many entries as they say live during the call.
        let got = unsafe { libc::ptrace(PTRACE_PEEKSIGINFO, tid, &raw const arguments, bytes.as_mut_ptr()) };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(bytes.chunks(SIGNAL_INFORMATION).take(got as usize).map(<[u8]>::to_vec).collect())
    }

    /// Finds a `syscall` instruction in the vdso's bytes and maps a page for results.
    pub(crate) fn prepare_calls(&mut self, vdso: u64, code: &[u8]) -> Result<(), Error> {
        let at = code.windows(2).position(|pair| pair == [0x0f, 0x05]);
        let at = at.ok_or_else(|| Error::Uncapturable("its vdso has no system call instruction".into()))?;
        self.gadget = vdso + at as u64;
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let page = [0, 4096, protection, flags, u64::MAX, 0];
        self.scratch = self.call(self.pid, libc::SYS_mmap, &page)? as u64;
        Ok(())
    }

    /// The page for results.
    pub(super) fn scratch(&self) -> u64 {
        self.scratch
    }

    /// Takes the page for results away again.
    pub(super) fn end_calls(&mut self) -> Result<(), Error> {
        let scratch = std::mem::take(&mut self.scratch);
        if scratch != 0 {
            self.call(self.pid, libc::SYS_munmap, &[scratch, 4096])?;
        }
        Ok(())
    }

    /// Makes a thread do a system call; its result.
    pub(crate) fn call(&mut self, tid: pid_t, call: c_long, arguments: &[u64]) -> Result<i64, Error> {
        let gadget = self.gadget;
        let thread = self.threads.iter_mut().find(|thread| thread.tid == tid).expect("a stopped thread");
        let result = thread.call(gadget, call, arguments);
        let result = result.map_err(Error::step(format!("make system call {call} in thread {tid}")))?;
        if (-4095..0).contains(&result) {
            let error = io::Error::from_raw_os_error(-result as i32);
            return Err(Error::step(format!("make system call {call} in thread {tid}"))(error));
        }
        Ok(result)
    }
}

impl Stopped {
    fn call(&mut self, gadget: u64, call: c_long, arguments: &[u64]) -> io::Result<i64> {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let mut registers = self.registers;
        registers.rip = gadget;
        registers.rax = call as u64;
        // Not in a call that could be restarted.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = all;
        let blocked = u64::MAX;
        self.touched = true;
        ptrace(PTRACE_SETSIGMASK, self.tid, 8, (&raw const blocked) as usize)?;
        ptrace(libc::PTRACE_SETREGS, self.tid, 0, (&raw const registers) as usize)?;
        ptrace(libc::PTRACE_SINGLESTEP, self.tid, 0, 0)?;
        let status = wait(self.tid)?;
        if !libc::WIFSTOPPED(status) || libc::WSTOPSIG(status) != libc::SIGTRAP {
            return Err(io::Error::other(format!("it stopped with status {status:#x}")));
        }
        ptrace(libc::PTRACE_GETREGS, self.tid, 0, (&raw mut registers) as usize)?;
        if registers.rip != gadget + 2 {
            return Err(io::Error::other("it is not where the call should have left it"));
        }
        Ok(registers.rax as i64)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.end_calls();
        for thread in &self.threads {
            // A thread that has ended needs none of it.
            if thread.touched {
                let registers = (&raw const thread.registers) as usize;
                let _ = ptrace(libc::PTRACE_SETREGS, thread.tid, 0, registers);
                let _ = ptrace(PTRACE_SETSIGMASK, thread.tid, 8, (&raw const thread.mask) as usize);
            }
            let _ = ptrace(libc::PTRACE_DETACH, thread.tid, 0, 0);
        }
    }
}

/// Threads of a process.
pub(super) fn tids(pid: pid_t) -> io::Result<Vec<pid_t>> {
    let listed = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))?;
    Ok(listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

fn ptrace(request: c_uint, tid: pid_t, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: the requests of this file read or write what `data` points to, if anything, within its size.
    let result = unsafe { libc::ptrace(request, tid, address, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn wait(tid: pid_t) -> io::Result<c_int> {
    let mut status = 0;
    loop {
        // SAFETY: room for a number.
        let got = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) };
        if got == tid {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Waits until a thread has stopped because it was told to; signals that come first are delivered.
fn wait_for_stop(tid: pid_t) -> io::Result<()> {
    loop {
        let status = wait(tid)?;
        if !libc::WIFSTOPPED(status) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        if status >> 16 == PTRACE_EVENT_STOP {
            return Ok(());
        }
        ptrace(libc::PTRACE_CONT, tid, 0, libc::WSTOPSIG(status) as usize)?;
    }
}
