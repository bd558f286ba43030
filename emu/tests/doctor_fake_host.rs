//! Checks that read files and ask programs, shown made-up ones.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use emu::doctor::{Host, Report, Status, examine_host};

/// A machine made of files and of programs that only print.
fn examine(files: &[(&str, &str)], programs: &[(&str, &str)]) -> Report {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &Path, text: &str| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    for (name, text) in files {
        write(Path::new(name), text);
    }
    for (name, prints) in programs {
        let path = write(&Path::new("bin").join(name), &format!("#!/bin/sh\necho '{prints}'\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    examine_host(&Host::under(root.path(), vec![root.path().join("bin")]))
}

fn status(report: &Report, facility: &str) -> (&'static str, String) {
    let check = report.get(facility).unwrap();
    (check.status.word(), check.detail.clone())
}

const V1: &str = "1 0 0:1 / /c/cpu rw - cgroup cgroup rw,cpu\n\
                  2 0 0:2 / /c/memory rw - cgroup cgroup rw,memory\n\
                  3 0 0:3 / /c/pids rw - cgroup cgroup rw,pids\n";
const V2: &str = "4 0 0:4 / /c/unified rw - cgroup2 cgroup2 rw\n";

#[test]
fn a_bare_machine_has_findings_but_no_failure() {
    let report = examine(&[], &[]);
    for facility in ["qemu", "criu", "slurm", "chromium", "python", "node", "debootstrap"] {
        assert_eq!(status(&report, facility), ("MISSING", "not installed".into()));
    }
    assert_eq!(status(&report, "cxl").1, "no CXL bus in this kernel");
    assert_eq!(status(&report, "rdma").0, "MISSING");
    assert_eq!(status(&report, "kvm").1, "no /dev/kvm");
    assert_eq!(status(&report, "toolchain").1, "no cargo that runs");
    assert_eq!(report.machine.kernel, "unknown");
    assert_eq!(report.machine.cgroup_version, "none");
}

#[test]
fn controllers_bound_to_cgroup_v1_are_a_fallback() {
    let mounts = format!("{V1}{V2}");
    let report =
        examine(&[("proc/self/mountinfo", &mounts), ("c/unified/cgroup.controllers", "hugetlb\n")], &[]);
    let without = "without cpu, memory, pids: bound to cgroup v1";
    assert_eq!(status(&report, "cgroup2-controllers"), ("DEGRADED", without.into()));
    assert_eq!(status(&report, "cgroup1"), ("OK", "cpu, memory, pids are mounted".into()));
    assert_eq!(report.machine.cgroup_version, "hybrid");
}

#[test]
fn controllers_of_cgroup_v2_make_v1_needless() {
    let report = examine(
        &[("proc/self/mountinfo", V2), ("c/unified/cgroup.controllers", "cpuset cpu io memory pids\n")],
        &[],
    );
    assert_eq!(status(&report, "cgroup2-controllers").0, "OK");
    assert_eq!(status(&report, "cgroup1").0, "OK");
    assert_eq!(report.machine.cgroup_version, "v2");
}

#[test]
fn old_criu_fails_on_a_new_kernel_only() {
    let on = |kernel, version| {
        let report = examine(&[("proc/sys/kernel/osrelease", kernel)], &[("criu", version)]);
        status(&report, "criu").0
    };
    assert_eq!(on("6.18.44\n", "Version: 3.17.1"), "DEGRADED");
    assert_eq!(on("6.1.0-56-amd64\n", "Version: 3.17.1"), "OK");
    assert_eq!(on("6.18.44\n", "Version: 4.1"), "OK");
}

#[test]
fn a_toolchain_that_is_too_old_is_missing() {
    let with = |version| examine(&[], &[("cargo", version), ("rustc", version)]);
    assert_eq!(status(&with("rustc 1.70.0 (x)"), "toolchain").0, "MISSING");
    assert_eq!(status(&with("rustc 1.999.0 (x)"), "toolchain"), ("OK", "Rust 1.999.0".into()));
}

#[test]
fn devices_are_listed_by_name() {
    let report = examine(
        &[
            ("sys/bus/cxl/devices/mem0/x", ""),
            ("sys/bus/dax/devices/dax0.0/x", ""),
            ("sys/devices/system/node/node0/cpulist", "0-1\n"),
            ("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal: 1024 kB\n"),
            ("sys/devices/system/node/node1/cpulist", "\n"),
            ("sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 262144 kB\n"),
            ("sys/class/infiniband/rxe0/parent", "eth0\n"),
            ("proc/sys/kernel/osrelease", "6.1.0\n"),
            ("lib/modules/6.1.0/modules.dep", "kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko: x\n"),
        ],
        &[],
    );
    assert_eq!(status(&report, "cxl"), ("OK", "mem0".into()));
    assert_eq!(status(&report, "dax"), ("OK", "dax0.0".into()));
    assert_eq!(status(&report, "cxl-node"), ("OK", "node1 (256 MiB)".into()));
    assert_eq!(status(&report, "rdma"), ("DEGRADED", "rxe0: software only".into()));
    assert_eq!(status(&report, "rdma-rxe").0, "OK");
}

#[test]
fn what_a_node_of_cxl_memory_lacks_is_told() {
    let node = |files: &[(&str, &str)]| {
        let report = examine(files, &[]);
        let check = report.checks.iter().find(|check| check.facility == "cxl-node").unwrap();
        (check.detail.clone(), format!("{:?}", check.status))
    };
    let (detail, fix) = node(&[]);
    assert_eq!(detail, "no node has memory and no processors");
    assert!(fix.contains("use a machine whose kernel has CXL memory as system memory"), "{fix}");
    let device = ("sys/bus/dax/devices/dax0.0/x", "");
    let (detail, fix) = node(&[device]);
    assert!(detail.ends_with("the kernel has no driver to make one of a DAX device"), "{detail}");
    assert!(fix.contains("modprobe kmem"), "{fix}");
    let (_, fix) = node(&[device, ("sys/bus/dax/drivers/kmem/new_id", "")]);
    assert!(fix.contains("--mode node --online /dev/dax0.0"), "{fix}");
}

#[test]
fn a_machine_is_described_without_naming_it() {
    let report = examine(
        &[
            ("proc/cpuinfo", "model name : Example 9000\nflags : fpu hypervisor\n"),
            ("proc/meminfo", "MemTotal: 1024 kB\nHugepagesize: 2048 kB\nHugePages_Total: 0\n"),
            ("proc/cmdline", "root=/dev/secret mitigations=off token=abc\n"),
            ("sys/devices/system/cpu/online", "0-7\n"),
            ("sys/devices/system/node/online", "0-1\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/x", ""),
            ("sys/class/dmi/id/sys_vendor", "Example Cloud\n"),
            ("etc/os-release", "NAME=x\nPRETTY_NAME=\"Example Linux 1\"\n"),
        ],
        &[],
    );
    let machine = &report.machine;
    assert_eq!(machine.cpu_model, "Example 9000");
    assert_eq!((machine.cores, machine.numa_nodes, machine.memory_bytes), (8, 2, 1 << 20));
    assert_eq!(machine.kernel_options, ["mitigations=off"]);
    assert_eq!(machine.huge_page_sizes_kib, [2048]);
    assert_eq!(machine.virtualisation, "virtual machine (Example Cloud)");
    assert_eq!(machine.os, "Example Linux 1");
    assert_eq!(status(&report, "hugetlb").0, "DEGRADED");
}

#[test]
fn missing_privileges_are_named() {
    let user = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n";
    let report = examine(&[("proc/self/status", user)], &[]);
    assert_eq!(status(&report, "root"), ("MISSING", "effective user 1000".into()));
    assert!(status(&report, "capabilities").1.contains("SYS_ADMIN"));

    let root = "Uid:\t0\t0\t0\t0\nCapEff:\t000001fffeffffff\n";
    let report = examine(&[("proc/self/status", root)], &[]);
    assert_eq!(status(&report, "root").0, "OK");
    let check = report.get("capabilities").unwrap();
    assert!(matches!(check.status, Status::Degraded { .. }), "{check:?}");
}
