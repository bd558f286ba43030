//! Memory by class, one stacked bar per system: on average, or when node DRAM was fullest.

use super::Plan;
use super::axis;
use super::page::{Drawing, Series};
use super::stack::{self, Stack};
use super::style::{Colour, PARTS};
use crate::estimate::Estimate;
use crate::files::Table;
use crate::metric::{self, Statistic};
use platform::memory::MemoryClass;

/// Fill of a class: node DRAM dark to light, then pools.
const fn fill(class: MemoryClass) -> Colour {
    match class {
        MemoryClass::InstancePrivate => PARTS[0],
        MemoryClass::CopiedOnWrite => PARTS[1],
        MemoryClass::NodeShared => (0x56, 0xB4, 0xE9),
        MemoryClass::GuestOverhead => (0x80, 0x80, 0x80),
        MemoryClass::GuestPageCache => PARTS[2],
        MemoryClass::Browser => (0xCC, 0x79, 0xA7),
        MemoryClass::PoolCxl => (0xA8, 0xDD, 0xCC),
        MemoryClass::PoolRdma => PARTS[3],
    }
}

const fn name(class: MemoryClass) -> &'static str {
    match class {
        MemoryClass::InstancePrivate => "instances' own",
        MemoryClass::CopiedOnWrite => "copied on write",
        MemoryClass::NodeShared => "host page cache",
        MemoryClass::GuestOverhead => "VMM and guest kernel",
        MemoryClass::GuestPageCache => "guest page cache",
        MemoryClass::Browser => "browsers",
        MemoryClass::PoolCxl => "CXL pool",
        MemoryClass::PoolRdma => "RDMA pool",
    }
}

pub fn draw(plan: &Plan<'_>) -> Result<Drawing, String> {
    let statistic = plan.request.statistic.unwrap_or(Statistic::Peak);
    let when = match statistic {
        Statistic::Mean => "on average over the measured part",
        _ => "at the sample with most node DRAM in use",
    };
    let caption = format!(
        "Memory over the cluster by class, {when}: mean over seeds; intervals in the rows; {}.",
        plan.selection.seeds()
    );
    let series = || plan.selection.panels.iter().flat_map(|panel| &panel.series);
    let used: Vec<MemoryClass> = MemoryClass::ALL
        .into_iter()
        .filter(|&class| series().any(|s| gib(s, class, statistic).is_some_and(|e| e.value > 0.0)))
        .collect();
    let parts: Vec<_> = used.iter().map(|&class| (name(class).to_owned(), fill(class))).collect();
    let stack = Stack { parts: &parts, axis: "Memory (GiB)", ticks: axis::plain, value: axis::three_digits };
    let cells = stack::panels(plan);
    let svg = stack::draw(plan, &stack, &cells, &caption, |_, series| {
        used.iter().map(|&class| Some(gib(series, class, statistic)?.value)).collect()
    })?;
    Ok(Drawing { svg, table: table(plan, &used, statistic), caption })
}

fn gib(series: &Series<'_>, class: MemoryClass, statistic: Statistic) -> Option<Estimate> {
    let runs = series.point.seeds.iter();
    let values: Vec<f64> = runs.filter_map(|s| s.run.class_gib(class, statistic)).collect();
    metric::over_seeds(Statistic::Mean).of(&values)
}

fn table(plan: &Plan<'_>, used: &[MemoryClass], statistic: Statistic) -> Table {
    let mut table =
        Table::new(&["panel", "system", "class", "statistic", "gib", "low", "high", "n", "estimator"]);
    for panel in &plan.selection.panels {
        for series in &panel.series {
            for &class in used {
                let Some(estimate) = gib(series, class, statistic) else { continue };
                let [value, low, high, n, estimator] = estimate.cells();
                table.push([
                    panel.name.clone(),
                    series.name.clone(),
                    class.name().to_owned(),
                    statistic.name().to_owned(),
                    value,
                    low,
                    high,
                    n,
                    estimator,
                ]);
            }
        }
    }
    table
}
