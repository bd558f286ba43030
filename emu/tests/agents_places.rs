//! Goal: agents come to the same answers in sandboxes and in microVMs, cannot reach what is not theirs, and however one
//! ends, that is its own outcome and the others go on. Method: small agents that look around, fill their disk, use up
//! memory, hang, die and panic, beside real ones; a VMM that is killed, and a model that is killed and started again.

#[path = "agents_common/mod.rs"]
mod common;
mod vm_common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use emu::agents::Manifest;
use emu::agents::harness::{Lab, Settings};
use emu::agents::place::{Guests, System};
use emu::agents::report::Report;
use emu::vm::Method;
use vm_common::left_of;

/// What sandboxes need.
const NEEDS: &[&str] = &[
    "root",
    "namespace-mount",
    "namespace-pid",
    "namespace-net",
    "cgroup2",
    "clone-into-cgroup",
    "cgroup-kill",
    "overlayfs",
    "mount-api",
    "pidfd",
    "seccomp",
    "python",
];

/// Tells who it is and what it finds of the machine.
const LOOKS: &str = r#"
import json, os, socket
found = [os.path.exists(path) for path in ("/root/.bashrc", "/run/trenvx", os.environ["LOOK_FOR"])]
try:
    os.setuid(0)
    root = True
except OSError:
    root = False
print(json.dumps({"answer": [os.getuid() != 0, root, any(found), socket.gethostname()]}))
"#;
/// Writes more than there is room for.
const FILLS: &str = "open('filled', 'wb').write(bytes(64 << 20))\n";
const HANGS: &str = "import os, time\nif os.fork() == 0:\n    os.setsid()\ntime.sleep(1000)\n";
/// The template has let everybody do that.
const PANICS: &str = "open('/proc/sysrq-trigger', 'w').write('c')\n";
const DIES: &str = "import os\nos.kill(os.getpid(), 9)\n";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// A folder of agents with these programs, which must answer so, and copies of real ones.
fn folder(programs: &[(&str, &str, &str)], real: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in real.iter().chain(&["runtime"]) {
        copy(&common::folder().join(name), &folder.path().join(name));
    }
    for (name, program, answer) in programs {
        let agent = folder.path().join(name);
        fs::create_dir_all(agent.join("recordings")).unwrap();
        let manifest = "summary = \"\"\nsource = \"\"\nbrowser = false\ntokens = \"azure-code\"\n";
        fs::write(agent.join("manifest.toml"), manifest).unwrap();
        let program = program.replace("os.environ[\"LOOK_FOR\"]", &format!("{:?}", folder.path()));
        fs::write(agent.join("agent.py"), program).unwrap();
        fs::write(agent.join("recordings/0.json"), format!("{{\"turns\": [], \"answer\": {answer}}}"))
            .unwrap();
    }
    folder
}

fn settings(folder: &Path, names: &[&str], system: System) -> Settings {
    let agents = names.iter().map(|name| Manifest::read(&folder.join(name)).unwrap()).collect();
    let mut settings = Settings::new(agents);
    settings.rates.speed = 1e4;
    settings.deadline = Duration::from_secs(60);
    settings.system = system;
    settings.launcher = Some(PathBuf::from(env!("CARGO_BIN_EXE_trenvx-function")));
    settings
}

fn outcomes(report: &Report) -> Vec<&str> {
    report.agents.iter().map(|row| row.outcome.as_str()).collect()
}

#[test]
fn agents_in_sandboxes_are_confined_and_fail_by_themselves() {
    if emu::doctor::skip_without(NEEDS) {
        return;
    }
    let looked = r#"[true, false, false, "agent"]"#;
    let programs =
        [("looks", LOOKS, looked), ("fills", FILLS, "1"), ("hangs", HANGS, "1"), ("dies", DIES, "1")];
    let real = ["blackjack", "bug-fixer", "map-reduce"];
    let folder = folder(&programs, &real);
    let names = ["looks", "fills", "hangs", "dies", "blackjack", "bug-fixer", "map-reduce"];
    let mut settings = settings(folder.path(), &names, System::Sandbox);
    settings.deadline = Duration::from_secs(8);
    settings.disk_bytes = Some(16 << 20);
    // The quickest agents are done in a quarter of a second.
    settings.sample = Duration::from_millis(20);
    let lab = Lab::start(settings).unwrap();
    let report = lab.run().unwrap();
    let expected = ["right", "disk-full", "deadline", "died", "right", "right", "right"];
    assert_eq!(outcomes(&report), expected, "{}", report.table());
    let fixer = &report.agents[5];
    assert!(fixer.peak_bytes > 1 << 20 && fixer.cpu_ms > 0.0 && fixer.start_ms > 0.0, "{fixer:?}");
    drop(lab);
    assert_eq!(left_of(std::process::id()), [""; 0]);
}

#[test]
fn agents_in_microvms_go_on_when_one_ends_and_when_their_model_does() {
    if common::no_agents() {
        return;
    }
    let Some(bed) = vm_common::bed() else { return };
    let setting = &bed.setting;
    let guests =
        Guests::new(&bed.out, setting.image.clone(), setting.accelerator.clone(), setting.launcher.clone())
            .that_run("import os; os.chmod('/proc/sysrq-trigger', 0o222)");
    // No root, nothing of the machine; the guest's name is that of its image.
    let looked = r#"[true, false, false, "(none)"]"#;
    let programs =
        [("looks", LOOKS, looked), ("fills", FILLS, "1"), ("hangs", HANGS, "1"), ("panics", PANICS, "1")];
    let folder = folder(&programs, &["blackjack"]);
    let names = ["hangs", "blackjack", "fills", "looks", "panics"];
    let mut settings = settings(folder.path(), &names, System::Vm(Method::TrenvxVm));
    settings.rates.speed = 50.0;
    settings.disk_bytes = Some(16 << 20);
    settings.guests = Some(Arc::new(guests));
    let lab = Lab::start(settings).unwrap();
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(|| lab.run().unwrap());
        common::restart_model(&lab, &running);
        // What hangs is alone at last: its VMM is killed.
        let mut left = vmms();
        while left.len() > 1 && !running.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
            left = vmms();
        }
        common::kill(&left);
        running.join().unwrap()
    });
    let expected = ["vmm-ended", "right", "disk-full", "right", "guest-panicked"];
    assert_eq!(outcomes(&report), expected, "{}", report.table());
    assert!(report.agents[4].message.contains("sysrq triggered crash"), "{}", report.agents[4].message);
    assert!(report.agents[1].spent.retries > 0, "{}", report.table());
    assert!(report.stand_in.as_ref().is_some_and(|text| text.contains("TCG")));
    let peak = report.memory.iter().max_by_key(|sample| sample.bytes()).unwrap();
    assert!(
        peak.agents_bytes > 10 << 20 && peak.cache_bytes > 1 << 20 && peak.emulation_bytes > 0,
        "{peak:?}"
    );
    drop(lab);
    assert_eq!(left_of(std::process::id()), [""; 0]);
}

/// VMMs of this process's sandboxes.
fn vmms() -> Vec<u32> {
    let ours = |pid: &u32| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        // Labels begin with the number of the process that holds them.
        let label = format!("trenvx-{:x}", std::process::id());
        read("comm").starts_with("qemu") && read("cgroup").contains(&label)
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(ours).collect()
}
