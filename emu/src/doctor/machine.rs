//! What this machine is: the facts that explain why its figures differ from another's.

use serde::Serialize;

use super::Host;

/// A description without anything that names the machine or its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Model of the first processor.
    pub cpu_model: String,
    /// Microcode of the first processor.
    pub microcode: Option<String>,
    /// Processors that are online, as the kernel counts them.
    pub cores: u64,
    /// Threads per core: on, off, or what else the kernel says.
    pub smt: Option<String>,
    /// Frequency governor of the first processor.
    pub governor: Option<String>,
    /// Memory nodes that are online.
    pub numa_nodes: u64,
    /// Memory that the kernel has.
    pub memory_bytes: u64,
    /// Size of the base page.
    pub page_size_bytes: u64,
    /// Sizes of huge pages.
    pub huge_page_sizes_kib: Vec<u64>,
    /// Processor architecture.
    pub architecture: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Options on the kernel's command line that change measurements; no others.
    pub kernel_options: Vec<String>,
    /// Name of the distribution.
    pub os: String,
    /// `none`, or what kind of virtual machine or container this is.
    pub virtualisation: String,
    /// `v1`, `v2`, `hybrid` or `none`.
    pub cgroup_version: String,
    /// The kernel's clock.
    pub clock_source: Option<String>,
}

/// Prefixes of kernel options that change measurements.
const TELLING_OPTIONS: [&str; 12] = [
    "mitigations=",
    "nosmt",
    "isolcpus=",
    "nohz_full=",
    "rcu_nocbs=",
    "transparent_hugepage=",
    "hugepages",
    "default_hugepagesz=",
    "intel_pstate=",
    "amd_pstate=",
    "idle=",
    "processor.max_cstate=",
];

impl Machine {
    /// Reads the description from `host`.
    #[must_use]
    pub fn describe(host: &Host) -> Self {
        let line = |name: &str| host.read(name).map(|text| text.trim().to_owned());
        Self {
            cpu_model: cpu_model(host),
            microcode: host.read_value("proc/cpuinfo", "microcode"),
            cores: cores(host),
            smt: line("sys/devices/system/cpu/smt/control"),
            governor: line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            numa_nodes: line("sys/devices/system/node/online").map_or(1, |text| count_ranges(&text)),
            memory_bytes: memory_bytes(host),
            page_size_bytes: rustix::param::page_size() as u64,
            huge_page_sizes_kib: huge_page_sizes(host),
            architecture: std::env::consts::ARCH.to_owned(),
            kernel: line("proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            kernel_options: kernel_options(host),
            os: os(host),
            virtualisation: virtualisation(host),
            cgroup_version: cgroup_version(host).to_owned(),
            clock_source: line("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn cpu_model(host: &Host) -> String {
    ["model name", "Processor", "CPU part"]
        .iter()
        .find_map(|key| host.read_value("proc/cpuinfo", key))
        .unwrap_or_else(unknown)
}

fn cores(host: &Host) -> u64 {
    match host.read("sys/devices/system/cpu/online") {
        Some(text) => count_ranges(text.trim()),
        None => std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
    }
}

/// How many numbers a list like `0-3,8` names.
fn count_ranges(text: &str) -> u64 {
    text.split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            Some(last.saturating_sub(first) + 1)
        })
        .sum()
}

fn memory_bytes(host: &Host) -> u64 {
    let value = host.read_value("proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: u64 = value.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    kib * 1024
}

fn huge_page_sizes(host: &Host) -> Vec<u64> {
    let mut sizes: Vec<u64> = host
        .list("sys/kernel/mm/hugepages")
        .iter()
        .filter_map(|name| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok())
        .collect();
    sizes.sort_unstable();
    sizes
}

fn kernel_options(host: &Host) -> Vec<String> {
    let text = host.read("proc/cmdline").unwrap_or_default();
    text.split_whitespace()
        .filter(|option| TELLING_OPTIONS.iter().any(|prefix| option.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

fn os(host: &Host) -> String {
    let text = host.read("etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(unknown, |name| name.trim_matches('"').to_owned())
}

fn virtualisation(host: &Host) -> String {
    let marks = [".dockerenv", "run/.containerenv", "run/systemd/container"];
    let container = marks.iter().any(|mark| host.file(mark).exists());
    let flags = host.read_value("proc/cpuinfo", "flags").unwrap_or_default();
    let hypervisor = flags.split(' ').any(|flag| flag == "hypervisor");
    let machine = match host.read("sys/class/dmi/id/sys_vendor") {
        _ if !hypervisor => "none".to_owned(),
        Some(vendor) => format!("virtual machine ({})", vendor.trim()),
        None => "virtual machine".to_owned(),
    };
    match (container, hypervisor) {
        (false, _) => machine,
        (true, false) => "container".to_owned(),
        (true, true) => format!("container in a {machine}"),
    }
}

fn cgroup_version(host: &Host) -> &'static str {
    match (host.mounts("cgroup").is_empty(), host.mounts("cgroup2").is_empty()) {
        (true, true) => "none",
        (true, false) => "v2",
        (false, true) => "v1",
        (false, false) => "hybrid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_counted() {
        assert_eq!(count_ranges("0-3,8"), 5);
        assert_eq!(count_ranges("0"), 1);
        assert_eq!(count_ranges(""), 0);
    }
}
