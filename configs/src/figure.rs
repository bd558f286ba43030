//! [`FigureSpec`]: a figure of an experiment, and what the paper reports beside it.

use crate::claims::{Metric, Statistic};
use crate::experiment::FigureKind;
use platform::records::StartKind;
use serde::Serialize;

/// One figure of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureSpec {
    /// What kind.
    pub kind: FigureKind,
    /// File name without its ending, unique in the experiment.
    pub name: String,
    /// Title above the figure; made from the kind if empty.
    pub title: String,
    /// Figure of the paper that it stands beside.
    pub paper: Option<String>,
    /// What the paper reports, shown beside it and where possible in it. Never an input to a run.
    pub reported: Vec<Reported>,
    /// Only points of these panels, in this order; empty: all.
    pub panels: Vec<String>,
    /// Only these functions; empty: all.
    pub functions: Vec<String>,
    /// Only these systems, in this order; empty: all.
    pub systems: Vec<String>,
    /// What is drawn, where the kind leaves it open; end-to-end latency if `None`.
    pub metric: Option<Metric>,
    /// Which statistic of it; the metric's first if `None`.
    pub statistic: Option<Statistic>,
    /// Only invocations that got their sandbox in one of these ways; empty: all.
    pub starts: Vec<StartKind>,
    /// Key along which lines run; the first that has numbers if `None`.
    pub x: Option<String>,
    /// What the figure calls that key; made from the key if `None`.
    pub x_title: Option<String>,
    /// Whether that key lies on a logarithmic scale; by its values if `None`.
    pub x_log: Option<bool>,
    /// Axis whose values are lines, `system` if `None`.
    pub lines: Option<String>,
    /// Whether values lie on a logarithmic scale.
    pub log: bool,
    /// System that others are divided by, where the kind normalises; the first if `None`.
    pub baseline: Option<String>,
}

/// What the paper reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reported {
    /// Panel; empty where there is only one.
    pub panel: String,
    /// System; empty of a statement about several, which is only shown.
    pub system: String,
    /// Statistic, where the figure shows several.
    #[serde(skip)]
    pub statistic: Option<Statistic>,
    /// The value in the figure's unit (ms, GiB, a share); nothing of a statement.
    pub value: Option<f64>,
    /// For reading, with its source.
    pub text: String,
}

impl FigureSpec {
    /// A figure of everything.
    pub fn new(kind: FigureKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            title: String::new(),
            paper: None,
            reported: Vec::new(),
            panels: Vec::new(),
            functions: Vec::new(),
            systems: Vec::new(),
            metric: None,
            statistic: None,
            starts: Vec::new(),
            x: None,
            x_title: None,
            x_log: None,
            lines: None,
            log: false,
            baseline: None,
        }
    }

    /// What is drawn, where the kind leaves it open.
    pub fn quantity(&self) -> (Metric, Statistic) {
        let metric = self.metric.unwrap_or(Metric::EndToEnd);
        let first = metric.statistics().first().copied().unwrap_or(Statistic::Total);
        (metric, self.statistic.unwrap_or(first))
    }
}
