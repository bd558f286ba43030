//! Agents: their waits and their work, memory by steps, browsers that they share, and that nothing is
//! left of any of it.

mod common;
use common::*;
use configs::Spec;
use configs::spec::Churn;
use platform::memory::MemoryClass;
use platform::profile::{AgentProfile, AgentStep, AgentWork, Browser, Prices};
use platform::records::{Outcome, RunRecord};
use platform::system::KeepAlive;
use proptest::prelude::*;
use traces::generate::agents::{Dialogue, TokenTrace};
use traces::{Bytes, Duration, Function, FunctionId, Instant, Invocation};

const S: fn(u64) -> Duration = Duration::from_secs;
const MIB: fn(u64) -> Bytes = Bytes::from_mib;

const BROWSER: Browser = Browser { start: Duration::from_secs(2), files: MIB_100, own: MIB_50, tab: MIB_10 };
const MIB_100: Bytes = Bytes::from_mib(100);
const MIB_50: Bytes = Bytes::from_mib(50);
const MIB_10: Bytes = Bytes::from_mib(10);

/// An agent of `turns` turns of these steps, each with what is held during it in MiB.
fn agent(turns: u32, steps: &[(AgentWork, u64)], browser: Option<Browser>) -> AgentProfile {
    let asks = steps.iter().filter(|(work, _)| *work == AgentWork::Llm).count() as u32;
    AgentProfile {
        dialogue: Dialogue {
            trace: TokenTrace::AzureCode,
            requests: turns * asks,
            prompt_rate: 1000,
            answer_rate: 100,
        },
        turns,
        steps: steps.iter().map(|&(work, memory)| AgentStep { work, memory: MIB(memory) }).collect(),
        vcpus: 1,
        memory: Bytes::from_gib(2),
        browser,
        prices: Prices {
            vcpu_hour: 3_600_000_000,
            gib_hour: 0,
            prompt_million: 1_000_000,
            answer_million: 0,
        },
    }
}

/// A free machine whose only profile is this agent.
fn spec_of(system: &str, agent: AgentProfile) -> Spec {
    let mut spec = free_spec(system);
    std::sync::Arc::make_mut(&mut spec.profiles).get_mut("plain").unwrap().agent = Some(agent);
    spec.output.memory_every = S(1);
    spec
}

/// One invocation of the first function after so many seconds.
fn call(at: u64, service: u64) -> Invocation {
    Invocation::new(Instant::ZERO + S(at), FunctionId(0), S(service))
}

/// Plays invocations for a hundred seconds.
fn play_on(spec: &Spec, functions: &[Function], calls: &[Invocation]) -> RunRecord {
    let play = sim::Play {
        functions,
        invocations: calls.iter().copied(),
        burn_in: Duration::ZERO,
        span: S(100),
        seed: 1,
    };
    sim::simulate(spec, play)
}

/// Whole seconds from arrival to answer, of each invocation.
fn seconds(record: &RunRecord) -> Vec<u64> {
    record.invocations.iter().map(|i| (i.end_to_end().as_secs_f64() + 1e-3) as u64).collect()
}

/// MiB of a class, at each of the first seconds.
fn mib(record: &RunRecord, class: MemoryClass, seconds: usize) -> Vec<u64> {
    record.memory.samples[..seconds].iter().map(|s| s.bytes.get(class).0 >> 20).collect()
}

#[test]
fn an_agent_waits_and_works_in_turns_and_holds_what_its_step_holds() {
    // Two turns of: a wait (nothing held), one second of a tool (40 MiB). Service 10 s: 2 s of work, so
    // 4 s of waiting each. At 0: wait; 4: work; 5: wait; 9: work; 10: done.
    let steps = [(AgentWork::Llm, 0), (AgentWork::Tool(S(1)), 40)];
    let container = play_on(&spec_of("faasd", agent(2, &steps, None)), &functions(1), &[call(0, 10)]);
    assert_eq!(seconds(&container), [10]);
    // The profile's own memory: 1000 pages, not quite 4 MiB. Samples come after all else of their instant.
    let held = mib(&container, MemoryClass::InstancePrivate, 12);
    assert_eq!(held, [3, 3, 3, 3, 43, 3, 3, 3, 3, 43, 3, 3]);

    // In a guest, what was once used stays; only its own memory is mapped, and nothing of that written here.
    let guest = play_on(&spec_of("e2b", agent(2, &steps, None)), &functions(1), &[call(0, 10)]);
    assert_eq!(mib(&guest, MemoryClass::InstancePrivate, 12), [0, 0, 0, 0, 40, 40, 40, 40, 40, 40, 40, 40]);
}

#[test]
fn cores_are_over_committed_and_waits_are_not_stretched() {
    // Four agents on two cores: 6 s of waiting at once, then 2 s of work each, which take 4 s.
    let steps = [(AgentWork::Llm, 0), (AgentWork::Tool(S(2)), 0)];
    let mut spec = spec_of("faasd", agent(1, &steps, None));
    spec.cluster.cores = 2;
    let calls = [call(0, 8); 4];
    assert_eq!(seconds(&play_on(&spec, &functions(1), &calls)), [10; 4]);
    // One every two seconds: nobody meets another at work.
    let apart: Vec<Invocation> = (0..4).map(|i| call(2 * i, 8)).collect();
    assert_eq!(seconds(&play_on(&spec, &functions(1), &apart)), [8; 4]);
}

#[test]
fn agents_of_one_browser_hold_it_once_and_only_the_first_starts_it() {
    let steps = [(AgentWork::Llm, 0), (AgentWork::Browser(S(1)), 0)];
    let of = |system: &str, places: u32| {
        let mut spec = spec_of(system, agent(1, &steps, Some(BROWSER)));
        spec.system.agents_per_browser = places;
        // One at 0, five at 3, when the first is past the start (0 to 2): 5 s of waiting, 1 s of work.
        let mut calls = vec![call(0, 6)];
        calls.resize(6, call(3, 6));
        play_on(&spec, &functions(1), &calls)
    };
    let shared = of("trenvx-vm", 6);
    assert_eq!(seconds(&shared), [8, 6, 6, 6, 6, 6]);
    assert_eq!(shared.counters.browsers, 1);
    // 50 MiB and 10 for each tab; the first leaves at 8, the others at 9.
    assert_eq!(mib(&shared, MemoryClass::Browser, 11), [60, 60, 60, 110, 110, 110, 110, 110, 100, 0, 0]);
    let apart = of("trenvx-vm", 2);
    assert_eq!((apart.counters.browsers, seconds(&apart)), (3, vec![8, 6, 8, 6, 8, 6]));
    assert_eq!(apart.memory.peak.get(MemoryClass::Browser), MIB(3 * 50 + 6 * 10));

    // File pages: once on a node that bypasses the guests' caches; else in every guest as well.
    let bypassed = of("trenvx-vm", 1);
    assert_eq!(bypassed.memory.peak.get(MemoryClass::GuestPageCache), Bytes::ZERO);
    let cached = of("trenvx-vm-guest-cache", 1).memory.peak.get(MemoryClass::GuestPageCache);
    // And the profile's own 50 pages of files for each guest.
    assert_eq!(cached, MIB(6 * 100) + Bytes(6 * 50 * 4096));
    let node = |record: &RunRecord| record.memory.peak.get(MemoryClass::NodeShared);
    assert_eq!(node(&bypassed), MIB(100) + Bytes(50 * 4096));
}

#[test]
fn a_guest_holds_its_own_browsers_memory_until_it_is_gone() {
    let steps = [(AgentWork::Llm, 0), (AgentWork::Browser(S(1)), 0)];
    let mut spec = spec_of("e2b", agent(1, &steps, Some(BROWSER)));
    spec.keep_alive.ttl = S(20);
    let record = play_on(&spec, &functions(1), &[call(0, 6), call(10, 6)]);
    // 2 s of start, 6 s of the agent; at 10 the same guest starts a browser again; gone 20 s after 18.
    assert_eq!(seconds(&record), [8, 8]);
    let held = mib(&record, MemoryClass::Browser, 40);
    assert!(held[..38].iter().all(|&mib| mib == 60) && held[38..].iter().all(|&mib| mib == 0), "{held:?}");
}

#[test]
fn tokens_times_and_costs_of_completed_agents_are_summed() {
    let steps = [(AgentWork::Llm, 0), (AgentWork::Own(S(1)), 0), (AgentWork::Browser(S(2)), 0)];
    let profile = agent(2, &steps, Some(Browser { start: Duration::ZERO, ..BROWSER }));
    let calls = [call(0, 20), call(1, 30)];
    let record = play_on(&spec_of("e2b", profile.clone()), &functions(1), &calls);
    let sums = record.functions[0].agent.unwrap();
    let trace = TokenTrace::AzureCode.read().unwrap();
    let tokens = calls.map(|call| profile.dialogue.tokens(&trace.requests, "f0", call.arrival()));
    assert_eq!(sums.completed, 2);
    assert_eq!(sums.prompt_tokens, tokens[0].prompt + tokens[1].prompt);
    assert_eq!(sums.answer_tokens, tokens[0].answer + tokens[1].answer);
    assert_eq!((sums.llm_wait, sums.tool_time, sums.browser_time), (S(14 + 24), S(4), S(8)));
    // A free machine: no start-up. One dollar of 10^9 nano-dollars a second would be 3600 an hour; here
    // a processor costs 3.6 dollars an hour: a thousandth of a dollar a second.
    let nanos = sums.held.as_nanos();
    assert!(nanos.abs_diff(S(50).as_nanos()) < 1_000, "{nanos}: shares are rounded to nanoseconds");
    assert!(sums.sandbox_cost.abs_diff(50_000_000) <= 2);
    assert_eq!(sums.model_cost, tokens[0].prompt + tokens[1].prompt);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn nothing_is_left_of_agents_and_their_browsers(
        system in prop::sample::select(vec!["e2b", "trenvx-vm", "trenvx-vm-own-browser", "t-cxl", "faasd", "rainbowcake"]),
        keep_alive in prop::sample::select(vec![KeepAlive::FixedTtl, KeepAlive::None]),
        places in 1u32..5,
        churn in any::<bool>(),
        within_tenant in any::<bool>(),
        calls in prop::collection::vec((0u64..60, 0u32..3, 1u64..20), 0..60),
    ) {
        let steps = [(AgentWork::Llm, 5), (AgentWork::Own(S(1)), 0), (AgentWork::Browser(S(1)), 20)];
        let mut spec = spec_of(system, agent(2, &steps, Some(BROWSER)));
        spec.system.agents_per_browser = places;
        spec.system.keep_alive = keep_alive;
        spec.sharing.within_tenant = within_tenant;
        spec.keep_alive.ttl = S(15);
        spec.cluster.nodes = 2;
        spec.cluster.cores = 2;
        spec.faults.churn = churn.then_some(Churn { up: S(30), down: S(5) });
        let mut functions = functions(3);
        functions[2].tenant = "another".to_owned();
        let mut calls: Vec<Invocation> = calls
            .into_iter()
            .map(|(at, function, service)| {
                Invocation::new(Instant::ZERO + S(at), FunctionId(function), S(service))
            })
            .collect();
        calls.sort_by_key(|call| call.arrival());
        let play = |span| sim::simulate(&spec, sim::Play {
            functions: &functions,
            invocations: calls.iter().copied(),
            burn_in: Duration::ZERO,
            span: S(span),
            seed: 3,
        });
        let record = play(900);
        let ends: u64 = Outcome::ALL.iter().map(|&outcome| ended(&record, outcome)).sum();
        prop_assert_eq!(ends, calls.len() as u64);
        for sample in &record.memory.samples {
            if sample.busy + sample.idle == 0 {
                prop_assert_eq!(sample.bytes.local(), Bytes::ZERO, "at {}", sample.at);
            }
            let in_guests = places == 1 && sample.idle > 0;
            if sample.busy == 0 && !in_guests {
                prop_assert_eq!(sample.bytes.get(MemoryClass::Browser), Bytes::ZERO, "at {}", sample.at);
            }
        }
        let last = record.memory.samples.last().unwrap();
        prop_assert_eq!(last.busy + last.idle, 0, "everything expires");
        prop_assert_eq!(record, play(900));
    }
}
