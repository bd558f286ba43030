//! The protocol's client against functions that behave and functions that do not.

mod functions_common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use emu::functions::{Client, ClientError, Place, Process, StartError, measure};
use functions_common::{inputs, native};
use serde_json::json;

const SOON: Duration = Duration::from_secs(10);
const READY: &str = "{\"ready\":true,\"function\":\"fake\",\"pid\":7,\"threads\":2}\n";

/// A function that says `says` and then reads until its input ends; returns what it read.
fn fake(says: &'static str) -> (Client<UnixStream>, JoinHandle<String>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let function = thread::spawn(move || {
        theirs.write_all(says.as_bytes()).unwrap();
        let mut read = String::new();
        theirs.read_to_string(&mut read).unwrap();
        read
    });
    (Client::new(ours).unwrap(), function)
}

#[test]
fn a_request_goes_out_and_its_answer_comes_back() {
    let says = concat!(
        "{\"ready\":true,\"function\":\"fake\",\"pid\":7,\"threads\":2}\n",
        "{\"id\":1,\"ok\":true,\"output\":{\"n\":5},\"us\":1500}\n",
        "{\"id\":2,\"ok\":false,\"error\":\"no such picture\"}\n",
    );
    let (mut client, function) = fake(says);
    let ready = client.ready(SOON).unwrap();
    assert_eq!((ready.function.as_str(), ready.pid, ready.threads), ("fake", 7, 2));
    let reply = client.call(&json!({"n": 4}), SOON).unwrap();
    assert_eq!((reply.output, reply.service), (json!({"n": 5}), Duration::from_micros(1500)));
    let refused = client.call(&json!({"n": 6}), SOON).unwrap_err();
    assert_eq!(refused.to_string(), "the function answered with an error: no such picture");
    drop(client);
    assert_eq!(function.join().unwrap(), "{\"id\":1,\"input\":{\"n\":4}}\n{\"id\":2,\"input\":{\"n\":6}}\n");
}

#[test]
fn a_silent_function_is_given_up_at_the_deadline() {
    let (mut client, _function) = fake(READY);
    client.ready(SOON).unwrap();
    let start = Instant::now();
    let error = client.call(&json!({}), Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { awaited: "answer", .. }), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(50) && start.elapsed() < SOON);
}

#[test]
fn a_function_that_reads_nothing_does_not_hold_the_client() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut client = Client::new(ours).unwrap();
    let large = json!({"text": "x".repeat(8 << 20)});
    let error = client.call(&large, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, ClientError::Timeout { awaited: "room for a request", .. }), "{error}");
}

#[test]
fn a_function_that_ends_is_told_from_one_that_is_slow() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let mut client = Client::new(ours).unwrap();
    assert!(matches!(client.ready(SOON).unwrap_err(), ClientError::Ended("ready message")));
    assert!(matches!(client.call(&json!({}), SOON).unwrap_err(), ClientError::Ended(_)));
}

#[test]
fn what_is_not_of_the_protocol_is_shown() {
    for says in ["Traceback: oh no\n", "{\"ready\":true}\n", "\n"] {
        let (mut client, _function) = fake(says);
        let error = client.ready(SOON).unwrap_err().to_string();
        assert_eq!(error, format!("not a ready message: {:?}", says.trim_end()));
    }
    // The answer to another request.
    let (mut client, _function) = fake("{\"id\":9,\"ok\":true,\"output\":{},\"us\":1}\n");
    let error = client.call(&json!({}), SOON).unwrap_err().to_string();
    assert!(error.contains("answer Some(9) to request 1"), "{error}");
}

#[test]
fn answers_that_come_in_pieces_or_together_are_told_apart() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut client = Client::new(ours).unwrap();
    let function = thread::spawn(move || {
        let text =
            "{\"id\":2,\"ok\":true,\"output\":2,\"us\":1}\n{\"id\":1,\"ok\":true,\"output\":1,\"us\":1}\n";
        for piece in text.as_bytes().chunks(7) {
            theirs.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        theirs
    });
    let numbers = [(); 2].map(|()| client.receive(SOON).unwrap().0);
    assert_eq!(numbers, [Some(2), Some(1)]);
    function.join().unwrap();
}

/// A function in the shell: says that it is ready, answers one request after the other, ends with its input.
fn shell(name: &str, output: &str) -> Vec<String> {
    let script = format!(
        "echo '{{\"ready\":true,\"function\":\"{name}\",\"pid\":1,\"threads\":1}}'; n=0; \
         while read -r line; do n=$((n + 1)); echo '{{\"id\":'$n',\"ok\":true,\"output\":{output},\"us\":1000}}'; done"
    );
    ["/bin/sh", "-c", &script].map(str::to_owned).to_vec()
}

#[test]
fn a_program_of_this_machine_is_started_measured_and_ended() {
    let argv = shell("fake", "{\"n\":1}");
    let spec = native("fake", &argv.iter().map(String::as_str).collect::<Vec<_>>());
    let measured = measure(&spec, &Place::Host, 3).unwrap();
    assert_eq!(measured.faults, Vec::<String>::new());
    assert_eq!((measured.service_ms, measured.usage.threads), (1.0, 1));
    assert!(measured.usage.peak_rss_bytes > 100_000 && measured.start_ms > 0.0, "{measured:?}");
}

#[test]
fn a_wrong_answer_is_a_fault_of_each_input() {
    let argv = shell("fake", "{\"n\":2}");
    let spec = native("fake", &argv.iter().map(String::as_str).collect::<Vec<_>>());
    let faults = measure(&spec, &Place::Host, 2).unwrap().faults;
    assert_eq!(faults, ["warm-up", "base", "_1", "_2"].map(|name| format!("{name}: /n: 2, expected 1")));
}

#[test]
fn a_function_that_leaves_badly_is_a_fault() {
    let mut argv = shell("fake", "{\"n\":1}");
    argv[2].push_str("; exit 3");
    let spec = native("fake", &argv.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(measure(&spec, &Place::Host, 1).unwrap().faults, ["end: it left with exit status: 3"]);
}

#[test]
fn a_function_that_does_not_start_says_what_it_printed() {
    let spec = native("broken", &["/bin/sh", "-c", "echo no library of that name >&2; exit 1"]);
    let error = Process::start(&spec, &Place::Host, SOON).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("broken") && message.contains("no library of that name"), "{message}");

    let spec = native("absent", &["/no/such/program"]);
    let error = Process::start(&spec, &Place::Host, SOON).unwrap_err();
    assert!(matches!(error, StartError::Prepare(_)), "{error}");
    assert!(error.to_string().contains("/no/such/program"), "{error}");

    let argv = shell("other", "{}");
    let spec = native("fake", &argv.iter().map(String::as_str).collect::<Vec<_>>());
    let error = Process::start(&spec, &Place::Host, SOON).unwrap_err();
    assert_eq!(error.to_string(), "fake was started, and other answered");
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn a_hung_function_is_killed_with_what_it_started() {
    let spec = native("hung", &["/bin/sh", "-c", "sleep 60 & echo $$ $! >&2; wait"]);
    let error = Process::start(&spec, &Place::Host, Duration::from_millis(300)).unwrap_err();
    let StartError::NotReady { stderr, .. } = error else { panic!("{error}") };
    let pids: Vec<u32> = stderr.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2, "{stderr}");
    let end = Instant::now() + SOON;
    for pid in pids {
        // What it started becomes somebody else's child, who may take a moment to notice its end.
        while is_running(pid) {
            assert!(Instant::now() < end, "process {pid} is still there");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn inputs_are_compared_with_their_own_expectations() {
    let inputs = inputs(r#"{ input = {}, expect = [{ at = "/n", equal = 1 }, { at = "/m", max = 2 }] }"#);
    assert_eq!(inputs.base.faults(&json!({"n": 1, "m": 2})), Vec::<String>::new());
    assert_eq!(inputs.base.faults(&json!({"n": 2, "m": 3})).len(), 2);
}
