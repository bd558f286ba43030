//! [`Plan`]: which points are run with which seeds, in which order.

use crate::shard::Shard;
use configs::spec::ServiceTime;
use configs::{Experiment, Point};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The runs of an experiment, or some of them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The experiment.
    pub experiment: Experiment,
    /// The runs, those that share a workload beside each other.
    pub jobs: Vec<Job>,
    /// Options before the subcommand of every command that is printed or submitted: `--out DIR`.
    pub globals: Vec<String>,
    /// The first point that plays the same workload, given the same seed; by point.
    leaders: Arc<Vec<usize>>,
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
    #[error("{experiment}: no point \"{label}\": {hint}")]
    NoPoint {
        /// Experiment.
        experiment: String,
        /// What was asked for.
        label: String,
        /// The label that was probably meant, or some that it has.
        hint: String,
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
                return Err(PlanError::NoPoint {
                    experiment: experiment.id.clone(),
                    label: label.clone(),
                    hint: hint(label, &experiment.points),
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
        let leaders = leaders(&experiment.points);
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut order = Vec::new();
        for &point in points {
            let group = groups.entry(leaders[point]).or_default();
            if group.is_empty() {
                order.push(leaders[point]);
            }
            group.push(point);
        }
        let mut jobs = Vec::with_capacity(points.len() * seeds.len());
        for leader in order {
            for &seed in seeds {
                jobs.extend(groups[&leader].iter().map(|&point| Job { point, seed }));
            }
        }
        Self { experiment, jobs, globals: Vec::new(), leaders: Arc::new(leaders) }
    }

    /// The part of this plan that is one shard's.
    pub fn shard(&self, shard: Shard) -> Self {
        let mine = shard.of(self);
        let jobs = self.jobs.iter().zip(mine).filter_map(|(job, mine)| mine.then_some(*job)).collect();
        Self { jobs, ..self.clone() }
    }

    /// The same runs, begun at another one: workers that begin apart seldom meet.
    pub fn rotated(mut self, by: u64) -> Self {
        if let Some(by) = by.checked_rem(self.jobs.len() as u64) {
            self.jobs.rotate_left(by as usize);
        }
        self
    }

    /// The point of a job.
    pub fn point(&self, job: Job) -> &Point {
        &self.experiment.points[job.point]
    }

    /// The first point that plays the same workload as the job's, given the same seed.
    pub(crate) fn leader(&self, job: Job) -> usize {
        self.leaders[job.point]
    }

    /// The command that runs one job alone.
    pub fn rerun_command(&self, job: Job, world: &str) -> String {
        let words =
            ["--point".to_owned(), self.point(job).label.clone(), "--seed".to_owned(), job.seed.to_string()];
        shell(&self.command("trenvx", world).into_iter().chain(words).collect::<Vec<_>>())
    }

    /// The words of the command that runs this experiment: `trenvx run FILE --tier kick …`, or
    /// `trenvx sweep …` where axes were typed.
    pub fn command(&self, program: &str, world: &str) -> Vec<String> {
        let typed = &self.experiment.typed;
        let has_axes = !typed.sweeps.is_empty() || !typed.zips.is_empty();
        self.command_of(if has_axes { "sweep" } else { "run" }, program, world)
    }

    /// The same with this subcommand.
    pub fn command_of(&self, subcommand: &str, program: &str, world: &str) -> Vec<String> {
        let file = self.experiment.file.display().to_string();
        let mut words = vec![program.to_owned()];
        words.extend(self.globals.iter().cloned());
        words.extend(words_of(&self.experiment, &file, subcommand, world));
        words
    }
}

/// The words of a command about an experiment, from the subcommand on, with everything that was typed beside its
/// name; `named` is the name or file that leads to it.
pub fn words_of(experiment: &Experiment, named: &str, subcommand: &str, world: &str) -> Vec<String> {
    let words = [subcommand, named, "--world", world, "--tier", experiment.tier.name()];
    let typed = experiment.typed.options();
    let typed = typed.flat_map(|(option, argument)| [option.to_owned(), argument.to_owned()]);
    words.map(str::to_owned).into_iter().chain(typed).collect()
}

/// Words as a shell reads them back.
pub fn shell(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// Most labels told of an experiment: a sweep may have ten thousand.
const LABELS_TOLD: usize = 12;

/// The label that was probably meant; else some of those that there are.
fn hint(label: &str, points: &[Point]) -> String {
    let known: Vec<&str> = points.iter().map(|point| point.label.as_str()).collect();
    if let Some(near) = traces::names::nearest(label, &known) {
        return format!("did you mean \"{near}\"?");
    }
    // The same words along other axes, or some of them.
    let has_all = |known: &&str| label.split('/').all(|part| known.split('/').any(|other| other == part));
    let like: Vec<&str> = known.iter().copied().filter(has_all).collect();
    if let [one] = like[..] {
        return format!("did you mean \"{one}\"?");
    }
    let (told, start) = if like.is_empty() { (&known, "it has") } else { (&like, "with these words it has") };
    let first = told[..told.len().min(LABELS_TOLD)].join(", ");
    let rest = told.len().saturating_sub(LABELS_TOLD);
    let rest = if rest > 0 { format!(" and {rest} more (--dry-run lists all)") } else { String::new() };
    format!("{start} {first}{rest}")
}

/// For each point, the first one that plays the same workload, given the same seed.
fn leaders(points: &[Point]) -> Vec<usize> {
    // Points of one experiment share few tables of service times, mostly one.
    let mut tables: Vec<&BTreeMap<String, ServiceTime>> = Vec::new();
    let mut known: BTreeMap<(String, usize), usize> = BTreeMap::new();
    points
        .iter()
        .enumerate()
        .map(|(number, point)| {
            let times = &*point.spec.service_times;
            let same = |other: &&BTreeMap<_, _>| std::ptr::eq(*other, times) || *other == times;
            let table = tables.iter().position(same).unwrap_or_else(|| {
                tables.push(times);
                tables.len() - 1
            });
            let workload = serde_json::to_string(&point.spec.workload).expect("a spec is plain data");
            *known.entry((workload, table)).or_insert(number)
        })
        .collect()
}

/// A word as a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
