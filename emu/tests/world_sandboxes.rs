//! A small workload on real sandboxes: real functions in the base image where the set-up has made them, else the
//! small function of the tests.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::NEEDS;
use configs::{Experiment, Tier, WorldKind};
use emu::doctor::skip_without;
use emu::functions::Places;
use emu::sandbox::{Base, Limits, Program};
use emu::world::{Catalog, EmulatedWorld, Installed, Listed, Real, control_config, fit, replay};
use platform::memory::MemoryClass;
use platform::records::{Outcome, StartKind};
use runs::{Options, Plan, Store, World};
use serde_json::json;
use traces::{Bytes, Duration, Function, FunctionId, Instant, Invocation, Workload};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// `hello-world` and `json-serde`, or what stands for them.
fn catalog() -> Box<dyn Catalog> {
    let places = Places { functions: repository().join("emu/functions"), out: repository().join("out") };
    let installed = Installed(places);
    if installed.find("json-serde", 0).is_ok() && installed.find("hello-world", 0).is_ok() {
        return Box::new(installed);
    }
    eprintln!("no base image or no layers in out/: the functions are the tests' own");
    let input = json!({ "action": "echo", "with": 1 });
    let native = Real { program: Program::call("serve", [""; 0]), input, expect: None };
    let functions = ["hello-world", "json-serde"].map(|name| (name.to_owned(), native.clone()));
    Box::new(Listed { base: Base::HostPrograms, functions: BTreeMap::from(functions) })
}

fn world() -> EmulatedWorld {
    EmulatedWorld { launcher: PathBuf::from(env!("CARGO_BIN_EXE_trenvx-function")), catalog: catalog() }
}

/// Two bursts: three calls of `json-serde`, then, when those have ended, three of `hello-world`.
fn workload() -> Workload {
    let function = |name: &str| Function {
        name: name.to_owned(),
        tenant: "one".to_owned(),
        profile: None,
        memory: Some(Bytes::from_mib(128)),
    };
    let at = |ms, function| {
        let arrival = Instant::ZERO + Duration::from_millis(ms);
        Invocation::new(arrival, FunctionId(function), Duration::from_millis(1))
    };
    Workload {
        name: "two bursts".to_owned(),
        functions: vec![function("json-serde"), function("hello-world")],
        // At one instant: a fast function must not be through before the next call of it comes.
        invocations: vec![at(0, 0), at(0, 0), at(0, 0), at(6000, 1), at(6000, 1), at(6000, 1)].into(),
        span: Duration::from_secs(8),
        ..Workload::default()
    }
}

fn experiment(folder: &Path, sets: &[&str]) -> Experiment {
    let file = folder.join("two.workload");
    traces::binary::write(&file, &workload()).unwrap();
    let text = format!(
        "base = {:?}\nid = \"t1\"\ntitle = \"two bursts\"\nquestion = \"do they run?\"\nworlds = [\"emu\"]\nseeds = [1]\n\
         [workload.file]\npath = {:?}\n[emu]\nboot = true\nsystems = [\"faasd\", \"t-reuse-only\", \"t-reuse+cgroup\"]\n\
         [override.systems.t-reuse-only]\nprepopulated = 1\n[override.systems.\"t-reuse+cgroup\"]\nprepopulated = 1\n\
         [[figures]]\nkind = \"start-kinds\"\nname = \"start-kinds\"\ntitle = \"starts\"\n",
        repository().join("configs/base.toml"),
        file,
    );
    // Machine and profiles are named relative to the base.
    let path = folder.join("t1.toml");
    std::fs::write(&path, text).unwrap();
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    configs::load(&path, Tier::Kick, &sets).unwrap_or_else(|error| panic!("{error}")).in_world(WorldKind::Emu)
}

/// One run at a time has its processes in this one's groups.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Goal: the three systems start functions as they are meant to, answers are right, records are whole, decisions come
/// out again from the store, nothing is left. Method: through the store, as the command does it.
#[test]
fn three_systems_run_on_real_sandboxes() {
    if skip_without(NEEDS) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(folder.path(), &[]);
    let plan = Plan::new(experiment);
    let store = Store::open(folder.path()).unwrap();
    let options = Options { jobs: 1, progress: false, ..Options::default() };
    let outcome = runs::execute(&plan, folder.path(), &store, &world(), &options).unwrap();
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
    for done in &outcome.done {
        let label = &done.label;
        let record = store.load(&done.key).unwrap().record;
        let ended =
            |outcome: Outcome| record.functions.iter().map(|f| f.outcomes[outcome as usize]).sum::<u64>();
        assert_eq!(ended(Outcome::Completed), 6, "{label}: {:?}", record.warnings);
        let started = |kind: StartKind| record.functions.iter().map(|f| f.starts[kind as usize]).sum::<u64>();
        let starts = [StartKind::Cold, StartKind::Repurposed, StartKind::Restored].map(started);
        if label == "faasd" {
            assert_eq!(starts, [6, 0, 0], "{label}");
        } else {
            // One of the first burst in the prepopulated sandbox, and all of the second in those of the first.
            assert_eq!(starts, [2, 4, 0], "{label}");
            let booted = record.warnings.iter().any(|warning| warning.starts_with("state booted: t-reuse"));
            assert!(booted, "{:?}", record.warnings);
        }
        assert_eq!(record.lateness.count(), 6, "{label}");
        let memory = |class| record.memory.peak.get(class);
        assert!(memory(MemoryClass::InstancePrivate) > Bytes(1 << 18), "{label}: {:?}", record.memory.peak);
        assert!(memory(MemoryClass::NodeShared) > Bytes::ZERO, "{label}");

        let spec = &plan.point(done.job).spec;
        let fitted = fit(&workload(), spec.emu.as_ref().unwrap()).unwrap();
        assert!(record.decisions.len() >= 12);
        replay(control_config(spec, &fitted, done.job.seed), &record.decisions)
            .unwrap_or_else(|differs| panic!("{label}: {differs}"));
    }
    assert_eq!(outcome.done.len(), 3);
    let left = emu::clean::clean().unwrap();
    let own = format!("{}", std::process::id());
    assert!(left.failed.is_empty() && !left.removed.iter().any(|thing| thing.contains(&own)), "{left:?}");
    assert!(!left.living.iter().any(|label| label.id().contains(&own)), "{left:?}");
}

/// Goal: an idle sandbox whose init is dead costs nobody's call; the start is recorded as what it was. Method: the only
/// prepopulated sandbox's init is killed before the only call arrives.
#[test]
fn a_dead_idle_sandbox_costs_no_call() {
    if skip_without(NEEDS) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let mut workload = workload();
    workload.invocations = vec![Invocation::new(
        Instant::ZERO + Duration::from_secs(5),
        FunctionId(1),
        Duration::from_millis(1),
    )]
    .into();
    let experiment = experiment(folder.path(), &[]);
    let reuse = experiment.points.iter().find(|point| point.label == "t-reuse-only").unwrap();
    let record = std::thread::scope(|scope| {
        let killer = scope.spawn(kill_the_init);
        let record = world().run(&reuse.spec, &workload, 1).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(killer.join().unwrap(), 1, "no init was killed");
        record
    });
    let ended = |outcome: Outcome| record.functions.iter().map(|f| f.outcomes[outcome as usize]).sum::<u64>();
    assert_eq!(ended(Outcome::Completed), 1, "{:?}", record.warnings);
    let started = |kind: StartKind| record.functions.iter().map(|f| f.starts[kind as usize]).sum::<u64>();
    assert_eq!([StartKind::Cold, StartKind::Repurposed].map(started), [1, 0]);
    let said = record.warnings.join("\n");
    assert!(
        said.contains("1 sandboxes could not be used again") && said.contains("talk to its init"),
        "{said}"
    );
}

/// Kills the inits of this process's manager once they have been there for a while; how many.
fn kill_the_init() -> usize {
    let own = format!("trenvx-{:x}", std::process::id());
    let parent = |pid: i32| -> i32 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap_or_default();
        line.trim().parse().unwrap_or(0)
    };
    let inits = || -> Vec<i32> {
        let found = emu::clean::find().unwrap().into_values().flatten();
        let groups = found.filter_map(|thing| Some(PathBuf::from(thing.strip_prefix("cgroup ")?)));
        let ours = groups
            .filter(|group| group.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&own)));
        let lists = ours.filter_map(|group| std::fs::read_to_string(group.join("inits/cgroup.procs")).ok());
        let members: Vec<i32> = lists
            .flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        // All but the nursery are its children.
        members.iter().copied().filter(|pid| members.contains(&parent(*pid))).collect()
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while inits().is_empty() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // It is vacated first.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let inits = inits();
    for init in &inits {
        let pid = rustix::process::Pid::from_raw(*init).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    inits.len()
}

/// A call that is lost because its function met a limit is lost alone, and the run says which limit it was.
#[test]
fn a_function_that_meets_its_limit_is_lost_and_the_limit_is_named() {
    if skip_without(NEEDS) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    let serve = Program { limits, ..Program::call("serve", [""; 0]) };
    let real = |action: &str| Real {
        program: serve.clone(),
        input: json!({ "action": action, "with": { "bytes": 256 << 20 } }),
        expect: None,
    };
    let functions = [("json-serde", "echo"), ("hello-world", "memory-bomb")];
    let functions = functions.map(|(name, action)| (name.to_owned(), real(action)));
    let catalog = Box::new(Listed { base: Base::HostPrograms, functions: BTreeMap::from(functions) });
    let world = EmulatedWorld { launcher: PathBuf::from(env!("CARGO_BIN_EXE_trenvx-function")), catalog };
    let mut workload = workload();
    let at = |ms, function| {
        let arrival = Instant::ZERO + Duration::from_millis(ms);
        Invocation::new(arrival, FunctionId(function), Duration::from_millis(1))
    };
    workload.invocations = vec![at(0, 0), at(0, 1), at(1500, 0)].into();
    workload.span = Duration::from_secs(2);
    let experiment = experiment(folder.path(), &[]);
    let faasd = experiment.points.iter().find(|point| point.label == "faasd").unwrap();
    let record = world.run(&faasd.spec, &workload, 1).unwrap_or_else(|error| panic!("{error}"));
    let ended = |function: usize, outcome: Outcome| record.functions[function].outcomes[outcome as usize];
    assert_eq!((ended(0, Outcome::Completed), ended(1, Outcome::Failed)), (2, 1), "{:?}", record.warnings);
    let said = record.warnings.join("\n");
    assert!(said.contains("hello-world: ") && said.contains("memory limit of 67108864 bytes"), "{said}");
}

/// What real sandboxes cannot do is refused before anything is started, and says what to do.
#[test]
fn what_cannot_be_run_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |sets: &[&str]| {
        let experiment = experiment(folder.path(), sets);
        let spec = &experiment.points[1].spec;
        world().run(spec, &workload(), 1).unwrap_err().to_string()
    };
    for (sets, said) in [
        (&["emu.boot=false"][..], &["t-reuse-only", "criu-copy", "emu] boot = true"][..]),
        (&["override.systems.t-reuse-only.isolation=\"micro-vm\""], &["micro-vm"]),
        (&["override.systems.t-reuse-only.keep_alive=\"layers\""], &["layers"]),
        (&["cluster.nodes=2"], &["cluster.nodes is 2", "--world sim"]),
        (&["emu.functions=[\"json-serd\"]"], &["json-serd", "json-serde"]),
    ] {
        let error = refused(sets);
        assert!(said.iter().all(|word| error.contains(word)), "{sets:?}: {error}");
    }
}

/// Functions that nobody has written are named together with those there are.
#[test]
fn unknown_functions_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(folder.path(), &[]);
    let mut workload = workload();
    workload.functions[0].name = "quantum-serde".to_owned();
    let error = world().run(&experiment.points[0].spec, &workload, 1).unwrap_err().to_string();
    assert!(error.contains("quantum-serde") && error.contains("hello-world"), "{error}");
}
