//! `trenvx figure`, `claims` and `report`: everything that is recomputed from records.

use crate::common::{Axes, Ended, Folders, TierArg};
use crate::run::WorldArg;
use anyhow::Context;
use clap::Args;
use configs::{Experiment, Tier, WorldKind};
use figures::files::{Table, number, optional};
use figures::reference::{self, Cost, Reference};
use figures::report::{DoctorRow, Measured, Warning, warnings_of};
use figures::{ExperimentData, FigureFile, Judged, Provenance, ReportInput, Section, Verdict};
use platform::StartKind;
use runs::{Index, Manifest, Measurement, Store, StoreError, StoredRun};
use std::path::{Path, PathBuf};
use traces::Bytes;

/// Which experiments are meant.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// Names (`e04`) or files of experiments; none or `all`: every shipped one.
    experiments: Vec<String>,
    /// The tier they were run at.
    #[arg(long, value_enum, default_value_t = TierArg::Kick)]
    tier: TierArg,
    /// The `--set` they were run with (repeat for several).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    axes: Axes,
    /// The world they were run in.
    #[arg(long, value_enum, default_value_t = WorldArg::Sim)]
    world: WorldArg,
}

/// Draw the figures of experiments that were run.
#[derive(Debug, Args)]
pub struct FigureArgs {
    #[command(flatten)]
    which: Which,
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

/// An experiment with the runs of it that the store has.
pub struct Loaded {
    experiment: Experiment,
    data: ExperimentData,
    world: WorldKind,
    /// Of its newest run; `None` if there is none.
    manifest: Option<Manifest>,
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
    /// Reads the runs of an experiment, reducing each as it is read.
    pub fn new(folders: &Folders, experiment: Experiment, world: WorldKind) -> anyhow::Result<Self> {
        let mut data = ExperimentData::of(&experiment);
        let mut manifest = None;
        let mut cost = Table::new(&COST);
        let mut total = Cost {
            experiment: experiment.id.clone(),
            tier: experiment.tier.name().to_owned(),
            ..Cost::default()
        };
        match Index::load(&folders.out, &experiment, world.name()) {
            Ok(index) => {
                let store = Store::open(&folders.out)?;
                for indexed in index.runs {
                    let run = store.load(&indexed.key)?;
                    data.add_as(&indexed.label, &run);
                    cost.push(cost_of(&indexed.label, &run));
                    add(&mut total, &run.manifest, store.bytes(&indexed.key));
                    manifest = Some(run.manifest);
                }
            }
            Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self { experiment, data, world, manifest, cost, total })
    }

    /// The folder of its figures: its own where something was typed beside the name.
    fn folder(&self, out: &Path) -> PathBuf {
        let figures = out.join("figures");
        if !self.experiment.typed.is_empty() {
            let index = Index::path(out, &self.experiment, self.world.name());
            return figures.join(index.file_stem().unwrap_or_default());
        }
        let world = if self.world == WorldKind::Sim { "" } else { "-emu" };
        figures.join(format!("{}-{}{world}", self.experiment.id, self.experiment.tier.name()))
    }

    /// The command that makes everything of it again.
    fn command(&self) -> String {
        let tier = self.experiment.tier.name();
        let file =
            self.experiment.file.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        let options = self.experiment.typed.options();
        let typed: String = options.map(|(option, argument)| format!(" {option} '{argument}'")).collect();
        if self.world == WorldKind::Emu {
            return format!("trenvx run {file} --world emu --tier {tier}{typed}");
        }
        // Axes are typed for sweeps alone.
        let axes = [&self.experiment.typed.sweeps, &self.experiment.typed.zips];
        let subcommand = if axes.iter().all(|axes| axes.is_empty()) { "reproduce" } else { "sweep" };
        format!("trenvx {subcommand} {file} --tier {tier}{typed}")
    }

    /// Draws its figures and writes its summary beside them.
    pub fn draw(&self, out: &Path) -> anyhow::Result<Vec<FigureFile>> {
        let folder = self.folder(out);
        let provenance = Provenance {
            command: self.command(),
            model_version: match self.world {
                WorldKind::Sim => sim::MODEL_VERSION.to_string(),
                WorldKind::Emu => emu::world::EMULATION_VERSION.to_string(),
            },
            world: self.world.name().to_owned(),
        };
        let drawn = figures::render(&self.data, &folder, &provenance)?;
        let summary = figures::summary::summarise(&self.data).to_csv("summary")?;
        figures::files::write(&folder.join("summary.csv"), &summary)?;
        figures::files::write(&folder.join("cost.csv"), &self.cost.to_csv("cost")?)?;
        Ok(drawn)
    }
}

/// Draws what an experiment measured without any workload.
pub fn draw_measured(
    folders: &Folders,
    experiment: &Experiment,
    measured: &Measurement,
) -> anyhow::Result<Vec<FigureFile>> {
    let tier = experiment.tier.name();
    let folder = folders.out.join("figures").join(format!("{}-{tier}-emu", experiment.id));
    let provenance = Provenance {
        command: format!("trenvx run {} --world emu --tier {tier}", experiment.id),
        model_version: measured.version.to_string(),
        world: WorldKind::Emu.name().to_owned(),
    };
    Ok(figures::measured::render(measured, &folder, &provenance)?)
}

impl Which {
    fn load(&self, folders: &Folders) -> anyhow::Result<Vec<Loaded>> {
        let names = folders.names(&self.experiments)?;
        let typed = self.axes.with(&self.sets);
        let world = self.world.kind();
        let load = |name: &String| {
            let experiment = folders.swept(name, self.tier.into(), &typed)?;
            Loaded::new(folders, experiment.in_world(world), world)
        };
        names.iter().map(load).collect()
    }
}

/// Draws and says where.
pub fn figures(folders: &Folders, args: &FigureArgs) -> anyhow::Result<()> {
    for loaded in args.which.load(folders)? {
        if loaded.manifest.is_none() {
            eprintln!(
                "{}: nothing was run at tier {}: {}",
                loaded.experiment.id,
                loaded.data.tier,
                loaded.command()
            );
            continue;
        }
        for figure in loaded.draw(&folders.out)? {
            println!("{}", figure.svg_path.display());
        }
    }
    Ok(())
}

/// Judges and prints the verdicts.
pub fn claims(folders: &Folders, args: &ClaimsArgs) -> anyhow::Result<()> {
    let judged = judge(folders, &args.which.load(folders)?)?;
    print_verdicts(&judged);
    let failed = judged.iter().filter(|j| j.verdict == Verdict::Fail).count();
    if args.strict && failed > 0 {
        return Err(Ended { code: 1, message: format!("{failed} claims failed") }.into());
    }
    Ok(())
}

/// Keeps this machine as a reference.
pub fn keep(folders: &Folders, args: &ReferenceArgs) -> anyhow::Result<()> {
    let loaded: Vec<Loaded> =
        args.which.load(folders)?.into_iter().filter(|loaded| loaded.manifest.is_some()).collect();
    let machine = loaded.iter().rev().find_map(|l| l.manifest.as_ref()).map_or_else(Vec::new, environment);
    anyhow::ensure!(!loaded.is_empty(), "nothing was run that could be kept: trenvx reproduce all");
    let data: Vec<&ExperimentData> = loaded.iter().map(|l| &l.data).collect();
    let costs: Vec<Cost> = loaded.iter().map(|l| l.total.clone()).collect();
    let folder = references(folders)?.join(figures::files::file_name(&args.name));
    reference::keep(&folder, &machine, &data, &costs)?;
    println!("{}", folder.display());
    Ok(())
}

/// Draws, judges and writes the page.
pub fn report(folders: &Folders, args: &ReportArgs) -> anyhow::Result<()> {
    let loaded = args.which.load(folders)?;
    let (path, _) = write(folders, args.which.tier.into(), &loaded)?;
    println!("{}", path.display());
    Ok(())
}

/// Draws, judges, writes the page and answers with its path and the verdicts.
pub fn write(folders: &Folders, tier: Tier, loaded: &[Loaded]) -> anyhow::Result<(PathBuf, Vec<Judged>)> {
    let run: Vec<&Loaded> = loaded.iter().filter(|l| l.manifest.is_some()).collect();
    let judged = judge(folders, loaded)?;
    let drawn: Vec<Vec<FigureFile>> =
        run.iter().map(|l| l.draw(&folders.out)).collect::<anyhow::Result<_>>()?;
    let sections = run
        .iter()
        .zip(&drawn)
        .map(|(l, figures)| Section {
            data: &l.data,
            figures,
            command: l.command(),
            summary: Some(l.folder(&folders.out).join("summary.csv")),
            is_real: l.world == WorldKind::Emu,
        })
        .collect();
    let mut measurements: Vec<(&Experiment, Measurement, Vec<FigureFile>)> = Vec::new();
    for experiment in loaded.iter().map(|l| &l.experiment).filter(|experiment| experiment.measure.is_some()) {
        if measurements.iter().all(|(known, ..)| known.id != experiment.id)
            && let Some(measured) = Measurement::load(&folders.out, experiment)?
        {
            let figures = draw_measured(folders, experiment, &measured)?;
            measurements.push((experiment, measured, figures));
        }
    }
    let measured = measurements
        .iter()
        .map(|(experiment, measurement, figures)| Measured {
            title: &experiment.title,
            question: &experiment.question,
            paper: experiment.paper.as_deref(),
            measurement,
            figures,
            command: format!("trenvx run {} --world emu --tier {}", experiment.id, tier.name()),
        })
        .collect();
    let of_measurements = measurements.iter().flat_map(|(experiment, measurement, _)| {
        let from = format!("{} (measured)", experiment.id);
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
        file: folders.out.join("report.html"),
        title: format!("trenvx: {} tier", tier.name()),
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
    for warning in warnings_of(&loaded.data) {
        eprintln!("warning: {}: {}", warning.from, warning.text);
    }
}

fn judge(folders: &Folders, loaded: &[Loaded]) -> anyhow::Result<Vec<Judged>> {
    let claims = configs::claims::load(&folders.configs()?)?;
    // What is claimed at the scale of the paper is judged in the simulated world.
    let simulated = loaded.iter().filter(|l| l.world == WorldKind::Sim);
    let data: Vec<&ExperimentData> = simulated.map(|l| &l.data).collect();
    let meant: Vec<_> = claims
        .into_iter()
        .filter(|claim| {
            (claim.not_run.is_some() && loaded.len() > 1)
                || loaded.iter().any(|l| l.experiment.id == claim.experiment)
        })
        .collect();
    Ok(figures::judge(&meant, &data))
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
    experiments
        .into_iter()
        .flat_map(|experiment| {
            let id = experiment.id.clone();
            let simulated =
                Loaded::new(folders, experiment.clone(), WorldKind::Sim).with_context(|| id.clone());
            let mut both = vec![simulated];
            if experiment.is_fitted {
                let real = experiment.in_world(WorldKind::Emu);
                both.push(Loaded::new(folders, real, WorldKind::Emu).with_context(|| id));
            }
            both
        })
        .collect()
}
