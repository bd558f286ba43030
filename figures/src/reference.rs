//! Reference machines: what a machine measured, kept small beside the code, so that others can see what is
//! different with them, in machine, build and results.
//!
//! ```text
//! figures/reference/NAME/machine.csv      field,value: machine and build
//! figures/reference/NAME/e04-kick.csv     one row per point, metric and statistic of `compare::FIRST`
//! figures/reference/NAME/costs.csv        experiment,tier,world,runs,wall_s,cpu_s,peak_rss_mib,disk_mib
//! ```

use crate::compare::FIRST;
use crate::error::{Error, Result};
use crate::files::{self, Table, number, optional};
use crate::input::ExperimentData;
use crate::metric;
use crate::report::Difference;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Fields that say which machine and build it is, and differ by right: they are kept, not compared.
const NAMES: [&str; 4] = ["host", "built from", "git commit", "git dirty"];

/// Relative difference up to which values count as the same: they are written with six digits.
const SAME: f64 = 1e-5;

/// A reference machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    /// Name of its folder.
    pub name: String,
    folder: PathBuf,
    /// Machine and build.
    pub machine: BTreeMap<String, String>,
    /// What experiments cost there.
    pub costs: Vec<Cost>,
}

/// What an experiment cost: the sum over its runs, but for memory. Of what measured a machine, only the time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Experiment.
    pub experiment: String,
    /// Its tier.
    pub tier: String,
    /// `sim` or `emu`.
    pub world: String,
    /// Runs.
    pub runs: usize,
    /// Time of all runs, one after the other, in seconds.
    pub wall_s: f64,
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Largest resident memory of the process.
    pub peak_rss_mib: f64,
    /// Their files.
    pub disk_mib: f64,
}

/// How the values of experiments compare with those of a reference machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Against {
    /// Name of the machine.
    pub name: String,
    /// Values that both have.
    pub compared: usize,
    /// Those of them that are not the same.
    pub different: Vec<ValueDifference>,
}

/// A value that is not as on the reference machine.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ValueDifference {
    /// Experiment and point.
    pub point: String,
    /// Metric and statistic.
    pub what: String,
    /// Here, with its unit.
    pub here: String,
    /// On the reference machine.
    pub reference: String,
    /// Here over reference.
    pub ratio: String,
    /// Whether the intervals of both, where there are any, have nothing in common.
    pub is_clear: bool,
}

/// A row of `eNN-TIER.csv`.
struct Row {
    point: String,
    metric: String,
    statistic: String,
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
}

const COLUMNS: [&str; 8] = ["point", "metric", "statistic", "unit", "value", "low", "high", "n"];
const COSTS: [&str; 8] =
    ["experiment", "tier", "world", "runs", "wall_s", "cpu_s", "peak_rss_mib", "disk_mib"];

/// The small summary of an experiment.
pub fn summary(data: &ExperimentData) -> Table {
    let mut table = Table::new(&COLUMNS);
    for point in &data.points {
        for (metric, statistic) in FIRST {
            let Some(estimate) = point.estimate(metric, statistic, None) else { continue };
            let [value, low, high, n, _] = estimate.cells();
            table.push([
                point.label.clone(),
                metric.name(),
                statistic.name().to_owned(),
                metric::unit(metric).to_owned(),
                value,
                low,
                high,
                n,
            ]);
        }
    }
    table
}

fn file_of(experiment: &str, tier: &str) -> String {
    format!("{}-{tier}.csv", files::file_name(experiment))
}

/// Keeps a machine in a folder of its name: machine and build, experiments, what they cost. Experiments
/// without runs are left out. What was kept of other experiments, tiers and worlds stays.
pub fn keep(
    folder: &Path,
    machine: &[(String, String)],
    experiments: &[&ExperimentData],
    costs: &[Cost],
) -> Result<()> {
    let mut table = Table::new(&["field", "value"]);
    for (field, value) in machine.iter().filter(|(field, _)| field != "host") {
        table.push([field.clone(), value.clone()]);
    }
    files::write(&folder.join("machine.csv"), &table.to_csv("machine")?)?;
    for data in experiments.iter().filter(|data| data.points.iter().any(|point| !point.seeds.is_empty())) {
        files::write(&folder.join(file_of(&data.id, &data.tier)), &summary(data).to_csv(&data.id)?)?;
    }
    let mut all: BTreeMap<[String; 3], Cost> = BTreeMap::new();
    let path = folder.join("costs.csv");
    let before = if path.is_file() { costs_of(&path)? } else { Vec::new() };
    for cost in before.iter().chain(costs) {
        all.insert([&cost.experiment, &cost.tier, &cost.world].map(Clone::clone), cost.clone());
    }
    let mut table = Table::new(&COSTS);
    for cost in all.values() {
        let Cost { experiment, tier, world, runs, wall_s, cpu_s, peak_rss_mib, disk_mib } = cost;
        let rounded = |value: f64| number((value * 100.0).round() / 100.0);
        table.push([
            experiment.clone(),
            tier.clone(),
            world.clone(),
            runs.to_string(),
            rounded(*wall_s),
            rounded(*cpu_s),
            number(peak_rss_mib.round()),
            number(disk_mib.ceil()),
        ]);
    }
    files::write(&path, &table.to_csv("costs")?)
}

fn costs_of(path: &Path) -> Result<Vec<Cost>> {
    let costs = read(path)?.into_iter().filter_map(|row| {
        let [experiment, tier, world, runs, wall_s, cpu_s, rss, disk] = <[String; 8]>::try_from(row).ok()?;
        let value = |text: &str| text.parse().unwrap_or(0.0);
        Some(Cost {
            experiment,
            tier,
            world,
            runs: runs.parse().ok()?,
            wall_s: value(&wall_s),
            cpu_s: value(&cpu_s),
            peak_rss_mib: value(&rss),
            disk_mib: value(&disk),
        })
    });
    Ok(costs.collect())
}

impl Reference {
    /// Every machine below a folder, by name. A folder that does not exist has none.
    pub fn all(folder: &Path) -> Result<Vec<Self>> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.retain(|folder| folder.join("machine.csv").is_file());
        folders.sort();
        folders.iter().map(|folder| Self::load(folder)).collect()
    }

    fn load(folder: &Path) -> Result<Self> {
        let machine = read(&folder.join("machine.csv"))?.into_iter().filter_map(|row| {
            let [field, value] = <[String; 2]>::try_from(row).ok()?;
            Some((field, value))
        });
        Ok(Self {
            name: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            machine: machine.collect(),
            costs: costs_of(&folder.join("costs.csv"))?,
            folder: folder.to_owned(),
        })
    }

    /// What machine and build differ in.
    pub fn differences(&self, here: &[(String, String)]) -> Vec<Difference> {
        here.iter()
            .filter(|(field, _)| !NAMES.contains(&field.as_str()))
            .filter_map(|(field, value)| {
                let reference = self.machine.get(field)?;
                (reference != value).then(|| Difference {
                    field: field.clone(),
                    here: value.clone(),
                    reference: reference.clone(),
                })
            })
            .collect()
    }

    /// How the values of experiments compare with this machine's.
    pub fn against(&self, experiments: &[&ExperimentData]) -> Result<Against> {
        let mut against = Against { name: self.name.clone(), ..Against::default() };
        for data in experiments {
            let path = self.folder.join(file_of(&data.id, &data.tier));
            if !path.is_file() {
                continue;
            }
            let known: BTreeMap<_, Row> = read(&path)?
                .into_iter()
                .filter_map(row)
                .map(|row| ((row.point.clone(), row.metric.clone(), row.statistic.clone()), row))
                .collect();
            for cells in summary(data).rows {
                let unit = cells[3].clone();
                let Some(here) = row(cells) else { continue };
                let at = (here.point.clone(), here.metric.clone(), here.statistic.clone());
                let Some(there) = known.get(&at) else { continue };
                against.compared += 1;
                if (here.value - there.value).abs() > SAME * there.value.abs().max(f64::MIN_POSITIVE) {
                    against.different.push(difference(&data.id, &here, there, &unit));
                }
            }
        }
        Ok(against)
    }
}

fn difference(experiment: &str, here: &Row, there: &Row, unit: &str) -> ValueDifference {
    let written = |row: &Row| {
        let interval = match (row.low, row.high) {
            (Some(low), Some(high)) => format!(" ({} to {})", number(low), number(high)),
            _ => String::new(),
        };
        format!("{} {unit}{interval}", number(row.value))
    };
    let apart = |a: &Row, b: &Row| a.high.zip(b.low).is_some_and(|(high, low)| high < low);
    let what = if here.statistic == "total" {
        here.metric.clone()
    } else {
        format!("{} {}", here.metric, here.statistic)
    };
    ValueDifference {
        point: format!("{experiment} {}", here.point),
        what,
        here: written(here),
        reference: written(there),
        ratio: optional(
            Some(here.value / there.value)
                .filter(|ratio| ratio.is_finite())
                .map(|ratio| (ratio * 1000.0).round() / 1000.0),
        ),
        is_clear: apart(here, there) || apart(there, here),
    }
}

fn row(cells: Vec<String>) -> Option<Row> {
    let [point, metric, statistic, _, value, low, high, _] = <[String; 8]>::try_from(cells).ok()?;
    Some(Row {
        point,
        metric,
        statistic,
        value: value.parse().ok()?,
        low: low.parse().ok(),
        high: high.parse().ok(),
    })
}

fn read(path: &Path) -> Result<Vec<Vec<String>>> {
    let failed = |source| Error::Table { table: path.display().to_string(), source };
    let mut reader = csv::Reader::from_path(path).map_err(failed)?;
    reader.records().map(|row| Ok(row.map_err(failed)?.iter().map(str::to_owned).collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Shape, experiment};

    fn facts(kernel: &str) -> Vec<(String, String)> {
        vec![
            ("host".into(), "a".into()),
            ("kernel".into(), kernel.into()),
            ("git commit".into(), kernel.into()),
        ]
    }

    #[test]
    fn a_machine_that_was_kept_is_compared_with_itself_and_with_another() {
        let folder = tempfile::tempdir().unwrap();
        let data = experiment(&Shape::default());
        let cost = Cost {
            experiment: "e04".into(),
            tier: "kick".into(),
            world: "sim".into(),
            runs: 60,
            wall_s: 1.25,
            ..Cost::default()
        };
        keep(&folder.path().join("m"), &facts("6.1"), &[&data], std::slice::from_ref(&cost)).unwrap();
        let reference = Reference::all(folder.path()).unwrap().remove(0);
        assert_eq!((reference.name.as_str(), &reference.costs), ("m", &vec![cost.clone()]));
        let short = Cost { tier: "short".into(), ..cost.clone() };
        keep(&folder.path().join("m"), &facts("6.1"), &[], std::slice::from_ref(&short)).unwrap();
        assert_eq!(
            Reference::all(folder.path()).unwrap()[0].costs,
            [cost, short],
            "another tier's costs stay"
        );
        assert!(!reference.machine.contains_key("host"), "whose machine it is does not matter");
        assert_eq!(reference.differences(&facts("6.1")), []);
        let other = reference.differences(&facts("6.2"));
        assert_eq!((other.len(), other[0].field.as_str()), (1, "kernel"), "commits are names");

        let same = reference.against(&[&data]).unwrap();
        assert_eq!((same.different.as_slice(), same.compared > 50), ([].as_slice(), true));
        let fewer = experiment(&Shape { completed: 30, ..Shape::default() });
        let different = reference.against(&[&fewer]).unwrap().different;
        assert!(
            different.iter().any(|one| one.what == "end_to_end p99" && one.point == "e04 W1 t-cxl"),
            "{different:?}"
        );
    }

    #[test]
    fn without_a_reference_there_is_none() {
        assert_eq!(Reference::all(Path::new("/nonexistent")).unwrap(), []);
    }
}
