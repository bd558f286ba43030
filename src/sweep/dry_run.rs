//! `--dry-run`: what would be run, what is there, and what the rest will probably take.

use crate::common::Folders;
use crate::run::How;
use runs::{Forecast, Plan, Range, Store, World};
use std::collections::BTreeMap;
use std::time::Duration;

/// Prints what would be run, what is in the store, and what the rest will probably take.
pub fn dry_run(folders: &Folders, plan: &Plan, how: &How, world: &dyn World) -> anyhow::Result<()> {
    let store = Store::open(&folders.out)?;
    let jobs = how.options(folders)?.jobs;
    let survey = runs::survey(plan, &store, world, jobs);
    let mut points: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for run in &survey.runs {
        let (there, all) = points.entry(run.job.point).or_default();
        *there += usize::from(run.is_done);
        *all += 1;
        if let Err(why) = &run.key {
            eprintln!("{}, seed {}: {why}", plan.point(run.job).label, run.job.seed);
        }
    }
    for (point, (there, all)) in &points {
        let label = &plan.experiment.points[*point].label;
        println!("{label:<40} {} to run, {there} in the store", all - there);
    }
    let missing = survey.missing().count();
    let all = survey.runs.len();
    println!("{} points, {all} runs: {} in the store, {missing} to run", points.len(), all - missing);
    let forecast = runs::forecast(plan, &survey, &store, world.name());
    print!("{}", told(&forecast, survey.building, jobs.min(missing.max(1))));
    Ok(())
}

/// A forecast in words.
fn told(forecast: &Forecast, building: Duration, jobs: usize) -> String {
    let Forecast { missing, known, earlier, .. } = *forecast;
    if missing == 0 {
        return String::new();
    }
    if known == 0 {
        return "no earlier run to go by: time, memory and disk are known after the first runs\n".to_owned();
    }
    let whose = if forecast.elsewhere { ", some on another machine or by another kind of build" } else { "" };
    let mut text = format!("by {earlier} earlier runs of the same systems and workloads{whose}:\n");
    let time = forecast.seconds.map(|seconds| building.as_secs_f64() + seconds / jobs as f64);
    text += &format!("  time    {} on {jobs} threads\n", range(time, seconds));
    match forecast.peak {
        Some((bytes, at_a_time)) => {
            let process = format!("a process with {at_a_time} runs at a time (this one has {jobs})");
            text += &format!("  memory  up to {} so far, in {process}\n", size(bytes as f64));
        }
        None => text += "  memory  was not measured\n",
    }
    text += &format!("  disk    {}\n", range(forecast.bytes, size));
    if known < missing {
        text += &format!("  not included: {} runs that have no earlier run to go by\n", missing - known);
    }
    text
}

fn range(range: Range, shown: fn(f64) -> String) -> String {
    let Range { low, middle, high } = range;
    format!("about {} ({} to {})", shown(middle), shown(low), shown(high))
}

fn seconds(s: f64) -> String {
    match s {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}
