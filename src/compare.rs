//! `trenvx compare`: two runs, points, experiments or stores beside each other.

use crate::common::{Folders, TierArg};
use crate::run::WorldArg;
use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use configs::Tier;
use figures::compare::{Compared, Differs, FIRST, Side, compare};
use figures::estimate::Estimate;
use figures::files::{Table, number, optional};
use figures::metric::{Metric, Statistic};
use runs::{Index, RunKey, Store};
use std::path::Path;

/// Shortest beginning of a run's key that is taken for one.
const SHORTEST_KEY: usize = 6;

/// Compare two runs, points, experiments or stores: differences seed by seed with their 95 % interval, and
/// what differs in machine, build and spec.
#[derive(Debug, Args)]
#[command(after_help = "\
A and B are each one of
  e04              an experiment that was run
  e04:LABEL        one point of it, such as e04:t-cxl
  e04@short        another tier than --tier
  out2             a store, that is a folder given as --out: all that was run in it
  out/runs/KEY     a run; its key, or the beginning of it, will do")]
pub struct CompareArgs {
    /// What is compared with.
    a: String,
    /// What is compared.
    b: String,
    /// The tier of experiments.
    #[arg(long, value_enum, default_value_t = TierArg::Kick)]
    tier: TierArg,
    /// The world that experiments were run in.
    #[arg(long, value_enum, default_value_t = WorldArg::Sim)]
    world: WorldArg,
    /// Compare this instead of what people look at first, such as `service.p90` (repeat for several; `all`).
    #[arg(long = "metric", value_name = "METRIC.STATISTIC")]
    metrics: Vec<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// Values and differences alone.
    Csv,
    /// Everything.
    Json,
}

/// Compares and prints.
pub fn run(folders: &Folders, args: &CompareArgs) -> anyhow::Result<()> {
    let metrics = metrics(&args.metrics)?;
    let (a, b) = (side(folders, args, &args.a)?, side(folders, args, &args.b)?);
    let compared = compare(&a, &b, &metrics);
    ensure!(
        !compared.rows.is_empty(),
        "{} and {} have no point in common: {} has {}, {} has {}; to compare two different points name one of each",
        a.name,
        b.name,
        a.name,
        some(&compared.only[0]),
        b.name,
        some(&compared.only[1])
    );
    match args.format {
        Format::Table => print(&compared),
        Format::Csv => print!("{}", String::from_utf8_lossy(&table(&compared).to_csv("compare")?)),
        Format::Json => println!("{}", serde_json::to_string_pretty(&compared)?),
    }
    Ok(())
}

/// What was asked for, by the words of summary tables.
fn metrics(asked: &[String]) -> anyhow::Result<Vec<(Metric, Statistic)>> {
    let all = || Metric::all().into_iter().flat_map(|m| m.statistics().iter().map(move |&s| (m, s)));
    if asked.is_empty() {
        return Ok(FIRST.into());
    }
    if asked.iter().any(|one| one == "all") {
        return Ok(all().collect());
    }
    let word = |(metric, statistic): (Metric, Statistic)| match statistic {
        Statistic::Total => metric.name(),
        statistic => format!("{}.{}", metric.name(), statistic.name()),
    };
    asked
        .iter()
        .map(|asked| {
            all().find(|one| word(*one) == *asked).with_context(|| {
                let words: Vec<String> = all().map(word).collect();
                format!("--metric {asked}: {}", configs::hint(asked, words.iter().map(String::as_str)))
            })
        })
        .collect()
}

/// The runs that a word stands for.
fn side(folders: &Folders, args: &CompareArgs, word: &str) -> anyhow::Result<Side> {
    let path = Path::new(word);
    let mut side = Side::new(word);
    if path.join("runs").is_dir() {
        of_store(path, &mut side)?;
    } else if path.is_dir() {
        let key = path.file_name().and_then(|name| RunKey::parse(name.to_str()?));
        let key = key.with_context(|| {
            format!(
                "{word}: neither a store nor a run: name a folder with runs/ in it, or one of those below"
            )
        })?;
        let out = path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
        of_run(out, &key, &mut side)?;
    } else if let Some(key) = key_of(folders, word)? {
        of_run(&folders.out, &key, &mut side)?;
    } else {
        of_experiment(folders, args, word, &mut side)?;
    }
    ensure!(!side.is_empty(), "{word}: nothing was run that it stands for");
    Ok(side)
}

fn of_run(out: &Path, key: &RunKey, side: &mut Side) -> anyhow::Result<()> {
    let run = Store::open(out)?.load(key)?;
    let label = run.manifest.label.clone();
    side.add(&label, &run);
    Ok(())
}

/// A run of the store by its key, or by how the key begins.
fn key_of(folders: &Folders, word: &str) -> anyhow::Result<Option<RunKey>> {
    let is_hex = word.len() >= SHORTEST_KEY && word.chars().all(|c| c.is_ascii_hexdigit());
    if !is_hex || !folders.out.join("runs").is_dir() {
        return Ok(None);
    }
    let keys = Store::open(&folders.out)?.keys()?;
    let mut meant = keys.into_iter().filter(|key| key.as_str().starts_with(word));
    match (meant.next(), meant.next()) {
        (Some(_), Some(_)) => bail!("{word}: several runs have keys that begin so: write more of it"),
        (one, _) => Ok(one),
    }
}

/// Everything that a store's indices list: labels with the name of the experiment and the tier before them.
fn of_store(out: &Path, side: &mut Side) -> anyhow::Result<()> {
    let store = Store::open(out)?;
    let folder = out.join("experiments");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("{}: cannot be listed: was anything run there?", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    files.sort();
    let mut indices: Vec<(String, String, Index)> = Vec::new();
    for file in files {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Beside indices there may be the reports of shards.
        let Ok(index) = serde_json::from_str::<Index>(&std::fs::read_to_string(&file)?) else { continue };
        let plain = format!("{}-{}-{}", index.experiment, index.tier.name(), index.world);
        indices.push((plain, name, index));
    }
    for (plain, name, index) in &indices {
        // What was typed is part of a name only where there are several of them.
        let several = indices.iter().filter(|(other, ..)| other == plain).count() > 1;
        let name = if several { name } else { plain };
        for run in &index.runs {
            side.add(&format!("{name}:{}", run.label), &store.load(&run.key)?);
        }
    }
    Ok(())
}

fn of_experiment(folders: &Folders, args: &CompareArgs, word: &str, side: &mut Side) -> anyhow::Result<()> {
    let (name, label) = word.split_once(':').map_or((word, None), |(name, label)| (name, Some(label)));
    let (name, tier) = match name.split_once('@') {
        None => (name, args.tier.into()),
        Some((name, tier)) => {
            let found = Tier::ALL.into_iter().find(|known| known.name() == tier);
            let hint =
                || format!("{word}: no tier \"{tier}\": {}", configs::hint(tier, Tier::ALL.map(Tier::name)));
            (name, found.with_context(hint)?)
        }
    };
    let world = args.world.kind();
    let experiment = folders.experiment(name, tier, &[])?.in_world(world);
    if let Some(label) = label {
        let labels = experiment.points.iter().map(|point| point.label.as_str());
        ensure!(
            labels.clone().any(|known| known == label),
            "{word}: no such point: {}",
            configs::hint(label, labels)
        );
    }
    let index = Index::load(&folders.out, &experiment, world.name())
        .with_context(|| format!("{word}: nothing was run: trenvx run {name} --tier {}", tier.name()))?;
    let store = Store::open(&folders.out)?;
    for run in index.runs.iter().filter(|run| label.is_none_or(|label| label == run.label)) {
        side.add(&run.label, &store.load(&run.key)?);
    }
    Ok(())
}

fn some(labels: &[String]) -> String {
    match labels {
        [] => "none of its own".to_owned(),
        few if few.len() <= 3 => few.join(", "),
        many => format!("{}, … ({} points)", many[..3].join(", "), many.len()),
    }
}

fn table(compared: &Compared) -> Table {
    let mut table = Table::new(&[
        "point",
        "metric",
        "statistic",
        "unit",
        "a",
        "b",
        "difference",
        "low",
        "high",
        "ratio",
        "ratio_low",
        "ratio_high",
        "n",
    ]);
    for row in &compared.rows {
        let of = |estimate: Option<Estimate>| {
            [estimate.map(|e| e.value), estimate.and_then(|e| e.low()), estimate.and_then(|e| e.high())]
                .map(optional)
        };
        let [difference, low, high] = of(row.difference);
        let [ratio, ratio_low, ratio_high] = of(row.ratio);
        table.push([
            row.point.clone(),
            row.metric.clone(),
            row.statistic.to_owned(),
            row.unit.to_owned(),
            number(row.a.value),
            number(row.b.value),
            difference,
            low,
            high,
            ratio,
            ratio_low,
            ratio_high,
            row.difference.map_or(0, |difference| difference.n).to_string(),
        ]);
    }
    table
}

fn print(compared: &Compared) {
    let [a, b] = &compared.sides;
    println!("A {a}\nB {b}\n");
    let mut point = "";
    for row in &compared.rows {
        if row.point != point {
            point = &row.point;
            println!("{point}");
        }
        let what = match row.statistic {
            "total" => row.metric.clone(),
            statistic => format!("{} {statistic}", row.metric),
        };
        let unit = if row.unit == "share" { "" } else { row.unit };
        println!(
            "  {what:<24} {:>10} → {:>10} {unit:<4} {}",
            short(row.a.value),
            short(row.b.value),
            difference(row)
        );
    }
    println!();
    if compared.same_runs > 0 {
        println!("{} runs are the very same in both.", compared.same_runs);
    }
    for (name, only) in compared.sides.iter().zip(&compared.only) {
        if !only.is_empty() {
            println!("Only in {name}: {}", some(only));
        }
    }
    list("Machine and build", &compared.environment);
    list("Spec", &compared.spec);
}

fn difference(row: &figures::compare::Row) -> String {
    let Some(difference) = row.difference else { return "no common seed: not paired".to_owned() };
    let ratio = row.ratio.map_or_else(String::new, |ratio| format!(", × {}", short(ratio.value)));
    let value = Signed(difference.value).to_string();
    match (difference.interval, row.is_clear()) {
        (Some((low, high)), clear) => {
            let clear = if clear == Some(true) { "" } else { "  no clear difference" };
            format!("B − A {value} ({} to {}, n = {}){ratio}{clear}", short(low), short(high), difference.n)
        }
        (None, _) => format!("B − A {value} (no interval, n = {}){ratio}", difference.n),
    }
}

/// A number with its sign.
struct Signed(f64);

impl std::fmt::Display for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 > 0.0 { "+" } else { "" };
        write!(f, "{sign}{}", short(self.0))
    }
}

/// Four significant digits.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    number((value * scale).round() / scale)
}

fn list(title: &str, differences: &[Differs]) {
    if differences.is_empty() {
        println!("{title}: no difference.");
        return;
    }
    println!("{title}:");
    for one in differences {
        let points = if one.points.is_empty() { String::new() } else { format!("  [{}]", some(&one.points)) };
        println!("  {}: {} → {}{points}", one.field, one.a, one.b);
    }
}
