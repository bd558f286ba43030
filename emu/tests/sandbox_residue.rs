//! What a hostile function of one tenant leaves behind, and what the next function sees of it: nothing.
//!
//! One line of the table is one test. A line says what is left (an action of `trenvx-function`), with which
//! rights, how the next function looks for it, whether the sandbox may be kept, and which resets, left out, let the
//! leak through: the test also fails if leaving them out changes nothing, because then nothing would show
//! that the reset is needed.

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
    /// Root with every capability.
    All,
}

#[derive(Debug, PartialEq)]
struct Outcome {
    seen: Value,
    kept: bool,
}

fn program(rights: Rights, pids: u32) -> Program {
    let mut program = function();
    if rights == Rights::All {
        program.confinement = Confinement::none();
    }
    program.limits = Limits { pids: Some(pids), ..Limits::default() };
    program
}

fn argument(name: &str, value: &str) -> Value {
    if value.contains('=') {
        let (setting, value) = value.split_once('=').expect("just seen");
        return json!({ name: setting, "value": value });
    }
    json!({ name: value })
}

fn look(leak: &Leak, sandbox: &mut Sandbox) -> Value {
    match leak.look {
        Look::Inside(action, name, value) => {
            ask(sandbox, action, argument(name, value)).unwrap_or_else(|error| json!({ "error": error }))
        }
        Look::Members => json!(sandbox.usage().unwrap().pids),
        Look::Peak => json!(sandbox.usage().unwrap().memory_peak_bytes > 32 << 20),
        Look::Forks => ask(sandbox, "fork-bomb", json!({ "most": 40 })).unwrap()["made"].clone(),
    }
}

/// A function of A leaves something, a function of B looks; in a sandbox whose manager leaves resets out.
fn outcome(leak: &Leak, leaves: bool, without: &[Reset]) -> Outcome {
    let config = Config { without: without.to_vec(), ..config(Mode::Repurpose) };
    let manager = Manager::start(config).unwrap();
    let mut sandbox = manager.create(&program(leak.rights, 20)).unwrap();
    ready(&mut sandbox);
    if leaves {
        let (action, name, value) = leak.leave;
        let left = ask(&mut sandbox, action, argument(name, value));
        if action == "leave-descriptor-in-flight" {
            // It sends after its answer.
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        assert!(left.is_ok(), "{action} failed, so the test would show nothing: {left:?}");
    }
    let next = program(leak.rights, 60);
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
    Outcome { seen: look(leak, &mut sandbox), kept }
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

macro_rules! leaks {
    ($($name:ident: $leave:expr, $rights:ident, $look:expr, $kept:ident, $needs:expr;)*) => {
        $(#[test]
        fn $name() {
            let kept = stringify!($kept) == "kept";
            check(&Leak { leave: $leave, rights: Rights::$rights, look: $look, kept, needs: &$needs });
        })*
    };
}

use Look::{Forks, Inside, Members, Peak};
use Reset::{Channel, Check, Counters, Descriptors, HostName, Ipc, Keyring, Kill, Root, Sockets};

const NONE: (&str, &str, &str) = ("leave-nothing", "", "");

#[rustfmt::skip]
leaks! {
    file_in_root:       ("leave-file", "path", "/leak"),         All,   Inside("look-file", "path", "/leak"), kept, [Root];
    file_in_tmp:        ("leave-file", "path", "/tmp/leak"),     Usual, Inside("look-file", "path", "/tmp/leak"), kept, [Root];
    file_in_dev_shm:    ("leave-file", "path", "/dev/shm/leak"), Usual, Inside("look-file", "path", "/dev/shm/leak"), kept, [Root];
    attribute_of_file:  ("leave-attribute", "", ""),             All,   Inside("look-attribute", "", ""), kept, [Root];
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

    session_key:        ("leave-key", "", ""),                   All,   Inside("look-key", "", ""), kept, [Keyring];

    orphan:             ("leave-orphan", "", ""),                Usual, Members, kept, [Kill];
    orphan_seen_inside: ("leave-orphan", "", ""),                Usual, Inside("look-processes", "", ""), kept, [];
    inotify_watch:      ("leave-watch", "", ""),                 Usual, Members, kept, [Kill];
    timer:              ("leave-timer", "", ""),                 Usual, Members, kept, [Kill];

    peak_of_memory:     ("leave-memory-peak", "", ""),           Usual, Peak, kept, [Counters];
    limit_of_processes: NONE,                                    Usual, Forks, kept, [Reset::Limits];
    environment:        ("leave-environment", "", ""),           Usual, Inside("look-environment", "", ""), kept, [];
    open_descriptors:   NONE,                                    Usual, Inside("look-descriptors", "", ""), kept, [Descriptors];
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
