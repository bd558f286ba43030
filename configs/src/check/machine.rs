//! `machines/*.toml`: step costs and device constants.

use super::constants::{Constants, Provenance};
use crate::section::{Parse, Section};
use crate::spec::{
    CxlConstants, DramConstants, FaultCosts, Machine, RdmaConstants, RestoreCosts, SandboxCosts,
    StorageConstants, VmCosts,
};
use crate::values;
use traces::{Bytes, Duration};

/// One table of constants being read.
struct Group<'a, 'c, 's> {
    constants: &'a Constants,
    section: Option<Section<'c, 's>>,
    provenance: Provenance,
}

impl Group<'_, '_, '_> {
    fn get<T: Default>(&self, key: &'static str, parse: Parse<T>) -> T {
        self.section
            .as_ref()
            .map(|section| self.constants.get(section, &self.provenance, key, parse))
            .unwrap_or_default()
    }

    fn time(&self, key: &'static str) -> Duration {
        self.get(key, values::duration)
    }

    fn size(&self, key: &'static str) -> Bytes {
        self.get(key, values::size)
    }

    fn finish(self) {
        if let Some(section) = self.section {
            section.finish();
        }
    }
}

/// The machine that a file describes.
pub(crate) fn machine(file: &Section<'_, '_>, constants: &Constants) -> Machine {
    file.optional("title", values::text);
    let group = |key| {
        let section = file.section(key);
        let provenance = section.as_ref().map(Provenance::of).unwrap_or_default();
        Group { constants, section, provenance }
    };

    let sandbox = group("sandbox");
    let sandbox_costs = SandboxCosts {
        runtime: sandbox.time("runtime"),
        netns_create: sandbox.time("netns_create"),
        netns_destroy: sandbox.time("netns_destroy"),
        netns_enter: sandbox.time("netns_enter"),
        rootfs_mount: sandbox.time("rootfs_mount"),
        rootfs_swap: sandbox.time("rootfs_swap"),
        cgroup_create: sandbox.time("cgroup_create"),
        cgroup_migrate: sandbox.time("cgroup_migrate"),
        cgroup_limits: sandbox.time("cgroup_limits"),
        spawn: sandbox.time("spawn"),
        kill: sandbox.time("kill"),
    };
    sandbox.finish();

    let restore = group("restore");
    let restore_costs = RestoreCosts {
        criu_setup: restore.time("criu_setup"),
        criu_page: restore.get("criu_page", values::positive_duration),
        thread: restore.time("thread"),
        attach: restore.time("attach"),
        attach_region: restore.time("attach_region"),
        take_over: restore.time("take_over"),
        prefetch_page: restore.get("prefetch_page", values::positive_duration),
        prefetch_coverage: restore.get("prefetch_coverage", values::share),
        map_region: restore.time("map_region"),
        pages_per_region: restore.get("pages_per_region", values::count),
        zygote_fork: restore.time("zygote_fork"),
        identical: restore.get("identical", values::share),
    };
    restore.finish();

    let fault = group("fault");
    let fault_costs = FaultCosts {
        minor: fault.time("minor"),
        copy_on_write: fault.time("copy_on_write"),
        userfaultfd: fault.time("userfaultfd"),
        major: fault.time("major"),
    };
    fault.finish();

    let dram = group("dram");
    let dram_constants = DramConstants { latency: dram.get("latency", values::positive_duration) };
    dram.finish();

    let cxl = group("cxl");
    let cxl_constants = CxlConstants {
        latency: cxl.get("latency", values::positive_duration),
        bandwidth: cxl.get("bandwidth", values::bandwidth),
        copy_parallelism: cxl.get("copy_parallelism", values::at_least_one),
        queued_lines: cxl.get("queued_lines", values::non_negative),
        ports: cxl.get("ports", values::count),
        capacity: cxl.size("capacity"),
    };
    cxl.finish();

    let rdma = group("rdma");
    let rdma_constants = RdmaConstants {
        read_4k: rdma.get("read_4k", values::positive_duration),
        reads_per_second: rdma.get("reads_per_second", values::read_rate),
        bandwidth: rdma.get("bandwidth", values::bandwidth),
        read_variation: rdma.get("read_variation", values::non_negative),
        capacity: rdma.size("capacity"),
    };
    rdma.finish();

    let vm = group("vm");
    let vm_costs = VmCosts {
        start: vm.time("start"),
        load: vm.time("load"),
        reconnect: vm.time("reconnect"),
        vmm_memory: vm.size("vmm_memory"),
        guest_memory: vm.size("guest_memory"),
        guest_size: vm.size("guest_size"),
        copy_page: vm.get("copy_page", values::positive_duration),
        snapshot_zero: vm.get("snapshot_zero", values::share),
    };
    vm.finish();

    let storage = |key| {
        let group = group(key);
        let constants = StorageConstants {
            read_4k: group.get("read_4k", values::positive_duration),
            bandwidth: group.get("bandwidth", values::bandwidth),
        };
        group.finish();
        constants
    };
    let (ssd, nas) = (storage("ssd"), storage("nas"));

    Machine {
        sandbox: sandbox_costs,
        restore: restore_costs,
        fault: fault_costs,
        dram: dram_constants,
        cxl: cxl_constants,
        rdma: rdma_constants,
        ssd,
        nas,
        vm: vm_costs,
    }
}
