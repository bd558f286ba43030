//! The resident init of a sandbox: process 1 of its pid namespace.
//!
//! It is a copy of the nursery and never executes anything. It holds the network namespace and the membership of
//! cgroups, forks functions and ends them. It obeys its manager over one socket and ends when that closes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};
use seccompiler::BpfProgram;

use super::fingerprint::{Fingerprint, Part};
use super::inside::{Inputs, Moment, Moments, become_function, drop_bounding_set, last_error};
use super::nursery::{Entries, clone3, open_in};
use super::steps::{Step, now};
use super::wire::{Answer, At, Fault, Keep, Order, StartOrder, receive, send};
use crate::kernel::linux::{Inspector, set_up_network};

/// Serves orders until the manager is gone; the exit code.
pub(super) fn run(control: &OwnedFd, proc: &OwnedFd, entries: Entries) -> i32 {
    // SAFETY: attributes of this process; it waits for its functions, and ends with its nursery.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    let Ok(proc) = proc.try_clone() else { return 3 };
    let Ok(moments) = shared_moments() else { return 3 };
    let mut init = Init {
        entries,
        proc,
        moments,
        filter: super::seccomp::filter(),
        inspector: None,
        first: None,
        members: None,
        function: None,
        bounded: false,
        kept: Vec::new(),
        garbage: Vec::new(),
        abandoned: Vec::new(),
    };
    loop {
        match receive::<Order>(control) {
            Ok(Some((order, descriptors))) => {
                let (answer, process) = init.obey(order, descriptors);
                if init.function.as_ref().is_some_and(|running| running.keep != Keep::default()) {
                    // Once the manager knows of it, the function may end.
                    init.hold_namespaces();
                }
                let beside: Vec<_> = process.iter().map(AsFd::as_fd).collect();
                if send(control, &answer, &beside).is_err() {
                    return 0;
                }
                // Taking a mount namespace apart takes its time, and nobody waits for it now.
                init.garbage.clear();
                init.hold_namespaces();
            }
            Ok(None) => return 0,
            Err(_) => return 3,
        }
    }
}

struct Init {
    entries: Entries,
    /// A procfs of the host's process numbers.
    proc: OwnedFd,
    moments: &'static Moments,
    filter: BpfProgram,
    inspector: Option<Inspector>,
    /// How the sandbox looked when it was checked first.
    first: Option<Fingerprint>,
    /// The list of members of its cgroup.
    members: Option<OwnedFd>,
    function: Option<Running>,
    /// The bounding set is empty.
    bounded: bool,
    /// Namespaces of the first function, if they are kept.
    kept: Vec<OwnedFd>,
    /// Namespaces of functions that are gone.
    garbage: Vec<OwnedFd>,
    /// Functions that nobody ended.
    abandoned: Vec<Running>,
}

struct Running {
    process: OwnedFd,
    pid: i32,
    /// Its mount namespace, so that it is not taken apart while we wait for the process to end.
    mounts: Option<OwnedFd>,
    /// Those of its namespaces that are to be entered by all later functions.
    keep: Keep,
}

impl Init {
    fn obey(&mut self, order: Order, descriptors: Vec<OwnedFd>) -> (Answer, Option<OwnedFd>) {
        let mut answer = Answer::default();
        let process = match self.all(order, descriptors, &mut answer) {
            Ok(process) => process,
            Err(fault) => {
                answer.fault = Some(fault);
                None
            }
        };
        (answer, process)
    }

    /// Everything that is asked for, in order.
    fn all(
        &mut self,
        order: Order,
        descriptors: Vec<OwnedFd>,
        answer: &mut Answer,
    ) -> Result<Option<OwnedFd>, Fault> {
        let mut descriptors = descriptors.into_iter();
        let mut since = now();
        let mut note = |answer: &mut Answer, step| {
            let end = now();
            answer.steps.push((step, end - since));
            since = end;
        };
        if order.enter_network {
            let network = descriptors.next().ok_or(Errno::BADF).at("take the network namespace")?;
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(network.as_fd(), Some(kind))
                .at("enter the network namespace")?;
            note(answer, Step::TakeNetwork);
        }
        if let Some(network) = order.network {
            let proc = self.proc.try_clone().at("copy a descriptor")?;
            set_up_network(self.inspector()?, &proc, network)?;
            note(answer, Step::SetUpNetwork);
        }
        if order.abandon {
            self.abandoned.extend(self.function.take());
        }
        if order.kill {
            self.kill()?;
            note(answer, Step::Kill);
        }
        if let Some(check) = order.check {
            if check.members {
                self.members = Some(descriptors.next().ok_or(Errno::BADF).at("take the list of members")?);
            }
            let inspector = self.inspector()?;
            let mut seen = inspector.look(check.settings).at("look at the network namespace")?;
            if check.reset && Inspector::must_reset(&seen) {
                inspector.reset().at("destroy sockets")?;
                note(answer, Step::DestroySockets);
                seen = inspector.look(check.settings).at("look at the network namespace")?;
            }
            seen.parts.extend(self.processes()?);
            let unclean = self.first.get_or_insert_with(|| seen.clone()).differences(&seen);
            answer.fingerprint = Some(seen);
            note(answer, Step::Check);
            if !unclean.is_empty() {
                // Nobody's function runs where another's traces are.
                return Ok(None);
            }
        }
        let Some(start) = order.start else { return Ok(None) };
        let process = self.start(&start, descriptors, &mut answer.steps)?;
        answer.started = true;
        Ok(Some(process))
    }

    fn inspector(&mut self) -> Result<&mut Inspector, Fault> {
        if self.inspector.is_none() {
            let proc = self.proc.try_clone().at("copy a descriptor")?;
            self.inspector = Some(Inspector::open(proc).at("open netlink")?);
        }
        Ok(self.inspector.as_mut().expect("just set"))
    }

    /// How many processes the cgroup has; none of them is ours.
    fn processes(&self) -> Result<Option<(Part, u64)>, Fault> {
        let Some(members) = &self.members else { return Ok(None) };
        let list = crate::kernel::linux::read_again(members).at("read the members of the cgroup")?;
        Ok(Some((Part::Processes, list.iter().filter(|byte| **byte == b'\n').count() as u64)))
    }

    /// Ends the function and everything that it started: it is process 1 of its namespace, and the kernel
    /// answers only when the last of them is gone.
    fn kill(&mut self) -> Result<(), Fault> {
        let Some(running) = self.function.take() else { return Ok(()) };
        match rustix::process::pidfd_send_signal(&running.process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno).at("kill the function"),
        }
        loop {
            match rustix::process::waitid(WaitId::PidFd(running.process.as_fd()), WaitIdOptions::EXITED) {
                Ok(_) | Err(Errno::CHILD) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).at("wait for the function"),
            }
        }
        self.garbage.extend(running.mounts);
        Ok(())
    }

    fn start(
        &mut self,
        order: &StartOrder,
        mut descriptors: impl Iterator<Item = OwnedFd>,
        steps: &mut Vec<(Step, u64)>,
    ) -> Result<OwnedFd, Fault> {
        if self.function.is_some() {
            return Err(Errno::BUSY).at("start a second function");
        }
        let mut next = || descriptors.next().ok_or(Errno::BADF).at("take descriptors of a start");
        let (root, channel, log) = (next()?, next()?, next()?);
        let cgroup = if order.into_cgroup { Some(next()?) } else { None };
        let migrations = (0..order.migrations).map(|_| next()).collect::<Result<Vec<_>, _>>()?;
        let given = (0..order.given).map(|_| next()).collect::<Result<Vec<_>, _>>()?;
        let Keep { mounts, ipc, uts, .. } = order.keep;
        let later = !self.kept.is_empty();
        if order.confinement.drop_capabilities && !self.bounded {
            // It bounds what an exec can gain, and we never execute anything.
            self.bounded = drop_bounding_set();
        }
        let (status, status_inside) = io::pipe().at("make a pipe")?;
        for moment in self.moments {
            moment.store(0, Ordering::Relaxed);
        }
        let mut flags = libc::CLONE_NEWPID;
        for (kept, flag) in
            [(mounts, libc::CLONE_NEWNS), (ipc, libc::CLONE_NEWIPC), (uts, libc::CLONE_NEWUTS)]
        {
            if !(kept && later) {
                flags |= flag;
            }
        }
        let began = now();
        let (pid, process) = clone3(flags as u64, cgroup.as_ref()).at("clone the function")?;
        if pid == 0 {
            become_function(&Inputs {
                order,
                entries: self.entries,
                filter: &self.filter,
                moments: self.moments,
                root,
                channel,
                log,
                migrations,
                given,
                kept: &self.kept,
                bounded: self.bounded,
                status: status_inside.into(),
            });
            // SAFETY: ends the child without our exit handlers.
            unsafe { libc::_exit(127) };
        }
        drop((status_inside, root, channel, log, migrations, given));
        let process = process.expect("a parent gets the descriptor");
        let fault = read_fault(&status)?;
        let runs = now();
        self.note_moments(began, runs, steps);
        let ours = process.try_clone().at("copy a descriptor")?;
        let keep = if later { Keep::default() } else { order.keep };
        self.function = Some(Running { process: ours, pid, mounts: None, keep });
        if let Some(fault) = fault {
            self.kill()?;
            return Err(fault);
        }
        Ok(process)
    }

    /// Turns moments into steps.
    fn note_moments(&self, began: u64, ended: u64, steps: &mut Vec<(Step, u64)>) {
        const AFTER: [(Moment, Step); 7] = [
            (Moment::Born, Step::Clone),
            (Moment::Member, Step::MigrateFunction),
            (Moment::InNamespaces, Step::EnterNamespaces),
            (Moment::InRoot, Step::SwapRoot),
            (Moment::HasProc, Step::MountProc),
            (Moment::Confined, Step::Confine),
            (Moment::Filtered, Step::Seccomp),
        ];
        let mut since = began;
        for (moment, step) in AFTER {
            let at = self.moments[moment as usize].load(Ordering::Relaxed);
            if at == 0 {
                return;
            }
            steps.push((step, at.saturating_sub(since)));
            since = at;
        }
        let runs = self.moments[Moment::Runs as usize].load(Ordering::Relaxed);
        let end = if runs == 0 { ended } else { runs };
        steps.push((Step::Run, end.saturating_sub(since)));
    }

    /// After the answer: takes hold of the new function's mount namespace, or of all that are to be kept.
    fn hold_namespaces(&mut self) {
        let Some(running) = &mut self.function else { return };
        if running.mounts.is_some() {
            return;
        }
        // Numbers of our pid namespace mean nothing in the host's procfs; ours are children of ourselves there.
        let Some(host) = host_pid(&self.proc, &running.process) else { return };
        let open = |kind: &str| open_in(&self.proc, &format!("{host}/ns/{kind}"), OFlags::RDONLY).ok();
        let keep = std::mem::take(&mut running.keep);
        let kinds = [(keep.ipc, "ipc"), (keep.uts, "uts"), (keep.cgroup, "cgroup"), (keep.mounts, "mnt")];
        // The mounts come last: they change the root.
        self.kept.extend(kinds.iter().filter(|(keep, _)| *keep).filter_map(|(_, kind)| open(kind)));
        running.mounts = open("mnt");
        debug_assert!(running.pid > 0);
    }
}

/// The number of a process in the procfs of the host.
fn host_pid(proc: &OwnedFd, process: &OwnedFd) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let name = format!("self/fdinfo/{}", process.as_raw_fd());
    let bytes = crate::kernel::linux::read_at(proc, &name).ok()?;
    pid_in(&String::from_utf8_lossy(&bytes))
}

/// The number that the kernel tells about a process's descriptor; `None` once the process is gone.
pub(super) fn pid_in(fdinfo: &str) -> Option<i32> {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok().filter(|pid| *pid > 0)
}

/// The fault that the new process wrote, or `None` when its end of the pipe closed because it runs.
fn read_fault(status: &io::PipeReader) -> Result<Option<Fault>, Fault> {
    let mut bytes = [0; 512];
    loop {
        return match rustix::io::read(status, &mut bytes) {
            Ok(0) => Ok(None),
            Ok(got) => Ok(Some(
                serde_json::from_slice(&bytes[..got])
                    .unwrap_or(Fault { step: "start the function".into(), errno: libc::EIO }),
            )),
            Err(Errno::INTR) => continue,
            Err(errno) => Err(errno).at("wait for the function to run"),
        };
    }
}

/// Memory that children share with us.
fn shared_moments() -> rustix::io::Result<&'static Moments> {
    // SAFETY: a new mapping at a place of the kernel's choice, zeroed, shared with later children, never removed.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<Moments>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(last_error());
    }
    // SAFETY: aligned to a page, large enough, and zero is a valid value of atomics.
    Ok(unsafe { &*at.cast::<Moments>() })
}
