//! Invocations in flight, and the records they become.

use platform::ids::{NodeId, Ticket};
use platform::recorder::{Latencies, Recorder};
use platform::records::{InvocationRecord, Outcome, RunRecord, StartKind};
use traces::{Duration, Instant, Invocation, Workload};

/// An invocation in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    invocation: Invocation,
    kind: Option<StartKind>,
    start_began: Instant,
    run_began: Option<Instant>,
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
    names: Vec<String>,
    recorder: Recorder,
    lateness: Latencies,
}

impl Ledger {
    pub fn new(workload: &Workload, keep_all: bool) -> Self {
        let names: Vec<String> = workload.functions.iter().map(|function| function.name.clone()).collect();
        Self {
            flights: Vec::new(),
            free: Vec::new(),
            flying: 0,
            burn_in_ends: Instant::ZERO + workload.burn_in,
            recorder: Recorder::new(names.len(), names.len(), keep_all),
            names,
            lateness: Latencies::default(),
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
        self.recorder.record(&record);
        self.free.push(ticket.0);
        self.flying -= 1;
    }

    /// The records, without memory and counters.
    pub fn finish(self) -> RunRecord {
        let (functions, starts, invocations) = self.recorder.finish(&self.names);
        RunRecord {
            functions,
            starts: starts.finish(),
            invocations,
            lateness: self.lateness.distribution(),
            ..RunRecord::default()
        }
    }
}
