//! `trenvx emu bench pager`: page faults, served by the page server and by the bare kernel.

use clap::{Args, ValueEnum};

/// What to measure.
#[derive(Debug, Args)]
pub struct PagerArgs {
    /// Pages of the arena.
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(64..))]
    pages: u32,
    /// Rounds, of which a row is the median.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Where the server's threads run.
    #[arg(long = "placement", value_enum, value_name = "NAME", default_values = ["same", "other", "spin"])]
    placements: Vec<super::serve::Placement>,
    /// Pages at a fault.
    #[arg(long = "batch", value_name = "K", value_delimiter = ',', default_value = "1,16,64")]
    batches: Vec<usize>,
    /// Sources; default: dram, file, and dram with a stated latency of 6 us.
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// A table for people, or JSON to keep.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// One record per row.
    Json,
}

/// Measures and prints.
///
/// # Errors
/// If no fault can be served.
pub fn run(args: PagerArgs) -> anyhow::Result<()> {
    use ::emu::bench_pager::{Settings, goals, run as measure, table};
    let mut settings = Settings {
        pages: args.pages as usize,
        rounds: args.rounds.max(1),
        placements: args.placements.into_iter().map(Into::into).collect(),
        batches: args.batches,
        ..Settings::default()
    };
    if !args.sources.is_empty() {
        settings.sources = args.sources;
    }
    let rows = measure(&settings)?;
    match args.format {
        Format::Table => print!("{}\n{}", table(&rows), ::emu::goal::table(&goals(&rows))),
        Format::Json => {
            let all = serde_json::json!({
                "environment": runs::Environment::look(),
                "emulated_by": std::env::var(::emu::guest::node::EMULATED_BY).ok(),
                "rounds": settings.rounds,
                "goals": goals(&rows),
                "rows": rows,
            });
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
    }
    Ok(())
}
