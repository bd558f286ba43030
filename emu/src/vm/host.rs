//! Starts of microVMs by each of the rows that are compared.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::guest::{Parts, Vm};
use super::lazy::{self, GuestPages, Lazily, Served};
use super::machine::{Origin, descriptor};
use super::template::Template;
use super::{Accelerator, Error, Image, Machine, RootDevice, launch, memory};
use crate::pager::working_set::WorkingSet;
use crate::sandbox::{self, Birth, Config, Manager, Mode, Pool, Program, Sandbox, Tenant};

/// How long a clone may take to load the state of its devices and to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Beginning of the kernel that is enough for the loader: its boot sector and real-mode part.
const KERNEL_HEAD: u64 = 64 << 10;
/// Where the VMM gets a userfaultfd from, without a privilege.
const FAULTS: &str = "/dev/userfaultfd";
/// Bytes of entropy that a clone is given.
const ENTROPY: usize = 32;
/// Sandboxes that are kept for VMs to come.
const MOST_IDLE: usize = 64;
/// All VMs of a host are one tenant's.
const OWN: Tenant = 0;
/// Type of machines that boot; templates note its version.
const KIND: &str = "q35";

/// One row of the comparison: how a VM gets its isolation, its memory and its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Upstream Cloud Hypervisor's way: everything new, all guest memory copied, virtio-blk.
    VanillaCh,
    /// REAP's way: memory served page by page from the snapshot, the recorded working set installed beforehand; pooled
    /// network namespaces, virtio-blk.
    ReapPlus,
    /// E2B's way: everything new, memory mapped privately from the snapshot, virtio-blk.
    E2b,
    /// The same with pooled network namespaces.
    E2bPlus,
    /// TrEnv-X without page-cache bypass, for ablation.
    TrenvxVmGuestCache,
    /// TrEnv-X: used sandboxes, born in their cgroup, template memory, virtio-pmem with DAX.
    TrenvxVm,
}

impl Method {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 6] =
        [Self::VanillaCh, Self::ReapPlus, Self::E2b, Self::E2bPlus, Self::TrenvxVmGuestCache, Self::TrenvxVm];

    /// Its name, as that of the simulated system.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::VanillaCh => "vanilla-ch",
            Self::ReapPlus => "reap+",
            Self::E2b => "e2b",
            Self::E2bPlus => "e2b+",
            Self::TrenvxVmGuestCache => "trenvx-vm-guest-cache",
            Self::TrenvxVm => "trenvx-vm",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// How its guests reach their root.
    #[must_use]
    pub fn root(self) -> RootDevice {
        if self == Self::TrenvxVm { RootDevice::Pmem } else { RootDevice::Blk }
    }

    /// Whether it copies all guest memory.
    #[must_use]
    pub fn copies_memory(self) -> bool {
        self == Self::VanillaCh
    }

    /// Whether its guests' memory is served through userfaultfd.
    #[must_use]
    pub fn serves_memory(self) -> bool {
        self == Self::ReapPlus
    }

    /// Whether a VM gets the sandbox of one that ended.
    #[must_use]
    pub fn repurposes(self) -> bool {
        matches!(self, Self::TrenvxVmGuestCache | Self::TrenvxVm)
    }

    /// Isolation, and the way into the cgroup: the rivals migrate, as TrEnv-X's own ablation does.
    fn sandboxes(self) -> (Mode, Birth) {
        match self {
            Self::VanillaCh | Self::E2b => (Mode::New, Birth::Migrate),
            Self::E2bPlus | Self::ReapPlus => (Mode::PooledNetns, Birth::Migrate),
            Self::TrenvxVmGuestCache | Self::TrenvxVm => (Mode::Repurpose, Birth::IntoCgroup),
        }
    }
}

/// A VM that has answered once, and what its start took.
#[derive(Debug)]
pub struct Started {
    /// The VM.
    pub vm: Vm,
    /// The parts of its start.
    pub steps: Steps,
}

/// Parts of a start, in their order.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// Each with its name.
    pub done: Vec<(&'static str, Duration)>,
    /// From the call to the first reply.
    pub whole: Duration,
}

impl Steps {
    fn note(&mut self, name: &'static str, since: &mut Instant) {
        let now = Instant::now();
        self.done.push((name, now - *since));
        *since = now;
    }
}

/// Starts VMs by one method.
#[derive(Debug)]
pub struct Host {
    /// Sandboxes of VMs that ended, vacated. Before the manager: it ends them.
    idle: Mutex<Pool>,
    manager: Manager,
    method: Method,
    image: Image,
    accelerator: Accelerator,
    kernel: File,
    kernel_head: File,
}

impl Host {
    /// Begins. `launcher`: the program whose table of routines has [`super::ROUTINE`]; this very program if none.
    ///
    /// # Errors
    /// If the machine lacks what sandboxes need.
    pub fn start(
        method: Method,
        image: &Image,
        accelerator: Accelerator,
        launcher: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let (mode, birth) = method.sandboxes();
        let mut config = Config { birth, lends_memory: true, ..Config::new(mode) };
        if let Some(launcher) = launcher {
            config.launcher = launcher;
        }
        let kernel = image.open("kernel")?;
        let kernel_head = head(&kernel).map_err(Error::at("read the kernel"))?;
        Ok(Self {
            idle: Mutex::new(Pool::new(MOST_IDLE)),
            manager: Manager::start(config)?,
            method,
            image: image.clone(),
            accelerator,
            kernel,
            kernel_head,
        })
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// What its guests boot.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// This machine's address, as guests reach it.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.manager.gateway()
    }

    /// What runs its guests.
    #[must_use]
    pub fn accelerator(&self) -> &Accelerator {
        &self.accelerator
    }

    /// Makes ready what the method keeps ready: pools, and for those that repurpose a used sandbox.
    ///
    /// # Errors
    /// If a sandbox cannot be made.
    pub fn prepare(&self, machine: &Machine) -> Result<(), Error> {
        self.prepare_many(machine, 1)
    }

    /// The same for `count` VMs that are to be started at once.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn prepare_many(&self, machine: &Machine, count: usize) -> Result<(), Error> {
        let program = self.program(machine)?;
        self.manager.prepare(&program);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while self.method.repurposes() && idle.len() < count.min(MOST_IDLE) {
            idle.put(OWN, self.manager.create_idle()?);
        }
        drop(idle);
        self.manager.settle();
        Ok(())
    }

    /// Boots a guest and waits until its agent has answered.
    ///
    /// # Errors
    /// If it does not come up within `within`.
    pub fn boot(&self, machine: &Machine, within: Duration) -> Result<Started, Error> {
        let began = Instant::now();
        let mut since = began;
        let mut steps = Steps::default();
        let sandbox = self.sandbox(machine)?;
        steps.note("sandbox", &mut since);
        let file = |name, bytes| memory::file(name, bytes).map_err(Error::at("make a file in memory"));
        let parts = Parts {
            machine,
            origin: Origin::Boot,
            accelerator: &self.accelerator,
            kind: KIND,
            image: &self.image,
            memory: file(memory::NAME, machine.memory_bytes())?,
            state: file("trenvx-vm-state", 0)?,
            kernel: &self.kernel,
            faults: None,
        };
        let mut vm = Vm::launch(sandbox, parts)?;
        steps.note("VMM", &mut since);
        vm.ready(within)?;
        steps.note("boot", &mut since);
        vm.ask("ping", json!({}), PATIENCE)?;
        steps.note("first reply", &mut since);
        steps.whole = since - began;
        Ok(Started { vm, steps })
    }

    /// Starts a guest from a template and waits until its agent has answered.
    ///
    /// # Errors
    /// If the template is not for this method, or the guest does not come up.
    pub fn clone(&self, template: &Template) -> Result<Started, Error> {
        if !self.method.serves_memory() {
            return self.start_clone(template, None);
        }
        let working_set = Some(self.working_set(template)?);
        self.start_clone(template, Some(&Lazily { working_set, record: false, latency: None }))
    }

    /// The same with memory that comes when it is touched, whatever the method does otherwise.
    ///
    /// # Errors
    /// As [`Self::clone`], or if this machine does not serve page faults.
    pub fn clone_lazily(&self, template: &Template, how: &Lazily) -> Result<Started, Error> {
        self.start_clone(template, Some(how))
    }

    /// What clones of a template touch up to their first reply: recorded, by one more clone, where nobody has yet.
    ///
    /// # Errors
    /// As [`Self::clone_lazily`].
    pub fn working_set(&self, template: &Template) -> Result<Arc<WorkingSet>, Error> {
        if let Some(known) = template.working_set() {
            return Ok(known);
        }
        let how = Lazily { working_set: None, record: true, latency: None };
        let started = self.start_clone(template, Some(&how))?;
        let served = self.end_served(started.vm)?.unwrap_or_default();
        Ok(template.keep_working_set(served.touched.unwrap_or_default()))
    }

    fn start_clone(&self, template: &Template, lazily: Option<&Lazily>) -> Result<Started, Error> {
        let machine = &template.manifest().machine;
        if machine.root != self.method.root() {
            let why = format!(
                "its root is on {}, and {} has it on {}",
                machine.root.name(),
                self.method.name(),
                self.method.root().name()
            );
            return Err(Error::Refused { name: template.manifest().name.clone(), why });
        }
        let began = Instant::now();
        let mut since = began;
        let mut steps = Steps::default();
        let at = |step: &str| Error::at(step.to_owned());
        let private = lazily.is_some() || !self.method.copies_memory();
        let open = || File::options().read(true).write(true).open(FAULTS);
        let faults = lazily.map(|_| open().map_err(at("open /dev/userfaultfd"))).transpose()?;
        let memory = if lazily.is_some() {
            memory::file(memory::NAME, machine.memory_bytes()).map_err(at("make a file in memory"))?
        } else if private {
            template.memory().map_err(at("open the template's memory"))?
        } else {
            let copy = template.copy_of_memory().map_err(at("copy the template's memory"))?;
            steps.note("copy memory", &mut since);
            copy
        };
        // The image is most often the one that this host boots.
        let other = (template.image().folder != self.image.folder).then(|| template.image().open("kernel"));
        let other =
            other.transpose()?.map(|kernel| head(&kernel)).transpose().map_err(at("read the kernel"))?;
        let kernel_head = other.as_ref().unwrap_or(&self.kernel_head);
        let sandbox = self.sandbox(machine)?;
        steps.note("sandbox", &mut since);
        let parts = Parts {
            machine,
            origin: Origin::State { private },
            accelerator: &self.accelerator,
            kind: &template.manifest().kind,
            image: template.image(),
            memory,
            state: template.state().map_err(at("open the template's state"))?,
            kernel: kernel_head,
            faults,
        };
        let mut vm = Vm::launch(sandbox, parts)?;
        steps.note("VMM", &mut since);
        if machine.root == RootDevice::Pmem {
            vm.read_no_more_than_touched()?;
            steps.note("advice", &mut since);
        }
        if let Some(how) = lazily {
            let source = template.memory().map_err(at("open the template's memory"))?;
            vm.serve(Arc::new(GuestPages::new(source, machine.memory_bytes())), how)?;
            steps.note("page server", &mut since);
        }
        let loaded = ignore_shared(&mut vm).and_then(|()| {
            let from = json!({ "uri": format!("fd:{}", descriptor::STATE) });
            vm.qmp.run("migrate-incoming", from)?;
            vm.qmp.migrated()
        });
        loaded.map_err(|error| vm.explain(error, "while its devices were loaded"))?;
        steps.note("load devices", &mut since);
        vm.qmp.run("cont", json!({})).map_err(|error| vm.explain(error, "when it was to go on"))?;
        wake(&mut vm)?;
        steps.note("first reply", &mut since);
        steps.whole = since - began;
        Ok(Started { vm, steps })
    }

    /// Ends a VM. Its sandbox is kept for the next one where the method does so, if it is as when new.
    ///
    /// # Errors
    /// If something of it cannot be removed.
    pub fn end(&self, vm: Vm) -> Result<(), Error> {
        self.end_served(vm).map(|_| ())
    }

    /// The same, and what of its memory was served, where it was.
    ///
    /// # Errors
    /// As [`Self::end`], or if serving failed.
    pub fn end_served(&self, vm: Vm) -> Result<Option<Served>, Error> {
        let (sandbox, pages) = vm.into_sandbox();
        if self.method.repurposes() {
            match self.manager.vacate(sandbox) {
                Ok(vacated) => self.idle.lock().unwrap_or_else(PoisonError::into_inner).put(OWN, vacated),
                // Destroyed and counted: the VM has ended all the same.
                Err(sandbox::Error::Unclean { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        } else {
            self.manager.destroy_now(sandbox)?;
        }
        pages.map(lazy::Server::finish).transpose()
    }

    fn program(&self, machine: &Machine) -> Result<Program, Error> {
        let out = self.image.folder.parent().unwrap_or(&self.image.folder);
        launch::program(machine, &self.accelerator, out)
    }

    /// A sandbox in which the routine waits for its descriptors.
    fn sandbox(&self, machine: &Machine) -> Result<Sandbox, Error> {
        let program = self.program(machine)?;
        let used = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take(OWN);
        Ok(self.manager.start_in(used, &program, &[])?.0)
    }
}

/// Memory that is shared, or mapped from the template, is not part of the state of devices.
pub(super) fn ignore_shared(vm: &mut Vm) -> Result<(), Error> {
    let wanted = json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] });
    vm.qmp.run("migrate-set-capabilities", wanted).map(|_| ())
}

/// Tells a guest that it is another one now: its clock stood still, and its random numbers would be those of every
/// other clone.
pub(super) fn wake(vm: &mut Vm) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let entropy = entropy().map_err(Error::at("draw random numbers"))?;
    vm.ask("wake", json!({ "unix_ns": now.as_nanos() as u64, "entropy": entropy }), PATIENCE).map(|_| ())
}

fn head(kernel: &File) -> std::io::Result<File> {
    let mut bytes = Vec::new();
    kernel.take(KERNEL_HEAD).read_to_end(&mut bytes)?;
    let head = memory::file("trenvx-vm-kernel", bytes.len() as u64)?;
    std::os::unix::fs::FileExt::write_all_at(&head, &bytes, 0)?;
    memory::seal(&head)?;
    Ok(head)
}

fn entropy() -> std::io::Result<String> {
    let mut bytes = [0; ENTROPY];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_the_names_of_the_simulated_systems() {
        for method in Method::ALL {
            assert_eq!(Method::parse(method.name()), Some(method));
            assert!(
                platform::system::SYSTEMS.iter().any(|system| system.name == method.name()),
                "{}",
                method.name()
            );
        }
        assert_eq!(Method::parse("e2b++"), None);
    }

    #[test]
    fn only_trenvx_bypasses_the_page_cache_and_only_vanilla_copies() {
        let pmem = Method::ALL.into_iter().filter(|method| method.root() == RootDevice::Pmem);
        assert_eq!(pmem.collect::<Vec<_>>(), [Method::TrenvxVm]);
        let copies = Method::ALL.into_iter().filter(|method| method.copies_memory());
        assert_eq!(copies.collect::<Vec<_>>(), [Method::VanillaCh]);
    }
}
