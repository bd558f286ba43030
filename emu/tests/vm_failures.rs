//! Goal: however a microVM ends, that is reported, others go on, and nothing is left. Method: kill VMMs, panic a
//! guest, fill a writable layer, kill the process that started a VM.

mod vm_common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use emu::vm::{Error, Method};
use serde_json::json;
use vm_common::{WITHIN, bed, clone, left_of, run};

/// In the process that is to be killed: where its parent's bed lies.
const DOOMED: &str = "TRENVX_TEST_DOOMED";

#[test]
fn a_killed_vmm_is_reported_and_the_other_guest_goes_on() {
    let Some(bed) = bed() else { return };
    let template = bed.template();
    let host = bed.host(Method::TrenvxVm);
    let (mut doomed, mut other) = (clone(&host, &template), clone(&host, &template));
    let pid = i32::try_from(doomed.pid().unwrap()).unwrap();
    // SAFETY: a signal to a process of this test.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    let error = doomed.ask("ping", json!({}), WITHIN).unwrap_err();
    assert!(matches!(&error, Error::Ended { .. }), "{error}");
    assert_eq!(run(&mut other, "result = counter"), 41);
    host.end(doomed).unwrap();
    host.end(other).unwrap();
    drop(host);
    assert_eq!(left_of(std::process::id()), [""; 0]);
}

#[test]
fn a_panic_of_the_guest_is_reported_with_its_message() {
    let Some(bed) = bed() else { return };
    let template = bed.template();
    let host = bed.host(Method::TrenvxVm);
    let mut vm = clone(&host, &template);
    let error = vm.ask("panic", json!({}), WITHIN).unwrap_err();
    let Error::Panicked { message, .. } = &error else { panic!("{error}") };
    assert!(message.contains("Kernel panic - not syncing: sysrq triggered crash"), "{message}");
    host.end(vm).unwrap();
}

#[test]
fn a_full_writable_layer_is_reported_and_the_guest_goes_on() {
    let Some(bed) = bed() else { return };
    let template = bed.template();
    let host = bed.host(Method::TrenvxVm);
    let mut vm = clone(&host, &template);
    let error = vm.ask("fill", json!({ "path": "/tmp/big", "size": 64 << 20 }), WITHIN).unwrap_err();
    assert!(matches!(error, Error::Full { bytes, .. } if bytes == 16 << 20), "{error}");
    assert_eq!(vm.ask("disk", json!({}), WITHIN).unwrap()["free_bytes"], 0);
    run(&mut vm, "import os; os.remove('/tmp/big')");
    vm.ask("fill", json!({ "path": "/tmp/small", "size": 1 << 20 }), WITHIN).unwrap();
    host.end(vm).unwrap();
}

#[test]
fn nothing_is_left_of_a_killed_starter() {
    if let Ok(name) = std::env::var(DOOMED) {
        return doomed(&name);
    }
    let Some(bed) = bed() else { return };
    drop(bed.template());
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_left_of_a_killed_starter", "--nocapture", "--test-threads=1"])
        .env(DOOMED, &bed.out)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(starter.stdout.take().unwrap()).lines();
    let line =
        lines.map_while(Result::ok).find_map(|line| line.split_once("vmm ").map(|(_, pid)| pid.to_owned()));
    let vmm = std::path::PathBuf::from(format!("/proc/{}", line.expect("it starts a VM")));
    assert!(vmm.exists());
    // Not a word of warning.
    starter.kill().unwrap();
    let pid = starter.id();
    starter.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while vmm.exists() {
        assert!(Instant::now() < end, "the VMM lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    emu::clean::clean().unwrap();
    assert_eq!(left_of(pid), [""; 0]);
}

/// The process that is killed: clones the template that its parent has made, and tells the VMM's number.
fn doomed(out: &str) {
    let bed = vm_common::Bed::of_parent(out.into());
    let template = bed.template();
    let host = bed.host(Method::TrenvxVm);
    let vm = clone(&host, &template);
    println!("vmm {}", vm.pid().unwrap());
    std::thread::sleep(Duration::from_secs(60));
}
