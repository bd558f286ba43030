//! Devices that hold pool memory. Listing them is all that is harmless.

use super::{Finding, Host};
use crate::pool::node::{MemoryNode, memory_nodes};

const SIMULATED: &str = "until then use emulated devices (scripts/setup --guest, trenvx emu guest), local memory as a stand-in, or the simulator";

/// Devices on the CXL bus.
pub(super) fn cxl(host: &Host) -> Finding {
    let devices = host.list("sys/bus/cxl/devices");
    if devices.iter().any(|name| name.starts_with("mem")) {
        return Finding::ok(devices.join(" "));
    }
    let detail = if !devices.is_empty() {
        format!("a CXL bus without memory devices ({})", devices.join(" "))
    } else if host.file("sys/bus/cxl").exists() {
        "a CXL bus without devices".to_owned()
    } else {
        "no CXL bus in this kernel".to_owned()
    };
    Finding::missing(detail, format!("use a machine with CXL memory; {SIMULATED}"))
}

/// Memory devices that programs can map.
pub(super) fn dax(host: &Host) -> Finding {
    let devices = host.list("sys/bus/dax/devices");
    if !devices.is_empty() {
        return Finding::ok(devices.join(" "));
    }
    let detail = if host.file("sys/bus/dax").exists() {
        "a DAX bus without devices"
    } else {
        "no DAX bus in this kernel"
    };
    let fix = "make one of CXL or persistent memory (ndctl create-namespace, daxctl reconfigure-device)";
    Finding::missing(detail, format!("{fix}; {SIMULATED}"))
}

/// Memory on nodes without processors: CXL memory that the kernel has made system memory.
pub(super) fn node(host: &Host) -> Finding {
    let nodes = memory_nodes(&host.file("sys/devices/system/node"));
    if nodes.is_empty() {
        let none = "no node has memory and no processors";
        if host.list("sys/bus/dax/devices").is_empty() {
            let fix = "use a machine whose kernel has CXL memory as system memory";
            return Finding::missing(none, format!("{fix}; {SIMULATED}"));
        }
        if !host.file("sys/bus/dax/drivers/kmem").exists() {
            let detail = format!("{none}, and the kernel has no driver to make one of a DAX device");
            return Finding::missing(detail, format!("modprobe kmem (CONFIG_DEV_DAX_KMEM); {SIMULATED}"));
        }
        let fix =
            "give the kernel a device (trenvx emu pool device --mode node --online /dev/dax0.0 --mount DIR)";
        return Finding::missing(none, format!("{fix}; {SIMULATED}"));
    }
    let text = |node: &MemoryNode| format!("node{} ({} MiB)", node.number, node.bytes >> 20);
    Finding::ok(nodes.iter().map(text).collect::<Vec<_>>().join(" "))
}

/// Devices that can do RDMA.
pub(super) fn rdma(host: &Host) -> Finding {
    let devices = host.list("sys/class/infiniband");
    if devices.is_empty() {
        let fix = "use a machine with an RDMA network card, or add a software one (rdma link add)";
        return Finding::missing("no RDMA device", format!("{fix}; {SIMULATED}"));
    }
    let software = |name: &String| host.file("sys/class/infiniband").join(name).join("parent").exists();
    if devices.iter().all(software) {
        let detail = format!("{}: software only", devices.join(" "));
        return Finding::degraded(detail, "software RDMA: true in function, not in time");
    }
    Finding::ok(devices.join(" "))
}

/// The kernel's software RDMA device, loaded or loadable.
pub(super) fn rxe(host: &Host) -> Finding {
    if host.file("sys/module/rdma_rxe").exists() {
        return Finding::ok("loaded");
    }
    let release = host.read("proc/sys/kernel/osrelease").unwrap_or_default();
    let folder = format!("lib/modules/{}", release.trim());
    for list in ["modules.dep", "modules.builtin"] {
        let listed = host.read(&format!("{folder}/{list}"));
        if listed.is_some_and(|text| text.contains("/rdma_rxe.ko")) {
            return Finding::ok("not loaded, can be (modprobe rdma_rxe)");
        }
    }
    Finding::missing("no such module for this kernel", format!("use a kernel with rdma_rxe; {SIMULATED}"))
}
