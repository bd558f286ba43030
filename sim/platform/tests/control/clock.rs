//! Plays a trace: starts and invocations take fixed times, timers come when they were set for.

use crate::world::{Doing, World};
use platform::{ControlConfig, SandboxId, StartKind};
use std::collections::BTreeMap;
use traces::{Duration, FunctionId, Instant};

/// What is done to a sandbox when its time comes.
#[derive(Clone, Copy)]
enum End {
    Start(SandboxId),
    Run(SandboxId),
}

/// What everything takes: a start the function's `start_cost`, a restored one a quarter and a
/// repurposed one a tenth of it; an invocation what `service` says.
fn start_time(kind: StartKind, cost: Duration) -> Duration {
    match kind {
        StartKind::Cold => cost,
        StartKind::Restored => cost / 4,
        StartKind::Repurposed => cost / 10,
        StartKind::Warm => Duration::ZERO,
    }
}

/// Plays all arrivals (in order of time) to the end of the last invocation. At equal times sandboxes
/// come first, then arrivals, then timers.
pub fn play(config: ControlConfig, arrivals: &[(Instant, FunctionId)], service: &[Duration]) -> World {
    let mut world = World::new(config);
    let mut ends: BTreeMap<(Instant, u64), End> = BTreeMap::new();
    let mut arrivals = arrivals.iter().peekable();
    let (mut seen, mut number) = (0, 0);
    loop {
        for command in &world.log[seen..] {
            use platform::Command::{Repurpose, Run, Start};
            let (sandbox, after, end) = match *command {
                Start { sandbox, .. } | Repurpose { sandbox, .. } => {
                    let now = world.sandboxes[&sandbox];
                    let Doing::Starting(_, kind) = now.doing else { continue };
                    let function = now.function.expect("a function to start");
                    let cost = world.functions[function.index()].start_cost;
                    (sandbox, start_time(kind, cost), End::Start(sandbox))
                }
                Run { sandbox, ticket, .. } => {
                    let (function, _) = world.invocations[ticket.index()];
                    (sandbox, service[function.index()], End::Run(sandbox))
                }
                _ => continue,
            };
            debug_assert!(world.sandboxes.contains_key(&sandbox));
            ends.insert((world.now + after, number), end);
            number += 1;
        }
        seen = world.log.len();
        let end = ends.first_key_value().map(|(&(at, _), _)| at);
        let arrival = arrivals.peek().map(|&&(at, _)| at);
        let timer = world.timers.first_key_value().map(|(&(at, _), _)| at);
        let Some(now) = [end, arrival, timer].into_iter().flatten().min() else { return world };
        world.now = now;
        if end == Some(now) {
            match ends.pop_first() {
                Some((_, End::Start(sandbox))) => world.ready(sandbox),
                Some((_, End::Run(sandbox))) => world.finish(sandbox),
                None => unreachable!("an end has just been seen"),
            }
        } else if arrival == Some(now) {
            arrivals.next().into_iter().for_each(|&(_, function)| world.arrive(function));
        } else {
            world.timer();
        }
    }
}
