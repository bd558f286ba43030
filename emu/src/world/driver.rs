//! The event loop: the only caller of the control plane.
//!
//! One thread hands arrivals over when they are due, whatever sandboxes are doing (open loop), tells the control
//! plane what has happened, and gives its commands to an [`Executor`], whose slow work is done elsewhere. Every
//! input is told with the time at which it is told, and kept with the commands that followed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant as WallInstant;

use platform::control::{Command, ControlConfig, ControlPlane, EvictReason, Input, Timer};
use platform::ids::{SandboxId, Ticket};
use platform::records::{Counters, Decision, Outcome, RunRecord, StartKind};
use traces::{Duration, FunctionId, Instant, Workload};

use super::error::Refused;
use super::executor::{Event, Executor, Happened, Life};
use super::ledger::Ledger;

/// How long sandboxes and functions may take before they count as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the command to start to the function's word that it is ready.
    pub start: Duration,
    /// From an invocation to its answer.
    pub call: Duration,
}

impl Default for Patience {
    /// The published load driver gives every call 60 s.
    fn default() -> Self {
        Self { start: Duration::MINUTE, call: Duration::MINUTE }
    }
}

/// What is played.
#[derive(Debug)]
pub struct Play<'a> {
    /// The workload, fitted to this machine.
    pub workload: &'a Workload,
    /// The control plane's configuration.
    pub config: ControlConfig,
    /// Whether every invocation is kept.
    pub invocations: bool,
    /// When to give up.
    pub patience: Patience,
    /// The zero of the workload's time.
    pub began: WallInstant,
    /// Told how many sandboxes there are.
    pub gauges: &'a Gauges,
}

/// Numbers of sandboxes, for whoever samples memory meanwhile.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Running an invocation or starting.
    pub busy: AtomicU32,
    /// Kept idle.
    pub idle: AtomicU32,
}

/// Plays to the end of the workload, and on until every invocation has ended: the records but for memory.
///
/// # Errors
/// If the executor cannot go on.
pub fn play(play: Play<'_>, executor: &mut dyn Executor) -> Result<RunRecord, Refused> {
    let mut driver = Driver::new(play, executor);
    driver.run()?;
    Ok(driver.finish())
}

/// What a sandbox is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    Starting { ticket: Option<Ticket> },
    Running { ticket: Ticket },
}

/// A sandbox as the driver knows it.
#[derive(Clone, Copy, Debug)]
struct Slot {
    life: u32,
    function: FunctionId,
    doing: Doing,
    /// Counts what it has been told to do: a time limit is that of one deed.
    deeds: u32,
}

const VACANT: Slot = Slot { life: 0, function: FunctionId(u32::MAX), doing: Doing::Nothing, deeds: 0 };

/// What is due at a time.
#[derive(Clone, Copy, Debug)]
enum Due {
    Timer(Timer),
    Overdue { life: Life, deed: u32 },
}

struct Driver<'a> {
    play: Play<'a>,
    plane: ControlPlane,
    executor: &'a mut dyn Executor,
    /// By time and order of setting.
    due: BTreeMap<(Instant, u64), Due>,
    set: u64,
    next_arrival: usize,
    last: Instant,
    slots: Vec<Slot>,
    ledger: Ledger,
    counters: Counters,
    decisions: Vec<Decision>,
    /// What went wrong: how often, and the first of each kind.
    complaints: BTreeMap<&'static str, (u64, String)>,
}

impl<'a> Driver<'a> {
    fn new(play: Play<'a>, executor: &'a mut dyn Executor) -> Self {
        Self {
            plane: ControlPlane::new(play.config.clone()),
            ledger: Ledger::new(play.workload, play.invocations),
            play,
            executor,
            due: BTreeMap::new(),
            set: 0,
            next_arrival: 0,
            last: Instant::ZERO,
            slots: Vec::new(),
            counters: Counters::default(),
            decisions: Vec::new(),
            complaints: BTreeMap::new(),
        }
    }

    fn run(&mut self) -> Result<(), Refused> {
        let mut events = Vec::new();
        let end = Instant::ZERO + self.play.workload.span;
        self.gauge();
        loop {
            let arrival = self.play.workload.invocations.get(self.next_arrival).map(|one| one.arrival());
            let timer = self.due.first_key_value().map(|((at, _), _)| *at);
            let playing = arrival.is_some() || self.ledger.flying() > 0;
            if !playing && self.now() >= end {
                return Ok(());
            }
            let next = [arrival, timer, (!playing).then_some(end)].into_iter().flatten().min();
            let next = next.unwrap_or(end);
            let until = self.play.began + std::time::Duration::from_nanos(next.as_nanos());
            self.executor.wait(until, &mut events)?;
            for event in events.drain(..) {
                self.counters.events += 1;
                self.happened(event);
            }
            self.hand_over();
            self.gauge();
        }
    }

    /// Time since the beginning; never back.
    fn now(&mut self) -> Instant {
        let passed = self.play.began.elapsed();
        self.last = self.last.max(Instant::from_nanos(passed.as_nanos() as u64));
        self.last
    }

    /// Timers and arrivals that are due, in their order.
    fn hand_over(&mut self) {
        let workload = self.play.workload;
        loop {
            let now = self.now();
            let timer = self.due.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= now);
            let arrival = workload.invocations.get(self.next_arrival).filter(|one| one.arrival() <= now);
            match (timer, arrival) {
                (None, None) => return,
                (Some(timer), arrival) if arrival.is_none_or(|arrival| timer <= arrival.arrival()) => {
                    if let Some((_, due)) = self.due.pop_first() {
                        self.came_due(due);
                    }
                }
                (_, Some(arrival)) => {
                    let number = self.next_arrival as u64;
                    self.next_arrival += 1;
                    self.counters.events += 1;
                    let ticket = self.ledger.arrive(now, number, *arrival);
                    self.tell_at(now, Input::Arrival { ticket, function: arrival.function() });
                }
                (Some(_), None) => unreachable!("a timer without an arrival is the arm before"),
            }
        }
    }

    fn came_due(&mut self, due: Due) {
        self.counters.events += 1;
        match due {
            Due::Timer(timer) => self.tell(Input::Timer(timer)),
            Due::Overdue { life, deed } => {
                let slot = self.slots[life.sandbox.index()];
                if slot.life == life.number && slot.deeds == deed && slot.doing != Doing::Nothing {
                    let (what, limit) = match slot.doing {
                        Doing::Starting { .. } => ("start", self.play.patience.start),
                        _ => ("invocation", self.play.patience.call),
                    };
                    self.gone(life, &format!("its {what} took longer than {limit}"));
                }
            }
        }
    }

    fn happened(&mut self, event: Event) {
        let Event { life, what } = event;
        let Some(slot) = self.slots.get_mut(life.sandbox.index()).filter(|slot| slot.life == life.number)
        else {
            return;
        };
        match (what, slot.doing) {
            (Happened::Ready { replaced }, Doing::Starting { ticket }) => {
                slot.doing = Doing::Nothing;
                if let Some(why) = replaced {
                    if let Some(ticket) = ticket {
                        self.ledger.correct(ticket, StartKind::Cold);
                    }
                    self.complain("sandboxes could not be used again and were replaced by new ones", || why);
                }
                self.tell(Input::Ready { sandbox: life.sandbox });
            }
            (Happened::Answered(answer), Doing::Running { ticket }) => {
                slot.doing = Doing::Nothing;
                let function = slot.function;
                let now = self.now();
                let outcome = match answer {
                    Ok(()) => Outcome::Completed,
                    Err(fault) => {
                        let name = self.name(function);
                        self.complain("invocations were answered wrongly", || format!("{name}: {fault}"));
                        Outcome::Failed
                    }
                };
                self.ledger.end(ticket, now, outcome);
                self.tell_at(now, Input::Finished { sandbox: life.sandbox });
            }
            (Happened::Gone(why), _) => self.gone(life, &why),
            // What nobody waits for.
            (Happened::Ready { .. } | Happened::Answered(_), _) => {}
        }
    }

    fn gone(&mut self, life: Life, why: &str) {
        let name = self.name(self.slots[life.sandbox.index()].function);
        self.complain("sandboxes were lost", || format!("{name}: {why}"));
        self.tell(Input::SandboxLost { sandbox: life.sandbox });
    }

    fn name(&self, function: FunctionId) -> String {
        let known = self.play.workload.functions.get(function.index());
        known.map_or_else(|| "no function".to_owned(), |function| function.name.clone())
    }

    fn complain(&mut self, kind: &'static str, first: impl FnOnce() -> String) {
        self.complaints.entry(kind).or_insert_with(|| (0, first())).0 += 1;
    }

    fn tell(&mut self, input: Input) {
        let now = self.now();
        self.tell_at(now, input);
    }

    /// Gives the control plane an input, keeps what it answers, and has it carried out.
    fn tell_at(&mut self, at: Instant, input: Input) {
        let mut commands = Vec::new();
        self.plane.handle(at, input, &mut commands);
        for &command in &commands {
            self.carry_out(at, command);
        }
        self.decisions.push(Decision { at, input, commands });
    }

    fn carry_out(&mut self, now: Instant, command: Command) {
        match command {
            Command::Start { sandbox, function, ticket, kind, .. } => {
                self.counters.created += 1;
                self.counters.pre_warmed += u64::from(ticket.is_none());
                let (_, new) = self.begin_start(now, sandbox, function, ticket, kind);
                self.executor.start(new, function);
            }
            Command::Repurpose { sandbox, to, ticket, .. } => {
                self.counters.repurposed += 1;
                let (old, new) = self.begin_start(now, sandbox, to, Some(ticket), StartKind::Repurposed);
                self.executor.repurpose(old, new, to);
            }
            Command::Run { sandbox, ticket, kind, .. } => {
                let function = self.ledger.run(ticket, now, kind).function();
                let life = self.do_next(now, sandbox, Doing::Running { ticket }, self.play.patience.call);
                self.executor.run(life, function);
            }
            Command::Evict { sandbox, reason, .. } => {
                match reason {
                    EvictReason::Expired => self.counters.expired += 1,
                    EvictReason::Memory => self.counters.evicted += 1,
                }
                self.give_up(sandbox);
            }
            Command::Lost { sandbox, ticket, .. } => {
                self.counters.lost += 1;
                self.give_up(sandbox);
                if let Some(ticket) = ticket {
                    self.ledger.end(ticket, now, Outcome::Failed);
                }
            }
            Command::SetTimer { at, timer } => self.set_due(at, Due::Timer(timer)),
            Command::Queued { .. } => self.counters.queued += 1,
            Command::TimedOut { ticket } => self.ledger.end(ticket, now, Outcome::TimedOut),
            Command::Reject { ticket } => self.ledger.end(ticket, now, Outcome::Rejected),
            Command::Demote { .. } => {
                unreachable!("systems that keep layers are refused before they are run")
            }
        }
    }

    /// A sandbox begins a new life: the one before, and the new one.
    fn begin_start(
        &mut self,
        now: Instant,
        sandbox: SandboxId,
        function: FunctionId,
        ticket: Option<Ticket>,
        kind: StartKind,
    ) -> (Life, Life) {
        if let Some(ticket) = ticket {
            self.ledger.start(ticket, now, kind);
        }
        if self.slots.len() <= sandbox.index() {
            self.slots.resize(sandbox.index() + 1, VACANT);
        }
        let slot = &mut self.slots[sandbox.index()];
        let old = Life { sandbox, number: slot.life };
        slot.life += 1;
        slot.function = function;
        let new = self.do_next(now, sandbox, Doing::Starting { ticket }, self.play.patience.start);
        (old, new)
    }

    /// A sandbox has something to do, for so long at most.
    fn do_next(&mut self, now: Instant, sandbox: SandboxId, doing: Doing, limit: Duration) -> Life {
        let slot = &mut self.slots[sandbox.index()];
        slot.doing = doing;
        slot.deeds += 1;
        let (life, deed) = (Life { sandbox, number: slot.life }, slot.deeds);
        self.set_due(now + limit, Due::Overdue { life, deed });
        life
    }

    fn give_up(&mut self, sandbox: SandboxId) {
        // A prepopulated one that was never used is in no slot yet.
        if self.slots.len() <= sandbox.index() {
            self.slots.resize(sandbox.index() + 1, VACANT);
        }
        let slot = &mut self.slots[sandbox.index()];
        let life = Life { sandbox, number: slot.life };
        // News that are on their way are not of the next one with this number.
        slot.life += 1;
        slot.doing = Doing::Nothing;
        self.executor.evict(life);
    }

    fn set_due(&mut self, at: Instant, due: Due) {
        self.set += 1;
        self.due.insert((at, self.set), due);
    }

    fn gauge(&self) {
        self.play.gauges.busy.store(self.plane.busy(), Ordering::Relaxed);
        self.play.gauges.idle.store(self.plane.idle(), Ordering::Relaxed);
    }

    fn finish(self) -> RunRecord {
        let complaints = self.complaints.into_iter();
        let warnings = complaints.map(|(kind, (count, first))| format!("{count} {kind}; the first: {first}"));
        RunRecord {
            counters: self.counters,
            warnings: warnings.collect(),
            decisions: self.decisions,
            ..self.ledger.finish()
        }
    }
}
