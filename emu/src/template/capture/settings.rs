//! What a process has set of itself and its threads: limits are carried along, the rest is as sandboxes have it or is
//! refused by name.

use std::io;
use std::path::PathBuf;

use libc::pid_t;

use super::memory::Memory;
use super::tracer::Tracer;
use crate::sandbox;
use crate::template::error::Error;
use crate::template::manifest::Limit;

/// Attributes that `prctl` tells as its result: the call, its argument, what every function has, the name.
const TOLD: [(u64, u64, i64, &str); 6] = [
    (libc::PR_GET_DUMPABLE as u64, 0, 1, "whether it may be looked at (PR_SET_DUMPABLE)"),
    (libc::PR_GET_KEEPCAPS as u64, 0, 0, "kept capabilities (PR_SET_KEEPCAPS)"),
    (libc::PR_GET_THP_DISABLE as u64, 0, 0, "no large pages (PR_SET_THP_DISABLE)"),
    (
        libc::PR_MCE_KILL_GET as u64,
        0,
        libc::PR_MCE_KILL_DEFAULT as i64,
        "what memory errors do (PR_MCE_KILL)",
    ),
    (66, 0, 0, "no memory that is written and executed (PR_SET_MDWE)"),
    (libc::PR_GET_TIMERSLACK as u64, 0, 50_000, "a timer slack of its own (PR_SET_TIMERSLACK)"),
];
/// The same that it writes to memory.
const WRITTEN: [(u64, i32, &str); 3] = [
    (
        libc::PR_GET_PDEATHSIG as u64,
        libc::SIGKILL,
        "another signal for its parent's death (PR_SET_PDEATHSIG)",
    ),
    (libc::PR_GET_CHILD_SUBREAPER as u64, 0, "orphans as its children (PR_SET_CHILD_SUBREAPER)"),
    (libc::PR_GET_TSC as u64, libc::PR_TSC_ENABLE, "no time stamp counter (PR_SET_TSC)"),
];
/// Operations of futexes that hand locks on by priority.
const PRIORITY: [(u64, &str); 3] =
    [(6, "FUTEX_LOCK_PI"), (11, "FUTEX_WAIT_REQUEUE_PI"), (13, "FUTEX_LOCK_PI2")];

/// Looks at everything; the limits that differ from those of every function.
pub(super) fn capture(tracer: &mut Tracer, memory: &Memory<'_>) -> Result<Vec<Limit>, Error> {
    let pid = tracer.pid;
    let init = parent(pid)?;
    let usual = Thread::of(init, init)?;
    for tid in tracer.tids() {
        thread(tracer, pid, tid, &usual)?;
    }
    attributes(tracer, memory)?;
    let both = limits(pid)?.into_iter().zip(limits(init)?);
    let changed =
        (0..).zip(both).filter(|(resource, (own, given))| *own != sandbox::restricted(*resource, *given));
    Ok(changed.map(|(resource, ((current, maximum), _))| Limit { resource, current, maximum }).collect())
}

/// What a thread has that is as its sandbox's init has it, unless it has changed it.
#[derive(Debug, PartialEq, Eq)]
struct Thread {
    processors: Vec<u8>,
    policy: i64,
    nice: i64,
    input_output: i64,
    /// Lines of its status file.
    speculation: Vec<String>,
    features: Option<String>,
    filters: u32,
}

impl Thread {
    fn of(pid: pid_t, tid: pid_t) -> Result<Self, Error> {
        let path = PathBuf::from(format!("/proc/{pid}/task/{tid}/status"));
        let status = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let ask = |call: libc::c_long, arguments: [usize; 3]| {
            // SAFETY: takes numbers, and an address of room whose length is among them.
            match unsafe { libc::syscall(call, arguments[0], arguments[1], arguments[2]) } {
                -1 => Err(Error::step(format!("ask for attributes of thread {tid}"))(
                    io::Error::last_os_error(),
                )),
                result => Ok(result),
            }
        };
        let mut processors = vec![0_u8; 1024];
        let room = processors.as_mut_ptr() as usize;
        let length = ask(libc::SYS_sched_getaffinity, [tid as usize, processors.len(), room])?;
        processors.truncate(length as usize);
        Ok(Self {
            processors,
            policy: ask(libc::SYS_sched_getscheduler, [tid as usize, 0, 0])?,
            nice: ask(libc::SYS_getpriority, [libc::PRIO_PROCESS as usize, tid as usize, 0])?,
            input_output: ask(libc::SYS_ioprio_get, [1, tid as usize, 0])?,
            speculation: status
                .lines()
                .filter(|line| line.starts_with("Speculation"))
                .map(str::to_owned)
                .collect(),
            features: line("x86_Thread_features:").map(str::to_owned),
            filters: line("Seccomp_filters:").and_then(|text| text.parse().ok()).unwrap_or(0),
        })
    }
}

fn thread(tracer: &Tracer, pid: pid_t, tid: pid_t, usual: &Thread) -> Result<(), Error> {
    let found = Thread::of(pid, tid)?;
    let registers = tracer.registers(tid);
    let operation = registers.rsi & 0x7f;
    let waits = PRIORITY.iter().find(|(known, _)| *known == operation);
    let waits = waits.filter(|_| registers.orig_rax == libc::SYS_futex as u64);
    let parts = [
        (found.processors != usual.processors, "processors of its own choice (sched_setaffinity)"),
        (found.policy != usual.policy, "a scheduling policy of its own"),
        (found.nice != usual.nice, "a priority of its own (nice)"),
        (found.input_output != usual.input_output, "an input and output priority of its own (ioprio_set)"),
        (found.speculation != usual.speculation, "speculation settings of its own"),
        (found.features != usual.features, "a shadow stack"),
        (found.filters > usual.filters + 1, "a filter for system calls of its own (seccomp)"),
        (waits.is_some(), "a wait for a lock that is handed on by priority (FUTEX_LOCK_PI)"),
    ];
    match parts.iter().find(|(differs, _)| *differs) {
        Some((_, what)) => Err(Error::Uncapturable(format!("thread {tid} has {what}"))),
        None => Ok(()),
    }
}

/// What the process tells of itself.
fn attributes(tracer: &mut Tracer, memory: &Memory<'_>) -> Result<(), Error> {
    let pid = tracer.pid;
    let refuse = |what: &str| Err(Error::Uncapturable(format!("it has set {what}")));
    for (call, argument, usual, what) in TOLD {
        // What this kernel does not know has not been set.
        if tracer.call(pid, libc::SYS_prctl, &[call, argument]).is_ok_and(|found| found != usual) {
            return refuse(what);
        }
    }
    let scratch = tracer.scratch();
    for (call, usual, what) in WRITTEN {
        tracer.call(pid, libc::SYS_prctl, &[call, scratch])?;
        let found = memory.read(scratch, 4)?;
        if found != usual.to_le_bytes() {
            return refuse(what);
        }
    }
    tracer.call(pid, libc::SYS_get_mempolicy, &[scratch, 0, 0, 0, 0])?;
    if memory.read(scratch, 4)? != [0; 4] {
        return refuse("where its memory lies (set_mempolicy)");
    }
    // The page for results is the newest memory: what holds for memory to come holds for it.
    let mappings = super::maps::read(pid).map_err(Error::step("read the mappings"))?;
    let newest = mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&scratch));
    if newest.is_some_and(|mapping| mapping.has("lo")) {
        return refuse("that memory to come is locked (mlockall)");
    }
    Ok(())
}

fn parent(pid: pid_t) -> Result<pid_t, Error> {
    let numbers = super::status::stat(pid, pid)?;
    numbers
        .get(1)
        .map(|parent| *parent as pid_t)
        .filter(|parent| *parent > 0)
        .ok_or_else(|| Error::Uncapturable("its parent, the init of its sandbox, is gone".into()))
}

/// What holds for each resource, and how far it can be raised. (To ask the kernel itself for another process's takes
/// a capability.)
fn limits(pid: pid_t) -> Result<Vec<(u64, u64)>, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/limits"));
    let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let unknown = || Error::Uncapturable(format!("{} has another form", path.display()));
    parse_limits(&text).ok_or_else(unknown)
}

/// Lines come in the order of the resources' numbers, in columns.
fn parse_limits(text: &str) -> Option<Vec<(u64, u64)>> {
    let number = |text: &str| match text.trim() {
        "unlimited" => Some(u64::MAX),
        text => text.parse().ok(),
    };
    text.lines().skip(1).map(|line| Some((number(line.get(26..46)?)?, number(line.get(47..67)?)?))).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limits_of_this_process_are_read() {
        let text = std::fs::read_to_string("/proc/self/limits").unwrap();
        let limits = super::parse_limits(&text).unwrap();
        assert_eq!(limits.len(), 16);
        for resource in [libc::RLIMIT_CPU, libc::RLIMIT_STACK, libc::RLIMIT_NOFILE, libc::RLIMIT_RTTIME] {
            let mut own = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: room for the limit.
            assert_eq!(unsafe { libc::getrlimit(resource, &raw mut own) }, 0);
            assert_eq!(limits[resource as usize], (own.rlim_cur, own.rlim_max), "{resource}");
        }
    }
}
