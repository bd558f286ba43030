//! What tests of sandboxes share.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::PathBuf;
use std::time::Duration;

use emu::sandbox::{Config, Manager, Mode, Program, Sandbox};
use serde_json::{Value, json};

/// What sandboxes need of a machine.
pub const NEEDS: &[&str] = &[
    "root",
    "namespace-mount",
    "namespace-pid",
    "namespace-net",
    "namespace-ipc",
    "namespace-uts",
    "namespace-cgroup",
    "cgroup2",
    "clone-into-cgroup",
    "cgroup-kill",
    "overlayfs",
    "veth-bridge",
    "mount-api",
    "pidfd",
    "seccomp",
];

pub const WITHIN: Duration = Duration::from_secs(20);

pub fn config(mode: Mode) -> Config {
    Config { launcher: PathBuf::from(env!("CARGO_BIN_EXE_trenvx-function")), ..Config::new(mode) }
}

pub fn manager(mode: Mode) -> Manager {
    Manager::start(config(mode)).expect("a manager starts")
}

/// The function as a routine of the launcher: no file is executed.
pub fn function() -> Program {
    Program::call("serve", [""; 0])
}

/// Waits for the function to be ready.
pub fn ready(sandbox: &mut Sandbox) {
    let line = sandbox.function_mut().expect("a function").channel.line(WITHIN).expect("it gets ready");
    assert!(line.starts_with(b"{\"ready\":true") || line.starts_with(b"{\"ready\": true"), "{line:?}");
}

/// Asks the function for an action.
#[allow(clippy::needless_pass_by_value, reason = "calls read better with a literal")]
pub fn ask(sandbox: &mut Sandbox, action: &str, with: Value) -> Result<Value, String> {
    let input = json!({ "action": action, "with": with });
    let channel = &mut sandbox.function_mut().expect("a function").channel;
    let mut answer = channel.request(&input, WITHIN).map_err(|failure| failure.to_string())?;
    if answer["ok"] == true {
        Ok(answer["output"].take())
    } else {
        Err(answer["error"].as_str().unwrap_or("no error is named").to_owned())
    }
}
