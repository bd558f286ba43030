//! What loads, and what it means.

mod common;

use common::Folder;
use configs::spec::{Placement, ServiceTime, WorkloadSpec};
use configs::{Tier, Typed};
use traces::{Bytes, Duration, Pages};

#[test]
fn an_experiment_says_only_what_differs() {
    let experiment = Folder::new()
        .load("systems = [\"criu\", \"t-cxl\"]\nkeep_alive.ttl = \"2 min\"\n[workload.w2]\n", &[])
        .unwrap();
    let labels: Vec<&str> = experiment.points.iter().map(|point| point.label.as_str()).collect();
    assert_eq!(labels, ["criu", "t-cxl"]);
    assert_eq!(experiment.seeds, [1, 2, 3, 4, 5]);
    let spec = &experiment.points[1].spec;
    assert_eq!(spec.system.name, "t-cxl");
    assert_eq!(spec.keep_alive.ttl, Duration::from_secs(120));
    assert_eq!(spec.cluster.memory_cap, Bytes::from_gib(64));
    assert_eq!(spec.workload, WorkloadSpec::W2);
    assert_eq!(spec.placement, Placement::SandboxAware);
    assert_eq!(spec.machine.cxl.latency, Duration::from_nanos(600));
}

#[test]
fn profiles_become_pages_and_service_times() {
    let experiment = Folder::new().load("", &[]).unwrap();
    let spec = &experiment.points[0].spec;
    assert_eq!(spec.default_profile, "plain");
    assert_eq!(spec.profiles["plain"].pages.footprint(), Bytes::from_mib(18).pages());
    assert_eq!(spec.profiles["plain"].file_pages, Pages(5120));
    assert_eq!(spec.service_times["plain"], ServiceTime::LogNormal { median_ms: 40.0, sigma: 0.05 });
    assert_eq!(spec.service_times["steady"], ServiceTime::constant(Duration::from_millis(5)));
}

#[test]
fn a_whole_profile_can_be_the_default() {
    let folder = Folder::new();
    folder.replace("profiles/trenv-functions.toml", "[default]\nprofile = \"plain\"\n", "");
    folder.replace("profiles/trenv-functions.toml", "[steady]", "[default]");
    folder.replace("profiles/trenv-functions.toml", "service = { constant = \"5 ms\" }\n", "");
    let spec = folder.load("", &[]).unwrap().points[0].spec.clone();
    assert_eq!(spec.default_profile, "default");
    assert!(!spec.service_times.contains_key("default"));
}

#[test]
fn tiers_panels_and_sets_lie_over_each_other_in_that_order() {
    let folder = Folder::new();
    let text = r#"
id = "e99"
title = "A test"
question = "Which layer wins?"
systems = ["t-cxl"]
cluster.nodes = 2
[[panel]]
name = "small"
cluster.memory_cap = "8 GiB"
[[panel]]
name = "large"
cluster.memory_cap = "16 GiB"
workload.w2 = {}
[tier.short]
cluster.nodes = 3
seeds = { n = 2 }
"#;
    let seen = |tier, sets: &[&str]| {
        let experiment = folder.load_whole(text, tier, sets).unwrap();
        experiment
            .points
            .iter()
            .map(|point| {
                let cluster = &point.spec.cluster;
                let workload = point.spec.workload.name();
                format!(
                    "{} {} {} {workload} x{}",
                    point.label,
                    cluster.nodes,
                    cluster.memory_cap,
                    experiment.seeds.len()
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(Tier::Kick, &[]), ["small/t-cxl 2 8 GiB w1 x5", "large/t-cxl 2 16 GiB w2 x5"]);
    assert_eq!(seen(Tier::Short, &[]), ["small/t-cxl 3 8 GiB w1 x2", "large/t-cxl 3 16 GiB w2 x2"]);
    assert_eq!(
        seen(Tier::Short, &["cluster.memory_cap=1 GiB", "cluster.nodes=9"]),
        ["small/t-cxl 9 1 GiB w1 x2", "large/t-cxl 9 1 GiB w2 x2"]
    );
}

#[test]
fn choosing_another_alternative_replaces_the_first() {
    let text = "[placement.hash-affinity]\nbound = 1.5\n[workload.zipf]\nfunctions = 10\ninvocations = 1000\nspan = \"1 h\"\nburn_in = \"1 min\"\n";
    let spec = Folder::new().load(text, &["workload.zipf.functions=20"]).unwrap().points[0].spec.clone();
    assert_eq!(spec.placement, Placement::HashAffinity { bound_permille: 1500 });
    let WorkloadSpec::Zipf { functions, invocations, .. } = spec.workload else {
        panic!("{:?}", spec.workload)
    };
    assert_eq!((functions, invocations), (20, 1000));
    let spec = Folder::new().load(text, &["workload=w2"]).unwrap().points[0].spec.clone();
    assert_eq!(spec.workload, WorkloadSpec::W2);
}

#[test]
fn a_sweep_is_every_combination() {
    let text = "systems = [\"criu\", \"t-cxl\"]\n[sweep]\n\"cluster.nodes\" = [1, 2]\n\"override.machine.cxl.latency\" = [\"300 ns\", \"600 ns\"]\n";
    let experiment = Folder::new().load(text, &[]).unwrap();
    let seen: Vec<(String, u32, u64)> = experiment
        .points
        .iter()
        .filter(|point| point.axis("system") == Some("t-cxl"))
        .map(|point| {
            (point.label.clone(), point.spec.cluster.nodes, point.spec.machine.cxl.latency.as_nanos())
        })
        .collect();
    let label =
        |nodes, latency| format!("cluster.nodes={nodes}/override.machine.cxl.latency={latency}/t-cxl");
    assert_eq!(
        seen,
        [
            (label(1, "300 ns"), 1, 300),
            (label(1, "600 ns"), 1, 600),
            (label(2, "300 ns"), 2, 300),
            (label(2, "600 ns"), 2, 600),
        ]
    );
}

#[test]
fn zips_and_lists_are_axes_beside_the_grid() {
    let text = r#"
systems = ["t-cxl"]
[sweep]
"cluster.nodes" = [1, 2]
[[sweep.zip]]
"cluster.cores" = [8, 16]
"cluster.dram" = ["32 GB", "64 GB"]
[[sweep.list]]
"keep_alive.ttl" = "1 min"
"workload" = { w1 = {} }
[[sweep.list]]
"keep_alive.ttl" = "2 min"
"workload" = "w2"
"#;
    let experiment = Folder::new().load(text, &[]).unwrap();
    let seen: Vec<String> = experiment
        .points
        .iter()
        .map(|point| {
            let (cluster, ttl) = (&point.spec.cluster, point.spec.keep_alive.ttl);
            let workload = point.spec.workload.name();
            format!("{} {} {} {ttl} {workload}", cluster.nodes, cluster.cores, cluster.dram.0 / 1_000_000_000)
        })
        .collect();
    let four = |n| {
        ["8 32 1 min w1", "8 32 2 min w2", "16 64 1 min w1", "16 64 2 min w2"].map(|r| format!("{n} {r}"))
    };
    assert_eq!(seen, [four(1), four(2)].concat());
    let label = "cluster.nodes=1/cluster.cores=8/cluster.dram=32 GB/keep_alive.ttl=2 min/w2/t-cxl";
    assert_eq!(experiment.points[1].label, label);
}

#[test]
fn what_is_typed_comes_last_replaces_and_pins() {
    let folder = Folder::new();
    let text = "systems = [\"t-cxl\"]\n[sweep]\n\"cluster.nodes\" = [1, 2]\n\"cluster.cores\" = [8, 16]\n";
    let labels = |sets: &[&str], sweeps: &[&str], zips: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let typed = Typed { sets: words(sets), sweeps: words(sweeps), zips: words(zips) };
        let experiment = folder.load_typed(text, &typed).unwrap();
        assert_eq!(experiment.typed, typed);
        experiment.points.into_iter().map(|point| point.label).collect::<Vec<_>>()
    };
    // --set leaves one value of an axis; --sweep of the same key replaces the file's list.
    assert_eq!(
        labels(&["cluster.nodes=7"], &["cluster.cores=[4]"], &[]),
        ["cluster.nodes=7/cluster.cores=4/t-cxl"]
    );
    assert_eq!(
        labels(
            &["cluster.nodes=1", "cluster.cores=8"],
            &["override.systems.\"t-cxl\".prepopulated=[0, 1]"],
            &["keep_alive.ttl=[\"1 min\", \"2 min\"]", "cluster.memory_cap=[\"1 GiB\", \"2 GiB\"]"]
        ),
        [
            "cluster.cores=8/cluster.nodes=1/override.systems.t-cxl.prepopulated=0/keep_alive.ttl=1 min/cluster.memory_cap=1 GiB/t-cxl",
            "cluster.cores=8/cluster.nodes=1/override.systems.t-cxl.prepopulated=0/keep_alive.ttl=2 min/cluster.memory_cap=2 GiB/t-cxl",
            "cluster.cores=8/cluster.nodes=1/override.systems.t-cxl.prepopulated=1/keep_alive.ttl=1 min/cluster.memory_cap=1 GiB/t-cxl",
            "cluster.cores=8/cluster.nodes=1/override.systems.t-cxl.prepopulated=1/keep_alive.ttl=2 min/cluster.memory_cap=2 GiB/t-cxl",
        ]
    );
}

#[test]
fn points_of_a_sweep_share_their_profiles_and_note_every_constant_once() {
    let text =
        "[sweep]\n\"override.machine.cxl.latency\" = [\"300 ns\", \"600 ns\"]\n\"cluster.nodes\" = [1, 2]\n";
    let experiment = Folder::new().load(text, &[]).unwrap();
    let first = &experiment.points[0].spec.profiles;
    assert!(experiment.points.iter().all(|point| std::sync::Arc::ptr_eq(&point.spec.profiles, first)));
    let latencies: Vec<&str> = experiment
        .constants
        .iter()
        .filter(|note| note.key == "machine.cxl.latency")
        .map(|note| note.value.as_str())
        .collect();
    assert_eq!(latencies, ["300 ns", "600 ns"]);
}

#[test]
fn overrides_change_constants_profiles_and_systems() {
    let text = r#"
systems = ["t-cxl"]
[override.machine.cxl]
latency = "300 ns"
[override.profiles.steady]
threads = 9
[override.systems.t-cxl]
prepopulated = 0
cgroup = "migrate"
"#;
    let experiment = Folder::new().load(text, &[]).unwrap();
    let spec = &experiment.points[0].spec;
    assert_eq!(spec.machine.cxl.latency, Duration::from_nanos(300));
    assert_eq!(spec.profiles["steady"].threads, 9);
    assert_eq!(spec.system.prepopulated, 0);
    assert_eq!(spec.system.cgroup, platform::system::CgroupEntry::Migrate);
    let note = experiment.constants.iter().find(|note| note.key == "machine.cxl.latency").unwrap();
    assert_eq!((note.value.as_str(), note.assumed), ("300 ns", true));
    assert!(note.source.ends_with("e99-test.toml:7"), "{}", note.source);
}

#[test]
fn every_effective_value_has_its_origin() {
    let folder = Folder::new();
    let experiment = folder
        .load("keep_alive.ttl = \"2 min\"\n", &["cluster.nodes=4", "override.machine.cxl.latency=1 us"])
        .unwrap();
    let of = |key: &str| {
        let found =
            experiment.effective.iter().find(|value| value.key == key).unwrap_or_else(|| panic!("no {key}"));
        let origin = found.origin.replace(&format!("{}/", folder.path().display()), "");
        format!("{} = {}  # {origin}", found.key, found.value)
    };
    assert_eq!(of("keep_alive.ttl"), "keep_alive.ttl = \"2 min\"  # experiments/e99-test.toml:4");
    assert_eq!(of("cluster.nodes"), "cluster.nodes = 4  # --set cluster.nodes=4");
    assert!(of("cluster.cores").starts_with("cluster.cores = 64  # base.toml:"));
    assert_eq!(
        of("machine.cxl.latency"),
        "machine.cxl.latency = \"1 us\"  # --set override.machine.cxl.latency=1 us"
    );
    assert!(
        of("machine.dram.latency").starts_with("machine.dram.latency = \"80 ns\"  # machines/paper.toml:")
    );
    assert!(
        of("profiles.plain.threads")
            .starts_with("profiles.plain.threads = 4  # profiles/trenv-functions.toml:")
    );
}

#[test]
fn a_value_of_a_set_is_toml_or_else_a_text() {
    let folder = Folder::new();
    let experiment = folder
        .load(
            "",
            &["systems=[\"criu\"]", "cluster.memory_cap=32 GiB", "seeds=[7, 9]", "output.invocations=true"],
        )
        .unwrap();
    assert_eq!(experiment.points.len(), 1);
    assert_eq!(experiment.points[0].spec.cluster.memory_cap, Bytes::from_gib(32));
    assert_eq!(experiment.seeds, [7, 9]);
    assert!(experiment.points[0].spec.output.invocations);
    let quoted = folder.load("", &["override.systems.\"reap+\".start_slots=1"]).unwrap();
    assert_eq!(quoted.points.iter().find(|p| p.label == "reap+").unwrap().spec.system.start_slots, 1);
}

#[test]
fn the_same_run_has_the_same_canonical_form_wherever_its_data_lies() {
    let folder = Folder::new();
    let canonical = |text: &str| folder.load(text, &[]).unwrap().points[0].spec.canonical();
    let here = canonical("workload.file.path = \"here/a.workload\"\n");
    assert_eq!(here, canonical("workload.file.path = \"there/a.workload\"\n"));
    assert_ne!(here, canonical("workload.file.path = \"here/b.workload\"\n"));
    assert_eq!(canonical("keep_alive.ttl = \"2 min\"\n"), canonical("keep_alive.ttl = \"120 s\"\n"));
}

#[test]
fn what_the_paper_reports_stands_beside_a_figure_in_its_unit() {
    let folder = Folder::new();
    let figure = "systems = [\"criu\", \"t-cxl\"]\n[[figures]]\nkind = \"startup-percentiles\"\nname = \"a\"\ntitle = \"A\"\n";
    let reported = |text: &str| folder.load(&format!("{figure}[[figures.reported]]\n{text}"), &[]);
    let text = "system = \"t-cxl\"\nstatistic = \"p99\"\nvalue = \"13 ms\"\nsource = \"a note\"\n";
    let experiment = reported(text).unwrap();
    let one = &experiment.figures[0].reported[0];
    assert_eq!(
        (one.system.as_str(), one.value, one.text.as_str()),
        ("t-cxl", Some(13.0), "t-cxl p99 13 ms (a note)")
    );
    for (wrong, complaint) in [
        (text.replace("t-cxl", "t-clx"), "did you mean \"t-cxl\"?"),
        (text.replace("\"13 ms\"", "13"), "write it in quotes"),
        (text.replace("13 ms", "13 miles"), "neither a duration nor a size nor a share"),
        (text.replace("system = \"t-cxl\"\n", ""), "of which system?"),
        (text.replace("source = \"a note\"\n", ""), "\"source\" is missing"),
    ] {
        let message = reported(&wrong).unwrap_err().to_string();
        assert!(message.contains(complaint), "{wrong}: {message}");
    }
}
