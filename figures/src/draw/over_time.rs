//! Node DRAM or cores in use over time, one line per system: the run that is the median over seeds.

use super::Plan;
use super::axis::{self, Scale};
use super::canvas::{Anchor, Canvas, Lettering, Rect};
use super::page::{self, Drawing, LegendMark, Panel, Series};
use super::style::{SHADE, SOFT};
use crate::files::{Table, number};
use crate::input::SeedRun;
use crate::metric::{Metric, Statistic};
use crate::reduce::RunSummary;

const PLOT: f64 = 150.0;

/// What is drawn over time.
pub struct What {
    shown: &'static str,
    axis: &'static str,
    column: &'static str,
    /// By which the median run is chosen.
    ranked_by: (Metric, Statistic),
    of: fn(&RunSummary) -> &[(f64, f64)],
}

/// Node DRAM in use.
pub const MEMORY: What = What {
    shown: "Memory in use in the nodes' DRAM over the cluster; of each system the run whose peak is",
    axis: "Local memory (GiB)",
    column: "local_gib",
    ranked_by: (Metric::Local, Statistic::Peak),
    of: |run| &run.memory,
};

/// Cores in use.
pub const CORES: What = What {
    shown: "Cores in use over the cluster, averaged between samples; of each system the run whose mean is",
    axis: "Cores in use",
    column: "cores",
    ranked_by: (Metric::Cores, Statistic::Mean),
    of: |run| &run.cores,
};

pub fn draw(plan: &Plan<'_>, what: &What) -> Result<Drawing, String> {
    let panels = &plan.selection.panels;
    let (width, columns) = page::layout(panels.len());
    let caption =
        format!("{} the median over seeds; burn-in shaded; {}.", what.shown, plan.selection.seeds());
    let rows = panels.len().div_ceil(columns).max(1) as f64;
    let svg = plan.page(width, LegendMark::Line, &caption).draw(
        rows * (PLOT + page::around(panels)),
        |canvas, area| {
            for (panel, cell) in panels.iter().zip(page::grid(area, columns, panels.len(), (10.0, 0.0))) {
                draw_panel(canvas, cell, panel, what);
            }
        },
    )?;
    Ok(Drawing { svg, table: table(plan, what), caption })
}

/// The run whose rank is the median (the lower one of an even number); ties go to the lower seed.
fn median_run<'a>(series: &Series<'a>, what: &What) -> Option<&'a SeedRun> {
    let (metric, statistic) = what.ranked_by;
    let mut runs: Vec<(f64, &SeedRun)> =
        series.point.seeds.iter().filter_map(|s| Some((s.run.value(metric, statistic, None)?, s))).collect();
    runs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.seed.cmp(&b.1.seed)));
    runs.get(runs.len().checked_sub(1)? / 2).map(|r| r.1)
}

fn draw_panel(canvas: &mut Canvas<'_>, cell: Rect, panel: &Panel<'_>, what: &What) {
    let plot = cell.inset(52.0, page::title_room(panel), 14.0, 38.0);
    page::panel_title(canvas, plot, &panel.name);
    let runs: Vec<_> = panel.series.iter().filter_map(|s| Some((s.style, median_run(s, what)?))).collect();
    let points = || runs.iter().flat_map(|(_, r)| (what.of)(&r.run));
    let end = points().map(|p| p.0).fold(0.0, f64::max);
    let (per, unit) = if end > 600.0 { (60.0, "Time (min)") } else { (1.0, "Time (s)") };
    let x = Scale::Linear { min: 0.0, max: (end / per).max(1e-9) };
    let y = Scale::from_zero(points().map(|p| p.1));
    let burn_in = runs.iter().map(|(_, r)| r.run.burn_in_s).fold(0.0, f64::max);
    if burn_in > 0.0 {
        canvas.fill(Rect { w: x.place(burn_in / per) * plot.w, ..plot }, SHADE);
    }
    if runs.is_empty() {
        return page::nothing(canvas, plot);
    }
    axis::below(canvas, plot, x, axis::plain, Some(unit));
    axis::left(canvas, plot, y, axis::plain, Some(what.axis));
    for (which, (style, run)) in runs.iter().enumerate() {
        let at = |&(t, value): &(f64, f64)| (x.x(t / per, plot), y.y(value, plot));
        let path: Vec<_> = (what.of)(&run.run).iter().map(at).collect();
        canvas.line(&path, page::line(style));
        for part in 0..4 {
            let share = (f64::from(part) + (which as f64 + 0.5) / runs.len() as f64) / 4.0;
            if let Some(&point) = path.get((share * path.len() as f64) as usize) {
                canvas.marker(point, style.marker, 3.0, style.colour);
            }
        }
    }
    if x.place(burn_in / per) * plot.w > 38.0 {
        let at = (plot.x + 3.0, plot.y + 7.0);
        canvas.text(at, "burn-in", Lettering::small(Anchor::Start).colour(SOFT));
    }
}

fn table(plan: &Plan<'_>, what: &What) -> Table {
    let mut table = Table::new(&["panel", "system", "seed", "time_s", what.column, "burn_in"]);
    for panel in &plan.selection.panels {
        for series in &panel.series {
            let Some(run) = median_run(series, what) else { continue };
            for &(t, value) in (what.of)(&run.run) {
                table.push([
                    panel.name.clone(),
                    series.name.clone(),
                    run.seed.to_string(),
                    number(t),
                    number(value),
                    (t < run.run.burn_in_s).to_string(),
                ]);
            }
        }
    }
    table
}
