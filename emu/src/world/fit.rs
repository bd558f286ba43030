//! A workload fitted to this machine, and the control plane that decides over it.

use std::collections::BTreeSet;

use configs::Spec;
use configs::spec::{EmuSpec, KeepAliveParameters};
use platform::control::ControlConfig;
use platform::policy::FunctionFacts;
use platform::profile::Profile;
use traces::names::nearest;
use traces::rng::Streams;
use traces::{Duration, Function, FunctionId, Instant, Invocation, Workload};

use super::error::Refused;

/// The part of a workload that is played: its window, its functions, at its speed. Functions and invocations are
/// numbered anew.
///
/// # Errors
/// If it names a function that the workload does not have, or nothing is left.
pub fn fit(workload: &Workload, emu: &EmuSpec) -> Result<Workload, Refused> {
    let known: Vec<&str> = workload.functions.iter().map(|function| function.name.as_str()).collect();
    if let Some(name) = emu.functions.iter().find(|name| !known.contains(&name.as_str())) {
        let hint = nearest(name, &known).map_or_else(|| known.join(", "), str::to_owned);
        return Err(Refused::NotInWorkload { name: name.clone(), workload: workload.name.clone(), hint });
    }
    let window = emu.window.unwrap_or(workload.span).as_nanos().min(workload.span.as_nanos());
    let faster = |nanos: u64| Duration::from_nanos(nanos).scale(1.0 / emu.speed);
    let mut numbers: Vec<Option<FunctionId>> = Vec::with_capacity(known.len());
    let mut functions = Vec::new();
    for function in &workload.functions {
        let played = emu.functions.is_empty() || emu.functions.contains(&function.name);
        numbers.push(played.then_some(FunctionId(functions.len() as u32)));
        if played {
            functions.push(function.clone());
        }
    }
    let invocations: Vec<Invocation> = workload
        .invocations
        .iter()
        .filter(|invocation| invocation.arrival().as_nanos() < window)
        .filter_map(|invocation| {
            let function = numbers[invocation.function().index()]?;
            let arrival = Instant::ZERO + faster(invocation.arrival().as_nanos());
            Some(Invocation::new(arrival, function, invocation.service()))
        })
        .collect();
    if invocations.is_empty() {
        return Err(Refused::NothingLeft { workload: workload.name.clone() });
    }
    let mut provenance = workload.provenance.clone();
    provenance.push(format!(
        "fitted: the first {}, {} of {} functions, {} times as fast",
        Duration::from_nanos(window),
        functions.len(),
        known.len(),
        emu.speed
    ));
    Ok(Workload {
        name: workload.name.clone(),
        functions,
        invocations: invocations.into(),
        burn_in: faster(emu.burn_in.as_nanos()),
        span: faster(window),
        provenance,
    })
}

/// What the control plane of a run is built from: the same for the same spec, fitted workload and seed.
#[must_use]
pub fn control_config(spec: &Spec, workload: &Workload, seed: u64) -> ControlConfig {
    let speed = spec.emu.as_ref().map_or(1.0, |emu| emu.speed);
    let mut arrivals = Vec::new();
    if spec.system.keep_alive.looks_ahead() {
        arrivals.resize(workload.functions.len(), Vec::new());
        for invocation in workload.invocations.iter() {
            arrivals[invocation.function().index()].push(invocation.arrival());
        }
    }
    ControlConfig {
        system: spec.system.clone(),
        placement: spec.placement,
        keep_alive: shorter(&spec.keep_alive, speed),
        nodes: 1,
        racks: 1,
        memory_cap: spec.cluster.memory_cap,
        queue_timeout: spec.cluster.queue_timeout,
        share_within_tenant: spec.sharing.within_tenant,
        functions: facts(spec, &workload.functions),
        arrivals,
        streams: Streams::new(seed),
    }
}

/// What the simulated world plays in the place of a machine with so many cores: one node, and keep-alive as much
/// shorter as the fitted workload is faster, so that both worlds decide over the same.
#[must_use]
pub fn as_played(spec: &Spec, cores: u32) -> Spec {
    let speed = spec.emu.as_ref().map_or(1.0, |emu| emu.speed);
    let mut played = Spec { keep_alive: shorter(&spec.keep_alive, speed), emu: None, ..spec.clone() };
    (played.cluster.nodes, played.cluster.racks, played.cluster.cores) = (1, 1, cores);
    played
}

/// Keep-alive belongs to the workload's time: it shrinks as the gaps between arrivals do.
fn shorter(given: &KeepAliveParameters, speed: f64) -> KeepAliveParameters {
    let mut parameters = given.clone();
    let histogram = &mut parameters.hybrid_histogram;
    let layers = &mut parameters.layers;
    for time in [
        &mut parameters.ttl,
        &mut layers.function,
        &mut layers.runtime,
        &mut layers.bare,
        &mut histogram.bin,
        &mut histogram.default_ttl,
    ] {
        *time = time.scale(1.0 / speed).max(Duration::from_nanos(1));
    }
    parameters
}

/// What policies may know of each function: declared memory as in the simulated world; the cost of a start is the
/// initialisation that its profile states.
fn facts(spec: &Spec, functions: &[Function]) -> Vec<FunctionFacts> {
    let tenants: BTreeSet<&str> = functions.iter().map(|function| function.tenant.as_str()).collect();
    let runtimes: BTreeSet<&str> = spec.profiles.values().map(|profile| profile.runtime.as_str()).collect();
    let place = |names: &BTreeSet<&str>, name: &str| names.iter().position(|known| *known == name);
    (0..)
        .zip(functions)
        .map(|(number, function)| {
            let profile = profile_of(spec, function);
            let tenant = match spec.sharing.tenants {
                0 => place(&tenants, &function.tenant).unwrap_or_default() as u32,
                tenants => number % tenants,
            };
            FunctionFacts {
                declared: function
                    .memory
                    .unwrap_or_else(|| (profile.pages.footprint() + profile.file_pages).bytes()),
                tenant,
                runtime: place(&runtimes, &profile.runtime).unwrap_or_default() as u32,
                runtime_memory: (profile.runtime_pages() + profile.file_pages).bytes(),
                start_cost: profile.init,
            }
        })
        .collect()
}

fn profile_of<'a>(spec: &'a Spec, function: &Function) -> &'a Profile {
    let named = function.profile.as_ref().and_then(|name| spec.profiles.get(name));
    named.unwrap_or_else(|| &spec.profiles[&spec.default_profile])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Workload {
        let function = |name: &str| Function {
            name: name.to_owned(),
            tenant: "one".to_owned(),
            profile: None,
            memory: None,
        };
        let at = |ms, function| {
            let arrival = Instant::ZERO + Duration::from_millis(ms);
            Invocation::new(arrival, FunctionId(function), Duration::from_millis(5))
        };
        Workload {
            name: "small".to_owned(),
            functions: vec![function("a"), function("b"), function("c")],
            invocations: vec![at(0, 0), at(100, 2), at(300, 1), at(500, 2), at(900, 0)].into(),
            burn_in: Duration::from_millis(200),
            span: Duration::from_secs(1),
            provenance: Vec::new(),
        }
    }

    fn emu(functions: &[&str]) -> EmuSpec {
        EmuSpec {
            window: Some(Duration::from_millis(600)),
            burn_in: Duration::from_millis(80),
            speed: 2.0,
            batch: 1,
            functions: functions.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn a_window_of_some_functions_is_played_faster() {
        let fitted = fit(&workload(), &emu(&["c", "a"])).unwrap();
        fitted.validate().unwrap();
        let played: Vec<(u64, &str)> = fitted
            .invocations
            .iter()
            .map(|i| {
                (i.arrival().as_nanos() / 1_000_000, fitted.functions[i.function().index()].name.as_str())
            })
            .collect();
        assert_eq!(played, [(0, "a"), (50, "c"), (250, "c")]);
        assert_eq!((fitted.span, fitted.burn_in), (Duration::from_millis(300), Duration::from_millis(40)));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_by_name() {
        let error = fit(&workload(), &emu(&["a", "aa"])).unwrap_err().to_string();
        assert!(error.contains("\"aa\"") && error.contains("small"), "{error}");
        let nothing = EmuSpec { window: Some(Duration::from_millis(50)), ..emu(&["b"]) };
        assert!(fit(&workload(), &nothing).unwrap_err().to_string().contains("emu.window"));
    }
}
