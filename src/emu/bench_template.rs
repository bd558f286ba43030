//! `trenvx emu bench template`: what a start from a template costs.

use std::path::PathBuf;

use ::emu::bench_template::{
    Engine, Many, Settings, csv, goals, many, run as measure, synthetic_named, table,
};
use ::emu::criu::Criu;
use ::emu::functions::{self, Places};
use ::emu::sandbox::{Base, Config, Mode};
use ::emu::template::{Store, Subject, store};
use clap::{Args, ValueEnum};

use crate::common::{Ended, Folders};

/// What the goals are about; a small function of each runtime; templates of two sizes.
const FUNCTIONS: [&str; 6] =
    ["sized-100", "sized-node-100", "hello-world", "crypto", "sized-50", "sized-1600"];

#[derive(Debug, Args)]
pub struct TemplateArgs {
    /// Functions; `sized-N`: one in Python that holds N MiB; `sized-node-N`: one in Node with several threads.
    #[arg(value_name = "NAME", default_values = FUNCTIONS)]
    functions: Vec<String>,
    /// Starts of each function by each engine; a tenth by those that take long.
    #[arg(long, default_value_t = 100)]
    starts: usize,
    /// Calls before a function is captured.
    #[arg(long, default_value_t = 3)]
    warmups: u32,
    /// Pages that a page server installs for one fault.
    #[arg(long, value_name = "K", default_value_t = 16)]
    batch: usize,
    /// Only these engines (attach, attach-copy, fault, fault-shared, fault-tcp, fault-replay, cold, boot, zygote,
    /// criu, criu-lazy, criu-attach); default: all.
    #[arg(long = "engine", value_name = "NAME", value_parser = engine)]
    engines: Vec<Engine>,
    /// Attaches of the first function one after the other, each checked; 0: none, and nothing of many at once.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    attaches: usize,
    /// Processes of the first function that live at once.
    #[arg(long, value_name = "N", default_value_t = 50)]
    at_once: usize,
    /// Folder of templates; default: in memory.
    #[arg(long, value_name = "DIR", default_value = store::DRAM)]
    store: PathBuf,
    /// A table for people, or rows to keep.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// One line per row.
    Csv,
    /// One record per row.
    Json,
}

fn engine(name: &str) -> Result<Engine, String> {
    Engine::ALL.into_iter().find(|engine| engine.name() == name).ok_or_else(|| {
        let known: Vec<&str> = Engine::ALL.iter().map(|engine| engine.name()).collect();
        format!("the engines are {}", known.join(", "))
    })
}

/// Runs `trenvx emu bench template`.
///
/// # Errors
/// If a function is not set up, cannot be captured or answers wrongly.
pub fn run(folders: &Folders, args: &TemplateArgs) -> anyhow::Result<()> {
    let places = Places::here(&folders.out)?;
    let layers = places.out.join("functions-sized");
    let lacking = |error: functions::Error| -> anyhow::Error {
        if error.needs_setup() {
            return Ended { code: 3, message: error.to_string() }.into();
        }
        error.into()
    };
    let mut subjects = Vec::new();
    for name in &args.functions {
        subjects.push(match synthetic_named(name, &layers) {
            Some(subject) => subject?,
            None => {
                let manifest = functions::find(&places, name).map_err(lacking)?;
                Subject::from(manifest.locate(&places).map_err(lacking)?)
            }
        });
    }
    let mut config = Config::new(Mode::Repurpose);
    config.base = Base::Image(places.image());
    let engines = if args.engines.is_empty() { Engine::ALL.to_vec() } else { args.engines.clone() };
    let settings = Settings {
        config,
        store: Store::open(&args.store)?,
        subjects,
        engines,
        starts: args.starts,
        warm_ups: args.warmups,
        batch: args.batch,
        criu: Criu::find(&folders.out),
    };
    let rows = measure(&settings)?;
    let mut held = goals(&rows);
    if args.attaches > 0 {
        held.extend(many(&settings, Many { in_a_row: args.attaches, at_once: args.at_once })?);
    }
    match args.format {
        Format::Table => print!("{}\n{}", table(&rows), ::emu::goal::table(&held)),
        Format::Csv => print!("{}", csv(&rows)),
        Format::Json => {
            let all = serde_json::json!({ "rows": rows, "goals": held });
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
    }
    Ok(())
}
