//! Attached processes whose pages the page server brings: private copies page by page, and one cache for all.

mod template_common;

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use emu::doctor::skip_without;
use emu::pager::source::spec::{OpenSource, SourceSpec};
use emu::pager::{self, Client, Fate, Mode, Options};
use emu::template::{Backing, Prepared, Served, Template};
use serde_json::{Value, json};
use template_common::python::serving;
use template_common::served::PageServer;
use template_common::{NEEDS, Place, ask, lacks};

const SCRIPT: &str = r#"
import hashlib, random
random.seed(5)
state = bytearray(random.randbytes(3 << 20))
table = {number: str(number) for number in range(20000)}

def step(number):
    state[number * 4096] ^= 1
    return [hashlib.sha256(state).hexdigest(), table[number], sum(table)]
"#;

struct Setup {
    place: Place,
    template: Template,
    /// What the original answers to the steps 1 and 2, asked in this order.
    expected: [Value; 2],
}

fn setup() -> Option<Setup> {
    let needs = [NEEDS, &["userfaultfd", "userfaultfd-device", "userfaultfd-minor"]].concat();
    if skip_without(&needs) || lacks("python3") {
        return None;
    }
    let place = Place::new();
    let mut original = place.start(&place.script("served.py", &serving(SCRIPT)));
    let template = place.capture(&original, "served").unwrap();
    let expected = [1, 2].map(|number| ask(&mut original, &json!(format!("step({number})"))));
    Some(Setup { place, template, expected })
}

fn serve(place: &Place, source: &str) -> (pager::Server, Client) {
    let socket = place.folder.path().join("pages.socket");
    let source: Arc<dyn OpenSource> = Arc::new(source.parse::<SourceSpec>().unwrap());
    let server = pager::Server::start(pager::Config::new(socket.clone(), vec![source])).unwrap();
    (server, Client::connect(&socket).unwrap())
}

fn device() -> File {
    File::options().read(true).write(true).open("/dev/userfaultfd").unwrap()
}

fn answers_like_the_original(backing: Backing, mode: Mode) {
    let Some(Setup { place, template, expected }) = setup() else { return };
    let (server, client) = serve(&place, "dram,latency=3us");
    let (prepared, device) = (Prepared::new(&template, backing).unwrap(), device());
    let served = Served {
        client: &client,
        folder: template.folder(),
        options: Options::new(mode),
        device: device.as_fd(),
    };
    let program = place.script("served.py", &serving(SCRIPT));
    let mut living = Vec::new();
    for _ in 0..3 {
        let (mut attached, attachment) =
            prepared.start_served(&place.manager, None, &program, &served).unwrap();
        for (number, expected) in [1, 2].into_iter().zip(&expected) {
            let input = json!(format!("step({number})"));
            let answer = attached.function().channel.request(&input, Duration::from_secs(30));
            let answer = answer.unwrap_or_else(|error| {
                let status = rustix::process::waitid(
                    rustix::process::WaitId::PidFd(attached.function().process.as_fd()),
                    rustix::process::WaitIdOptions::EXITED,
                );
                panic!("{error}: {:?} {status:?}", attachment.fate(Duration::from_secs(1)))
            });
            assert_eq!(answer["output"], *expected);
        }
        living.push(attached);
    }
    let report = server.report();
    assert_eq!(report.attachments, 3);
    let fetched: u64 = report.sources.iter().map(|source| source.counts.pages).sum();
    let present = template.manifest().pages.present;
    if mode == Mode::Shared {
        assert!(fetched <= present, "{fetched} pages were fetched and there are {present}");
    } else {
        assert!(fetched > 2 * 768, "each fetches the state of its own, and it was {fetched}");
    }
}

#[test]
fn private_copies_page_by_page() {
    answers_like_the_original(Backing::Fault, Mode::Private);
}

#[test]
fn one_cache_for_all() {
    answers_like_the_original(Backing::FaultShared, Mode::Shared);
}

#[test]
fn a_process_whose_server_is_killed_is_ended_within_a_second() {
    let Some(Setup { place, template, expected }) = setup() else { return };
    let mut server = PageServer::start(place.folder.path(), "dram");
    let prepared = Prepared::new(&template, Backing::Fault).unwrap();
    let program = place.script("served.py", &serving(SCRIPT));
    let with = (&place.manager, &program);
    let (mut attached, attachment) = server.attach(&prepared, &template, with, 1).unwrap();
    assert_eq!(ask(&mut attached.sandbox, &json!("step(1)")), expected[0]);
    let second = Duration::from_secs(1);
    let began = Instant::now();
    server.kill();
    assert_eq!(attachment.fate(second), Some(Fate::ServerGone));
    while !attached.function().has_ended() {
        assert!(began.elapsed() < second, "it goes on without its pages");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(server.attach(&prepared, &template, with, 1).is_err(), "there is no server");
    let again = PageServer::start(place.folder.path(), "dram");
    let (mut attached, _) = again.attach(&prepared, &template, with, 1).unwrap();
    assert_eq!(ask(&mut attached.sandbox, &json!("step(1)")), expected[0], "by the next server");
}
