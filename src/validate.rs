//! `trenvx validate`: one workload in both worlds, and how far the simulated one is off.

use crate::common::{Ended, Folders};
use crate::measure::lacking;
use crate::run::{How, execute_in, finish};
use anyhow::Context;
use clap::{Args, ValueEnum};
use configs::WorldKind;
use emu::world::{as_played, fit};
use figures::files::{Table, number, optional};
use figures::validate::{Validation, services_alone, validate, with_services};
use runs::{Plan, Store};
use serde::Serialize;

/// Play an experiment's workload on this machine and in the simulated world, and print the error of each metric.
///
/// Both get the same arrivals, the same control plane and the same service times (those that functions had here when
/// they ran alone). What differs is what starts, waits and memory cost: measured here, modelled there.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Name or file of an experiment that the emulated world can run and that keeps every invocation.
    #[arg(default_value = "e22")]
    experiment: String,
    #[command(flatten)]
    how: How,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// Point, seed, metric, both values, error.
    Csv,
    /// Everything.
    Json,
}

/// One run in both worlds.
#[derive(Debug, Serialize)]
struct Validated {
    point: String,
    seed: u64,
    #[serde(flatten)]
    found: Validation,
    /// What to know of either record.
    warnings: Vec<String>,
}

/// Runs what is missing of the real side, simulates the same, and prints.
pub fn run(folders: &Folders, args: &ValidateArgs) -> anyhow::Result<()> {
    let experiment = folders.experiment(&args.experiment, args.how.tier.into(), &args.how.sets)?;
    let experiment = crate::run::in_world(experiment, WorldKind::Emu)?;
    if let Some(why) = lacking(folders, experiment.measure.as_ref()) {
        println!("{}: NOT-RUN: {why}", experiment.id);
        return Err(Ended { code: 3, message: String::new() }.into());
    }
    let plan = Plan::new(experiment);
    let outcome = execute_in(folders, &plan, &args.how, WorldKind::Emu)?;
    let finished = finish(&plan, &outcome);
    let store = Store::open(&folders.out)?;
    let runs: Vec<_> =
        outcome.done.iter().map(|done| Ok((done, store.load(&done.key)?))).collect::<anyhow::Result<_>>()?;
    let services = services_alone(runs.iter().map(|(_, stored)| &stored.record));
    let mut all = Vec::new();
    for (done, stored) in &runs {
        let spec = &plan.experiment.points[done.job.point].spec;
        anyhow::ensure!(
            spec.output.invocations,
            "{}: invocations are compared one by one: say output.invocations = true",
            plan.experiment.file.display()
        );
        let workload = runs::build_workload(spec, done.job.seed)?;
        let fitted = match &spec.emu {
            Some(emu) => fit(&workload, emu)?,
            None => workload,
        };
        let cores = stored.manifest.environment.cores.and_then(|cores| u32::try_from(cores).ok());
        let cores =
            cores.with_context(|| format!("run {}: its manifest does not say the cores", done.key))?;
        let played = with_services(&fitted, &services);
        let play = sim::Play {
            functions: &played.functions,
            invocations: played.invocations.iter().copied(),
            burn_in: played.burn_in,
            span: played.span,
            seed: done.job.seed,
        };
        let simulated = sim::simulate(&as_played(spec, cores), play);
        let mut warnings = stored.record.warnings.clone();
        warnings.extend(simulated.warnings.iter().filter(|w| !stored.record.warnings.contains(w)).cloned());
        let found = validate(&stored.record, &simulated);
        all.push(Validated { point: done.label.clone(), seed: done.job.seed, found, warnings });
    }
    match args.format {
        Format::Table => {
            println!("Service times of functions that ran alone, which both worlds have:");
            for (name, alone) in &services {
                let (ms, n) = (alone.service.as_secs_f64() * 1e3, alone.invocations);
                let warm = if alone.warm { "in warm sandboxes" } else { "never in a warm sandbox" };
                println!("  {name:<24} {ms:>10.1} ms, median of {n} {warm}");
            }
            println!();
            all.iter().for_each(print);
        }
        Format::Csv => print!("{}", String::from_utf8_lossy(&table(&all).to_csv("validate")?)),
        Format::Json => println!("{}", serde_json::to_string_pretty(&all)?),
    }
    finished
}

fn print(validated: &Validated) {
    let Validated { point, seed, found, warnings } = validated;
    println!("{point}, seed {seed}");
    println!(
        "  {} of {} invocations were started and ended in the same way",
        found.same_decision, found.invocations
    );
    println!("  {:<26} {:>12} {:>12}      {:>8}", "", "measured", "simulated", "error");
    let value = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    for row in &found.rows {
        let error = row.error().map_or_else(String::new, |error| format!("{:+.1} %", 100.0 * error));
        let (measured, simulated) = (value(row.emulated), value(row.simulated));
        println!("  {:<26} {measured:>12} {simulated:>12} {:<4} {error:>8}", row.metric, row.unit);
    }
    for warning in warnings {
        println!("  note: {warning}");
    }
    println!();
}

fn table(all: &[Validated]) -> Table {
    let mut table =
        Table::new(&["point", "seed", "metric", "unit", "emulated", "simulated", "relative_error"]);
    for Validated { point, seed, found, .. } in all {
        let same = found.same_decision as f64 / found.invocations.max(1) as f64;
        let row = |metric: &str, unit: &str, emulated: String, simulated: String, error: String| {
            [point.clone(), seed.to_string(), metric.to_owned(), unit.to_owned(), emulated, simulated, error]
        };
        table.push(row("same_decision", "share", number(1.0), number(same), number(same - 1.0)));
        for one in &found.rows {
            let (emulated, simulated) = (optional(one.emulated), optional(one.simulated));
            table.push(row(&one.metric, one.unit, emulated, simulated, optional(one.error())));
        }
    }
    table
}
