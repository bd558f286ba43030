//! In steady state a run allocates nothing: what is asked of the allocator between invocation N and 2 N
//! does not grow with N. Tables, slabs and histograms have their size by then, or grow a last time.

mod common;

use common::{costly_spec, started};
use configs::spec::Spec;
use platform::records::StartKind;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use traces::generate::zipf::Job;
use traces::{Bytes, Duration, Invocation};

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

/// N.
const N: u64 = 100_000;

/// Times that a table may still grow between N and 2 N, all tables together: they double, so a run of
/// any length has few of them.
const LAST_GROWTHS: u64 = 20;

/// Notes the allocations so far when the invocations N and 2 N are drawn.
struct Watched<'a, I> {
    invocations: I,
    drawn: u64,
    at: &'a Cell<[u64; 2]>,
}

impl<I: Iterator<Item = Invocation>> Iterator for Watched<'_, I> {
    type Item = Invocation;

    fn next(&mut self) -> Option<Invocation> {
        let mut at = self.at.get();
        match self.drawn {
            N => at[0] = ALLOCATIONS.get(),
            n if n == 2 * N - 1 => at[1] = ALLOCATIONS.get(),
            _ => {}
        }
        self.at.set(at);
        self.drawn += 1;
        self.invocations.next()
    }
}

/// Four nodes that hold a fraction of 300 functions: starts, evictions and queues all the time.
fn spec(name: &str) -> Spec {
    let mut spec = costly_spec(name);
    spec.system.prepopulated = 2;
    spec.system.start_slots = 6;
    spec.cluster.nodes = 4;
    spec.cluster.racks = 2;
    spec.cluster.cores = 4;
    spec.cluster.dram = Bytes::from_gib(64);
    spec.cluster.memory_cap = Bytes::from_gib(4);
    spec.cluster.queue_timeout = Duration::from_secs(60);
    spec.machine.restore.prefetch_coverage = 0.9;
    spec.output.invocations = false;
    // A rare function's histogram grows late.
    spec.output.distributions = 10;
    spec.output.growth_steps = 4;
    spec
}

#[test]
fn a_run_asks_for_no_memory_between_invocation_n_and_2_n() {
    let job = Job {
        functions: 300,
        span: Duration::from_secs(12 * 3600),
        mu: -2.5,
        sigma: 1.0,
        service: (Duration::from_millis(1), Duration::from_secs(5)),
        ..Job::standard(2 * N, 3)
    };
    let functions = job.head().expect("a job").functions;
    let mut most = 0;
    for name in ["faasd", "t-cxl", "t-rdma", "t-tiered", "rainbowcake"] {
        let at = Cell::new([0; 2]);
        let invocations = Watched { invocations: job.invocations().expect("a job"), drawn: 0, at: &at };
        let play = sim::Play {
            functions: &functions,
            invocations,
            burn_in: Duration::ZERO,
            span: job.span,
            seed: 1,
        };
        let record = sim::simulate(&spec(name), play);
        let [before, after] = at.get();
        assert!(before > 0, "{name}: the allocator counts");
        let starts = 2 * N - started(&record, StartKind::Warm);
        let grown = after - before;
        println!("{name}: {grown} allocations in {N} invocations, {starts} starts");
        assert!(starts > N / 5, "{name}: {starts} starts are too few to see what they ask for");
        most = most.max(grown);
    }
    assert!(most <= LAST_GROWTHS, "{most} allocations in {N} invocations");
}
