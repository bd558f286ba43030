//! Drawing: one file per kind of figure.

mod agent_cost;
pub mod axis;
mod bars;
pub mod canvas;
mod latency_cdf;
mod latency_percentiles;
pub(crate) mod measured;
mod memory_by_class;
mod over_time;
mod page;
mod rows;
mod stack;
mod start_breakdown;
mod start_kinds;
mod startup_percentiles;
pub mod style;
mod sweep;
mod sweep_lines;

use crate::figure::{FigureKind, FigureSpec, title_or};
use crate::input::ExperimentData;
use page::Page;
pub(crate) use page::{Drawing, Selection};

/// Draws what was asked for, from the points that exist.
pub(crate) fn draw(
    data: &ExperimentData,
    request: &FigureSpec,
    selection: &Selection<'_>,
) -> Result<Drawing, String> {
    let what = Plan { data, request, selection };
    match request.kind {
        FigureKind::LatencyPercentiles => latency_percentiles::draw(&what),
        FigureKind::LatencyCdf => latency_cdf::draw(&what),
        FigureKind::MemoryOverTime => over_time::draw(&what, &over_time::MEMORY),
        FigureKind::PeakMemory => bars::peak_memory(&what),
        FigureKind::StartKinds => start_kinds::draw(&what),
        FigureKind::StartupPercentiles => startup_percentiles::draw(&what),
        FigureKind::AgentCost => agent_cost::draw(&what),
        FigureKind::CoresOverTime => over_time::draw(&what, &over_time::CORES),
        FigureKind::MemoryByClass => memory_by_class::draw(&what),
        FigureKind::StartBreakdown => start_breakdown::draw(&what),
        FigureKind::Bars => bars::draw(&what),
        FigureKind::SweepLines => sweep_lines::draw(&what),
    }
}

/// What every kind of figure is given.
struct Plan<'a> {
    data: &'a ExperimentData,
    request: &'a FigureSpec,
    selection: &'a Selection<'a>,
}

impl Plan<'_> {
    /// The frame, with one legend entry per system.
    fn page(&self, width: f64, mark: page::LegendMark, caption: &str) -> Page {
        let title = title_or(self.request, &self.data.title);
        Page {
            width,
            label: format!("{title}. {caption}"),
            legend: self.selection.legend(),
            mark,
            notes: self.selection.notes.clone(),
        }
    }
}
