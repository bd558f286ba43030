//! Sandboxes from their making to their end.

mod common;

use std::time::Duration;

use common::{NEEDS, WITHIN, ask, config, function, manager, ready};
use emu::doctor::skip_without;
use emu::sandbox::{Birth, Config, Confinement, Manager, Mode, Program};
use serde_json::json;

#[test]
fn a_function_answers_in_a_new_sandbox() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::New);
    let mut sandbox = manager.create(&function()).unwrap();
    ready(&mut sandbox);
    assert_eq!(ask(&mut sandbox, "echo", json!(1)).unwrap()["with"], 1);
    let steps = manager.destroy_now(sandbox).unwrap();
    assert!(steps.done.len() >= 3, "{steps:?}");
    assert_eq!(manager.statistics().destroyed, 1);
}

#[test]
fn a_sandbox_is_given_to_another_function_in_every_mode() {
    if skip_without(NEEDS) {
        return;
    }
    for mode in [Mode::Repurpose, Mode::Setns] {
        for birth in [Birth::IntoCgroup, Birth::Migrate] {
            let manager = Manager::start(Config { birth, ..config(mode) }).unwrap();
            let mut sandbox = manager.create(&function()).unwrap();
            for nth in 0..5 {
                ready(&mut sandbox);
                assert_eq!(ask(&mut sandbox, "echo", json!(1)).unwrap()["with"], 1);
                sandbox = manager
                    .repurpose(sandbox, &function())
                    .unwrap_or_else(|error| panic!("{mode:?} {birth:?} {nth}: {error}"));
            }
        }
    }
}

#[test]
fn an_init_that_does_not_answer_costs_its_sandbox_only() {
    if skip_without(NEEDS) {
        return;
    }
    let patience = Duration::from_millis(300);
    let manager = Manager::start(Config { patience, ..config(Mode::Repurpose) }).unwrap();
    let stopped = manager.create(&function()).unwrap();
    let init = rustix::process::Pid::from_raw(stopped.init_pid().unwrap()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::STOP).unwrap();
    let error = manager.repurpose(stopped, &function()).unwrap_err().to_string();
    assert!(error.contains("talk to its init") && error.contains("timed out"), "{error}");
    manager.settle();
    assert!(rustix::process::test_kill_process(init).is_err(), "its init is still there");
    ready(&mut manager.create(&function()).unwrap());
}

#[test]
fn a_program_of_the_base_is_executed() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::PooledNetns);
    for confinement in [
        Confinement::default(),
        Confinement { user_namespace: true, ..Confinement::default() },
        Confinement::none(),
    ] {
        let mut program = Program::new(["sh", "-c", "echo \"$0 $HOME $(hostname) $(id -u) $$\"; pwd"]);
        program.confinement = confinement;
        let mut sandbox = manager.create(&program).unwrap();
        let channel = &mut sandbox.function_mut().unwrap().channel;
        let Ok(line) = channel.line(WITHIN) else {
            let log = sandbox.function().unwrap().log.tail(1000).unwrap();
            panic!("{confinement:?}: {}", String::from_utf8_lossy(&log));
        };
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, format!("sh /tmp function {} 1", confinement.user));
        assert_eq!(channel.line(WITHIN).unwrap(), b"/tmp");
    }
}
