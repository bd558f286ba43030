//! A job that is too long to be held in memory is drawn as it is played, and gives the same record.

mod common;

use common::free_spec;
use configs::spec::{Placement, WorkloadSpec};
use platform::records::Outcome;
use runs::World;
use sim::{Play, SimulatedWorld, simulate};
use traces::Duration;

/// One more than the longest job that is held.
const INVOCATIONS: u64 = 20_000_001;

#[test]
fn a_streamed_job_is_played_as_one_that_is_held() {
    let mut spec = free_spec("faasd");
    (spec.cluster.nodes, spec.cluster.racks) = (4, 2);
    spec.placement = Placement::RackLocality { spill: false };
    spec.output.invocations = false;
    spec.output.distributions = 10;
    let (span, burn_in) = (Duration::from_secs(3_600), Duration::from_secs(600));
    spec.workload = WorkloadSpec::Zipf { functions: 100, copies: 1, invocations: INVOCATIONS, span, burn_in };
    let job = runs::streamed(&spec, 7).expect("a job that is streamed");
    let workload = runs::build_workload(&spec, 7).expect("a workload");
    assert!(workload.invocations.is_empty(), "nothing of it is held");
    let streamed = SimulatedWorld.run(&spec, &workload, 7).expect("a record");
    let functions = &workload.functions;
    let invocations = job.invocations().expect("a job");
    let whole = simulate(&spec, Play { functions, invocations, burn_in, span, seed: 7 });
    let arrived: u64 = whole
        .functions
        .iter()
        .map(|f| {
            f.arrivals_in_burn_in + Outcome::ALL.iter().map(|&end| f.outcomes[end as usize]).sum::<u64>()
        })
        .sum();
    assert_eq!(arrived, INVOCATIONS);
    let bytes = |record| serde_json::to_string(record).expect("a record is plain data");
    assert!(bytes(&streamed) == bytes(&whole), "the streamed job gives another record");
}
