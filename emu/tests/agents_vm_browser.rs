//! Goal: browsers in guests serve agents in guests, in the agent's own and in one of several agents; one that is killed is
//! started again, its agents are told, and nothing is left. Method: agents that open a page, ask for the browser's end,
//! and read the page; the browser's process is killed in the agent's guest, and the shared browser's VMM on this machine.

#[path = "agents_common/mod.rs"]
mod common;
mod vm_common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use emu::agents::Manifest;
use emu::agents::harness::{Lab, Settings};
use emu::agents::place::{Guests, System};
use emu::agents::report::Report;
use emu::vm::{Image, Method};
use vm_common::{Bed, left_of};

/// Reads a page twice. In its first beginning the browser ends between.
const READS: &str = r#"
import os, time, trenvx_agent

def work(agent):
    browser = agent.browser()
    try:
        page = browser.open("/shop/p/1")
        if agent.spent["beginnings"] == 1:
            open("/tmp/end-browser", "w").close()
            # Asked until it is gone: then this raises.
            while True:
                browser.text(page)
                time.sleep(0.2)
        path = browser.do("evaluate", page=page, expression="location.pathname")
        return [path, len(browser.text(page)) > 20, agent.spent["beginnings"]]
    finally:
        browser.close()

trenvx_agent.run(work)
"#;
/// In a guest with a browser: kills that once somebody asks for it by a file.
const KILLER: &str = r#"
import os, signal, time

def end_browser():
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and b"headless" in open(f"/proc/{name}/cmdline", "rb").read():
                os.kill(int(name), signal.SIGKILL)
        except OSError:  # it has ended
            pass

if os.fork() == 0:
    try:
        while not os.path.exists("/tmp/end-browser"):
            time.sleep(0.1)
        end_browser()
    finally:
        os._exit(0)
"#;

/// Agents that read, in a folder of their own.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runtime = folder.path().join("runtime");
    fs::create_dir_all(&runtime).unwrap();
    fs::copy(common::folder().join("runtime/trenvx_agent.py"), runtime.join("trenvx_agent.py")).unwrap();
    let agent = folder.path().join("reads");
    fs::create_dir_all(agent.join("recordings")).unwrap();
    let manifest = "summary = \"\"\nsource = \"\"\nbrowser = true\ntokens = \"azure-code\"\n";
    fs::write(agent.join("manifest.toml"), manifest).unwrap();
    fs::write(agent.join("agent.py"), READS).unwrap();
    let answer = r#"{"turns": [], "answer": ["/shop/p/1", true, 2]}"#;
    fs::write(agent.join("recordings/0.json"), answer).unwrap();
    folder
}

fn settings(bed: &Bed, folder: &tempfile::TempDir, method: Method, count: usize) -> Option<Settings> {
    let out = vm_common::repository().join("out");
    let browser = match Image::with_browser(&out) {
        Ok(image) => image,
        Err(error) => {
            emu::doctor::skip(&error.to_string());
            return None;
        }
    };
    let setting = &bed.setting;
    let (accelerator, launcher) = (setting.accelerator.clone(), setting.launcher.clone());
    let guests = Guests::new(&bed.out, setting.image.clone(), accelerator, launcher);
    let mut settings = Settings::new(vec![Manifest::read(&folder.path().join("reads")).unwrap()]);
    settings.count = count;
    settings.per_browser = count;
    settings.deadline = Duration::from_secs(240);
    settings.system = System::Vm(method);
    settings.launcher = Some(PathBuf::from(env!("CARGO_BIN_EXE_trenvx-function")));
    settings.guests = Some(Arc::new(guests.with_browser(browser).that_run(KILLER)));
    Some(settings)
}

fn all_began_anew(report: &Report) {
    for row in &report.agents {
        assert_eq!(row.outcome, "right", "{}: {}", row.message, report.table());
        let failures = &row.tally.as_ref().unwrap().failures;
        assert!(failures.contains_key("browser-restarted"), "{failures:?}");
    }
    assert_eq!(report.browsers[0].starts, 2, "{:?}", report.browsers);
}

#[test]
fn a_browser_that_is_killed_in_its_agents_guest_is_started_again_there() {
    if common::no_agents() {
        return;
    }
    let Some(bed) = vm_common::bed() else { return };
    let folder = folder();
    let Some(settings) = settings(&bed, &folder, Method::E2b, 1) else { return };
    let lab = Lab::start(settings).unwrap();
    let report = lab.run().unwrap();
    all_began_anew(&report);
    // What it takes is its agent's.
    assert_eq!(report.browsers[0].memory_bytes, 0);
    assert!(report.agents[0].peak_bytes > 100 << 20, "{}", report.table());
    drop(lab);
    assert_eq!(left_of(std::process::id()), [""; 0]);
}

#[test]
fn agents_that_share_a_browsers_guest_go_on_when_that_is_killed() {
    if common::no_agents() {
        return;
    }
    let Some(bed) = vm_common::bed() else { return };
    let folder = folder();
    let Some(settings) = settings(&bed, &folder, Method::TrenvxVm, 2) else { return };
    let lab = Lab::start(settings).unwrap();
    let report = std::thread::scope(|scope| {
        let running = scope.spawn(|| lab.run().unwrap());
        // Both have read the page: its VMM is killed.
        let broker = lab.broker().unwrap();
        let read = || broker.tallies().values().filter(|tally| tally.steps > 2).count();
        while read() < 2 && !running.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !running.is_finished() {
            common::kill(&broker.browsers()[0].processes());
        }
        running.join().unwrap()
    });
    all_began_anew(&report);
    assert!(report.browsers[0].memory_bytes > 100 << 20, "{:?}", report.browsers);
    // Agents' own guests have none.
    assert!(report.agents.iter().all(|row| row.peak_bytes < 100 << 20), "{}", report.table());
    drop(lab);
    assert_eq!(left_of(std::process::id()), [""; 0]);
}
