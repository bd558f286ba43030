//! What becomes of idle sandboxes: kept, taken down a layer, given up.

use super::pool::{NO_FUNCTION, State, TimerAnswer};
use super::{Command, ControlPlane, EvictReason, Timer};
use crate::ids::SandboxId;
use crate::policy::Keep;
use crate::system::{Isolating, Layer};
use traces::{Bytes, Instant};

impl ControlPlane {
    /// A sandbox has become idle, and the policy has said for how long.
    #[inline(always)]
    pub(super) fn idle_after(
        &mut self,
        now: Instant,
        sandbox: SandboxId,
        keep: Keep,
        out: &mut Vec<Command>,
    ) {
        let (_, function) = self.pool.place_of(sandbox);
        self.put_idle(now, sandbox, Layer::Function, keep, out);
        match keep {
            Keep::Until(_) | Keep::UntilNeeded => {}
            Keep::Evict => self.evict(sandbox, EvictReason::Expired, out),
            Keep::PreWarm { at, until } => {
                self.evict(sandbox, EvictReason::Expired, out);
                let (generation, keep_until) = &mut self.pre_warms[function.index()];
                *generation = generation.wrapping_add(1);
                *keep_until = until;
                let timer = Timer::PreWarm { function, generation: *generation };
                out.push(Command::SetTimer { at: at.max(now), timer });
            }
        }
    }

    /// Puts a sandbox among the idle ones and sees to its timer.
    #[inline(always)]
    fn put_idle(
        &mut self,
        now: Instant,
        sandbox: SandboxId,
        layer: Layer,
        keep: Keep,
        out: &mut Vec<Command>,
    ) {
        let (node, function) = self.pool.place_of(sandbox);
        let deadline = match keep {
            Keep::Until(at) => Some(at),
            Keep::UntilNeeded | Keep::Evict | Keep::PreWarm { .. } => None,
        };
        let rank = if self.ranks { self.keep_alive.rank(now, node, sandbox, function) } else { 0 };
        let shelf = self.shelf(layer, function);
        let timer = self.pool.make_idle(self.group(node), shelf, sandbox, layer, deadline, rank);
        self.loads.rest(node, self.pool.declared(sandbox));
        if let (Some(at), Some(generation)) = (deadline, timer) {
            out.push(Command::SetTimer { at, timer: Timer::KeepAlive { sandbox, generation } });
        }
    }

    pub(super) fn keep_alive_timer(
        &mut self,
        now: Instant,
        sandbox: SandboxId,
        generation: u32,
        out: &mut Vec<Command>,
    ) {
        match self.pool.timer_came(now, sandbox, generation) {
            TimerAnswer::Expired => self.expire(now, sandbox, out),
            TimerAnswer::Again(at) => {
                out.push(Command::SetTimer { at, timer: Timer::KeepAlive { sandbox, generation } });
            }
            TimerAnswer::Stale => {}
        }
    }

    /// The keep-alive of an idle sandbox has ended: it goes down a layer, or away.
    fn expire(&mut self, now: Instant, sandbox: SandboxId, out: &mut Vec<Command>) {
        let held = self.pool.layer(sandbox);
        let (node, function) = self.pool.place_of(sandbox);
        let Some((to, keep)) = self.keep_alive.next_layer(now, held) else {
            self.evict(sandbox, EvictReason::Expired, out);
            return;
        };
        let before = self.pool.declared(sandbox);
        let after = match to {
            Layer::Function => before,
            Layer::Runtime => self.functions[function.index()].runtime_memory.min(before),
            Layer::Bare => Bytes::ZERO,
        };
        self.take_idle(sandbox);
        if held == Layer::Function {
            self.keep_alive.gone(node, sandbox, function, None);
        }
        self.pool.demote(sandbox, to, after);
        self.loads.release(node, before.saturating_sub(after));
        out.push(Command::Demote { sandbox, node, to });
        self.put_idle(now, sandbox, to, keep, out);
        self.serve_waiting(now, self.group(node), node, out);
    }

    pub(super) fn evict(&mut self, sandbox: SandboxId, reason: EvictReason, out: &mut Vec<Command>) {
        let (node, function) = self.pool.place_of(sandbox);
        debug_assert_eq!(self.pool.state(sandbox), State::Idle);
        let (declared, layer) = (self.pool.declared(sandbox), self.pool.layer(sandbox));
        let rank = (reason == EvictReason::Memory).then(|| self.pool.rank(sandbox));
        self.take_idle(sandbox);
        self.pool.free(sandbox);
        self.loads.release(node, declared);
        if layer == Layer::Function && function != NO_FUNCTION {
            self.keep_alive.gone(node, sandbox, function, rank);
        }
        let keep_netns = self.system.isolating == Isolating::PooledNetns;
        if keep_netns {
            self.netns[node.index()] += 1;
        }
        out.push(Command::Evict { sandbox, node, reason, keep_netns });
    }

    /// Takes an idle sandbox out of the idle ones.
    #[inline(always)]
    pub(super) fn take_idle(&mut self, sandbox: SandboxId) {
        let (node, _) = self.pool.place_of(sandbox);
        self.pool.take_idle(self.group(node), sandbox);
        self.loads.rise(node, self.pool.declared(sandbox));
    }
}
