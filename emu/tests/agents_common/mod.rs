//! What tests of agents share.
#![allow(dead_code)] // no test uses all of it

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use emu::agents::browser::{Broker, Limits, Session, program};
use emu::agents::harness::Lab;
use emu::agents::http::ANY;
use emu::agents::site::Site;
use emu::agents::ward::Ward;
use emu::agents::{Manifest, catalog};
use serde_json::Value;

/// The repository's agents.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("agents")
}

/// The agents of these names.
pub fn agents(names: &[&str]) -> Vec<Manifest> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    catalog::find(&folder(), &names).unwrap()
}

/// Whether the calling test must skip itself because agents cannot run here.
pub fn no_agents() -> bool {
    emu::doctor::skip_without(&["root", "cgroup2", "cgroup-kill", "python"])
}

/// Whether the calling test must skip itself because browsers cannot run here.
pub fn no_browser() -> bool {
    emu::doctor::skip_without(&["root", "cgroup2", "cgroup-kill", "python", "chromium"])
}

/// Ends the model once it was asked, and starts it again: what asks meanwhile asks again.
pub fn restart_model<T>(lab: &Lab, running: &ScopedJoinHandle<'_, T>) {
    while lab.llm().log().is_empty() && !running.is_finished() {
        std::thread::sleep(Duration::from_millis(2));
    }
    lab.llm().stop();
    std::thread::sleep(Duration::from_millis(300));
    lab.restart_llm().unwrap();
}

/// Kills processes that the test has started through a browser.
pub fn kill(pids: &[u32]) {
    assert!(!pids.is_empty());
    for pid in pids {
        // SAFETY: a signal to a process in this test's own cgroup.
        unsafe { libc::kill(i32::try_from(*pid).unwrap(), libc::SIGKILL) };
    }
}

/// A broker and a site.
pub struct Visit {
    pub site: Site,
    pub broker: Broker,
    pub ward: Arc<Ward>,
}

impl Visit {
    pub fn new(agents: usize, per_browser: usize, limits: Limits) -> Self {
        let ward = Ward::new().unwrap();
        let broker = Broker::start(&ward, &program().unwrap(), agents, per_browser, limits, ANY.0).unwrap();
        Self { site: Site::start(ANY).unwrap(), broker, ward }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.site.address())
    }

    pub fn session(&self, agent: usize) -> Session {
        self.broker.session(agent).unwrap()
    }

    pub fn lines(&self) -> Lines {
        let stream = TcpStream::connect(self.broker.address()).unwrap();
        Lines { reader: BufReader::new(stream) }
    }
}

/// The broker's socket.
pub struct Lines {
    reader: BufReader<TcpStream>,
}

impl Lines {
    pub fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.reader.get_mut(), "{request}").unwrap();
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}
