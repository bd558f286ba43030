//! A command that is told to end takes its sandboxes away and ends by that signal; one whose output nobody reads ends
//! quietly; and a browser's broken pipe is not its output.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use emu::doctor::skip_without;

/// What agents that are processes need.
const AGENTS: [&str; 4] = ["root", "cgroup2", "cgroup-kill", "python"];

fn trenvx(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trenvx"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(words).stdin(Stdio::null());
    command
}

/// Has the command start with another action for a signal than the one that these tests run with.
fn with_action(command: &mut Command, signal: i32, action: libc::sighandler_t) -> &mut Command {
    // SAFETY: between fork and exec, a system call that allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            libc::signal(signal, action);
            Ok(())
        })
    }
}

fn send(child: &Child, signal: i32) {
    // SAFETY: a signal to a child that nobody has waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
}

fn things_of(pid: u32) -> Vec<String> {
    let found = emu::clean::find().expect("the machine can be searched");
    found.into_iter().filter(|(label, _)| label.is_of(pid)).flat_map(|(_, things)| things).collect()
}

fn wait_until(what: &str, ready: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < end, "{what} is not there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The cgroup of that name in what a process has.
fn cgroup(pid: u32, name: &str) -> Option<PathBuf> {
    let things = things_of(pid);
    let tops = things.iter().filter_map(|thing| thing.strip_prefix("cgroup "));
    tops.map(|top| Path::new(top).join(name)).find(|folder| folder.join("cgroup.kill").exists())
}

fn members(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines().count()
}

#[test]
fn a_run_that_is_told_to_end_leaves_nothing_and_ends_by_the_signal() {
    if skip_without(&AGENTS) {
        return;
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let mut command = trenvx(&["emu", "agents", "run", "--agent", "blackjack", "--speed", "0.001"]);
        with_action(&mut command, signal, libc::SIG_DFL).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = child.id();
        wait_until("the agent", || cgroup(pid, "agent0").is_some_and(|folder| members(&folder) > 0));
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(signal), "{:?}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(things_of(pid), Vec::<String>::new());
    }
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    if skip_without(&AGENTS) {
        return;
    }
    // As with nohup.
    let mut command = trenvx(&["emu", "agents", "run", "--agent", "blackjack", "--speed", "0.001"]);
    with_action(&mut command, libc::SIGHUP, libc::SIG_IGN).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    wait_until("the agent", || cgroup(pid, "agent0").is_some_and(|folder| members(&folder) > 0));
    send(&child, libc::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none() && cgroup(pid, "agent0").is_some());
    send(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    assert_eq!(things_of(pid), Vec::<String>::new());
}

#[test]
fn a_browser_that_dies_while_its_agent_thinks_is_not_the_end_of_the_others() {
    if skip_without(&AGENTS) || skip_without(&["chromium"]) {
        return;
    }
    let words = ["emu", "agents", "run", "--agent", "shop-assistant", "--speed", "0.01", "--deadline", "6"];
    let child = trenvx(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    wait_until("the browser", || cgroup(pid, "browser0-1").is_some_and(|folder| members(&folder) > 3));
    // Its page is open by then, and the agent waits for the model until its deadline.
    std::thread::sleep(Duration::from_secs(3));
    std::fs::write(cgroup(pid, "browser0-1").unwrap().join("cgroup.kill"), "1").unwrap();
    let output = child.wait_with_output().unwrap();
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{:?}: {said}{complaint}", output.status);
    assert!(said.contains("deadline"), "{said}");
    assert_eq!(things_of(pid), Vec::<String>::new());
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = trenvx(&["systems"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{:?}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_no_panic() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = trenvx(&["systems"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("trenvx: failed printing to stdout: No space left"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
