//! What agents talk to, over TCP: a line of JSON for each request, one for each answer. An agent proves with the key that
//! it was started with that it is the one of its number.
//!
//! ```text
//! {"do": "hello", "agent": 3, "key": "5f0c…"}          first of all; which browser follows from the number
//! {"do": "open", "url": "http://…"}                    {"ok": {"page": 1, "title": "Shop"}}
//! {"do": "go", "page": 1, "url": "http://…"}           {"ok": null}
//! {"do": "text", "page": 1, "selector": "main"}        {"ok": "…"}
//! {"do": "click", "page": 1, "selector": "#add", "load": true}
//! {"do": "press", "page": 1, "key": "ArrowLeft"}
//! {"do": "evaluate", "page": 1, "expression": "1 + 1"} {"ok": 2}
//! {"do": "screenshot", "page": 1}                      {"ok": 48213}
//! {"do": "close", "page": 1}
//!                                                      {"error": {"name": "browser-restarted", "message": "…"}}
//! ```
//!
//! A connection is a session. It ends with the connection, so an agent that dies leaves no tabs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::Error;
use super::super::ward::Ward;
use super::account::Account;
use super::launch::{Launcher, Programs};
use super::{Failure, Limits, Session, Shared};

/// The longest request, bytes.
const LINE: u64 = 1 << 20;
/// How long all sessions may take to end.
const END: Duration = Duration::from_secs(5);

/// What one agent did with its browser.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Requests.
    pub steps: u64,
    /// How long they took together, ms.
    pub time_ms: f64,
    /// Failures, by name.
    pub failures: BTreeMap<String, u64>,
}

/// The broker. Dropped, it listens no more, and all sessions and browsers end.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Inner>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    browsers: Vec<Arc<Shared>>,
    per_browser: usize,
    limits: Limits,
    stopped: AtomicBool,
    /// By the agent's number.
    keys: Vec<String>,
    connections: Mutex<BTreeMap<u64, TcpStream>>,
    tallies: Mutex<BTreeMap<usize, Tally>>,
    /// Limits are an agent's: those of a connection would be new with every connection.
    accounts: Mutex<BTreeMap<usize, Arc<Account>>>,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
enum Order {
    Hello {
        agent: usize,
        key: String,
    },
    Open {
        url: String,
    },
    Go {
        page: u32,
        url: String,
    },
    Text {
        page: u32,
        selector: String,
    },
    Click {
        page: u32,
        selector: String,
        #[serde(default)]
        load: bool,
    },
    Press {
        page: u32,
        key: String,
    },
    Evaluate {
        page: u32,
        expression: String,
    },
    Screenshot {
        page: u32,
    },
    Close {
        page: u32,
    },
}

impl Broker {
    /// Starts one for `agents` agents (numbers from 0), of which `per_browser` share a browser, at an address of this
    /// machine that they reach.
    ///
    /// # Errors
    /// If `per_browser` is 0, or nothing can listen there.
    pub fn start(
        ward: &Arc<Ward>,
        program: &Path,
        agents: usize,
        per_browser: usize,
        limits: Limits,
        at: Ipv4Addr,
    ) -> Result<Self, Error> {
        let programs: Arc<dyn Launcher> =
            Arc::new(Programs { ward: Arc::clone(ward), program: program.to_owned() });
        Self::with(agents, per_browser, limits, at, |_| Arc::clone(&programs))
    }

    /// The same with browsers from elsewhere, by their numbers.
    pub(in crate::agents) fn with(
        agents: usize,
        per_browser: usize,
        limits: Limits,
        at: Ipv4Addr,
        launcher: impl Fn(usize) -> Arc<dyn Launcher>,
    ) -> Result<Self, Error> {
        if per_browser == 0 {
            return Err(Error::no_sharing());
        }
        let listener = TcpListener::bind((at, 0)).map_err(Error::io("listen at", at.to_string()))?;
        let address = listener.local_addr().map_err(Error::io("listen at", at.to_string()))?;
        let keys = (0..agents).map(|_| key()).collect::<Result<_, _>>()?;
        let browsers =
            (0..agents.div_ceil(per_browser)).map(|number| Shared::new(launcher(number), number)).collect();
        let shared = Arc::new(Inner {
            browsers,
            per_browser,
            limits,
            stopped: AtomicBool::new(false),
            keys,
            connections: Mutex::default(),
            tallies: Mutex::default(),
            accounts: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, &of_thread));
        Ok(Self { shared, address, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the agent of that number proves itself with.
    #[must_use]
    pub fn key(&self, agent: usize) -> Option<&str> {
        self.shared.keys.get(agent).map(String::as_str)
    }

    /// The browsers.
    #[must_use]
    pub fn browsers(&self) -> &[Arc<Shared>] {
        &self.shared.browsers
    }

    /// What each agent has done so far.
    #[must_use]
    pub fn tallies(&self) -> BTreeMap<usize, Tally> {
        lock(&self.shared.tallies).clone()
    }

    /// A session without the socket.
    #[must_use]
    pub fn session(&self, agent: usize) -> Option<Session> {
        self.shared.session(agent)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did it would listen no more.
            let _ = thread.join();
        }
        for stream in lock(&self.shared.connections).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Sessions hold browsers: those end when the last session does.
        let end = std::time::Instant::now() + END;
        while !lock(&self.shared.connections).is_empty() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Inner {
    fn session(&self, agent: usize) -> Option<Session> {
        let browser = self.browsers.get(agent / self.per_browser)?;
        let account = Arc::clone(lock(&self.accounts).entry(agent).or_default());
        Some(Session::of(Arc::clone(browser), self.limits, account))
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        let mut known: Option<(usize, Session)> = None;
        loop {
            let mut line = String::new();
            let count = (&mut reader).take(LINE).read_line(&mut line)?;
            if count == 0 || self.stopped.load(Ordering::Acquire) {
                return Ok(());
            }
            if !line.ends_with('\n') {
                let failure = Failure::BadRequest(format!("a request is a line of at most {LINE} bytes"));
                return writeln!(writer, "{}", told(&failure));
            }
            let begun = std::time::Instant::now();
            let done = serde_json::from_str(&line)
                .map_err(|error| Failure::BadRequest(error.to_string()))
                .and_then(|order| self.follow(&mut known, order));
            if let Some((agent, _)) = &known {
                let mut tallies = lock(&self.tallies);
                let tally = tallies.entry(*agent).or_default();
                tally.steps += 1;
                tally.time_ms += begun.elapsed().as_secs_f64() * 1e3;
                if let Err(failure) = &done {
                    *tally.failures.entry(failure.name().to_owned()).or_default() += 1;
                }
            }
            let answer = done.map_or_else(|failure| told(&failure), |value| json!({ "ok": value }));
            writeln!(writer, "{answer}")?;
        }
    }

    fn follow(&self, known: &mut Option<(usize, Session)>, order: Order) -> Result<Value, Failure> {
        let Some((_, session)) = known else {
            let Order::Hello { agent, key } = order else {
                return Err(Failure::BadRequest("the first request is hello".to_owned()));
            };
            let session = self.session(agent).filter(|_| self.keys.get(agent) == Some(&key));
            let session = session
                .ok_or_else(|| Failure::BadRequest(format!("there is no agent {agent} of this key")))?;
            *known = Some((agent, session));
            return Ok(Value::Null);
        };
        Ok(match order {
            Order::Hello { .. } => return Err(Failure::BadRequest("hello was said already".to_owned())),
            Order::Open { url } => json!(session.open(&url)?),
            Order::Go { page, url } => json!(session.go(page, &url)?),
            Order::Text { page, selector } => json!(session.text(page, &selector)?),
            Order::Click { page, selector, load } => json!(session.click(page, &selector, load)?),
            Order::Press { page, key } => json!(session.press(page, &key)?),
            Order::Evaluate { page, expression } => session.evaluate(page, &expression)?,
            Order::Screenshot { page } => json!(session.screenshot(page)?),
            Order::Close { page } => json!(session.close(page)?),
        })
    }
}

/// A new key: 128 random bits.
fn key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    let path = Path::new("/dev/urandom");
    let drawn = std::fs::File::open(path).and_then(|mut random| random.read_exact(&mut bytes));
    drawn.map_err(Error::io("draw random numbers from", path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn told(failure: &Failure) -> Value {
    json!({ "error": { "name": failure.name(), "message": failure.to_string() } })
}

fn accept(listener: &TcpListener, shared: &Arc<Inner>) {
    for number in 0.. {
        let accepted = listener.accept();
        if shared.stopped.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        // Requests and answers are short, and waited for.
        let _ = stream.set_nodelay(true);
        let Ok(held) = stream.try_clone() else { continue };
        lock(&shared.connections).insert(number, held);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A connection that breaks is the end of its session.
            let _ = shared.serve(&stream);
            let _ = stream.shutdown(Shutdown::Both);
            lock(&shared.connections).remove(&number);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
