//! Functions that use up what there is: limits hold, neighbours go on, the error says which limit.

mod common;

use std::time::{Duration, Instant};

use common::{NEEDS, WITHIN, ask, function, manager, ready};
use emu::doctor::skip_without;
use emu::sandbox::channel::Failure;
use emu::sandbox::{LimitMet, Limits, Manager, Mode, Program, Sandbox};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// More processor time than one thread can use: only who is to meet that limit gets less.
fn limits() -> Limits {
    Limits {
        memory_bytes: Some(64 * MIB),
        cpu_millis: Some(1500),
        pids: Some(32),
        disk_bytes: 8 * MIB,
        log_bytes: MIB,
        time: Some(Duration::from_millis(300)),
    }
}

/// A hostile sandbox and a neighbour.
fn pair(manager: &Manager) -> (Sandbox, Sandbox) {
    pair_with(manager, limits())
}

fn pair_with(manager: &Manager, limits: Limits) -> (Sandbox, Sandbox) {
    let start = |limits| {
        let mut sandbox = manager.create(&Program { limits, ..function() }).unwrap();
        ready(&mut sandbox);
        sandbox
    };
    (start(limits), start(Limits::default()))
}

/// The neighbour forks, allocates, writes and answers.
fn unaffected(neighbour: &mut Sandbox) {
    let forked = ask(neighbour, "fork-bomb", json!({ "most": 40 })).unwrap();
    assert_eq!(forked["made"], 40);
    ask(neighbour, "memory-bomb", json!({ "bytes": 100 * MIB })).unwrap();
    ask(neighbour, "leave-file", json!({ "path": "/tmp/own" })).unwrap();
    assert_eq!(neighbour.limits_met().unwrap(), []);
}

/// After the attack the sandbox can still be given to another function.
fn still_usable(manager: &Manager, sandbox: Sandbox) {
    let mut sandbox = manager.repurpose(sandbox, &Program { limits: limits(), ..function() }).unwrap();
    ready(&mut sandbox);
    assert_eq!(ask(&mut sandbox, "echo", json!(7)).unwrap()["with"], 7);
    assert_eq!(sandbox.limits_met().unwrap(), []);
}

fn input(action: &str) -> Value {
    json!({ "action": action, "with": {} })
}

#[test]
fn a_fork_bomb_meets_the_limit_of_processes() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let (mut bomb, mut neighbour) = pair(&manager);
    let answer = ask(&mut bomb, "fork-bomb", json!({})).unwrap();
    assert_eq!(answer["error"], "EAGAIN");
    assert!((20..32).contains(&answer["made"].as_u64().unwrap()), "{answer}");
    assert_eq!(bomb.limits_met().unwrap(), [LimitMet::Pids { pids: 32 }]);
    assert!(LimitMet::Pids { pids: 32 }.to_string().contains("32 processes"));
    unaffected(&mut neighbour);
    still_usable(&manager, bomb);
}

#[test]
fn a_memory_bomb_meets_the_memory_limit() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let (mut bomb, mut neighbour) = pair(&manager);
    let channel = &mut bomb.function_mut().unwrap().channel;
    let failure = channel.request(&input("memory-bomb"), WITHIN).unwrap_err();
    assert!(matches!(failure, Failure::Closed), "{failure}");
    assert!(bomb.limits_met().unwrap().contains(&LimitMet::Memory { bytes: 64 * MIB }));
    unaffected(&mut neighbour);
    still_usable(&manager, bomb);
}

#[test]
fn a_disk_filler_meets_the_disk_limit() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let (mut filler, mut neighbour) = pair(&manager);
    let answer = ask(&mut filler, "disk-filler", json!({ "path": "/tmp/big" })).unwrap();
    assert_eq!(answer["error"], "ENOSPC");
    assert!(answer["written"].as_u64().unwrap() <= 8 * MIB);
    assert_eq!(filler.limits_met().unwrap(), [LimitMet::Disk { bytes: 8 * MIB }]);
    unaffected(&mut neighbour);
    still_usable(&manager, filler);
}

#[test]
fn files_beyond_the_memory_limit_meet_that() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let (_, mut neighbour) = pair(&manager);
    let limits = Limits { disk_bytes: 1 << 30, ..limits() };
    let mut filler = manager.create(&Program { limits, ..function() }).unwrap();
    ready(&mut filler);
    let channel = &mut filler.function_mut().unwrap().channel;
    let request = json!({ "action": "disk-filler", "with": { "path": "/tmp/big" } });
    assert!(channel.request(&request, WITHIN).is_err());
    assert!(filler.limits_met().unwrap().contains(&LimitMet::Memory { bytes: 64 * MIB }));
    unaffected(&mut neighbour);
    // Killing a process frees no files, so with cgroup v1 the kernel may have killed the init too.
    let used = manager.repurpose(filler, &Program { limits, ..function() });
    assert!(used.is_ok() || manager.create(&function()).is_ok());
}

#[test]
fn a_flood_of_output_meets_the_output_limit() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let (mut flood, mut neighbour) = pair(&manager);
    let channel = &mut flood.function_mut().unwrap().channel;
    let failure = channel.request(&input("output-flood"), WITHIN).unwrap_err();
    assert!(matches!(failure, Failure::TooLong), "{failure}");
    assert!(failure.to_string().contains("output limit"));
    unaffected(&mut neighbour);
    still_usable(&manager, flood);
}

#[test]
fn a_flood_of_the_log_meets_the_log_limit() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let (mut flood, mut neighbour) = pair(&manager);
    let answer = ask(&mut flood, "log-flood", json!({})).unwrap();
    assert!(answer["written"].as_u64().unwrap() <= MIB, "{answer}");
    assert_eq!(flood.limits_met().unwrap(), [LimitMet::Log { bytes: MIB }]);
    assert_eq!(flood.function().unwrap().log.tail(3).unwrap(), b"yyy");
    unaffected(&mut neighbour);
    still_usable(&manager, flood);
}

#[test]
fn a_function_that_never_ends_meets_the_time_limit_and_the_processor_limit() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    // A twentieth of a core: however busy the machine is, a function that never ends gets that much.
    let (mut endless, mut neighbour) = pair_with(&manager, Limits { cpu_millis: Some(50), ..limits() });
    let within = endless.limits().time.unwrap();
    let began = Instant::now();
    let failure = endless.function_mut().unwrap().channel.request(&input("never-end"), within).unwrap_err();
    assert!(matches!(failure, Failure::Late(_)), "{failure}");
    assert!(failure.to_string().contains("time limit"));
    // It goes on.
    let held_back = LimitMet::Cpu { millis: 50 };
    while !endless.limits_met().unwrap().contains(&held_back) {
        assert!(began.elapsed() < WITHIN, "never held back: {:?}", endless.usage());
        std::thread::sleep(Duration::from_millis(20));
    }
    let used = Duration::from_micros(endless.usage().unwrap().cpu_us);
    // With what its start took, and a period's tolerance at both ends.
    assert!(used < began.elapsed() / 20 + Duration::from_millis(200), "{used:?} of {:?}", began.elapsed());
    unaffected(&mut neighbour);
    // The next function does not wait for what this one has used up.
    still_usable(&manager, endless);
}
