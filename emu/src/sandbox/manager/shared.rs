//! What every sandbox of a manager goes through: creation, another function, the look at what it left.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::{Birth, Config, Mode, OldLayer, Reset, Statistics};
use super::function::{Ends, Function};
use super::sandbox::{Network, Parts, Sandbox};
use super::stock::RootKind;
use super::{MOST, PREFIX};
use crate::clean::Claim;
use crate::kernel::{Cgroup, Kernel, Membership, Root};
use crate::sandbox::channel::{Channel, Log};
use crate::sandbox::error::Error;
use crate::sandbox::fingerprint::{Fingerprint, Part};
use crate::sandbox::program::{Limits, Program};
use crate::sandbox::steps::{Step, Steps, now};
use crate::sandbox::wire::{Answer, CheckOrder, Keep, NetworkOrder, Order, StartOrder};

/// What a sandbox without a function may hold, bytes: its init has less than 1 MiB. A wide bound on purpose (assumed).
const MEMORY_OF_NONE: u64 = 8 << 20;
/// How long the kernel may take to give back what a function held.
const MEMORY_GOES: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) kernel: Box<dyn Kernel>,
    pub(super) config: Config,
    /// Network of the manager: address of the bridge.
    pub(super) gateway: Ipv4Addr,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Held as long as anything of the manager may exist. Dropped after the kernel: fields drop in order.
    pub(super) _claim: Option<Claim>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) statistics: Statistics,
    pub(super) free: VecDeque<u32>,
    pub(super) next: u32,
    pub(super) garbage: VecDeque<Parts>,
    /// Writable layers of functions that are gone, which [`OldLayer::Behind`] takes apart.
    pub(super) layers: Vec<OwnedFd>,
    /// Being destroyed by the worker just now.
    pub(super) destroying: usize,
    pub(super) roots: HashMap<RootKind, VecDeque<Root>>,
    pub(super) wanted: BTreeSet<RootKind>,
    pub(super) networks: VecDeque<Network>,
    pub(super) wants_network: bool,
    pub(super) closing: bool,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_number(&self) -> Result<u32, Error> {
        let mut state = self.state();
        if state.next <= MOST {
            state.next += 1;
            return Ok(state.next - 1);
        }
        // The one that was free longest: the kernel may still be taking its link away.
        state.free.pop_front().ok_or(Error::Full { most: MOST })
    }

    pub(super) fn address(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway.to_bits() + number)
    }

    pub(super) fn network_order(&self, number: u32) -> NetworkOrder {
        NetworkOrder { address: self.address(number), prefix: PREFIX, gateway: self.gateway }
    }

    pub(super) fn create(
        &self,
        parts: &mut Parts,
        program: &Program,
        given: &[BorrowedFd<'_>],
        steps: &mut Steps,
    ) -> Result<(Function, Fingerprint), Error> {
        let kernel = &*self.kernel;
        let number = parts.number;
        let at = |step| move |source| Error::Step { number, step, source };
        let mut since = now();
        parts.cgroup = Some(kernel.make_cgroup(number).map_err(at("make its cgroup"))?);
        let cgroup = parts.cgroup.as_ref().expect("just made");
        since = steps.note(Step::MakeCgroup, since);
        kernel.set_limits(cgroup, &program.limits, None).map_err(at("set its limits"))?;
        since = steps.note(Step::SetLimits, since);

        let pooled = if self.config.network && self.config.mode == Mode::PooledNetns {
            self.take_network()
        } else {
            None
        };
        let own_network = pooled.is_none();
        parts.init = Some(kernel.spawn_init(own_network).map_err(at("spawn its init"))?);
        let init = parts.init.as_ref().expect("just made");
        since = steps.note(Step::SpawnInit, since);
        if self.config.birth == Birth::IntoCgroup {
            kernel.migrate(cgroup, init.pid, Membership::Limits).map_err(at("limit its init"))?;
            since = steps.note(Step::MigrateInit, since);
        }
        let mut order = Order::default();
        let mut before = Vec::new();
        if let Some(network) = pooled {
            order.enter_network = true;
            before.push(network.namespace.try_clone().map_err(at("copy a descriptor"))?);
            parts.network = Some(network);
        } else if self.config.network {
            let namespace = kernel.network_namespace(init).map_err(at("open its network namespace"))?;
            self.link(number, namespace.as_fd()).map_err(at("make its link"))?;
            parts.network = Some(Network { number, namespace });
            steps.note(Step::MakeLink, since);
            order.network = Some(self.network_order(number));
        }
        let mut first = Fingerprint::default();
        if self.used_again() && self.config.resets(Reset::Check) {
            // A new network namespace has the settings of every other: looking at them once more than needed
            // here is what lets the first check be thorough.
            order.check = Some(CheckOrder { settings: true, reset: false, members: true });
            let cgroup = parts.cgroup.as_ref().expect("just made");
            let descriptors: Vec<_> =
                before.iter().map(AsFd::as_fd).chain([cgroup.members.as_fd()]).collect();
            let (answer, _) = self.order(parts, &order, &descriptors, steps)?;
            first = answer.fingerprint.unwrap_or_default();
            let looks = kernel.look(cgroup, &program.limits).map_err(at("look at its cgroup"))?;
            first.parts.push((Part::Cgroup, looks));
            order = Order::default();
            before.clear();
        }
        let function = self.start(parts, (program, given), order, &before, None, steps)?;
        Ok((function, first))
    }

    /// Whether sandboxes are given to other functions.
    pub(super) fn used_again(&self) -> bool {
        matches!(self.config.mode, Mode::Repurpose | Mode::Setns)
    }

    pub(super) fn repurpose(
        &self,
        sandbox: &mut Sandbox,
        program: &Program,
        given: &[BorrowedFd<'_>],
        steps: &mut Steps,
    ) -> Result<(), Error> {
        let kernel = &*self.kernel;
        let number = sandbox.parts.number;
        let at = |step| move |source| Error::Step { number, step, source };
        let mut order = self.reset_order(sandbox.function.take(), false);
        let shrinks =
            |new: Option<u64>, old: Option<u64>| new.is_some_and(|new| old.is_none_or(|old| new < old));
        let mut old = sandbox.limits;
        let limits = if self.config.resets(Reset::Limits) { program.limits } else { old };
        let limits =
            Limits { disk_bytes: program.limits.disk_bytes, log_bytes: program.limits.log_bytes, ..limits };
        let narrower = shrinks(limits.memory_bytes, old.memory_bytes)
            || shrinks(limits.pids.map(u64::from), old.pids.map(u64::from));
        // One that could have changed its cgroup is looked at when it is gone.
        let could_change = order.check.is_some_and(|check| check.settings);
        if narrower || could_change {
            if old.cpu_millis.is_some() {
                // An init in the same group must not wait for processor time that the old function has used up.
                let cgroup = sandbox.parts.cgroup.as_ref().expect("a sandbox has a cgroup");
                let quota = Limits { cpu_millis: limits.cpu_millis, ..old };
                kernel.set_limits(cgroup, &quota, Some(&old)).map_err(at("set its limits"))?;
                old = quota;
            }
            // The old function must go first: it may hold more than the new one is allowed.
            let (answer, _) = self.order(&sandbox.parts, &order, &[], steps)?;
            self.judge(sandbox.parts.number, &sandbox.first, &answer)?;
            if could_change {
                self.judge_cgroup(sandbox, &old)?;
            }
            order = Order::default();
        }
        let since = now();
        let cgroup = sandbox.parts.cgroup.as_ref().expect("a sandbox has a cgroup");
        set_limits_soon(kernel, cgroup, &limits, &old).map_err(at("set its limits"))?;
        steps.note(Step::SetLimits, since);
        sandbox.limits = limits;
        let first = Some(&sandbox.first);
        let function = self.start(&sandbox.parts, (program, given), order, &[], first, steps)?;
        sandbox.function = Some(function);
        self.changed.notify_all();
        if self.config.resets(Reset::Counters) {
            let since = now();
            let cgroup = sandbox.parts.cgroup.as_ref().expect("a sandbox has a cgroup");
            kernel.reset_counters(cgroup).map_err(at("reset its counters"))?;
            sandbox.before = kernel.totals(cgroup).map_err(at("read its counters"))?;
            steps.note(Step::ResetCounters, since);
        }
        Ok(())
    }

    pub(super) fn vacate(&self, sandbox: &mut Sandbox) -> Result<(), Error> {
        let order = self.reset_order(sandbox.function.take(), true);
        let mut steps = Steps::default();
        let (answer, _) = self.order(&sandbox.parts, &order, &[], &mut steps)?;
        sandbox.steps = steps;
        self.judge(sandbox.parts.number, &sandbox.first, &answer)?;
        if order.check.is_none() {
            return Ok(());
        }
        self.judge_cgroup(sandbox, &sandbox.limits)?;
        self.judge_memory(sandbox)
    }

    /// What an init does about the old function, whose channel closes here.
    fn reset_order(&self, function: Option<Function>, thorough: bool) -> Order {
        let settings =
            thorough || function.as_ref().is_some_and(|old| old.confinement.could_change_settings());
        if let Some(function) = function {
            if self.config.resets(Reset::Channel) {
                match self.config.old_layer {
                    OldLayer::Behind => self.state().layers.push(function.writable),
                    OldLayer::Within => drop(function.writable),
                }
            } else {
                // For suites: whatever the function has put into the socket stays there.
                std::mem::forget(function);
            }
        }
        let check = self.config.resets(Reset::Check) && self.config.mode != Mode::Setns;
        let reset = self.config.resets(Reset::Sockets);
        Order {
            kill: self.config.resets(Reset::Kill),
            abandon: !self.config.resets(Reset::Kill),
            check: check.then_some(CheckOrder { settings, reset, members: false }),
            ..Order::default()
        }
    }

    /// Compares with how the sandbox looked at first.
    fn judge(&self, number: u32, first: &Fingerprint, answer: &Answer) -> Result<(), Error> {
        let Some(used) = &answer.fingerprint else { return Ok(()) };
        self.verdict(number, used.differences(first))
    }

    /// Compares limits and settings of the cgroup with what they were and what was set.
    fn judge_cgroup(&self, sandbox: &Sandbox, limits: &Limits) -> Result<(), Error> {
        let parts = &sandbox.parts;
        let cgroup = parts.cgroup.as_ref().expect("a sandbox has a cgroup");
        let looks = self.kernel.look(cgroup, limits);
        let looks = looks.map_err(|source| parts.fault("look at its cgroup", source))?;
        let used = Fingerprint { parts: vec![(Part::Cgroup, looks)] };
        self.verdict(parts.number, used.differences(&sandbox.first))
    }

    /// Waits until the memory of the old function is given back; memory that stays is somebody's hold on it.
    fn judge_memory(&self, sandbox: &Sandbox) -> Result<(), Error> {
        let end = Instant::now() + MEMORY_GOES;
        loop {
            let usage = sandbox.usage()?;
            let shared = if self.config.lends_memory { 0 } else { usage.memory_shared_bytes };
            let held = usage.memory_anonymous_bytes + shared;
            if held <= MEMORY_OF_NONE {
                return Ok(());
            }
            if Instant::now() > end {
                return self.verdict(sandbox.parts.number, vec![Part::Memory]);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Counts what differs; nothing may.
    fn verdict(&self, number: u32, parts: Vec<Part>) -> Result<(), Error> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        for part in &parts {
            *state.statistics.unclean.entry(*part).or_default() += 1;
        }
        Err(Error::Unclean { number, parts })
    }

    /// Gives the init what a start needs, after whatever else `order` says.
    fn start(
        &self,
        parts: &Parts,
        (program, given): (&Program, &[BorrowedFd<'_>]),
        mut order: Order,
        before: &[OwnedFd],
        first: Option<&Fingerprint>,
        steps: &mut Steps,
    ) -> Result<Function, Error> {
        let number = parts.number;
        let at = |step| move |source| Error::Step { number, step, source };
        let keep = self.keep();
        let since = now();
        let kind = self.root_kind(program, keep.mounts && first.is_some());
        let root = self.take_root(kind).map_err(at("build its root"))?;
        steps.note(Step::TakeRoot, since);
        let (channel, theirs) = Channel::new().map_err(at("make its channel"))?;
        let (log, log_theirs) = Log::new(program.limits.log_bytes).map_err(at("make its log"))?;
        let cgroup = parts.cgroup.as_ref().expect("a sandbox has a cgroup");
        let migrations = match self.config.birth {
            Birth::IntoCgroup => Vec::new(),
            Birth::Migrate => self.kernel.member_files(cgroup).map_err(at("open its cgroup"))?,
        };
        let into_cgroup = self.config.birth == Birth::IntoCgroup;
        order.start = Some(StartOrder {
            start: program.start.clone(),
            env: program.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            cwd: program.cwd.clone(),
            hostname: program.hostname.clone(),
            confinement: program.confinement,
            keep,
            into_cgroup,
            migrations: migrations.len(),
            given: given.len(),
            keyring: self.config.resets(Reset::Keyring),
            close_descriptors: self.config.resets(Reset::Descriptors),
        });
        let mut descriptors: Vec<_> = before.iter().map(AsFd::as_fd).collect();
        descriptors.extend([root.tree.as_fd(), theirs.as_fd(), log_theirs.as_fd()]);
        if into_cgroup {
            descriptors.push(cgroup.folder.as_fd());
        }
        descriptors.extend(migrations.iter().map(AsFd::as_fd));
        descriptors.extend(given);
        let ends = Ends::of(&theirs, &log_theirs).map_err(at("look at its channel"))?;
        let (answer, process) = self.order(parts, &order, &descriptors, steps)?;
        if let Some(first) = first {
            // Where it is unclean, the init has started nothing.
            self.judge(number, first, &answer)?;
        }
        let process = process
            .ok_or_else(|| parts.fault("learn its process", io::Error::from_raw_os_error(libc::EPROTO)))?;
        let function = Function {
            process,
            channel,
            log,
            ends,
            writable: root.writable,
            confinement: program.confinement,
        };
        Ok(function)
    }

    fn keep(&self) -> Keep {
        if self.config.mode == Mode::Setns {
            return Keep::ALL;
        }
        Keep {
            mounts: !self.config.resets(Reset::Root),
            ipc: !self.config.resets(Reset::Ipc),
            uts: !self.config.resets(Reset::HostName),
            cgroup: false,
        }
    }

    /// Gives an order; the time that its steps do not explain is that of the messages.
    pub(super) fn order(
        &self,
        parts: &Parts,
        order: &Order,
        descriptors: &[BorrowedFd<'_>],
        steps: &mut Steps,
    ) -> Result<(Answer, Option<OwnedFd>), Error> {
        let init = parts.init.as_ref().expect("a sandbox has an init");
        let began = now();
        let (answer, process) = self
            .kernel
            .order(init, order, descriptors)
            .map_err(|source| parts.fault("talk to its init", source))?;
        let whole = now() - began;
        let inside: u64 = answer.steps.iter().map(|(_, nanoseconds)| nanoseconds).sum();
        let duration = |nanoseconds| Duration::from_nanos(nanoseconds);
        steps.done.extend(answer.steps.iter().map(|(step, time)| (*step, duration(*time))));
        steps.done.push((Step::Message, duration(whole.saturating_sub(inside))));
        match answer.fault {
            None => Ok((answer, process)),
            Some(fault) => {
                let source = fault.source();
                Err(Error::Inside { number: parts.number, step: fault.step, source })
            }
        }
    }

    /// Makes a link; one of the same number that the kernel has not taken away yet goes first.
    pub(super) fn link(&self, number: u32, namespace: BorrowedFd<'_>) -> io::Result<()> {
        match self.kernel.make_link(number, namespace) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.kernel.remove_link(number)?;
                self.kernel.make_link(number, namespace)
            }
            result => result,
        }
    }
}

/// Sets limits; memory of the old function may still be on its way out.
fn set_limits_soon(kernel: &dyn Kernel, cgroup: &Cgroup, limits: &Limits, known: &Limits) -> io::Result<()> {
    const PATIENCE: u32 = 100;
    for _ in 0..PATIENCE {
        match kernel.set_limits(cgroup, limits, Some(known)) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_micros(500));
            }
            result => return result,
        }
    }
    kernel.set_limits(cgroup, limits, Some(known))
}
