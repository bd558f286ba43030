//! An attached function is confined exactly as one that was executed, in every thread.

mod sandbox_attempts;
mod template_common;

use emu::doctor::skip_without;
use emu::sandbox::{Confinement, Program, Sandbox};
use sandbox_attempts::ATTEMPTS;
use serde_json::{Value, json};
use template_common::python::serving;
use template_common::{NEEDS, Place, WITHIN, ask, lacks};

const SCRIPT: &str = r#"
import threading
threads = [threading.Thread(target=time.sleep, args=(3600,), daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
RIGHTS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
          "Seccomp_filters", "Cpus_allowed", "Mems_allowed")

def look():
    rights = {}
    for thread in os.listdir("/proc/self/task"):
        lines = open(f"/proc/self/task/{thread}/status").read().splitlines()
        rights[thread] = [line for line in lines if line.split(":")[0] in RIGHTS]
    signal = ctypes.c_int()
    libc.prctl(2, ctypes.byref(signal))
    return {
        "rights": rights, "death": signal.value, "dumpable": libc.prctl(3), "keep": libc.prctl(7),
        "bits": libc.prctl(27), "limits": open("/proc/self/limits").read(),
        "oom": open("/proc/self/oom_score_adj").read(), "nice": os.nice(0),
        "namespaces": sorted(os.listdir("/proc/self/ns")), "personality": libc.personality(0xffffffff),
        "fds": len(os.listdir("/proc/self/fd")), "root": sorted(os.listdir("/")),
    }
"#;

#[test]
fn rights_of_every_thread_are_those_of_an_executed_one() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let program = place.script("rights.py", &serving(SCRIPT));
    let mut original = place.start(&program);
    let expected = ask(&mut original, &json!("look()"));
    let template = place.capture(&original, "rights").unwrap();
    let mut attached = place.attach(&template, &program);
    let found = ask(&mut attached.sandbox, &json!("look()"));
    assert_eq!(found["rights"].as_object().unwrap().len(), 4);
    let first = found["rights"]["1"].to_string();
    assert!(first.contains("CapEff:\\t0000000000000000") && first.contains("Seccomp:\\t2"), "{first}");
    assert_eq!(found, expected);
}

#[test]
fn a_template_is_attached_with_other_rights_than_it_had() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let program = place.native(&[]);
    let original = place.start(&program);
    let template = place.capture(&original, "native").unwrap();
    let usual = Confinement::default();
    let others = [
        Confinement { user: 0, ..usual },
        Confinement { seccomp: false, ..usual },
        Confinement { user_namespace: true, ..usual },
        Confinement::none(),
    ];
    for confinement in others {
        let program = Program { confinement, ..program.clone() };
        let mut executed = place.start(&program);
        let mut attached = place.attach(&template, &program);
        for name in ["mount", "chroot", "bpf"] {
            let input = json!({ "action": name, "with": {} });
            let attempt = |sandbox: &mut Sandbox| -> Value {
                sandbox.function_mut().unwrap().channel.request(&input, WITHIN).unwrap()
            };
            let (expected, found) = (attempt(&mut executed), attempt(&mut attached.sandbox));
            assert_eq!(found["error"], expected["error"], "{name} {confinement:?}");
            assert_eq!(found["ok"], expected["ok"], "{name} {confinement:?}");
        }
    }
}

#[test]
fn attempts_to_get_out_of_an_attached_function_are_refused() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::with(true);
    let program = place.native(&[]);
    let mut original = place.start(&program);
    let template = place.capture(&original, "native").unwrap();
    let mut attached = place.attach(&template, &program);
    for (name, usual, _) in ATTEMPTS {
        let input = json!({ "action": name, "with": {} });
        let attempt = |sandbox: &mut Sandbox| {
            let answer: Value = sandbox.function_mut().unwrap().channel.request(&input, WITHIN).unwrap();
            if answer["ok"] == true {
                "done".to_owned()
            } else {
                answer["error"].as_str().unwrap().to_owned()
            }
        };
        let answers = [attempt(&mut attached.sandbox), attempt(&mut original)];
        assert_eq!(answers[0], answers[1], "{name}");
        // The host's root is looked for where an image has a closed folder of its own.
        assert!(
            answers[0] == *usual || *name == "read-host-root" && answers[0] == "EACCES",
            "{name}: {answers:?}"
        );
    }
}
