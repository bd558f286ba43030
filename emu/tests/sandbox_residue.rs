//! What a hostile function of one tenant leaves behind, and what the next function sees of it: nothing.
//!
//! One line of a table is one test. A line of `leaks!` says what is left (an action of `trenvx-function`), with which
//! rights, how the next function looks for it, whether the sandbox may be kept, and which resets, left out, let the
//! leak through: the test also fails if leaving them out changes nothing, because then nothing would show
//! that the reset is needed. Every reset has a line that needs it alone.
//!
//! A line of `prevented!` says what a usual function cannot leave in the first place, with which error, and with which
//! rights it could: that shows what the refusal is good for.

mod common;

use common::{NEEDS, ask, config, function, ready};
use emu::doctor::skip_without;
use emu::sandbox::{Config, Confinement, Error, Limits, Manager, Mode, Program, Reset, Sandbox};
use serde_json::{Value, json};

/// How to look.
#[derive(Clone, Copy)]
enum Look {
    /// The next function does this.
    Inside(&'static str, &'static str, &'static str),
    /// The manager counts members of the cgroup.
    Members,
    /// The manager reads whether the peak of memory is above 32 MiB.
    Peak,
    /// The next function may have 60 processes where the last one had 20: whether it gets 40.
    Forks,
    /// It may have 400 MiB where the last one had 96: whether it gets 200.
    Memory,
    /// It may use a core where the last one had a seventh: whether it is held back.
    Processor,
    /// The manager reads whether a process was refused.
    Refused,
}

struct Leak {
    /// Action and its argument, as name and value.
    leave: (&'static str, &'static str, &'static str),
    rights: Rights,
    look: Look,
    /// The sandbox goes on; otherwise it is found not clean, destroyed and counted.
    kept: bool,
    /// Resets that are needed.
    needs: &'static [Reset],
}

/// Rights of the hostile function, and of the next one, so that it could see.
#[derive(Clone, Copy, PartialEq)]
enum Rights {
    Usual,
    /// Without the filter for system calls.
    Unfiltered,
    /// Root with every capability.
    All,
}

#[derive(Debug, PartialEq)]
struct Outcome {
    seen: Value,
    kept: bool,
}

/// The first function's limits; the next one's are wider.
fn first() -> Limits {
    Limits { pids: Some(20), memory_bytes: Some(96 << 20), cpu_millis: Some(150), ..Limits::default() }
}

fn next() -> Limits {
    Limits { pids: Some(60), memory_bytes: Some(400 << 20), cpu_millis: None, ..Limits::default() }
}

fn program(rights: Rights, limits: Limits) -> Program {
    let confinement = match rights {
        Rights::Usual => Confinement::default(),
        Rights::Unfiltered => Confinement { seccomp: false, ..Confinement::default() },
        Rights::All => Confinement::none(),
    };
    Program { confinement, limits, ..function() }
}

/// As JSON. `OWN` stands for this process, in names of things that the whole machine shares.
fn argument(name: &str, value: &str) -> Value {
    let value = value.replace("OWN", &std::process::id().to_string());
    let value = value.as_str();
    if value.contains('=') {
        let (setting, value) = value.split_once('=').expect("just seen");
        return json!({ name: setting, "value": value });
    }
    json!({ name: value })
}

fn see(look: Look, sandbox: &mut Sandbox) -> Value {
    match look {
        Look::Inside(action, name, value) => {
            ask(sandbox, action, argument(name, value)).unwrap_or_else(|error| json!({ "error": error }))
        }
        Look::Members => json!(sandbox.usage().unwrap().pids),
        Look::Peak => json!(sandbox.usage().unwrap().memory_peak_bytes > 32 << 20),
        Look::Forks => ask(sandbox, "fork-bomb", json!({ "most": 40 })).unwrap()["made"].clone(),
        Look::Memory => json!(ask(sandbox, "memory-bomb", json!({ "bytes": 200 << 20 })).is_ok()),
        Look::Processor => {
            ask(sandbox, "spin", json!({ "ms": 600 })).unwrap();
            json!(sandbox.usage().unwrap().cpu_held_back > 0)
        }
        Look::Refused => json!(sandbox.usage().unwrap().pids_refused > 0),
    }
}

/// A function of A leaves something, a function of B looks; in a sandbox whose manager leaves resets out.
fn outcome(leak: &Leak, leaves: bool, without: &[Reset]) -> Outcome {
    let config = Config { without: without.to_vec(), ..config(Mode::Repurpose) };
    let manager = Manager::start(config).unwrap();
    let mut sandbox = manager.create(&program(leak.rights, first())).unwrap();
    ready(&mut sandbox);
    if leaves {
        let (action, name, value) = leak.leave;
        let left = ask(&mut sandbox, action, argument(name, value));
        if action.ends_with("-in-flight") {
            // It sends after its answer.
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        assert!(left.is_ok(), "{action} failed, so the test would show nothing: {left:?}");
    }
    let next = program(leak.rights, next());
    let (mut sandbox, kept) = match manager.repurpose(sandbox, &next) {
        Ok(sandbox) => (sandbox, true),
        Err(Error::Unclean { parts, .. }) => {
            let counted = manager.statistics().unclean;
            assert!(!parts.is_empty() && parts.iter().all(|part| counted[part] == 1), "{counted:?}");
            (manager.create(&next).unwrap(), false)
        }
        Err(error) => panic!("{error}"),
    };
    ready(&mut sandbox);
    Outcome { seen: see(leak.look, &mut sandbox), kept }
}

fn check(leak: &Leak) {
    if skip_without(NEEDS) {
        return;
    }
    let nothing_left = outcome(leak, false, &[]);
    assert!(nothing_left.kept, "a sandbox in which nothing was left is kept");
    let expected = Outcome { kept: leak.kept, ..nothing_left };
    assert_eq!(outcome(leak, true, &[]), expected);
    if !leak.needs.is_empty() {
        let leaky = outcome(leak, true, leak.needs);
        assert_ne!(leaky, expected, "nothing leaks without {:?}: are they needed?", leak.needs);
    }
}

/// What a usual function cannot leave.
struct Prevented {
    leave: (&'static str, &'static str, &'static str),
    /// The error.
    refused: &'static str,
    look: Look,
    /// Rights with which it can.
    with: Rights,
    /// Whether the next function would then see it; otherwise it is over with the function, or is as before.
    seen: bool,
}

fn check_prevented(row: &Prevented) {
    if skip_without(NEEDS) {
        return;
    }
    let manager = Manager::start(config(Mode::Repurpose)).unwrap();
    let (action, name, value) = row.leave;
    let after = |rights: Rights, leaves: bool| {
        let mut sandbox = manager.create(&program(rights, first())).unwrap();
        ready(&mut sandbox);
        let left = if leaves { ask(&mut sandbox, action, argument(name, value)) } else { Ok(Value::Null) };
        let mut sandbox = manager.repurpose(sandbox, &program(rights, next())).unwrap();
        ready(&mut sandbox);
        (left, see(row.look, &mut sandbox))
    };
    let (_, nothing) = after(Rights::Usual, false);
    let (left, seen) = after(Rights::Usual, true);
    assert_eq!((left, seen), (Err(row.refused.to_owned()), nothing));
    let (_, nothing) = after(row.with, false);
    let (left, seen) = after(row.with, true);
    assert!(left.is_ok(), "nobody can leave it, so the refusal shows nothing: {left:?}");
    assert_eq!(seen != nothing, row.seen, "{nothing} -> {seen}");
}

macro_rules! leaks {
    ($($name:ident: $leave:expr, $rights:ident, $look:expr, $kept:ident, $needs:expr;)*) => {
        /// Resets that each line needs.
        const NEEDED: &[&[Reset]] = &[$(&$needs),*];
        $(#[test]
        fn $name() {
            let kept = stringify!($kept) == "kept";
            check(&Leak { leave: $leave, rights: Rights::$rights, look: $look, kept, needs: &$needs });
        })*
    };
}

macro_rules! prevented {
    ($($name:ident: $leave:expr, $refused:expr, $look:expr, $with:ident, $seen:ident;)*) => {
        $(#[test]
        fn $name() {
            let seen = stringify!($seen) == "seen";
            let with = Rights::$with;
            check_prevented(&Prevented { leave: $leave, refused: $refused, look: $look, with, seen });
        })*
    };
}

use Look::{Forks, Inside, Members, Memory, Peak, Processor, Refused};
use Reset::{Channel, Check, Counters, Descriptors, HostName, Ipc, Keyring, Kill, Root, Sockets};

const NONE: (&str, &str, &str) = ("leave-nothing", "", "");

#[rustfmt::skip]
leaks! {
    file_in_root:       ("leave-file", "path", "/leak"),         All,   Inside("look-file", "path", "/leak"), kept, [Root];
    file_in_tmp:        ("leave-file", "path", "/tmp/leak"),     Usual, Inside("look-file", "path", "/tmp/leak"), kept, [Root];
    file_in_dev_shm:    ("leave-file", "path", "/dev/shm/leak"), Usual, Inside("look-file", "path", "/dev/shm/leak"), kept, [Root];
    attribute_of_file:  ("leave-attribute", "", ""),             All,   Inside("look-attribute", "", ""), kept, [Root];
    folder_held_open:   ("leave-orphan", "", ""),                Usual, Inside("look-file", "path", "/tmp/held"), kept, [Root];
    mount:              ("leave-mount", "", ""),                 All,   Inside("look-lines", "path", "/proc/self/mountinfo"), kept, [Root];
    unmounted:          ("leave-unmounted", "", ""),             All,   Inside("look-lines", "path", "/proc/self/mountinfo"), kept, [];

    sysv_shared_memory: ("leave-shared-memory", "", ""),         Usual, Inside("look-shared-memory", "", ""), kept, [Ipc];
    sysv_semaphore:     ("leave-semaphore", "", ""),             Usual, Inside("look-semaphore", "", ""), kept, [Ipc];
    sysv_messages:      ("leave-message-queue", "", ""),         Usual, Inside("look-message-queue", "", ""), kept, [Ipc];
    posix_messages:     ("leave-posix-queue", "", ""),           Usual, Inside("look-posix-queue", "", ""), kept, [Ipc];
    ipc_setting:        ("leave-setting", "name", "kernel/msgmax=4242"), All, Inside("look-text", "path", "/proc/sys/kernel/msgmax"), kept, [Ipc];
    host_name:          ("leave-host-name", "", ""),             All,   Inside("look-host-name", "", ""), kept, [];
    domain_name:        ("leave-setting", "name", "kernel/domainname=leak"), All, Inside("look-text", "path", "/proc/sys/kernel/domainname"), kept, [HostName];

    net_setting:        ("leave-setting", "name", "net/core/somaxconn=77"), All, Inside("look-text", "path", "/proc/sys/net/core/somaxconn"), destroyed, [Check];
    ip_setting:         ("leave-setting", "name", "net/ipv4/tcp_fin_timeout=7"), All, Inside("look-text", "path", "/proc/sys/net/ipv4/tcp_fin_timeout"), destroyed, [Check];
    address:            ("leave-address", "", ""),               All,   Inside("look-address", "", ""), destroyed, [Check];
    route:              ("leave-route", "", ""),                 All,   Inside("look-lines", "path", "/proc/net/route"), destroyed, [Check];
    link_size:          ("leave-mtu", "", ""),                   All,   Inside("look-mtu", "", ""), destroyed, [Check];
    nft_table:          ("leave-table", "", ""),                 All,   Inside("look-table", "", ""), destroyed, [Check];
    policy_rule:        ("leave-rule", "", ""),                  All,   Inside("look-rules", "", ""), destroyed, [Check];
    queue_of_a_link:    ("leave-queue", "", ""),                 All,   Inside("look-queue", "", ""), destroyed, [Check];
    iptables_table:     ("leave-iptables", "", ""),              All,   Inside("look-text", "path", "/proc/net/ip_tables_names"), destroyed, [Check];
    neighbour:          ("leave-neighbour", "", ""),             All,   Inside("look-lines", "path", "/proc/net/arp"), kept, [Sockets];

    listening_socket:   ("leave-listener", "", ""),              Usual, Inside("look-listener", "", ""), kept, [Kill, Channel, Sockets, Check];
    time_wait_sockets:  ("leave-time-wait", "", ""),             Usual, Inside("look-lines", "path", "/proc/net/tcp"), kept, [Sockets];
    abstract_socket:    ("leave-abstract-socket", "", ""),       Usual, Inside("look-abstract-socket", "", ""), kept, [Kill, Channel, Check];
    descriptor_passed_out: ("leave-descriptor-in-flight", "", ""), Usual, Inside("look-listener", "", ""), kept, [Channel, Sockets, Check];
    unix_socket_passed_out: ("leave-unix-in-flight", "", ""),    Usual, Inside("look-abstract-socket", "", ""), kept, [Channel];

    session_key:        ("leave-key", "", ""),                   All,   Inside("look-key", "", ""), kept, [Keyring];

    orphan:             ("leave-orphan", "", ""),                Usual, Members, kept, [Kill];
    orphan_seen_inside: ("leave-orphan", "", ""),                Usual, Inside("look-processes", "", ""), kept, [];
    inotify_watch:      ("leave-watch", "", ""),                 Usual, Members, kept, [Kill];
    timer:              ("leave-timer", "", ""),                 Usual, Members, kept, [Kill];

    cgroup_setting:     ("leave-cgroup-setting", "", ""),        All,   Inside("look-cgroup", "", ""), destroyed, [Check];
    cgroup_inside:      ("leave-cgroup-inside", "", ""),         All,   Inside("look-cgroup", "", ""), destroyed, [Check];
    peak_of_memory:     ("leave-memory-peak", "", ""),           Usual, Peak, kept, [Counters];
    refused_processes:  ("fork-bomb", "", ""),                   Usual, Refused, kept, [Counters];
    limit_of_processes: NONE,                                    Usual, Forks, kept, [Reset::Limits];
    limit_of_memory:    NONE,                                    Usual, Memory, kept, [Reset::Limits];
    limit_of_processor: NONE,                                    Usual, Processor, kept, [Reset::Limits];
    environment:        ("leave-environment", "", ""),           Usual, Inside("look-environment", "", ""), kept, [];
    open_descriptors:   NONE,                                    Usual, Inside("look-descriptors", "", ""), kept, [Descriptors];
}

#[rustfmt::skip]
prevented! {
    user_key:           ("leave-user-key", "name", "leak-OWN"), "EPERM", Inside("look-user-key", "name", "leak-OWN"), Unfiltered, seen;
    core_pattern:       ("leave-core-pattern", "", ""), "EACCES", Inside("look-text", "path", "/proc/sys/kernel/core_pattern"), All, unseen;
    traced_init:        ("ptrace-init", "", ""),        "EPERM",  Inside("look-tracer", "", ""), Unfiltered, unseen;
}

/// Whoever adds a reset adds a line that shows what it is for.
#[test]
fn every_reset_is_needed_by_a_line_of_its_own() {
    for reset in Reset::ALL {
        assert!(NEEDED.contains(&&[reset][..]), "no line needs {reset:?} alone");
    }
}

/// The published way keeps four namespaces and the root: the suite sees what it leaks.
#[test]
fn the_published_way_leaks_what_a_new_root_and_ipc_namespace_hide() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = Manager::start(config(Mode::Setns)).unwrap();
    let mut sandbox = manager.create(&function()).unwrap();
    ready(&mut sandbox);
    ask(&mut sandbox, "leave-shared-memory", json!({})).unwrap();
    ask(&mut sandbox, "leave-file", json!({ "path": "/tmp/leak" })).unwrap();
    let mut sandbox = manager.repurpose(sandbox, &function()).unwrap();
    ready(&mut sandbox);
    assert_eq!(ask(&mut sandbox, "look-shared-memory", json!({})).unwrap(), true);
    assert_eq!(ask(&mut sandbox, "look-file", json!({ "path": "/tmp/leak" })).unwrap(), true);
}
