//! `trenvx emu soak`: the page server, or templates in sandboxes, for long, and nothing grows.

use std::time::Duration;

use ::emu::bench_template::synthetic;
use ::emu::functions::Places;
use ::emu::pager::lab::soak::{self, State};
use ::emu::sandbox::{Base, Config, Mode};
use ::emu::template;
use clap::Args;

use crate::common::{Ended, Folders};

/// MiB of the function that is attached.
const SIZE: u64 = 16;

/// Let processes come and go at a page server, or in sandboxes, and see that nothing grows.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// Attach a template in sandboxes, by mappings, copies and a page server, instead of plain processes.
    #[arg(long)]
    sandboxes: bool,
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

fn tell(state: &State) {
    eprintln!(
        "{:>6} s  server: {} descriptors, {} mappings, {} KiB, {} pages in the cache  manager: {} descriptors, \
         {} mappings, {} KiB",
        state.at_s,
        state.server_descriptors,
        state.server_mappings,
        state.server_memory_kib,
        state.cache_pages,
        state.manager_descriptors,
        state.manager_mappings,
        state.manager_memory_kib,
    );
}

/// Soaks, and fails if something has grown.
///
/// # Errors
/// If something has grown, or went wrong on the way.
pub fn run(folders: &Folders, args: &SoakArgs) -> anyhow::Result<()> {
    let length = Duration::try_from_secs_f64(args.minutes * 60.0)?;
    let (text, states) =
        if args.sandboxes { sandboxes(folders, args, length)? } else { server(args, length)? };
    println!("{text}");
    // The first quarter is for everything to be made that is made once.
    let before = &states[states.len() / 4];
    let grown = states.last().map(|last| last.grown_since(before)).unwrap_or_default();
    if grown.is_empty() {
        return Ok(());
    }
    Err(Ended { code: 1, message: format!("this has grown: {}", grown.join("; ")) }.into())
}

fn server(args: &SoakArgs, length: Duration) -> anyhow::Result<(String, Vec<State>)> {
    let folder = std::env::temp_dir().join(format!("trenvx-soak-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let result = soak::run(&folder, length, args.seed, tell);
    let _ = std::fs::remove_dir_all(&folder);
    let soak = result?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&soak)?,
        false => format!(
            "{} processes, {} killed on the way, {} programs with the right hash, {} faults",
            soak.processes, soak.killed, soak.programs, soak.report.counts.faults
        ),
    };
    Ok((text, soak.states))
}

fn sandboxes(folders: &Folders, args: &SoakArgs, length: Duration) -> anyhow::Result<(String, Vec<State>)> {
    let places = Places::here(&folders.out)?;
    if !places.image().join("usr").is_dir() {
        let message = "the base image is not there: scripts/setup --functions makes it".to_owned();
        return Err(Ended { code: 3, message }.into());
    }
    let subject = synthetic(SIZE, &places.out.join("functions-sized"))?;
    let config = Config { base: Base::Image(places.image()), ..Config::new(Mode::Repurpose) };
    let soak = template::soak::run(config, &subject, length, args.seed, tell)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&soak)?,
        false => {
            let attached: Vec<String> =
                soak.attached.iter().map(|(engine, count)| format!("{count} by {engine}")).collect();
            format!("attached {}; {} calls answered, {} killed", attached.join(", "), soak.calls, soak.killed)
        }
    };
    Ok((text, soak.states))
}
