//! Two sets of runs beside each other: differences seed by seed, and what differs in machine, build and
//! spec.
//!
//! Points of the same label are compared; where both sides have one point only, these. Runs of the same
//! seed saw the same arrivals, so differences are taken seed by seed and then estimated
//! ([`crate::estimate::paired`]): most of the noise is common and drops out.

use crate::estimate::{self, Estimate, Estimator};
use crate::input::{PointData, SeedRun};
use crate::metric::{self, Metric, Statistic};
use crate::reduce::RunSummary;
use runs::StoredRun;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What people look at first.
pub const FIRST: [(Metric, Statistic); 6] = [
    (Metric::EndToEnd, Statistic::P50),
    (Metric::EndToEnd, Statistic::P99),
    (Metric::Startup, Statistic::P99),
    (Metric::ColdFraction, Statistic::Total),
    (Metric::Local, Statistic::Peak),
    (Metric::Local, Statistic::Mean),
];

/// One of the two.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// What the user called it.
    pub name: String,
    points: BTreeMap<String, One>,
    /// Field of machine or build: the values that its runs have.
    facts: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Debug, Default)]
struct One {
    data: PointData,
    /// Key and value of everything in the spec; profiles by the hash of their content.
    spec: BTreeMap<String, String>,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Names of the two.
    pub sides: [String; 2],
    /// One per point, metric and statistic.
    pub rows: Vec<Row>,
    /// Points that only one of them has.
    pub only: [Vec<String>; 2],
    /// Machine and build.
    pub environment: Vec<Differs>,
    /// Spec; with the points that it holds for.
    pub spec: Vec<Differs>,
    /// Runs that are the very same in both.
    pub same_runs: usize,
}

/// A value on both sides.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Point, or both where they have different labels.
    pub point: String,
    /// As in `summary.csv`.
    pub metric: String,
    /// As in `summary.csv`.
    pub statistic: &'static str,
    /// Unit of all values.
    pub unit: &'static str,
    /// First side.
    pub a: Estimate,
    /// Second side.
    pub b: Estimate,
    /// Second less first, over the common seeds; `None` if there are none.
    pub difference: Option<Estimate>,
    /// Second over first.
    pub ratio: Option<Estimate>,
}

impl Row {
    /// Whether the difference can be told from nothing.
    pub fn is_clear(&self) -> Option<bool> {
        self.difference?.interval.map(|(low, high)| low > 0.0 || high < 0.0)
    }
}

/// Something that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Differs {
    /// What.
    pub field: String,
    /// On the first side.
    pub a: String,
    /// On the second.
    pub b: String,
    /// Points that it holds for; empty for all.
    pub points: Vec<String>,
}

impl Side {
    /// One without runs.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whether it has no run.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Labels of its points.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.points.keys().map(String::as_str)
    }

    /// Adds a run to the point of this label.
    pub fn add(&mut self, label: &str, run: &StoredRun) {
        let manifest = &run.manifest;
        let mut fact = |field: &str, value: String| {
            self.facts.entry(field.to_owned()).or_default().insert(value);
        };
        if let Ok(Value::Object(environment)) = serde_json::to_value(&manifest.environment) {
            for (field, value) in &environment {
                fact(&field.replace('_', " "), plain(value));
            }
        }
        fact("world", manifest.world.clone());
        fact("model version", manifest.model_version.to_string());
        fact("record schema", manifest.record_schema.to_string());
        let one = self.points.entry(label.to_owned()).or_insert_with(|| {
            let axis =
                |name: &str| manifest.axes.iter().find(|(axis, _)| axis == name).map(|(_, v)| v.clone());
            let data = PointData {
                label: label.to_owned(),
                panel: axis("panel").unwrap_or_default(),
                system: axis("system").unwrap_or_else(|| manifest.spec.system.name.clone()),
                axes: manifest.axes.clone(),
                ..PointData::default()
            };
            One { data, spec: spec_of(run) }
        });
        let seed = SeedRun {
            seed: manifest.seed,
            key: manifest.key.to_string(),
            cpu_s: manifest.cpu_s,
            run: RunSummary::of(&run.record),
        };
        one.data.seeds.retain(|known| known.seed != seed.seed);
        one.data.seeds.push(seed);
        one.data.seeds.sort_by_key(|known| known.seed);
    }
}

/// Everything in a run's spec, key by key, and the workload that it played.
fn spec_of(run: &StoredRun) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    // Of paths only file names count, as in a run's key.
    if let Ok(Value::Object(spec)) = serde_json::from_str(&run.manifest.spec.canonical()) {
        for (key, value) in &spec {
            match (key.as_str(), value) {
                ("profiles" | "service_times", Value::Object(named)) => {
                    for (name, value) in named {
                        let hash = blake3::hash(value.to_string().as_bytes()).to_hex();
                        leaves.insert(format!("{key}.{name}"), format!("content {}", &hash[..8]));
                    }
                }
                _ => flatten(key, value, &mut leaves),
            }
        }
    }
    leaves
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(key, value)| flatten(&format!("{path}.{key}"), value, leaves));
        }
        _ => {
            leaves.insert(path.to_owned(), plain(value));
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    }
}

/// Compares two sides by these metrics; those that neither side has are left out.
pub fn compare(a: &Side, b: &Side, metrics: &[(Metric, Statistic)]) -> Compared {
    let pairs = pairs(a, b);
    let mut rows = Vec::new();
    let mut specs: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
    let mut same_runs = 0;
    for (label, one, other) in &pairs {
        rows.extend(
            metrics.iter().filter_map(|&(metric, statistic)| row(label, one, other, metric, statistic)),
        );
        let keys: BTreeSet<&str> = one.data.seeds.iter().map(|seed| seed.key.as_str()).collect();
        same_runs += other.data.seeds.iter().filter(|seed| keys.contains(seed.key.as_str())).count();
        let fields: BTreeSet<&String> = one.spec.keys().chain(other.spec.keys()).collect();
        for field in fields {
            let of = |one: &One| one.spec.get(field).cloned().unwrap_or_else(|| "–".to_owned());
            let (left, right) = (of(one), of(other));
            if left != right {
                specs.entry((field.clone(), left, right)).or_default().push(label.clone());
            }
        }
    }
    let spec = specs.into_iter().map(|((field, a, b), points)| {
        let points = if points.len() == pairs.len() { Vec::new() } else { points };
        Differs { field, a, b, points }
    });
    let paired: BTreeSet<&str> = pairs
        .iter()
        .flat_map(|(_, one, other)| [&one.data.label, &other.data.label])
        .map(String::as_str)
        .collect();
    let only =
        |side: &Side| side.labels().filter(|label| !paired.contains(label)).map(str::to_owned).collect();
    Compared {
        sides: [a.name.clone(), b.name.clone()],
        rows,
        only: [only(a), only(b)],
        environment: environment(a, b),
        spec: spec.collect(),
        same_runs,
    }
}

fn pairs<'s>(a: &'s Side, b: &'s Side) -> Vec<(String, &'s One, &'s One)> {
    let (mut of_a, mut of_b) = (a.points.iter(), b.points.iter());
    if let (Some((label, one)), None, Some((other_label, other)), None) =
        (of_a.next(), of_a.next(), of_b.next(), of_b.next())
    {
        let label = if label == other_label { label.clone() } else { format!("{label} → {other_label}") };
        return vec![(label, one, other)];
    }
    a.points.iter().filter_map(|(label, one)| Some((label.clone(), one, b.points.get(label)?))).collect()
}

fn row(label: &str, a: &One, b: &One, metric: Metric, statistic: Statistic) -> Option<Row> {
    let over = metric::over_seeds(statistic);
    let (of_a, of_b) = (a.data.values(metric, statistic, None), b.data.values(metric, statistic, None));
    let all = |values: &BTreeMap<u64, f64>| over.of(&values.values().copied().collect::<Vec<_>>());
    // The mean and the median of ratios and differences are summarised like the values themselves.
    let paired = |of: fn(f64, f64) -> f64, how: Estimator| how.of(&estimate::paired(&of_a, &of_b, of));
    let nothing = of_a.values().all(|value| *value == 0.0);
    Some(Row {
        point: label.to_owned(),
        metric: metric.name(),
        statistic: statistic.name(),
        unit: metric::unit(metric),
        a: all(&of_a)?,
        b: all(&of_b)?,
        difference: paired(|x, y| y - x, over),
        ratio: if nothing { None } else { paired(|x, y| y / x, Estimator::MedianBootstrap) },
    })
}

fn environment(a: &Side, b: &Side) -> Vec<Differs> {
    let text = |side: &Side, field: &str| {
        let values: Vec<&str> = side.facts.get(field).into_iter().flatten().map(String::as_str).collect();
        if values.is_empty() { "unknown".to_owned() } else { values.join(", ") }
    };
    let fields: BTreeSet<&String> = a.facts.keys().chain(b.facts.keys()).collect();
    fields
        .into_iter()
        .map(|field| Differs {
            field: field.clone(),
            a: text(a, field),
            b: text(b, field),
            points: Vec::new(),
        })
        .filter(|one| one.a != one.b)
        .collect()
}
