//! What comes in: functions, invocations and workloads; readers of published traces; generators;
//! sampling; description.

pub mod size;
pub mod time;
pub mod workload;

pub use size::{Bytes, PAGE_BYTES, Pages};
pub use time::{Duration, Instant};
pub use workload::{Function, FunctionId, Invocation};
