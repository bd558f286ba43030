//! How the cgroup of a sandbox looks, and the texts by which its limits are set.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::{CPU_PERIOD_US, Cgroups, quota_us};
use crate::kernel::Cgroup;
use crate::sandbox::fingerprint::Hash;
use crate::sandbox::program::Limits;

/// A limit in one hierarchy: the controller, its file, what is written, what is read when it is as written.
pub(super) struct Limit {
    pub(super) controller: &'static str,
    pub(super) file: &'static str,
    pub(super) written: String,
    read: String,
}

/// Settings of controllers of version 1 that a sandbox's cgroup has as the kernel makes them.
const SETTINGS_1: [(&str, &[&str]); 3] = [
    (
        "memory",
        &[
            "memory.memsw.limit_in_bytes",
            "memory.soft_limit_in_bytes",
            "memory.kmem.limit_in_bytes",
            "memory.kmem.tcp.limit_in_bytes",
            "memory.swappiness",
            "memory.oom_control",
            "memory.move_charge_at_immigrate",
        ],
    ),
    ("cpu", &["cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.shares", "cpu.idle", "cpu.rt_runtime_us"]),
    ("pids", &[]),
];

/// The same of version 2, of its core and of controllers.
const SETTINGS_2: [&str; 16] = [
    "cgroup.type",
    "cgroup.subtree_control",
    "cgroup.freeze",
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "memory.min",
    "memory.low",
    "memory.high",
    "memory.swap.max",
    "memory.oom.group",
    "cpu.weight",
    "cpu.idle",
    "cpu.max.burst",
    "cpu.uclamp.min",
    "cpu.uclamp.max",
    "io.weight",
];

/// Lines of settings files that count on by themselves.
const COUNTERS: [&str; 2] = ["under_oom ", "oom_kill "];
/// What version 1 says where memory is not limited: the most whole pages below 2^63.
const UNLIMITED: &str = "9223372036854771712";
const PAGE: u64 = 4096;

impl Limit {
    /// Those of `limits`, where `unified` tells whether version 2 has a controller.
    pub(super) fn all(limits: &Limits, unified: impl Fn(&str) -> bool) -> [Self; 3] {
        [memory(limits, unified("memory")), cpu(limits, unified("cpu")), pids(limits)]
    }
}

fn memory(limits: &Limits, unified: bool) -> Limit {
    let (file, none, read_none) =
        if unified { ("memory.max", "max", "max") } else { ("memory.limit_in_bytes", "-1", UNLIMITED) };
    let written = limits.memory_bytes.map_or_else(|| none.to_owned(), |bytes| bytes.to_string());
    // The kernel keeps whole pages.
    let whole = |bytes: u64| (bytes / PAGE * PAGE).to_string();
    let read = limits.memory_bytes.map_or_else(|| read_none.to_owned(), whole);
    Limit { controller: "memory", file, written, read }
}

fn cpu(limits: &Limits, unified: bool) -> Limit {
    let quota = |none: &str| limits.cpu_millis.map_or_else(|| none.to_owned(), |m| quota_us(m).to_string());
    let (file, written) = match unified {
        true => ("cpu.max", format!("{} {CPU_PERIOD_US}", quota("max"))),
        false => ("cpu.cfs_quota_us", quota("-1")),
    };
    Limit { controller: "cpu", file, read: written.clone(), written }
}

fn pids(limits: &Limits) -> Limit {
    let written = limits.pids.map_or_else(|| "max".to_owned(), |pids| pids.to_string());
    Limit { controller: "pids", file: "pids.max", read: written.clone(), written }
}

impl Cgroups {
    /// A hash over limits that are not as set, settings, and the number of groups inside, in every hierarchy.
    pub(in super::super) fn look(&self, cgroup: &Cgroup, limits: &Limits) -> io::Result<u64> {
        let mut hash = Hash::new();
        let unified = |controller: &str| self.hierarchies.controllers.contains(&controller);
        for limit in Limit::all(limits, unified) {
            let Some((folder, _)) = self.folder(limit.controller, cgroup.number) else { continue };
            let found = fs::read_to_string(folder.join(limit.file))?;
            if found.trim() != limit.read {
                hash.add(limit.file.as_bytes());
                hash.add(found.as_bytes());
            }
        }
        for (controller, files) in SETTINGS_1 {
            if let Some((folder, false)) = self.folder(controller, cgroup.number) {
                add(&mut hash, &folder, files);
            }
        }
        add(&mut hash, &self.of(&self.hierarchies.unified, cgroup.number), &SETTINGS_2);
        for place in self.hierarchies.places() {
            // A folder has a name for each folder inside, and two of its own.
            hash.add(&fs::metadata(self.of(place, cgroup.number))?.nlink().to_ne_bytes());
        }
        Ok(hash.0)
    }
}

/// Adds what files of a folder say; kernels lack some of them.
fn add(hash: &mut Hash, folder: &std::path::Path, files: &[&str]) {
    for file in files {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        let steady = text.lines().filter(|line| !COUNTERS.iter().any(|counter| line.starts_with(counter)));
        hash.add(file.as_bytes());
        steady.for_each(|line| hash.add(line.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_and_read_as_the_kernel_has_them() {
        let limits = Limits { memory_bytes: Some(10_000), cpu_millis: Some(500), ..Limits::default() };
        let texts = |limits: &Limits, unified: bool| {
            Limit::all(limits, |_| unified).map(|limit| (limit.file, limit.written, limit.read))
        };
        let as_text =
            |file: &'static str, written: &str, read: &str| (file, written.to_owned(), read.to_owned());
        assert_eq!(
            texts(&limits, false),
            [
                as_text("memory.limit_in_bytes", "10000", "8192"),
                as_text("cpu.cfs_quota_us", "50000", "50000"),
                as_text("pids.max", "256", "256"),
            ]
        );
        let none = Limits { memory_bytes: None, cpu_millis: None, pids: None, ..limits };
        assert_eq!(
            texts(&none, true),
            [
                as_text("memory.max", "max", "max"),
                as_text("cpu.max", "max 100000", "max 100000"),
                as_text("pids.max", "max", "max"),
            ]
        );
    }
}
