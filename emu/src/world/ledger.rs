//! Invocations in flight, and the records they become.

use platform::ids::{NodeId, Ticket};
use platform::records::{
    Distribution, FunctionRecord, InvocationRecord, Outcome, RunRecord, StartKind, StartRecord,
};
use traces::{Duration, Instant, Invocation, Workload};

use super::histogram::Histogram;

/// An invocation in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    invocation: Invocation,
    kind: Option<StartKind>,
    start_began: Instant,
    run_began: Option<Instant>,
}

#[derive(Debug, Default)]
struct OfStart {
    queueing: Histogram,
    startup: Histogram,
    service: Histogram,
    end_to_end: Histogram,
}

/// Keeps the books of a run.
///
/// Queueing counts from the *planned* arrival: what the load driver is late is in it, and hidden nowhere.
#[derive(Debug)]
pub(super) struct Ledger {
    flights: Vec<Flight>,
    free: Vec<u32>,
    flying: usize,
    burn_in_ends: Instant,
    functions: Vec<(FunctionRecord, Histogram, Histogram)>,
    starts: [OfStart; StartKind::COUNT],
    invocations: Option<Vec<InvocationRecord>>,
    lateness: Histogram,
}

impl Ledger {
    pub fn new(workload: &Workload, keep_all: bool) -> Self {
        let record = |name: &String| FunctionRecord { name: name.clone(), ..FunctionRecord::default() };
        Self {
            flights: Vec::new(),
            free: Vec::new(),
            flying: 0,
            burn_in_ends: Instant::ZERO + workload.burn_in,
            functions: workload
                .functions
                .iter()
                .map(|function| (record(&function.name), Histogram::default(), Histogram::default()))
                .collect(),
            starts: Default::default(),
            invocations: keep_all.then(Vec::new),
            lateness: Histogram::default(),
        }
    }

    /// Invocations that have not ended.
    pub fn flying(&self) -> usize {
        self.flying
    }

    /// An invocation is handed over.
    pub fn arrive(&mut self, now: Instant, number: u64, invocation: Invocation) -> Ticket {
        self.lateness.record(now.since(invocation.arrival()));
        self.flying += 1;
        let flight = Flight { number, invocation, kind: None, start_began: now, run_began: None };
        if let Some(index) = self.free.pop() {
            self.flights[index as usize] = flight;
            return Ticket(index);
        }
        self.flights.push(flight);
        Ticket(self.flights.len() as u32 - 1)
    }

    /// A sandbox is being made for it.
    pub fn start(&mut self, ticket: Ticket, now: Instant, kind: StartKind) {
        let flight = &mut self.flights[ticket.index()];
        flight.kind = Some(kind);
        flight.start_began = now;
    }

    /// Its start turned out to be of another kind.
    pub fn correct(&mut self, ticket: Ticket, kind: StartKind) {
        self.flights[ticket.index()].kind = Some(kind);
    }

    /// It is sent to its sandbox. A start may have turned out to be of another kind than was commanded.
    pub fn run(&mut self, ticket: Ticket, now: Instant, kind: StartKind) -> Invocation {
        let flight = &mut self.flights[ticket.index()];
        if flight.kind.is_none() {
            flight.kind = Some(kind);
            flight.start_began = now;
        }
        flight.run_began = Some(now);
        flight.invocation
    }

    /// It has ended; its ticket is free.
    pub fn end(&mut self, ticket: Ticket, now: Instant, outcome: Outcome) {
        let flight = self.flights[ticket.index()];
        let arrival = flight.invocation.arrival();
        let began = if flight.kind.is_some() { flight.start_began } else { now };
        let ran = flight.run_began.filter(|_| outcome == Outcome::Completed);
        let record = InvocationRecord {
            number: flight.number,
            function: flight.invocation.function().0,
            node: flight.kind.map(|_| NodeId(0).0),
            start: flight.kind,
            outcome,
            burn_in: arrival < self.burn_in_ends,
            arrival_ns: arrival,
            queueing_ns: began.since(arrival),
            startup_ns: ran.map_or(Duration::ZERO, |ran| ran.since(began)),
            service_ns: ran.map_or(Duration::ZERO, |ran| now.since(ran)),
        };
        self.enter(&record);
        if let Some(all) = &mut self.invocations {
            all.push(record);
        }
        self.free.push(ticket.0);
        self.flying -= 1;
    }

    fn enter(&mut self, one: &InvocationRecord) {
        let (function, end_to_end, startup) = &mut self.functions[one.function as usize];
        if one.burn_in {
            function.arrivals_in_burn_in += 1;
            return;
        }
        function.outcomes[one.outcome as usize] += 1;
        let (Outcome::Completed, Some(kind)) = (one.outcome, one.start) else { return };
        function.starts[kind as usize] += 1;
        end_to_end.record(one.end_to_end());
        startup.record(one.startup_ns);
        let start = &mut self.starts[kind as usize];
        start.queueing.record(one.queueing_ns);
        start.startup.record(one.startup_ns);
        start.service.record(one.service_ns);
        start.end_to_end.record(one.end_to_end());
    }

    /// The records, without memory and counters.
    pub fn finish(self) -> RunRecord {
        let functions = self.functions.into_iter().map(|(function, end_to_end, startup)| FunctionRecord {
            end_to_end: end_to_end.distribution(),
            startup: startup.distribution(),
            ..function
        });
        let of = Histogram::distribution as fn(Histogram) -> Distribution;
        RunRecord {
            functions: functions.collect(),
            starts: self.starts.map(|start| StartRecord {
                queueing: of(start.queueing),
                startup: of(start.startup),
                service: of(start.service),
                end_to_end: of(start.end_to_end),
            }),
            invocations: self.invocations.unwrap_or_default(),
            lateness: self.lateness.distribution(),
            ..RunRecord::default()
        }
    }
}
