//! The part that makes the process and its threads, and lets them go on.

use libc::c_ulong;

use super::Builder;
use crate::template::attach::interpreter::{ANYTHING, ARRIVE, EQUALS, FORKS, RETURN, STORE, SUCCEEDS, WAIT};
use crate::template::attach::{frame, report};
use crate::template::manifest::{Descriptor, LockKind, Thread, from_hex};

const PR_SET_MM: u64 = 35;
const PR_SET_MM_MAP: u64 = 14;
const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;
/// Flags of `seccomp`.
const NEW_LISTENER: c_ulong = 1 << 3;
const TSYNC_ESRCH: c_ulong = 1 << 4;
const WAIT_KILLABLE: c_ulong = 1 << 5;

impl Builder<'_> {
    /// What belongs to the whole process.
    pub(super) fn process(&mut self, main: &Thread) -> Result<(), String> {
        let process = &self.manifest.process;
        if process.personality != 0 {
            self.call(libc::SYS_personality, &[u64::from(process.personality)], "set the personality");
        }
        let auxiliary =
            from_hex(&process.auxiliary).ok_or("its auxiliary vector is no hexadecimal digits")?;
        let auxiliary_length = auxiliary.len() as u64;
        let auxiliary = self.put(&auxiliary);
        let m = &process.memory;
        let executable = self.numbers.executable() as u64;
        let words = [
            m.start_code,
            m.end_code,
            m.start_data,
            m.end_data,
            m.start_brk,
            m.brk,
            m.start_stack,
            m.arg_start,
            m.arg_end,
            m.env_start,
            m.env_end,
            auxiliary,
            auxiliary_length | executable << 32,
        ];
        let map = self.put(&words.map(u64::to_le_bytes).concat());
        let length = (words.len() * 8) as u64;
        self.call(
            libc::SYS_prctl,
            &[PR_SET_MM, PR_SET_MM_MAP, map, length],
            "tell the kernel where things are",
        );
        for limit in &process.limits {
            let place = self.put(&[limit.current, limit.maximum].map(u64::to_le_bytes).concat());
            let arguments = [0, u64::from(limit.resource), place, 0];
            self.call(libc::SYS_prlimit64, &arguments, format!("set limit {}", limit.resource));
        }
        for action in &process.actions {
            let words = [action.handler, action.flags, action.restorer, action.mask];
            let place = self.put(&words.map(u64::to_le_bytes).concat());
            let label = format!("set the action of signal {}", action.signal);
            self.call(libc::SYS_rt_sigaction, &[u64::from(action.signal), place, 0, 8], label);
        }
        self.call(libc::SYS_set_tid_address, &[main.clear_on_end], "set what is cleared at its end");
        let base = main.registers.fs_base;
        self.call(libc::SYS_arch_prctl, &[ARCH_SET_FS, base], "set the base of thread-local memory");
        Ok(())
    }

    /// What each thread does for itself.
    pub(super) fn own(&mut self, thread: &Thread) -> Result<(), String> {
        let (head, length) = thread.robust_list;
        if head != 0 {
            self.call(libc::SYS_set_robust_list, &[head, length], "set the list of robust futexes");
        }
        let (rseq, length, signature) = thread.rseq;
        if rseq != 0 {
            let arguments = [rseq, u64::from(length), 0, u64::from(signature)];
            self.call(libc::SYS_rseq, &arguments, "register restartable sequences");
        }
        if thread.registers.gs_base != 0 {
            self.call(libc::SYS_arch_prctl, &[ARCH_SET_GS, thread.registers.gs_base], "set the second base");
        }
        let name = self.put(&[thread.name.as_bytes(), &[0; 16]].concat());
        self.call(libc::SYS_prctl, &[libc::PR_SET_NAME as u64, name], "set the name");
        let process = self.manifest.threads[0].number as u64;
        for information in &thread.pending {
            let place = self.put_hex(information)?;
            let signal = u64::from_str_radix(&information[..2], 16).map_err(|error| error.to_string())?;
            let arguments = [process, thread.number as u64, signal, place];
            self.call(libc::SYS_rt_tgsigqueueinfo, &arguments, format!("queue signal {signal}"));
        }
        Ok(())
    }

    /// The program of a thread: the address of its table.
    pub(super) fn thread(&mut self, thread: &Thread) -> Result<u64, String> {
        let main = std::mem::take(&mut self.table);
        self.own(thread)?;
        self.drop_capabilities();
        self.entry(ARRIVE, SUCCEEDS, &[self.ready], 0, "arrive");
        self.wake(self.ready, "tell that it has arrived");
        self.entry(WAIT, SUCCEEDS, &[self.go, 1], 0, "wait for the others");
        self.resume(thread)?;
        let table = self.place_table();
        self.table = main;
        Ok(table)
    }

    fn wake(&mut self, word: u64, label: &str) {
        let wake = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64;
        self.call(libc::SYS_futex, &[word, wake, i32::MAX as u64], label);
    }

    fn drop_capabilities(&mut self) {
        // Version 3, this thread; no capability in either set.
        let head = self.put(&[0x2008_0522_u32, 0].map(u32::to_le_bytes).concat());
        let none = self.put(&[0; 24]);
        self.call(libc::SYS_capset, &[head, none], "give up capabilities");
    }

    pub(super) fn clone(&mut self, thread: &Thread, table: u64) {
        let mut flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM
            | libc::CLONE_SETTLS;
        if thread.clear_on_end != 0 {
            flags |= libc::CLONE_CHILD_CLEARTID;
        }
        let number = self.put(&thread.number.to_le_bytes());
        let words = [flags as u64, 0, thread.clear_on_end, 0, 0, 0, 0, thread.registers.fs_base, number, 1];
        let arguments = self.put(&words.map(u64::to_le_bytes).concat());
        let label = format!("make thread {} ({})", thread.number, thread.name);
        self.entry(libc::SYS_clone3 as u32, FORKS, &[arguments, (words.len() * 8) as u64], table, label);
    }

    pub(super) fn wait_for_threads(&mut self, count: u64) {
        if count > 0 {
            self.entry(WAIT, SUCCEEDS, &[self.ready, count], 0, "wait for the threads");
        }
    }

    /// Gives up what functions may not have; from here on the process is as confined as an executed one.
    pub(super) fn seal(&mut self, others: u64) -> Result<(), String> {
        self.drop_capabilities();
        let mut flags = if others > 0 { libc::SECCOMP_FILTER_FLAG_TSYNC } else { 0 } as c_ulong;
        if self.listener.is_some() {
            flags |= NEW_LISTENER | WAIT_KILLABLE | if others > 0 { TSYNC_ESRCH } else { 0 };
        }
        let arguments = [u64::from(libc::SECCOMP_SET_MODE_FILTER), flags, self.places.filter.0];
        // With threads, the result is the number of one that could not follow; with a guard, its descriptor.
        let result = self.listener.map_or(0, |number| number as u64);
        self.entry(libc::SYS_seccomp as u32, EQUALS, &arguments, result, "install the filter");
        for information in &self.manifest.process.pending {
            let place = self.put_hex(information)?;
            let signal = u64::from_str_radix(&information[..2], 16).map_err(|error| error.to_string())?;
            let arguments = [self.manifest.threads[0].number as u64, signal, place];
            self.call(libc::SYS_rt_sigqueueinfo, &arguments, format!("queue signal {signal}"));
        }
        for timer in &self.manifest.process.timers {
            let parts = |us: u64| [us / 1_000_000, us % 1_000_000];
            let words = [parts(timer.interval_us), parts(timer.value_us)].concat();
            let place = self.put(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
            self.call(libc::SYS_setitimer, &[u64::from(timer.which), place, 0], "start a timer");
        }
        Ok(())
    }

    /// A message of bytes with a descriptor beside it: its `msghdr`.
    pub(super) fn message(&mut self, bytes: u64, length: u64, descriptor: i32) -> u64 {
        let vector = self.put(&[bytes, length].map(u64::to_le_bytes).concat());
        // One descriptor: length 20, SOL_SOCKET, SCM_RIGHTS, its number.
        let mut beside = 20_u64.to_le_bytes().to_vec();
        for word in [libc::SOL_SOCKET, libc::SCM_RIGHTS, descriptor, 0] {
            beside.extend_from_slice(&word.to_le_bytes());
        }
        let beside_length = beside.len() as u64;
        let beside = self.put(&beside);
        self.put(&[0, 0, vector, 1, beside, beside_length, 0].map(u64::to_le_bytes).concat())
    }

    /// Says that the process runs, closes what was the carrier's, lets the threads go.
    pub(super) fn leave(&mut self, main: &Thread) -> Result<(), String> {
        self.moment(3, "note the time");
        let length = report::LENGTH as u64;
        let status = self.numbers.status() as u64;
        match self.listener {
            None => {
                let arguments = [status, self.places.report, length];
                self.entry(libc::SYS_write as u32, EQUALS, &arguments, length, "say that it runs");
            }
            Some(listener) => {
                let message = self.message(self.places.report, length, listener);
                let arguments = [status, message, libc::MSG_NOSIGNAL as u64];
                self.entry(libc::SYS_sendmsg as u32, EQUALS, &arguments, length, "say that it runs");
                self.call(libc::SYS_close, &[listener as u64], "close the guard's descriptor");
            }
        }
        let first = self.numbers.first as u64;
        self.call(libc::SYS_close_range, &[first, u64::from(u32::MAX), 0], "close the carrier's descriptors");
        // Not before: to close a file gives up what the process has locked of it, by whatever number.
        self.lock();
        self.entry(STORE, SUCCEEDS, &[self.go, 1], 0, "let the threads go");
        self.wake(self.go, "wake the threads");
        self.resume(main)
    }

    /// Locks files as they were.
    fn lock(&mut self) {
        let manifest = self.manifest;
        for Descriptor { number, locks, .. } in &manifest.descriptors {
            for lock in locks {
                let label = format!("lock descriptor {number} again");
                let command = match lock.kind {
                    LockKind::Whole => {
                        let operation =
                            if lock.alone { libc::LOCK_EX } else { libc::LOCK_SH } | libc::LOCK_NB;
                        self.call(libc::SYS_flock, &[*number as u64, operation as u64], label);
                        continue;
                    }
                    LockKind::Process => libc::F_SETLK,
                    LockKind::Open => libc::F_OFD_SETLK,
                };
                // `struct flock`: type and SEEK_SET, start, length, no process.
                let access = if lock.alone { libc::F_WRLCK } else { libc::F_RDLCK };
                let words = [access as u64, lock.start, lock.length, 0];
                let place = self.put(&words.map(u64::to_le_bytes).concat());
                self.call(libc::SYS_fcntl, &[*number as u64, command as u64, place], label);
            }
        }
    }

    /// Becomes the thread.
    fn resume(&mut self, thread: &Thread) -> Result<(), String> {
        let extended = from_hex(&thread.extended).ok_or("its registers are no hexadecimal digits")?;
        if extended.len() < 576 {
            return Err(format!(
                "thread {} has {} bytes of extended registers",
                thread.number,
                extended.len()
            ));
        }
        let address = self.put(&vec![0; frame::length(extended.len())]);
        let frame = frame::build(address, thread, &extended, self.manifest.machine.features);
        let offset = (address - self.at) as usize;
        self.image[offset..offset + frame.len()].copy_from_slice(&frame);
        self.entry(RETURN, ANYTHING, &[frame::stack(address)], 0, "go on");
        Ok(())
    }
}
