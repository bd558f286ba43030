//! The table of a sweep: one row per run.

use super::SIM;
use crate::common::Folders;
use figures::metric::{self, Metric, Statistic};
use figures::reduce::RunSummary;
use runs::{Index, Plan, Store};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes the table of a sweep beside its index: one row per run, read one after the other, so that
/// memory does not grow with their number.
pub fn table(folders: &Folders, plan: &Plan, store: &Store) -> anyhow::Result<PathBuf> {
    let index = Index::load(&folders.out, &plan.experiment, SIM)?;
    let metrics: Vec<_> =
        Metric::all().into_iter().flat_map(|m| m.statistics().iter().map(move |&s| (m, s))).collect();
    Index::write_table(&folders.out, &plan.experiment, SIM, |path| write(path, &index, &metrics, store))
}

fn write(path: &Path, index: &Index, metrics: &[(Metric, Statistic)], store: &Store) -> anyhow::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    let axes = index.runs.first().map(|run| run.axes.iter().map(|(axis, _)| cell(axis)));
    let named = metrics.iter().map(|&(m, s)| format!("{} {} {}", m.name(), s.name(), metric::unit(m)));
    let header = axes.into_iter().flatten().chain(["seed".into(), "key".into()]).chain(named);
    writeln!(file, "{}", header.collect::<Vec<_>>().join(","))?;
    for run in &index.runs {
        let summary = RunSummary::of(&store.load(&run.key)?.record);
        let values = metrics.iter().map(|&(metric, statistic)| {
            summary.value(metric, statistic, None).map_or_else(String::new, |value| value.to_string())
        });
        let axes = run.axes.iter().map(|(_, value)| cell(value));
        let row = axes.chain([run.seed.to_string(), run.key.to_string()]).chain(values);
        writeln!(file, "{}", row.collect::<Vec<_>>().join(","))?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

/// A text as CSV has it.
fn cell(text: &str) -> String {
    let plain = !text.contains([',', '"', '\n', '\r']);
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}
