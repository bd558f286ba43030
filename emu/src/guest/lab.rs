//! Guests on one wire, booted together and gone together.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::accelerator::{self, Choice};
use super::image::{Group, Image, ImageError, find_program};
use super::leftovers::label;
use super::node::{Node, NodeError};
use super::qemu::{Accelerator, CXL_STEP_MIB, CxlMemory, LABELS_MIB, Machine};
use super::switch::{Plug, Switch};

/// What lies behind the CXL devices of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Each guest has a device of its own, empty, gone with the lab.
    Fresh,
    /// All guests have the same device, empty, gone with the lab: one pool for several hosts.
    Shared,
    /// Each guest has a device of its own that keeps its contents, with the namespaces on it, in this folder.
    Kept(PathBuf),
}

/// A lab to boot.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Folder of the guest image.
    pub image: PathBuf,
    /// The `trenvx` program, which is the agent in the guests. They see the host's files read-only.
    pub program: PathBuf,
    /// Where the consoles' logs go; made if it is not there.
    pub folder: PathBuf,
    /// Guests.
    pub nodes: usize,
    /// Processors of each.
    pub cpus: u32,
    /// Memory of each, MiB.
    pub memory_mib: u64,
    /// A CXL memory device of this size in each guest, MiB: a multiple of 256.
    pub cxl: Option<(u64, Backing)>,
    /// An RDMA device in each guest, in software, on the wire between them.
    pub rdma: bool,
    /// The kernel modules that CRIU needs.
    pub criu: bool,
    /// The kernel modules that sandboxes need.
    pub sandboxes: bool,
    /// KVM or TCG.
    pub accelerator: Choice,
    /// How long all guests together may take to answer.
    pub boot_within: Duration,
}

impl Spec {
    /// One small guest.
    #[must_use]
    pub fn new(image: &Path, program: &Path, folder: &Path) -> Self {
        Self {
            image: image.to_owned(),
            program: program.to_owned(),
            folder: folder.to_owned(),
            nodes: 1,
            cpus: 1,
            memory_mib: 1024,
            cxl: None,
            rdma: false,
            criu: false,
            sandboxes: false,
            accelerator: Choice::Auto,
            boot_within: Duration::from_secs(120),
        }
    }
}

/// Why a lab is not there.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// There is nothing to boot, or nothing to boot it with.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// What was asked for cannot be.
    #[error("{0}")]
    Spec(String),
    /// A guest did not come up.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A step failed.
    #[error("cannot {step}: {why}")]
    Step {
        /// What was being done.
        step: String,
        /// Why not.
        why: io::Error,
    },
}

fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
    let step = step.into();
    move |why| LabError::Step { step, why }
}

/// Guests that run. Dropping it switches them off; the kernel kills them when this process ends in any way.
#[derive(Debug)]
pub struct Lab {
    nodes: Vec<Node>,
    accelerator: Accelerator,
    switch: Option<Switch>,
    _keeper: Keeper,
}

impl Lab {
    /// Boots the guests and waits until each answers and its network is up.
    ///
    /// # Errors
    /// If something is missing, a guest does not answer in time, or a step of its set-up fails.
    pub fn boot(spec: &Spec) -> Result<Self, LabError> {
        check(spec)?;
        let image = Image::open(&spec.image)?;
        let program =
            fs::canonicalize(&spec.program).map_err(step(format!("find {}", spec.program.display())))?;
        let qemu = find_program("qemu-system-x86_64", "qemu-system-x86")?;
        // Guests have this machine's programs.
        if spec.nodes > 1 || spec.rdma {
            find_program("ip", "iproute2")?;
        }
        if spec.rdma {
            find_program("rdma", "iproute2")?;
        }
        fs::create_dir_all(&spec.folder).map_err(step(format!("make {}", spec.folder.display())))?;
        let accelerator = accelerator::decide(spec).map_err(step("keep what was found about KVM"))?;

        let mut groups = vec![Group::Base];
        groups.extend(spec.cxl.as_ref().map(|_| Group::Cxl));
        groups.extend(spec.rdma.then_some(Group::Rdma));
        groups.extend(spec.criu.then_some(Group::Criu));
        groups.extend(spec.sandboxes.then_some(Group::Sandboxes));
        let network = spec.nodes > 1 || spec.rdma;
        let (switch, wires) = if network {
            let (switch, wires) = Switch::new(spec.nodes).map_err(step("make the wire between guests"))?;
            (Some(switch), wires)
        } else {
            (None, Vec::new())
        };
        let memories = memories(spec)?;

        let mut starts = Vec::new();
        let mut ends = Vec::new();
        for number in 0..spec.nodes {
            let (ours, theirs) = UnixStream::pair().map_err(step("make a control channel"))?;
            let console = spec.folder.join(format!("node{}.console", number + 1));
            let mut handed: Vec<RawFd> = vec![theirs.as_raw_fd()];
            handed.extend(wires.get(number).map(AsRawFd::as_raw_fd));
            let cxl = memories.as_ref().map(|memories| memories.of(number, &mut handed));
            let machine = Machine {
                label: label(number),
                image: &image,
                program: &program,
                accelerator,
                cpus: spec.cpus,
                memory_mib: spec.memory_mib,
                groups: &groups,
                console: &console,
                control: theirs.as_raw_fd(),
                network: wires.get(number).map(|wire| (number, wire.as_raw_fd())),
                cxl,
            };
            let said = spec.folder.join(format!("node{}.qemu", number + 1));
            let said = File::create(&said).map_err(step(format!("make {}", said.display())))?;
            starts.push((command(&qemu, &machine, handed, said), theirs));
            ends.push((ours, console));
        }
        let (keeper, children) = Keeper::start(starts).map_err(step(format!("start {}", qemu.display())))?;
        let until = Instant::now() + spec.boot_within;
        let mut nodes = Vec::new();
        // A child whose node is never made is killed with the keeper's end.
        for (number, (process, (control, console))) in children.into_iter().zip(ends).enumerate() {
            let left = until.saturating_duration_since(Instant::now());
            nodes.push(Node::wait(number, process, control, &console, accelerator, left)?);
        }
        let lab = Self { nodes, accelerator, switch, _keeper: keeper };
        lab.set_up(spec.rdma)?;
        Ok(lab)
    }

    /// Names and addresses.
    fn set_up(&self, rdma: bool) -> Result<(), LabError> {
        for node in &self.nodes {
            let mut script =
                format!("echo node{} >/proc/sys/kernel/hostname && ip link set lo up", node.number() + 1);
            if self.switch.is_some() {
                let address = Self::address(node.number());
                script +=
                    &format!(" && ip address add {address}/24 dev eth0 && ip link set eth0 mtu 9000 up");
            }
            if rdma {
                script += " && rdma link add rxe0 type rxe netdev eth0";
            }
            node.must(["sh", "-c", &script], Duration::from_secs(60))?;
        }
        Ok(())
    }

    /// The address of guest `number` on the wire. The network is set apart for examples (RFC 5737): it is
    /// nobody's.
    #[must_use]
    pub fn address(number: usize) -> String {
        format!("192.0.2.{}", number + 1)
    }

    /// The guests.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Guest `number`, from 0.
    #[must_use]
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// What runs the guests.
    #[must_use]
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// The plug of guest `number` in the wire between guests, if there is one.
    #[must_use]
    pub fn plug(&self, number: usize) -> Option<&Plug> {
        self.switch.as_ref().map(|switch| switch.plug(number).as_ref())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Only a device whose contents are kept is worth waiting for, and that is written through in any case.
        for node in &self.nodes {
            node.switch_off(Duration::from_secs(3));
        }
    }
}

fn check(spec: &Spec) -> Result<(), LabError> {
    if !(1..=16).contains(&spec.nodes) {
        return Err(LabError::Spec(format!("a lab has 1 to 16 guests, not {}", spec.nodes)));
    }
    if let Some((mib, _)) = &spec.cxl
        && (*mib == 0 || !mib.is_multiple_of(CXL_STEP_MIB))
    {
        return Err(LabError::Spec(format!(
            "a CXL device of {mib} MiB cannot be: take a multiple of {CXL_STEP_MIB} MiB"
        )));
    }
    if spec.program.to_string_lossy().contains(char::is_whitespace) {
        return Err(LabError::Spec(format!(
            "{}: the path of the program has a space, which a kernel's command line cannot carry",
            spec.program.display()
        )));
    }
    Ok(())
}

/// Memory behind CXL devices.
enum Memories {
    /// Memory and labels of each guest, without names.
    Held { of: Vec<(OwnedFd, OwnedFd)>, mib: u64, shared: bool },
    /// Files of each guest.
    Kept { folder: PathBuf, mib: u64 },
}

impl Memories {
    /// What guest `number` has; descriptors that it needs are added to `handed`.
    fn of(&self, number: usize, handed: &mut Vec<RawFd>) -> CxlMemory {
        match self {
            Self::Held { of, mib, shared } => {
                let number = if *shared { 0 } else { number };
                let (memory, labels) = &of[number];
                handed.extend([memory.as_raw_fd(), labels.as_raw_fd()]);
                let path = |fd: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
                CxlMemory { memory: path(memory), labels: path(labels), mib: *mib, serial: number as u64 + 1 }
            }
            Self::Kept { folder, mib } => {
                let path = |what: &str| folder.join(format!("node{}.cxl-{what}", number + 1));
                CxlMemory {
                    memory: path("memory"),
                    labels: path("labels"),
                    mib: *mib,
                    serial: number as u64 + 1,
                }
            }
        }
    }
}

fn memories(spec: &Spec) -> Result<Option<Memories>, LabError> {
    let Some((mib, backing)) = &spec.cxl else { return Ok(None) };
    let mib = *mib;
    if let Backing::Kept(folder) = backing {
        fs::create_dir_all(folder).map_err(step(format!("make {}", folder.display())))?;
        let folder = fs::canonicalize(folder).map_err(step(format!("find {}", folder.display())))?;
        return Ok(Some(Memories::Kept { folder, mib }));
    }
    let shared = *backing == Backing::Shared;
    let memory = |name: &str, mib: u64| -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, mib << 20)?;
        Ok(fd)
    };
    let of = (0..if shared { 1 } else { spec.nodes })
        .map(|_| Ok((memory("cxl-memory", mib)?, memory("cxl-labels", LABELS_MIB)?)))
        .collect::<io::Result<_>>()
        .map_err(step("make the memory of a CXL device"))?;
    Ok(Some(Memories::Held { of, mib, shared }))
}

/// QEMU's command, whose process dies with the thread that starts it and has `handed` open.
fn command(qemu: &Path, machine: &Machine<'_>, handed: Vec<RawFd>, said: File) -> Command {
    let mut command = Command::new(qemu);
    command
        .args(machine.arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        // Ctrl-C at a terminal ends the lab in order, through us.
        .process_group(0);
    let parent = std::process::id();
    // SAFETY: only system calls that are safe between fork and exec; `handed` was allocated before.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
                return Err(io::Error::last_os_error());
            }
            if libc::getppid().cast_unsigned() != parent {
                libc::_exit(1);
            }
            for fd in &handed {
                if libc::fcntl(*fd, libc::F_SETFD, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    command
}

/// The thread that starts the guests. They die with it, so it lives as long as the lab.
#[derive(Debug)]
struct Keeper {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn start(starts: Vec<(Command, UnixStream)>) -> io::Result<(Self, Vec<Child>)> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (to, started) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("lab".into()).spawn(move || {
            let mut children = Vec::new();
            for (mut command, control) in starts {
                match command.spawn() {
                    Ok(child) => children.push(child),
                    Err(error) => {
                        // Those before it die when this thread ends.
                        let _ = to.send(Err(error));
                        return;
                    }
                }
                drop(control);
            }
            if to.send(Ok(children)).is_ok() {
                // It ends with an error when the lab drops its end: that is the sign.
                let _ = stopped.recv();
            }
        })?;
        let keeper = Self { stop: Some(stop), thread: Some(thread) };
        let children = started.recv().map_err(|_| io::Error::other("the thread of the lab ended"))??;
        Ok((keeper, children))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
