//! A workload from its spec and a seed.

use configs::spec::{ServiceTime, Spec, WorkloadSpec};
use traces::generate::{func, w1, w2};
use traces::workload::Workload;

/// A workload cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The trace or the generator says why.
    #[error("workload {name}: {source}")]
    Trace {
        /// Name of the workload in experiment files.
        name: &'static str,
        /// Why.
        source: traces::Error,
    },
}

/// Builds what a spec plays, with service times from the spec where the source has none. The same
/// spec and seed give the same workload.
pub fn build(spec: &Spec, seed: u64) -> Result<Workload, BuildError> {
    let service = |name: &str| spec.service_times.get(name).map(|time| service_time(*time));
    let built = match &spec.workload {
        WorkloadSpec::W1 => w1::generate(seed, &service),
        WorkloadSpec::W2 => w2::generate(seed, &service),
        _ => func::generate(seed, &service),
    };
    built.map_err(|source| BuildError::Trace { name: spec.workload.name(), source })
}

fn service_time(time: ServiceTime) -> traces::ServiceTime {
    match time {
        ServiceTime::Constant(time) => traces::ServiceTime::constant(time),
        ServiceTime::LogNormal { median, sigma } => {
            traces::ServiceTime::LogNormal { median_ms: median.as_millis_f64(), sigma }
        }
    }
}
