//! From an experiment and its stored runs to what this package works on.

use crate::input::{ExperimentData, PointData, SeedRun, StandIn};
use crate::reduce::RunSummary;
use configs::{Experiment, FigureKind, Point};
use runs::{StoredRun, degraded};

impl ExperimentData {
    /// An experiment of which nothing was run yet; see [`ExperimentData::add`].
    pub fn of(experiment: &Experiment) -> Self {
        let planned = experiment.seeds.len();
        Self {
            id: experiment.id.clone(),
            title: experiment.title.clone(),
            paper: experiment.paper.clone(),
            question: experiment.question.clone(),
            tier: experiment.tier.name().to_owned(),
            figures: experiment.figures.clone(),
            points: experiment.points.iter().map(|p| PointData::of(p, planned)).collect(),
            stand_ins: Vec::new(),
        }
    }

    /// Adds a run to its point, reduced; the record can be dropped. Whether the experiment has a
    /// point of that label.
    pub fn add(&mut self, run: &StoredRun) -> bool {
        self.add_as(&run.manifest.label, run)
    }

    /// Adds a run to the point of this label: a run that two experiments share names only one of
    /// them in its manifest, so an index knows better. Runs are kept in the order of their seeds.
    pub fn add_as(&mut self, label: &str, run: &StoredRun) -> bool {
        let Some(point) = self.points.iter_mut().find(|p| p.label == label) else { return false };
        let seed = run.manifest.seed;
        point.seeds.retain(|s| s.seed != seed);
        let at = point.seeds.partition_point(|s| s.seed < seed);
        let key = run.manifest.key.to_string();
        let mut reduced = RunSummary::of(&run.record);
        // What stood in is told with the figures, not among what to check.
        let (stand_ins, warnings): (Vec<String>, Vec<String>) =
            reduced.warnings.drain(..).partition(|text| degraded(text).is_some());
        reduced.warnings = warnings;
        // Most of a run's memory is what it used over time.
        let shows = |kind| self.figures.iter().any(|figure| figure.kind == kind);
        if !shows(FigureKind::MemoryOverTime) {
            reduced.memory = Vec::new();
        }
        if !shows(FigureKind::CoresOverTime) {
            reduced.cores = Vec::new();
        }
        point.seeds.insert(at, SeedRun { seed, key, cpu_s: run.manifest.cpu_s, run: reduced });
        let system = point.system.clone();
        self.stand_in(&system, &stand_ins);
        true
    }

    /// Notes what stood in for something in a run of a system.
    pub(crate) fn stand_in(&mut self, system: &str, warnings: &[String]) {
        for text in warnings.iter().filter_map(|warning| degraded(warning)) {
            let known = self.stand_ins.iter().position(|known| known.text == text).unwrap_or_else(|| {
                self.stand_ins.push(StandIn { text: text.to_owned(), systems: Vec::new() });
                self.stand_ins.len() - 1
            });
            let systems = &mut self.stand_ins[known].systems;
            if !systems.iter().any(|known| known == system) {
                systems.push(system.to_owned());
            }
        }
    }
}

impl PointData {
    /// A point of which nothing was run yet.
    pub fn of(point: &Point, planned: usize) -> Self {
        let swept: Vec<&str> = point
            .axes
            .iter()
            .filter(|(axis, _)| axis != "panel" && axis != "system")
            .map(|(_, value)| value.as_str())
            .collect();
        Self {
            label: point.label.clone(),
            panel: point.axis("panel").unwrap_or("").to_owned(),
            system: point.axis("system").unwrap_or(&point.spec.system.name).to_owned(),
            swept: swept.join("/"),
            axes: point.axes.clone(),
            numbers: point.numbers.clone(),
            planned,
            seeds: Vec::new(),
            missing: None,
        }
    }
}
