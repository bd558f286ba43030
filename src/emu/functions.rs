//! `trenvx emu functions`: the benchmark functions, and whether they work here.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use emu::functions::{self, Measured, Place, Places};

use crate::common::{Ended, Folders};

/// The benchmark functions.
#[derive(Debug, Args)]
pub struct FunctionsArgs {
    #[command(subcommand)]
    command: FunctionsCommand,
}

#[derive(Debug, Subcommand)]
enum FunctionsCommand {
    /// List the functions and whether they are set up.
    List,
    /// Run functions without sandboxes: are their answers right, and what do they cost?
    Check(CheckArgs),
}

/// What to check.
#[derive(Debug, Args)]
struct CheckArgs {
    /// Functions; default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Calls with the base input, of which the median is shown.
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// Base root image to run in; default: images/base in the folder of outputs.
    #[arg(long, value_name = "DIR")]
    image: Option<PathBuf>,
    /// A table for people, or JSON to keep.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// One record per function.
    Json,
}

/// Runs the subcommand.
pub fn run(folders: &Folders, args: &FunctionsArgs) -> anyhow::Result<()> {
    let places = Places::here(&folders.out)?;
    match &args.command {
        FunctionsCommand::List => list(&places),
        FunctionsCommand::Check(args) => check(&places, args),
    }
}

fn list(places: &Places) -> anyhow::Result<()> {
    for function in functions::list(places)? {
        let state = match function.locate(places) {
            Ok(_) => "ready".to_owned(),
            Err(error) if error.needs_setup() => "not set up".to_owned(),
            Err(error) => error.to_string(),
        };
        println!("{:18}  {:8}  {:10}  {}", function.name, function.language.name(), state, function.summary);
    }
    Ok(())
}

fn check(places: &Places, args: &CheckArgs) -> anyhow::Result<()> {
    let wanted = if args.names.is_empty() {
        functions::list(places)?
    } else {
        args.names.iter().map(|name| functions::find(places, name)).collect::<Result<_, _>>()?
    };
    let image = args.image.clone().unwrap_or_else(|| places.image());
    let mut rows: Vec<Measured> = Vec::new();
    for function in wanted {
        let place = match function.language {
            functions::Language::Native => Place::Host,
            _ => Place::Image(image.clone()),
        };
        let spec = function.locate(places).map_err(lacking)?;
        eprintln!("trenvx: {}", spec.name);
        rows.push(functions::measure(&spec, &place, args.runs).map_err(|error| match error {
            functions::StartError::Prepare(error) => lacking(error),
            error => error.into(),
        })?);
    }
    match args.format {
        Format::Table => print!("{}", functions::table(&rows)),
        Format::Json => println!("{}", serde_json::to_string_pretty(&rows).context("cannot write JSON")?),
    }
    let failed = rows.iter().filter(|row| !row.faults.is_empty()).count();
    if failed > 0 {
        let message = format!("{failed} of {} functions gave wrong answers", rows.len());
        return Err(Ended { code: 1, message }.into());
    }
    Ok(())
}

/// What is not set up is the environment's lack: exit code 3.
fn lacking(error: functions::Error) -> anyhow::Error {
    if error.needs_setup() {
        return Ended { code: 3, message: error.to_string() }.into();
    }
    error.into()
}
