//! The Linux implementation of the seam: one file per facility.

mod cgroups;
mod inspect;
mod net;
mod netlink;
mod nursery;
mod roots;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;

pub(crate) use cgroups::{Hierarchies, remove_manager as remove_manager_cgroups};
pub(crate) use inspect::{Inspector, read_again, read_at};
pub(crate) use net::probe as probe_of_links;
pub use roots::Base;

use self::cgroups::Cgroups;
use self::netlink::Netlink;
use self::nursery::Nursery;
use self::roots::Roots;
use super::{Cgroup, Init, Kernel, Membership, Root, Usage};
use crate::sandbox::Label;
use crate::sandbox::program::Limits;
use crate::sandbox::wire::{Answer, At, Fault, NetworkOrder, Order, receive, send};

/// This machine.
#[derive(Debug)]
pub struct Linux {
    label: Label,
    cgroups: Cgroups,
    roots: Roots,
    nursery: Mutex<Option<Nursery>>,
    /// Connection for links in the network namespace of the manager, and the index of the bridge.
    route: Mutex<Netlink>,
    bridge: i32,
}

/// What is needed to begin.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whose everything is.
    pub label: Label,
    /// Program that becomes the nursery when asked.
    pub launcher: PathBuf,
    /// Under all layers.
    pub base: Base,
    /// Address of the bridge, and length of its network's prefix.
    pub gateway: (Ipv4Addr, u8),
    /// How long the nursery and an init may take for one order.
    pub patience: Duration,
}

impl Linux {
    /// Starts the nursery, makes the manager's cgroups, layer and bridge.
    ///
    /// # Errors
    /// The step that failed; nothing is left then but what [`crate::clean`] finds.
    pub fn set_up(setup: &Setup) -> Result<Self, (&'static str, io::Error)> {
        let cgroups = Cgroups::make(&setup.label).map_err(|error| ("make the manager's cgroup", error))?;
        let roots = Roots::make(&setup.label, &setup.base).map_err(|error| ("prepare roots", error))?;
        let nursery =
            Nursery::start(&setup.launcher, setup.patience).map_err(|error| ("start the nursery", error))?;
        cgroups.adopt_nursery(nursery.pid()).map_err(|error| ("move the nursery", error))?;
        let mut route = Netlink::open(libc::NETLINK_ROUTE).map_err(|error| ("open netlink", error))?;
        let (address, prefix) = setup.gateway;
        let bridge = net::make_bridge(&mut route, &setup.label.bridge(), address, prefix)
            .map_err(|error| ("make the bridge", error))?;
        Ok(Self {
            label: setup.label.clone(),
            cgroups,
            roots,
            nursery: Mutex::new(Some(nursery)),
            route: Mutex::new(route),
            bridge,
        })
    }
}

impl Kernel for Linux {
    fn make_cgroup(&self, number: u32) -> io::Result<Cgroup> {
        self.cgroups.make_one(number)
    }

    fn set_limits(&self, cgroup: &Cgroup, limits: &Limits, known: Option<&Limits>) -> io::Result<()> {
        self.cgroups.set_limits(cgroup, limits, known)
    }

    fn reset_counters(&self, cgroup: &Cgroup) -> io::Result<()> {
        self.cgroups.reset_counters(cgroup)
    }

    fn totals(&self, cgroup: &Cgroup) -> io::Result<Usage> {
        Ok(self.cgroups.totals(cgroup))
    }

    fn usage(&self, cgroup: &Cgroup) -> io::Result<Usage> {
        self.cgroups.usage(cgroup)
    }

    fn look(&self, cgroup: &Cgroup, limits: &Limits) -> io::Result<u64> {
        self.cgroups.look(cgroup, limits)
    }

    fn migrate(&self, cgroup: &Cgroup, pid: i32, which: Membership) -> io::Result<()> {
        self.cgroups.migrate(cgroup, pid, which)
    }

    fn member_files(&self, cgroup: &Cgroup) -> io::Result<Vec<OwnedFd>> {
        self.cgroups.member_files(cgroup)
    }

    fn remove_cgroup(&self, cgroup: Cgroup) -> io::Result<()> {
        self.cgroups.remove_one(cgroup)
    }

    fn make_root(&self, layers: &[PathBuf], disk_bytes: u64) -> io::Result<Root> {
        self.roots.build(layers, disk_bytes)
    }

    fn make_app(&self, layers: &[PathBuf], disk_bytes: u64) -> io::Result<Root> {
        self.roots.build_app(layers, disk_bytes)
    }

    fn spawn_init(&self, network_namespace: bool) -> io::Result<Init> {
        let mut nursery = self.nursery.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let gone = || io::Error::from_raw_os_error(libc::EPIPE);
        nursery.as_mut().ok_or_else(gone)?.bear(network_namespace)
    }

    fn network_namespace(&self, init: &Init) -> io::Result<OwnedFd> {
        Ok(std::fs::File::open(format!("/proc/{}/ns/net", init.pid))?.into())
    }

    fn make_link(&self, number: u32, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let mut route = self.route.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        net::make_pair(&mut route, &self.label.link(number), self.bridge, namespace)
    }

    fn remove_link(&self, number: u32) -> io::Result<()> {
        // A connection of its own: removal waits for grace periods, and others want to make links meanwhile.
        let mut route = Netlink::open(libc::NETLINK_ROUTE)?;
        net::remove(&mut route, &self.label.link(number))
    }

    fn order(
        &self,
        init: &Init,
        order: &Order,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<(Answer, Option<OwnedFd>)> {
        send(&init.control, order, descriptors)?;
        let (answer, descriptors) =
            receive::<Answer>(&init.control)?.ok_or_else(|| io::Error::from_raw_os_error(libc::EPIPE))?;
        Ok((answer, descriptors.into_iter().next()))
    }

    fn end_init(&self, init: Init) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&init.process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        wait_for_end(&init.process)
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        let mut nursery = self.nursery.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Ends the nursery, and with it whatever was born there.
        drop(nursery.take());
        drop(nursery);
        // What cannot be removed now is found by `clean`, by its label.
        let _ = self.cgroups.remove_all();
        let mut route = self.route.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = net::remove(&mut route, &self.label.bridge());
        drop(route);
        self.roots.remove();
    }
}

/// Waits until a process has ended.
pub(crate) fn wait_for_end(process: &OwnedFd) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        match poll(&mut [PollFd::new(process, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Inside a new network namespace: settings, addresses, routes.
pub(crate) fn set_up_network(
    inspector: &mut Inspector,
    proc: &OwnedFd,
    network: NetworkOrder,
) -> Result<(), Fault> {
    // Addresses that come by themselves would make every fingerprint different; remembered round-trip times
    // would tell the next function whom the last one talked to.
    for (setting, value) in [("ipv6/conf/eth0/disable_ipv6", "1"), ("ipv4/tcp_no_metrics_save", "1")] {
        let name = format!("sys/net/{setting}");
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
        match rustix::fs::openat(proc, &name, flags, rustix::fs::Mode::empty()) {
            Ok(file) => {
                rustix::io::write(&file, value.as_bytes()).at("write a network setting")?;
            }
            // A kernel without IPv6.
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).at("open a network setting"),
        }
    }
    let NetworkOrder { address, prefix, gateway } = network;
    net::set_up(inspector.route(), address, prefix, gateway).at("set addresses and routes")
}

/// Links of ours in the network namespace of the caller, with whose they are.
pub(crate) fn labelled_links() -> io::Result<Vec<(Label, String)>> {
    let mut route = Netlink::open(libc::NETLINK_ROUTE)?;
    let names = net::names(&mut route)?;
    Ok(names.into_iter().filter_map(|name| Some((Label::of_link(&name)?, name))).collect())
}

/// Removes a link by its name.
pub(crate) fn remove_link(name: &str) -> io::Result<()> {
    net::remove(&mut Netlink::open(libc::NETLINK_ROUTE)?, name)
}
