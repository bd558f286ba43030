//! `trenvx trace`: import, generate, sample, convert and describe.

use crate::common::Folders;
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use traces::formats::OnDefect;
use traces::{
    Duration, Error, Format, ServiceTable, Source, Spread, binary, csv_file, describe, plot, sample,
    transform,
};

/// Work with traces (published data) and workloads (what is played).
#[derive(Debug, Args)]
pub struct TraceArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Turn a published trace into a workload file.
    Import(Box<ImportArgs>),
    /// Draw a workload: w1, w2, func, azure-hour, azure-hour-sample, huawei-hour, synthetic, zipf.
    Generate(Box<GenerateArgs>),
    /// Cut, scale and sample a workload; steps apply in the order in which they are listed here.
    Sample(SampleArgs),
    /// Between the binary workload file (.wkl) and CSV (.csv with its .csv.json).
    Convert(ConvertArgs),
    /// Say what a workload file holds.
    Describe(DescribeArgs),
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// Format of the files: azure-functions-2019, azure-functions-2021, huawei-2023, huawei-2025,
    /// ibm-code-engine-2026, azure-llm-2023 or mooncake.
    #[arg(long)]
    format: Format,
    /// The tables (plain, .zst or .gz); for azure-functions-2019 the invocations table.
    files: Vec<PathBuf>,
    /// A bundled sample instead: its path below traces/data; for azure-functions-2019 100, 250 or 500.
    #[arg(long)]
    bundled: Option<String>,
    /// Folder of the full azure-functions-2019 set, with --day.
    #[arg(long, requires = "day")]
    folder: Option<PathBuf>,
    /// Day of the full azure-functions-2019 set, 1 to 14.
    #[arg(long, requires = "folder", value_parser = clap::value_parser!(u32).range(1..=14))]
    day: Option<u32>,
    /// Durations table (azure-functions-2019) or delay tables in order of time (huawei-2023).
    #[arg(long)]
    durations: Vec<PathBuf>,
    /// Memory table (azure-functions-2019).
    #[arg(long)]
    memory: Option<PathBuf>,
    /// Where inside its minute an invocation arrives: uniform, poisson or skewed.
    #[arg(long, default_value = "uniform")]
    spread: Spread,
    /// Length of a row of huawei-2023: "1 min" or "1 s".
    #[arg(long, default_value = "1 min")]
    step: Duration,
    /// Milliseconds in one unit of huawei-2023's delay tables.
    #[arg(long, default_value_t = 1000.0)]
    delay_unit_ms: f64,
    #[command(flatten)]
    service: ServiceArgs,
    /// The huawei-2025 table holds cold starts, not requests (written as JSON).
    #[arg(long)]
    cold_starts: bool,
    /// Functions without durations: stop or drop.
    #[arg(long, default_value = "stop")]
    unjoined: OnDefect,
    /// Malformed rows: stop or drop.
    #[arg(long, default_value = "stop")]
    malformed: OnDefect,
    /// Seed of arrivals and service times.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ServiceArgs {
    /// Service time of a function ("pyaes=100 ms") or of all others ("100 ms"); may be repeated.
    /// Default: those of the shipped function profiles, where the generator's functions have one.
    #[arg(long)]
    service_time: Vec<String>,
    /// JSON table of service times: {"pyaes": {"log-normal": {"median_ms": 100, "sigma": 0.3}}}.
    #[arg(long)]
    service: Option<PathBuf>,
}

/// Generators of functions that have a profile; without service times of the user's own, those of the
/// profiles are taken.
const PROFILED: [&str; 6] = ["w1", "w2", "func", "azure-hour", "azure-hour-sample", "huawei-hour"];

#[derive(Debug, Args)]
struct GenerateArgs {
    /// Name of the generator.
    name: String,
    #[command(flatten)]
    service: ServiceArgs,
    /// Folder of the data set (azure-hour, huawei-hour).
    #[arg(long)]
    data: Option<PathBuf>,
    /// Invocations (zipf).
    #[arg(long, default_value_t = 1_000_000)]
    invocations: u64,
    /// Functions (zipf, synthetic).
    #[arg(long, default_value_t = 1000)]
    functions: u32,
    /// Length (zipf, synthetic).
    #[arg(long, default_value = "24 h")]
    span: Duration,
    /// Zipf's exponent.
    #[arg(long, default_value_t = 1.0)]
    exponent: f64,
    /// Factor on all rates (synthetic).
    #[arg(long, default_value_t = 1.0)]
    rate_scale: f64,
    /// Standard deviation of the logarithm of service times (zipf: 2.36, synthetic: 0.5).
    #[arg(long)]
    sigma: Option<f64>,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct SampleArgs {
    /// The workload file.
    input: PathBuf,
    /// Start of a window.
    #[arg(long)]
    start: Option<Duration>,
    /// Length of the window.
    #[arg(long)]
    length: Option<Duration>,
    /// Number of functions to keep: the best of --candidates random choices.
    #[arg(long)]
    functions: Option<usize>,
    /// Random choices of functions.
    #[arg(long, default_value_t = 20)]
    candidates: u32,
    /// Factor on the rate (below 1 thins, above 1 superposes copies moved by up to 30 s).
    #[arg(long)]
    rate: Option<f64>,
    /// Factor by which time runs faster.
    #[arg(long)]
    compress: Option<f64>,
    /// The part that is dropped before measuring.
    #[arg(long)]
    burn_in: Option<Duration>,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ConvertArgs {
    /// The workload to read: .wkl or .csv.
    input: PathBuf,
    /// The workload to write: .wkl or .csv.
    out: PathBuf,
}

#[derive(Debug, Args)]
struct DescribeArgs {
    /// The workload file.
    input: PathBuf,
    /// How to print.
    #[arg(long, default_value = "table")]
    format_output: Output,
    /// Busiest functions to list.
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// Also draw rates and service times into this SVG file.
    #[arg(long)]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Runs `trenvx trace`.
///
/// # Errors
/// Whatever the package reports; nothing is left half-written.
pub fn run(folders: &Folders, args: TraceArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Import(args) => import(*args),
        Command::Generate(args) => generate(folders, *args),
        Command::Sample(args) => sample(&args),
        Command::Convert(args) => Ok(csv_file::write_any(&args.out, &csv_file::read_any(&args.input)?)?),
        Command::Describe(args) => describe(&args),
    }
}

fn import(args: ImportArgs) -> anyhow::Result<()> {
    let request = traces::import::Request {
        format: args.format,
        files: args.files,
        bundled: args.bundled,
        folder: args.folder.zip(args.day),
        durations: args.durations,
        memory: args.memory,
        spread: args.spread,
        step: args.step,
        delay_unit_ms: args.delay_unit_ms,
        service: args.service.table()?,
        cold_starts: args.cold_starts,
        unjoined: args.unjoined,
        malformed: args.malformed,
        seed: args.seed,
    };
    eprintln!("{}", request.run(&args.out)?);
    Ok(())
}

fn generate(folders: &Folders, args: GenerateArgs) -> anyhow::Result<()> {
    let mut service = args.service.table()?;
    if service.is_empty() && PROFILED.contains(&args.name.as_str()) {
        let file = folders.configs()?.join("profiles/trenv-functions.toml");
        eprintln!("service times from {}", file.display());
        service.extend(configs::service_times(&file)?)?;
    }
    let request = traces::generate::request::Request {
        name: args.name,
        seed: args.seed,
        service,
        data: args.data,
        invocations: args.invocations,
        functions: args.functions,
        span: args.span,
        exponent: args.exponent,
        rate_scale: args.rate_scale,
        sigma: args.sigma,
    };
    let written = request.write(&args.out)?;
    eprintln!("{}: {} invocations, content {}", request.name, written.records, &written.hash_hex[..16]);
    Ok(())
}

fn sample(args: &SampleArgs) -> anyhow::Result<()> {
    let mut workload = csv_file::read_any(&args.input)?;
    if args.start.is_some() || args.length.is_some() {
        let start = args.start.unwrap_or(Duration::ZERO);
        workload = transform::window(&workload, start, args.length.unwrap_or(workload.span))?;
    }
    if let Some(functions) = args.functions {
        workload = sample::sample_functions(&workload, functions, args.candidates, args.seed)?.0;
    }
    if let Some(factor) = args.rate {
        workload = transform::scale_rate(&workload, factor, args.seed)?;
    }
    if let Some(factor) = args.compress {
        workload = transform::compress(&workload, factor)?;
    }
    if let Some(burn_in) = args.burn_in {
        workload = transform::set_burn_in(&workload, burn_in)?;
    }
    csv_file::write_any(&args.out, &workload)?;
    eprintln!("{} invocations of {} functions", workload.invocations.len(), workload.functions.len());
    for line in &workload.provenance {
        eprintln!("  {line}");
    }
    Ok(())
}

fn describe(args: &DescribeArgs) -> anyhow::Result<()> {
    // A description of corrupt content would be believed, so the hashes are compared first.
    if binary::kind(&args.input).is_ok() {
        binary::verify(&args.input)?;
    }
    if let Ok(binary::Kind::LlmRequests) = binary::kind(&args.input) {
        let found = describe::describe_llm(&binary::open_llm(&args.input)?);
        print(args.format_output, &found.to_string(), &serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    let workload = csv_file::read_any(&args.input)?;
    if let Some(path) = &args.plot {
        write_text(path, &plot::svg(&workload))?;
    }
    let found = describe::describe(&workload, args.top);
    print(args.format_output, &found.to_string(), &serde_json::to_string_pretty(&found)?);
    Ok(())
}

fn print(output: Output, table: &str, json: &str) {
    match output {
        Output::Table => print!("{table}"),
        Output::Json => println!("{json}"),
    }
}

fn write_text(path: &Path, text: &str) -> anyhow::Result<()> {
    traces::atomic::write_file(path, text.as_bytes()).context("cannot draw the workload")
}

impl ServiceArgs {
    fn table(&self) -> Result<ServiceTable, Error> {
        let mut table = ServiceTable::default();
        if let Some(path) = &self.service {
            table.add_json(&Source::path(path))?;
        }
        for option in &self.service_time {
            table.add(option)?;
        }
        Ok(table)
    }
}
