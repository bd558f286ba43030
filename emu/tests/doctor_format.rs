//! The saved form and the table of a report, whole: other tools read the one, people the other.

use emu::doctor::{Check, Group, Machine, Report, Status};

fn report() -> Report {
    let machine = Machine {
        cpu_model: "Example 9000".into(),
        microcode: Some("0x1".into()),
        cores: 2,
        smt: None,
        governor: Some("performance".into()),
        numa_nodes: 1,
        memory_bytes: 24 << 30,
        page_size_bytes: 4096,
        huge_page_sizes_kib: vec![2048],
        architecture: "x86_64".into(),
        kernel: "6.18.0".into(),
        kernel_options: vec!["mitigations=auto".into()],
        os: "Example Linux 1".into(),
        virtualisation: "none".into(),
        cgroup_version: "hybrid".into(),
        clock_source: Some("tsc".into()),
    };
    let check = |facility, group, status, detail: &str, needed_for| Check {
        facility,
        group,
        status,
        detail: detail.into(),
        needed_for,
    };
    let fallback = "TCG (software emulation)".into();
    let fix = "use a machine with CXL memory; until then use local memory as a stand-in".into();
    let checks = vec![
        check("overlayfs", Group::Mounts, Status::Ok, "mounted", "sandbox file systems"),
        check("kvm", Group::VirtualMachines, Status::Degraded { fallback }, "opens", "microVMs"),
        check("cxl", Group::PoolDevices, Status::Missing { fix }, "no bus", "CXL tier"),
    ];
    Report::new(machine, checks)
}

#[test]
fn the_saved_form_is_stable() {
    assert_eq!(
        report().to_json(),
        r#"{
  "format": 1,
  "machine": {
    "cpu_model": "Example 9000",
    "microcode": "0x1",
    "cores": 2,
    "smt": null,
    "governor": "performance",
    "numa_nodes": 1,
    "memory_bytes": 25769803776,
    "page_size_bytes": 4096,
    "huge_page_sizes_kib": [
      2048
    ],
    "architecture": "x86_64",
    "kernel": "6.18.0",
    "kernel_options": [
      "mitigations=auto"
    ],
    "os": "Example Linux 1",
    "virtualisation": "none",
    "cgroup_version": "hybrid",
    "clock_source": "tsc"
  },
  "checks": [
    {
      "facility": "overlayfs",
      "group": "mounts",
      "status": "ok",
      "detail": "mounted",
      "needed_for": "sandbox file systems"
    },
    {
      "facility": "kvm",
      "group": "virtual_machines",
      "status": "degraded",
      "fallback": "TCG (software emulation)",
      "detail": "opens",
      "needed_for": "microVMs"
    },
    {
      "facility": "cxl",
      "group": "pool_devices",
      "status": "missing",
      "fix": "use a machine with CXL memory; until then use local memory as a stand-in",
      "detail": "no bus",
      "needed_for": "CXL tier"
    }
  ]
}
"#
    );
}

#[test]
fn the_table_is_aligned_and_wrapped() {
    assert_eq!(
        report().to_table(90),
        "\
processor  Example 9000 (x86_64), 2 cores
memory     24.0 GiB, 1 NUMA node(s)
pages      4 KiB, 2 MiB
system     Example Linux 1, Linux 6.18.0, mitigations=auto
virtual    none
cgroups    hybrid
settings   governor performance, microcode 0x1, clock tsc

mounts
OK        overlayfs  mounted                                    sandbox file systems

virtual machines
DEGRADED  kvm        opens                                      microVMs
                     instead: TCG (software emulation)

pool devices
MISSING   cxl        no bus                                     CXL tier
                     fix: use a machine with CXL memory; until
                     then use local memory as a stand-in

1 OK, 1 degraded, 1 missing
"
    );
}

#[test]
fn a_test_that_lacks_a_facility_learns_why() {
    let report = report();
    assert_eq!(report.reason_to_skip(&["overlayfs"]), None);
    assert_eq!(
        report.reason_to_skip(&["overlayfs", "kvm", "warp"]).as_deref(),
        Some("kvm is degraded (opens); warp: no such check")
    );
    assert_eq!(report.get("cxl").map(|check| check.status.word()), Some("MISSING"));
    assert_eq!(report.get("warp"), None);
}
