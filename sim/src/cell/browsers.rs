//! Browsers of agents: who shares which, what they hold, when they are started and closed.
//!
//! An agent that uses a browser joins one on its node that has a place free, the oldest first; if there
//! is none it starts another. It leaves with the end of its invocation, or with its sandbox; the last
//! one closes the browser. A browser of one agent alone runs in that agent's guest, if it has one: the
//! guest gives no memory back (see `costs/agents.rs`), so it holds the browser's until it is evicted. Where the platform shares only inside a tenant, so do browsers. Whoever
//! joins a browser that is still starting does not wait for that (a few tenths of a second).

use super::{Cell, one};
use crate::costs::AgentBrowser;
use configs::Spec;
use platform::ids::{NodeId, SandboxId};
use platform::memory::{ByClass, MemoryClass};
use platform::system::Isolation;
use std::collections::BTreeMap;
use traces::Bytes;

/// All browsers of a cell.
pub(super) struct Browsers {
    /// Agents that may share one.
    places: u32,
    /// Whether only agents of one tenant do.
    within_tenant: bool,
    /// Whether an agent's browser runs in its own guest.
    in_guest: bool,
    open: Vec<Browser>,
    free: Vec<u32>,
    /// Browsers of each node, oldest first.
    on_node: Vec<Vec<u32>>,
    /// Which browser a sandbox uses, and its tab there.
    used_by: BTreeMap<SandboxId, (u32, Bytes)>,
}

#[derive(Clone, Copy, Debug)]
struct Browser {
    agents: u32,
    tenant: u32,
    what: AgentBrowser,
}

impl Browsers {
    pub(super) fn new(spec: &Spec, nodes: u32) -> Self {
        let places = spec.system.agents_per_browser;
        Self {
            places,
            within_tenant: spec.sharing.within_tenant,
            in_guest: places == 1 && spec.system.isolation == Isolation::MicroVm,
            open: Vec::new(),
            free: Vec::new(),
            on_node: vec![Vec::new(); nodes as usize],
            used_by: BTreeMap::new(),
        }
    }

    /// The oldest browser of the node that the tenant's agent may join.
    fn with_place(&self, node: NodeId, tenant: u32, what: AgentBrowser) -> Option<u32> {
        self.on_node[node.index()].iter().copied().find(|&browser| {
            let Browser { agents, tenant: owner, what: known } = self.open[browser as usize];
            agents < self.places && known == what && (!self.within_tenant || owner == tenant)
        })
    }
}

impl Cell {
    /// The sandbox's agent gets a browser; whether one has to be started for it.
    pub(super) fn join_browser(&mut self, sandbox: SandboxId, what: AgentBrowser) -> bool {
        if self.browsers.used_by.contains_key(&sandbox) {
            // The memory of its last one, in the same guest.
            return true;
        }
        let activity = &self.sandboxes[sandbox.index()];
        let (node, tenant) = (activity.node, self.costs.facts[activity.function.index()].tenant);
        let found = self.browsers.with_place(node, tenant, what);
        let browser = found.unwrap_or_else(|| self.open_browser(node, Browser { agents: 0, tenant, what }));
        self.browsers.open[browser as usize].agents += 1;
        self.browsers.used_by.insert(sandbox, (browser, what.browser.tab));
        self.hold_on(node, &one(MemoryClass::Browser, what.browser.tab));
        found.is_none()
    }

    fn open_browser(&mut self, node: NodeId, browser: Browser) -> u32 {
        self.counters.browsers += 1;
        let number = match self.browsers.free.pop() {
            Some(number) => {
                self.browsers.open[number as usize] = browser;
                number
            }
            None => {
                self.browsers.open.push(browser);
                (self.browsers.open.len() - 1) as u32
            }
        };
        self.browsers.on_node[node.index()].push(number);
        if self.is_only_one(node) {
            self.hold_on(node, &one(MemoryClass::NodeShared, browser.what.browser.files));
        }
        self.hold_on(node, &held_alone(browser.what));
        number
    }

    /// The sandbox's agent has answered.
    pub(super) fn end_browsing(&mut self, sandbox: SandboxId) {
        if !self.browsers.in_guest {
            self.leave_browser(sandbox);
        }
    }

    /// The sandbox gives back its part of a browser, if it has one.
    pub(super) fn leave_browser(&mut self, sandbox: SandboxId) {
        let Some((number, tab)) = self.browsers.used_by.remove(&sandbox) else { return };
        let node = self.sandboxes[sandbox.index()].node;
        self.give_back(node, &one(MemoryClass::Browser, tab));
        let browser = &mut self.browsers.open[number as usize];
        browser.agents -= 1;
        if browser.agents > 0 {
            return;
        }
        let what = browser.what;
        self.give_back(node, &held_alone(what));
        if self.is_only_one(node) {
            self.give_back(node, &one(MemoryClass::NodeShared, what.browser.files));
        }
        self.browsers.on_node[node.index()].retain(|&other| other != number);
        self.browsers.free.push(number);
    }

    /// Whether the node has a single browser. Agents of one run use one kind of browser, so it is the
    /// only one that reads its file pages.
    fn is_only_one(&self, node: NodeId) -> bool {
        self.browsers.on_node[node.index()].len() == 1
    }
}

/// What a browser holds without its tabs and without what the node's page cache has.
fn held_alone(what: AgentBrowser) -> ByClass {
    let mut held = one(MemoryClass::Browser, what.browser.own);
    if what.in_guest_cache {
        held.add(MemoryClass::GuestPageCache, what.browser.files);
    }
    held
}
