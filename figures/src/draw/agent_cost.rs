//! What agents' sandboxes cost over what their language model costs: one group of bars per agent, one
//! bar per system. The rows hold what both follow from.

use super::Plan;
use super::axis::{self, Scale};
use super::canvas::{Anchor, Canvas, Lettering, Rect};
use super::page::{self, Drawing, LegendMark, Panel, Series};
use crate::estimate::{Estimate, mean, mean_over_seeds};
use crate::files::{Table, optional};
use platform::records::AgentRecord;
use std::collections::BTreeSet;

const ROW: f64 = 11.0;
const GAP: f64 = 6.0;

pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    let panels = &plan.selection.panels;
    let (width, columns) = page::layout(panels.len());
    let caption = format!(
        "Cost of the sandbox, as allocated from the beginning of its start to the answer, over the cost \
         of the requests to the language model: mean over seeds with its 95 % interval; {}.",
        plan.selection.seeds()
    );
    let most = panels.iter().map(|panel| height(plan, panel)).fold(2.0 * (ROW + GAP), f64::max);
    let rows = panels.len().div_ceil(columns).max(1) as f64;
    let frame = plan.page(width, LegendMark::Box, &caption);
    let svg = frame.draw(rows * (most + page::around(panels)), |canvas, area| {
        for (panel, cell) in panels.iter().zip(page::grid(area, columns, panels.len(), (10.0, 0.0))) {
            draw_panel(plan, canvas, cell, panel);
        }
    })?;
    Ok(Drawing { svg, table: table(plan), caption })
}

/// Agents of a panel, sorted by name; those asked for, where any are.
fn agents<'a>(plan: &Plan<'_>, panel: &Panel<'a>) -> BTreeSet<&'a str> {
    let asked = &plan.request.functions;
    let known = |name: &&str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let costs = |name: &&str| panel.series.iter().any(|series| ratio(series, name).is_some());
    panel.series.iter().flat_map(|s| s.point.functions()).filter(known).filter(costs).collect()
}

fn height(plan: &Plan<'_>, panel: &Panel<'_>) -> f64 {
    agents(plan, panel).len() as f64 * (panel.series.len() as f64 * ROW + GAP)
}

/// A mean per seed of what the completed agents of a function asked for or cost.
fn per_seed(series: &Series<'_>, agent: &str, of: impl Fn(&AgentRecord) -> f64) -> Vec<f64> {
    let records = series.point.seeds.iter().filter_map(|seed| seed.run.agent(agent));
    records.map(of).filter(|value| value.is_finite()).collect()
}

fn ratio(series: &Series<'_>, agent: &str) -> Option<Estimate> {
    mean_over_seeds(&per_seed(series, agent, |record| record.sandbox_cost as f64 / record.model_cost as f64))
}

fn draw_panel(plan: &Plan<'_>, canvas: &mut Canvas<'_>, cell: Rect, panel: &Panel<'_>) {
    let agents = agents(plan, panel);
    let room = page::name_room(agents.iter().copied(), cell.w);
    let plot = cell.inset(room, page::title_room(panel), 34.0, 38.0);
    let plot = Rect { h: height(plan, panel).max(2.0 * (ROW + GAP)), ..plot };
    page::panel_title(canvas, plot, &panel.name);
    let tops = agents.iter().flat_map(|agent| panel.series.iter().filter_map(|s| ratio(s, agent)));
    let x = Scale::from_zero(tops.map(|estimate| estimate.top()));
    axis::below(canvas, plot, x, axis::percent, Some("Sandbox cost / model cost"));
    if agents.is_empty() {
        return page::nothing(canvas, plot);
    }
    let mut y = plot.y + GAP / 2.0;
    for agent in agents {
        let group = panel.series.len() as f64 * ROW;
        page::row_name(canvas, plot.x, y + group / 2.0, room, agent);
        for series in &panel.series {
            let middle = y + ROW / 2.0;
            y += ROW;
            let Some(estimate) = ratio(series, agent) else { continue };
            let end = x.x(estimate.value, plot);
            let bar = Rect { x: plot.x, y: middle - 3.5, w: end - plot.x, h: 7.0 };
            page::swatch(canvas, bar, series.style.colour);
            if let Some((low, high)) = estimate.interval {
                canvas.whisker(middle, x.x(low, plot), x.x(high, plot), 2.0);
            }
            let text = format!("{} %", axis::three_digits(estimate.value * 100.0));
            let after = x.x(estimate.top(), plot) + 4.0;
            canvas.text((after, middle), &text, Lettering::small(Anchor::Start));
        }
        y += GAP;
    }
}

fn table(plan: &Plan<'_>) -> Table {
    let mut table = Table::new(&[
        "panel",
        "agent",
        "system",
        "sandbox_over_model",
        "low",
        "high",
        "n",
        "estimator",
        "sandbox_usd",
        "model_usd",
        "prompt_tokens",
        "answer_tokens",
        "llm_wait_s",
        "tool_s",
        "browser_s",
        "held_s",
    ]);
    for panel in &plan.selection.panels {
        for agent in agents(plan, panel) {
            for series in &panel.series {
                let Some(estimate) = ratio(series, agent) else { continue };
                let each = |of: fn(&AgentRecord) -> f64| {
                    optional(mean(&per_seed(series, agent, |record| of(record) / record.completed as f64)))
                };
                let [value, low, high, n, estimator] = estimate.cells();
                table.push([
                    panel.name.clone(),
                    agent.to_owned(),
                    series.name.clone(),
                    value,
                    low,
                    high,
                    n,
                    estimator,
                    each(|record| record.sandbox_cost as f64 / 1e9),
                    each(|record| record.model_cost as f64 / 1e9),
                    each(|record| record.prompt_tokens as f64),
                    each(|record| record.answer_tokens as f64),
                    each(|record| record.llm_wait.as_secs_f64()),
                    each(|record| record.tool_time.as_secs_f64()),
                    each(|record| record.browser_time.as_secs_f64()),
                    each(|record| record.held.as_secs_f64()),
                ]);
            }
        }
    }
    table
}
