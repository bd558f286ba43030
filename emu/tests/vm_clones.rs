//! Goal: a clone goes on where its template stopped, and belongs to nobody else. Method: two clones of one template,
//! alive at once, that write, draw random numbers and read the root.

mod vm_common;

use std::sync::Arc;
use std::time::Duration;

use emu::doctor::skip_without;
use emu::vm::{Lazily, Method};
use serde_json::json;
use vm_common::{WITHIN, bed, clone, left_of, run};

/// How long a template's clock has stood still at least when it is cloned, s: what nobody set would be that late.
const STOOD_STILL: f64 = 3.0;

#[test]
fn clones_are_warm_apart_and_leave_their_template_alone() {
    let Some(bed) = bed() else { return };
    let template = bed.template();
    let host = bed.host(Method::TrenvxVm);
    std::thread::sleep(Duration::from_secs_f64(STOOD_STILL));
    let mut one = clone(&host, &template);
    let mut other = clone(&host, &template);

    // Warm: what the template's agent had run is there.
    assert_eq!(run(&mut one, "counter += 1; result = counter"), 42);
    // Apart: memory, files, random numbers.
    assert_eq!(run(&mut other, "result = counter"), 41);
    one.ask("write", json!({ "path": "/tmp/mine", "data": "aGVsbG8=" }), WITHIN).unwrap();
    assert_eq!(one.ask("read", json!({ "path": "/tmp/mine" }), WITHIN).unwrap(), "aGVsbG8=");
    let error = other.ask("read", json!({ "path": "/tmp/mine" }), WITHIN).unwrap_err();
    assert!(error.to_string().contains("FileNotFoundError"), "{error}");
    for random in ["import os; result = os.urandom(8).hex()", "import random; result = random.random()"] {
        assert_ne!(run(&mut one, random), run(&mut other, random), "{random}");
    }
    // Each knows what time it is.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let theirs = run(&mut one, "import time; result = time.time()").as_f64().unwrap();
    assert!((theirs - now).abs() < STOOD_STILL / 2.0, "the guest's clock says {theirs}, and it is {now}");
    // The root cannot be written, under the writable layer.
    let touched =
        one.ask("exec", json!({ "argv": ["sh", "-c", "echo x >/etc/hosts; mount | head -3"] }), WITHIN);
    assert_eq!(touched.unwrap()["code"], 0);
    let hosts = other.ask("read", json!({ "path": "/etc/hosts" }), WITHIN).unwrap();
    assert_ne!(hosts, "eAo=");

    // Little of it is its own.
    let memory = one.memory().unwrap();
    let booted = template.manifest().booted_bytes;
    let own = memory.guest_own_bytes();
    assert!(own > 0 && memory.guest_shared_bytes() > 0, "{memory:?}");
    assert!(own * 5 < booted, "{own} of {booted} bytes");

    host.end(one).unwrap();
    host.end(other).unwrap();
    assert!(template.is_unchanged().unwrap());
    // A clone in the sandbox of another that ended finds nothing of it.
    let mut third = clone(&host, &template);
    assert_eq!(
        run(&mut third, "import os; result = [counter, os.path.exists('/tmp/mine')]"),
        json!([41, false])
    );
    host.end(third).unwrap();
    drop(host);
    assert_eq!(left_of(std::process::id()), [""; 0]);
}

#[test]
fn memory_that_comes_when_it_is_touched_is_the_same_memory() {
    if skip_without(&["userfaultfd-device"]) {
        return;
    }
    let Some(bed) = bed() else { return };
    let template = bed.template();
    let host = bed.host(Method::TrenvxVm);
    let none = Lazily { working_set: None, record: false, latency: None };
    let mut cold = host.clone_lazily(&template, &none).unwrap().vm;
    assert_eq!(run(&mut cold, "counter += 1; result = counter"), 42);
    let memory = cold.memory().unwrap();
    assert!(memory.guest_shared_bytes() == 0 && memory.guest_own_bytes() > 0, "{memory:?}");
    let of_cold = host.end_served(cold).unwrap().unwrap();
    assert!(of_cold.faults > 0 && of_cold.prefetched == 0 && of_cold.touched.is_none(), "{of_cold:?}");

    let working_set = host.working_set(&template).unwrap();
    assert!(!working_set.pages.is_empty());
    template.save_working_set(&bed.out).unwrap();
    assert_eq!(bed.load("tests").unwrap().working_set(), Some(Arc::clone(&working_set)));
    let warmed = Lazily { working_set: Some(Arc::clone(&working_set)), ..none };
    let mut warm = host.clone_lazily(&template, &warmed).unwrap().vm;
    assert_eq!(run(&mut warm, "result = counter"), 41);
    let of_warm = host.end_served(warm).unwrap().unwrap();
    assert_eq!(of_warm.prefetched, working_set.pages.len() as u64);
    assert!(of_warm.faults < of_cold.faults / 2, "{of_warm:?} after {of_cold:?}");
    assert!(template.is_unchanged().unwrap());
    drop(host);
    assert_eq!(left_of(std::process::id()), [""; 0]);
}

#[test]
fn a_template_is_for_methods_with_its_root_device() {
    let Some(bed) = bed() else { return };
    let refused = bed.host(Method::VanillaCh).clone(&bed.template()).unwrap_err();
    assert!(refused.to_string().contains("vanilla-ch has it on blk"), "{refused}");
}

#[test]
fn a_vmm_is_confined_like_a_function() {
    let Some(bed) = bed() else { return };
    let template = bed.template();
    let host = bed.host(Method::TrenvxVm);
    let vm = clone(&host, &template);
    let process = std::path::PathBuf::from(format!("/proc/{}", vm.pid().unwrap()));
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_start_matches(':').split_whitespace().next().unwrap_or_default().to_owned()
    };
    assert_eq!(value("Uid"), emu::sandbox::program::FUNCTION_USER.to_string());
    assert_eq!(value("CapEff"), "0000000000000000");
    assert_eq!(value("CapBnd"), "0000000000000000");
    assert_eq!((value("Seccomp"), value("NoNewPrivs")), ("2".to_owned(), "1".to_owned()));
    for namespace in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let of = |process: &std::path::Path| std::fs::read_link(process.join("ns").join(namespace)).unwrap();
        assert_ne!(of(&process), of(std::path::Path::new("/proc/self")), "{namespace}");
    }
    // No file of the machine is in its root but the programs.
    assert!(!process.join("root/root").exists() && !process.join("root/var").exists());
    host.end(vm).unwrap();
}
