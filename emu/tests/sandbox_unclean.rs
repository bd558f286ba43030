//! Sandboxes that are not as when new: nothing is started in them, they are destroyed and counted, and whoever wanted one
//! gets another.

mod common;

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;

use common::{NEEDS, ask, function, manager, ready};
use emu::doctor::skip_without;
use emu::sandbox::{Config, Confinement, Error, Manager, Mode, Origin, Part, Pool, Program, Reset, Sandbox};
use serde_json::json;

/// A function that may do everything, in a new sandbox, that has changed a setting of its network.
fn changed(manager: &Manager) -> Sandbox {
    let mighty = Program { confinement: Confinement::none(), ..function() };
    let mut sandbox = manager.create(&mighty).unwrap();
    ready(&mut sandbox);
    ask(&mut sandbox, "leave-setting", json!({ "name": "net/core/somaxconn", "value": "99" })).unwrap();
    sandbox
}

/// A usual function, in a new sandbox, that has sent a listener into its channel: a manager that forgets to close the
/// channel finds it in the network namespace.
fn listening(manager: &Manager) -> Sandbox {
    let mut sandbox = manager.create(&function()).unwrap();
    ready(&mut sandbox);
    ask(&mut sandbox, "leave-unix-in-flight", json!({})).unwrap();
    // It sends after its answer.
    std::thread::sleep(std::time::Duration::from_millis(200));
    sandbox
}

/// Goal: a function is not started where another's traces are, not even for a moment: by the init, which remembers how
/// the sandbox looked at first and gets end, look and start in one order; and by the manager, which looks first where the
/// old function could have changed settings. Method: the function writes into a pipe as its first deed; the pipe of one
/// that is started in a clean sandbox shows that it does.
#[test]
fn nothing_is_started_in_a_sandbox_that_is_not_as_at_first() {
    if skip_without(NEEDS) {
        return;
    }
    let config = Config { without: vec![Reset::Channel], ..common::config(Mode::Repurpose) };
    let manager = Manager::start(config).unwrap();
    let sign = Program::call("sign", [""; 0]);
    let start = |sandbox: Sandbox| {
        let (mut read, write) = std::io::pipe().unwrap();
        let result = manager.repurpose_with(sandbox, &sign, &[write.as_fd()]);
        drop(write);
        let mut seen = String::new();
        // Ends when nobody holds the other end: the function has ended, or the sandbox is destroyed.
        read.read_to_string(&mut seen).unwrap();
        (result, seen)
    };

    let mut clean = manager.create(&function()).unwrap();
    ready(&mut clean);
    let (result, seen) = start(clean);
    assert_eq!((result.is_ok(), seen.as_str()), (true, "started"));
    drop(result);

    type Unclean = fn(&Manager) -> Sandbox;
    for (unclean, part) in [(listening as Unclean, Part::UnixSockets), (changed as Unclean, Part::Settings)] {
        manager.settle();
        let destroyed = manager.statistics().destroyed;
        let sandbox = unclean(&manager);
        let (number, init) = (sandbox.number(), sandbox.init_pid().unwrap());
        let (result, seen) = start(sandbox);
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Unclean { parts, .. } if *parts == [part]), "{error}");
        assert_eq!(error.to_string(), format!("sandbox {number} is not clean ({part}): it was destroyed"));
        assert_eq!(seen, "", "the function was started");
        manager.settle();
        let statistics = manager.statistics();
        assert_eq!((statistics.destroyed, statistics.unclean[&part]), (destroyed + 1, 1));
        assert!(!std::path::Path::new("/proc").join(init.to_string()).exists(), "its init is still there");
    }
}

/// The pool gives a tenant's least recently used sandbox, and none of another tenant's; what is not clean never comes
/// into it.
#[test]
fn a_pool_keeps_tenants_apart_and_what_is_not_clean_out() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let mut pool = Pool::new(8);
    pool.put(1, manager.create_idle().unwrap());
    pool.put(1, manager.create_idle().unwrap());
    assert!(pool.take(2).is_none());
    let (first, origin) = manager.start_in(pool.take(2), &function(), &[]).unwrap();
    assert_eq!(origin, Origin::New);
    let mighty = Program { confinement: Confinement::none(), ..function() };
    let (mut second, origin) = manager.start_in(pool.take(1), &mighty, &[]).unwrap();
    assert_eq!((origin, pool.len()), (Origin::Repurposed, 1));
    ready(&mut second);
    ask(&mut second, "leave-setting", json!({ "name": "net/core/somaxconn", "value": "99" })).unwrap();
    let error = manager.vacate(second).unwrap_err();
    assert!(matches!(&error, Error::Unclean { parts, .. } if *parts == [Part::Settings]), "{error}");
    assert_eq!(manager.statistics().unclean[&Part::Settings], 1);
    pool.put(2, manager.vacate(first).unwrap());
    assert_eq!(pool.len(), 2);
}

/// Whoever wants a function started gets it started: in a new sandbox where the used one is not clean or dead.
#[test]
fn a_start_is_not_lost_with_a_used_sandbox() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let dead = manager.create_idle().unwrap();
    let init = rustix::process::Pid::from_raw(dead.init_pid().unwrap()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();
    for (used, why) in [(changed(&manager), "not clean (settings)"), (dead, "talk to its init")] {
        let (mut sandbox, origin) = manager.start_in(Some(used), &function(), &[]).unwrap();
        assert!(matches!(&origin, Origin::NewAfterFailure(said) if said.contains(why)), "{origin:?}");
        ready(&mut sandbox);
        assert_eq!(ask(&mut sandbox, "echo", json!(1)).unwrap()["with"], 1);
    }
}

/// Memory that somebody outside still holds for the old function is charged to the next one: such a sandbox does not come
/// into a pool. Here the manager itself is made to forget to close the old channel, in which a file lies.
#[test]
fn memory_that_is_held_outside_keeps_a_sandbox_from_the_pool() {
    if skip_without(NEEDS) {
        return;
    }
    for (without, clean) in [(vec![], true), (vec![Reset::Channel], false)] {
        let config = Config { without, ..common::config(Mode::Repurpose) };
        let manager = Manager::start(config).unwrap();
        let mut sandbox = manager.create(&function()).unwrap();
        ready(&mut sandbox);
        ask(&mut sandbox, "leave-file-in-flight", json!({})).unwrap();
        // It sends after its answer.
        std::thread::sleep(std::time::Duration::from_millis(200));
        match manager.vacate(sandbox) {
            Ok(_) => assert!(clean, "32 MiB are held"),
            Err(Error::Unclean { parts, .. }) => assert_eq!((parts, clean), (vec![Part::Memory], false)),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Goal: sandboxes do not reach each other, and each reaches the host. Method: both listen; the ports of the bridge are
/// opened to each other for a moment, which shows that it is their isolation that keeps them apart.
#[test]
fn sandboxes_reach_the_host_and_not_each_other() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let start = || {
        let mut sandbox = manager.create(&function()).unwrap();
        ready(&mut sandbox);
        ask(&mut sandbox, "listen", json!({})).unwrap();
        sandbox
    };
    let (mut one, other) = (start(), start());
    let (address, gateway) = (other.address().unwrap(), gateway(&other));
    let host = std::net::TcpListener::bind((gateway, 0)).unwrap();
    let host = host.local_addr().unwrap();
    let mut reaches = |address: String| ask(&mut one, "connect", json!({ "address": address, "ms": 800 }));
    assert_eq!(reaches(host.to_string()), Ok(json!("connected")));
    let apart = reaches(format!("{address}:7411"));
    let kept_apart =
        apart.as_ref().is_err_and(|error| ["ETIMEDOUT", "EHOSTUNREACH"].contains(&error.as_str()));
    assert!(kept_apart, "{apart:?}");

    for port in ports(&other) {
        std::fs::write(port.join("isolated"), "0").unwrap();
    }
    assert_eq!(
        reaches(format!("{address}:7411")),
        Ok(json!("connected")),
        "nothing but isolation is in the way"
    );
}

/// Goal: what a sandbox knows of the way to the host stays true. Method: it connects again and again while others, whose
/// ends of their pairs have link addresses at random, come and go.
#[test]
fn a_sandbox_reaches_the_host_while_others_come_and_go() {
    if skip_without(NEEDS) {
        return;
    }
    let manager = manager(Mode::Repurpose);
    let mut one = manager.create(&function()).unwrap();
    ready(&mut one);
    let host = std::net::TcpListener::bind((gateway(&one), 0)).unwrap();
    let host = host.local_addr().unwrap().to_string();
    let mut reaches = || ask(&mut one, "connect", json!({ "address": host, "ms": 800 }));
    assert_eq!(reaches(), Ok(json!("connected")));
    for _ in 0..2 {
        let others: Vec<Sandbox> = (0..6).map(|_| manager.create(&function()).unwrap()).collect();
        assert_eq!(reaches(), Ok(json!("connected")), "others came");
        // What the machine's own addresses are does not change with them.
        let addresses = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        for port in others.iter().flat_map(ports) {
            let name = port.file_name().unwrap().to_string_lossy().into_owned();
            assert!(!addresses.split_whitespace().any(|word| word == name), "{name}: {addresses}");
        }
        for other in others {
            manager.destroy_now(other).unwrap();
        }
        assert_eq!(reaches(), Ok(json!("connected")), "they went");
    }
}

/// The address of the bridge: the first of the network.
fn gateway(sandbox: &Sandbox) -> std::net::Ipv4Addr {
    let bits = sandbox.address().unwrap().to_bits();
    std::net::Ipv4Addr::from_bits(bits - sandbox.number())
}

/// Ports of the bridge that this sandbox's pair is on.
fn ports(sandbox: &Sandbox) -> Vec<std::path::PathBuf> {
    let pid = format!("{:x}", std::process::id());
    let end = format!("s{:x}", sandbox.number());
    let links = std::fs::read_dir("/sys/class/net").unwrap().flatten();
    let own = |name: &str| {
        name.strip_prefix("tv")
            .and_then(|rest| rest.strip_prefix(pid.as_str()))
            .map(|rest| rest[1..].to_owned())
    };
    let mut names = links.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let link = names.find(|name| own(name).is_some_and(|rest| rest == end)).expect("its link");
    let bridge = std::fs::read_link(format!("/sys/class/net/{link}/master")).unwrap();
    let bridge = bridge.file_name().unwrap().to_string_lossy().into_owned();
    match std::fs::read_dir(format!("/sys/class/net/{bridge}/brif")) {
        Ok(ports) => ports.flatten().map(|port| port.path()).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}
