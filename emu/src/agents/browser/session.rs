//! One agent's part of a browser.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::Failure;
use super::account::{Account, Seat};
use super::cdp::Fault;
use super::launch::Running;
use super::shared::Shared;

/// How long closing may take before it is left to the browser.
const CLOSING: Duration = Duration::from_secs(2);
/// What a browser calls it when the machine's network has changed under a page that it was loading.
const NETWORK_CHANGED: &str = "net::ERR_NETWORK_CHANGED";

/// What one agent may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tabs that it may have open at once.
    pub tabs: usize,
    /// How long one step may take.
    pub step: Duration,
    /// How long all its steps may take together.
    pub total: Duration,
}

impl Default for Limits {
    /// Four tabs, ten seconds a step, ten minutes in all: far more than the agents here need.
    fn default() -> Self {
        Self { tabs: 4, step: Duration::from_secs(10), total: Duration::from_secs(600) }
    }
}

impl Limits {
    /// So many times the time.
    pub(in crate::agents) fn times(self, more: u32) -> Self {
        Self { step: self.step * more, total: self.total * more, ..self }
    }
}

/// A page that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// Its number in this session.
    pub page: u32,
    /// Its title.
    pub title: String,
}

/// A context in a browser. Dropped, it is disposed of with its tabs, cookies and storage.
#[derive(Debug)]
pub struct Session {
    browser: Arc<Shared>,
    limits: Limits,
    account: Arc<Account>,
    next: u32,
    held: Option<Held>,
}

/// What a session has in a running browser.
#[derive(Debug)]
struct Held {
    chromium: Arc<Running>,
    context: String,
    tabs: BTreeMap<u32, Tab>,
}

#[derive(Clone, Debug)]
struct Tab {
    target: String,
    session: String,
    /// Held as long as the tab is.
    _seat: Arc<Seat>,
}

impl Session {
    /// A new one, which takes nothing until it opens a page.
    #[must_use]
    pub fn new(browser: Arc<Shared>, limits: Limits) -> Self {
        Self::of(browser, limits, Arc::default())
    }

    /// The same for an agent that may have others, which count together.
    pub(super) fn of(browser: Arc<Shared>, limits: Limits, account: Arc<Account>) -> Self {
        Self { browser, limits, account, next: 0, held: None }
    }

    /// Opens a page in a new tab and waits until it has loaded.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub fn open(&mut self, address: &str) -> Result<Opened, Failure> {
        if !address.starts_with("http://") && !address.starts_with("https://") {
            return Err(Failure::AddressRefused(address.to_owned()));
        }
        let seat = Arc::new(self.account.seat(self.limits.tabs).map_err(Failure::TooManyTabs)?);
        // Starting a browser is not the page's time.
        self.hold()?;
        self.next += 1;
        let page = self.next;
        self.step(page, |held, deadline| {
            let tab = held.attach(page, seat, deadline)?;
            held.navigate(&tab, address, deadline)?;
            let title = held.evaluate(&tab, "document.title", deadline)?;
            Ok(Opened { page, title: title.as_str().unwrap_or_default().to_owned() })
        })
        .inspect_err(|_| self.drop_tab(page))
    }

    /// Goes to another address in a tab that is open, and waits until it has loaded.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub fn go(&mut self, page: u32, address: &str) -> Result<(), Failure> {
        if !address.starts_with("http://") && !address.starts_with("https://") {
            return Err(Failure::AddressRefused(address.to_owned()));
        }
        self.on(page, |held, tab, deadline| held.navigate(tab, address, deadline))
    }

    /// The text that a visitor sees in the first element that `selector` selects.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub fn text(&mut self, page: u32, selector: &str) -> Result<String, Failure> {
        let script = format!("document.querySelector({}).innerText", json!(selector));
        self.on(page, |held, tab, deadline| {
            held.find(tab, selector, deadline)?;
            Ok(held.evaluate(tab, &script, deadline)?.as_str().unwrap_or_default().to_owned())
        })
    }

    /// Clicks, with the mouse, on the first element that `selector` selects; with `load`, waits for the page that
    /// this leads to.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub fn click(&mut self, page: u32, selector: &str, load: bool) -> Result<(), Failure> {
        let script = format!(
            "(() => {{ const one = document.querySelector({}); one.scrollIntoView({{ block: 'center', behavior: 'instant' }}); \
             const box = one.getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        );
        self.on(page, |held, tab, deadline| {
            held.find(tab, selector, deadline)?;
            let place = held.evaluate(tab, &script, deadline)?;
            let before = held.chromium.connection.loads(&tab.session);
            for kind in ["mousePressed", "mouseReleased"] {
                let mouse = json!({
                    "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1,
                });
                held.call(tab, "Input.dispatchMouseEvent", mouse, deadline)?;
            }
            if load {
                held.chromium.connection.wait_load(&tab.session, before, deadline)?;
            }
            Ok(())
        })
    }

    /// Presses and releases a key, named as in the web's `KeyboardEvent.key`.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub fn press(&mut self, page: u32, key: &str) -> Result<(), Failure> {
        self.on(page, |held, tab, deadline| {
            for kind in ["keyDown", "keyUp"] {
                let key = json!({ "type": kind, "key": key, "code": key });
                held.call(tab, "Input.dispatchKeyEvent", key, deadline)?;
            }
            Ok(())
        })
    }

    /// The value of a script's expression in the page.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub fn evaluate(&mut self, page: u32, expression: &str) -> Result<Value, Failure> {
        self.on(page, |held, tab, deadline| held.evaluate(tab, expression, deadline))
    }

    /// A picture of the page: its length in bytes, as PNG.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub fn screenshot(&mut self, page: u32) -> Result<usize, Failure> {
        self.on(page, |held, tab, deadline| {
            let answer = held.call(tab, "Page.captureScreenshot", json!({ "format": "png" }), deadline)?;
            // Base64: three bytes in four characters.
            Ok(answer["data"].as_str().map_or(0, str::len) / 4 * 3)
        })
    }

    /// Closes a tab.
    ///
    /// # Errors
    /// As [`Failure`] says.
    pub fn close(&mut self, page: u32) -> Result<(), Failure> {
        self.on(page, |_, _, _| Ok(()))?;
        self.drop_tab(page);
        Ok(())
    }

    /// Numbers of the open tabs.
    #[must_use]
    pub fn pages(&self) -> Vec<u32> {
        self.held.as_ref().map_or_else(Vec::new, |held| held.tabs.keys().copied().collect())
    }

    /// How long the steps of its agent have taken so far.
    #[must_use]
    pub fn used(&self) -> Duration {
        self.account.used()
    }

    /// Takes part in a running browser, unless it does.
    fn hold(&mut self) -> Result<(), Failure> {
        self.look()?;
        if self.held.is_some() {
            return Ok(());
        }
        let chromium = self.browser.running()?;
        let deadline = Instant::now() + self.limits.step;
        let parameters = json!({ "disposeOnDetach": true });
        match chromium.connection.call(None, "Target.createBrowserContext", parameters, deadline) {
            Ok(answer) => {
                let context = answer["browserContextId"].as_str().unwrap_or_default().to_owned();
                self.held = Some(Held { chromium, context, tabs: BTreeMap::new() });
                Ok(())
            }
            Err(Fault::Refused(reason)) => Err(Failure::Unavailable(reason)),
            Err(Fault::Late) => Err(Failure::Unavailable("it does not answer".to_owned())),
            Err(Fault::Gone | Fault::Crashed) => Err(Failure::Restarted),
        }
    }

    /// Tells, once, if the browser is no longer the one that this session had a part of.
    fn look(&mut self) -> Result<(), Failure> {
        if self.held.as_ref().is_some_and(|held| held.chromium.connection.is_gone()) {
            self.held = None;
            return Err(Failure::Restarted);
        }
        Ok(())
    }

    /// Does something with a tab that is open.
    fn on<T>(
        &mut self,
        page: u32,
        work: impl FnOnce(&mut Held, &Tab, Instant) -> Result<T, Stop>,
    ) -> Result<T, Failure> {
        self.look()?;
        let tab = self.held.as_ref().and_then(|held| held.tabs.get(&page)).cloned();
        let tab = tab.ok_or(Failure::NoSuchPage(page))?;
        self.step(page, |held, deadline| work(held, &tab, deadline))
    }

    /// Does something within the limits of time.
    fn step<T>(
        &mut self,
        page: u32,
        work: impl FnOnce(&mut Held, Instant) -> Result<T, Stop>,
    ) -> Result<T, Failure> {
        let left = self.limits.total.saturating_sub(self.account.used());
        if left.is_zero() {
            return Err(Failure::TimeUsedUp(self.account.used().as_millis()));
        }
        let allowed = self.limits.step.min(left);
        let begun = Instant::now();
        let held = self.held.as_mut().ok_or(Failure::NoSuchPage(page))?;
        let done = work(held, begun + allowed);
        self.account.spend(begun.elapsed());
        done.map_err(|stop| match stop {
            Stop::Failed(failure) => failure,
            Stop::Fault(Fault::Refused(reason)) => Failure::PageFailed(reason),
            Stop::Fault(Fault::Late) => {
                self.drop_tab(page);
                Failure::TimeLimit(allowed.as_millis())
            }
            Stop::Fault(Fault::Crashed) => {
                self.drop_tab(page);
                Failure::PageCrashed
            }
            Stop::Fault(Fault::Gone) => {
                self.held = None;
                Failure::Restarted
            }
        })
    }

    fn drop_tab(&mut self, page: u32) {
        if let Some(held) = &mut self.held
            && let Some(tab) = held.tabs.remove(&page)
        {
            held.chromium.connection.forget(&tab.session);
            // A page that hangs is closed by the browser in its own time.
            held.chromium.connection.tell("Target.closeTarget", json!({ "targetId": tab.target }));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            for tab in held.tabs.values() {
                held.chromium.connection.forget(&tab.session);
            }
            let parameters = json!({ "browserContextId": held.context });
            let deadline = Instant::now() + CLOSING;
            // If it fails, the browser is gone or hangs, and ends with its ward.
            let _ = held.chromium.connection.call(None, "Target.disposeBrowserContext", parameters, deadline);
        }
    }
}

/// Why a step ended early.
enum Stop {
    Fault(Fault),
    Failed(Failure),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Held {
    /// A new tab, empty, whose events arrive.
    fn attach(&mut self, page: u32, seat: Arc<Seat>, deadline: Instant) -> Result<Tab, Stop> {
        let connection = &self.chromium.connection;
        let parameters = json!({ "url": "about:blank", "browserContextId": self.context });
        let answer = connection.call(None, "Target.createTarget", parameters, deadline)?;
        let target = answer["targetId"].as_str().unwrap_or_default().to_owned();
        let parameters = json!({ "targetId": target, "flatten": true });
        let answer = connection.call(None, "Target.attachToTarget", parameters, deadline)?;
        let session = answer["sessionId"].as_str().unwrap_or_default().to_owned();
        connection.watch(&session);
        let tab = Tab { target, session, _seat: seat };
        self.tabs.insert(page, tab.clone());
        for method in ["Inspector.enable", "Page.enable"] {
            self.call(&tab, method, json!({}), deadline)?;
        }
        Ok(tab)
    }

    fn call(&self, tab: &Tab, method: &str, parameters: Value, deadline: Instant) -> Result<Value, Fault> {
        self.chromium.connection.call(Some(&tab.session), method, parameters, deadline)
    }

    /// Loads an address in a tab. Where the machine's own network changes, as it does when sandboxes of others come and
    /// go, the browser breaks off what it is loading; that is begun again.
    fn navigate(&self, tab: &Tab, address: &str, deadline: Instant) -> Result<(), Stop> {
        let connection = &self.chromium.connection;
        loop {
            let before = connection.loads(&tab.session);
            let answer = self.call(tab, "Page.navigate", json!({ "url": address }), deadline)?;
            match answer["errorText"].as_str() {
                None => return Ok(connection.wait_load(&tab.session, before, deadline)?),
                Some(NETWORK_CHANGED) => {
                    // Of the page that tells of it, lest it count as the address's own.
                    connection.wait_load(&tab.session, before, deadline)?;
                }
                Some(reason) => {
                    return Err(Stop::Failed(Failure::PageFailed(format!("{address}: {reason}"))));
                }
            }
        }
    }

    fn evaluate(&self, tab: &Tab, expression: &str, deadline: Instant) -> Result<Value, Stop> {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call(tab, "Runtime.evaluate", parameters, deadline)?;
        if let Some(details) = answer.get("exceptionDetails") {
            let text = details["exception"]["description"].as_str().or(details["text"].as_str());
            return Err(Stop::Failed(Failure::PageFailed(text.unwrap_or("the script failed").to_owned())));
        }
        Ok(answer["result"]["value"].clone())
    }

    fn find(&self, tab: &Tab, selector: &str, deadline: Instant) -> Result<(), Stop> {
        let script = format!("document.querySelector({}) !== null", json!(selector));
        match self.evaluate(tab, &script, deadline)? {
            Value::Bool(true) => Ok(()),
            _ => Err(Stop::Failed(Failure::NoSuchElement(selector.to_owned()))),
        }
    }
}
