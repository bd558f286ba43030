//! A workload from its spec and a seed.

use configs::spec::{Spec, WorkloadSpec};
use platform::Profile;
use std::path::Path;
use traces::formats::{OnDefect, azure_functions_2019 as azure};
use traces::generate::calls::Calls;
use traces::generate::{agents, azure_hour, func, huawei_hour, w1, w2, zipf};
use traces::workload::Workload;
use traces::{Duration, Source, binary};

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
    /// A function names a profile that the spec does not have.
    #[error(
        "workload {name}: function \"{function}\" has the profile \"{profile}\", which the experiment's profiles file \
         does not have: add it there, or name a file that has it with profiles = \"…\""
    )]
    NoProfile {
        /// Name of the workload in experiment files.
        name: &'static str,
        /// The function.
        function: String,
        /// The profile.
        profile: String,
    },
    /// The spec has no agent.
    #[error(
        "workload agents: no profile of the experiment's profiles file is an agent: name a file that has some with profiles = \"…\""
    )]
    NoAgent,
    /// Nothing is left to be measured.
    #[error(
        "workload {name}: no invocation arrives after the burn-in of {burn_in}: shorten it, or take a longer workload"
    )]
    NothingMeasured {
        /// Name of the workload in experiment files.
        name: &'static str,
        /// The burn-in.
        burn_in: Duration,
    },
}

/// Builds what a spec plays, with service times from the spec where the source has none. The same
/// spec and seed give the same workload.
pub fn build(spec: &Spec, seed: u64) -> Result<Workload, BuildError> {
    let name = spec.workload.name();
    let is_agent = |profile: &Profile| profile.agent.is_some();
    if matches!(spec.workload, WorkloadSpec::Agents { .. }) && !spec.profiles.values().any(is_agent) {
        return Err(BuildError::NoAgent);
    }
    let workload = source(spec, seed).map_err(|source| BuildError::Trace { name, source })?;
    for function in &workload.functions {
        if let Some(profile) =
            function.profile.as_ref().filter(|profile| !spec.profiles.contains_key(*profile))
        {
            let (function, profile) = (function.name.clone(), profile.clone());
            return Err(BuildError::NoProfile { name, function, profile });
        }
    }
    if workload.measured().is_empty() && streamed(spec, seed).is_none() {
        return Err(BuildError::NothingMeasured { name, burn_in: workload.burn_in });
    }
    Ok(workload)
}

fn source(spec: &Spec, seed: u64) -> traces::Result<Workload> {
    let service = |name: &str| spec.service_times.get(name).cloned();
    match &spec.workload {
        WorkloadSpec::W1 => w1::generate(seed, &service),
        WorkloadSpec::W2 => w2::generate(seed, &service),
        WorkloadSpec::Func => func::generate(seed, &service),
        WorkloadSpec::Calls { functions, at_once, rounds, burn_in_rounds, every } => Calls {
            functions: functions.clone(),
            at_once: *at_once,
            rounds: *rounds,
            burn_in_rounds: *burn_in_rounds,
            every: *every,
        }
        .generate(seed, &service),
        WorkloadSpec::AzureHour { folder } => azure_hour::generate(folder, seed, &service),
        WorkloadSpec::AzureHourSample => azure_hour::generate_sample(seed, &service),
        WorkloadSpec::HuaweiHour { folder } => huawei_hour::generate(folder, seed, &service),
        WorkloadSpec::Azure2019 { invocations, durations, memory, spread, burn_in, window } => {
            let table = |path: &Path| Source::path(path);
            let files = azure::Files {
                invocations: table(invocations),
                durations: table(durations),
                memory: memory.as_deref().map(table),
            };
            // A function without durations cannot be played; how many there were is in the provenance.
            let options =
                azure::Options { spread: *spread, unjoined: OnDefect::Drop, malformed: OnDefect::Stop, seed };
            let workload = azure::import(&files, &options)?.workload;
            Ok(cut(workload, *burn_in, *window))
        }
        WorkloadSpec::Zipf { burn_in, .. } => {
            let workload = match (streamed(spec, seed), zipf_job(spec, seed)) {
                (None, Some(job)) => job.generate()?,
                (Some(job), _) => job.head()?,
                (None, None) => Workload::default(),
            };
            Ok(cut(workload, *burn_in, None))
        }
        WorkloadSpec::Agents { agents, instances, arrivals, span } => {
            let asked = |name: &String| agents.is_empty() || agents.contains(name);
            let kinds: Vec<agents::Kind> =
                spec.profiles.iter().filter(|(name, _)| asked(name)).filter_map(kind).collect();
            agents::generate(&kinds, *instances, *arrivals, *span, seed)
        }
        WorkloadSpec::File { path } => binary::open(path),
    }
}

/// Most invocations of a generated job that are held in memory: 320 MB.
const HELD: u64 = 20_000_000;

/// The job that is too long to be held in memory, if the spec plays such a one. Its workload then has
/// functions and no invocations; who plays it draws them from the job as it goes.
pub fn streamed(spec: &Spec, seed: u64) -> Option<zipf::Job> {
    zipf_job(spec, seed).filter(|job| job.invocations > HELD)
}

fn zipf_job(spec: &Spec, seed: u64) -> Option<zipf::Job> {
    let WorkloadSpec::Zipf { functions, copies, invocations, span, .. } = spec.workload else { return None };
    Some(zipf::Job { functions, copies, span, ..zipf::Job::standard(invocations, seed) })
}

/// The kind of agent that a profile describes.
fn kind((name, profile): (&String, &Profile)) -> Option<agents::Kind> {
    let agent = profile.agent.as_ref()?;
    Some(agents::Kind {
        name: name.clone(),
        memory: agent.memory,
        dialogue: agent.dialogue.clone(),
        computing: agent.computing(),
    })
}

/// The first `window` of a workload, with another burn-in.
fn cut(mut workload: Workload, burn_in: Duration, window: Option<Duration>) -> Workload {
    if let Some(window) = window.filter(|window| *window < workload.span) {
        let mut invocations = workload.invocations.into_vec();
        invocations.truncate(invocations.partition_point(|i| i.arrival().as_nanos() < window.as_nanos()));
        workload.invocations = invocations.into();
        workload.span = window;
        workload.provenance.push(format!("cut to its first {window}"));
    }
    workload.burn_in = burn_in.min(workload.span);
    workload.provenance.push(format!("burn-in {burn_in}"));
    workload
}
