//! What is made in advance and taken away afterwards, so that no start waits for it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::PoisonError;

use super::sandbox::{Network, Parts};
use super::shared::Shared;
use crate::kernel::Root;
use crate::sandbox::error::Error;
use crate::sandbox::program::Program;
use crate::sandbox::steps::{Step, Steps, now};
use crate::sandbox::wire::Order;

/// Roots of one kind are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RootKind {
    pub(super) layers: Vec<PathBuf>,
    pub(super) disk_bytes: u64,
    pub(super) app_only: bool,
}

impl Shared {
    pub(super) fn root_kind(&self, program: &Program, app_only: bool) -> RootKind {
        RootKind { layers: program.layers.clone(), disk_bytes: program.limits.disk_bytes, app_only }
    }

    pub(super) fn take_root(&self, kind: RootKind) -> io::Result<Root> {
        let mut state = self.state();
        if let Some(root) = state.roots.get_mut(&kind).and_then(VecDeque::pop_front) {
            state.statistics.roots_ready += 1;
            // Half of them are refilled at once: waking the worker costs as much as a root.
            if state.roots[&kind].len() <= self.config.ready / 2 {
                state.wanted.insert(kind);
                self.changed.notify_all();
            }
            return Ok(root);
        }
        state.statistics.roots_built += 1;
        if self.config.ready > 0 && self.used_again() {
            state.wanted.insert(kind.clone());
            self.changed.notify_all();
        }
        drop(state);
        self.build_root(&kind)
    }

    fn build_root(&self, kind: &RootKind) -> io::Result<Root> {
        if kind.app_only {
            self.kernel.make_app(&kind.layers, kind.disk_bytes)
        } else {
            self.kernel.make_root(&kind.layers, kind.disk_bytes)
        }
    }

    pub(super) fn take_network(&self) -> Option<Network> {
        let mut state = self.state();
        let network = state.networks.pop_front();
        state.wants_network = true;
        drop(state);
        self.changed.notify_all();
        network
    }

    /// A network namespace for the pool, by an init that only makes it.
    fn build_network(&self) -> Result<Network, Error> {
        let mut parts = Parts { number: self.take_number()?, ..Parts::default() };
        let number = parts.number;
        let at = |step| move |source| Error::Step { number, step, source };
        let mut build = || {
            parts.init = Some(self.kernel.spawn_init(true).map_err(at("spawn its init"))?);
            let init = parts.init.as_ref().expect("just made");
            let namespace = self.kernel.network_namespace(init).map_err(at("open its network namespace"))?;
            self.link(number, namespace.as_fd()).map_err(at("make its link"))?;
            let order = Order { network: Some(self.network_order(number)), ..Order::default() };
            self.order(&parts, &order, &[], &mut Steps::default())?;
            Ok(Network { number, namespace })
        };
        let network = build();
        if let Some(init) = parts.init.take() {
            let _ = self.kernel.end_init(init);
        }
        if network.is_err() {
            self.state().free.push_back(number);
        }
        network
    }

    pub(super) fn give_up(&self, parts: Parts) {
        self.state().garbage.push_back(parts);
        self.changed.notify_all();
    }

    /// Takes a sandbox apart. `whole`: also waits until the link is gone, which otherwise goes with the network
    /// namespace some time later.
    pub(super) fn take_apart(&self, parts: Parts, whole: bool, steps: &mut Steps) -> Result<(), Error> {
        let Parts { number, cgroup, init, network } = parts;
        let at = |step| move |source| Error::Step { number, step, source };
        let mut result = Ok(());
        let mut since = now();
        if let Some(init) = init {
            result = self.kernel.end_init(init).map_err(at("end its init"));
            since = steps.note(Step::KillInit, since);
        }
        if let Some(network) = network {
            if whole {
                result = result.and(self.kernel.remove_link(network.number).map_err(at("remove its link")));
                since = steps.note(Step::RemoveLink, since);
            }
            let own = network.number == number;
            if !own {
                self.state().free.push_back(network.number);
            }
        }
        if let Some(cgroup) = cgroup {
            result = result.and(self.kernel.remove_cgroup(cgroup).map_err(at("remove its cgroup")));
            steps.note(Step::RemoveCgroup, since);
        }
        let mut state = self.state();
        state.free.push_back(number);
        state.statistics.destroyed += 1;
        result
    }

    /// Worker: destroys what was given up.
    pub(super) fn destroy_garbage(&self) {
        let mut state = self.state();
        loop {
            if !state.layers.is_empty() {
                let layers = std::mem::take(&mut state.layers);
                state.destroying += 1;
                drop(state);
                drop(layers);
                state = self.state();
                state.destroying -= 1;
                self.changed.notify_all();
            } else if let Some(parts) = state.garbage.pop_front() {
                state.destroying += 1;
                drop(state);
                // What cannot be removed is found by `clean`.
                let _ = self.take_apart(parts, false, &mut Steps::default());
                state = self.state();
                state.destroying -= 1;
                self.changed.notify_all();
            } else if state.closing {
                return;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Worker: makes roots and networks ready.
    pub(super) fn make_ready(&self) {
        let target = self.config.ready;
        let mut state = self.state();
        while !state.closing {
            if let Some(kind) = state.wanted.first().cloned() {
                let ready = state.roots.entry(kind.clone()).or_default().len();
                if ready >= target {
                    state.wanted.remove(&kind);
                    self.changed.notify_all();
                    continue;
                }
                drop(state);
                let root = self.build_root(&kind);
                state = self.state();
                match root {
                    Ok(root) => state.roots.entry(kind).or_default().push_back(root),
                    // Whoever needs one will build it, and be told why that fails.
                    Err(_) => {
                        state.wanted.remove(&kind);
                    }
                }
            } else if state.wants_network {
                if state.networks.len() >= target {
                    state.wants_network = false;
                    self.changed.notify_all();
                    continue;
                }
                drop(state);
                let network = self.build_network();
                state = self.state();
                match network {
                    Ok(network) => state.networks.push_back(network),
                    Err(_) => state.wants_network = false,
                }
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.roots.clear();
        state.networks.clear();
    }
}
