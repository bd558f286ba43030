//! The event loop over functions that are threads which sleep: no privileges, no sandboxes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration as Wall, Instant as WallInstant};

use configs::{Spec, Tier, WorldKind};
use emu::world::{
    Event, Executor, Gauges, Happened, Life, Patience, Play, Refused, control_config, play, replay,
};
use platform::control::ControlPlane;
use platform::records::{Decision, InvocationRecord, Outcome, RunRecord, StartKind};
use runs::{Options, Plan, Store, World, WorldError};
use traces::{Bytes, Duration, Function, FunctionId, Instant, Invocation, Workload};

/// What a function of the fake does.
#[derive(Clone, Copy)]
struct Acts {
    start: Wall,
    service: Wall,
    /// Its so many-th call, from 1, kills it.
    dies_at: Option<u32>,
    /// It never answers.
    hangs: bool,
}

const QUICK: Acts =
    Acts { start: Wall::from_millis(20), service: Wall::from_millis(10), dies_at: None, hangs: false };

/// Every sandbox is a thread that sleeps for each order and then says so.
struct Threads {
    acts: Vec<Acts>,
    calls: Vec<u32>,
    news: (Sender<Event>, Receiver<Event>),
    sandboxes: BTreeMap<Life, (Sender<Order>, JoinHandle<()>)>,
    left: Vec<JoinHandle<()>>,
}

struct Order {
    takes: Wall,
    then: Option<Happened>,
}

impl Threads {
    fn new(acts: &[Acts]) -> Self {
        Self {
            acts: acts.to_vec(),
            calls: vec![0; acts.len()],
            news: channel(),
            sandboxes: BTreeMap::new(),
            left: Vec::new(),
        }
    }

    fn order(&self, life: Life, takes: Wall, then: Option<Happened>) {
        self.sandboxes[&life].0.send(Order { takes, then }).unwrap();
    }
}

impl Executor for Threads {
    fn start(&mut self, life: Life, function: FunctionId) {
        let (orders, to_do) = channel::<Order>();
        let news = self.news.0.clone();
        let thread = std::thread::spawn(move || {
            while let Ok(Order { takes, then }) = to_do.recv() {
                std::thread::sleep(takes);
                if let Some(what) = then {
                    let _ = news.send(Event { life, what });
                }
            }
        });
        self.sandboxes.insert(life, (orders, thread));
        let ready = Happened::Ready { replaced: None };
        self.order(life, self.acts[function.index()].start, Some(ready));
    }

    fn repurpose(&mut self, old: Life, new: Life, function: FunctionId) {
        if let Some((_, thread)) = self.sandboxes.remove(&old) {
            self.left.push(thread);
        }
        self.start(new, function);
    }

    fn run(&mut self, life: Life, function: FunctionId) {
        let calls = &mut self.calls[function.index()];
        *calls += 1;
        let acts = self.acts[function.index()];
        let then = match acts {
            Acts { hangs: true, .. } => None,
            Acts { dies_at: Some(nth), .. } if nth == *calls => Some(Happened::Gone("it died".to_owned())),
            _ => Some(Happened::Answered(Ok(()))),
        };
        self.order(life, acts.service, then);
    }

    fn evict(&mut self, life: Life) {
        let (orders, thread) = self.sandboxes.remove(&life).expect("only what is there is given up");
        drop(orders);
        self.left.push(thread);
    }

    fn wait(&mut self, until: WallInstant, events: &mut Vec<Event>) -> Result<(), Refused> {
        match self.news.1.recv_timeout(until.saturating_duration_since(WallInstant::now())) {
            Ok(event) => events.push(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("the other end is here, too"),
        }
        events.extend(self.news.1.try_iter());
        Ok(())
    }

    fn close(&mut self) {
        for (orders, thread) in std::mem::take(&mut self.sandboxes).into_values() {
            drop(orders);
            self.left.push(thread);
        }
        for thread in self.left.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// Arrivals in milliseconds, each of a function.
fn workload(functions: usize, arrivals: &[(u64, u32)]) -> Workload {
    let function = |n: usize| Function {
        name: format!("f{n}"),
        tenant: "one".to_owned(),
        profile: None,
        memory: Some(Bytes::from_mib(100)),
    };
    let invocation = |&(ms, function): &(u64, u32)| {
        let arrival = Instant::ZERO + Duration::from_millis(ms);
        Invocation::new(arrival, FunctionId(function), Duration::from_millis(1))
    };
    let last = arrivals.last().map_or(0, |(ms, _)| *ms);
    Workload {
        name: "drawn up by hand".to_owned(),
        functions: (0..functions).map(function).collect(),
        invocations: arrivals.iter().map(invocation).collect::<Vec<_>>().into(),
        span: Duration::from_millis(last + 1),
        ..Workload::default()
    }
}

/// An experiment that has an `[emu]` table.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/experiments/e04-w1.toml")
}

/// Plays it on threads under a shipped experiment's spec with changes; shows that nothing is left and that the
/// decisions come out again.
fn played(workload: &Workload, acts: &[Acts], sets: &[&str], patience: Patience) -> (RunRecord, Vec<String>) {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    let experiment = configs::load(&shipped(), Tier::Kick, &sets).unwrap_or_else(|error| panic!("{error}"));
    let experiment = experiment.in_world(WorldKind::Emu);
    let spec = &experiment.points.iter().find(|point| point.label == "faasd").unwrap().spec;
    let config = control_config(spec, workload, 1);
    let mut threads = Threads::new(acts);
    let gauges = Gauges::default();
    let play_it = Play {
        workload,
        config: config.clone(),
        invocations: true,
        patience,
        began: WallInstant::now(),
        gauges: &gauges,
    };
    let mut record = play(play_it, &mut threads).unwrap();
    threads.close();
    assert!(threads.sandboxes.is_empty() && threads.left.is_empty());
    replay(config, &record.decisions).unwrap_or_else(|differs| panic!("{differs}"));
    record.invocations.sort_by_key(|one| one.number);
    let outcomes = record.invocations.iter().map(|one| one.outcome.name().to_owned()).collect();
    (record, outcomes)
}

fn ms(length: Duration) -> u64 {
    length.as_nanos() / 1_000_000
}

/// Goal: starts of 300 ms do not hold up the arrivals behind them. Method: ten arrivals 10 ms apart, each needing a
/// start; every one reaches the control plane long before the first start ends.
#[test]
fn arrivals_do_not_wait_for_slow_starts() {
    let arrivals: Vec<(u64, u32)> = (0..10).map(|n| (n * 10, 0)).collect();
    let slow = Acts { start: Wall::from_millis(300), ..QUICK };
    let (record, outcomes) = played(&workload(1, &arrivals), &[slow], &[], Patience::default());
    assert!(outcomes.iter().all(|outcome| outcome == "completed"), "{outcomes:?}");
    assert_eq!(record.lateness.count(), 10);
    let late = record.lateness.quantile_us(1.0).unwrap();
    assert!(late < 250_000, "an arrival was {late} us late");
    let cold = record.invocations.iter().filter(|one| one.start == Some(StartKind::Cold));
    for one in cold {
        assert!(ms(one.startup_ns) >= 300 && ms(one.service_ns) >= 10, "{one:?}");
    }
    assert_eq!(record.counters.created, 10);
}

/// Queueing, start-up and service add up to the time from the planned arrival to the answer, by the decisions' own
/// times.
#[test]
fn the_parts_of_a_latency_add_up() {
    let arrivals = [(0, 0), (5, 0), (100, 0)];
    let sets = ["override.systems.faasd.start_slots=1"];
    let (record, _) = played(&workload(1, &arrivals), &[QUICK], &sets, Patience::default());
    let [first, second, third]: [InvocationRecord; 3] = record.invocations.clone().try_into().unwrap();
    // One start at a time: the second is served by the first's sandbox, or starts when that start has ended.
    assert!(ms(second.queueing_ns) >= 10, "{second:?}");
    assert_eq!(third.start, Some(StartKind::Warm));
    assert_eq!(third.startup_ns, Duration::ZERO);
    for one in [first, second, third] {
        let answered = one.arrival_ns + one.end_to_end();
        let told = record.decisions.iter().any(|decision| decision.at == answered);
        assert!(told, "{one:?} is not answered at a decision's time");
    }
}

/// Goal: nobody waits longer than the queue timeout, and waiting is in the order of arrival.
#[test]
fn the_queue_keeps_order_and_ends_in_timeouts() {
    let arrivals = [(0, 0), (10, 1), (20, 2), (30, 1)];
    let long = Acts { service: Wall::from_millis(150), ..QUICK };
    let longest = Acts { service: Wall::from_millis(600), ..QUICK };
    // Room for one sandbox.
    let sets = ["cluster.memory_cap=\"150 MiB\"", "cluster.queue_timeout=\"300 ms\""];
    let (record, outcomes) =
        played(&workload(3, &arrivals), &[long, longest, QUICK], &sets, Patience::default());
    assert_eq!(outcomes, ["completed", "completed", "timed_out", "timed_out"]);
    let began = |n: usize| record.invocations[n].arrival_ns + record.invocations[n].queueing_ns;
    assert!(began(1) > began(0), "the second waits for the first's memory");
    for late in [2, 3] {
        let waited = ms(record.invocations[late].queueing_ns);
        assert!((300..450).contains(&waited), "{waited} ms");
    }
    assert!(record.counters.queued >= 3 && record.counters.evicted >= 1, "{:?}", record.counters);
}

/// Goal: a function that dies, and one that never answers, fail alone.
#[test]
fn a_dead_function_fails_alone() {
    let arrivals = [(0, 0), (0, 1), (60, 0), (120, 0), (120, 2)];
    let mortal = Acts { dies_at: Some(2), ..QUICK };
    let hanging = Acts { hangs: true, ..QUICK };
    let patience = Patience { call: Duration::from_millis(200), ..Patience::default() };
    let (record, outcomes) = played(&workload(3, &arrivals), &[mortal, hanging, QUICK], &[], patience);
    assert_eq!(outcomes, ["completed", "failed", "failed", "completed", "completed"]);
    assert_eq!(record.invocations[3].start, Some(StartKind::Cold), "the dead one's successor starts anew");
    assert_eq!(record.counters.lost, 2);
    let said = record.warnings.join("\n");
    assert!(said.contains("2 sandboxes were lost") && said.contains("f0: it died"), "{said}");
    let function = &record.functions[0];
    assert_eq!(function.outcomes[Outcome::Failed as usize], 1);
}

/// A start that never ends is given up, too.
#[test]
fn a_start_that_hangs_is_given_up() {
    let hanging = Acts { start: Wall::from_millis(500), ..QUICK };
    let patience = Patience { start: Duration::from_millis(100), ..Patience::default() };
    let (record, outcomes) = played(&workload(2, &[(0, 0), (1, 1)]), &[hanging, QUICK], &[], patience);
    assert_eq!(outcomes, ["failed", "completed"]);
    assert_eq!((record.counters.lost, record.counters.created), (1, 2));
}

/// Goal: repurposing under the loop. Method: a function after another, so that an idle sandbox of the first is
/// there; the system is the same but for how isolation is obtained.
#[test]
fn idle_sandboxes_are_given_to_other_functions() {
    let sets = ["override.systems.faasd.isolating=\"repurpose\""];
    let arrivals = [(0, 0), (100, 1), (200, 1), (300, 0)];
    let (record, outcomes) = played(&workload(2, &arrivals), &[QUICK, QUICK], &sets, Patience::default());
    assert!(outcomes.iter().all(|outcome| outcome == "completed"), "{outcomes:?}");
    let kinds: Vec<_> = record.invocations.iter().filter_map(|one| one.start).collect();
    use StartKind::{Cold, Repurposed, Warm};
    assert_eq!(kinds, [Cold, Repurposed, Warm, Repurposed]);
    assert_eq!((record.counters.created, record.counters.repurposed), (1, 2));
}

/// The loop as a world, so that its records go through the store.
struct Sleeping(Mutex<Vec<Decision>>);

impl World for Sleeping {
    fn name(&self) -> &str {
        "emu"
    }

    fn model_version(&self) -> u32 {
        1
    }

    fn run(&self, _: &Spec, workload: &Workload, _: u64) -> Result<RunRecord, WorldError> {
        let (record, _) = played(workload, &[QUICK, QUICK], &[], Patience::default());
        *self.0.lock().unwrap() = record.decisions.clone();
        Ok(record)
    }
}

/// Goal: the inputs in a run's folder lead a fresh control plane to the same commands, byte for byte. Method: a run
/// through the store; its file is read back, its inputs are told anew, and both are written as JSON.
#[test]
fn recorded_inputs_lead_to_the_same_commands() {
    let folder = tempfile::tempdir().unwrap();
    let workload = workload(2, &[(0, 0), (3, 1), (40, 0), (90, 1)]);
    let file = folder.path().join("four.workload");
    traces::binary::write(&file, &workload).unwrap();
    let mut experiment = configs::load(&shipped(), Tier::Kick, &[]).unwrap().in_world(WorldKind::Emu);
    experiment.points.retain(|point| point.label == "faasd");
    experiment.points[0].spec.workload = configs::spec::WorkloadSpec::File { path: file };
    let plan = Plan::new(experiment);
    let store = Store::open(folder.path()).unwrap();
    let world = Sleeping(Mutex::default());
    let options = Options { jobs: 1, progress: false, ..Options::default() };
    let outcome = runs::execute(&plan, folder.path(), &store, &world, &options).unwrap();
    let [done] = outcome.done.as_slice() else { panic!("{:?}", outcome.failed) };
    assert!(store.path(&done.key).join("decisions.jsonl.zst").is_file());
    let record = store.load(&done.key).unwrap().record;
    assert_eq!(record.decisions, *world.0.lock().unwrap());
    assert_eq!(record.lateness.count(), 4);

    let spec = &plan.point(done.job).spec;
    let mut plane = ControlPlane::new(control_config(spec, &workload, done.job.seed));
    for recorded in &record.decisions {
        let mut commands = Vec::new();
        plane.handle(recorded.at, recorded.input, &mut commands);
        let again = Decision { commands, ..recorded.clone() };
        let text = |decision| serde_json::to_string(decision).unwrap();
        assert_eq!(text(&again), text(recorded));
    }
}

/// A recorded decision that was tampered with is found.
#[test]
fn a_changed_decision_is_told() {
    let workload = workload(1, &[(0, 0)]);
    let (record, _) = played(&workload, &[QUICK], &[], Patience::default());
    let experiment = configs::load(&shipped(), Tier::Kick, &[]).unwrap().in_world(WorldKind::Emu);
    let spec = &experiment.points.iter().find(|point| point.label == "faasd").unwrap().spec;
    let mut decisions = record.decisions.clone();
    decisions.last_mut().unwrap().commands.clear();
    let last = decisions.len() - 1;
    let emptied = record.decisions[last].commands.is_empty();
    let told = replay(control_config(spec, &workload, 1), &decisions);
    assert_eq!(told.err().map(|differs| differs.number), (!emptied).then_some(last));
    assert!(!emptied, "the last decision sets a keep-alive timer");
}
