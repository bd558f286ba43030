//! The public side: sandboxes are made, given another function, taken away.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::channel::{Channel, Log};
use super::error::Error;
use super::fingerprint::{Fingerprint, Part};
use super::program::{Confinement, Limits, Program};
use super::steps::{Step, Steps, now};
use super::wire::{Answer, CheckOrder, Keep, NetworkOrder, Order, StartOrder};
use crate::clean::Claim;
use crate::kernel::linux::{Base, Setup};
use crate::kernel::{Cgroup, Init, Kernel, Linux, Membership, Root, Usage};

/// Sandboxes that one manager can have: the addresses of its network but for the network's own, the bridge's and
/// the last.
pub const MOST: u32 = 4096 - 3;
/// Prefix of a manager's network.
const PREFIX: u8 = 20;

/// How isolation is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything is made for each start.
    New,
    /// As `New`, but network namespaces come from a pool.
    PooledNetns,
    /// A used sandbox gets a new root and new cheap namespaces; network namespace and cgroup are kept.
    Repurpose,
    /// As published: every namespace but pid is kept and entered, and only the function's own tree is swapped.
    /// Functions see what their predecessors left; for ablation only.
    Setns,
}

/// How a function process comes into its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// Version 2: it is born there. Version 1: its init is a member since its own birth.
    IntoCgroup,
    /// It is moved there after its birth, in each hierarchy.
    Migrate,
}

/// A step that makes a used sandbox clean. Suites leave one out to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reset {
    /// Kill every process of the old function.
    Kill,
    /// A new root.
    Root,
    /// A new ipc namespace.
    Ipc,
    /// A new uts namespace.
    HostName,
    /// A new session keyring.
    Keyring,
    /// Close descriptors in the new process.
    Descriptors,
    /// Destroy what is left of connections, forget neighbours.
    Sockets,
    /// Compare the network namespace with how it looked at first.
    Check,
    /// Set the new function's limits.
    Limits,
    /// Put counters of the cgroup back.
    Counters,
    /// A new channel.
    Channel,
}

/// How a manager works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Program that calls [`super::enter_if_asked`] first and becomes the nursery.
    pub launcher: PathBuf,
    /// Under all layers.
    pub base: Base,
    /// How isolation is obtained.
    pub mode: Mode,
    /// How functions come into their cgroup.
    pub birth: Birth,
    /// Give sandboxes a network: a veth pair to the manager's bridge. Without it they have a lone loopback.
    pub network: bool,
    /// Roots to keep ready for each set of layers, and network namespaces in [`Mode::PooledNetns`].
    pub ready: usize,
    /// Resets to leave out, for suites.
    pub without: Vec<Reset>,
}

impl Config {
    /// The usual: this very program as launcher, the machine's programs as base.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            launcher: PathBuf::from("/proc/self/exe"),
            base: Base::HostPrograms,
            mode,
            birth: Birth::IntoCgroup,
            network: true,
            ready: 2,
            without: Vec::new(),
        }
    }

    fn resets(&self, reset: Reset) -> bool {
        !self.without.contains(&reset)
    }
}

/// What a manager has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Sandboxes made.
    pub created: u64,
    /// Functions started in a used sandbox.
    pub repurposed: u64,
    /// Sandboxes taken away, for whatever reason.
    pub destroyed: u64,
    /// Used sandboxes that were not as when new, by the part that differed (several may differ in one).
    pub unclean: std::collections::BTreeMap<Part, u64>,
    /// Roots that were ready when one was needed.
    pub roots_ready: u64,
    /// Roots that had to be built on the way.
    pub roots_built: u64,
}

/// Makes and takes away sandboxes. Can be used by many threads at once; each call takes milliseconds at most,
/// but for the end of the manager itself, which waits until everything is gone.
#[derive(Debug)]
pub struct Manager {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// A process in a sandbox.
#[derive(Debug)]
pub struct Function {
    /// Its descriptor: becomes readable when the function ends.
    pub process: OwnedFd,
    /// The manager's end of its descriptors 0 and 1.
    pub channel: Channel,
    /// What it writes to descriptor 2.
    pub log: Log,
    ends: Ends,
    writable: OwnedFd,
    confinement: Confinement,
}

/// Which files the function's ends of its channel and log are, by their numbers in the kernel: how they are told
/// from what it opened itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Inode of its socket.
    pub channel: u64,
    /// Device and inode of its log.
    pub log: (u64, u64),
}

impl Ends {
    fn of(channel: &OwnedFd, log: &OwnedFd) -> io::Result<Self> {
        let (channel, log) = (rustix::fs::fstat(channel)?, rustix::fs::fstat(log)?);
        Ok(Self { channel: channel.st_ino, log: (log.st_dev, log.st_ino) })
    }
}

impl Function {
    /// Its ends of channel and log.
    #[must_use]
    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// The file system of its writable layer, in whose folder `upper` lies what it wrote.
    #[must_use]
    pub fn writable(&self) -> BorrowedFd<'_> {
        self.writable.as_fd()
    }

    /// Its number in the host, while it lives.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        use std::os::fd::AsRawFd;
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.process.as_raw_fd())).ok()?;
        super::init::pid_in(&text)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&at_once)) == Ok(1)
    }

    /// Room left on its writable layer, bytes.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn disk_left(&self) -> io::Result<u64> {
        let state = rustix::fs::fstatfs(&self.writable)?;
        Ok(state.f_bavail * state.f_bsize as u64)
    }
}

/// The isolated place that runs at most one function at a time. Dropping it gives it to the manager to be
/// destroyed.
#[derive(Debug)]
pub struct Sandbox {
    parts: Parts,
    /// What runs in it.
    function: Option<Function>,
    limits: Limits,
    /// How its network namespace looked when new; only where it is to be used again.
    first: Fingerprint,
    /// Counters of the cgroup when the present function started.
    before: Usage,
    steps: Steps,
    shared: Arc<Shared>,
}

impl Sandbox {
    /// Its number, by which its things in the kernel are named.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.parts.number
    }

    /// The function; `None` after [`Manager::vacate`].
    #[must_use]
    pub fn function(&self) -> Option<&Function> {
        self.function.as_ref()
    }

    /// The function, to talk to it.
    pub fn function_mut(&mut self) -> Option<&mut Function> {
        self.function.as_mut()
    }

    /// The steps of the last start.
    #[must_use]
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// The number of the init in the host: its namespaces are under `/proc/PID/ns`.
    #[must_use]
    pub fn init_pid(&self) -> Option<i32> {
        self.parts.init.as_ref().map(|init| init.pid)
    }

    /// Its network namespace, where it has a network.
    #[must_use]
    pub fn network_namespace(&self) -> Option<BorrowedFd<'_>> {
        self.parts.network.as_ref().map(|network| network.namespace.as_fd())
    }

    /// Its address, where it has a network.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.parts.network.as_ref().map(|network| self.shared.address(network.number))
    }

    /// Its directory in cgroup v2.
    #[must_use]
    pub fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.parts.cgroup.as_ref().map(AsFd::as_fd)
    }

    /// Limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What the present function has used: numbers that only grow are counted from its start.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn usage(&self) -> Result<Usage, Error> {
        let mut usage = self.raw_usage()?;
        usage.memory_kills -= self.before.memory_kills.min(usage.memory_kills);
        usage.pids_refused -= self.before.pids_refused.min(usage.pids_refused);
        usage.cpu_held_back -= self.before.cpu_held_back.min(usage.cpu_held_back);
        usage.cpu_us -= self.before.cpu_us.min(usage.cpu_us);
        Ok(usage)
    }

    fn raw_usage(&self) -> Result<Usage, Error> {
        let Some(cgroup) = &self.parts.cgroup else { return Ok(Usage::default()) };
        self.shared.kernel.usage(cgroup).map_err(|source| self.parts.fault("read its usage", source))
    }

    /// Limits that the present function has met.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn limits_met(&self) -> Result<Vec<LimitMet>, Error> {
        let usage = self.usage()?;
        let mut met = Vec::new();
        if usage.memory_kills > 0 {
            met.push(LimitMet::Memory { bytes: self.limits.memory_bytes.unwrap_or(0) });
        }
        if usage.pids_refused > 0 {
            met.push(LimitMet::Pids { pids: self.limits.pids.unwrap_or(0) });
        }
        if usage.cpu_held_back > 0 {
            met.push(LimitMet::Cpu { millis: self.limits.cpu_millis.unwrap_or(0) });
        }
        if let Some(function) = &self.function {
            if function.disk_left().is_ok_and(|left| left == 0) {
                met.push(LimitMet::Disk { bytes: self.limits.disk_bytes });
            }
            if function.log.is_full() {
                met.push(LimitMet::Log { bytes: self.limits.log_bytes });
            }
        }
        Ok(met)
    }
}

/// A limit that a function has met, with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each field is the value of the limit")]
pub enum LimitMet {
    #[error("memory limit of {bytes} bytes: the kernel killed a process")]
    Memory { bytes: u64 },
    #[error("limit of {pids} processes: the kernel refused another")]
    Pids { pids: u32 },
    #[error("processor limit of {millis} thousandths of a core: held back")]
    Cpu { millis: u32 },
    #[error("disk limit of {bytes} bytes: full")]
    Disk { bytes: u64 },
    #[error("log limit of {bytes} bytes: full")]
    Log { bytes: u64 },
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.function.take());
        let parts = std::mem::take(&mut self.parts);
        if !parts.is_empty() {
            self.shared.give_up(parts);
        }
    }
}

/// What a sandbox consists of in the kernel, as far as it has been made.
#[derive(Debug, Default)]
struct Parts {
    number: u32,
    cgroup: Option<Cgroup>,
    init: Option<Init>,
    network: Option<Network>,
}

/// A network namespace with its pair.
#[derive(Debug)]
struct Network {
    number: u32,
    namespace: OwnedFd,
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.number == 0
    }

    fn fault(&self, step: &'static str, source: io::Error) -> Error {
        Error::Step { number: self.number, step, source }
    }
}

#[derive(Debug)]
struct Shared {
    kernel: Box<dyn Kernel>,
    config: Config,
    /// Network of the manager: address of the bridge.
    gateway: Ipv4Addr,
    state: Mutex<State>,
    changed: Condvar,
    /// Held as long as anything of the manager may exist. Dropped after the kernel: fields drop in order.
    _claim: Option<Claim>,
}

#[derive(Debug, Default)]
struct State {
    statistics: Statistics,
    free: VecDeque<u32>,
    next: u32,
    garbage: VecDeque<Parts>,
    /// Being destroyed by the worker just now.
    destroying: usize,
    roots: HashMap<RootKind, VecDeque<Root>>,
    wanted: BTreeSet<RootKind>,
    networks: VecDeque<Network>,
    wants_network: bool,
    closing: bool,
}

/// Roots of one kind are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct RootKind {
    layers: Vec<PathBuf>,
    disk_bytes: u64,
    app_only: bool,
}

impl Manager {
    /// Begins on this machine.
    ///
    /// # Errors
    /// The step that failed, with the kernel's reason; `trenvx doctor` tells what the machine lacks.
    pub fn start(config: Config) -> Result<Self, Error> {
        let claim = Claim::take().map_err(|source| Error::SetUp { step: "claim a label", source })?;
        let gateway = claim.gateway();
        let setup = Setup {
            label: claim.label().clone(),
            launcher: config.launcher.clone(),
            base: config.base.clone(),
            gateway: (gateway, PREFIX),
        };
        let kernel = match Linux::set_up(&setup) {
            Ok(kernel) => kernel,
            Err((step, source)) => {
                claim.clean();
                return Err(Error::SetUp { step, source });
            }
        };
        Ok(Self::with(config, Box::new(kernel), gateway, Some(claim)))
    }

    /// Begins on another kernel, such as a fake one.
    #[must_use]
    pub fn on(config: Config, kernel: Box<dyn Kernel>) -> Self {
        Self::with(config, kernel, Ipv4Addr::new(198, 18, 0, 1), None)
    }

    fn with(config: Config, kernel: Box<dyn Kernel>, gateway: Ipv4Addr, claim: Option<Claim>) -> Self {
        let shared = Arc::new(Shared {
            kernel,
            config,
            gateway,
            state: Mutex::new(State { next: 1, ..State::default() }),
            changed: Condvar::new(),
            _claim: claim,
        });
        let workers = [Shared::destroy_garbage as fn(&Shared), Shared::make_ready]
            .into_iter()
            .map(|work| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || work(&shared))
            })
            .collect();
        Self { shared, workers }
    }

    /// Makes a sandbox and starts a function in it.
    ///
    /// # Errors
    /// The step that failed. What had been made is destroyed.
    pub fn create(&self, program: &Program) -> Result<Sandbox, Error> {
        self.create_with(program, &[])
    }

    /// As [`Self::create`], for a routine that is given descriptors: it finds them at [`super::GIVEN`] and the numbers
    /// after it, to be closed by `exec`.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_with(&self, program: &Program, given: &[BorrowedFd<'_>]) -> Result<Sandbox, Error> {
        let shared = &self.shared;
        let began = now();
        let mut steps = Steps::default();
        let mut parts = Parts { number: shared.take_number()?, ..Parts::default() };
        match shared.create(&mut parts, program, given, &mut steps) {
            Ok((function, first)) => {
                steps.whole = std::time::Duration::from_nanos(now() - began);
                shared.state().statistics.created += 1;
                Ok(Sandbox {
                    parts,
                    function: Some(function),
                    limits: program.limits,
                    first,
                    before: Usage::default(),
                    steps,
                    shared: Arc::clone(shared),
                })
            }
            Err(error) => {
                shared.give_up(parts);
                Err(error)
            }
        }
    }

    /// Ends the function of a sandbox and starts another in it, of the same tenant.
    ///
    /// # Errors
    /// [`Error::Unclean`] if the sandbox is not as when new, or the step that failed. The sandbox is destroyed.
    pub fn repurpose(&self, sandbox: Sandbox, program: &Program) -> Result<Sandbox, Error> {
        self.repurpose_with(sandbox, program, &[])
    }

    /// As [`Self::repurpose`], with descriptors for a routine as in [`Self::create_with`].
    ///
    /// # Errors
    /// As [`Self::repurpose`].
    pub fn repurpose_with(
        &self,
        mut sandbox: Sandbox,
        program: &Program,
        given: &[BorrowedFd<'_>],
    ) -> Result<Sandbox, Error> {
        let began = now();
        let mut steps = Steps::default();
        self.shared.repurpose(&mut sandbox, program, given, &mut steps)?;
        steps.whole = std::time::Duration::from_nanos(now() - began);
        sandbox.steps = steps;
        self.shared.state().statistics.repurposed += 1;
        Ok(sandbox)
    }

    /// Ends the function of a sandbox and makes sure, more thoroughly than there is time for on the way to a
    /// start, that it is as when new: what is done before it goes back to a pool.
    ///
    /// # Errors
    /// As [`Self::repurpose`].
    pub fn vacate(&self, mut sandbox: Sandbox) -> Result<Sandbox, Error> {
        self.shared.vacate(&mut sandbox)?;
        Ok(sandbox)
    }

    /// Gives a sandbox away to be destroyed soon.
    pub fn destroy(&self, sandbox: Sandbox) {
        drop(sandbox);
    }

    /// Destroys a sandbox and waits until nothing of it is left: the steps.
    ///
    /// # Errors
    /// The first step that failed; the others are done nevertheless.
    pub fn destroy_now(&self, mut sandbox: Sandbox) -> Result<Steps, Error> {
        drop(sandbox.function.take());
        let parts = std::mem::take(&mut sandbox.parts);
        let began = now();
        let mut steps = Steps::default();
        let result = self.shared.take_apart(parts, true, &mut steps);
        steps.whole = std::time::Duration::from_nanos(now() - began);
        result.map(|()| steps)
    }

    /// Makes roots for such programs ready, so that their next starts find one.
    pub fn prepare(&self, program: &Program) {
        let mut state = self.shared.state();
        state.wanted.insert(self.shared.root_kind(program, false));
        self.shared.changed.notify_all();
    }

    /// Waits until everything that was given up is destroyed and what is to be ready is ready.
    pub fn settle(&self) {
        let mut state = self.shared.state();
        while !state.garbage.is_empty()
            || state.destroying > 0
            || !state.wanted.is_empty()
            || state.wants_network
        {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.state().statistics.clone()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_number(&self) -> Result<u32, Error> {
        let mut state = self.state();
        if state.next <= MOST {
            state.next += 1;
            return Ok(state.next - 1);
        }
        // The one that was free longest: the kernel may still be taking its link away.
        state.free.pop_front().ok_or(Error::Full { most: MOST })
    }

    fn address(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway.to_bits() + number)
    }

    fn network_order(&self, number: u32) -> NetworkOrder {
        NetworkOrder { address: self.address(number), prefix: PREFIX, gateway: self.gateway }
    }

    fn create(
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
            order.check = Some(CheckOrder { settings: true, reset: false });
            let descriptors: Vec<_> = before.iter().map(AsFd::as_fd).collect();
            let (answer, _) = self.order(parts, &order, &descriptors, steps)?;
            first = answer.fingerprint.unwrap_or_default();
            order = Order::default();
            before.clear();
        }
        let function = self.start(parts, (program, given), order, &before, false, steps)?.0;
        Ok((function, first))
    }

    /// Whether sandboxes are given to other functions.
    fn used_again(&self) -> bool {
        matches!(self.config.mode, Mode::Repurpose | Mode::Setns)
    }

    fn repurpose(
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
        let old = sandbox.limits;
        let limits = if self.config.resets(Reset::Limits) { program.limits } else { old };
        let limits =
            Limits { disk_bytes: program.limits.disk_bytes, log_bytes: program.limits.log_bytes, ..limits };
        let narrower = shrinks(limits.memory_bytes, old.memory_bytes)
            || shrinks(limits.pids.map(u64::from), old.pids.map(u64::from));
        if narrower {
            // The old function must go first: it may hold more than the new one is allowed.
            let (answer, _) = self.order(&sandbox.parts, &order, &[], steps)?;
            self.judge(sandbox, &answer)?;
            order = Order::default();
        }
        let since = now();
        let cgroup = sandbox.parts.cgroup.as_ref().expect("a sandbox has a cgroup");
        set_limits_soon(kernel, cgroup, &limits, &old).map_err(at("set its limits"))?;
        steps.note(Step::SetLimits, since);
        sandbox.limits = limits;
        let (function, answer) = self.start(&sandbox.parts, (program, given), order, &[], true, steps)?;
        self.judge(sandbox, &answer)?;
        sandbox.function = Some(function);
        if self.config.resets(Reset::Counters) {
            let since = now();
            let cgroup = sandbox.parts.cgroup.as_ref().expect("a sandbox has a cgroup");
            kernel.reset_counters(cgroup).map_err(at("reset its counters"))?;
            sandbox.before = kernel.totals(cgroup).map_err(at("read its counters"))?;
            steps.note(Step::ResetCounters, since);
        }
        Ok(())
    }

    fn vacate(&self, sandbox: &mut Sandbox) -> Result<(), Error> {
        let order = self.reset_order(sandbox.function.take(), true);
        let mut steps = Steps::default();
        let (answer, _) = self.order(&sandbox.parts, &order, &[], &mut steps)?;
        sandbox.steps = steps;
        self.judge(sandbox, &answer)
    }

    /// What an init does about the old function, whose channel closes here.
    fn reset_order(&self, function: Option<Function>, thorough: bool) -> Order {
        let settings =
            thorough || function.as_ref().is_some_and(|old| old.confinement.could_change_settings());
        if let Some(function) = function
            && !self.config.resets(Reset::Channel)
        {
            // For suites: whatever the function has put into the socket stays there.
            std::mem::forget(function);
        }
        let check = self.config.resets(Reset::Check) && self.config.mode != Mode::Setns;
        let reset = self.config.resets(Reset::Sockets);
        Order {
            kill: self.config.resets(Reset::Kill),
            abandon: !self.config.resets(Reset::Kill),
            check: check.then_some(CheckOrder { settings, reset }),
            ..Order::default()
        }
    }

    /// Compares with how the sandbox looked at first.
    fn judge(&self, sandbox: &Sandbox, answer: &Answer) -> Result<(), Error> {
        let Some(used) = &answer.fingerprint else { return Ok(()) };
        let parts = used.differences(&sandbox.first);
        if parts.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        for part in &parts {
            *state.statistics.unclean.entry(*part).or_default() += 1;
        }
        Err(Error::Unclean { number: sandbox.parts.number, parts })
    }

    /// Gives the init what a start needs, after whatever else `order` says.
    fn start(
        &self,
        parts: &Parts,
        (program, given): (&Program, &[BorrowedFd<'_>]),
        mut order: Order,
        before: &[OwnedFd],
        used: bool,
        steps: &mut Steps,
    ) -> Result<(Function, Answer), Error> {
        let number = parts.number;
        let at = |step| move |source| Error::Step { number, step, source };
        let keep = self.keep();
        let since = now();
        let kind = self.root_kind(program, keep.mounts && used);
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
        Ok((function, answer))
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
    fn order(
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
        let duration = |nanoseconds| std::time::Duration::from_nanos(nanoseconds);
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
    fn link(&self, number: u32, namespace: BorrowedFd<'_>) -> io::Result<()> {
        match self.kernel.make_link(number, namespace) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.kernel.remove_link(number)?;
                self.kernel.make_link(number, namespace)
            }
            result => result,
        }
    }

    fn root_kind(&self, program: &Program, app_only: bool) -> RootKind {
        RootKind { layers: program.layers.clone(), disk_bytes: program.limits.disk_bytes, app_only }
    }

    fn take_root(&self, kind: RootKind) -> io::Result<Root> {
        let mut state = self.state();
        if let Some(root) = state.roots.get_mut(&kind).and_then(VecDeque::pop_front) {
            state.statistics.roots_ready += 1;
            // Half of them are refilled at once: waking the worker costs as much as a root.
            if state.roots[&kind].len() <= self.config.ready / 2 {
                state.wanted.insert(kind);
                self.changed.notify_all();
            }
            return Ok(root);
        }
        state.statistics.roots_built += 1;
        if self.config.ready > 0 && self.used_again() {
            state.wanted.insert(kind.clone());
            self.changed.notify_all();
        }
        drop(state);
        self.build_root(&kind)
    }

    fn build_root(&self, kind: &RootKind) -> io::Result<Root> {
        if kind.app_only {
            self.kernel.make_app(&kind.layers, kind.disk_bytes)
        } else {
            self.kernel.make_root(&kind.layers, kind.disk_bytes)
        }
    }

    fn take_network(&self) -> Option<Network> {
        let mut state = self.state();
        let network = state.networks.pop_front();
        state.wants_network = true;
        drop(state);
        self.changed.notify_all();
        network
    }

    /// A network namespace for the pool, by an init that only makes it.
    fn build_network(&self) -> Result<Network, Error> {
        let mut parts = Parts { number: self.take_number()?, ..Parts::default() };
        let number = parts.number;
        let at = |step| move |source| Error::Step { number, step, source };
        let mut build = || {
            parts.init = Some(self.kernel.spawn_init(true).map_err(at("spawn its init"))?);
            let init = parts.init.as_ref().expect("just made");
            let namespace = self.kernel.network_namespace(init).map_err(at("open its network namespace"))?;
            self.link(number, namespace.as_fd()).map_err(at("make its link"))?;
            let order = Order { network: Some(self.network_order(number)), ..Order::default() };
            self.order(&parts, &order, &[], &mut Steps::default())?;
            Ok(Network { number, namespace })
        };
        let network = build();
        if let Some(init) = parts.init.take() {
            let _ = self.kernel.end_init(init);
        }
        if network.is_err() {
            self.state().free.push_back(number);
        }
        network
    }

    fn give_up(&self, parts: Parts) {
        self.state().garbage.push_back(parts);
        self.changed.notify_all();
    }

    /// Takes a sandbox apart. `whole`: also waits until the link is gone, which otherwise goes with the network
    /// namespace some time later.
    fn take_apart(&self, parts: Parts, whole: bool, steps: &mut Steps) -> Result<(), Error> {
        let Parts { number, cgroup, init, network } = parts;
        let at = |step| move |source| Error::Step { number, step, source };
        let mut result = Ok(());
        let mut since = now();
        if let Some(init) = init {
            result = self.kernel.end_init(init).map_err(at("end its init"));
            since = steps.note(Step::KillInit, since);
        }
        if let Some(network) = network {
            if whole {
                result = result.and(self.kernel.remove_link(network.number).map_err(at("remove its link")));
                since = steps.note(Step::RemoveLink, since);
            }
            let own = network.number == number;
            if !own {
                self.state().free.push_back(network.number);
            }
        }
        if let Some(cgroup) = cgroup {
            result = result.and(self.kernel.remove_cgroup(cgroup).map_err(at("remove its cgroup")));
            steps.note(Step::RemoveCgroup, since);
        }
        let mut state = self.state();
        state.free.push_back(number);
        state.statistics.destroyed += 1;
        result
    }

    /// Worker: destroys what was given up.
    fn destroy_garbage(&self) {
        let mut state = self.state();
        loop {
            if let Some(parts) = state.garbage.pop_front() {
                state.destroying += 1;
                drop(state);
                // What cannot be removed is found by `clean`.
                let _ = self.take_apart(parts, false, &mut Steps::default());
                state = self.state();
                state.destroying -= 1;
                self.changed.notify_all();
            } else if state.closing {
                return;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Worker: makes roots and networks ready.
    fn make_ready(&self) {
        let target = self.config.ready;
        let mut state = self.state();
        while !state.closing {
            if let Some(kind) = state.wanted.first().cloned() {
                let ready = state.roots.entry(kind.clone()).or_default().len();
                if ready >= target {
                    state.wanted.remove(&kind);
                    self.changed.notify_all();
                    continue;
                }
                drop(state);
                let root = self.build_root(&kind);
                state = self.state();
                match root {
                    Ok(root) => state.roots.entry(kind).or_default().push_back(root),
                    // Whoever needs one will build it, and be told why that fails.
                    Err(_) => {
                        state.wanted.remove(&kind);
                    }
                }
            } else if state.wants_network {
                if state.networks.len() >= target {
                    state.wants_network = false;
                    self.changed.notify_all();
                    continue;
                }
                drop(state);
                let network = self.build_network();
                state = self.state();
                match network {
                    Ok(network) => state.networks.push_back(network),
                    Err(_) => state.wants_network = false,
                }
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.roots.clear();
        state.networks.clear();
    }
}

/// Sets limits; memory of the old function may still be on its way out.
fn set_limits_soon(kernel: &dyn Kernel, cgroup: &Cgroup, limits: &Limits, known: &Limits) -> io::Result<()> {
    const PATIENCE: u32 = 100;
    for _ in 0..PATIENCE {
        match kernel.set_limits(cgroup, limits, Some(known)) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(std::time::Duration::from_micros(500));
            }
            result => return result,
        }
    }
    kernel.set_limits(cgroup, limits, Some(known))
}
