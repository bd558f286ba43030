//! The documented command for a list of hosts, with an ssh that stays here.

mod common;

use common::{House, said, same};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// `ssh [options] HOST [--] COMMAND`: runs the command here, with the `SHELL` that sshd would set, and notes the host.
const SSH: &str = r#"#!/bin/sh
while :; do case $1 in -o|-l|-p) shift 2 ;; -*) shift ;; *) break ;; esac; done
echo "$1" >>"$SSH_NOTES"
shift
if [ "$1" = -- ]; then shift; fi
SHELL=/bin/sh exec sh -c "$*"
"#;

#[test]
fn shards_over_ssh_leave_what_a_local_run_leaves() {
    if emu::doctor::skip_without(&["gnu-parallel"]) {
        return;
    }
    let house = House::new();
    said(&mut house.sweep("local", &[]));
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("sim/runs/README.md");
    let readme = fs::read_to_string(readme).expect("the documentation");
    let documented = readme.lines().find(|line| line.starts_with("parallel ")).expect("a command");
    let command = documented.replace("trenvx sweep e04", "trenvx sweep small.toml --quiet");
    let command = command.replace("64", "3");
    assert!(command.contains("small.toml") && command.contains("--shard {}/3 ::: {1..3}"), "{command}");

    fs::write(house.path("hosts.txt"), "1/one.example\n1/two.example\n").expect("a list");
    let ssh = house.path("ssh");
    fs::write(&ssh, SSH).expect("a script");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("a script");
    let here = Path::new(env!("CARGO_BIN_EXE_trenvx")).parent().expect("a folder").display().to_string();
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(command).current_dir(house.path("."));
    shell.env("PATH", format!("{here}:{}", std::env::var("PATH").unwrap_or_default()));
    shell.env("TRENVX_CONFIGS", concat!(env!("CARGO_MANIFEST_DIR"), "/configs"));
    shell
        .env("PARALLEL_SSH", &ssh)
        .env("SSH_NOTES", house.path("notes"))
        .env("PARALLEL_HOME", house.path("home"));
    said(&mut shell);
    said(&mut house.sweep("out", &["--merge"]));
    same(&house.results("local"), &house.results("out"));
    let hosts = fs::read_to_string(house.path("notes")).expect("hosts were asked");
    assert!(hosts.contains("one.example") && hosts.contains("two.example"), "{hosts}");
}
