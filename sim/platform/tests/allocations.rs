//! In steady state the control plane allocates nothing.

use platform::policy::keep_alive::KeepAliveParameters;
use platform::policy::{FunctionFacts, Placement};
use platform::system::{KeepAlive, system};
use platform::{Command, ControlConfig, ControlPlane, Input, Ticket};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use traces::rng::Streams;
use traces::{Bytes, Duration, FunctionId, Instant};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; the
// counter is a thread's own integer without a destructor and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System.alloc` with this `layout`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Plays so many turns, one after the other: an invocation arrives, is started and ends within 3 s;
/// keep-alive timers come in time.
fn play(plane: &mut ControlPlane, turns: std::ops::Range<u32>, timers: &mut Vec<Command>) {
    let mut out = Vec::with_capacity(64);
    for turn in turns {
        let at = |after: u64| Instant::ZERO + Duration::from_secs(u64::from(turn) * 7 + after);
        let function = FunctionId(turn * turn / 3 % 7);
        plane.handle(at(0), Input::Arrival { ticket: Ticket(0), function }, &mut out);
        while let Some(command) = out.pop() {
            match command {
                Command::Start { sandbox, .. } | Command::Repurpose { sandbox, .. } => {
                    plane.handle(at(1), Input::Ready { sandbox }, &mut out);
                }
                Command::Run { sandbox, .. } => plane.handle(at(2), Input::Finished { sandbox }, &mut out),
                Command::SetTimer { .. } => timers.push(command),
                _ => {}
            }
        }
        let mut index = 0;
        while let Some(&Command::SetTimer { at: due, timer }) = timers.get(index) {
            if due > at(3) {
                index += 1;
                continue;
            }
            timers.swap_remove(index);
            plane.handle(at(3), Input::Timer(timer), &mut out);
            timers.append(&mut out);
            timers.retain(|command| matches!(command, Command::SetTimer { .. }));
        }
    }
}

#[test]
fn steady_state_allocates_nothing() {
    let facts = FunctionFacts {
        declared: Bytes::from_mib(100),
        tenant: 0,
        runtime: 0,
        runtime_memory: Bytes::from_mib(40),
        start_cost: Duration::SECOND,
    };
    for name in ["faasd", "t-cxl"] {
        for keep_alive in [
            KeepAlive::None,
            KeepAlive::FixedTtl,
            KeepAlive::FixedTtlFromStart,
            KeepAlive::Lru,
            KeepAlive::Layers,
            KeepAlive::HybridHistogram,
            KeepAlive::GreedyDual,
            KeepAlive::Landlord,
        ] {
            let mut system = system(name).expect("a registered system");
            system.keep_alive = keep_alive;
            system.prepopulated = 1;
            let mut plane = ControlPlane::new(ControlConfig {
                system,
                placement: Placement::SandboxAware,
                keep_alive: KeepAliveParameters::default(),
                nodes: 4,
                racks: 1,
                memory_cap: Bytes::from_mib(130),
                queue_timeout: Duration::from_secs(30),
                share_within_tenant: false,
                functions: vec![facts; 7],
                arrivals: Vec::new(),
                streams: Streams::new(1),
            });
            // Tables grow while names and functions are new.
            let mut timers = Vec::with_capacity(10_000);
            play(&mut plane, 0..2000, &mut timers);
            let before = ALLOCATIONS.get();
            play(&mut plane, 2000..4000, &mut timers);
            let buffer = 1;
            assert_eq!(ALLOCATIONS.get() - before, buffer, "{name} with keep-alive {}", keep_alive.word());
        }
    }
}
