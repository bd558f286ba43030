//! Profiles of agents for the simulator, from a run.
//!
//! A run measures what agents do: how often they ask, and the processor time of their own process, their tools and
//! their browser. What their process holds is not taken from it: the programs here use the standard library only,
//! while the page tables of `configs/profiles/agents.toml` are those of a process with the packages of the paper's
//! agent image. So a profile is that file with the `agent` tables of the agents that ran.

use std::path::Path;

use toml::{Table, Value};

use super::Error;
use super::report::{Report, Row};

/// The least processor time that is written: a step of none is no step.
const LEAST_S: f64 = 1e-6;

/// Whether profiles can be written to that file when the run is over: it is looked at before.
///
/// # Errors
/// If `base` does not read, or the file's folder is not there.
pub fn can_write(base: &Path, file: &Path) -> Result<(), Error> {
    read(base)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::file(file, format!("there is no folder {}: make it first", folder.display())))
}

fn read(base: &Path) -> Result<Table, Error> {
    let text = std::fs::read_to_string(base).map_err(Error::io("read", base))?;
    toml::from_str(&text).map_err(|error| Error::file(base, error))
}

/// The profiles of `base` with what `report` measured of its agents. Only right answers count.
///
/// # Errors
/// If `base` does not read, or has no profile of an agent that ran.
pub fn write(report: &Report, base: &Path, file: &Path) -> Result<(), Error> {
    let mut table = read(base)?;
    let mut names: Vec<&str> = report.agents.iter().map(|row| row.agent.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let rows: Vec<&Row> =
            report.agents.iter().filter(|row| row.agent == name && row.outcome == "right").collect();
        if rows.is_empty() {
            continue;
        }
        let agent = table
            .get_mut(name)
            .and_then(|profile| profile.get_mut("agent"))
            .and_then(Value::as_table_mut)
            .ok_or_else(|| Error::file(base, format!("there is no [{name}.agent] to be measured anew")))?;
        measured(agent, &rows, report);
    }
    let head =
        "# Agents as measured by `trenvx emu agents run`; all else is of configs/profiles/agents.toml.\n\n";
    let text = toml::to_string(&table).map_err(|error| Error::file(file, error))?;
    Ok(traces::atomic::write_file(file, format!("{head}{text}").as_bytes())?)
}

fn measured(agent: &mut Table, rows: &[&Row], report: &Report) {
    let turns = median(rows.iter().map(|row| row.spent.requests as f64)).max(1.0).round();
    let source = format!(
        "measured: trenvx emu agents run, median of {} runs, the model at {} times its speed",
        rows.len(),
        report.rates.speed
    );
    let text = |text: &str| Value::String(text.to_owned());
    let stated = |value: Value| {
        Value::Table(Table::from_iter([("value".to_owned(), value), ("source".to_owned(), text(&source))]))
    };
    agent.insert("turns".to_owned(), stated(Value::Integer(turns as i64)));
    let step = |work: &str, seconds: Option<f64>, memory: Value| {
        let mut step = Table::new();
        step.insert("work".to_owned(), text(work));
        if let Some(seconds) = seconds {
            let micros = (seconds.max(LEAST_S) * 1e6).round();
            step.insert("time".to_owned(), stated(text(&format!("{micros} us"))));
        }
        step.insert("memory".to_owned(), memory);
        Value::Table(step)
    };
    let none = || {
        Value::Table(Table::from_iter([
            ("value".to_owned(), text("0 B")),
            ("source".to_owned(), text("its own process is in the page table")),
        ]))
    };
    let own = median(rows.iter().map(|row| row.spent.own_cpu_s)) / turns;
    let mut steps = vec![step("llm", None, none()), step("own", Some(own), none())];
    if rows.iter().any(|row| row.spent.tool_runs > 0) {
        let time = median(rows.iter().map(|row| row.spent.tool_cpu_s)) / turns;
        let bytes = median(rows.iter().map(|row| row.spent.tool_peak_bytes as f64));
        let memory = stated(text(&format!("{} KiB", (bytes / 1024.0).round())));
        steps.push(step("tool", Some(time), memory));
    }
    if rows.iter().any(|row| row.browser.is_some()) {
        steps.push(step(
            "browser",
            Some(median(rows.iter().map(|row| browser_s(row, report))) / turns),
            none(),
        ));
    }
    agent.insert("steps".to_owned(), Value::Array(steps));
}

/// The processor time of its browser that is an agent's share, s: by how long each agent waited for the browser: a page
/// that loads takes far more than a key that is pressed.
/// Without the start of the browser, which profiles have in a table of its own.
fn browser_s(row: &Row, report: &Report) -> f64 {
    let of_same = report.agents.iter().filter(|other| other.browser == row.browser);
    let all: f64 = of_same.map(|other| other.spent.browser_s).sum();
    let usage = row.browser.and_then(|number| report.browsers.get(number));
    let share = if all > 0.0 { row.spent.browser_s / all } else { 0.0 };
    usage.map_or(0.0, |usage| (usage.cpu_ms - usage.start_cpu_ms) / 1e3 * share)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}
