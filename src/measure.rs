//! `trenvx run` of an experiment that measures this machine without any workload.

use crate::common::{Ended, Folders, as_lack};
use crate::report::Loaded;
use anyhow::Context;
use configs::{Experiment, Measure, WorldKind};
use emu::functions::Places;
use emu::measure::MEASURE_VERSION;
use runs::{Environment, MeasuredRow, Measurement};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Measures, unless this machine was measured before, and prints the rows.
pub fn run(folders: &Folders, experiment: &Experiment, dry_run: bool, again: bool) -> anyhow::Result<()> {
    if dry_run {
        let state = if known(folders, experiment)?.is_some() { "measured before" } else { "to be measured" };
        let kind = experiment.measure.as_ref().map_or("nothing", Measure::kind);
        println!("{}: {kind}: {state}", experiment.id);
        return Ok(());
    }
    let measured = measured(folders, experiment, again)?;
    table(&measured.rows);
    measured.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    for figure in Loaded::new(folders, experiment.clone(), WorldKind::Emu)?.draw(&folders.out)? {
        println!("{}", figure.svg_path.display());
    }
    right(&measured)
}

/// An error if something did not do what it should.
pub fn right(measured: &Measurement) -> anyhow::Result<()> {
    if measured.wrong.is_empty() {
        return Ok(());
    }
    let message = format!("{}: {}", measured.experiment, measured.wrong.join("; "));
    Err(Ended { code: 1, message }.into())
}

/// What keeps this machine from being measured, and what to do about it.
pub fn lacking(folders: &Folders, measure: Option<&Measure>) -> Option<String> {
    // SAFETY: reads a number of this process.
    if unsafe { libc::geteuid() } != 0 {
        return Some("real sandboxes need root: run it as root or with sudo".to_owned());
    }
    let places = match Places::here(&folders.out) {
        Ok(places) => places,
        Err(error) => return Some(error.to_string()),
    };
    let missing = |path: &Path, option: &str| {
        let there = path.is_dir();
        (!there).then(|| format!("{} is not there: run scripts/setup {option}", path.display()))
    };
    match measure {
        Some(Measure::Sandboxes { .. }) => None,
        Some(Measure::VmStarts { .. } | Measure::PageCache { .. }) => missing(&places.out.join("vm"), "--vm"),
        Some(Measure::Pools { .. }) => {
            emu::doctor::lacking(&["qemu", "guest-kernel", "guest-cxl", "guest-rdma"])
                .or_else(|| missing(&places.image(), "--functions"))
        }
        Some(Measure::Agents { .. } | Measure::Browsers { .. }) => emu::agents::browser::program()
            .is_none()
            .then(|| "there is no Chromium: run scripts/setup --with-emulator".to_owned()),
        _ => missing(&places.image(), "--functions").or_else(|| missing(&places.layers(), "--functions")),
    }
}

/// What was measured on this machine before, as it is asked for now.
fn known(folders: &Folders, experiment: &Experiment) -> anyhow::Result<Option<Measurement>> {
    let Some(measure) = &experiment.measure else { return Ok(None) };
    let Some(known) = Measurement::load(&folders.out, experiment)? else { return Ok(None) };
    let made_with = emu::measure::made_with(measure, &Places::here(&folders.out)?)
        .map_err(|error| as_lack(error.into()))?;
    let answers = known.answers(measure, MEASURE_VERSION, &Environment::look(), &made_with);
    Ok((answers && known.wrong.is_empty()).then_some(known))
}

/// Measures, unless this machine was measured before.
pub fn measured(folders: &Folders, experiment: &Experiment, again: bool) -> anyhow::Result<Measurement> {
    if !again && let Some(known) = known(folders, experiment)? {
        eprintln!("{}: measured on this machine before; trenvx run --again measures anew", experiment.id);
        return Ok(known);
    }
    let measure = experiment.measure.as_ref().context("the experiment measures nothing")?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let began = Instant::now();
    let places = Places::here(&folders.out)?;
    let made_with = emu::measure::made_with(measure, &places).map_err(|error| as_lack(error.into()))?;
    let outcome = match emu::measure::run(measure, &places) {
        Ok(outcome) => outcome,
        Err(error) => {
            // Verdicts and the report say later why it is not there.
            Measurement::note_failure(&folders.out, experiment, &error.to_string())?;
            return Err(as_lack(error.into()));
        }
    };
    let measured = Measurement {
        experiment: experiment.id.clone(),
        tier: experiment.tier,
        measure: measure.clone(),
        version: MEASURE_VERSION,
        environment: Environment::look(),
        command: std::env::args().collect(),
        started_unix_s: started,
        wall_s: began.elapsed().as_secs_f64(),
        warnings: outcome.warnings.into_iter().chain(outcome.wrong.iter().cloned()).collect(),
        wrong: outcome.wrong,
        stand_ins: outcome.stand_ins,
        facilities: folders.facilities()?,
        made_with,
        charts: outcome.charts,
        rows: outcome.rows,
    };
    measured.save(&folders.out, experiment)?;
    Ok(measured)
}

/// Prints the rows: panel, subject, quantity, part, median, P99, what was published.
pub fn table(rows: &[MeasuredRow]) {
    let width = |of: fn(&MeasuredRow) -> &str| rows.iter().map(|row| of(row).len()).max().unwrap_or(0);
    let (panel, subject) = (width(|row| &row.panel), width(|row| &row.subject));
    let (metric, part) = (width(|row| &row.metric), width(|row| &row.part));
    for row in rows {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let (median, p99) = (number(row.median), number(row.p99));
        let line = format!(
            "{:<panel$}  {:<subject$}  {:<metric$}  {:<part$}  {median:>10} {p99:>10} {:<4} {}",
            row.panel, row.subject, row.metric, row.part, row.unit, row.published
        );
        println!("{}", line.trim());
        if row.median.is_none() {
            println!("    {}", row.note);
        }
    }
}
