//! [`Plan`]: which points are run with which seeds, in which order.

use configs::{Experiment, Point};

/// The runs of an experiment, or some of them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The experiment.
    pub experiment: Experiment,
    /// The runs, those that share a workload beside each other.
    pub jobs: Vec<Job>,
}

/// One point with one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Index of the point in the experiment.
    pub point: usize,
    /// The seed.
    pub seed: u64,
}

/// A plan names what the experiment does not have.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No such point.
    #[error("{experiment}: no point \"{label}\": it has {known}")]
    NoPoint {
        /// Experiment.
        experiment: String,
        /// What was asked for.
        label: String,
        /// Labels it has.
        known: String,
    },
}

impl Plan {
    /// Every point with every seed.
    pub fn new(experiment: Experiment) -> Self {
        let points: Vec<usize> = (0..experiment.points.len()).collect();
        let seeds = experiment.seeds.clone();
        Self::of(experiment, &points, &seeds)
    }

    /// Only some points, by label (none given: all), and some seeds (none given: the experiment's;
    /// others than the experiment's are allowed).
    pub fn only(experiment: Experiment, labels: &[String], seeds: &[u64]) -> Result<Self, PlanError> {
        let mut points = Vec::new();
        for label in labels {
            let Some(found) = experiment.points.iter().position(|point| point.label == *label) else {
                let known: Vec<&str> = experiment.points.iter().map(|point| point.label.as_str()).collect();
                return Err(PlanError::NoPoint {
                    experiment: experiment.id.clone(),
                    label: label.clone(),
                    known: known.join(", "),
                });
            };
            points.push(found);
        }
        if labels.is_empty() {
            points.extend(0..experiment.points.len());
        }
        let seeds = if seeds.is_empty() { experiment.seeds.clone() } else { seeds.to_vec() };
        Ok(Self::of(experiment, &points, &seeds))
    }

    fn of(experiment: Experiment, points: &[usize], seeds: &[u64]) -> Self {
        // Points by workload, in order of first appearance; then seeds; then points. So a workload
        // is built once and dropped before the next one is needed.
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for &point in points {
            let same = |group: &&mut Vec<usize>| {
                group.first().is_some_and(|&first| {
                    shares_workload(&experiment.points[first], &experiment.points[point])
                })
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.push(point),
                None => groups.push(vec![point]),
            }
        }
        let mut jobs = Vec::new();
        for group in groups {
            for &seed in seeds {
                jobs.extend(group.iter().map(|&point| Job { point, seed }));
            }
        }
        Self { experiment, jobs }
    }

    /// The point of a job.
    pub fn point(&self, job: Job) -> &Point {
        &self.experiment.points[job.point]
    }

    /// The command that runs one job alone.
    pub fn rerun_command(&self, job: Job, world: &str) -> String {
        let experiment = &self.experiment;
        let mut command = format!(
            "trenvx run {} --world {world} --tier {} --point {} --seed {}",
            quoted(&experiment.file.display().to_string()),
            experiment.tier.name(),
            quoted(&self.point(job).label),
            job.seed
        );
        for set in &experiment.sets {
            command.push_str(&format!(" --set {}", quoted(set)));
        }
        command
    }
}

/// Whether two points play the same workload, given the same seed.
pub(crate) fn shares_workload(a: &Point, b: &Point) -> bool {
    a.spec.workload == b.spec.workload && a.spec.service_times == b.spec.service_times
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
