//! What is lost and comes back: sandboxes and nodes.

use super::pool::{NO_FUNCTION, State};
use super::{Command, ControlPlane};
use crate::ids::{NodeId, SandboxId};
use crate::policy::Scope;
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
        let group = self.group(node);
        if self.scope == Scope::Node {
            for (ticket, function, until) in self.waiting.take_all(group) {
                self.place(now, ticket, function, Some(until), out);
            }
        }
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
    }

    fn lose(&mut self, sandbox: SandboxId, out: &mut Vec<Command>) {
        let (node, function) = self.pool.place_of(sandbox);
        let ticket = self.pool.ticket(sandbox);
        match self.pool.state(sandbox) {
            State::Free => return,
            State::Idle => self.pool.take_idle(self.group(node), sandbox),
            state => {
                self.loads.end(node);
                if state == State::Starting {
                    self.starting[node.index()] -= 1;
                }
            }
        }
        let declared = self.pool.declared(sandbox);
        self.loads.release(node, declared);
        self.pool.free(sandbox);
        if function != NO_FUNCTION {
            self.keep_alive.gone(sandbox, function, None);
        }
        out.push(Command::Lost { sandbox, node, ticket });
    }
}
