//! What is lost and comes back: sandboxes and nodes.

use super::pool::{NO_FUNCTION, State};
use super::{Command, ControlPlane};
use crate::ids::{NodeId, SandboxId};
use crate::policy::Scope;
use crate::system::Layer;
use traces::Instant;

impl ControlPlane {
    /// A sandbox is gone by itself. What it was starting or running is lost with it.
    pub(super) fn sandbox_lost(&mut self, now: Instant, sandbox: SandboxId, out: &mut Vec<Command>) {
        if self.pool.state(sandbox) == State::Free {
            return;
        }
        let (node, _) = self.pool.place_of(sandbox);
        self.lose(sandbox, out);
        self.serve_waiting(now, self.group(node), node, out);
    }

    /// A node is gone: so are its sandboxes, and nothing goes there until it is back. Those who
    /// waited for it in particular are placed anew.
    pub(super) fn node_lost(&mut self, now: Instant, node: NodeId, out: &mut Vec<Command>) {
        if !self.loads.is_up(node) {
            return;
        }
        for sandbox in self.pool.on_node(node) {
            self.lose(sandbox, out);
        }
        self.loads.set_up(node, false);
        self.place_anew(now, node, out);
    }

    /// A node is there again, with what every node has at the beginning.
    pub(super) fn node_joined(&mut self, now: Instant, node: NodeId, out: &mut Vec<Command>) {
        if self.loads.is_up(node) {
            return;
        }
        self.loads.set_up(node, true);
        self.netns[node.index()] = self.system.pooled_netns;
        self.prepopulate(node);
        self.serve_waiting(now, self.group(node), node, out);
        // Who came while every node was down waits for one that may stay away.
        for other in (0..self.loads.nodes()).map(NodeId).filter(|&other| other != node) {
            if !self.loads.is_up(other) {
                self.place_anew(now, other, out);
            }
        }
    }

    /// Those who wait for a node that is down in particular go elsewhere; their waits go on.
    fn place_anew(&mut self, now: Instant, node: NodeId, out: &mut Vec<Command>) {
        if self.scope == Scope::Cluster {
            return;
        }
        for (ticket, function) in self.waiting.drain(self.group(node)) {
            if let Some(group) = self.place(now, ticket, function, out) {
                self.waiting.resume(group, ticket, function);
            }
        }
    }

    fn lose(&mut self, sandbox: SandboxId, out: &mut Vec<Command>) {
        let (node, function) = self.pool.place_of(sandbox);
        let ticket = self.pool.ticket(sandbox);
        match self.pool.state(sandbox) {
            State::Free => return,
            State::Idle => self.take_idle(sandbox),
            state => {
                self.loads.end(node);
                if state == State::Starting {
                    self.loads.end_start(node);
                }
            }
        }
        let (declared, layer) = (self.pool.declared(sandbox), self.pool.layer(sandbox));
        self.loads.release(node, declared);
        self.pool.free(sandbox);
        if layer == Layer::Function && function != NO_FUNCTION {
            self.keep_alive.gone(node, sandbox, function, None);
        }
        out.push(Command::Lost { sandbox, node, ticket });
    }
}
