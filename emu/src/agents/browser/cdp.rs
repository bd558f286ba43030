//! The DevTools protocol over a pipe: messages of JSON, each ended by a zero byte.
//!
//! Many threads call at once; one thread reads, and wakes whoever waits. Of the events only those are kept that
//! somebody waits for: loads and crashes of tabs. Two are answered at once: a dialog is closed, and a window that a
//! page opens by itself is closed, because it would escape the limit on tabs.
//!
//! The pipe of a browser in a guest outlives the browser: what stands between says that it has ended, and starts it
//! again for the next connection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

/// Numbers of calls are never used twice: a browser that was started again may answer what its predecessor was asked.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The browser ended.
    Gone,
    /// The deadline came first.
    Late,
    /// The process of the tab ended.
    Crashed,
    /// The browser said no.
    Refused(String),
}

/// What a guest says when its browser has ended.
const ENDED: &str = "Trenvx.browserEnded";

fn number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A connection to a browser.
#[derive(Debug)]
pub(super) struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Mutex<Box<dyn Write + Send>>,
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    /// Calls that somebody waits for, and their answers.
    calls: BTreeMap<u64, Option<Result<Value, String>>>,
    tabs: BTreeMap<String, Tab>,
    gone: bool,
}

/// What is known of an attached tab.
#[derive(Debug, Default)]
struct Tab {
    loads: u64,
    crashed: bool,
}

impl Connection {
    /// Takes over both ends. The thread that reads ends with the input.
    pub(super) fn new(reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        let inner = Arc::new(Inner {
            writer: Mutex::new(Box::new(writer)),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let of_thread = Arc::clone(&inner);
        std::thread::spawn(move || of_thread.read(reader));
        Self { inner }
    }

    /// Waits until the browser answers, and has it tell of windows.
    pub(super) fn greet(&self, deadline: Instant) -> Result<(), Fault> {
        self.call(None, "Browser.getVersion", json!({}), deadline)?;
        self.call(None, "Target.setDiscoverTargets", json!({ "discover": true }), deadline).map(drop)
    }

    /// Whether the browser has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.inner.state().gone
    }

    /// Calls a method, of a tab if there is a `session`, and waits for its answer.
    pub(super) fn call(
        &self,
        session: Option<&str>,
        method: &str,
        parameters: Value,
        deadline: Instant,
    ) -> Result<Value, Fault> {
        let id = number();
        self.inner.state().calls.insert(id, None);
        let sent = self.inner.send(id, session, method, parameters);
        let crashed =
            |state: &State| session.and_then(|one| state.tabs.get(one)).is_some_and(|tab| tab.crashed);
        let answered = |state: &State| state.calls.get(&id).is_some_and(Option::is_some);
        let mut state = if sent {
            self.inner.wait(deadline, |state| answered(state) || crashed(state))
        } else {
            let mut state = self.inner.state();
            state.gone = true;
            state
        };
        match state.calls.remove(&id).flatten() {
            Some(answer) => answer.map_err(Fault::Refused),
            None if state.gone => Err(Fault::Gone),
            None if crashed(&state) => Err(Fault::Crashed),
            None => Err(Fault::Late),
        }
    }

    /// Sends a call whose answer nobody needs.
    pub(super) fn tell(&self, method: &str, parameters: Value) {
        self.inner.send(number(), None, method, parameters);
    }

    /// Keeps what happens to a tab from now on.
    pub(super) fn watch(&self, session: &str) {
        self.inner.state().tabs.insert(session.to_owned(), Tab::default());
    }

    /// Forgets a tab.
    pub(super) fn forget(&self, session: &str) {
        self.inner.state().tabs.remove(session);
    }

    /// How often a tab has loaded a page.
    pub(super) fn loads(&self, session: &str) -> u64 {
        self.inner.state().tabs.get(session).map_or(0, |tab| tab.loads)
    }

    /// Waits until a tab has loaded more often than that.
    pub(super) fn wait_load(&self, session: &str, before: u64, deadline: Instant) -> Result<(), Fault> {
        let tab = |state: &State| state.tabs.get(session).map(|tab| (tab.loads > before, tab.crashed));
        let state =
            self.inner.wait(deadline, |state| tab(state).is_none_or(|(loaded, crashed)| loaded || crashed));
        match tab(&state) {
            Some((true, _)) => Ok(()),
            _ if state.gone => Err(Fault::Gone),
            Some((false, false)) => Err(Fault::Late),
            _ => Err(Fault::Crashed),
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready`, the end of the browser, or the deadline.
    fn wait(&self, deadline: Instant, ready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while !state.gone && !ready(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// Whether it could be sent.
    fn send(&self, id: u64, session: Option<&str>, method: &str, parameters: Value) -> bool {
        let mut message = json!({ "id": id, "method": method });
        message["params"] = parameters;
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&bytes).and_then(|()| writer.flush()).is_ok()
    }

    fn read(&self, reader: impl Read) {
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match reader.read_until(0, &mut bytes) {
                Ok(count) if count > 0 && bytes.last() == Some(&0) => {}
                _ => break,
            }
            bytes.pop();
            // What is no message is not for us.
            let Ok(message) = serde_json::from_slice::<Value>(&bytes) else { continue };
            if message["method"] == ENDED {
                break;
            }
            self.take(&message);
        }
        self.state().gone = true;
        self.changed.notify_all();
    }

    fn take(&self, message: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let session = message["sessionId"].as_str();
        if let Some(id) = message["id"].as_u64() {
            let answer = match message.get("error") {
                Some(error) => Err(text(&error["message"])),
                None => Ok(message["result"].clone()),
            };
            let mut state = self.state();
            // Whoever waited may have given up.
            if let Some(call) = state.calls.get_mut(&id) {
                *call = Some(answer);
            }
        } else {
            let parameters = &message["params"];
            let tell = |session, method, parameters: Value| {
                self.send(number(), session, method, parameters);
            };
            match message["method"].as_str() {
                Some("Page.loadEventFired") => self.change(session, |tab| tab.loads += 1),
                Some("Inspector.targetCrashed") => self.change(session, |tab| tab.crashed = true),
                Some("Page.javascriptDialogOpening") => {
                    tell(session, "Page.handleJavaScriptDialog", json!({ "accept": true }));
                }
                Some("Target.targetCreated") if parameters["targetInfo"]["openerId"].is_string() => {
                    let target = text(&parameters["targetInfo"]["targetId"]);
                    tell(None, "Target.closeTarget", json!({ "targetId": target }));
                }
                _ => return,
            }
        }
        self.changed.notify_all();
    }

    fn change(&self, session: Option<&str>, change: impl FnOnce(&mut Tab)) {
        let mut state = self.state();
        if let Some(tab) = session.and_then(|one| state.tabs.get_mut(one)) {
            change(tab);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// A connection, and the browser's end of it.
    fn pair() -> (Connection, BufReader<UnixStream>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection::new(ours.try_clone().unwrap(), ours), BufReader::new(theirs))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn receive(browser: &mut BufReader<UnixStream>) -> Value {
        let mut bytes = Vec::new();
        browser.read_until(0, &mut bytes).unwrap();
        serde_json::from_slice(&bytes[..bytes.len() - 1]).unwrap()
    }

    fn send(browser: &mut BufReader<UnixStream>, message: &Value) {
        browser.get_mut().write_all(format!("{message}\0").as_bytes()).unwrap();
    }

    #[test]
    fn answers_find_their_calls_in_whatever_order_they_come() {
        let (connection, mut browser) = pair();
        std::thread::scope(|scope| {
            let calls = ["One", "Two"].map(|method| {
                let connection = &connection;
                scope.spawn(move || connection.call(None, method, json!({}), soon()))
            });
            let mut asked = [receive(&mut browser), receive(&mut browser)];
            asked.reverse();
            for call in &asked {
                send(&mut browser, &json!({ "id": call["id"], "result": call["method"] }));
            }
            let answers = calls.map(|call| call.join().unwrap());
            assert_eq!(answers, [Ok(json!("One")), Ok(json!("Two"))]);
        });
    }

    #[test]
    fn a_crash_ends_the_calls_of_its_tab_only_and_the_end_ends_all() {
        let (connection, mut browser) = pair();
        connection.watch("a");
        connection.watch("b");
        std::thread::scope(|scope| {
            let [of_a, of_b] = ["a", "b"].map(|session| {
                let connection = &connection;
                scope.spawn(move || connection.call(Some(session), "Page.enable", json!({}), soon()))
            });
            receive(&mut browser);
            receive(&mut browser);
            send(
                &mut browser,
                &json!({ "method": "Inspector.targetCrashed", "sessionId": "a", "params": {} }),
            );
            assert_eq!(of_a.join().unwrap(), Err(Fault::Crashed));
            drop(browser);
            assert_eq!(of_b.join().unwrap(), Err(Fault::Gone));
        });
        assert!(connection.is_gone());
    }

    #[test]
    fn a_load_that_was_before_does_not_count() {
        let (connection, mut browser) = pair();
        connection.watch("a");
        let load = json!({ "method": "Page.loadEventFired", "sessionId": "a", "params": {} });
        send(&mut browser, &load);
        connection.wait_load("a", 0, soon()).unwrap();
        assert_eq!(connection.loads("a"), 1);
        let late = connection.wait_load("a", 1, Instant::now() + Duration::from_millis(20));
        assert_eq!(late, Err(Fault::Late));
    }

    #[test]
    fn a_pipe_that_outlives_its_browser_serves_the_next_one() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connect = || Connection::new(ours.try_clone().unwrap(), ours.try_clone().unwrap());
        let mut guest = BufReader::new(theirs);
        let first = connect();
        let asked = std::thread::scope(|scope| {
            let call = scope.spawn(|| first.call(None, "Old", json!({}), soon()));
            let asked = receive(&mut guest);
            send(&mut guest, &json!({ "method": ENDED }));
            assert_eq!(call.join().unwrap(), Err(Fault::Gone));
            asked
        });
        assert!(first.is_gone());
        let second = connect();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| second.call(None, "New", json!({}), soon()));
            // The answer to what was asked before is nobody's.
            send(&mut guest, &json!({ "id": asked["id"], "result": "old" }));
            let id = receive(&mut guest)["id"].clone();
            send(&mut guest, &json!({ "id": id, "result": "new" }));
            assert_eq!(call.join().unwrap(), Ok(json!("new")));
        });
    }

    #[test]
    fn a_window_that_a_page_opens_is_closed() {
        let (_connection, mut browser) = pair();
        let info = json!({ "targetId": "t", "openerId": "o" });
        send(&mut browser, &json!({ "method": "Target.targetCreated", "params": { "targetInfo": info } }));
        let told = receive(&mut browser);
        assert_eq!(
            (&told["method"], &told["params"]["targetId"]),
            (&json!("Target.closeTarget"), &json!("t"))
        );
    }
}
