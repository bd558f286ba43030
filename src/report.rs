//! `trenvx figure`, `claims` and `report`: everything that is recomputed from records.

use crate::common::{Axes, Ended, Folders, TierArg};
use crate::meant::Meant;
use crate::measure;
use crate::run::WorldArg;
use anyhow::Context;
use clap::Args;
use configs::{Experiment, Tier, WorldKind};
use figures::files::{Table, number, optional};
use figures::reference::{self, Cost, Reference};
use figures::report::{DoctorRow, Measured, Warning, warnings_of};
use figures::{Evidence, ExperimentData, FigureFile, Judged, Provenance, ReportInput, Section, Verdict};
use platform::StartKind;
use rayon::prelude::*;
use runs::{Index, Manifest, Measurement, Store, StoreError, StoredRun};
use std::path::{Path, PathBuf};
use traces::Bytes;

/// Which experiments are meant.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// Names (`e04`) or files of experiments (for `claims`, of claims, too); none or `all`: every shipped one.
    experiments: Vec<String>,
    /// The tier they were run at.
    #[arg(long, value_enum, default_value_t = TierArg::Kick)]
    tier: TierArg,
    /// The `--set` they were run with (repeat for several).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    axes: Axes,
    /// The world they were run in; default: each that they can be run in.
    #[arg(long, value_enum)]
    world: Option<WorldArg>,
}

/// Draw the figures of experiments that were run.
#[derive(Debug, Args)]
pub struct FigureArgs {
    #[command(flatten)]
    which: Which,
    /// Draw a PNG beside each SVG, too; no font of the system is needed.
    #[arg(long)]
    png: bool,
}

/// Judge the claims of experiments that were run.
#[derive(Debug, Args)]
pub struct ClaimsArgs {
    #[command(flatten)]
    which: Which,
    /// Exit with 1 if a claim fails.
    #[arg(long)]
    strict: bool,
}

/// Write report.html over experiments that were run.
#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    which: Which,
}

/// Keep what was measured on this machine, small, so that others can compare theirs with it.
#[derive(Debug, Args)]
pub struct ReferenceArgs {
    /// Name of the machine: a folder below figures/reference.
    name: String,
    #[command(flatten)]
    which: Which,
}

/// An experiment in one world with what was run or measured of it.
pub struct Loaded {
    experiment: Experiment,
    data: ExperimentData,
    world: WorldKind,
    /// Of its newest run; `None` if there is none.
    manifest: Option<Manifest>,
    /// What it measured on this machine without any workload.
    measured: Option<Measurement>,
    /// Why nothing was measured, where it measures.
    unmeasured: Option<String>,
    /// The command that makes everything of it again, from here.
    command: String,
    /// The same without the folders of this machine: it stays with the figures.
    provenance: String,
    /// What each run cost the machine that simulated it.
    cost: Table,
    /// The same, summed up.
    total: Cost,
}

/// Columns of `cost.csv`, from the runs' manifests. The resident memory is the largest of the whole
/// process up to the end of the run, its other runs included.
const COST: [&str; 9] = [
    "point",
    "seed",
    "nodes",
    "invocations",
    "events",
    "wall_s",
    "cpu_s",
    "invocations_per_cpu_s",
    "process_peak_rss_mib",
];

fn cost_of(label: &str, run: &StoredRun) -> [String; 9] {
    let manifest = &run.manifest;
    let invocations = manifest.workload.invocations;
    [
        label.to_owned(),
        manifest.seed.to_string(),
        manifest.spec.cluster.nodes.to_string(),
        invocations.to_string(),
        run.record.counters.events.to_string(),
        number(manifest.wall_s),
        optional(manifest.cpu_s),
        optional(manifest.cpu_s.map(|s| invocations as f64 / s)),
        optional(manifest.process_peak_rss_bytes.map(|bytes| Bytes(bytes).as_gib_f64() * 1024.0)),
    ]
}

fn add(total: &mut Cost, manifest: &Manifest, bytes: Option<u64>) {
    let mib = |bytes: Option<u64>| bytes.map_or(0.0, |bytes| Bytes(bytes).as_gib_f64() * 1024.0);
    total.runs += 1;
    total.wall_s += manifest.wall_s + manifest.write_s;
    total.cpu_s += manifest.cpu_s.unwrap_or(0.0);
    total.peak_rss_mib = total.peak_rss_mib.max(mib(manifest.process_peak_rss_bytes));
    total.disk_mib += mib(bytes);
}

impl Loaded {
    /// Reads the runs of an experiment, reducing each as it is read; `experiment` has the points of that world.
    pub fn new(folders: &Folders, experiment: Experiment, world: WorldKind) -> anyhow::Result<Self> {
        let is_measure = world == WorldKind::Emu && experiment.measure.is_some();
        let subcommand = match (world, &experiment.typed) {
            (WorldKind::Emu, _) => "run",
            // Axes are typed for sweeps alone.
            (_, typed) if !typed.sweeps.is_empty() || !typed.zips.is_empty() => "sweep",
            _ => "reproduce",
        };
        let words = runs::words_of(&experiment, &folders.word(&experiment), subcommand, world.name());
        let mut loaded = Self {
            data: ExperimentData::of(&experiment),
            world,
            manifest: None,
            measured: None,
            unmeasured: None,
            command: folders.line(&experiment, subcommand, world),
            provenance: format!("trenvx {}", runs::shell(&words)),
            cost: Table::new(&COST),
            total: Cost {
                experiment: experiment.id.clone(),
                tier: experiment.tier.name().to_owned(),
                world: world.name().to_owned(),
                ..Cost::default()
            },
            experiment,
        };
        if is_measure {
            loaded.measurement(folders)?;
        } else {
            loaded.runs(folders)?;
        }
        Ok(loaded)
    }

    fn measurement(&mut self, folders: &Folders) -> anyhow::Result<()> {
        let experiment = &self.experiment;
        self.measured = Measurement::load(&folders.out, experiment)?;
        self.total.wall_s = self.measured.as_ref().map_or(0.0, |measured| measured.wall_s);
        if self.measured.is_none() {
            let failed =
                Measurement::failure(&folders.out, experiment).map(|why| format!("it failed: {why}"));
            let why = failed.or_else(|| measure::lacking(folders, experiment.measure.as_ref()));
            self.unmeasured = Some(why.unwrap_or_else(|| format!("nobody has run {}", self.command)));
        }
        Ok(())
    }

    fn runs(&mut self, folders: &Folders) -> anyhow::Result<()> {
        match Index::load(&folders.out, &self.experiment, self.world.name()) {
            Ok(index) => {
                let store = Store::open(&folders.out)?;
                // A few at a time: a run is large before it is reduced.
                for few in index.runs.chunks(rayon::current_num_threads()) {
                    let read: Vec<_> = few.par_iter().map(|indexed| store.load(&indexed.key)).collect();
                    for (indexed, run) in few.iter().zip(read) {
                        let run = run?;
                        self.data.add_as(&indexed.label, &run);
                        self.cost.push(cost_of(&indexed.label, &run));
                        add(&mut self.total, &run.manifest, store.bytes(&indexed.key));
                        self.manifest = Some(run.manifest);
                    }
                }
            }
            Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.data.note_failures(&runs::failures(&folders.out, &self.experiment, self.world.name()));
        Ok(())
    }

    /// Whether anything was run or measured.
    fn is_there(&self) -> bool {
        self.manifest.is_some() || self.measured.is_some()
    }

    /// The folder of its figures: its own where something was typed beside the name.
    fn folder(&self, out: &Path) -> PathBuf {
        let figures = out.join("figures");
        if !self.experiment.typed.is_empty() && self.measured.is_none() {
            let index = Index::path(out, &self.experiment, self.world.name());
            return figures.join(index.file_stem().unwrap_or_default());
        }
        let world = if self.world == WorldKind::Sim { "" } else { "-emu" };
        figures.join(format!("{}-{}{world}", self.experiment.id, self.experiment.tier.name()))
    }

    /// Draws its figures and writes its summary beside them.
    pub fn draw(&self, out: &Path) -> anyhow::Result<Vec<FigureFile>> {
        let folder = self.folder(out);
        let model_version = match (&self.measured, self.world) {
            (Some(measured), _) => measured.version.to_string(),
            (None, WorldKind::Sim) => sim::MODEL_VERSION.to_string(),
            (None, WorldKind::Emu) => emu::world::EMULATION_VERSION.to_string(),
        };
        let provenance = Provenance {
            command: self.provenance.clone(),
            model_version,
            world: self.world.name().to_owned(),
        };
        if let Some(measured) = &self.measured {
            return Ok(figures::measured::render(measured, &folder, &provenance)?);
        }
        let drawn = figures::render(&self.data, &folder, &provenance)?;
        figures::summary::write(&self.data, &folder.join("summary.csv"))?;
        figures::files::write(&folder.join("cost.csv"), &self.cost.to_csv("cost")?)?;
        Ok(drawn)
    }
}

impl Which {
    /// Each experiment in the worlds that are meant, in the order of their names.
    fn load(&self, folders: &Folders) -> anyhow::Result<Vec<Loaded>> {
        let names = folders.names(&self.experiments)?;
        let typed = self.axes.with(&self.sets);
        let world = self.world.map(WorldArg::kind);
        let mut loaded = Vec::new();
        for name in &names {
            let experiment = folders.swept(name, self.tier.into(), &typed)?;
            loaded.extend(in_worlds(folders, &experiment, world)?);
        }
        Ok(loaded)
    }

    /// Whether every shipped experiment is meant, as it is shipped.
    fn is_all(&self) -> bool {
        let every = self.experiments.is_empty() || self.experiments.iter().any(|name| name == "all");
        every && self.world.is_none()
    }
}

/// An experiment in the world named, or in each of its worlds.
fn in_worlds(
    folders: &Folders,
    experiment: &Experiment,
    world: Option<WorldKind>,
) -> anyhow::Result<Vec<Loaded>> {
    let worlds = world.map_or_else(|| experiment.worlds.clone(), |world| vec![world]);
    let load = |world: WorldKind| {
        Loaded::new(folders, experiment.clone().in_world(world), world)
            .with_context(|| format!("{} in the world {}", experiment.id, world.name()))
    };
    worlds.into_iter().map(load).collect()
}

/// Draws and says where.
pub fn figures(folders: &Folders, args: &FigureArgs) -> anyhow::Result<()> {
    let loaded = args.which.load(folders)?;
    for one in loaded.iter().filter(|one| one.is_there()) {
        for figure in one.draw(&folders.out)? {
            println!("{}", figure.svg_path.display());
            if args.png {
                println!("{}", png(&figure)?.display());
            }
        }
    }
    for of in loaded.chunk_by(|a, b| a.experiment.id == b.experiment.id) {
        if of.iter().all(|one| !one.is_there()) {
            let commands: Vec<&str> = of.iter().map(|one| one.command.as_str()).collect();
            let (id, tier) = (&of[0].experiment.id, &of[0].data.tier);
            eprintln!("{id}: nothing was run at tier {tier}: {}", commands.join(", or "));
            for why in of.iter().filter_map(|one| one.unmeasured.as_ref()) {
                eprintln!("{id}: nothing was measured: {why}");
            }
        }
    }
    Ok(())
}

#[cfg(feature = "png")]
fn png(figure: &FigureFile) -> anyhow::Result<PathBuf> {
    Ok(figures::png::render(figure)?)
}

#[cfg(not(feature = "png"))]
fn png(_: &FigureFile) -> anyhow::Result<PathBuf> {
    anyhow::bail!("this build draws no PNG: cargo build --release --features png")
}

/// Judges and prints the verdicts.
pub fn claims(folders: &Folders, args: &ClaimsArgs) -> anyhow::Result<()> {
    let meant = Meant::of(folders, &args.which.experiments)?;
    let which = Which { experiments: meant.experiments.clone(), ..args.which.clone() };
    // Claims that no experiment here can refute need nothing loaded.
    let loaded = if which.experiments.is_empty() { Vec::new() } else { which.load(folders)? };
    let judged = meant.shown(judge(folders, &loaded)?);
    print_verdicts(&judged);
    let failed = judged.iter().filter(|j| j.verdict == Verdict::Fail).count();
    if args.strict && failed > 0 {
        return Err(Ended { code: 1, message: format!("{failed} claims failed") }.into());
    }
    Ok(())
}

/// Keeps this machine as a reference.
pub fn keep(folders: &Folders, args: &ReferenceArgs) -> anyhow::Result<()> {
    let loaded = args.which.load(folders)?;
    let costs: Vec<Cost> = loaded.iter().filter(|one| one.is_there()).map(|one| one.total.clone()).collect();
    let simulated: Vec<Loaded> =
        loaded.into_iter().filter(|one| one.world == WorldKind::Sim && one.manifest.is_some()).collect();
    let machine = simulated.iter().rev().find_map(|l| l.manifest.as_ref()).map_or_else(Vec::new, environment);
    anyhow::ensure!(!simulated.is_empty(), "nothing was run that could be kept: trenvx reproduce all");
    let data: Vec<&ExperimentData> = simulated.iter().map(|l| &l.data).collect();
    let folder = references(folders)?.join(figures::files::file_name(&args.name));
    reference::keep(&folder, &machine, &data, &costs)?;
    println!("{}", folder.display());
    Ok(())
}

/// Draws, judges and writes the page.
pub fn report(folders: &Folders, args: &ReportArgs) -> anyhow::Result<()> {
    let loaded = args.which.load(folders)?;
    if loaded.iter().all(|one| !one.is_there()) {
        let commands: Vec<&str> = loaded.iter().map(|one| one.command.as_str()).take(5).collect();
        anyhow::bail!(
            "{}: nothing was run that could be reported: {}",
            folders.out.display(),
            commands.join(", or ")
        );
    }
    let (path, _) = write(folders, &Page::of(&loaded, args.which.is_all()), &loaded)?;
    println!("{}", path.display());
    Ok(())
}

/// A report's file and title. A report of some experiments is another file than that of all, and so is one of
/// another tier: none takes the place of another.
pub struct Page {
    file: String,
    title: String,
}

impl Page {
    /// Longest list of experiments in a file name.
    const NAMED: usize = 4;

    /// Of these experiments; whether they are all that there are.
    pub fn of(loaded: &[Loaded], is_all: bool) -> Self {
        let tier = loaded.first().map_or(Tier::Kick, |one| one.experiment.tier);
        let mut ids: Vec<&str> = Vec::new();
        for id in loaded.iter().map(|one| one.experiment.id.as_str()) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let mut parts = vec!["report".to_owned()];
        match ids.len() {
            _ if is_all => {}
            0..=Self::NAMED => parts.extend(ids.iter().map(|id| figures::files::file_name(id))),
            n => parts.push(format!("{n}-experiments-{}", runs::tag(&ids.join(" ")))),
        }
        if tier != Tier::Kick {
            parts.push(tier.name().to_owned());
        }
        let typed = loaded.first().filter(|one| !one.experiment.typed.is_empty());
        parts.extend(typed.map(|one| runs::tag(&one.provenance)));
        let what = if is_all { String::new() } else { format!("{}, ", ids.join(", ")) };
        Self {
            file: format!("{}.html", parts.join("-")),
            title: format!("trenvx: {what}{} tier", tier.name()),
        }
    }
}

/// Draws, judges, writes the page and answers with its path and the verdicts.
pub fn write(folders: &Folders, page: &Page, loaded: &[Loaded]) -> anyhow::Result<(PathBuf, Vec<Judged>)> {
    let there: Vec<&Loaded> = loaded.iter().filter(|one| one.is_there()).collect();
    let judged = judge(folders, loaded)?;
    let drawn: Vec<Vec<FigureFile>> =
        there.iter().map(|one| one.draw(&folders.out)).collect::<anyhow::Result<_>>()?;
    let mut sections = Vec::new();
    let mut measured = Vec::new();
    for (one, figures) in there.iter().zip(&drawn) {
        let command = one.command.clone();
        match &one.measured {
            Some(measurement) => measured.push(Measured {
                title: &one.experiment.title,
                question: &one.experiment.question,
                paper: one.experiment.paper.as_deref(),
                measurement,
                figures,
                command,
            }),
            None => sections.push(Section {
                data: &one.data,
                figures,
                command,
                summary: Some(one.folder(&folders.out).join("summary.csv")),
                is_real: one.world == WorldKind::Emu,
            }),
        }
    }
    let run: Vec<&Loaded> = there.iter().copied().filter(|one| one.manifest.is_some()).collect();
    let of_measurements = there.iter().filter_map(|one| one.measured.as_ref()).flat_map(|measurement| {
        let from = format!("{} (measured)", measurement.experiment);
        measurement.warnings.iter().map(move |text| Warning { from: from.clone(), text: text.clone() })
    });
    let mut constants = Vec::new();
    for constant in run.iter().flat_map(|l| &l.experiment.constants) {
        if !constants.contains(constant) {
            constants.push(constant.clone());
        }
    }
    let environment = run.iter().rev().find_map(|l| l.manifest.as_ref()).map_or_else(Vec::new, environment);
    let reference = reference_of(folders)?;
    let simulated = run.iter().filter(|l| l.world == WorldKind::Sim);
    let data: Vec<&ExperimentData> = simulated.map(|l| &l.data).collect();
    let input = ReportInput {
        file: folders.out.join(&page.file),
        title: page.title.clone(),
        sections,
        measured,
        verdicts: &judged,
        constants: &constants,
        warnings: run.iter().flat_map(|l| warnings_of(&l.data)).chain(of_measurements).collect(),
        environment: environment.clone(),
        differences: reference
            .as_ref()
            .map_or_else(Vec::new, |reference| reference.differences(&environment)),
        against: reference.as_ref().map(|reference| reference.against(&data)).transpose()?,
        doctor: doctor(),
        footer: None,
    };
    let path = figures::report(&input)?;
    Ok((path, judged))
}

/// The first reference machine that is kept beside the configurations.
fn reference_of(folders: &Folders) -> anyhow::Result<Option<Reference>> {
    Ok(Reference::all(&references(folders)?)?.into_iter().next())
}

/// The folder of reference machines: `figures/reference` beside the folder of configurations.
pub fn references(folders: &Folders) -> anyhow::Result<PathBuf> {
    let configs = std::path::absolute(folders.configs()?)?;
    Ok(configs.parent().unwrap_or(Path::new("")).join("figures/reference"))
}

/// Prints one line a point, the figures that people look at first, and the warnings of its runs.
pub fn table(loaded: &Loaded) {
    use figures::metric::{self, Metric, Statistic};
    const NEW: [StartKind; 3] = [StartKind::Cold, StartKind::Restored, StartKind::Repurposed];
    // A start-up time is that of starts that were not warm, as in the figures.
    let columns: [(_, _, _, &[StartKind]); 6] = [
        ("P50 ms", Metric::EndToEnd, Statistic::P50, &[]),
        ("P99 ms", Metric::EndToEnd, Statistic::P99, &[]),
        ("start P99", Metric::Startup, Statistic::P99, &NEW),
        ("warm", Metric::StartShare(StartKind::Warm), Statistic::Total, &[]),
        ("peak GiB", Metric::Local, Statistic::Peak, &[]),
        ("mean GiB", Metric::Local, Statistic::Mean, &[]),
    ];
    let width = loaded.data.points.iter().map(|point| point.label.len()).max().unwrap_or(0).max(5);
    print!("{:<width$} {:>5}", "point", "seeds");
    columns.iter().for_each(|(name, ..)| print!(" {name:>10}"));
    println!();
    for point in &loaded.data.points {
        print!("{:<width$} {:>5}", point.label, point.seeds.len());
        for (_, metric, statistic, starts) in columns {
            let values = match starts {
                [] => point.values(metric, statistic, None),
                starts => point.values_of_starts(metric, statistic, starts),
            };
            let values: Vec<f64> = values.into_values().collect();
            match metric::over_seeds(statistic).of(&values) {
                Some(estimate) => print!(" {:>10.3}", estimate.value),
                None => print!(" {:>10}", "-"),
            }
        }
        println!();
    }
    for stand_in in &loaded.data.stand_ins {
        eprintln!("stand-in: {}", stand_in.told());
    }
    for warning in warnings_of(&loaded.data) {
        eprintln!("warning: {}: {}", warning.from, warning.text);
    }
}

fn judge(folders: &Folders, loaded: &[Loaded]) -> anyhow::Result<Vec<Judged>> {
    let claims = configs::claims::load(&folders.configs()?)?;
    let meant: Vec<_> = claims
        .into_iter()
        .filter(|claim| {
            (claim.not_run.is_some() && loaded.len() > 1)
                || loaded.iter().any(|l| l.experiment.id == claim.experiment)
        })
        .collect();
    // What is claimed at the scale of the paper is judged in the simulated world, what is measured by measurements.
    let mut evidence = Evidence::default();
    for one in loaded {
        match (one.world, &one.measured) {
            (WorldKind::Sim, _) => {
                evidence.experiments.push(&one.data);
                if one.manifest.is_none() {
                    let how = format!("not run at tier {}: {}", one.data.tier, one.command);
                    evidence.not_run.insert(one.experiment.id.clone(), how);
                }
            }
            (WorldKind::Emu, Some(measured)) => evidence.measurements.push(measured),
            (WorldKind::Emu, None) => {
                if let Some(why) = &one.unmeasured {
                    evidence.unmeasured.insert(one.experiment.id.clone(), why.clone());
                }
            }
        }
    }
    Ok(figures::judge_by(&meant, &evidence))
}

/// Prints the verdicts with what was measured.
pub fn print_verdicts(judged: &[Judged]) {
    for judged in judged {
        println!("{} {:<12} {}", judged.claim.id, judged.verdict.name(), judged.claim.text);
        for measured in &judged.measured {
            println!("    {}: {}; must be {}", measured.what, measured.text(), judged.bound());
        }
        if !judged.published().is_empty() {
            println!("    published: {} ({})", judged.published(), judged.claim.source);
        }
        for stand_in in &judged.stand_ins {
            println!("    stand-in: {stand_in}");
        }
        if !judged.verdict.reason().is_empty() {
            println!("    {}", judged.verdict.reason());
        }
        if judged.verdict != Verdict::Pass {
            println!("    why yours may differ: {}", judged.claim.why_yours_may_differ);
        }
    }
}

fn environment(manifest: &Manifest) -> Vec<(String, String)> {
    let value = serde_json::to_value(&manifest.environment).unwrap_or_default();
    let mut rows: Vec<(String, String)> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.replace('_', " "), text)
        })
        .collect();
    rows.push(("model version".to_owned(), manifest.model_version.to_string()));
    rows
}

fn doctor() -> Vec<DoctorRow> {
    use emu::doctor::Status;
    emu::doctor::examine()
        .checks
        .into_iter()
        .map(|check| {
            let (status, advice) = match check.status {
                Status::Ok => ("OK", String::new()),
                Status::Degraded { fallback } => ("DEGRADED", format!("; instead: {fallback}")),
                Status::Missing { fix } => ("MISSING", format!("; to fix: {fix}")),
            };
            DoctorRow {
                name: check.facility.to_owned(),
                status: status.to_owned(),
                detail: format!("{}{advice}", check.detail),
            }
        })
        .collect()
}

/// Loads what [`write()`] needs for experiments that have just been run.
pub fn reload(folders: &Folders, experiments: Vec<Experiment>) -> anyhow::Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for experiment in experiments {
        loaded.extend(in_worlds(folders, &experiment, None)?);
    }
    Ok(loaded)
}
