//! The checks, and the one table of them.
//!
//! To add one: write a function `fn(&Host) -> Finding` in the file of its group and give it a line of [`ALL`].

mod cgroup1;
mod cgroup2;
mod children;
mod cross_memory;
mod guest;
mod huge;
mod kvm;
mod links;
mod mount_api;
mod namespaces;
mod overlay;
mod pagemap;
mod pidfd;
mod pool;
mod privileges;
mod programs;
mod ptrace;
mod seccomp;
mod set_tid;
mod toolchain;
mod userfaultfd;

use super::report::{Check, Group, Status};
use super::{Host, child, private, tool};

/// What the set-up makes lies with the outputs, so it is looked for where commands put those by default.
const OUT: &str = "out";

/// What a check found: an answer and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) status: Status,
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn ok(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status: Status::Ok, detail }
    }

    pub(super) fn degraded(detail: impl Into<String>, fallback: impl Into<String>) -> Self {
        let (detail, fallback) = (detail.into(), fallback.into());
        Self { status: Status::Degraded { fallback }, detail }
    }

    pub(super) fn missing(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        let (detail, fix) = (detail.into(), fix.into());
        Self { status: Status::Missing { fix }, detail }
    }
}

/// One line of the table: a facility and how to check it.
pub(super) struct Probe {
    pub(super) facility: &'static str,
    group: Group,
    needed_for: &'static str,
    find: fn(&Host) -> Finding,
}

impl Probe {
    /// Runs the check.
    pub(super) fn examine(&self, host: &Host) -> Check {
        let Finding { status, detail } = (self.find)(host);
        Check { facility: self.facility, group: self.group, status, detail, needed_for: self.needed_for }
    }
}

const fn probe(
    facility: &'static str,
    group: Group,
    needed_for: &'static str,
    find: fn(&Host) -> Finding,
) -> Probe {
    Probe { facility, group, needed_for, find }
}

/// The names of all checks, in the order of the report.
pub fn facilities() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|probe| probe.facility)
}

/// Every check, in the order in which it is run and shown. Names are stable: saved reports and tests use them.
#[rustfmt::skip]
pub(super) const ALL: &[Probe] = &[
    probe("root",                 Group::Privileges, "sandboxes, templates",       privileges::root),
    probe("capabilities",         Group::Privileges, "sandboxes, templates",       privileges::capabilities),

    probe("namespace-mount",      Group::Namespaces, "sandboxes",                  namespaces::mount),
    probe("namespace-pid",        Group::Namespaces, "sandboxes, templates",       namespaces::pid),
    probe("namespace-net",        Group::Namespaces, "sandboxes",                  namespaces::net),
    probe("namespace-ipc",        Group::Namespaces, "sandboxes",                  namespaces::ipc),
    probe("namespace-uts",        Group::Namespaces, "sandboxes",                  namespaces::uts),
    probe("namespace-user",       Group::Namespaces, "sandboxes without root",     namespaces::user),
    probe("namespace-cgroup",     Group::Namespaces, "sandboxes",                  namespaces::cgroup),
    probe("namespace-time",       Group::Namespaces, "templates",                  namespaces::time),

    probe("cgroup2",              Group::Cgroups, "sandboxes",                     cgroup2::core),
    probe("cgroup2-controllers",  Group::Cgroups, "sandbox limits",                cgroup2::controllers),
    probe("cgroup1",              Group::Cgroups, "sandbox limits without cgroup v2", cgroup1::limits),
    probe("clone-into-cgroup",    Group::Cgroups, "repurposed starts",             cgroup2::clone_into),
    probe("cgroup-kill",          Group::Cgroups, "repurposed starts",             cgroup2::kill),
    probe("cgroup-freeze",        Group::Cgroups, "template capture",              cgroup2::freeze),

    probe("overlayfs",            Group::Mounts, "sandbox file systems",           overlay::find),
    probe("mount-api",            Group::Mounts, "pooled sandbox file systems",    mount_api::find),

    probe("veth-bridge",          Group::Links, "sandbox networks",                links::veth_bridge),

    probe("clone3-set-tid",       Group::Processes, "templates with threads",      set_tid::find),
    probe("pidfd",                Group::Processes, "page server, sandboxes",      pidfd::open),
    probe("pidfd-getfd",          Group::Processes, "page server",                 pidfd::getfd),
    probe("ptrace",               Group::Processes, "template capture and attach", ptrace::find),
    probe("cross-memory",         Group::Processes, "template capture and attach", cross_memory::find),
    probe("mm-map",               Group::Processes, "template attach",             ptrace::mm_map),
    probe("seccomp",              Group::Processes, "sandboxes",                   seccomp::find),

    probe("userfaultfd",          Group::Memory, "page server",                    userfaultfd::missing_faults),
    probe("userfaultfd-minor",    Group::Memory, "page server, shared pages",      userfaultfd::minor_faults),
    probe("userfaultfd-features", Group::Memory, "page server",                    userfaultfd::features),
    probe("userfaultfd-device",   Group::Memory, "page server without root",       userfaultfd::device),
    probe("pagemap-scan",         Group::Memory, "template capture, write tracking", pagemap::scan),
    probe("transparent-huge",     Group::Memory, "template store",                 huge::transparent),
    probe("tmpfs-huge",           Group::Memory, "template store",                 huge::tmpfs),
    probe("hugetlb",              Group::Memory, "template store",                 huge::hugetlb),

    probe("kvm",                  Group::VirtualMachines, "microVMs",              kvm::find),
    probe("qemu",                 Group::VirtualMachines, "microVMs, guest lab",   programs::qemu),
    probe("guest-kernel",         Group::VirtualMachines, "guest lab",             guest::kernel),
    probe("guest-cxl",            Group::VirtualMachines, "guest lab, CXL tier",   guest::cxl),
    probe("guest-rdma",           Group::VirtualMachines, "guest lab, RDMA tier",  guest::rdma),

    probe("cxl",                  Group::PoolDevices, "CXL tier",                  pool::cxl),
    probe("dax",                  Group::PoolDevices, "CXL tier",                  pool::dax),
    probe("cxl-node",             Group::PoolDevices, "CXL tier",                  pool::node),
    probe("rdma",                 Group::PoolDevices, "RDMA tier",                 pool::rdma),
    probe("rdma-rxe",             Group::PoolDevices, "RDMA tier without a network card for it", pool::rxe),

    probe("criu",                 Group::Tools, "the CRIU baseline",               programs::criu),
    probe("slurm",                Group::Tools, "sweeps on a cluster",             programs::slurm),
    probe("gnu-parallel",         Group::Tools, "sweeps over ssh",                 programs::parallel),
    probe("chromium",             Group::Tools, "browser agents",                  programs::chromium),
    probe("python",               Group::Tools, "benchmark functions, notebooks",  programs::python),
    probe("python-venv",          Group::Tools, "benchmark functions",             programs::python_venv),
    probe("node",                 Group::Tools, "benchmark functions",             programs::node),
    probe("debootstrap",          Group::Tools, "guest and sandbox roots",         programs::debootstrap),
    probe("toolchain",            Group::Tools, "building trenvx",                 toolchain::find),
];
