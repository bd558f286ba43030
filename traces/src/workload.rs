//! [`Workload`]: functions and time-ordered invocations, ready to be played.

use crate::size::Bytes;
use crate::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

/// Index of a function in its workload's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FunctionId(pub u32);

impl FunctionId {
    /// As an index into a table of functions.
    pub const fn index(self) -> usize {
        self.0 as usize
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
