//! [`Workload`]: functions and time-ordered invocations, ready to be played.

use crate::error::{Error, Result};
use crate::records::{Invocations, as_bytes};
use crate::rng::mix;
use crate::size::Bytes;
use crate::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

/// Functions and their invocations in order of arrival: what both worlds play.
///
/// Times count from the workload's own zero. Invocations of the same instant keep the order in
/// which their source gave them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// Short name, for people.
    pub name: String,
    /// The functions; an invocation names one by its place in this table.
    pub functions: Vec<Function>,
    /// The invocations, in order of arrival.
    pub invocations: Invocations,
    /// Invocations that arrive before this much time has passed are burn-in: played, not measured.
    pub burn_in: Duration,
    /// Length of the workload; every invocation arrives before it.
    pub span: Duration,
    /// Where it comes from: the source, then each transform, in words.
    pub provenance: Vec<String>,
}

impl Workload {
    /// Checks what every reader and generator promises: invocations in order of arrival, before
    /// `span` and of known functions; names of functions unique; burn-in not longer than `span`.
    ///
    /// # Errors
    /// [`Error::Workload`] with the first rule that is broken and where.
    pub fn validate(&self) -> Result<()> {
        let broken = |problem: String| Err(Error::Workload { name: self.name.clone(), problem });
        if self.functions.len() as u64 > Invocation::MAX_FUNCTIONS {
            return broken(format!(
                "{} functions, at most {} fit",
                self.functions.len(),
                Invocation::MAX_FUNCTIONS
            ));
        }
        if self.burn_in > self.span {
            return broken(format!(
                "the burn-in ({}) is longer than the workload ({})",
                self.burn_in, self.span
            ));
        }
        let mut names: Vec<&str> = self.functions.iter().map(|function| function.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return broken(format!("two functions are called \"{}\"; names must be unique", pair[0]));
        }
        let mut before = Instant::ZERO;
        for (row, invocation) in self.invocations.iter().enumerate() {
            if invocation.arrival() < before {
                return broken(format!(
                    "invocation {row} ({}) arrives before the one in front of it ({before}); sort by arrival",
                    invocation.arrival()
                ));
            }
            before = invocation.arrival();
            if invocation.function().index() >= self.functions.len() {
                return broken(format!(
                    "invocation {row} names function {}, the table has {}",
                    invocation.function().0,
                    self.functions.len()
                ));
            }
        }
        if !self.invocations.is_empty() && before.as_nanos() >= self.span.as_nanos() {
            return broken(format!(
                "the last invocation ({before}) is not before the end of the workload ({})",
                self.span
            ));
        }
        Ok(())
    }

    /// The BLAKE3 hash of what is played: function table, burn-in, span and invocations. Name and
    /// provenance do not count: the same content under another name is the same workload.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = content_hasher(self.burn_in, self.span, &table_bytes(&self.functions));
        hasher.update(as_bytes(&self.invocations));
        *hasher.finalize().as_bytes()
    }

    /// [`Self::hash`] as 64 hexadecimal digits.
    pub fn hash_hex(&self) -> String {
        blake3::Hash::from_bytes(self.hash()).to_hex().to_string()
    }

    /// The invocations that count: those after the burn-in.
    pub fn measured(&self) -> &[Invocation] {
        &self.invocations[self.burn_in_count()..]
    }

    /// How many invocations are burn-in.
    pub fn burn_in_count(&self) -> usize {
        self.invocations.partition_point(|i| i.arrival().as_nanos() < self.burn_in.as_nanos())
    }

    /// Invocations of each function, in the order of the function table.
    pub fn counts(&self) -> Vec<u64> {
        counts(&self.invocations, self.functions.len())
    }

    /// Invocations of each function after the burn-in, in the order of the function table.
    pub fn measured_counts(&self) -> Vec<u64> {
        counts(self.measured(), self.functions.len())
    }

    /// The function called `name`.
    pub fn function(&self, name: &str) -> Option<FunctionId> {
        self.functions.iter().position(|function| function.name == name).map(|index| FunctionId(index as u32))
    }
}

/// Invocations of each of `functions` functions.
fn counts(invocations: &[Invocation], functions: usize) -> Vec<u64> {
    let mut counts = vec![0; functions];
    for invocation in invocations {
        counts[invocation.function().index()] += 1;
    }
    counts
}

/// Sorts by arrival; invocations of the same instant keep their order.
pub(crate) fn sort_by_arrival(invocations: &mut [Invocation]) {
    invocations.sort_by_key(|invocation| invocation.arrival());
}

/// A span for invocations whose source states none: whole seconds, so that all arrive before it.
pub(crate) fn span_of(invocations: &[Invocation]) -> Duration {
    let last = invocations.last().map_or(0, |invocation| invocation.arrival().as_nanos());
    Duration::from_nanos((last / 1_000_000_000 + 1).saturating_mul(1_000_000_000))
}

/// The function table as a workload file holds it: JSON, fields in the order of [`Function`].
pub(crate) fn table_bytes(functions: &[Function]) -> Vec<u8> {
    serde_json::to_vec(functions).expect("a table of strings and numbers always reads as JSON")
}

/// A hasher that has seen everything but the invocations.
pub(crate) fn content_hasher(burn_in: Duration, span: Duration, table: &[u8]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"trenvx workload 1\0");
    hasher.update(&burn_in.as_nanos().to_le_bytes());
    hasher.update(&span.as_nanos().to_le_bytes());
    hasher.update(&(table.len() as u64).to_le_bytes());
    hasher.update(table);
    hasher
}

/// Index of a function in its workload's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FunctionId(pub u32);

impl FunctionId {
    /// As an index into a table of functions.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Which of so many parts it is at home in, by a hash: parts of a workload that are drawn apart,
    /// racks that keep its template.
    pub const fn home(self, parts: u32) -> u32 {
        (((mix(self.0 as u64) >> 32) * parts as u64) >> 32) as u32
    }
}

/// A deployed function, as far as its trace tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Name, unique in the workload (a hash in published traces).
    pub name: String,
    /// Owner. Sharing of sandboxes and memory may be restricted to one tenant.
    pub tenant: String,
    /// Name of the function profile that describes its memory behaviour, where the workload
    /// names one (`w1`, `w2`, `func`, `azure-hour`, `huawei-hour`). Functions without one get
    /// the experiment's default profile, scaled to `memory`.
    pub profile: Option<String>,
    /// Declared or measured memory; `None` where the trace has none.
    pub memory: Option<Bytes>,
}

/// One request to run a function: 16 bytes, in memory as in the binary workload file.
///
/// The second word holds the function in its high 24 bits and the service time, in microseconds,
/// in its low 40 bits: 16.7 million functions, 12.7 days.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invocation {
    arrival_ns: u64,
    function_service: u64,
}

const SERVICE_BITS: u32 = 40;

impl Invocation {
    /// Largest number of functions that an invocation can name.
    pub const MAX_FUNCTIONS: u64 = 1 << (64 - SERVICE_BITS);
    /// Longest service time that an invocation can hold.
    pub const MAX_SERVICE: Duration = Duration::from_micros((1 << SERVICE_BITS) - 1);

    /// An invocation of `function` at `arrival` that computes for `service` (rounded down to a
    /// microsecond, capped at [`Self::MAX_SERVICE`]).
    ///
    /// # Panics
    /// If the function's index is not below [`Self::MAX_FUNCTIONS`].
    pub fn new(arrival: Instant, function: FunctionId, service: Duration) -> Self {
        assert!(u64::from(function.0) < Self::MAX_FUNCTIONS, "function index {} out of range", function.0);
        let service_us = service.as_micros().min((1 << SERVICE_BITS) - 1);
        Self {
            arrival_ns: arrival.as_nanos(),
            function_service: (u64::from(function.0) << SERVICE_BITS) | service_us,
        }
    }

    /// When the request reaches the platform.
    pub const fn arrival(self) -> Instant {
        Instant::from_nanos(self.arrival_ns)
    }

    /// Which function it asks for.
    pub const fn function(self) -> FunctionId {
        FunctionId((self.function_service >> SERVICE_BITS) as u32)
    }

    /// Processor time the handler needs on an idle core with all memory local.
    pub const fn service(self) -> Duration {
        Duration::from_micros(self.function_service & ((1 << SERVICE_BITS) - 1))
    }
}
