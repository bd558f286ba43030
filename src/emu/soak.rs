//! `trenvx emu soak`: the page server for long, and nothing grows.

use std::time::Duration;

use clap::Args;
use emu::pager::lab::soak;

use crate::common::Ended;

/// Let processes come and go at a page server, and see that nothing grows.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// Fixes what is done.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Some time, however short.
fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes.is_finite() => Ok(minutes),
        _ => Err("a soak takes some minutes, such as 0.5".to_owned()),
    }
}

/// Soaks, and fails if something has grown.
pub fn run(args: &SoakArgs) -> anyhow::Result<()> {
    let length = Duration::try_from_secs_f64(args.minutes * 60.0)?;
    let folder = std::env::temp_dir().join(format!("trenvx-soak-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let result = soak::run(&folder, length, args.seed, |state| {
        eprintln!(
            "{:>6} s  server: {} descriptors, {} mappings, {} KiB  manager: {} descriptors, {} mappings, {} KiB",
            state.at_s,
            state.server_descriptors,
            state.server_mappings,
            state.server_memory_kib,
            state.manager_descriptors,
            state.manager_mappings,
            state.manager_memory_kib,
        );
    });
    let _ = std::fs::remove_dir_all(&folder);
    let soak = result?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&soak)?);
    } else {
        println!(
            "{} processes, {} killed on the way, {} programs with the right hash, {} faults",
            soak.processes, soak.killed, soak.programs, soak.report.counts.faults
        );
    }
    // The first quarter is for everything to be made that is made once.
    let before = &soak.states[soak.states.len() / 4];
    let grown = soak.states.last().map(|last| last.grown_since(before)).unwrap_or_default();
    if grown.is_empty() {
        return Ok(());
    }
    Err(Ended { code: 1, message: format!("this has grown: {}", grown.join("; ")) }.into())
}
