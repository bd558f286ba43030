//! One browser for several agents: a broker that gives each its own browser context.
//!
//! ```text
//! agent ── lines of JSON over TCP ── Broker ── Session ─┐
//! agent ── …                                ── Session ─┴─ Shared ── Chromium ── DevTools over a pipe
//! ```
//!
//! * [`Broker`] listens, and says which browser an agent gets: the first k share the first, and so on. With k = 1
//!   it is one browser for each agent, by the same code.
//! * [`Session`] is one agent's part of a browser: a context (cookies and storage apart from all others), its tabs, and
//!   [`Limits`]. Tabs have numbers that mean something only in their session.
//! * [`Shared`] is a browser that is started when it is needed and again when it has crashed. What its agents had in
//!   it is lost then; each of them is told once, by the name `browser-restarted`, and begins anew.
//! * `launch` is where browsers come from: programs of this machine, or guests; `chromium` the program; `cdp` the
//!   protocol.
//!
//! # Why no crate for the DevTools protocol
//!
//! The living ones, chromiumoxide 0.9 and headless_chrome 1.0, generate types for the whole protocol: 120 and 118
//! crates and, on the two cores of the development machine, 129 s of processor time for the first; the second
//! downloads the protocol while it is built. A bare web socket (tungstenite 0.30) is
//! 28 crates and 11 s. And all of them need a DevTools port, which every process on the machine may connect to: an
//! agent could then read the cookies of the others, and contexts would isolate nothing. Over a pipe
//! (`--remote-debugging-pipe`, as Puppeteer and Playwright start browsers) only the broker reaches the browser, there
//! is no port to find, and the browser ends by itself when the pipe does. About a dozen methods are used, and no
//! crate beside serde_json.

mod account;
mod broker;
mod cdp;
mod chromium;
pub(super) mod launch;
mod session;
mod shared;

pub use broker::{Broker, Tally};
pub use chromium::program;
pub(super) use chromium::{in_guest, installed};
pub use session::{Limits, Opened, Session};
pub use shared::{Shared, Usage};

/// Why a browser did not do what an agent asked for. The name of each is part of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The browser ended, and with it all that this agent had in it. The next page is opened in a new one.
    #[error("the browser ended and was started again: cookies, storage and tabs are gone; begin anew")]
    Restarted,
    /// There is no browser, and starting one failed.
    #[error("there is no browser: {0}")]
    Unavailable(String),
    /// The agent has as many tabs as it may have.
    #[error("{0} tabs are open already: close one")]
    TooManyTabs(usize),
    /// The step took longer than a step may; its tab was closed.
    #[error("the page took longer than {0} ms; it was closed")]
    TimeLimit(u128),
    /// The agent has used the browser for as long as it may.
    #[error("the browser was used for {0} ms, which is all that this agent may")]
    TimeUsedUp(u128),
    /// The process of the page ended; its tab was closed.
    #[error("the page crashed; it was closed")]
    PageCrashed,
    /// A number that no tab of this agent has.
    #[error("there is no page {0}")]
    NoSuchPage(u32),
    /// Nothing on the page is selected.
    #[error("nothing on the page is `{0}`")]
    NoSuchElement(String),
    /// The page did not load, or its script failed.
    #[error("{0}")]
    PageFailed(String),
    /// An address that agents may not open.
    #[error("{0}: only http and https may be opened")]
    AddressRefused(String),
    /// A request that is none.
    #[error("{0}")]
    BadRequest(String),
}

impl Failure {
    /// Its name in the protocol.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Restarted => "browser-restarted",
            Self::Unavailable(_) => "browser-unavailable",
            Self::TooManyTabs(_) => "too-many-tabs",
            Self::TimeLimit(_) => "time-limit",
            Self::TimeUsedUp(_) => "time-used-up",
            Self::PageCrashed => "page-crashed",
            Self::NoSuchPage(_) => "no-such-page",
            Self::NoSuchElement(_) => "no-such-element",
            Self::PageFailed(_) => "page-failed",
            Self::AddressRefused(_) => "address-refused",
            Self::BadRequest(_) => "bad-request",
        }
    }
}
