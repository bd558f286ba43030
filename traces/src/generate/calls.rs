//! Calls: named functions, so many calls at once, round after round. For looking at single starts and
//! at many instances of one function.
//!
//! Source: TrEnv's run of 50 calls of one function 0.5 s apart (SOSP'24 artifact, Fig. 11b), with the
//! number of calls at once as one more parameter.

use super::functions;
use crate::error::{Error, Result};
use crate::records::Invocations;
use crate::rng::Streams;
use crate::service::{ServiceLookup, look_up};
use crate::time::{Duration, Instant};
use crate::workload::{FunctionId, Invocation, Workload};

/// Parameters of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Names of functions, among the paper's eleven; called in turn.
    pub functions: Vec<String>,
    /// Calls of a function at the same instant.
    pub at_once: u32,
    /// Rounds of calls of each function.
    pub rounds: u32,
    /// Rounds that are burn-in, less than `rounds`.
    pub burn_in_rounds: u32,
    /// Time from one function's calls to the next function's.
    pub every: Duration,
}

impl Calls {
    /// The workload. `seed` decides the service times that `service` gives for each function.
    ///
    /// # Errors
    /// [`Error::UnknownName`] of a function that is not one of the eleven,
    /// [`NoServiceTime`](Error::NoServiceTime) if `service` does not know it.
    pub fn generate(&self, seed: u64, service: ServiceLookup<'_>) -> Result<Workload> {
        let streams = Streams::new(seed);
        let mut table = Vec::new();
        let mut times = Vec::new();
        for name in &self.functions {
            let function = functions::function(name, 0);
            table.push(function.ok_or_else(|| Error::unknown_name("function", name, &functions::NAMES))?);
            times.push((look_up(service, name, name)?, streams.stream(&format!("service/{name}"), 0)));
        }
        let turn = u64::from(self.rounds) * self.functions.len() as u64;
        let mut invocations = Vec::new();
        for round in 0..turn {
            let index = (round % self.functions.len() as u64) as usize;
            let (time, draws) = &mut times[index];
            for _ in 0..self.at_once {
                let arrival = Instant::from_nanos(round * self.every.as_nanos());
                invocations.push(Invocation::new(arrival, FunctionId(index as u32), time.draw(draws)));
            }
        }
        let rounds = |n: u32| self.every * (u64::from(n) * self.functions.len() as u64);
        Ok(Workload {
            name: "calls".to_owned(),
            functions: table,
            invocations: Invocations::from(invocations),
            burn_in: rounds(self.burn_in_rounds),
            span: rounds(self.rounds),
            provenance: vec![format!(
                "generated: calls of {}, {} at once, {} rounds, every {}, seed {seed}",
                self.functions.join(", "),
                self.at_once,
                self.rounds,
                self.every
            )],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServiceTime;

    fn calls(functions: &[&str]) -> Calls {
        Calls {
            functions: functions.iter().map(|name| (*name).to_owned()).collect(),
            at_once: 3,
            rounds: 4,
            burn_in_rounds: 1,
            every: Duration::from_secs(2),
        }
    }

    #[test]
    fn functions_are_called_in_turn_all_of_a_round_at_once() {
        let constant = |_: &str| Some(ServiceTime::Constant { ms: 100.0 });
        let workload = calls(&["pyaes", "crypto"]).generate(1, &constant).unwrap();
        workload.validate().unwrap();
        assert_eq!((workload.measured_counts(), workload.burn_in_count()), (vec![9, 9], 6));
        assert_eq!(workload.span, Duration::from_secs(16));
        let third = workload.invocations[6];
        assert_eq!((third.arrival(), third.function()), (Instant::from_nanos(4_000_000_000), FunctionId(0)));
    }

    #[test]
    fn a_function_that_is_none_of_the_paper_is_refused() {
        let constant = |_: &str| Some(ServiceTime::Constant { ms: 100.0 });
        let error = calls(&["pyeas"]).generate(1, &constant).unwrap_err().to_string();
        assert!(error.contains("pyeas") && error.contains("pyaes"), "{error}");
    }
}
